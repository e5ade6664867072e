//! The proof of what goes wrong where connections close: piles of TIME_WAIT, exhausted ports, stuck
//! FIN_WAIT2, bursts of resets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::maybe_in_ns;
use crate::units::nanos;

/// How a number is spread over the closes that were measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// A tenth of the closes had less.
    pub p10: u64,
    /// Half of them had less.
    pub median: u64,
    /// A tenth of them had more.
    pub p90: u64,
}

/// Which side of the service the closer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// It accepted the connections.
    Server,
    /// It made the connections.
    Client,
    /// The connections are older than the tracer.
    #[default]
    Unknown,
}

/// Proof of a `time_wait_pileup`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TimeWaitEvidence {
    /// Who closes first.
    pub closes_first: Side,
    /// Connections a second that entered TIME_WAIT, over the last minute.
    pub per_second: f64,
    /// Sockets in TIME_WAIT in the whole namespace, as the kernel counts them (`ss -s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_sockets: Option<u64>,
    /// `tcp_max_tw_buckets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tw_buckets: Option<u32>,
    /// TIME_WAITs that the kernel skipped because of that limit (TCPTimeWaitOverflow), since the
    /// finding opened.
    pub overflows: u64,
    /// Closes whose use was measured, of the last minute.
    pub measured: u64,
    /// How long they lasted, in nanoseconds, where the beginning was seen.
    #[serde(rename = "lifetime_ns", skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Spread>,
    /// How long nothing went either way before the close, in nanoseconds.
    #[serde(rename = "idle_ns", skip_serializing_if = "Option::is_none")]
    pub idle: Option<Spread>,
    /// Requests and responses: the smaller of the segments with data in either direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchanges: Option<Spread>,
    /// `tcp_tw_reuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tw_reuse: Option<u32>,
    /// `tcp_timestamps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<u32>,
    /// The inference; or the reason, where the cause is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference: Option<&'static str>,
}

/// Proof of a `port_exhaustion`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PortEvidence {
    /// The source address whose ports run out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Connections that live.
    pub live: u64,
    /// Connections in TIME_WAIT.
    pub time_wait: u64,
    /// `tcp_tw_reuse` lets a new connection take the port of one in TIME_WAIT after
    /// `tcp_tw_reuse_delay`, a second by default.
    pub time_wait_reusable: bool,
    /// Ports that a new connection cannot take.
    pub used: u64,
    /// Ports that there are: the range less the reserved ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// `ip_local_port_range`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<(u32, u32)>,
    /// `ip_local_reserved_ports` within it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved: Option<u32>,
    /// Share in use, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u64>,
    /// Connects that found no port (EADDRNOTAVAIL), since the finding opened.
    pub refused: u64,
    /// At the rate of the last minute, when no port will be left.
    #[serde(
        rename = "exhausted_in_ns",
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_in_ns"
    )]
    pub exhausted_in: Option<Duration>,
    /// `tcp_tw_reuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tw_reuse: Option<u32>,
    /// `tcp_timestamps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<u32>,
    /// What had to be inferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference: Option<&'static str>,
}

/// Proof of a `fin_wait2_stuck`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FinWait2Evidence {
    /// Age of the oldest.
    #[serde(rename = "oldest_age_ns", serialize_with = "in_ns")]
    pub oldest_age: Duration,
    /// How long nothing has arrived on the one that was heard of last.
    #[serde(
        rename = "silent_ns",
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_in_ns"
    )]
    pub silent: Option<Duration>,
    /// Orphans in FIN_WAIT2 that the kernel has in the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
    /// `tcp_fin_timeout`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fin_timeout: Option<u32>,
    /// What had to be inferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference: Option<&'static str>,
}

/// Which way resets go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// This host sends them.
    #[default]
    Sent,
    /// The peer sends them.
    Received,
}

/// Proof of a `reset_burst`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ResetEvidence {
    /// Which way they go.
    pub direction: Way,
    /// How many within the window.
    pub recent: u64,
    /// Connections of the host that closed within the window, those reset included.
    pub closes: u64,
    /// The kernel's names for the reasons (Linux 6.10 on), with their counts, the commonest first.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "reasons")]
    pub reasons: Vec<(Arc<str>, u64)>,
    /// Most bytes that a reset connection left unread, a FIN not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<u32>,
    /// The signal that ended the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
    /// Who reset them by `ss -K`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killer: Option<u32>,
    /// `tcp_abort_on_overflow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_on_overflow: Option<u32>,
    /// `tcp_max_orphans`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_orphans: Option<u32>,
    /// The inference; or the reason, where the cause is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference: Option<&'static str>,
}

#[derive(Serialize)]
struct Reason<'a> {
    name: &'a str,
    count: u64,
}

fn reasons<S: Serializer>(value: &[(Arc<str>, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(value.iter().map(|(name, count)| Reason {
        name,
        count: *count,
    }))
}

fn in_ns<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(nanos(*value))
}
