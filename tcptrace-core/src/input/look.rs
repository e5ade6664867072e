//! What a look at the kernel sees: snapshots, inspections, samples of queues and counters.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::SocketKey;
use crate::tcp::{Shutdown, TcpState};
use crate::units::{Fd, MonoNs, NetnsId, Pid, SockId, Tid};

/// A process that holds a descriptor of a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Holder {
    /// Which process.
    pub pid: Pid,
    /// Under which number.
    pub fd: Fd,
    /// It closes on exec (O_CLOEXEC); absent where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloexec: Option<bool>,
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
    /// As in [`super::Transition::has_socket`].
    pub has_socket: bool,
    /// As in [`super::Transition::dead`].
    pub dead: bool,
    /// As in [`super::Transition::unread`].
    pub unread: Option<u32>,
    /// As in [`super::Transition::unacked`].
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
    /// As in [`super::Transition::unread`].
    pub unread: u32,
    /// As in [`super::Transition::unacked`].
    pub unacked: u32,
    /// Bytes the peer has acknowledged so far (`bytes_acked`): progress tells a half-close in use.
    pub bytes_acked: u64,
    /// As in [`super::Transition::has_socket`].
    pub has_socket: bool,
    /// As in [`super::Transition::dead`].
    pub dead: bool,
    /// References to the descriptor's file, where readable.
    pub file_refs: Option<u32>,
    /// `sk_shutdown`.
    pub shutdown: Shutdown,
    /// `sk_data_ready` is not `sock_def_readable`: kTLS, sockmap, MPTCP or a kernel user reads it; or
    /// it is mapped (zero-copy receive) with something unread. The sequence numbers do not tell what the application saw.
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
    /// What its sending side waits for, where the kernel's fields are known.
    pub sending: Option<Sending>,
}

/// What the sending side of a socket waits for, and how long it would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sending {
    /// `snd_wnd`: bytes that the peer has room for.
    pub window: u32,
    /// `write_seq - snd_nxt`: bytes never sent; a FIN counts 1.
    pub unsent: u32,
    /// `icsk_retransmits`: timeouts since the last acknowledgement that moved forward.
    pub retransmits: u8,
    /// `icsk_backoff`.
    pub backoff: u8,
    /// `icsk_probes_out`: window or keepalive probes that are unanswered.
    pub probes_out: u8,
    /// TCP_USER_TIMEOUT, where the socket has one.
    pub user_timeout: Option<Duration>,
    /// SO_KEEPALIVE is set.
    pub keepalive: bool,
    /// TCP_KEEPIDLE, where it is not the namespace's.
    pub keepalive_time: Option<Duration>,
    /// TCP_KEEPINTVL, where it is not the namespace's.
    pub keepalive_interval: Option<Duration>,
    /// TCP_KEEPCNT, where it is not the namespace's.
    pub keepalive_probes: Option<u8>,
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
    /// Now, no total: sockets in TIME_WAIT, orphans in FIN_WAIT2 included (`/proc/net/sockstat`, `tw`).
    pub tw_sockets: Option<u64>,
    /// Now, on request: how many of those are orphans that still wait for the peer's FIN.
    pub orphan_fin_wait2: Option<u64>,
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
    pub tcp_tw_reuse: Option<u32>,
    pub tcp_timestamps: Option<u32>,
    /// Of the initial namespace only: the limit is the host's.
    pub tcp_max_orphans: Option<u32>,
    /// `ip_local_port_range`: the first port.
    pub local_port_first: Option<u32>,
    /// `ip_local_port_range`: the last port.
    pub local_port_last: Option<u32>,
    /// How many ports of the range `ip_local_reserved_ports` takes out.
    pub local_ports_reserved: Option<u32>,
    pub tcp_syn_linear_timeouts: Option<u32>,
    pub tcp_keepalive_time: Option<u32>,
    pub tcp_keepalive_intvl: Option<u32>,
    pub tcp_keepalive_probes: Option<u32>,
    /// Milliseconds; Linux 6.15 on.
    pub tcp_rto_max_ms: Option<u32>,
    /// Milliseconds; Linux 6.14 on.
    pub tcp_tw_reuse_delay: Option<u32>,
}
