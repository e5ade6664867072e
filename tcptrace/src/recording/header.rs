//! The first and the last line of a recording: under which conditions it was made, and how it ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tcptrace_core::settings::Settings;
use tcptrace_core::units::MonoNs;

/// The version of the format that this build writes, and the newest that it reads. It is raised
/// only when an old reader would misunderstand a new file; a new field or type is no such case.
pub(super) const FORMAT_VERSION: u32 = 1;

/// The first line. Its `time` and `mono_ns` say when the recording began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Format version.
    pub(crate) version: FormatVersion,
    /// Version of the tcptrace that wrote it.
    pub(crate) tool_version: String,
    /// When the recording began.
    #[serde(rename = "mono_ns", skip_serializing)]
    pub(crate) at: MonoNs,
    /// Wall clock minus CLOCK_MONOTONIC at that moment, in ns.
    pub(crate) clock_offset_ns: i64,
    /// A random UUID.
    pub(crate) recording_id: String,
    /// `/proc/sys/kernel/random/boot_id`: monotonic times of one boot can be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) boot_id: Option<String>,
    /// Host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// Kernel release, as in `uname -r`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kernel: Option<String>,
    /// Machine, as in `uname -m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arch: Option<String>,
    /// Kernel timer frequency (CONFIG_HZ).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hz: Option<u32>,
    /// The command line of tcptrace itself.
    #[serde(default)]
    pub(crate) command: Vec<String>,
    /// The filters in force, as the command line spells them.
    #[serde(default)]
    pub(crate) filters: Vec<String>,
    /// The thresholds in force; a replay judges by them.
    #[serde(default)]
    pub(crate) thresholds: Thresholds,
    /// Which probes run, and at which tier.
    #[serde(default)]
    pub(crate) probes: Vec<Probe>,
    /// Which events were kept.
    #[serde(default)]
    pub(crate) completeness: Completeness,
    /// The number of this segment, from 1 on; absent when the recording is one file. Segments of
    /// one recording share `recording_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) segment: Option<u32>,
}

impl Header {
    /// Why a replay shows the recorded findings instead of computing them, if it does; `gap` says
    /// that segments before this one, or after it, are missing.
    pub(crate) fn incomplete_because(&self, gap: bool) -> Option<&'static str> {
        match self.completeness {
            Completeness::All if gap => Some("segments are missing"),
            Completeness::All => None,
            Completeness::Filtered => Some("it was filtered"),
            Completeness::Suspects => Some("it holds only sockets in trouble"),
            Completeness::None => Some("it holds no events"),
            Completeness::Partial => Some("it began in the middle of a run"),
        }
    }
}

/// A format version; the default is the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct FormatVersion(pub(crate) u32);

impl Default for FormatVersion {
    fn default() -> Self {
        Self(FORMAT_VERSION)
    }
}

/// [`Settings`] as written: `KIND.NAME`, durations in ns. What a newer writer added is ignored;
/// what an older one lacks has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    into = "BTreeMap<String, u64>",
    from = "BTreeMap<String, serde_json::Value>"
)]
pub(crate) struct Thresholds(Settings);

/// As recordings of the first days spelt it.
const CLOSE_WAIT_AFTER: &str = "close_wait_after_ns";

impl From<Thresholds> for BTreeMap<String, u64> {
    fn from(Thresholds(settings): Thresholds) -> Self {
        settings
            .all()
            .iter()
            .map(|threshold| (threshold.header_name(), threshold.header_value()))
            .collect()
    }
}

impl From<BTreeMap<String, serde_json::Value>> for Thresholds {
    fn from(written: BTreeMap<String, serde_json::Value>) -> Self {
        let mut settings = Settings::default();
        for (name, value) in written {
            let Some(number) = value.as_u64() else {
                continue;
            };
            match name.as_str() {
                CLOSE_WAIT_AFTER => settings.set_from_header("close_wait_leak.after_ns", number),
                name => settings.set_from_header(name, number),
            }
        }
        Self(settings)
    }
}

impl From<&Settings> for Thresholds {
    fn from(settings: &Settings) -> Self {
        Self(settings.clone())
    }
}

impl From<&Thresholds> for Settings {
    fn from(Thresholds(settings): &Thresholds) -> Self {
        settings.clone()
    }
}

/// One probe of this run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// Its name.
    pub(crate) name: String,
    /// Where it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hook: Option<String>,
    /// By which means, the first that this kernel allowed: `tracepoint`, `fexit`, `syscall`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tier: Option<String>,
    /// Whether it runs.
    pub(crate) attached: bool,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// Which events a recording keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Completeness {
    /// Every Input: a replay recomputes the findings.
    #[default]
    All,
    /// Every Input about the sockets that pass the filters. The engine saw the others too: the
    /// recorded findings are the ones to show.
    Filtered,
    /// Only facts about sockets in trouble: what repeats, resets, is refused or inspected.
    Suspects,
    /// No facts about single sockets at all: findings, counters, losses.
    None,
    /// It began in the middle of a run, or a newer writer kept something less: the recorded
    /// findings are the ones to show.
    #[serde(other)]
    Partial,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ended {
    /// SIGINT or SIGTERM.
    Signal,
    /// The time that was asked for is over.
    Duration,
    /// The user left the TUI.
    Quit,
    /// The file system is nearly full.
    DiskLow,
    /// The run failed.
    Failure,
    /// It goes on in the next segment.
    Rotated,
    /// A reason that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The last line. A recording without one was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Footer {
    /// When it ended.
    #[serde(rename = "mono_ns", skip_serializing)]
    pub(crate) at: MonoNs,
    /// Why.
    pub(crate) ended: Ended,
    /// Lines written, by type; neither header nor footer counts.
    pub(crate) counts: BTreeMap<String, u64>,
    /// Facts lost, by cause.
    pub(crate) losses: BTreeMap<String, u64>,
}
