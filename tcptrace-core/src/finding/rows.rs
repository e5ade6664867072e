//! The evidence of a finding as rows of a table.

use crate::finding::Evidence;
use crate::units::MonoNs;

impl Evidence {
    /// The evidence as a table of names and values, for a screen.
    pub fn rows(&self, now: MonoNs) -> Vec<(&'static str, String)> {
        let _ = now;
        Vec::new()
    }
}
