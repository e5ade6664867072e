//! The proof of what waits for an answer of the peer's: repeated SYNs, SYN-ACKs and data, closes
//! that get stuck, silent peers; and of a listen queue that was made shorter than asked for.

use std::time::Duration;

use serde::Serialize;

use super::{in_ns, maybe_in_ns, sysctl_and_value};
use crate::input::SocketKey;
use crate::tcp::TcpState;

/// How long the kernel goes on repeating, and by which setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Patience {
    /// The limit in force and where it comes from: a sysctl of `net.ipv4`, or TCP_SYNCNT.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "sysctl_and_value"
    )]
    pub limit: Option<(&'static str, u32)>,
    /// `tcp_syn_linear_timeouts`: so many SYNs more, without doubling (Linux 6.5 on).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear: Option<u32>,
    /// TCP_USER_TIMEOUT of the socket, which overrides the limit.
    #[serde(
        rename = "user_timeout_ns",
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_in_ns"
    )]
    pub user_timeout: Option<Duration>,
    /// From the first segment to the end of the kernel's patience.
    #[serde(
        rename = "gives_up_after_ns",
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_in_ns"
    )]
    pub gives_up_after: Option<Duration>,
}

impl Patience {
    /// Repetitions that the limit allows.
    pub fn attempts(&self) -> Option<u32> {
        Some(self.limit?.1 + self.linear.unwrap_or(0))
    }
}

/// What became of those that were repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AttemptOutcomes {
    /// Still unanswered.
    pub waiting: u64,
    /// Answered in the end.
    pub answered: u64,
    /// Reset or refused by the peer.
    pub reset: u64,
    /// Given up by the kernel.
    pub timed_out: u64,
    /// Given up by the application, or gone without a word.
    pub abandoned: u64,
}

/// What repeats most, in any of these kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Repeated {
    /// Its repetitions so far.
    pub attempt: u32,
    /// From the last repetition to the next.
    #[serde(
        rename = "next_timeout_ns",
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_in_ns"
    )]
    pub next_timeout: Option<Duration>,
    /// How long the kernel goes on.
    #[serde(flatten)]
    pub patience: Patience,
    /// What became of all of them.
    pub outcomes: AttemptOutcomes,
    /// The inference, where confidence is not exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference: Option<&'static str>,
}

/// Proof of a `syn_retransmit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SynRetransmitEvidence {
    /// SYN_SENT; SYN_RECV in a simultaneous open, where it is our SYN-ACK that is repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<TcpState>,
    /// Attempts and outcomes.
    #[serde(flatten)]
    pub repeated: Repeated,
    /// Which segment was lost, as far as this host can know.
    pub lost: &'static str,
}

/// Proof of a `synack_retransmit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SynackRetransmitEvidence {
    /// The listener.
    pub listener: SocketKey,
    /// Attempts and outcomes.
    #[serde(flatten)]
    pub repeated: Repeated,
    /// Repetitions that answered a SYN that the client repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeated_syns: Option<u32>,
    /// The listener's accept queue when last sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// Its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_limit: Option<u32>,
    /// Which segment was lost, as far as this host can know.
    pub lost: &'static str,
}

/// How long keepalive needs to notice a dead peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Detection {
    /// Silence before the first probe.
    #[serde(rename = "time_ns", serialize_with = "in_ns")]
    pub time: Duration,
    /// From probe to probe.
    #[serde(rename = "interval_ns", serialize_with = "in_ns")]
    pub interval: Duration,
    /// Unanswered probes that are enough.
    pub probes: u32,
    /// The socket has its own settings; else they are the namespace's.
    pub per_socket: bool,
    /// All of it: `time` + `interval` x `probes`.
    #[serde(rename = "total_ns", serialize_with = "in_ns")]
    pub total: Duration,
}

/// Proof of a `dead_peer`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeadPeerEvidence {
    /// The state of the connection that repeated most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<TcpState>,
    /// Attempts and outcomes.
    #[serde(flatten)]
    pub repeated: Repeated,
    /// Of those that timed out, with nothing in flight: keepalive probes were unanswered.
    pub by_keepalive: u64,
    /// Silent connections without SO_KEEPALIVE.
    pub idle: u64,
    /// How long the most silent of them has been so.
    #[serde(
        rename = "longest_idle_ns",
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_in_ns"
    )]
    pub longest_idle: Option<Duration>,
    /// SO_KEEPALIVE is set on the connection that repeated most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<bool>,
    /// How long keepalive needs, or would need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection: Option<Detection>,
}

/// Proof of a `closing_stuck`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClosingStuckEvidence {
    /// The state of the oldest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<TcpState>,
    /// How long it has been closing.
    #[serde(rename = "oldest_age_ns", serialize_with = "in_ns")]
    pub oldest_age: Duration,
    /// It was closing already when the tracer came.
    pub age_is_lower_bound: bool,
    /// Bytes that the peer has room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Bytes never sent; the FIN counts 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent: Option<u32>,
    /// Bytes that the peer has not acknowledged, unsent ones included; the FIN counts 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacked: Option<u32>,
    /// Window probes that are unanswered: 0 while the peer is alive and says that it is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes_out: Option<u8>,
    /// `icsk_backoff`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<u8>,
    /// Segments of data repeated while closing, by timeout.
    pub data_retransmits: u64,
    /// No descriptor is left.
    pub orphan: bool,
    /// How long the kernel goes on.
    #[serde(flatten)]
    pub patience: Patience,
}

/// Proof of a `backlog_truncated`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BacklogTruncatedEvidence {
    /// The listener.
    pub listener: SocketKey,
    /// The most that its queue held.
    pub depth: u32,
    /// The limit, equal to `somaxconn`.
    pub limit: u32,
    /// `net.core.somaxconn`.
    pub somaxconn: u32,
    /// What is inferred.
    pub inference: &'static str,
}
