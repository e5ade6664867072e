//! The pump's end of a recording: lines are made here and leave in batches. Nothing here waits for
//! the disk, except [`Recorder::finish`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io, mem};

use bytes::BytesMut;
use tcptrace_core::engine::Annotation;
use tcptrace_core::input::{Loss, LossCause};
use tcptrace_core::units::MonoNs;
use tcptrace_core::{Finding, Input};

use super::encode::Encoder;
use super::failure::RecordError;
use super::file::Target;
use super::header::{Ended, Footer, Header};
use super::kinds::{LineCounts, LineKind};
use super::segment::{Rotation, Series, is_compressed};
use super::sink::{Job, Report, Sink, Turn};

/// Size of a batch: large enough that a system call costs nothing per line, small enough to be in
/// the second-level cache when it is written.
const BATCH: usize = 256 << 10;

/// Room that a batch keeps for its last line.
const LAST_LINE: usize = 8 << 10;

/// Batches on their way to the file: 256 MiB, what a host that opens and closes 50,000 connections a
/// second writes while its disk stalls for a second. Memory is taken only while it stalls.
const QUEUE: usize = 1024;

/// Emptied batches that are kept.
const POOL: usize = 8;

/// A line waits no longer than this for its batch to fill. Half of what is promised, as the pump
/// asks only at its ticks.
const FLUSH_AFTER: Duration = Duration::from_millis(500);

/// Above this rate the user is warned: 36 GB an hour.
const HIGH_RATE: u64 = 10_000_000;

/// Over this time the rate is taken: long enough for the burst of a snapshot to pass.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// A recording under way.
#[derive(Debug)]
pub(crate) struct Recorder {
    encoder: Encoder,
    name: String,
    batch: BytesMut,
    /// Of the lines in `batch`.
    pending: Pending,
    flushed: MonoNs,
    /// Of the lines that were handed over.
    counts: LineCounts,
    bytes: u64,
    /// Facts lost, by cause, as far as the engine was told.
    losses: BTreeMap<LossCause, u64>,
    /// Lines dropped here and not yet told.
    dropped: Option<Loss>,
    rate: Rate,
    rotation: Rotation,
    segment: Segment,
    queue: SyncSender<Job>,
    empty: Receiver<BytesMut>,
    report: Arc<Report>,
    thread: JoinHandle<Result<u64, RecordError>>,
}

/// What a batch holds that is not handed over yet.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    counts: LineCounts,
    span: Option<(MonoNs, MonoNs)>,
}

/// The segment under way.
#[derive(Debug)]
struct Segment {
    /// What its successor's header repeats.
    header: Header,
    number: u32,
    began: MonoNs,
    /// Bytes handed over before it began, and before its facts began: a checkpoint may be larger
    /// than what the rotation allows, and must not bring about the next one.
    before: u64,
    facts_from: u64,
    /// Counts and losses of the segments before.
    earlier: LineCounts,
    earlier_losses: BTreeMap<LossCause, u64>,
}

/// Bytes a second, looked at once a window.
#[derive(Clone, Copy, Debug)]
struct Rate {
    from: MonoNs,
    bytes: u64,
    warned: bool,
}

/// Something that the user should know while it records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// The file grows fast.
    HighVolume {
        /// How fast.
        bytes_per_second: u64,
    },
    /// The file system fills.
    DiskFilling {
        /// Free space, MiB.
        free_mib: u64,
        /// Where the recording stops, MiB.
        floor_mib: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HighVolume { bytes_per_second } => write!(
                f,
                "the recording grows by {} MB/s; compress it (-o FILE.ndjson.zst), keep less of it \
                 (--events suspects, filters, --rotate-size with --keep), or end it in time \
                 (--duration)",
                bytes_per_second / 1_000_000
            ),
            Self::DiskFilling {
                free_mib,
                floor_mib,
            } => write!(
                f,
                "the file system has {free_mib} MiB left, and the recording stops at {floor_mib} \
                 MiB; free some space, or bound it with --rotate-size and --keep"
            ),
        }
    }
}

