//! The heaviest of many: counted by name in bounded memory. When there are too many names the
//! lightest are folded into one line, so that sums stay right.

use std::collections::BTreeMap;

use serde::Serialize;

/// Names kept after a clean-up, and when it is due. What is heavy at the end was heavy among these.
const KEPT: usize = 4096;
const MOST: usize = 2 * KEPT;

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Weight {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) failed: u64,
    pub(crate) retransmits: u64,
    pub(crate) resets: u64,
}

impl Weight {
    fn sum(&self) -> u64 {
        self.opened + self.closed + self.failed + self.retransmits + self.resets
    }

    fn merge(&mut self, other: &Self) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.failed += other.failed;
        self.retransmits += other.retransmits;
        self.resets += other.resets;
    }
}

/// Weights by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heaviest {
    by_name: BTreeMap<String, Weight>,
    others: Weight,
    folded: u64,
}

/// One line of a table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) weight: Weight,
}

impl Heaviest {
    pub(super) fn of(&mut self, name: &str) -> &mut Weight {
        if !self.by_name.contains_key(name) {
            if self.by_name.len() >= MOST {
                self.fold();
            }
            self.by_name.insert(name.to_owned(), Weight::default());
        }
        self.by_name.entry(name.to_owned()).or_default()
    }

    fn fold(&mut self) {
        let mut sums: Vec<u64> = self.by_name.values().map(Weight::sum).collect();
        sums.sort_unstable_by(|a, b| b.cmp(a));
        let least = sums.get(KEPT).copied().unwrap_or(0);
        let Self {
            by_name,
            others,
            folded,
        } = self;
        by_name.retain(|_, weight| {
            let stays = weight.sum() > least;
            if !stays {
                others.merge(weight);
                *folded += 1;
            }
            stays
        });
    }

    /// The `most` heaviest, and one line for all others.
    pub(super) fn lines(&self, most: usize) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .by_name
            .iter()
            .map(|(name, weight)| Line {
                name: name.clone(),
                weight: *weight,
            })
            .collect();
        lines.sort_by(|a, b| {
            b.weight
                .sum()
                .cmp(&a.weight.sum())
                .then_with(|| a.name.cmp(&b.name))
        });
        let mut others = self.others;
        let mut folded = self.folded;
        if lines.len() > most {
            for line in lines.drain(most..) {
                others.merge(&line.weight);
                folded += 1;
            }
        }
        if folded > 0 {
            lines.push(Line {
                name: format!("{folded} others"),
                weight: others,
            });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heavy_stay_and_sums_are_right() {
        let mut heaviest = Heaviest::default();
        for number in 0..30_000 {
            heaviest.of(&format!("process {number}")).opened += 1;
            heaviest.of("nginx").opened += 1;
        }
        assert!(heaviest.by_name.len() <= MOST);
        let lines = heaviest.lines(10);
        assert_eq!(
            (lines[0].name.as_str(), lines[0].weight.opened),
            ("nginx", 30_000)
        );
        assert_eq!(lines.len(), 11);
        let total: u64 = lines.iter().map(|line| line.weight.opened).sum();
        assert_eq!(total, 60_000);
    }
}
