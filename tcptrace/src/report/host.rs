//! Under which conditions a recording was made.

use serde::Serialize;

/// The header of a recording, for people.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) kernel: String,
    pub(crate) arch: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hz: Option<u32>,
    pub(crate) boot_id: String,
    pub(crate) recording_id: String,
    pub(crate) tool_version: String,
    pub(crate) command: Vec<String>,
    pub(crate) filters: Vec<String>,
    pub(crate) completeness: String,
    pub(crate) files: Vec<String>,
    /// Of thresholds, only those that are not as usual: name and value.
    pub(crate) thresholds: Vec<(String, String)>,
    pub(crate) probes: Vec<Probe>,
    /// Namespace and its settings.
    pub(crate) sysctls: Vec<(u32, Vec<(String, u32)>)>,
}

/// One probe of the run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Probe {
    pub(crate) name: String,
    pub(crate) tier: String,
    pub(crate) attached: bool,
    pub(crate) reason: String,
}