/// What was recorded, for the last words of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The file, or standard output.
    pub(crate) name: String,
    /// How many files there have been, those included that `--keep` has deleted.
    pub(crate) segments: u32,
    /// Lines by kind, without header and footer.
    pub(crate) counts: LineCounts,
    /// Bytes in the file.
    pub(crate) bytes: u64,
    /// Facts lost, by cause; only causes that occurred.
    pub(crate) losses: BTreeMap<LossCause, u64>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines, {} bytes in {}",
            self.counts.total(),
            self.bytes,
            self.name
        )?;
        match self.segments {
            1 => Ok(()),
            2 => f.write_str(" and 1 segment after it"),
            n => write!(f, " and {} segments after it", n - 1),
        }
    }
}

impl Recorder {
    /// Opens the target, starts the thread that writes, and writes the header.
    pub(crate) fn create(
        target: &Target,
        rotation: Rotation,
        header: &Header,
    ) -> Result<Self, RecordError> {
        let mut header = header.clone();
        let sink = match target {
            Target::File { path, force } if rotation.is_on() => {
                let id = header.recording_id.clone();
                let mut series = Series::new(path.clone(), *force, rotation.keep, id);
                series.check_new()?;
                header.segment = Some(1);
                let from = Encoder::new(header.clock_offset_ns).stamp(header.at);
                let first = series.open(1, &from)?;
                Sink::new(first).in_series(series)
            }
            _ => Sink::new(target.open()?),
        };
        let sink = match target {
            Target::File { path, .. } if is_compressed(path) => sink.compressed()?,
            _ => sink,
        };
        let mut recorder = Self::start(sink, &header, QUEUE)?;
        recorder.rotation = rotation;
        Ok(recorder)
    }

