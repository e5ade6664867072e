//! The facts that enter the engine, and the only way in: what the kernel reported, what an
//! inspection saw, what the clock said. A recording is a list of these.
//!
//! Invariant: no kernel address and no host-specific pointer appears here, and every fact carries
//! its own time.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::tcp::{Endpoint, Shutdown, TcpState};
use crate::units::{Fd, MonoNs, NetnsId, Pid, SockId, Tid, WallNs};

/// One fact.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each payload is documented on its type")]
pub enum Input {
    Transition(Transition),
    Accept(Accept),
    Retransmit(Retransmit),
    SynackRetransmit(SynackRetransmit),
    Reset(Reset),
    QueueDrop(QueueDrop),
    Destroy(Destroy),
    Socket(SocketRow),
    Snapshot(SnapshotMark),
    Inspection(Inspection),
    Listener(ListenerSample),
    Counters(Counters),
    Netns(NetnsFacts),
    Process(ProcessFact),
    Loss(Loss),
    Tick(Tick),
}

impl Input {
    /// When the fact was true.
    pub fn at(&self) -> MonoNs {
        match self {
            Self::Transition(x) => x.at,
            Self::Accept(x) => x.at,
            Self::Retransmit(x) => x.at,
            Self::SynackRetransmit(x) => x.at,
            Self::Reset(x) => x.at,
            Self::QueueDrop(x) => x.at,
            Self::Destroy(x) => x.at,
            Self::Socket(x) => x.at,
            Self::Snapshot(x) => x.at,
            Self::Inspection(x) => x.at,
            Self::Listener(x) => x.at,
            Self::Counters(x) => x.at,
            Self::Netns(x) => x.at,
            Self::Process(x) => x.at(),
            Self::Loss(x) => x.to,
            Self::Tick(x) => x.at,
        }
    }

    /// The socket that the fact is about.
    pub fn key(&self) -> Option<&SocketKey> {
        match self {
            Self::Transition(x) => Some(&x.key),
            Self::Accept(x) => Some(&x.key),
            Self::Retransmit(x) => Some(&x.key),
            Self::SynackRetransmit(x) => Some(&x.key),
            Self::Reset(x) => Some(&x.key),
            Self::QueueDrop(x) => Some(&x.key),
            Self::Destroy(x) => Some(&x.key),
            Self::Socket(x) => Some(&x.key),
            Self::Inspection(x) => Some(&x.key),
            Self::Listener(x) => Some(&x.key),
            _ => None,
        }
    }
}

/// Which socket, and what was known of its tuple at that moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SocketKey {
    /// One life of one socket. [`SockId`] 0 is "no full socket": a SYN-ACK or reset without one.
    pub sock: SockId,
    /// Its network namespace.
    pub netns: NetnsId,
    /// Our end.
    pub local: Endpoint,
    /// The other end.
    pub peer: Endpoint,
}

/// In whose context the kernel was when it reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// The socket was locked by a user (`sk_lock.owned`): the task caused the event, or holds the
    /// socket while its backlog is processed.
    Process {
        /// The task's process.
        pid: Pid,
        /// The task's thread.
        tid: Tid,
        /// The task is exiting (PF_EXITING).
        exiting: bool,
    },
    /// Softirq or timer: whoever was interrupted has nothing to do with it.
    Interrupt,
}

impl Context {
    /// The process that caused the event, if one did.
    pub fn pid(self) -> Option<Pid> {
        match self {
            Self::Process { pid, .. } => Some(pid),
            Self::Interrupt => None,
        }
    }
}

