//! The thresholds in force: defaults, and what `--set KIND.NAME=VALUE` made of them. They stand in
//! a recording's header, so that a replay judges by the same measure.

use std::time::Duration;

/// Every threshold of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Age at which a CLOSE_WAIT socket becomes suspect. `never_accepted` needs at most 10 s.
    pub close_wait_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            close_wait_after: Duration::from_secs(60),
        }
    }
}
