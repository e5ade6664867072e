//! Counts by the second in which something happened.

use std::collections::VecDeque;

use crate::units::MonoNs;

/// Seconds kept: more than the longest window, which is `tcp_fin_timeout` where somebody raised it.
const KEPT: u64 = 256;

const NS: u64 = 1_000_000_000;

/// The second that an instant lies in.
pub(in crate::rules) fn of(at: MonoNs) -> u64 {
    at.0 / NS
}

/// The instant at which a second begins.
pub(in crate::rules) fn start(second: u64) -> MonoNs {
    MonoNs(second.saturating_mul(NS))
}

/// How many things happened in each of the last seconds.
#[derive(Debug, Default)]
pub(in crate::rules) struct Seconds(VecDeque<(u64, u64)>);

impl Seconds {
    pub(in crate::rules) fn add(&mut self, second: u64, count: u64) {
        let at = self.0.iter().rev().take_while(|(s, _)| *s > second).count();
        let at = self.0.len() - at;
        match at.checked_sub(1).and_then(|before| self.0.get_mut(before)) {
            Some((s, known)) if *s == second => *known += count,
            _ => self.0.insert(at, (second, count)),
        }
        while let (Some(first), Some(last)) = (self.0.front(), self.0.back())
            && first.0 + KEPT < last.0
        {
            self.0.pop_front();
        }
    }

    /// How many in the `window` seconds before `second`, which is not counted itself.
    pub(in crate::rules) fn before(&self, second: u64, window: u64) -> u64 {
        let first = second.saturating_sub(window);
        self.0
            .iter()
            .filter(|(s, _)| (first..second).contains(s))
            .map(|(_, count)| count)
            .sum()
    }

    /// The last second in which something happened.
    pub(in crate::rules) fn last(&self) -> Option<u64> {
        self.0.back().map(|(second, _)| *second)
    }
}

/// A level that is told now and then.
#[derive(Debug, Default)]
pub(in crate::rules) struct Level(VecDeque<(u64, u64)>);

impl Level {
    pub(in crate::rules) fn set(&mut self, second: u64, value: u64) {
        let after = self.0.iter().rev().take_while(|(s, _)| *s > second).count();
        self.0.insert(self.0.len() - after, (second, value));
        while self.0.len() > KEPT as usize {
            self.0.pop_front();
        }
    }

    /// What was told last before `second`, and in which second.
    pub(in crate::rules) fn before(&self, second: u64) -> Option<(u64, u64)> {
        self.0.iter().rev().find(|(s, _)| *s < second).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_the_seconds_that_are_over() {
        let mut seconds = Seconds::default();
        for (second, count) in [(5, 1), (7, 2), (6, 4), (7, 8)] {
            seconds.add(second, count);
        }
        assert_eq!(seconds.before(7, 2), 5);
        assert_eq!(seconds.before(8, 1), 10);
        assert_eq!(seconds.before(8, 60), 15);
        assert_eq!(seconds.last(), Some(7));
        seconds.add(1000, 1);
        assert_eq!(seconds.before(2000, 2000), 1, "the old are forgotten");
    }
}
