//! What the records of the event ring say, field by field, before sockets have numbers.

use std::fmt;
use std::time::Duration;

use super::{RawKey, SockAddress, WakeFunctions};
use crate::input::{
    Context, DropOutcome, FinWaiter, Queue, ResetDirection, RetransmitReason, SocketCall, Usage,
};
use crate::tcp::{Shutdown, TcpState};
use crate::units::{Fd, MonoNs, Pid, Tid};

/// A decoded event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each payload is documented on its type")]
pub enum Raw {
    Transition(RawTransition),
    Accept(RawAccept),
    Retransmit(RawRetransmit),
    SynackRetransmit(RawSynackRetransmit),
    Reset(RawReset),
    Destroy(RawDestroy),
    Exit(RawExit),
    QueueDrop(RawQueueDrop),
    Stack(RawStack),
}

impl Raw {
    /// When.
    pub fn at(&self) -> MonoNs {
        match self {
            Self::Transition(x) => x.at,
            Self::Accept(x) => x.at,
            Self::Retransmit(x) => x.at,
            Self::SynackRetransmit(x) => x.at,
            Self::Reset(x) => x.at,
            Self::Destroy(x) => x.at,
            Self::Exit(x) => x.at,
            Self::QueueDrop(x) => x.at,
            Self::Stack(x) => x.at,
        }
    }

    /// The process at work, where it matters who that is.
    pub fn process(&self) -> Option<Pid> {
        match self {
            Self::Transition(x) => x.context.pid(),
            Self::Accept(x) => Some(x.pid),
            Self::Reset(x) => x.context.pid(),
            _ => None,
        }
    }
}

/// See [`crate::input::Transition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawTransition {
    /// When.
    pub at: MonoNs,
    /// Which socket. The local port is `inet_sport`, which a CLOSE leaves in place.
    pub key: RawKey,
    /// The state left.
    pub from: TcpState,
    /// The state entered.
    pub to: TcpState,
    /// Who was at work.
    pub context: Context,
    /// `sk_err`, when set.
    pub error: Option<u16>,
    /// `sk_shutdown`.
    pub shutdown: Shutdown,
    /// SOCK_DONE.
    pub peer_fin: bool,
    /// SOCK_DEAD.
    pub dead: bool,
    /// `sk_socket` is set.
    pub has_socket: bool,
    /// The last reference to the descriptor's file is gone.
    pub file_released: bool,
    /// References to the descriptor's file (at most 255), where there is a file.
    pub file_refs: Option<u8>,
    /// `rcv_nxt - copied_seq`; absent at a birth or a connect, where it means nothing.
    pub unread: Option<u32>,
    /// `write_seq - snd_una`; absent likewise.
    pub unacked: Option<u32>,
    /// How it was used, where our side closes first.
    pub usage: Option<Usage>,
    /// The listener in whose accept queue the child lies, where it was seen entering it.
    pub listener: Option<SockAddress>,
    /// Who waited on it first, of a change to CLOSE_WAIT that softirq made.
    pub waiter: Option<RawWaiter>,
    /// The understudy reported it: the kernel skipped the first program, or an interrupt came
    /// between the two. A duplicate has the same (from, to) as the socket's last transition.
    pub understudy: bool,
}

/// The first entry of a wait queue, before its function is recognised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawWaiter {
    /// The lower half of `wait_queue_entry.func`; 0 in an empty queue.
    pub(super) function: u32,
    /// The process of the task that `private` points to, if it points to a task.
    pub(super) pid: Pid,
}

impl fmt::Debug for RawWaiter {
    // The address would leak the kernel's memory layout.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawWaiter").finish_non_exhaustive()
    }
}

impl RawWaiter {
    /// Who that is. Nothing where the functions were not learnt.
    pub fn recognise(self, known: &WakeFunctions) -> Option<FinWaiter> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only the lower half was recorded"
        )]
        let is = |function: u64| function as u32 == self.function;
        Some(match self.function {
            0 => FinWaiter::Nobody,
            _ if known.epoll == 0 || known.read == 0 => return None,
            _ if is(known.epoll) => FinWaiter::Epoll,
            _ if is(known.read) => FinWaiter::Blocked(self.pid),
            _ => FinWaiter::Other,
        })
    }
}

