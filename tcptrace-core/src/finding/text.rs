//! The sentences of a finding.

use crate::finding::Finding;
use crate::units::MonoNs;

impl Finding {
    /// One sentence: what, the numbers, since when.
    pub fn summary(&self, now: MonoNs) -> String {
        let _ = now;
        String::new()
    }

    /// One sentence: what to do, with this host's own values.
    pub fn advice(&self) -> String {
        String::new()
    }
}
