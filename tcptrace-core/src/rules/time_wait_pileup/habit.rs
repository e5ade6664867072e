//! How connections were used until our side closed them, and what that says of why it did.

use std::collections::VecDeque;
use std::time::Duration;

use crate::finding::{Cause, Spread};
use crate::input::Usage;
use crate::units::nanos;

/// Closes measured in each second; the rest are like them.
const PER_SECOND: usize = 16;

/// Seconds that make a distribution.
const WINDOW: u64 = 60;

/// Closes below which a distribution says nothing.
const ENOUGH: usize = 10;

/// Percent of the closes that must agree.
const AGREE: usize = 80;

/// A silence that is a timeout and no pause for thought.
const SILENCE: Duration = Duration::from_secs(1);

/// Around its median: a tenth, or what a busy timer wheel is late by.
const SILENCE_PERCENT: u64 = 10;
const SILENCE_SLACK: Duration = Duration::from_millis(300);

/// Of a number of exchanges: requests that took a segment more. Small numbers must be equal.
const EXCHANGES_PERCENT: u64 = 5;

/// One close of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    lifetime: Option<u64>,
    idle: u64,
    exchanges: u64,
}

impl Habit {
    pub(super) fn new(usage: &Usage, lifetime: Option<Duration>) -> Self {
        // A request and its response make at least one segment with data each way. Where only one
        // side spoke that was one exchange.
        let fewer = usage.segments_in.min(usage.segments_out);
        let more = usage.segments_in.max(usage.segments_out);
        Self {
            lifetime: lifetime.map(nanos),
            idle: nanos(usage.idle),
            exchanges: u64::from(fewer.max(more.min(1))),
        }
    }
}

/// The closes of the last minute, as far as they were measured.
#[derive(Debug, Default)]
pub(super) struct Habits(VecDeque<(u64, Vec<Habit>)>);

/// Their distributions.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) count: u64,
    pub(super) lifetime: Option<Spread>,
    pub(super) idle: Option<Spread>,
    pub(super) exchanges: Option<Spread>,
}

impl Habits {
    pub(super) fn add(&mut self, second: u64, habit: Habit) {
        let after = self.0.iter().rev().take_while(|(s, _)| *s > second).count();
        let at = self.0.len() - after;
        match at.checked_sub(1).and_then(|before| self.0.get_mut(before)) {
            Some((s, habits)) if *s == second => {
                if habits.len() < PER_SECOND {
                    habits.push(habit);
                }
            }
            _ => self.0.insert(at, (second, vec![habit])),
        }
        while let (Some(first), Some(last)) = (self.0.front(), self.0.back())
            && first.0 + WINDOW + 2 < last.0
        {
            self.0.pop_front();
        }
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.0.back().map(|(second, _)| *second)
    }

    fn within(&self, now: u64) -> impl Iterator<Item = &Habit> {
        let seconds = now.saturating_sub(WINDOW)..now;
        self.0
            .iter()
            .filter(move |(second, _)| seconds.contains(second))
            .flat_map(|(_, habits)| habits)
    }

    fn sorted(&self, now: u64, of: impl Fn(&Habit) -> Option<u64>) -> Vec<u64> {
        let mut values: Vec<u64> = self.within(now).filter_map(of).collect();
        values.sort_unstable();
        values
    }

    pub(super) fn measured(&self, now: u64) -> Measured {
        let idle = self.sorted(now, |habit| Some(habit.idle));
        Measured {
            count: idle.len() as u64,
            lifetime: spread(&self.sorted(now, |habit| habit.lifetime)),
            idle: spread(&idle),
            exchanges: spread(&self.sorted(now, |habit| Some(habit.exchanges))),
        }
    }

    /// Why our side closes first, and what that is inferred from.
    pub(super) fn verdict(&self, now: u64) -> (Cause, &'static str) {
        let idle = self.sorted(now, |habit| Some(habit.idle));
        if idle.len() < ENOUGH {
            return (
                Cause::Unknown,
                "too few closes were measured to compare them",
            );
        }
        let exchanges = self.sorted(now, |habit| Some(habit.exchanges));
        let (silence, number) = (median(&idle), median(&exchanges));
        let slack = (silence * SILENCE_PERCENT / 100).max(nanos(SILENCE_SLACK));
        if silence >= nanos(SILENCE) && agree(&idle, silence, slack) {
            return (
                Cause::IdleTimeout,
                "the silence before the close is the same on most connections",
            );
        }
        if exchanges.iter().filter(|n| **n <= 1).count() * 100 >= exchanges.len() * AGREE {
            return (
                Cause::ShortConnections,
                "most connections carried one exchange",
            );
        }
        let slack = match number {
            0..10 => 0,
            _ => (number * EXCHANGES_PERCENT / 100).max(1),
        };
        if number >= 2 && silence < nanos(SILENCE) && agree(&exchanges, number, slack) {
            return (
                Cause::RequestLimit,
                "most connections carried the same number of exchanges and were closed after the last",
            );
        }
        (
            Cause::Unknown,
            "neither the exchanges nor the silence before the close are alike",
        )
    }
}

fn median(sorted: &[u64]) -> u64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn spread(sorted: &[u64]) -> Option<Spread> {
    let last = sorted.len().checked_sub(1)?;
    let at = |percent: usize| sorted.get(last * percent / 100).copied().unwrap_or(0);
    Some(Spread {
        p10: at(10),
        median: median(sorted),
        p90: at(90),
    })
}

/// Whether most lie near the middle.
fn agree(values: &[u64], middle: u64, slack: u64) -> bool {
    let near = values
        .iter()
        .filter(|n| n.abs_diff(middle) <= slack)
        .count();
    near * 100 >= values.len() * AGREE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(closes: impl IntoIterator<Item = (u64, u32, u32)>) -> Cause {
        let mut habits = Habits::default();
        for (number, (idle_ms, segments_in, segments_out)) in closes.into_iter().enumerate() {
            let usage = Usage {
                idle: Duration::from_millis(idle_ms),
                segments_in,
                segments_out,
            };
            habits.add(number as u64 / 8, Habit::new(&usage, None));
        }
        habits.verdict(60).0
    }

    #[test]
    fn three_habits_are_told_apart() {
        let many = 0..40_u32;
        assert_eq!(
            verdict(many.clone().map(|_| (4, 1, 30))),
            Cause::ShortConnections
        );
        assert_eq!(
            verdict(
                many.clone()
                    .map(|n| (5000 + u64::from(n % 4) * 50, 1 + n, 1 + n))
            ),
            Cause::IdleTimeout
        );
        assert_eq!(
            verdict(many.clone().map(|n| (u64::from(n % 8), 100, 100 + n % 3))),
            Cause::RequestLimit
        );
        assert_eq!(
            verdict(many.map(|n| (u64::from(n) * 100, 1 + n, 1 + n))),
            Cause::Unknown
        );
        assert_eq!(verdict((0..5).map(|_| (4, 1, 1))), Cause::Unknown);
    }

    #[test]
    fn one_exchange_before_a_timeout_is_a_timeout() {
        assert_eq!(verdict((0..20).map(|_| (65_000, 1, 1))), Cause::IdleTimeout);
    }
}