/// See [`crate::input::Accept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAccept {
    /// When the call returned.
    pub at: MonoNs,
    /// The accepted connection.
    pub key: RawKey,
    /// Who accepted.
    pub pid: Pid,
    /// Which thread.
    pub tid: Tid,
    /// The new descriptor; absent with the function probe, which runs before it is installed.
    pub fd: Option<Fd>,
}

/// See [`crate::input::Retransmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRetransmit {
    /// When.
    pub at: MonoNs,
    /// Which socket.
    pub key: RawKey,
    /// Its state.
    pub state: TcpState,
    /// The segment carried a SYN.
    pub syn: bool,
    /// The segment carried our FIN.
    pub fin: bool,
    /// Why it was sent again.
    pub reason: RetransmitReason,
    /// `icsk_retransmits`.
    pub attempt: u8,
    /// `icsk_backoff`.
    pub backoff: u8,
    /// `icsk_rto`.
    pub rto: Option<Duration>,
    /// SOCK_DEAD.
    pub dead: bool,
    /// `icsk_user_timeout`, when set.
    pub user_timeout: Option<Duration>,
    /// `icsk_syn_retries`, when set.
    pub syn_retries: Option<u8>,
}

/// See [`crate::input::SynackRetransmit`]. The key's socket is the listener, its peer the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSynackRetransmit {
    /// When.
    pub at: MonoNs,
    /// The listener, and the client's endpoint.
    pub key: RawKey,
    /// `num_retrans` + 1.
    pub attempt: u8,
    /// `inet_request_sock.acked`.
    pub acked: bool,
    /// `rskq_defer_accept` is set.
    pub defer_accept: bool,
    /// `num_timeout`, where the kernel has it.
    pub timeouts: Option<u8>,
    /// `icsk_syn_retries` of the listener, when set.
    pub retries: Option<u8>,
}

/// See [`crate::input::Reset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawReset {
    /// When.
    pub at: MonoNs,
    /// The socket; address 0 when none matched.
    pub key: RawKey,
    /// Which way.
    pub direction: ResetDirection,
    /// The socket's state, of a full socket.
    pub state: Option<TcpState>,
    /// `enum sk_rst_reason`; the agent knows the names from BTF (`Probes::reset_reason`).
    pub reason: Option<u32>,
    /// Who was at work.
    pub context: Context,
}

/// See [`crate::input::QueueDrop`]. The key's socket is the listener, its peer the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawQueueDrop {
    /// When.
    pub at: MonoNs,
    /// The listener, and the client's endpoint.
    pub key: RawKey,
    /// Which queue was full.
    pub queue: Queue,
    /// What became of the segment.
    pub outcome: DropOutcome,
    /// The queue's length.
    pub depth: u32,
    /// The listen backlog.
    pub limit: u32,
}

/// See [`crate::input::Destroy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawDestroy {
    /// When.
    pub at: MonoNs,
    /// Which socket.
    pub sock: SockAddress,
    /// The understudy reported it; a duplicate where the socket has ended already.
    pub understudy: bool,
}

/// See [`crate::input::ProcessFact::Exit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawExit {
    /// When.
    pub at: MonoNs,
    /// Which process.
    pub pid: Pid,
    /// Its leader's name, up to the first 0.
    pub comm: [u8; 16],
    /// When it started, on CLOCK_BOOTTIME, as `/proc/PID/stat` field 22 counts (in ns here).
    pub started_boot_ns: u64,
    /// The signal that ended it, 0 for none; absent where the kernel does not say.
    pub signal: Option<u8>,
}

impl RawExit {
    /// The name as text.
    pub fn name(&self) -> std::borrow::Cow<'_, str> {
        let end = self.comm.iter().position(|&byte| byte == 0);
        String::from_utf8_lossy(&self.comm[..end.unwrap_or(self.comm.len())])
    }
}

/// The user stack of a thread that accepted, connected or closed a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    /// When.
    pub at: MonoNs,
    /// Which socket.
    pub sock: SockAddress,
    /// By which call.
    pub call: SocketCall,
    /// The thread's process.
    pub pid: Pid,
    /// Addresses in its memory, the innermost first; empty where there is no user stack.
    pub frames: Box<[u64]>,
}
