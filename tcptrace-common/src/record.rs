//! What the programs emit. Numbers are little-endian, as on every target of the object.
//!
//! An event record is a [`Head`], a body of 16 bytes (32 in a [`ClosingBody`]), and the two addresses: 8 bytes for IPv4, 32 for
//! IPv6. [`Gone`], [`Exit`] and [`Calls`] stand alone. Rows (from iterators) and answers (from the on-demand
//! programs) travel elsewhere and may be larger.
//!
//! Unused parts are whole words: zeroing a few odd bytes becomes a call of `memset`, and a program
//! with plain loads must not call functions (see `tcptrace-ebpf`).

/// What a record reports; the first byte after time and socket address in every event record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// `inet_sock_set_state`.
    Transition = 1,
    /// A process took a connection from an accept queue.
    Accept = 2,
    /// `tcp_retransmit_skb`.
    Retransmit = 3,
    /// `tcp_retransmit_synack`.
    SynackRetransmit = 4,
    /// `tcp_send_reset` or `tcp_receive_reset`.
    Reset = 5,
    /// `tcp_destroy_sock`.
    Destroy = 6,
    /// The last thread of a process exits.
    Exit = 7,
    /// A segment of a handshake met a full queue.
    QueueDrop = 8,
    /// The user stack of who accepted, connected or closed, when the agent asks for stacks.
    Stack = 9,
}

impl Kind {
    /// Every kind, in order; the first has number 1.
    pub const ALL: [Self; 9] = [
        Self::Transition,
        Self::Accept,
        Self::Retransmit,
        Self::SynackRetransmit,
        Self::Reset,
        Self::Destroy,
        Self::Exit,
        Self::QueueDrop,
        Self::Stack,
    ];

    /// As written in recordings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transition => "transition",
            Self::Accept => "accept",
            Self::Retransmit => "retransmit",
            Self::SynackRetransmit => "synack_retransmit",
            Self::Reset => "reset",
            Self::Destroy => "destroy",
            Self::Exit => "process",
            Self::QueueDrop => "queue_drop",
            Self::Stack => "stack",
        }
    }
}

/// Entries of the per-CPU array of failed reserves, indexed by [`Kind`].
pub const KINDS: u32 = Kind::ALL.len() as u32 + 1;

pub mod flag;
mod peek;
mod queue;

pub use peek::{Peek, WAITERS, Waiter};
pub use queue::{AcceptQueue, CHILDREN, Child};

/// The first 32 bytes of every record about a socket.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Head {
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// The address of the `struct sock`, or 0.
    pub sock: u64,
    /// [`Kind`].
    pub kind: u8,
    /// References to the descriptor's file, at most 255; 0 once the last is being released.
    pub file_refs: u8,
    /// See [`flag`].
    pub flags: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Host byte order; 0 when not known yet.
    pub local_port: u16,
    /// Host byte order; 0 when not known yet.
    pub peer_port: u16,
    /// The current task's process; meaningful with [`flag::OWNED`], and for accept.
    pub pid: u32,
}

/// Body of [`Kind::Transition`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TransitionBody {
    /// The current task's thread.
    pub tid: u32,
    /// `rcv_nxt - copied_seq`.
    pub unread: u32,
    /// `write_seq - snd_una`.
    pub unacked: u32,
    /// `from << 4 | to`.
    pub states: u8,
    /// `sk_shutdown`.
    pub shutdown: u8,
    /// `sk_err`.
    pub error: u16,
}

/// Body of a [`Kind::Transition`] from ESTABLISHED to FIN_WAIT1, where our side closes first: how the
/// connection was used. Only these records are longer than the others.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ClosingBody {
    /// As in every transition.
    pub transition: TransitionBody,
    /// `jiffies - lsndtime`: since data was last sent.
    pub since_sent_jiffies: u32,
    /// `jiffies - icsk_ack.lrcvtime`: since data last arrived.
    pub since_received_jiffies: u32,
    /// `data_segs_in`.
    pub segments_in: u32,
    /// `data_segs_out`, retransmissions included.
    pub segments_out: u32,
}

