//! Rows of the iterators and answers of the on-demand programs.

use std::fmt;
use std::mem::offset_of;
use std::time::Duration;

use tcptrace_common::record::{self, flag};

use super::bytes::Bytes;
use super::event::milliseconds;
use super::head::{HeadFields, v4, v6};
use super::{DecodeError, Hz, RawKey, SockAddress};
use crate::input::{EpollWatch, Holder, QueueLevel, Sending, Waiters};
use crate::tcp::{Shutdown, TcpState};
use crate::units::{Fd, MonoNs};

/// See [`crate::input::SocketRow`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRow {
    /// When the row was read.
    pub at: MonoNs,
    /// Which socket.
    pub key: RawKey,
    /// Its state. TIME_WAIT and NEW_SYN_RECV rows are not full sockets.
    pub state: TcpState,
    /// The descriptor that led to it.
    pub holder: Option<Holder>,
    /// The listener in whose accept queue it sits.
    pub listener: Option<SockAddress>,
    /// `sk_socket` is set.
    pub has_socket: bool,
    /// SOCK_DEAD.
    pub dead: bool,
    /// `sk_err`, when set.
    pub error: Option<u16>,
    /// `sk_shutdown`.
    pub shutdown: Shutdown,
    /// `rcv_nxt - copied_seq`; absent for a listener and for what is not a full socket.
    pub unread: Option<u32>,
    /// `write_seq - snd_una`; absent likewise.
    pub unacked: Option<u32>,
    /// Since `rcv_tstamp`; absent likewise.
    pub idle: Option<Duration>,
    /// The accept queue, of a listener.
    pub queue: Option<QueueLevel>,
    /// `icsk_accept_queue.qlen`, of a listener.
    pub syn_depth: Option<u32>,
    /// `sk_drops`, of a listener.
    pub drops: Option<u32>,
    /// The walk of this listener's accept queue was cut off: the snapshot is not complete.
    pub cut: bool,
    /// Of one in TIME_WAIT: an orphan that still waits for the peer's FIN.
    pub orphan_fin_wait2: bool,
}

/// What a peek saw of one socket. Compare the identity: the address may be another socket's by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPeek {
    /// When.
    pub at: MonoNs,
    /// Which socket, and the tuple that lies there now.
    pub key: RawKey,
    /// Its state.
    pub state: TcpState,
    /// `rcv_nxt - copied_seq`.
    pub unread: u32,
    /// `write_seq - snd_una`.
    pub unacked: u32,
    /// `bytes_acked`.
    pub bytes_acked: u64,
    /// `sk_socket` is set.
    pub has_socket: bool,
    /// SOCK_DEAD.
    pub dead: bool,
    /// References to the descriptor's file, where there is one.
    pub file_refs: Option<u32>,
    /// `sk_shutdown`.
    pub shutdown: Shutdown,
    /// `sk_err`, when set.
    pub error: Option<u16>,
    /// `sk_data_ready` is not `sock_def_readable`, as far as that is known.
    pub special_reader: bool,
    /// The wait queue; absent when it changed under the walk (torn).
    pub waiters: Option<Waiters>,
    /// Since `rcv_tstamp`.
    pub idle: Option<Duration>,
    /// `sk_ack_backlog` and `sk_max_ack_backlog`.
    pub queue: QueueLevel,
    /// `icsk_accept_queue.qlen`.
    pub syn_depth: u32,
    /// `sk_drops`.
    pub drops: u32,
    /// What the sending side waits for; absent where the kernel's fields are not known.
    pub sending: Option<Sending>,
}

impl RawPeek {
    /// The same facts as a row about a connection that `listener` has not given out yet.
    pub fn into_row(self, listener: SockAddress) -> RawRow {
        RawRow {
            at: self.at,
            key: self.key,
            state: self.state,
            holder: None,
            listener: Some(listener),
            has_socket: self.has_socket,
            dead: self.dead,
            error: self.error,
            shutdown: self.shutdown,
            unread: Some(self.unread),
            unacked: Some(self.unacked),
            idle: self.idle,
            queue: None,
            syn_depth: None,
            drops: None,
            cut: false,
            orphan_fin_wait2: false,
        }
    }
}

/// The addresses of the kernel functions that entries of a wait queue call, learnt at start from
/// registrations of our own. 0 is "not learnt".
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct WakeFunctions {
    /// `ep_poll_callback`.
    pub epoll: u64,
    /// `pollwake`.
    pub poll: u64,
    /// `woken_wake_function`: blocked in a read or write.
    pub read: u64,
    /// `autoremove_wake_function`: blocked in accept.
    pub accept: u64,
    /// `sock_def_readable`, the ordinary `sk_data_ready`.
    pub data_ready: u64,
    /// What to add to the stored reference count of a file: 1 where the kernel has `f_ref`.
    pub file_ref_bias: u64,
}

