//! Why a connection was reset, from its transition to CLOSE or from the report of the reset.

use std::time::Duration;

use crate::finding::{Cause, Confidence};
use crate::input::{Context, Reset, Transition};
use crate::tcp::TcpState;
use crate::units::{MonoNs, Pid, SockId};
use crate::world::{Moment, World};

/// ECONNABORTED: `tcp_abort`, which is `ss -K` and BPF programs.
const ABORTED: u16 = 103;

/// A close that went through FIN_WAIT1 and was given up in the same call.
const SAME_CALL: Duration = Duration::from_millis(10);

/// One reset, judged.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) cause: Cause,
    pub(super) confidence: Confidence,
    pub(super) inference: Option<&'static str>,
    /// Who did it, where that is not the owner.
    pub(super) actor: Option<Pid>,
    pub(super) unread: Option<u32>,
    pub(super) signal: Option<u8>,
}

impl Verdict {
    fn exact(cause: Cause) -> Self {
        Self {
            cause,
            confidence: Confidence::Exact,
            inference: None,
            actor: None,
            unread: None,
            signal: None,
        }
    }

    fn likely(cause: Cause, inference: &'static str) -> Self {
        Self {
            confidence: Confidence::Likely,
            inference: Some(inference),
            ..Self::exact(cause)
        }
    }

    fn unknown(reason: &'static str) -> Self {
        Self {
            confidence: Confidence::Unknown,
            inference: Some(reason),
            ..Self::exact(Cause::Unknown)
        }
    }
}

/// What a transition to CLOSE says of a reset that we sent, if it was one.
pub(super) fn aborted(x: &Transition, world: &World) -> Option<Verdict> {
    match x.error {
        None => {}
        Some(ABORTED) => {
            return Some(Verdict {
                actor: x.context.pid(),
                ..Verdict::exact(Cause::AdminKill)
            });
        }
        // Received, or a timeout.
        Some(_) => return None,
    }
    let Context::Process { pid, exiting, .. } = x.context else {
        return dropped_with_listener(x, world);
    };
    if !matches!(
        x.from,
        TcpState::Established
            | TcpState::CloseWait
            | TcpState::SynRecv
            | TcpState::FinWait1
            | TcpState::FinWait2
    ) || x.enters_time_wait()
        || x.enters_orphan_fin_wait2()
    {
        return None;
    }
    let unread = x
        .unread
        .map(|bytes| bytes.saturating_sub(u32::from(x.peer_fin)))
        .filter(|bytes| *bytes > 0);
    let queued = !x.has_socket && !x.dead;
    if exiting && (queued || x.file_released) {
        return Some(Verdict {
            unread,
            signal: world.process(pid).and_then(|process| process.signal),
            ..Verdict::exact(Cause::ProcessExit)
        });
    }
    if queued {
        return Some(Verdict::unknown(LISTENER_CLOSED));
    }
    if !x.file_released && !x.dead {
        return Some(Verdict::unknown(
            "the process disconnected the socket without closing it",
        ));
    }
    if unread.is_some() {
        return Some(Verdict {
            unread,
            ..Verdict::exact(Cause::UnreadData)
        });
    }
    // tcp_close sends its FIN, then finds that there are too many orphans (tcp_check_oom).
    if x.from == TcpState::FinWait1 && fin_just_sent(x.key.sock, x.at, world) {
        return Some(Verdict::likely(Cause::Memory, ABORTED_CLOSE));
    }
    Some(Verdict::likely(
        Cause::LingerZero,
        "it was closed by a reset although nothing was unread",
    ))
}

const ABORTED_CLOSE: &str = "the close sent its FIN and was aborted in the same call";

/// Whether a process closed the connection a moment before `at`.
fn fin_just_sent(sock: SockId, at: MonoNs, world: &World) -> bool {
    world.timeline(sock).iter().rev().any(|(sent, moment)| {
        matches!(
            moment,
            Moment::Transition {
                to: TcpState::FinWait1,
                by: Context::Process { .. },
                ..
            }
        ) && at.since(*sent) < SAME_CALL
    })
}

const LISTENER_CLOSED: &str =
    "the listener was closed while connections waited in its accept queue";

/// What waits in an accept queue is reset when its listener closes. The closing task does not lock
/// the children as a user does, so the event looks like one of softirq; no other has neither an error
/// nor a socket and is no orphan (`inet_csk_listen_stop`). A process reports its exit before it
/// closes its files.
fn dropped_with_listener(x: &Transition, world: &World) -> Option<Verdict> {
    let waited =
        matches!(x.from, TcpState::Established | TcpState::CloseWait) && !x.has_socket && !x.dead;
    if !waited {
        return None;
    }
    let owner = world.socket(x.key.sock)?.owner.as_ref()?;
    match world.process(owner.process.pid) {
        Some(process) if process.exited.is_some() => Some(Verdict {
            signal: process.signal,
            ..Verdict::exact(Cause::ProcessExit)
        }),
        _ => Some(Verdict::unknown(LISTENER_CLOSED)),
    }
}

/// What a received reset says.
pub(super) fn received(x: &Reset) -> Verdict {
    match x.state {
        Some(TcpState::SynSent) => Verdict::exact(Cause::Refused),
        _ => Verdict::exact(Cause::ByPeer),
    }
}

/// What a reset says that answers a segment, or that a timer sent.
pub(super) fn sent(x: &Reset, world: &World) -> Option<Verdict> {
    let reason = x.reason.as_deref().unwrap_or("");
    if reason.contains("MEMORY") {
        return Some(Verdict::exact(Cause::Memory));
    }
    if reason.contains("TIMEOUT") {
        return None;
    }
    match x.state {
        None if reason == "NO_SOCKET" => Some(Verdict::exact(Cause::NoSocket)),
        None => Some(Verdict::unknown(
            "the kernel's reason names none of the known causes",
        )),
        Some(TcpState::Listen) => {
            let aborts = world
                .netns_facts(x.key.netns)
                .and_then(|facts| facts.tcp_abort_on_overflow)
                .is_some_and(|value| value != 0);
            Some(if aborts {
                Verdict::likely(
                    Cause::ListenOverflow,
                    "the listener answered with a reset while tcp_abort_on_overflow is set",
                )
            } else {
                Verdict::unknown("a listener answered a segment that opens no connection")
            })
        }
        // The end of close does not hold the socket as a user does, so its transition says nothing.
        Some(TcpState::Close) if x.reason.is_none() && fin_just_sent(x.key.sock, x.at, world) => {
            Some(Verdict::likely(Cause::Memory, ABORTED_CLOSE))
        }
        // Its transition says who ended it (ss -K), or a timer's does.
        Some(TcpState::Close) => None,
        Some(_) if reason == "TCP_STATE" => None,
        Some(_) => Some(Verdict::unknown(
            "the kernel answered a segment of the connection with a reset",
        )),
    }
}
