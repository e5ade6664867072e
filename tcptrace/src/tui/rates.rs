//! Rates: what the totals gained between ticks. The engine counts; per second is the view's.

use std::collections::VecDeque;
use std::time::Duration;

use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::MonoNs;
use tcptrace_core::world::Totals;

/// Rates are means over this long: short enough to follow, long enough not to flicker.
const RATE_WINDOW: Duration = Duration::from_secs(3);
/// State counts are compared with those this long ago.
const TREND_WINDOW: Duration = Duration::from_secs(60);
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

    /// What `count` gained per second, over the last seconds.
    fn gain(&self, count: impl Fn(&Totals) -> u64) -> f64 {
        let Some(last) = self.history.back() else {
            return 0.0;
        };
        let recent = |sample: &&Sample| last.at <= sample.at.plus(RATE_WINDOW);
        let Some(first) = self.history.iter().find(recent) else {
            return 0.0;
        };
        let seconds = last.at.since(first.at).as_secs_f64();
        if seconds == 0.0 {
            return 0.0;
        }
        count(&last.totals).saturating_sub(count(&first.totals)) as f64 / seconds
    }

    /// How often per second the edge from `from` to `to` of the state diagram is taken.
    pub(super) fn edge(&self, from: TcpState, to: TcpState) -> f64 {
        self.gain(|totals| totals.edges.count(from, to))
    }

    /// What `value` was over the last minute, in `cells` steps; 0 before the trace began.
    pub(super) fn history(&self, cells: usize, value: impl Fn(&Totals) -> f64) -> Vec<f64> {
        self.steps(cells)
            .into_iter()
            .map(|sample| sample.map_or(0.0, |sample| value(&sample.totals)))
            .collect()
    }

    /// What `count` gained per second over the last minute, in `cells` steps.
    pub(super) fn gains(&self, cells: usize, count: impl Fn(&Totals) -> u64) -> Vec<f64> {
        let steps = self.steps(cells + 1);
        let pairs = steps.windows(2);
        pairs
            .map(|pair| match (pair[0], pair[1]) {
                (Some(before), Some(after)) if after.at > before.at => {
                    let gained = count(&after.totals).saturating_sub(count(&before.totals));
                    gained as f64 / after.at.since(before.at).as_secs_f64()
                }
                _ => 0.0,
            })
            .collect()
    }

    /// The samples at the ends of `cells` equal steps of the last minute. The steps lie on a grid
    /// of the clock, so that a drawing moves by whole cells and does not shimmer.
    fn steps(&self, cells: usize) -> Vec<Option<&Sample>> {
        let Some(last) = self.history.back() else {
            return vec![None; cells];
        };
        let step = TREND_WINDOW / u32::try_from(cells).unwrap_or(1).max(1);
        let grid = last.at.0 - last.at.0 % tcptrace_core::units::nanos(step).max(1);
        (0..cells)
            .rev()
            .map(|back| {
                let end = MonoNs(grid).minus(step * u32::try_from(back).unwrap_or(u32::MAX));
                let after = self.history.partition_point(|sample| sample.at <= end);
                self.history.get(after.checked_sub(1)?)
            })
            .collect()
    }

    pub(super) fn per_second(&self) -> PerSecond {
        let gain = |count: fn(&Totals) -> u64| self.gain(count);
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
    fn the_last_minute_is_cut_into_steps() {
        let mut rates = Rates::default();
        assert_eq!(rates.history(3, |_| 1.0), [0.0; 3]);
        // 1 s is on the grid, so that a step ends at each of its multiples.
        for second in 1..=60 {
            rates.observe(MonoNs(second * 1_000_000_000), &totals(second * 7, second));
        }
        let close_wait = |totals: &Totals| totals.in_state[TcpState::CloseWait as usize] as f64;
        assert_eq!(rates.history(4, close_wait), [15.0, 30.0, 45.0, 60.0]);
        assert_eq!(rates.gains(3, |totals| totals.transitions), [7.0; 3]);
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
