//! How many connections closed lately, for shares.

use crate::rules::fin_retransmit::WINDOW;
use crate::units::MonoNs;

/// Closes of the last minute, by second.
#[derive(Debug)]
pub(super) struct Closes([(u64, u64); 64]);

impl Default for Closes {
    fn default() -> Self {
        Self([(0, 0); 64])
    }
}

impl Closes {
    pub(super) fn add(&mut self, at: MonoNs) {
        let second = at.0 / 1_000_000_000;
        let bucket = &mut self.0[(second % 64) as usize];
        if bucket.0 != second {
            *bucket = (second, 0);
        }
        bucket.1 += 1;
    }

    pub(super) fn within(&self, at: MonoNs) -> u64 {
        let second = at.0 / 1_000_000_000;
        let oldest = second.saturating_sub(WINDOW.as_secs());
        self.0
            .iter()
            .filter(|bucket| (oldest..=second).contains(&bucket.0))
            .map(|bucket| bucket.1)
            .sum()
    }
}