    fn start(sink: Sink, header: &Header, queue: usize) -> Result<Self, RecordError> {
        let name = sink.name().to_owned();
        let (queue, batches) = sync_channel(queue);
        let (give_back, empty) = sync_channel(POOL);
        let report = Arc::new(Report::default());
        let theirs = Arc::clone(&report);
        let thread = thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || sink.run(&batches, &give_back, &theirs))
            .map_err(|source| RecordError::Thread {
                name: name.clone(),
                source: source.into(),
            })?;
        let mut recorder = Self {
            encoder: Encoder::new(header.clock_offset_ns),
            name,
            batch: BytesMut::with_capacity(BATCH),
            pending: Pending::default(),
            flushed: header.at,
            counts: LineCounts::default(),
            bytes: 0,
            losses: BTreeMap::new(),
            dropped: None,
            rate: Rate {
                from: header.at,
                bytes: 0,
                warned: false,
            },
            rotation: Rotation::default(),
            segment: Segment {
                header: header.clone(),
                number: 1,
                began: header.at,
                before: 0,
                facts_from: 0,
                earlier: LineCounts::default(),
                earlier_losses: BTreeMap::new(),
            },
            queue,
            empty,
            report,
            thread,
        };
        recorder.encoder.header(header, &mut recorder.batch);
        recorder.hand_over();
        Ok(recorder)
    }

    /// Records a fact, with what the engine added to it.
    pub(crate) fn input(&mut self, input: &Input, annotation: &Annotation) {
        if let Input::Loss(loss) = input {
            *self.losses.entry(loss.cause).or_default() += loss.count;
        }
        self.encoder.input(input, annotation, &mut self.batch);
        self.wrote(LineKind::of(input), input.at());
    }

    /// Records a finding as it is at `now`: the engine's time, so that a replay says the same.
    pub(crate) fn finding(&mut self, finding: &Finding, now: MonoNs) {
        self.encoder.finding(finding, now, &mut self.batch);
        self.wrote(LineKind::Finding, finding.at);
    }

    fn wrote(&mut self, kind: LineKind, at: MonoNs) {
        self.pending.counts.add(kind);
        let (from, to) = self.pending.span.unwrap_or((at, at));
        self.pending.span = Some((from.min(at), to.max(at)));
        if self.batch.len() >= BATCH - LAST_LINE {
            self.hand_over();
            // Only whole batches are dropped, and only by a queue that is full of them.
            if self.batch.len() >= BATCH - LAST_LINE {
                self.drop_batch();
            }
        }
    }

    /// Sends what there is to the file, if it has waited long enough.
    pub(crate) fn flush_if_due(&mut self, now: MonoNs) {
        if !self.batch.is_empty() && now.since(self.flushed) >= FLUSH_AFTER {
            self.flushed = now;
            self.hand_over();
        }
    }

    /// A warning that has become due by `now`; each comes once.
    pub(crate) fn warning(&mut self, now: MonoNs) -> Option<Warning> {
        if let Some((free_mib, floor_mib)) = self.report.take_filling() {
            return Some(Warning::DiskFilling {
                free_mib,
                floor_mib,
            });
        }
        let elapsed = now.since(self.rate.from);
        if self.rate.warned || elapsed < RATE_WINDOW {
            return None;
        }
        let grown = self.bytes() - self.rate.bytes;
        let bytes_per_second = (grown as f64 / elapsed.as_secs_f64()) as u64;
        self.rate = Rate {
            from: now,
            bytes: self.bytes(),
            warned: bytes_per_second > HIGH_RATE,
        };
        self.rate
            .warned
            .then_some(Warning::HighVolume { bytes_per_second })
    }

    /// Facts that did not get into the file since this was last asked. Give it to the engine, and
    /// back to [`Recorder::input`], as any other loss.
    pub(crate) fn lost(&mut self) -> Option<Loss> {
        self.dropped.take()
    }

    /// Why the recording has to end, if it has to. After [`RecordError::LowSpace`] it can still be
    /// finished in good order; every other failure is final.
    pub(crate) fn failure(&self) -> Option<RecordError> {
        self.report.failure()
    }

    /// The file, or standard output.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Bytes so far, those under way included.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + self.batch.len() as u64
    }

    /// Writes the findings that are still open once more, then the footer, and waits until all is
    /// on the disk.
    pub(crate) fn finish(
        mut self,
        findings: &[Arc<Finding>],
        ended: Ended,
        at: MonoNs,
    ) -> Result<Summary, RecordError> {
        for finding in findings {
            self.encoder.finding(finding, at, &mut self.batch);
            self.pending.counts.add(LineKind::Finding);
        }
        if let Some(loss) = self.dropped.take() {
            *self.losses.entry(loss.cause).or_default() += loss.count;
        }
        let turn = self.end_segment(findings.len(), ended, at);
        let (counts, losses) = (self.all_counts(), self.all_losses());
        let segments = self.segment.number;
        let Self {
            name,
            batch,
            queue,
            thread,
            ..
        } = self;
        // A thread that has gone says why when it is joined.
        let _ = queue.send(Job::Batch(batch));
        let _ = queue.send(Job::Last(Box::new(turn)));
        drop(queue);
        let bytes = thread.join().unwrap_or_else(|_| {
            let source = Arc::new(io::Error::other("the writer thread panicked"));
            Err(RecordError::Write {
                name: name.clone(),
                source,
            })
        })?;
        Ok(Summary {
            name,
            segments,
            counts,
            bytes,
            losses,
        })
    }

    /// Queues the batch. When the queue is full the batch stays, to be tried again.
    fn hand_over(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = mem::take(&mut self.batch);
        let length = batch.len() as u64;
        match self.queue.try_send(Job::Batch(batch)) {
            Ok(()) => {
                self.bytes += length;
                self.counts.merge(&self.pending.counts);
                self.pending = Pending::default();
                self.batch = self
                    .empty
                    .try_recv()
                    .unwrap_or_else(|_| BytesMut::with_capacity(BATCH));
            }
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                if let Job::Batch(batch) = job {
                    self.batch = batch;
                }
            }
        }
    }

    fn drop_batch(&mut self) {
        self.batch.clear();
        let Pending { counts, span } = mem::take(&mut self.pending);
        let Some((from, to)) = span else { return };
        let dropped = self.dropped.get_or_insert(Loss {
            cause: LossCause::Writer,
            kind: None,
            count: 0,
            from,
            to,
        });
        dropped.count += counts.total();
        dropped.from = dropped.from.min(from);
        dropped.to = dropped.to.max(to);
    }
}

mod rotate;

#[cfg(test)]
mod tests;
