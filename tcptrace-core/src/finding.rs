//! What tcptrace concludes. Kinds, causes and evidence are data; the sentences are made from them
//! once, in `Display`-like methods, for every consumer.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::input::{EpollWatch, Holder, ProcessInfo, SocketKey, ThreadState};
use crate::tcp::TcpState;
use crate::units::{MonoNs, Pid, Port, SockId};

/// What is wrong. The spelling is public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "FINDINGS documents the kinds")]
pub enum Kind {
    CloseWaitLeak,
    AcceptQueueOverflow,
    SynQueueOverflow,
    FinRetransmit,
}

impl Kind {
    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloseWaitLeak => "close_wait_leak",
            Self::AcceptQueueOverflow => "accept_queue_overflow",
            Self::SynQueueOverflow => "syn_queue_overflow",
            Self::FinRetransmit => "fin_retransmit",
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
}

impl Cause {
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
    /// What proves it.
    pub evidence: Evidence,
    /// The finding that brought this one about.
    pub caused_by: Option<FindingId>,
}

/// The proof of a finding, as data.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each payload is documented on its type")]
pub enum Evidence {
    CloseWait(CloseWaitEvidence),
    AcceptQueue(AcceptQueueEvidence),
    SynQueue(SynQueueEvidence),
    FinRetransmit(FinRetransmitEvidence),
}

/// Proof of a `close_wait_leak`, from the inspection of its first sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CloseWaitEvidence {
    /// The inference, where confidence is not exact; the reason, where it is unknown.
    pub inference: Option<&'static str>,
    /// Bytes not read, the FIN (1) included.
    pub unread: Option<u32>,
    /// Unread bytes when the FIN arrived.
    pub unread_at_fin: Option<u32>,
    /// The application reads by epoll: its registrations.
    pub epoll: Vec<EpollWatch>,
    /// Threads in poll or select on it.
    pub polling: u32,
    /// Threads blocked in a call on it.
    pub blocked: u32,
    /// How often it was inspected.
    pub peeks: u32,
    /// Its descriptors.
    pub holders: Vec<Holder>,
    /// Every process was scanned for `holders`.
    pub holders_complete: bool,
    /// What the holders' threads do.
    pub threads: Vec<ThreadState>,
    /// `never_accepted`: does anybody wait on the listener?
    pub listener_watched: Option<bool>,
    /// `never_accepted`: when the last accept on that listener returned, if ever since the start.
    pub last_accept: Option<MonoNs>,
    /// Age of the oldest; a lower bound when `age_is_lower_bound`.
    pub oldest_age: Duration,
    /// The tracer is younger than the socket.
    pub age_is_lower_bound: bool,
    /// Open descriptors and their limit, of the largest holder.
    pub descriptors: Option<(u64, u64)>,
}

/// Proof of an `accept_queue_overflow`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AcceptQueueEvidence {
    /// The listener.
    pub listener: SocketKey,
    /// The queue's length when last sampled full.
    pub depth: u32,
    /// Its limit: min(backlog, somaxconn).
    pub limit: u32,
    /// The namespace's somaxconn.
    pub somaxconn: Option<u32>,
    /// Drops that this finding explains.
    pub drops: u64,
    /// What the kernel counted in the namespace (ListenOverflows) since the finding opened.
    pub kernel_drops: u64,
    /// When the last accept returned, if ever since the start.
    pub last_accept: Option<MonoNs>,
    /// Who accepted last.
    pub last_acceptor: Option<Pid>,
    /// Somebody waits on the listener.
    pub watched: Option<bool>,
    /// `tcp_abort_on_overflow`.
    pub abort_on_overflow: Option<bool>,
    /// Open descriptors and their limit, of the owner.
    pub descriptors: Option<(u64, u64)>,
    /// SYN-ACKs repeated although the client had answered.
    pub synacks_to_answered_clients: u64,
    /// The inference, where confidence is not exact.
    pub inference: Option<&'static str>,
}

/// Proof of a `syn_queue_overflow`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SynQueueEvidence {
    /// The listener.
    pub listener: SocketKey,
    /// Half-open connections when last sampled.
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
    pub syncookies: Option<u32>,
    /// `tcp_max_syn_backlog`.
    pub max_syn_backlog: Option<u32>,
    /// SYN-ACKs repeated unanswered.
    pub unanswered_synacks: u64,
    /// Different client addresses among them, counted up to 1024.
    pub sources: u32,
    /// The inference, where confidence is not exact.
    pub inference: Option<&'static str>,
}

/// How a closing connection with a repeated FIN ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FinRetransmitEvidence {
    /// The state of the connection that repeated most.
    pub state: Option<TcpState>,
    /// Its attempts, loss probes not counted.
    pub attempt: u32,
    /// Its backoff exponent.
    pub backoff: u32,
    /// When it will try next, from the last attempt on.
    pub next_timeout: Option<Duration>,
    /// The limit in force and the sysctl it comes from.
    pub limit: Option<(&'static str, u32)>,
    /// No descriptor is left.
    pub orphan: bool,
    /// What became of the connections.
    pub outcomes: FinOutcomes,
    /// Segments that repeated data, not the FIN, in a closing state.
    pub data_retransmits: u64,
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

impl Evidence {
    /// The evidence as a table of names and values, for a screen.
    pub fn rows(&self, now: MonoNs) -> Vec<(&'static str, String)> {
        let _ = now;
        Vec::new()
    }
}
