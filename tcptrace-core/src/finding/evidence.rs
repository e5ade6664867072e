//! The proof of each kind of finding, as data.
//!
//! Invariant: the serialized names are public contract (the `evidence` of a recording). Durations
//! carry `_ns`, instants `_mono_ns`; what is not known is absent.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::input::{EpollWatch, Holder, SocketKey, ThreadState};
use crate::tcp::TcpState;
use crate::units::{MonoNs, Pid, nanos};

mod closing;
mod unanswered;

pub use closing::{
    FinWait2Evidence, PortEvidence, ResetEvidence, Side, Spread, TimeWaitEvidence, Way,
};
pub use unanswered::{
    AttemptOutcomes, BacklogTruncatedEvidence, ClosingStuckEvidence, DeadPeerEvidence, Detection,
    Patience, Repeated, SynRetransmitEvidence, SynackRetransmitEvidence,
};

/// The proof of a finding, as data.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "each payload is documented on its type")]
pub enum Evidence {
    CloseWait(CloseWaitEvidence),
    AcceptQueue(AcceptQueueEvidence),
    SynQueue(SynQueueEvidence),
    FinRetransmit(FinRetransmitEvidence),
    TimeWait(TimeWaitEvidence),
    Ports(PortEvidence),
    FinWait2(FinWait2Evidence),
    Resets(ResetEvidence),
    SynRetransmit(SynRetransmitEvidence),
    SynackRetransmit(SynackRetransmitEvidence),
    DeadPeer(DeadPeerEvidence),
    ClosingStuck(ClosingStuckEvidence),
    BacklogTruncated(BacklogTruncatedEvidence),
    Told(ToldEvidence),
}

/// A finding that was told and not concluded here, because the facts are not at hand: its sentences,
/// and its proof as names and values.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ToldEvidence {
    /// What, the numbers, since when, at the time of telling.
    pub summary: String,
    /// What to do.
    pub advice: String,
    /// The proof.
    pub rows: Vec<(String, String)>,
}

/// Proof of a `close_wait_leak`, from the inspection of its first sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CloseWaitEvidence {
    /// The inference, where confidence is not exact; the reason, where it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference: Option<&'static str>,
    /// Bytes not read, the FIN (1) included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<u32>,
    /// Unread bytes when the FIN arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_at_fin: Option<u32>,
    /// The application reads by epoll: its registrations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub epoll: Vec<EpollWatch>,
    /// Threads in poll or select on it.
    pub polling: u32,
    /// Threads blocked in a call on it.
    pub blocked: u32,
    /// How often it was inspected.
    pub peeks: u32,
    /// Its descriptors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
    /// Every process was scanned for `holders`.
    pub holders_complete: bool,
    /// What the holders' threads do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<ThreadState>,
    /// `never_accepted`: does anybody wait on the listener?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener_watched: Option<bool>,
    /// `never_accepted`: when the last accept on that listener returned, if ever since the start.
    #[serde(
        rename = "last_accept_mono_ns",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_accept: Option<MonoNs>,
    /// `never_accepted`: who accepted then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_acceptor: Option<Pid>,
    /// `never_accepted`: whether that process still lives, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptor_lives: Option<bool>,
    /// Age of the oldest; a lower bound when `age_is_lower_bound`.
    #[serde(rename = "oldest_age_ns", serialize_with = "in_ns")]
    pub oldest_age: Duration,
    /// The tracer is younger than the socket.
    pub age_is_lower_bound: bool,
    /// Open descriptors and their limit, of the largest holder.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "open_and_limit"
    )]
    pub descriptors: Option<(u64, u64)>,
    /// When that holder will have no descriptor left, if the growth of the last minutes goes on.
    #[serde(
        rename = "exhausted_in_ns",
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_in_ns"
    )]
    pub exhausted_in: Option<Duration>,
}