/// A state change, reported by `sock:inet_sock_set_state` before the kernel stores the new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub at: MonoNs,
    /// Which socket. A child's birth (LISTEN to SYN_RECV) has no peer up to Linux 6.14.
    pub key: SocketKey,
    /// The state left.
    pub from: TcpState,
    /// The state entered. TIME_WAIT never appears: see [`Transition::enters_time_wait`].
    pub to: TcpState,
    /// Who was at work.
    pub context: Context,
    /// `sk_err`, an errno, when set.
    pub error: Option<u16>,
    /// `sk_shutdown`.
    pub shutdown: Shutdown,
    /// SOCK_DONE: the peer's FIN has arrived.
    pub peer_fin: bool,
    /// SOCK_DEAD: no descriptor is left (an orphan).
    pub dead: bool,
    /// A `struct socket` exists: false for a child that nobody has accepted, and for an orphan.
    pub has_socket: bool,
    /// The last reference to the descriptor is gone: close or exit, not shutdown.
    pub file_released: bool,
    /// References to the descriptor's file; 0 is `file_released`. More than the threads at work
    /// on it account for are copies: dup, fork, descriptors on their way over a UNIX socket.
    pub file_refs: Option<u32>,
    /// `rcv_nxt - copied_seq`: bytes that the application has not read; a FIN counts 1.
    pub unread: Option<u32>,
    /// `write_seq - snd_una`: what the peer has not acknowledged; a FIN counts 1.
    pub unacked: Option<u32>,
}

impl Transition {
    /// Whether this CLOSE is really the start of TIME_WAIT. The kernel moves the connection into a
    /// separate small object and reports CLOSE for the full socket (`tcp_time_wait` then
    /// `tcp_done`).
    pub fn enters_time_wait(&self) -> bool {
        self.to == TcpState::Close
            && self.error.is_none()
            && match self.from {
                TcpState::Closing => true,
                TcpState::FinWait2 => self.peer_fin,
                _ => false,
            }
    }

    /// Whether this CLOSE is really an orphan that waits for the peer's FIN outside the full
    /// socket, bounded by `tcp_fin_timeout`.
    pub fn enters_orphan_fin_wait2(&self) -> bool {
        self.to == TcpState::Close
            && self.from == TcpState::FinWait2
            && self.error.is_none()
            && !self.peer_fin
            && self.dead
    }
}

/// A process took a connection from an accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// When the call returned.
    pub at: MonoNs,
    /// The accepted connection.
    pub key: SocketKey,
    /// Who accepted.
    pub pid: Pid,
    /// Which thread.
    pub tid: Tid,
    /// The new descriptor; absent where the probe runs before it is installed (fexit).
    pub fd: Option<Fd>,
}

/// What kind of retransmission timer or algorithm resent the segment (KERNEL.md 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetransmitReason {
    /// The retransmission timeout fired.
    Timeout,
    /// A tail loss probe; does not count as an attempt.
    LossProbe,
    /// Fast retransmit or recovery.
    Recovery,
}

/// A segment was sent again successfully.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmit {
    /// When.
    pub at: MonoNs,
    /// Which socket.
    pub key: SocketKey,
    /// Its state.
    pub state: TcpState,
    /// The segment carried a SYN.
    pub syn: bool,
    /// The segment carried our FIN (possibly merged with data).
    pub fin: bool,
    /// Why it was sent again.
    pub reason: RetransmitReason,
    /// `icsk_retransmits`: timeouts since the last forward acknowledgement, this one included.
    pub attempt: u8,
    /// `icsk_backoff`.
    pub backoff: u8,
    /// The timeout that fired; the next one is twice this, at most 120 s.
    pub rto: Option<Duration>,
    /// No descriptor is left.
    pub dead: bool,
}

/// A SYN-ACK was sent again. The socket of the key is the listener; `key.peer` the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynackRetransmit {
    /// When.
    pub at: MonoNs,
    /// The listener, and the client's endpoint.
    pub key: SocketKey,
    /// `num_retrans` + 1.
    pub attempt: u8,
    /// The client did complete the handshake: the accept queue was full (unless `defer_accept`).
    pub acked: bool,
    /// TCP_DEFER_ACCEPT is set on the listener.
    pub defer_accept: bool,
}

/// Who sent the reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetDirection {
    /// This host.
    Sent,
    /// The peer.
    Received,
}

