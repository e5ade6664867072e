//! What tcptrace concludes. Kinds, causes and evidence are data; the sentences are made from them
//! once, in `text` and `rows`, for every consumer.
//!
//! Invariant: nothing here decides; a finding is what a rule concluded.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::input::{Frame, ProcessInfo, SocketCall, SocketKey};
use crate::units::{MonoNs, Pid, Port, SockId};

mod catalogue;
mod confirm;
mod evidence;
mod place;
mod rows;
mod text;

pub use evidence::{
    AcceptQueueEvidence, AttemptOutcomes, BacklogTruncatedEvidence, CloseWaitEvidence,
    ClosingStuckEvidence, DeadPeerEvidence, Detection, Evidence, FinOutcomes,
    FinRetransmitEvidence, FinWait2Evidence, Patience, PortEvidence, Repeated, ResetEvidence, Side,
    Spread, SynQueueEvidence, SynRetransmitEvidence, SynackRetransmitEvidence, TimeWaitEvidence,
    ToldEvidence, Way,
};
pub use rows::stack_row;

/// What is wrong. The spelling is public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "FINDINGS documents the kinds")]
pub enum Kind {
    CloseWaitLeak,
    AcceptQueueOverflow,
    SynQueueOverflow,
    BacklogTruncated,
    FinRetransmit,
    ClosingStuck,
    SynRetransmit,
    SynackRetransmit,
    DeadPeer,
    TimeWaitPileup,
    PortExhaustion,
    FinWait2Stuck,
    ResetBurst,
}

impl Kind {
    /// All of them, in the order of the catalogue.
    pub const ALL: [Self; 13] = [
        Self::CloseWaitLeak,
        Self::AcceptQueueOverflow,
        Self::SynQueueOverflow,
        Self::BacklogTruncated,
        Self::FinRetransmit,
        Self::ClosingStuck,
        Self::SynRetransmit,
        Self::SynackRetransmit,
        Self::DeadPeer,
        Self::TimeWaitPileup,
        Self::PortExhaustion,
        Self::FinWait2Stuck,
        Self::ResetBurst,
    ];

    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloseWaitLeak => "close_wait_leak",
            Self::AcceptQueueOverflow => "accept_queue_overflow",
            Self::SynQueueOverflow => "syn_queue_overflow",
            Self::BacklogTruncated => "backlog_truncated",
            Self::FinRetransmit => "fin_retransmit",
            Self::ClosingStuck => "closing_stuck",
            Self::SynRetransmit => "syn_retransmit",
            Self::SynackRetransmit => "synack_retransmit",
            Self::DeadPeer => "dead_peer",
            Self::TimeWaitPileup => "time_wait_pileup",
            Self::PortExhaustion => "port_exhaustion",
            Self::FinWait2Stuck => "fin_wait2_stuck",
            Self::ResetBurst => "reset_burst",
        }
    }
}

/// Why. The spelling is public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "FINDINGS documents the causes")]
pub enum Cause {
    NeverAccepted,
    NoHolder,
    EofUnread,
    NotWatched,
    SharedFd,
    EofReadNotClosed,
    SynFlood,
    Burst,
    NotAccepting,
    FdLimit,
    TooSlow,
    ZeroWindow,
    UnackedData,
    AcceptQueueFull,
    DeferAccept,
    NoFinalAck,
    ShortConnections,
    IdleTimeout,
    RequestLimit,
    HalfClosed,
    Orphan,
    Refused,
    ByPeer,
    UnreadData,
    LingerZero,
    ListenOverflow,
    NoSocket,
    Memory,
    AdminKill,
    ProcessExit,
    Unknown,
}

impl Cause {
    /// All of them, in the order of the catalogue.
    pub const ALL: [Self; 31] = [
        Self::NeverAccepted,
        Self::NoHolder,
        Self::EofUnread,
        Self::NotWatched,
        Self::SharedFd,
        Self::EofReadNotClosed,
        Self::SynFlood,
        Self::Burst,
        Self::NotAccepting,
        Self::FdLimit,
        Self::TooSlow,
        Self::ZeroWindow,
        Self::UnackedData,
        Self::AcceptQueueFull,
        Self::DeferAccept,
        Self::NoFinalAck,
        Self::ShortConnections,
        Self::IdleTimeout,
        Self::RequestLimit,
        Self::HalfClosed,
        Self::Orphan,
        Self::Refused,
        Self::ByPeer,
        Self::UnreadData,
        Self::LingerZero,
        Self::ListenOverflow,
        Self::NoSocket,
        Self::Memory,
        Self::AdminKill,
        Self::ProcessExit,
        Self::Unknown,
    ];

    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Self::NeverAccepted => "never_accepted",
            Self::NoHolder => "no_holder",
            Self::EofUnread => "eof_unread",
            Self::NotWatched => "not_watched",
            Self::SharedFd => "shared_fd",
            Self::EofReadNotClosed => "eof_read_not_closed",
            Self::SynFlood => "syn_flood",
            Self::Burst => "burst",
            Self::NotAccepting => "not_accepting",
            Self::FdLimit => "fd_limit",
            Self::TooSlow => "too_slow",
            Self::ZeroWindow => "zero_window",
            Self::UnackedData => "unacked_data",
            Self::AcceptQueueFull => "accept_queue_full",
            Self::DeferAccept => "defer_accept",
            Self::NoFinalAck => "no_final_ack",
            Self::ShortConnections => "short_connections",
            Self::IdleTimeout => "idle_timeout",
            Self::RequestLimit => "request_limit",
            Self::HalfClosed => "half_closed",
            Self::Orphan => "orphan",
            Self::Refused => "refused",
            Self::ByPeer => "by_peer",
            Self::UnreadData => "unread_data",
            Self::LingerZero => "linger_zero",
            Self::ListenOverflow => "listen_overflow",
            Self::NoSocket => "no_socket",
            Self::Memory => "memory",
            Self::AdminKill => "admin_kill",
            Self::ProcessExit => "process_exit",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How much it hurts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Will hurt.
    Warning,
    /// Hurts now.
    Critical,
}

