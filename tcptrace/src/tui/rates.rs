//! Rates: what the totals gained between ticks. The engine counts; per second is the view's.

use std::collections::VecDeque;
use std::time::Duration;

use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::MonoNs;
use tcptrace_core::world::Totals;

/// Rates are means over this long: short enough to follow, long enough not to flicker.
const RATE_WINDOW: Duration = Duration::from_secs(3);
/// State counts are compared with those this long ago.
pub(super) const TREND_WINDOW: Duration = Duration::from_secs(60);
/// Ticks closer than this are not kept, which bounds the history to 240 entries.
const SPACING: Duration = Duration::from_millis(250);

/// The totals of the last minute.
#[derive(Debug, Default)]
pub(super) struct Rates {
    first: Option<MonoNs>,
    history: VecDeque<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    at: MonoNs,
    totals: Totals,
}

/// Gains per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PerSecond {
    /// Facts that the kernel reported.
    pub(super) events: f64,
    pub(super) transitions: f64,
    pub(super) accepts: f64,
    pub(super) retransmits: f64,
    pub(super) synack_retransmits: f64,
    pub(super) resets: f64,
}

/// What the kernel reported, without what the agent asked for.
fn events(totals: &Totals) -> u64 {
    totals.transitions
        + totals.accepts
        + totals.retransmits
        + totals.synack_retransmits
        + totals.resets
        + totals.destroys
}

impl Rates {
    /// Takes note of the totals at the tick `at`.
    pub(super) fn observe(&mut self, at: MonoNs, totals: &Totals) {
        if at == MonoNs::default() {
            return;
        }
        self.first.get_or_insert(at);
        if let Some(last) = self.history.back()
            && at < last.at.plus(SPACING)
        {
            return;
        }
        self.history.push_back(Sample {
            at,
            totals: totals.clone(),
        });
        // The newest sample that is a full window old stays: it is what trends compare with.
        while self
            .history
            .get(1)
            .is_some_and(|second| second.at.plus(TREND_WINDOW) <= at)
        {
            self.history.pop_front();
        }
    }

    /// How long the trace has run, at the last tick.
    pub(super) fn uptime(&self) -> Duration {
        match (self.first, self.history.back()) {
            (Some(first), Some(last)) => last.at.since(first),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn per_second(&self) -> PerSecond {
        let Some(last) = self.history.back() else {
            return PerSecond::default();
        };
        let recent = |sample: &&Sample| last.at <= sample.at.plus(RATE_WINDOW);
        let Some(first) = self.history.iter().find(recent) else {
            return PerSecond::default();
        };
        let seconds = last.at.since(first.at).as_secs_f64();
        if seconds == 0.0 {
            return PerSecond::default();
        }
        let gain = |count: fn(&Totals) -> u64| {
            count(&last.totals).saturating_sub(count(&first.totals)) as f64 / seconds
        };
        PerSecond {
            events: gain(events),
            transitions: gain(|t| t.transitions),
            accepts: gain(|t| t.accepts),
            retransmits: gain(|t| t.retransmits),
            synack_retransmits: gain(|t| t.synack_retransmits),
            resets: gain(|t| t.resets),
        }
    }

    /// How many sockets more (or less) are in `state` than a minute ago, or than at the start.
    pub(super) fn trend(&self, state: TcpState) -> i64 {
        let (Some(first), Some(last)) = (self.history.front(), self.history.back()) else {
            return 0;
        };
        let count = |sample: &Sample| sample.totals.in_state[state as usize];
        count(last).cast_signed() - count(first).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonoNs {
        MonoNs(1_000_000_000 + millis * 1_000_000)
    }

    fn totals(transitions: u64, close_wait: u64) -> Totals {
        let mut totals = Totals {
            transitions,
            ..Totals::default()
        };
        totals.in_state[TcpState::CloseWait as usize] = close_wait;
        totals
    }

    #[test]
    fn rates_are_gains_per_second_of_the_last_seconds() {
        let mut rates = Rates::default();
        assert_eq!(rates.per_second(), PerSecond::default());
        for quarter in 0..40 {
            rates.observe(at(quarter * 250), &totals(quarter * 25, 0));
        }
        assert_eq!(rates.per_second().transitions, 100.0);
        assert_eq!(rates.per_second().events, 100.0);
        for quarter in 40..=60 {
            rates.observe(at(quarter * 250), &totals(1000, 0));
        }
        assert_eq!(rates.per_second().transitions, 0.0);
        assert_eq!(rates.uptime(), Duration::from_secs(15));
    }

    #[test]
    fn trends_compare_with_a_minute_ago_and_the_history_is_bounded() {
        let mut rates = Rates::default();
        for second in 0..1000 {
            rates.observe(at(second * 1000), &totals(0, second));
            rates.observe(at(second * 1000 + 1), &totals(0, second));
        }
        assert_eq!(rates.trend(TcpState::CloseWait), 60);
        assert_eq!(rates.trend(TcpState::Established), 0);
        assert!(rates.history.len() <= 240);
    }
}
