//! What bounded tables forgot, or did not take in, because they were full.

use std::collections::BTreeMap;

/// How many entries each full table forgot or did not take in, by the table's name: a plural
/// (`sockets`, `processes`), or the finding whose rule keeps it (`fin_wait2_stuck`).
///
/// Invariant: names are those of this crate, so that there are few of them whatever a recording says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evictions(BTreeMap<&'static str, u64>);

impl Evictions {
    /// Counts `count` entries of `table`.
    pub(crate) fn add(&mut self, table: &'static str, count: u64) {
        if count > 0 {
            *self.0.entry(table).or_default() += count;
        }
    }

    /// Counts what another has counted as well.
    pub fn merge(&mut self, other: &Self) {
        for (table, count) in &other.0 {
            self.add(table, *count);
        }
    }

    /// Counts what another has counted, which then begins anew.
    pub(crate) fn append(&mut self, other: &mut Self) {
        for (table, count) in std::mem::take(&mut other.0) {
            self.add(table, count);
        }
    }

    /// Of all tables.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The name of a table that the edge to the kernel keeps, by the kind in its report.
    pub(crate) fn table_of(kind: Option<&str>) -> &'static str {
        match kind {
            Some("socket") => "sockets",
            Some("netns") => "namespaces",
            _ => "others",
        }
    }
}

/// In words: `fin_wait2_stuck 781, sockets 3`, the fullest first.
impl std::fmt::Display for Evictions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut tables: Vec<_> = self.0.iter().collect();
        tables.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), **name));
        for (place, (name, count)) in tables.into_iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name} {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_is_named_first() {
        let mut evictions = Evictions::default();
        evictions.add("sockets", 3);
        evictions.add("processes", 0);
        let mut more = Evictions::default();
        more.add("fin_wait2_stuck", 780);
        more.add("sockets", 1);
        evictions.append(&mut more);
        assert_eq!(more, Evictions::default());
        assert_eq!(evictions.to_string(), "fin_wait2_stuck 780, sockets 4");
        assert_eq!(evictions.total(), 784);
    }
}