impl Severity {
    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Nothing is known; the evidence names the reason.
    Unknown,
    /// Inferred; the evidence names the inference.
    Likely,
    /// The kernel said so.
    Exact,
}

impl Confidence {
    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Likely => "likely",
            Self::Exact => "exact",
        }
    }
}

/// Where a finding is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// New.
    Open,
    /// Its numbers changed.
    Updated,
    /// Its sockets are gone, or it has been quiet.
    Resolved,
}

impl Status {
    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Updated => "updated",
            Self::Resolved => "resolved",
        }
    }
}

/// How the owner of a socket is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// The task that connected.
    Connect,
    /// The task that listened.
    Listen,
    /// The task that accepted.
    Accept,
    /// The listener's owner, while nobody has accepted.
    Inherited,
    /// Found holding the descriptor.
    Holder,
}

impl Provenance {
    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Listen => "listen",
            Self::Accept => "accept",
            Self::Inherited => "inherited",
            Self::Holder => "holder",
        }
    }
}

/// The process that owns a socket, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Who.
    pub process: Arc<ProcessInfo>,
    /// How it is known.
    pub provenance: Provenance,
    /// How surely.
    pub confidence: Confidence,
}

/// What the sockets of a finding have in common besides their owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// A local port, of passively opened sockets.
    Local(Port),
    /// A remote endpoint, of actively opened sockets.
    Remote(IpAddr, Port),
    /// Many remotes of one owner, rolled up.
    ManyRemotes,
    /// Many local ports of one owner, rolled up.
    ManyPorts,
    /// The tuple is not known.
    Unknown,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Local(port) => format!("port {}", port.0),
            Self::Remote(address, port) => {
                format!("to {}", std::net::SocketAddr::new(*address, port.0))
            }
            Self::ManyRemotes => "to many remotes".to_owned(),
            Self::ManyPorts => "many ports".to_owned(),
            Self::Unknown => "unknown service".to_owned(),
        };
        f.pad(&text)
    }
}

/// A finding's number in a recording; kept when it reopens within 5 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingId(pub u32);

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "f{}", self.0)
    }
}

/// Where in a program some of the sockets of a finding were accepted, connected or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// Which call.
    pub call: SocketCall,
    /// The process that called.
    pub pid: Pid,
    /// How many of the samples.
    pub count: u64,
    /// The functions, the innermost first.
    pub frames: Arc<[Frame]>,
}

/// One thing that is wrong: a group of sockets of one owner and service with one proved cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its number.
    pub id: FindingId,
    /// Where it is in its life.
    pub status: Status,
    /// What.
    pub kind: Kind,
    /// Why; absent where the kind has no causes or none could be proved.
    pub cause: Option<Cause>,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// The largest holder.
    pub process: Option<Owner>,
    /// The largest holders, at most 8, with their socket counts.
    pub processes: Vec<(Owner, u64)>,
    /// The service.
    pub service: Service,
    /// How many sockets or events.
    pub count: u64,
    /// When the oldest of them went wrong. For a socket older than the tracer, not after this.
    pub since: MonoNs,
    /// When the finding entered this status: its deadline, not the tick that noticed it.
    pub at: MonoNs,
    /// Sockets per minute, over the last three minutes, when it grows.
    pub growth_per_minute: Option<f64>,
    /// Up to 8 sockets, ordered by id.
    pub samples: Vec<SocketKey>,
    /// Where in their programs these were opened, as far as that was noted; the commonest first.
    pub stacks: Vec<CallSite>,
    /// What proves it.
    pub evidence: Evidence,
    /// The finding that brought this one about.
    pub caused_by: Option<FindingId>,
}

impl Finding {
    /// Its age at `now`.
    pub fn age(&self, now: MonoNs) -> Duration {
        now.since(self.since)
    }

    /// Sockets of the samples.
    pub fn sample_ids(&self) -> impl Iterator<Item = SockId> + '_ {
        self.samples.iter().map(|key| key.sock)
    }
}
