//! Why a connection was reset, from its transition to CLOSE or from the report of the reset.

use std::time::Duration;

use crate::finding::{Cause, Confidence};
use crate::input::{Context, Reset, Transition};
use crate::tcp::TcpState;
use crate::units::Pid;
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
        return None;
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
        return Some(Verdict::unknown(
            "the listener was closed while connections waited in its accept queue",
        ));
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
    let fin_just_sent = x.from == TcpState::FinWait1
        && world.timeline(x.key.sock).iter().rev().any(|(at, moment)| {
            matches!(
                moment,
                Moment::Transition {
                    to: TcpState::FinWait1,
                    by: Context::Process { .. },
                    ..
                }
            ) && x.at.since(*at) < SAME_CALL
        });
    if fin_just_sent {
        return Some(Verdict::likely(
            Cause::Memory,
            "the close sent its FIN and was aborted in the same call",
        ));
    }
    Some(Verdict::likely(
        Cause::LingerZero,
        "it was closed by a reset although nothing was unread",
    ))
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
        // Its transition says who ended it (ss -K), or a timer's does.
        Some(TcpState::Close) => None,
        Some(_) if reason == "TCP_STATE" => None,
        Some(_) => Some(Verdict::unknown(
            "the kernel answered a segment of the connection with a reset",
        )),
    }
}