/// A RST left or arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// When.
    pub at: MonoNs,
    /// The socket, or [`SockId`] 0 when none matched.
    pub key: SocketKey,
    /// Which way.
    pub direction: ResetDirection,
    /// The socket's state, where there is a full socket.
    pub state: Option<TcpState>,
    /// The kernel's name for the reason without its prefix, e.g. `NO_SOCKET` (Linux 6.10 on).
    pub reason: Option<Arc<str>>,
    /// Who was at work.
    pub context: Context,
}

/// A queue of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// Half-open connections, waiting for the final ACK.
    Syn,
    /// Established connections, waiting for accept.
    Accept,
}

/// What happened to a handshake segment that met a full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropOutcome {
    /// Discarded.
    Dropped,
    /// Answered with a SYN cookie.
    Cookie,
}

/// One segment met a full queue, seen exactly. `key.sock` is the listener, `key.peer` the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDrop {
    /// When.
    pub at: MonoNs,
    /// The listener and the client.
    pub key: SocketKey,
    /// Which queue.
    pub queue: Queue,
    /// What became of the segment.
    pub outcome: DropOutcome,
    /// The queue's length.
    pub depth: u32,
    /// Its limit.
    pub limit: u32,
}

/// The kernel freed the socket: its address may be another socket's from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destroy {
    /// When.
    pub at: MonoNs,
    /// Which socket.
    pub key: SocketKey,
}

/// A process that holds a descriptor of a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Holder {
    /// Which process.
    pub pid: Pid,
    /// Under which number.
    pub fd: Fd,
}

/// A socket that a snapshot found. One row per descriptor: a socket with two holders has two rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketRow {
    /// When the row was read.
    pub at: MonoNs,
    /// Which socket.
    pub key: SocketKey,
    /// Its state.
    pub state: TcpState,
    /// The descriptor that led to it; absent for one found in an accept queue or a hash table.
    pub holder: Option<Holder>,
    /// The listener in whose accept queue it sits.
    pub listener: Option<SockId>,
    /// As in [`Transition::has_socket`].
    pub has_socket: bool,
    /// As in [`Transition::dead`].
    pub dead: bool,
    /// As in [`Transition::unread`].
    pub unread: Option<u32>,
    /// As in [`Transition::unacked`].
    pub unacked: Option<u32>,
    /// Time since the last segment (even a bare ACK or FIN) arrived: `rcv_tstamp`.
    pub idle: Option<Duration>,
    /// Accept queue length and limit, of a listener.
    pub queue: Option<QueueLevel>,
}

/// Length and limit of an accept queue (`sk_ack_backlog`, `sk_max_ack_backlog`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLevel {
    /// Connections waiting.
    pub depth: u32,
    /// min(backlog of listen, somaxconn). The kernel refuses only above it: limit + 1 fit.
    pub limit: u32,
}

/// What a snapshot covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotScope {
    /// Every descriptor of every process, and every accept queue: all network namespaces.
    Descriptors,
    /// The hash tables of one network namespace: orphans too.
    Tables(NetnsId),
}

/// Begin or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotPhase {
    /// Rows follow.
    Begin,
    /// All rows were given. Only a complete one may remove what it did not show.
    End {
        /// Nothing was cut off.
        complete: bool,
    },
}

/// A snapshot begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotMark {
    /// When.
    pub at: MonoNs,
    /// Of what.
    pub scope: SnapshotScope,
    /// Which end.
    pub phase: SnapshotPhase,
}

/// One epoll registration on a socket, read from its wait queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EpollWatch {
    /// The interest mask, EPOLL* bits as in `<sys/epoll.h>`; the event bits are 0 after a one-shot fired.
    pub events: u32,
    /// The item is on the ready list: the event was signalled and not yet collected.
    pub ready: bool,
    /// A thread waits in epoll_wait on that instance.
    pub waited_on: bool,
}

