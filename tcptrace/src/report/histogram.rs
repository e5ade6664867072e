//! How long things took: a histogram of fixed size, whatever the number of values.

use std::time::Duration;

use serde::{Serialize, Serializer};
use tcptrace_core::units::nanos;

/// Four steps for each doubling, from 1 ns to 584 years: an error of at most 19 %.
const STEPS: usize = 4;
const BINS: usize = 64 * STEPS;

/// Counts by length.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    bins: Vec<u64>,
    total: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            bins: vec![0; BINS],
            total: 0,
            longest: Duration::ZERO,
        }
    }
}

fn bin(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let power = value.ilog2() as usize;
    // The two bits below the highest.
    let step = ((value >> (power - 2)) & 3) as usize;
    (power * STEPS + step).min(BINS - 1)
}

/// The smallest value of a bin.
fn floor(bin: usize) -> u64 {
    match bin {
        0..STEPS => bin as u64,
        _ => {
            let (power, step) = (bin / STEPS, bin % STEPS);
            if power < 2 {
                return STEPS as u64;
            }
            (4 + step as u64) << (power - 2)
        }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, value: Duration) {
        self.bins[bin(nanos(value))] += 1;
        self.total += 1;
        self.longest = self.longest.max(value);
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// The value that `share` of all are below, to the precision of a bin.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let wanted = (share * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.bins.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return Duration::from_nanos(floor(at)).min(self.longest);
            }
        }
        self.longest
    }

    /// From the first to the last bin that holds something: smallest value, count.
    pub(super) fn range(&self) -> Vec<(Duration, u64)> {
        let used = |count: &u64| *count > 0;
        let Some(first) = self.bins.iter().position(used) else {
            return Vec::new();
        };
        let last = self.bins.iter().rposition(used).unwrap_or(first);
        (first..=last)
            .filter(|at| *at < STEPS || *at >= 2 * STEPS)
            .map(|at| (Duration::from_nanos(floor(at)), self.bins[at]))
            .collect()
    }
}

#[derive(Serialize)]
struct Written {
    total: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    longest_ns: u64,
    /// Smallest value in ns, count.
    bins: Vec<(u64, u64)>,
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written {
            total: self.total,
            p50_ns: nanos(self.quantile(0.5)),
            p90_ns: nanos(self.quantile(0.9)),
            p99_ns: nanos(self.quantile(0.99)),
            longest_ns: nanos(self.longest),
            bins: self
                .range()
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(from, count)| (nanos(from), count))
                .collect(),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bin_begins_below_its_values_and_close_to_them(value: u64) {
            let low = floor(bin(value));
            prop_assert!(low <= value);
            prop_assert!(value < 4 || low as f64 >= value as f64 * 0.79);
        }
    }

    #[test]
    fn quantiles_are_close() {
        let mut histogram = Histogram::default();
        for ms in 1..=1000 {
            histogram.add(Duration::from_millis(ms));
        }
        let median = histogram.quantile(0.5).as_millis();
        assert!((400..=500).contains(&median), "{median}");
        assert_eq!(histogram.longest(), Duration::from_secs(1));
        let counted: u64 = histogram.range().iter().map(|(_, count)| count).sum();
        assert_eq!(counted, 1000);
    }
}
