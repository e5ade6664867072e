//! What happened when: a fixed number of buckets of equal width, which doubles as the recording goes
//! on, so that a minute and a month both fit.

use std::time::Duration;

use serde::Serialize;
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{MonoNs, nanos};

/// Buckets: as many as a chart on a desk has room for.
const BUCKETS: usize = 240;

/// The first width: what rates are told by.
const FINEST: Duration = Duration::from_secs(1);

/// What one bucket counts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Bucket {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) failed: u64,
    pub(crate) retransmits: u64,
    pub(crate) resets: u64,
    pub(crate) drops: u64,
    pub(crate) lost: u64,
    /// Sockets in each state at its last tick, by the kernel's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_state: Option<[u64; 13]>,
}

impl Bucket {
    fn merge(&mut self, later: &Self) {
        self.opened += later.opened;
        self.closed += later.closed;
        self.failed += later.failed;
        self.retransmits += later.retransmits;
        self.resets += later.resets;
        self.drops += later.drops;
        self.lost += later.lost;
        self.in_state = later.in_state.or(self.in_state);
    }
}

/// The buckets of a recording.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Buckets {
    #[serde(rename = "begin_mono_ns")]
    pub(crate) begin: MonoNs,
    pub(crate) width_ns: u64,
    pub(crate) buckets: Vec<Bucket>,
}

impl Buckets {
    pub(super) fn new(begin: MonoNs) -> Self {
        Self {
            begin,
            width_ns: nanos(FINEST),
            buckets: Vec::new(),
        }
    }

    /// The bucket of an instant; what is older than the recording counts at its beginning.
    pub(super) fn at(&mut self, at: MonoNs) -> &mut Bucket {
        let since = nanos(at.since(self.begin));
        while since / self.width_ns >= BUCKETS as u64 {
            self.coarsen();
        }
        let number = (since / self.width_ns) as usize;
        if number >= self.buckets.len() {
            self.buckets.resize(number + 1, Bucket::default());
        }
        &mut self.buckets[number]
    }

    fn coarsen(&mut self) {
        self.width_ns *= 2;
        self.buckets = self
            .buckets
            .chunks(2)
            .map(|pair| {
                let mut sum = pair[0];
                if let Some(later) = pair.get(1) {
                    sum.merge(later);
                }
                sum
            })
            .collect();
    }

    /// One number of each bucket, a second.
    pub(super) fn rate(&self, of: impl Fn(&Bucket) -> u64) -> Vec<f64> {
        let width = self.width_ns as f64 / 1e9;
        self.buckets
            .iter()
            .map(|bucket| of(bucket) as f64 / width)
            .collect()
    }

    /// Sockets in one state over time; what a bucket does not tell is as before.
    pub(super) fn in_state(&self, state: TcpState) -> Vec<f64> {
        let mut last = 0.0;
        self.buckets
            .iter()
            .map(|bucket| {
                if let Some(counts) = bucket.in_state {
                    last = counts[state as usize] as f64;
                }
                last
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_fits_and_nothing_is_lost() {
        let mut buckets = Buckets::new(MonoNs(0));
        for minute in 0..43_200_u64 {
            buckets.at(MonoNs(minute * 60_000_000_000)).opened += 1;
        }
        assert!(buckets.buckets.len() <= BUCKETS);
        let total: u64 = buckets.buckets.iter().map(|b| b.opened).sum();
        assert_eq!(total, 43_200);
    }
}
