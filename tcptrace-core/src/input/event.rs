//! What the probes report as it happens.

use std::sync::Arc;
use std::time::Duration;

use super::SocketKey;
use crate::tcp::{Shutdown, TcpState};
use crate::units::{Fd, MonoNs, Pid, SockId, Tid};

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

/// How a connection was used until our side closed it first: what tells an exchange per connection
/// from an idle timeout and from a limit of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Time since data last went either way (`lsndtime`, `icsk_ack.lrcvtime`), in steps of a jiffy.
    pub idle: Duration,
    /// Segments with data that arrived (`data_segs_in`).
    pub segments_in: u32,
    /// Segments with data that were sent, retransmissions included (`data_segs_out`).
    pub segments_out: u32,
}

/// Who waited on a socket first when the peer's FIN arrived: the first entry of its wait queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinWaiter {
    /// Nobody: the wait queue was empty.
    Nobody,
    /// An epoll registration, which holds no reference to the file.
    Epoll,
    /// A thread of this process, blocked in a read or write: it held the descriptor.
    Blocked(Pid),
    /// Poll, select, io_uring or a kernel user: each holds a reference to the file.
    Other,
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
    /// How the connection was used: from ESTABLISHED to FIN_WAIT1 only.
    pub usage: Option<Usage>,
    /// The listener in whose accept queue the child lies, where it was seen entering it: with a
    /// probe of `inet_csk_reqsk_queue_add`, at SYN_RECV to ESTABLISHED.
    pub listener: Option<SockId>,
    /// Who waited, of a change to CLOSE_WAIT that softirq made; else unknown.
    pub waiter: Option<FinWaiter>,
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
    /// TCP_USER_TIMEOUT, where the socket has one: it overrides the sysctls' limits.
    pub user_timeout: Option<Duration>,
    /// TCP_SYNCNT, where the socket has one: it overrides `tcp_syn_retries`.
    pub syn_retries: Option<u8>,
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
    /// `num_timeout`: how often the timer of the half-open connection had fired before this. Less
    /// than the repetitions before this one when some of them answered a repeated SYN.
    pub timeouts: Option<u8>,
    /// TCP_SYNCNT of the listener, where it has one: it overrides `tcp_synack_retries`.
    pub retries: Option<u8>,
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
