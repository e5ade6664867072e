//! How many handshakes a listener refused, and how fast, from samples of its drop counter.
//!
//! Invariant: entries live as long as their listener; each keeps a bounded run of samples.

use std::collections::{BTreeMap, VecDeque};

use crate::units::{MonoNs, SockId};

/// Samples kept: the rate is the mean over about this many seconds.
const SAMPLES: usize = 10;

/// Drops of one listener.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Drops {
    /// `sk_drops` gained since the trace began (1 per dropped SYN, 2 per dropped final ACK).
    pub total: u64,
    /// The same per second, over the last ten samples.
    pub per_second: f64,
}

#[derive(Debug, Default)]
struct Gauge {
    total: u64,
    /// When, the raw counter, and the total then.
    samples: VecDeque<(MonoNs, u32, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Queues {
    gauges: BTreeMap<SockId, Gauge>,
}

impl Queues {
    pub(super) fn sample(&mut self, id: SockId, at: MonoNs, drops: u32) {
        let gauge = self.gauges.entry(id).or_default();
        if let Some((_, before, _)) = gauge.samples.back() {
            // The kernel's counter is an int and wraps.
            gauge.total += u64::from(drops.wrapping_sub(*before));
        }
        if gauge.samples.len() == SAMPLES {
            gauge.samples.pop_front();
        }
        gauge.samples.push_back((at, drops, gauge.total));
    }

    pub(super) fn forget(&mut self, id: SockId) {
        self.gauges.remove(&id);
    }

    pub(super) fn drops(&self, id: SockId) -> Option<Drops> {
        let gauge = self.gauges.get(&id)?;
        let (first, last) = (gauge.samples.front()?, gauge.samples.back()?);
        let seconds = last.0.since(first.0).as_secs_f64();
        let per_second = if seconds > 0.0 {
            (last.2 - first.2) as f64 / seconds
        } else {
            0.0
        };
        Some(Drops {
            total: gauge.total,
            per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_from_the_first_sample_and_rates_from_the_last_ones() {
        let mut queues = Queues::default();
        let id = SockId(1);
        assert_eq!(queues.drops(id), None);
        for second in 0..20_u64 {
            let gained = if second < 10 { 0 } else { 3 * (second - 9) };
            let raw = u32::MAX.wrapping_sub(4).wrapping_add(gained as u32);
            queues.sample(id, MonoNs(second * 1_000_000_000), raw);
        }
        let drops = queues.drops(id).expect("sampled");
        assert_eq!((drops.total, drops.per_second), (30, 3.0));
        queues.forget(id);
        assert_eq!(queues.drops(id), None);
    }
}
