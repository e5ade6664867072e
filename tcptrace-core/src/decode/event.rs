//! Event records: what the attached programs put into the ring.

use std::time::Duration;

use tcptrace_common::record::{
    AcceptBody, Calls, ClosingBody, Event, Exit, FRAMES, Gone, Kind, QueueDropBody, ResetBody,
    RetransmitBody, SynackBody, TransitionBody, V4, V6, flag,
};

use super::bytes::Bytes;
use super::head::HeadFields;
use super::raw::*;
use super::{DecodeError, Hz, SockAddress};
use crate::input::{DropOutcome, Queue, ResetDirection, RetransmitReason, SocketCall, Usage};
use crate::tcp::{Shutdown, TcpState};
use crate::units::{Fd, MonoNs, Pid, Tid};

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
        Kind::Stack if record.len() == size_of::<Calls>() => Ok(calls(record)),
        Kind::Destroy | Kind::Exit | Kind::Stack => Err(wrong),
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
        Kind::Destroy | Kind::Exit | Kind::Stack => return Err(DecodeError::Kind(kind as u8)),
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

fn calls(record: &[u8]) -> Raw {
    let mut bytes = Bytes::new(record);
    let at = MonoNs(bytes.u64());
    let sock = SockAddress(bytes.u64());
    let _kind = bytes.u16();
    let call = match bytes.u16() {
        0 => SocketCall::Accept,
        1 => SocketCall::Connect,
        _ => SocketCall::Close,
    };
    let pid = Pid(bytes.u32());
    let frames = std::iter::repeat_with(|| bytes.u64())
        .take(FRAMES)
        .take_while(|address| *address != 0)
        .collect();
    Raw::Stack(RawStack {
        at,
        sock,
        call,
        pid,
        frames,
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