/// Proof of an `accept_queue_overflow`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AcceptQueueEvidence {
    /// The listener.
    pub listener: SocketKey,
    /// A look showed the queue full. Else the drops alone tell of it: it filled between two looks.
    pub seen_full: bool,
    /// The queue's length when last seen full, or else when last seen.
    pub depth: u32,
    /// Its limit: min(backlog, somaxconn).
    pub limit: u32,
    /// The namespace's somaxconn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub somaxconn: Option<u32>,
    /// Drops that this finding explains.
    pub drops: u64,
    /// What the kernel counted in the namespace (ListenOverflows) since the finding opened.
    pub kernel_drops: u64,
    /// When the last accept returned, if ever since the start.
    #[serde(
        rename = "last_accept_mono_ns",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_accept: Option<MonoNs>,
    /// Who accepted last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_acceptor: Option<Pid>,
    /// Somebody waits on the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watched: Option<bool>,
    /// `tcp_abort_on_overflow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_on_overflow: Option<bool>,
    /// Open descriptors and their limit, of the owner.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "open_and_limit"
    )]
    pub descriptors: Option<(u64, u64)>,
    /// SYN-ACKs repeated although the client had answered.
    pub synacks_to_answered_clients: u64,
    /// The inference, where confidence is not exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference: Option<&'static str>,
}

/// Proof of a `syn_queue_overflow`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SynQueueEvidence {
    /// The listener.
    pub listener: SocketKey,
    /// A look showed the queue full. Else the drops alone tell of it: it filled between two looks.
    pub seen_full: bool,
    /// Half-open connections when last seen full, or else when last seen.
    pub depth: u32,
    /// The limit: the listen backlog.
    pub limit: u32,
    /// SYNs discarded.
    pub dropped: u64,
    /// SYNs answered with a cookie.
    pub cookies: u64,
    /// What the kernel counted in the namespace (TCPReqQFullDrop + TCPReqQFullDoCookies).
    pub kernel_drops: u64,
    /// `tcp_syncookies`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syncookies: Option<u32>,
    /// `tcp_max_syn_backlog`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_syn_backlog: Option<u32>,
    /// SYN-ACKs repeated unanswered.
    pub unanswered_synacks: u64,
    /// Different client addresses among them, counted up to 1024.
    pub sources: u32,
    /// The inference, where confidence is not exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference: Option<&'static str>,
}

/// How a closing connection with a repeated FIN ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FinOutcomes {
    /// Still waiting.
    pub waiting: u64,
    /// Acknowledged in the end.
    pub acknowledged: u64,
    /// Reset by the peer.
    pub reset: u64,
    /// Given up by the kernel.
    pub timed_out: u64,
}

/// Proof of a `fin_retransmit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FinRetransmitEvidence {
    /// The state of the connection that repeated most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<TcpState>,
    /// Its attempts, loss probes not counted.
    pub attempt: u32,
    /// Its backoff exponent.
    pub backoff: u32,
    /// When it will try next, from the last attempt on.
    #[serde(
        rename = "next_timeout_ns",
        skip_serializing_if = "Option::is_none",
        serialize_with = "maybe_in_ns"
    )]
    pub next_timeout: Option<Duration>,
    /// How long the kernel goes on, and by which setting.
    #[serde(flatten)]
    pub patience: Patience,
    /// No descriptor is left.
    pub orphan: bool,
    /// What became of the connections.
    pub outcomes: FinOutcomes,
    /// Segments that repeated data, not the FIN, in a closing state.
    pub data_retransmits: u64,
    /// Which segment was lost, as far as this host can know.
    pub lost: &'static str,
}

#[derive(Serialize)]
struct OpenAndLimit {
    open: u64,
    limit: u64,
}

#[derive(Serialize)]
struct SysctlAndValue {
    sysctl: &'static str,
    value: u32,
}

fn open_and_limit<S: Serializer>(
    value: &Option<(u64, u64)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value
        .map(|(open, limit)| OpenAndLimit { open, limit })
        .serialize(serializer)
}

fn sysctl_and_value<S: Serializer>(
    value: &Option<(&'static str, u32)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value
        .map(|(sysctl, value)| SysctlAndValue { sysctl, value })
        .serialize(serializer)
}

fn in_ns<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(nanos(*value))
}

fn maybe_in_ns<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(nanos).serialize(serializer)
}