/// Body of [`Kind::Accept`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct AcceptBody {
    /// The current task's thread.
    pub tid: u32,
    /// The new descriptor, or -1 where the probe runs before it is installed.
    pub fd: i32,
    /// Unused, 0.
    pub reserved: [u32; 2],
}

/// Body of [`Kind::Retransmit`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct RetransmitBody {
    /// `icsk_rto`.
    pub rto_jiffies: u32,
    /// `skc_state`.
    pub state: u8,
    /// The flags of the segment, as in the TCP header's byte 13.
    pub tcp_flags: u8,
    /// `icsk_retransmits`.
    pub attempt: u8,
    /// `icsk_backoff`.
    pub backoff: u8,
    /// `icsk_pending`: 5 is a loss probe.
    pub pending: u8,
    /// `icsk_ca_state`: 3 is fast recovery, 4 loss.
    pub ca_state: u8,
    /// `icsk_syn_retries` (TCP_SYNCNT), or 0.
    pub syn_retries: u16,
    /// `icsk_user_timeout` (TCP_USER_TIMEOUT), or 0.
    pub user_timeout_ms: u32,
}

/// Body of [`Kind::SynackRetransmit`]; the head's socket is the listener, its peer the client.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SynackBody {
    /// `num_retrans` before this one.
    pub num_retrans: u32,
    /// `num_timeout`, or [`SynackBody::UNKNOWN`]: how often the request's timer had fired before.
    pub num_timeout: u32,
    /// `icsk_syn_retries` of the listener (TCP_SYNCNT), or 0.
    pub retries: u64,
}

impl SynackBody {
    /// The kernel has no such field.
    pub const UNKNOWN: u32 = u32::MAX;
}

/// Body of [`Kind::Reset`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ResetBody {
    /// The current task's thread.
    pub tid: u32,
    /// `enum sk_rst_reason`, or [`ResetBody::NO_REASON`].
    pub reason: u32,
    /// `skc_state`, or 0 without a full socket.
    pub state: u32,
    /// Unused, 0.
    pub reserved: u32,
}

impl ResetBody {
    /// The kernel gives no reason.
    pub const NO_REASON: u32 = u32::MAX;
}

/// Body of [`Kind::QueueDrop`]; the head's socket is the listener, its peer the client.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct QueueDropBody {
    /// The queue's length.
    pub depth: u32,
    /// The listen backlog, which limits both queues.
    pub limit: u32,
    /// [`QueueDropBody::SYN`] or [`QueueDropBody::ACCEPT`].
    pub queue: u8,
    /// [`QueueDropBody::DROPPED`] or [`QueueDropBody::COOKIE`].
    pub outcome: u8,
    /// Unused, 0.
    pub reserved: u16,
    /// Unused, 0.
    pub reserved_more: u32,
}

impl QueueDropBody {
    /// The queue of half-open connections.
    pub const SYN: u8 = 0;
    /// The queue of connections that wait for accept.
    pub const ACCEPT: u8 = 1;
    /// The segment was discarded.
    pub const DROPPED: u8 = 0;
    /// The SYN was answered with a cookie.
    pub const COOKIE: u8 = 1;
}

/// Addresses of an IPv4 record: the bytes in memory are in network order, the words are not numbers.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct V4 {
    /// Ours.
    pub local: u32,
    /// The peer's.
    pub peer: u32,
}

/// Addresses of an IPv6 record: the bytes in memory are in network order, the words are not numbers.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct V6 {
    /// Ours.
    pub local: [u64; 2],
    /// The peer's.
    pub peer: [u64; 2],
}

/// An event record.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Event<B, A> {
    /// What, when, which socket.
    pub head: Head,
    /// By [`Kind`].
    pub body: B,
    /// [`V4`] or [`V6`].
    pub addresses: A,
}

/// [`Kind::Destroy`]: the socket is identified by its address alone.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Gone {
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// The address of the `struct sock`.
    pub sock: u64,
    /// [`Kind`].
    pub kind: u64,
}

