//! How often something happened lately, for shares: "5 % of the handshakes".

use std::time::Duration;

use crate::units::MonoNs;

/// The longest window that is counted, in seconds; a longer one is treated as this.
const LONGEST: u64 = 600;

/// Occurrences of the last ten minutes, by second. 10 KB, allocated with the first one.
#[derive(Debug, Default)]
pub(crate) struct PerSecond(Vec<(u64, u64)>);

impl PerSecond {
    pub(crate) fn add(&mut self, at: MonoNs) {
        let second = at.0 / 1_000_000_000;
        if self.0.is_empty() {
            self.0.resize(LONGEST as usize + 4, (0, 0));
        }
        let place = (second % self.0.len() as u64) as usize;
        let bucket = &mut self.0[place];
        if bucket.0 != second {
            *bucket = (second, 0);
        }
        bucket.1 += 1;
    }

    /// How many in the `window` before `at`, the second of `at` included.
    pub(crate) fn within(&self, at: MonoNs, window: Duration) -> u64 {
        let second = at.0 / 1_000_000_000;
        let oldest = second.saturating_sub(window.as_secs().min(LONGEST));
        self.0
            .iter()
            .filter(|bucket| (oldest..=second).contains(&bucket.0))
            .map(|bucket| bucket.1)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts() {
        let mut count = PerSecond::default();
        let second = |s: u64| MonoNs(s * 1_000_000_000);
        assert_eq!(count.within(second(9), Duration::from_secs(60)), 0);
        for s in [1, 50, 100, 100, 700] {
            count.add(second(s));
        }
        assert_eq!(count.within(second(100), Duration::from_secs(60)), 3);
        assert_eq!(count.within(second(110), Duration::from_secs(5)), 0);
        assert_eq!(count.within(second(700), Duration::from_secs(6000)), 3);
    }
}
