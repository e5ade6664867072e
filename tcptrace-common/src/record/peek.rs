//! The look at one socket: its numbers, and who waits on it.

use super::Row;

/// How many entries of a wait queue an answer shows.
pub const WAITERS: usize = 16;

/// One entry of a wait queue. Read blindly as an epoll registration: only where `func` is
/// `ep_poll_callback` do the last three mean something. The list ends where `node` is the head.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Waiter {
    /// Address of `wait_queue_entry.entry`.
    pub node: u64,
    /// What its `prev` points to: the node before, unless the list changed under the walk.
    pub prev: u64,
    /// `wait_queue_entry.func`.
    pub func: u64,
    /// Not 0: the epitem is on the ready list.
    pub ready: u64,
    /// Not 0: a thread waits on the epoll instance, or somebody polls it.
    pub waited_on: u64,
    /// `epitem.event.events`.
    pub events: u32,
    /// Unused, 0.
    pub reserved: u32,
}

/// The answer of the peek program about one socket. `head.kind` is 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Peek {
    /// The facts of a row.
    pub row: Row,
    /// `bytes_acked`.
    pub bytes_acked: u64,
    /// `sk_data_ready`.
    pub data_ready: u64,
    /// `f_count` or `f_ref`, as the kernel stores it.
    pub file_refs: u64,
    /// `skc_family`.
    pub family: u16,
    /// `sk_protocol`.
    pub protocol: u16,
    /// `snd_wnd`.
    pub window: u32,
    /// `write_seq - snd_nxt`.
    pub unsent: u32,
    /// `icsk_user_timeout`, or 0.
    pub user_timeout_ms: u32,
    /// `keepalive_time`, or 0 for the namespace's.
    pub keepalive_time_jiffies: u32,
    /// `keepalive_intvl`, or 0 for the namespace's.
    pub keepalive_intvl_jiffies: u32,
    /// `keepalive_probes`, or 0 for the namespace's.
    pub keepalive_probes: u16,
    /// Not 0: SO_KEEPALIVE.
    pub keepalive: u8,
    /// Not 0: a process has mapped the socket, as zero-copy receive does.
    pub mapped: u8,
    /// `icsk_retransmits`.
    pub retransmits: u8,
    /// `icsk_backoff`.
    pub backoff: u8,
    /// `icsk_probes_out`.
    pub probes_out: u8,
    /// Not 0: the fields from `window` on were read.
    pub sending: u8,
    /// `jiffies64`.
    pub jiffies: u64,
    /// Address of `socket_wq.wait.head`, or nearly 0 without a wait queue.
    pub wait_head: u64,
    /// Its `prev`: the last entry.
    pub wait_last: u64,
    /// The wait queue in order.
    pub waiters: [Waiter; WAITERS],
}