impl Gone {
    /// In `kind`, from the understudy: the first program was skipped (or this is a duplicate).
    pub const UNDERSTUDY: u64 = 1 << 8;
}

/// [`Kind::Exit`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Exit {
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// CLOCK_BOOTTIME when the process started.
    pub started_boot_ns: u64,
    /// [`Kind`].
    pub kind: u16,
    /// `exit_code`: the signal that ended it in the low 7 bits; [`Exit::NO_STATUS`] where unknown.
    pub status: u16,
    /// The process.
    pub pid: u32,
    /// Its name, padded with 0.
    pub comm: [u8; 16],
}

impl Exit {
    /// The kernel does not say how the process ended.
    pub const NO_STATUS: u16 = u16::MAX;
}

/// Frames of a user stack that are kept, the innermost ones.
pub const FRAMES: usize = 32;

/// [`Kind::Stack`]: follows the record of the accept, of the change to SYN_SENT, or of the first close.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Calls {
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// The address of the `struct sock`.
    pub sock: u64,
    /// [`Kind`].
    pub kind: u16,
    /// 0 when the thread accepted, 1 when it connected, 2 when it closed first.
    pub call: u16,
    /// The thread's process.
    pub pid: u32,
    /// Return addresses in the process's memory, the innermost first; the rest are 0.
    pub frames: [u64; FRAMES],
}

/// A socket found by an iterator. `head.kind` is 0.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Row {
    /// What, when, which socket. `pid` is the holder's, or 0.
    pub head: Head,
    /// The listener in whose accept queue it sits, or 0.
    pub listener: u64,
    /// The descriptor, or -1.
    pub fd: i32,
    /// `rcv_nxt - copied_seq`.
    pub unread: u32,
    /// `write_seq - snd_una`.
    pub unacked: u32,
    /// `jiffies - rcv_tstamp`.
    pub idle_jiffies: u32,
    /// `sk_ack_backlog`.
    pub accept_depth: u32,
    /// `sk_max_ack_backlog`.
    pub accept_limit: u32,
    /// `icsk_accept_queue.qlen`.
    pub syn_depth: u32,
    /// `sk_drops`.
    pub drops: u32,
    /// `skc_state`.
    pub state: u8,
    /// `sk_shutdown`.
    pub shutdown: u8,
    /// `sk_err`.
    pub error: u16,
    /// In TIME_WAIT: `tw_substate`, which is 5 (FIN_WAIT2) for an orphan that waits for the peer's FIN.
    /// Else 0.
    pub substate: u32,
    /// Addresses; the first 4 bytes of each for IPv4.
    pub addresses: V6,
}

/// The answer of the program that resolves descriptors of the calling process.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct OwnSock {
    /// The descriptor.
    pub fd: u64,
    /// The address of its `struct sock`, or 0.
    pub sock: u64,
    /// `jiffies64`.
    pub jiffies: u64,
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
}

const _: () = {
    assert!(size_of::<Head>() == 32);
    assert!(size_of::<TransitionBody>() == 16);
    assert!(size_of::<ClosingBody>() == 32);
    assert!(size_of::<AcceptBody>() == 16);
    assert!(size_of::<RetransmitBody>() == 16);
    assert!(size_of::<SynackBody>() == 16);
    assert!(size_of::<ResetBody>() == 16);
    assert!(size_of::<QueueDropBody>() == 16);
    assert!(size_of::<Event<TransitionBody, V4>>() == 56);
    assert!(size_of::<Event<TransitionBody, V6>>() == 80);
    assert!(size_of::<Event<ClosingBody, V4>>() == 72);
    assert!(size_of::<Event<ClosingBody, V6>>() == 96);
    assert!(size_of::<Gone>() == 24);
    assert!(size_of::<Exit>() == 40);
    assert!(size_of::<Calls>() == 24 + 8 * FRAMES);
    assert!(size_of::<Row>() == 112);
    assert!(size_of::<Waiter>() == 48);
    assert!(size_of::<Peek>() == 112 + 80 + 48 * WAITERS);
};
