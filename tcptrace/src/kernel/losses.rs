//! What was lost since the last poll, by cause: running totals in, differences out.

use std::sync::Arc;

use tcptrace_common::record::Kind;
use tcptrace_core::input::{Input, Loss, LossCause};
use tcptrace_core::units::MonoNs;

/// Running totals of what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Records for which the ring had no room, by kind.
    pub(crate) ring: Vec<(Kind, u64)>,
    /// Probes that the kernel skipped because they had interrupted themselves, by kind; for
    /// transitions and ends less those that an understudy recovered (see `Probes::recovered`).
    pub(crate) recursion: Vec<(Kind, u64)>,
}

impl Losses {
    /// Adds the state changes that the lives of sockets show to be missing, for when the kernel's own
    /// numbers say nothing. What the ring had no room for is among them.
    pub(crate) fn infer(&mut self, gaps: u64) {
        let ring = self.ring.iter().filter(|it| it.0 == Kind::Transition);
        let skipped = gaps.saturating_sub(ring.map(|it| it.1).sum());
        if skipped > 0 {
            self.recursion.push((Kind::Transition, skipped));
        }
    }
}

/// The totals that were told last.
#[derive(Debug, Default)]
pub(crate) struct LossBook {
    probes: Losses,
    /// Records that could not be decoded, since the start.
    pub(crate) undecoded: u64,
    undecoded_told: u64,
    evicted: u64,
    unreported: u64,
    since: MonoNs,
}

impl LossBook {
    /// Nothing lost before `at`.
    pub(crate) fn new(at: MonoNs) -> Self {
        Self {
            since: at,
            ..Self::default()
        }
    }

    /// Tells what the totals have grown by. `evicted` sockets were forgotten for want of room, of
    /// `unreported` the end was not reported.
    pub(crate) fn tell(
        &mut self,
        probes: Losses,
        evicted: u64,
        unreported: u64,
        now: MonoNs,
        sink: &mut Vec<Input>,
    ) {
        let since = self.since;
        let mut lose = |cause, kind: Option<&str>, count: u64| {
            if count > 0 {
                sink.push(Input::Loss(Loss {
                    cause,
                    kind: kind.map(Arc::from),
                    count,
                    from: since,
                    to: now,
                }));
            }
        };
        for (cause, before, after) in [
            (LossCause::Ring, &self.probes.ring, &probes.ring),
            (
                LossCause::Recursion,
                &self.probes.recursion,
                &probes.recursion,
            ),
        ] {
            for (kind, total) in after {
                let told = before
                    .iter()
                    .find(|(known, _)| known == kind)
                    .map_or(0, |(_, told)| *told);
                lose(cause, Some(kind.name()), total.saturating_sub(told));
            }
        }
        lose(
            LossCause::Decode,
            None,
            self.undecoded - self.undecoded_told,
        );
        lose(
            LossCause::Unreported,
            Some(Kind::Transition.name()),
            unreported.saturating_sub(self.unreported),
        );
        lose(
            LossCause::Evicted,
            Some("socket"),
            evicted.saturating_sub(self.evicted),
        );
        self.probes.ring = probes.ring;
        keep_highest(&mut self.probes.recursion, probes.recursion);
        self.undecoded_told = self.undecoded;
        self.evicted = evicted;
        self.unreported = unreported;
        self.since = now;
    }
}

/// The total of skipped probes sinks when the understudy turns out to have recovered some; what was
/// told as lost must not be told again when it rises anew.
fn keep_highest<K: PartialEq>(told: &mut Vec<(K, u64)>, now: Vec<(K, u64)>) {
    for (kind, total) in now {
        match told.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, highest)) => *highest = total.max(*highest),
            None => told.push((kind, total)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_skipped_changes_unless_the_ring_was_full() {
        let inferred = |ring, gaps| {
            let mut losses = Losses {
                ring: vec![(Kind::Transition, ring), (Kind::Accept, 7)],
                recursion: Vec::new(),
            };
            losses.infer(gaps);
            losses.recursion
        };
        assert_eq!(inferred(0, 0), []);
        assert_eq!(inferred(0, 2), [(Kind::Transition, 2)]);
        assert_eq!(inferred(5, 2), []);
    }

    #[test]
    fn totals_become_differences_once() {
        let mut book = LossBook::new(MonoNs(5));
        let mut sink = Vec::new();
        let totals = |ring, recursion| Losses {
            ring: vec![(Kind::Transition, ring), (Kind::Accept, 0)],
            recursion: vec![(Kind::Transition, recursion)],
        };
        book.tell(totals(0, 0), 0, 0, MonoNs(6), &mut sink);
        assert_eq!(sink, []);
        book.undecoded = 2;
        book.tell(totals(10, 3), 0, 0, MonoNs(7), &mut sink);
        // Two of the three were recovered a moment later, then one more was lost.
        book.tell(totals(10, 1), 4, 0, MonoNs(8), &mut sink);
        book.tell(totals(15, 4), 4, 2, MonoNs(9), &mut sink);
        let told: Vec<_> = sink
            .iter()
            .map(|input| match input {
                Input::Loss(loss) => (
                    loss.cause.name(),
                    loss.kind.as_deref(),
                    loss.count,
                    (loss.from.0, loss.to.0),
                ),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            told,
            [
                ("ring", Some("transition"), 10, (6, 7)),
                ("recursion", Some("transition"), 3, (6, 7)),
                ("decode", None, 2, (6, 7)),
                ("evicted", Some("socket"), 4, (7, 8)),
                ("ring", Some("transition"), 5, (8, 9)),
                ("recursion", Some("transition"), 1, (8, 9)),
                ("unreported", Some("transition"), 2, (8, 9)),
            ]
        );
    }
}