/// Who waits on a socket: the entries of its wait queue (`sk_wq`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiters {
    /// epoll registrations, at most 8; more are counted in `others`.
    pub epoll: Vec<EpollWatch>,
    /// Threads inside poll or select now.
    pub polling: u32,
    /// Threads blocked in a read, write or accept on it.
    pub blocked: u32,
    /// Entries of a kind that was not recognised (io_uring, a kernel user).
    pub others: u32,
}

impl Waiters {
    /// Nobody will be told when something arrives.
    pub fn is_empty(&self) -> bool {
        self.epoll.is_empty() && self.polling == 0 && self.blocked == 0 && self.others == 0
    }
}

/// What a thread is doing, from /proc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadState {
    /// Its process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// The state letter of `/proc/PID/stat`: R, S, D, T (stopped), Z.
    pub state: char,
    /// The kernel function it sleeps in, where `/proc/PID/wchan` tells.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub wait_channel: Option<Arc<str>>,
}

/// serde has no `Serialize` for `Arc` without its `rc` feature.
fn as_text<S: serde::Serializer>(
    text: &Option<Arc<str>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

/// The result of looking at one suspect socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// When.
    pub at: MonoNs,
    /// Which socket.
    pub key: SocketKey,
    /// Its state then.
    pub state: TcpState,
    /// As in [`Transition::unread`].
    pub unread: u32,
    /// As in [`Transition::unacked`].
    pub unacked: u32,
    /// Bytes the peer has acknowledged so far (`bytes_acked`): progress tells a half-close in use.
    pub bytes_acked: u64,
    /// As in [`Transition::has_socket`].
    pub has_socket: bool,
    /// As in [`Transition::dead`].
    pub dead: bool,
    /// References to the descriptor's file, where readable.
    pub file_refs: Option<u32>,
    /// `sk_shutdown`.
    pub shutdown: Shutdown,
    /// `sk_data_ready` is not `sock_def_readable`: kTLS, sockmap, MPTCP or a kernel user reads it,
    /// and the sequence numbers do not tell what the application saw.
    pub special_reader: bool,
    /// The wait queue, or nothing when it changed under the walk three times (torn).
    pub waiters: Option<Waiters>,
    /// Time since the last segment arrived (`rcv_tstamp`): a lower bound of the age of CLOSE_WAIT.
    pub idle: Option<Duration>,
    /// Who holds it, when descriptors were scanned with this inspection.
    pub holders: Option<HolderScan>,
    /// The listener in whose accept queue it sits.
    pub listener: Option<SockId>,
    /// What the holders' threads are doing, at most 8.
    pub threads: Vec<ThreadState>,
}

/// The descriptors that refer to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderScan {
    /// Every process was looked at.
    pub complete: bool,
    /// Sorted by pid, then fd; at most 16.
    pub holders: Vec<Holder>,
}

/// A listener's queues at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSample {
    /// When.
    pub at: MonoNs,
    /// The listener.
    pub key: SocketKey,
    /// The accept queue.
    pub accept: QueueLevel,
    /// Half-open connections (`icsk_accept_queue.qlen`), bounded by the same limit.
    pub syn_depth: u32,
    /// `sk_drops`: rises by 1 per dropped SYN and by 2 per dropped final ACK, and by other discards.
    pub drops: u32,
    /// Who waits on the listener; absent when it was not looked at.
    pub waiters: Option<Waiters>,
}

/// Kernel counters of one network namespace (`/proc/net/netstat`, `TcpExt`): running totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub struct Counters {
    /// When they were read.
    pub at: MonoNs,
    /// Of which namespace.
    pub netns: NetnsId,
    pub listen_overflows: u64,
    pub listen_drops: u64,
    pub req_q_full_drop: u64,
    pub req_q_full_do_cookies: u64,
    pub syncookies_sent: u64,
    pub backlog_drop: u64,
    pub time_wait_overflow: u64,
    pub abort_on_memory: u64,
}

