//! Event records: what the attached programs put into the ring.

use std::fmt;
use std::time::Duration;

use tcptrace_common::record::{
    AcceptBody, ClosingBody, Event, Exit, Gone, Kind, QueueDropBody, ResetBody, RetransmitBody,
    SynackBody, TransitionBody, V4, V6, flag,
};

use super::bytes::Bytes;
use super::head::HeadFields;
use super::{DecodeError, Hz, RawKey, SockAddress, WakeFunctions};
use crate::input::{
    Context, DropOutcome, FinWaiter, Queue, ResetDirection, RetransmitReason, Usage,
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
    function: u32,
    /// The process of the task that `private` points to, if it points to a task.
    pid: Pid,
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

/// Decodes one record of the event ring.
pub fn event(record: &[u8], hz: Hz) -> Result<Raw, DecodeError> {
    // The kind lies at the same place in every record.
    let number = record.get(16).copied().unwrap_or(0);
    let wrong = DecodeError::Length {
        kind: number,
        len: record.len(),
    };
    let Some(kind) = Kind::ALL.into_iter().find(|kind| *kind as u8 == number) else {
        return Err(if record.len() < size_of::<Gone>() {
            wrong
        } else {
            DecodeError::Kind(number)
        });
    };
    match kind {
        Kind::Destroy if record.len() == size_of::<Gone>() => Ok(destroy(record)),
        Kind::Exit if record.len() == size_of::<Exit>() => Ok(exit(record)),
        Kind::Destroy | Kind::Exit => Err(wrong),
        _ => {
            let (v6, long) = match record.len() {
                len if len == size_of::<Event<TransitionBody, V4>>() => (false, false),
                len if len == size_of::<Event<TransitionBody, V6>>() => (true, false),
                len if len == size_of::<Event<ClosingBody, V4>>() => (false, true),
                len if len == size_of::<Event<ClosingBody, V6>>() => (true, true),
                _ => return Err(wrong),
            };
            let mut bytes = Bytes::new(record);
            let mut head = HeadFields::read(&mut bytes);
            if v6 != head.is(flag::V6) || (long && kind != Kind::Transition) {
                return Err(wrong);
            }
            let body = bytes.take::<16>();
            let more = if long { Some(bytes.take::<16>()) } else { None };
            head.addresses(&mut bytes);
            let mut raw = about_socket(kind, &head, &mut Bytes::new(&body), hz)?;
            if let (Raw::Transition(transition), Some(more)) = (&mut raw, more) {
                transition.usage = Some(usage(&mut Bytes::new(&more), hz));
            }
            Ok(raw)
        }
    }
}

/// The second half of a [`ClosingBody`].
fn usage(bytes: &mut Bytes<'_>, hz: Hz) -> Usage {
    let (sent, received) = (bytes.u32(), bytes.u32());
    Usage {
        idle: hz.duration(sent.min(received)),
        segments_in: bytes.u32(),
        segments_out: bytes.u32(),
    }
}

fn about_socket(
    kind: Kind,
    head: &HeadFields,
    body: &mut Bytes<'_>,
    hz: Hz,
) -> Result<Raw, DecodeError> {
    const _: () = assert!(size_of::<TransitionBody>() == size_of::<AcceptBody>());
    const _: () = assert!(size_of::<RetransmitBody>() == size_of::<SynackBody>());
    const _: () = assert!(size_of::<QueueDropBody>() == size_of::<SynackBody>());
    let state = |number: u8| {
        TcpState::from_raw(number).ok_or(DecodeError::State {
            kind: kind as u8,
            state: number,
        })
    };
    Ok(match kind {
        Kind::Transition => {
            let tid = Tid(body.u32());
            let (unread, unacked) = (body.u32(), body.u32());
            let states = body.u8();
            let shutdown = Shutdown(body.u8());
            let error = body.u16();
            let (from, to) = (state(states >> 4)?, state(states & 15)?);
            // At a birth or a connect the sequence numbers are the listener's or of the last use.
            let started = !matches!(from, TcpState::Close | TcpState::Listen | TcpState::SynSent)
                && head.is(flag::SEQUENCES);
            Raw::Transition(RawTransition {
                at: head.at,
                key: head.key,
                from,
                to,
                context: head.context(tid),
                error: (error != 0).then_some(error),
                shutdown,
                peer_fin: head.is(flag::DONE),
                dead: head.is(flag::DEAD),
                has_socket: head.is(flag::HAS_SOCKET),
                file_released: head.is(flag::HAS_FILE) && head.file_refs == 0,
                file_refs: head.is(flag::HAS_FILE).then_some(head.file_refs),
                unread: started.then_some(unread),
                unacked: started.then_some(unacked),
                usage: None,
                listener: head
                    .is(flag::LISTENER)
                    .then_some(SockAddress(u64::from(unacked) << 32 | u64::from(unread))),
                waiter: head.is(flag::WAITER).then_some(RawWaiter {
                    function: tid.0,
                    pid: head.pid,
                }),
                understudy: head.is(flag::UNDERSTUDY),
            })
        }
        Kind::Accept => {
            let tid = Tid(body.u32());
            Raw::Accept(RawAccept {
                at: head.at,
                key: head.key,
                pid: head.pid,
                tid,
                fd: u32::try_from(body.i32()).ok().map(Fd),
            })
        }
        Kind::Retransmit => {
            let rto = body.u32();
            let number = body.u8();
            let flags = body.u8();
            let (attempt, backoff, pending, ca_state) =
                (body.u8(), body.u8(), body.u8(), body.u8());
            let syn_retries = u8::try_from(body.u16()).unwrap_or(u8::MAX);
            let user_timeout = body.u32();
            Raw::Retransmit(RawRetransmit {
                at: head.at,
                key: head.key,
                state: state(number)?,
                syn: flags & 2 != 0,
                fin: flags & 1 != 0,
                reason: reason(pending, ca_state, attempt),
                attempt,
                backoff,
                rto: (rto != 0).then(|| hz.duration(rto)),
                dead: head.is(flag::DEAD),
                user_timeout: milliseconds(user_timeout),
                syn_retries: (syn_retries != 0).then_some(syn_retries),
            })
        }
        Kind::SynackRetransmit => {
            let attempt = u8::try_from(body.u32()).unwrap_or(u8::MAX);
            let timeouts = body.u32();
            let retries = u8::try_from(body.u64()).unwrap_or(u8::MAX);
            Raw::SynackRetransmit(RawSynackRetransmit {
                at: head.at,
                key: head.key,
                attempt: attempt.saturating_add(1),
                acked: head.is(flag::ACKED),
                defer_accept: head.is(flag::DEFER_ACCEPT),
                // SynackBody::UNKNOWN does not fit.
                timeouts: u8::try_from(timeouts).ok(),
                retries: (retries != 0).then_some(retries),
            })
        }
        Kind::Reset => {
            let tid = Tid(body.u32());
            let reason = body.u32();
            let number = u8::try_from(body.u32()).unwrap_or(u8::MAX);
            Raw::Reset(RawReset {
                at: head.at,
                key: head.key,
                direction: if head.is(flag::RECEIVED) {
                    ResetDirection::Received
                } else {
                    ResetDirection::Sent
                },
                state: (number != 0).then(|| state(number)).transpose()?,
                reason: (reason != ResetBody::NO_REASON).then_some(reason),
                context: head.context(tid),
            })
        }
        Kind::QueueDrop => {
            let (depth, limit) = (body.u32(), body.u32());
            let (queue, outcome) = (body.u8(), body.u8());
            let wrong = |value| DecodeError::Value {
                kind: kind as u8,
                value,
            };
            Raw::QueueDrop(RawQueueDrop {
                at: head.at,
                key: head.key,
                queue: match queue {
                    QueueDropBody::SYN => Queue::Syn,
                    QueueDropBody::ACCEPT => Queue::Accept,
                    other => return Err(wrong(other)),
                },
                outcome: match outcome {
                    QueueDropBody::DROPPED => DropOutcome::Dropped,
                    QueueDropBody::COOKIE => DropOutcome::Cookie,
                    other => return Err(wrong(other)),
                },
                depth,
                limit,
            })
        }
        Kind::Destroy | Kind::Exit => return Err(DecodeError::Kind(kind as u8)),
    })
}

/// TCP_USER_TIMEOUT; 0 is none.
pub(super) fn milliseconds(count: u32) -> Option<Duration> {
    (count != 0).then(|| Duration::from_millis(count.into()))
}

/// Which timer or algorithm resent a segment, from the timers as they stand at the tracepoint.
fn reason(pending: u8, ca_state: u8, attempt: u8) -> RetransmitReason {
    const LOSS_PROBE: u8 = 5;
    const RECOVERY: u8 = 3;
    const LOSS: u8 = 4;
    match (pending, ca_state) {
        (LOSS_PROBE, _) => RetransmitReason::LossProbe,
        (_, RECOVERY) => RetransmitReason::Recovery,
        // In loss recovery the timer is armed again while acknowledgements clock segments out.
        (1.., LOSS) => RetransmitReason::Recovery,
        (_, LOSS) => RetransmitReason::Timeout,
        // A SYN's timer does not enter loss recovery.
        _ if attempt > 0 => RetransmitReason::Timeout,
        _ => RetransmitReason::Recovery,
    }
}

fn destroy(record: &[u8]) -> Raw {
    let mut bytes = Bytes::new(record);
    Raw::Destroy(RawDestroy {
        at: MonoNs(bytes.u64()),
        sock: SockAddress(bytes.u64()),
        understudy: bytes.u64() & Gone::UNDERSTUDY != 0,
    })
}

fn exit(record: &[u8]) -> Raw {
    let mut bytes = Bytes::new(record);
    let at = MonoNs(bytes.u64());
    let started_boot_ns = bytes.u64();
    let _kind = bytes.u16();
    let status = bytes.u16();
    Raw::Exit(RawExit {
        at,
        pid: Pid(bytes.u32()),
        comm: bytes.take(),
        started_boot_ns,
        // As wait(2) encodes it: the low seven bits are the signal.
        signal: (status != Exit::NO_STATUS).then_some((status & 0x7f) as u8),
    })
}