impl fmt::Debug for WakeFunctions {
    // Only whether each is known: the addresses would leak the kernel's memory layout into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeFunctions")
            .field("epoll", &(self.epoll != 0))
            .field("poll", &(self.poll != 0))
            .field("read", &(self.read != 0))
            .field("accept", &(self.accept != 0))
            .field("data_ready", &(self.data_ready != 0))
            .field("file_ref_bias", &self.file_ref_bias)
            .finish()
    }
}

/// Decodes one row of an iterator.
pub fn row(bytes: &[u8], hz: Hz) -> Result<RawRow, DecodeError> {
    if bytes.len() != size_of::<record::Row>() {
        return Err(DecodeError::Length {
            kind: 0,
            len: bytes.len(),
        });
    }
    let fields = RowFields::read(&mut Bytes::new(bytes));
    let state = fields.state()?;
    let listens = state == TcpState::Listen;
    let flows = fields.head.is(flag::SEQUENCES) && !listens;
    Ok(RawRow {
        at: fields.head.at,
        key: fields.head.key,
        state,
        holder: u32::try_from(fields.fd).ok().map(|fd| Holder {
            pid: fields.head.pid,
            fd: Fd(fd),
            cloexec: None,
        }),
        listener: (fields.listener != 0).then_some(SockAddress(fields.listener)),
        has_socket: fields.head.is(flag::HAS_SOCKET),
        dead: fields.head.is(flag::DEAD),
        error: (fields.error != 0).then_some(fields.error),
        shutdown: fields.shutdown,
        unread: flows.then_some(fields.unread),
        unacked: flows.then_some(fields.unacked),
        idle: flows.then(|| hz.duration(fields.idle)),
        queue: listens.then_some(fields.queue),
        syn_depth: listens.then_some(fields.syn_depth),
        drops: listens.then_some(fields.drops),
        cut: fields.head.is(flag::CUT),
        orphan_fin_wait2: state == TcpState::TimeWait
            && fields.substate == TcpState::FinWait2 as u32,
    })
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;

/// Decodes the answer about one socket. `Ok(None)` is an unused place of the batch, or memory that
/// is no TCP sock any more.
pub fn peek(bytes: &[u8], known: &WakeFunctions, hz: Hz) -> Result<Option<RawPeek>, DecodeError> {
    if bytes.len() != size_of::<record::Peek>() {
        return Err(DecodeError::Length {
            kind: 0,
            len: bytes.len(),
        });
    }
    let mut bytes = Bytes::new(bytes);
    let fields = RowFields::read(&mut bytes);
    if fields.head.key.sock == SockAddress(0) {
        return Ok(None);
    }
    let bytes_acked = bytes.u64();
    let data_ready = bytes.u64();
    let file_refs = bytes.u64();
    let (family, protocol) = (bytes.u16(), bytes.u16());
    let (sending, mapped) = sending(&mut bytes, hz);
    let _jiffies = bytes.u64();
    let (head, last) = (bytes.u64(), bytes.u64());
    let tcp = protocol == IPPROTO_TCP && (family == AF_INET || family == AF_INET6);
    let Some(state) = TcpState::from_raw(fields.state).filter(|_| tcp) else {
        return Ok(None);
    };
    Ok(Some(RawPeek {
        at: fields.head.at,
        key: fields.head.key,
        state,
        unread: fields.unread,
        unacked: fields.unacked,
        bytes_acked,
        has_socket: fields.head.is(flag::HAS_SOCKET),
        dead: fields.head.is(flag::DEAD),
        file_refs: fields
            .head
            .is(flag::HAS_FILE)
            .then(|| references(file_refs, known.file_ref_bias)),
        shutdown: fields.shutdown,
        error: (fields.error != 0).then_some(fields.error),
        // Zero-copy receive leaves the FIN where it is; who has read that has read it all.
        special_reader: known.data_ready != 0 && data_ready != known.data_ready
            || mapped && fields.unread > 0,
        waiters: waiters(&mut bytes, head, last, known),
        idle: (state != TcpState::Listen).then(|| hz.duration(fields.idle)),
        queue: fields.queue,
        syn_depth: fields.syn_depth,
        drops: fields.drops,
        sending: sending.filter(|_| state != TcpState::Listen),
    }))
}

/// Reads what the sending side waits for; 0 stands for "the namespace's" in settings.
/// And whether the socket is mapped.
fn sending(bytes: &mut Bytes<'_>, hz: Hz) -> (Option<Sending>, bool) {
    let own = |jiffies: u32| (jiffies != 0).then(|| hz.duration(jiffies));
    let (window, unsent) = (bytes.u32(), bytes.u32());
    let user_timeout = milliseconds(bytes.u32());
    let (time, interval) = (bytes.u32(), bytes.u32());
    let probes = u8::try_from(bytes.u16()).unwrap_or(u8::MAX);
    let keepalive = bytes.u8() != 0;
    let mapped = bytes.u8() != 0;
    let (retransmits, backoff, probes_out) = (bytes.u8(), bytes.u8(), bytes.u8());
    let known = bytes.u8() != 0;
    let sending = known.then_some(Sending {
        window,
        unsent,
        retransmits,
        backoff,
        probes_out,
        user_timeout,
        keepalive,
        keepalive_time: own(time),
        keepalive_interval: own(interval),
        keepalive_probes: (probes != 0).then_some(probes),
    });
    (sending, mapped)
}

/// `f_ref` stores one less than the references, and dead values have the top bit set.
fn references(raw: u64, bias: u64) -> u32 {
    if raw >> 63 != 0 {
        0
    } else {
        u32::try_from(raw.saturating_add(bias)).unwrap_or(u32::MAX)
    }
}

/// `sk_data_ready` and the function of the first entry of the wait queue, for learning them.
pub fn wake_functions(answer: &[u8]) -> Option<(u64, Option<u64>)> {
    let field = |at: usize| {
        answer
            .get(at..at + 8)
            .and_then(|field| field.try_into().ok())
            .map(u64::from_le_bytes)
    };
    let data_ready = field(offset_of!(record::Peek, data_ready))?;
    let head = field(offset_of!(record::Peek, wait_head))?;
    let first = offset_of!(record::Peek, waiters);
    let node = field(first + offset_of!(record::Waiter, node))?;
    let func = field(first + offset_of!(record::Waiter, func))?;
    Some((data_ready, (node != head && node != 0).then_some(func)))
}

/// Walks the entries that the program read blindly; nothing when the list changed meanwhile.
fn waiters(bytes: &mut Bytes<'_>, head: u64, last: u64, known: &WakeFunctions) -> Option<Waiters> {
    let mut found = Waiters::default();
    // Without a struct socket there is no wait queue either: the head is a small offset from NULL.
    if head < 4096 {
        return Some(found);
    }
    let mut before = head;
    for _ in 0..record::WAITERS {
        let node = bytes.u64();
        let prev = bytes.u64();
        let func = bytes.u64();
        let ready = bytes.u64();
        let waited_on = bytes.u64();
        let events = bytes.u32();
        let _reserved = bytes.u32();
        if node == head {
            return (last == before).then_some(found);
        }
        if prev != before || node == 0 {
            return None;
        }
        before = node;
        let is = |function: u64| function != 0 && func == function;
        if is(known.epoll) && found.epoll.len() < MAX_EPOLL {
            found.epoll.push(EpollWatch {
                events,
                ready: ready != 0,
                waited_on: waited_on != 0,
            });
        } else if is(known.poll) {
            found.polling += 1;
        } else if is(known.read) || is(known.accept) {
            found.blocked += 1;
        } else {
            found.others += 1;
        }
    }
    // More entries than an answer shows: at least one, unless exactly that many were there.
    if before != last {
        found.others += 1;
    }
    Some(found)
}

/// Epoll registrations that are shown; more are counted as others.
const MAX_EPOLL: usize = 8;

/// The fields of a row.
struct RowFields {
    head: HeadFields,
    listener: u64,
    fd: i32,
    unread: u32,
    unacked: u32,
    idle: u32,
    queue: QueueLevel,
    syn_depth: u32,
    drops: u32,
    state: u8,
    shutdown: Shutdown,
    error: u16,
    substate: u32,
}

impl RowFields {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        let mut head = HeadFields::read(bytes);
        let listener = bytes.u64();
        let fd = bytes.i32();
        let (unread, unacked, idle) = (bytes.u32(), bytes.u32(), bytes.u32());
        let queue = QueueLevel {
            depth: bytes.u32(),
            limit: bytes.u32(),
        };
        let (syn_depth, drops) = (bytes.u32(), bytes.u32());
        let state = bytes.u8();
        let shutdown = Shutdown(bytes.u8());
        let error = bytes.u16();
        let substate = bytes.u32();
        // Rows have one width: an IPv4 address fills the first four of sixteen bytes.
        let (local, peer) = (bytes.take::<16>(), bytes.take::<16>());
        let read = |octets: [u8; 16]| {
            if head.is(flag::V6) {
                v6(octets)
            } else {
                v4([octets[0], octets[1], octets[2], octets[3]])
            }
        };
        let (local, peer) = (read(local), read(peer));
        head.key.local.address = local;
        head.key.peer.address = peer;
        head.key.forget_unknown_peer();
        Self {
            head,
            listener,
            fd,
            unread,
            unacked,
            idle,
            queue,
            syn_depth,
            drops,
            state,
            shutdown,
            error,
            substate,
        }
    }

    fn state(&self) -> Result<TcpState, DecodeError> {
        TcpState::from_raw(self.state).ok_or(DecodeError::State {
            kind: 0,
            state: self.state,
        })
    }
}