/// The sysctls of one network namespace that bear on findings; absent where the kernel has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub struct NetnsFacts {
    /// When they were read.
    pub at: MonoNs,
    /// Of which namespace.
    pub netns: NetnsId,
    pub somaxconn: Option<u32>,
    pub tcp_max_syn_backlog: Option<u32>,
    pub tcp_syncookies: Option<u32>,
    pub tcp_synack_retries: Option<u32>,
    pub tcp_syn_retries: Option<u32>,
    pub tcp_orphan_retries: Option<u32>,
    pub tcp_retries2: Option<u32>,
    pub tcp_fin_timeout: Option<u32>,
    pub tcp_abort_on_overflow: Option<u32>,
    pub tcp_max_tw_buckets: Option<u32>,
}

/// News of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessFact {
    /// It was seen for the first time, or its pid was reused.
    Seen {
        /// When it was read.
        at: MonoNs,
        /// What is known of it.
        info: Arc<ProcessInfo>,
    },
    /// Its descriptors and their limit now, on request.
    Descriptors {
        /// When they were counted.
        at: MonoNs,
        /// Of which process.
        pid: Pid,
        /// Open descriptors.
        open: u64,
        /// RLIMIT_NOFILE, the soft limit.
        limit: u64,
    },
    /// Its last thread exits; its sockets are closed just after this.
    Exit {
        /// When.
        at: MonoNs,
        /// Which process.
        pid: Pid,
        /// Its name at the end, for a process that was too short-lived to be looked up.
        name: Arc<str>,
    },
}

impl ProcessFact {
    /// When it was true.
    pub fn at(&self) -> MonoNs {
        match self {
            Self::Seen { at, .. } | Self::Descriptors { at, .. } | Self::Exit { at, .. } => *at,
        }
    }

    /// Which process.
    pub fn pid(&self) -> Pid {
        match self {
            Self::Seen { info, .. } => info.pid,
            Self::Descriptors { pid, .. } | Self::Exit { pid, .. } => *pid,
        }
    }
}

/// A process, read once from /proc. (pid, start) is its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its pid in the initial namespace.
    pub pid: Pid,
    /// Start time, clock ticks since boot (`/proc/PID/stat` field 22); absent if it was gone.
    pub start: Option<u64>,
    /// `/proc/PID/comm`. Hostile text: escape it before it reaches a terminal or a page.
    pub name: Arc<str>,
    /// The executable's path.
    pub exe: Option<Arc<str>>,
    /// The parent.
    pub parent: Option<Pid>,
    /// The effective user.
    pub uid: Option<u32>,
    /// Its pid in its own namespace, where that differs.
    pub ns_pid: Option<Pid>,
    /// The cgroup's path.
    pub cgroup: Option<Arc<str>>,
    /// The container id found in the cgroup's path.
    pub container: Option<Arc<str>>,
}

/// Why facts are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossCause {
    /// The kernel's ring buffer was full.
    Ring,
    /// The kernel skipped a probe that had interrupted itself.
    Recursion,
    /// A record could not be decoded.
    Decode,
    /// The queue to the file was full.
    Writer,
    /// A bounded table was full and something was evicted.
    Evicted,
}

impl LossCause {
    /// Every cause.
    pub const ALL: [Self; 5] = [
        Self::Ring,
        Self::Recursion,
        Self::Decode,
        Self::Writer,
        Self::Evicted,
    ];

    /// As written in recordings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Recursion => "recursion",
            Self::Decode => "decode",
            Self::Writer => "writer",
            Self::Evicted => "evicted",
        }
    }
}

/// Facts were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Why.
    pub cause: LossCause,
    /// What kind of record (`transition`, `accept`, …), where it is known.
    pub kind: Option<Arc<str>>,
    /// How many.
    pub count: u64,
    /// Not before.
    pub from: MonoNs,
    /// Not after.
    pub to: MonoNs,
}

/// The clock: every fact up to `at` has been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Monotonic.
    pub at: MonoNs,
    /// The same instant on the wall clock.
    pub wall: WallNs,
}
