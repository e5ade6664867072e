//! One segment ends and the next begins, without a gap: the footer of the one, the header of the
//! other, and what makes it stand alone.

use tcptrace_core::input::LossCause;
use tcptrace_core::units::MonoNs;

use super::{Ended, Footer, Header, Job, LineCounts, LineKind, Recorder, Turn};

impl Recorder {
    /// Whether the next segment should begin at `now`. Then [`Recorder::next_segment`], the
    /// checkpoint by [`Recorder::input`], the open findings, and [`Recorder::began_segment`].
    pub(crate) fn rotation_due(&self, now: MonoNs) -> bool {
        if !self.rotation.is_on() {
            return false;
        }
        let old = self
            .rotation
            .every
            .is_some_and(|every| now.since(self.segment.began) >= every);
        let large = self.rotation.size.is_some_and(|size| {
            let checkpoint = self.segment.facts_from - self.segment.before;
            let facts = self.bytes().saturating_sub(self.segment.facts_from);
            self.report.bytes_of(self.segment.number) >= size && facts >= checkpoint
        });
        old || large
    }

    /// Ends the segment and begins the next. `false` when the queue to the file is full: it is then
    /// tried again.
    pub(crate) fn next_segment(&mut self, open_findings: usize, now: MonoNs) -> bool {
        // Everything before the turn goes to the file that it belongs to.
        self.hand_over();
        if !self.batch.is_empty() {
            return false;
        }
        let before = self.encoder.clone();
        let mut turn = self.end_segment(open_findings, Ended::Rotated, now);
        turn.number = self.segment.number + 1;
        let offset = self.encoder.offset();
        let footer = std::mem::take(&mut self.batch);
        let length = footer.len() as u64;
        if self
            .queue
            .try_send(Job::Next(Box::new(turn), footer))
            .is_err()
        {
            // As if nothing had been tried. A thread that has ended says why by itself.
            self.encoder = before;
            return false;
        }
        self.bytes += length;
        self.segment.earlier.merge(&self.counts);
        for (cause, count) in std::mem::take(&mut self.losses) {
            *self.segment.earlier_losses.entry(cause).or_default() += count;
        }
        self.counts = LineCounts::default();
        self.segment.number += 1;
        self.segment.began = now;
        self.segment.before = self.bytes;
        let header = Header {
            at: now,
            clock_offset_ns: offset,
            segment: Some(self.segment.number),
            ..self.segment.header.clone()
        };
        self.encoder.restart(offset);
        self.encoder.header(&header, &mut self.batch);
        true
    }

    /// The checkpoint is written: what follows are facts.
    pub(crate) fn began_segment(&mut self) {
        self.segment.facts_from = self.bytes();
    }

    /// Writes the footer.
    pub(super) fn end_segment(&mut self, open_findings: usize, ended: Ended, at: MonoNs) -> Turn {
        let pending = std::mem::take(&mut self.pending);
        self.counts.merge(&pending.counts);
        let footer = Footer {
            at,
            ended,
            counts: self.counts.by_name(),
            losses: LossCause::ALL
                .into_iter()
                .map(|cause| {
                    let count = self.losses.get(&cause).copied().unwrap_or(0);
                    (cause.name().to_owned(), count)
                })
                .collect(),
        };
        self.encoder.footer(&footer, &mut self.batch);
        Turn {
            number: self.segment.number,
            at: self.encoder.stamp(at),
            lines: self.counts.total(),
            open_findings: open_findings as u64,
        }
    }

    /// Lines of all segments.
    pub(super) fn all_counts(&self) -> LineCounts {
        let mut counts = self.segment.earlier;
        counts.merge(&self.counts);
        counts
    }

    /// Losses of all segments.
    pub(super) fn all_losses(&self) -> std::collections::BTreeMap<LossCause, u64> {
        let mut losses = self.segment.earlier_losses.clone();
        for (cause, count) in &self.losses {
            *losses.entry(*cause).or_default() += count;
        }
        losses
    }

    /// A finding that is open while the segment begins.
    pub(crate) fn open_finding(&mut self, finding: &tcptrace_core::Finding, now: MonoNs) {
        self.encoder.finding(finding, now, &mut self.batch);
        self.wrote(LineKind::Finding, now);
    }
}
