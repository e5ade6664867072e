//! Facts that come by the hundred thousand a second. No `flatten`: it buffers every line.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tcptrace_core::Input;
use tcptrace_core::input::{
    Accept, Context, Destroy, DropOutcome, FinWaiter, Queue, QueueDrop, Reset, ResetDirection,
    Retransmit, RetransmitReason, SynackRetransmit, Transition, Usage,
};
use tcptrace_core::tcp::{Shutdown, TcpState};
use tcptrace_core::units::{Fd, Pid, Tid};

/// Declares the struct of a line about a socket: the fields that all of them have, and its own.
macro_rules! socket_line {
    ($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(serde::Deserialize)]
        pub(in crate::recording) struct $name {
            mono_ns: tcptrace_core::units::MonoNs,
            sock: Option<super::SockText>,
            netns: Option<tcptrace_core::units::NetnsId>,
            local: Option<tcptrace_core::tcp::Endpoint>,
            peer: Option<tcptrace_core::tcp::Endpoint>,
            $($(#[$meta])* $field: $type,)*
        }

        impl $name {
            fn key(&self) -> tcptrace_core::input::SocketKey {
                super::key(self.sock, self.netns, self.local, self.peer)
            }
        }
    };
}
pub(super) use socket_line;

socket_line!(TransitionLine {
    from: TcpState,
    to: TcpState,
    task: Option<Task>,
    error: Option<u16>,
    shutdown: Shutdown,
    peer_fin: bool,
    dead: bool,
    has_socket: bool,
    file_released: bool,
    #[serde(default)]
    file_refs: Option<u32>,
    unread: Option<u32>,
    unacked: Option<u32>,
    usage: Option<UsageFields>,
    listener: Option<super::SockText>,
    waiter_pid: Option<Pid>,
    waiter: Option<Waiter>,
});

socket_line!(AcceptLine {
    pid: Pid,
    tid: Tid,
    fd: Option<Fd>,
});

socket_line!(DestroyLine {});

socket_line!(RetransmitLine {
    flags: Vec<Flag>,
    state: TcpState,
    attempt: u8,
    #[serde(with = "ReasonName")]
    reason: RetransmitReason,
    backoff: u8,
    rto_ns: Option<u64>,
    dead: bool,
    user_timeout_ns: Option<u64>,
    syn_retries: Option<u8>,
});

socket_line!(SynackRetransmitLine {
    attempt: u8,
    acked: bool,
    defer_accept: bool,
    timeouts: Option<u8>,
    retries: Option<u8>,
});

socket_line!(ResetLine {
    #[serde(with = "DirectionName")]
    direction: ResetDirection,
    state: Option<TcpState>,
    reason: Option<String>,
    task: Option<Task>,
});

socket_line!(QueueDropLine {
    #[serde(with = "QueueName")]
    queue: Queue,
    #[serde(with = "OutcomeName")]
    outcome: DropOutcome,
    depth: u32,
    limit: u32,
});

/// [`Context::Process`]; its absence is [`Context::Interrupt`].
#[derive(Clone, Copy, Deserialize)]
struct Task {
    pid: Pid,
    tid: Tid,
    exiting: bool,
}

fn context(task: Option<Task>) -> Context {
    task.map_or(Context::Interrupt, |Task { pid, tid, exiting }| {
        Context::Process { pid, tid, exiting }
    })
}

/// [`Usage`].
#[derive(Clone, Copy, Deserialize)]
struct UsageFields {
    idle_ns: u64,
    segments_in: u32,
    segments_out: u32,
}

impl From<UsageFields> for Usage {
    fn from(fields: UsageFields) -> Self {
        Self {
            idle: Duration::from_nanos(fields.idle_ns),
            segments_in: fields.segments_in,
            segments_out: fields.segments_out,
        }
    }
}

/// [`FinWaiter`] less the process, whose number says what it is.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Waiter {
    Nobody,
    Epoll,
    Other,
}

impl From<Waiter> for FinWaiter {
    fn from(waiter: Waiter) -> Self {
        match waiter {
            Waiter::Nobody => Self::Nobody,
            Waiter::Epoll => Self::Epoll,
            Waiter::Other => Self::Other,
        }
    }
}

/// A TCP flag of a repeated segment.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Flag {
    Syn,
    Fin,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(remote = "RetransmitReason", rename_all = "snake_case")]
enum ReasonName {
    Timeout,
    LossProbe,
    Recovery,
}

#[derive(Deserialize)]
#[serde(remote = "ResetDirection", rename_all = "snake_case")]
enum DirectionName {
    Sent,
    Received,
}

#[derive(Deserialize)]
#[serde(remote = "Queue", rename_all = "snake_case")]
enum QueueName {
    Syn,
    Accept,
}

#[derive(Deserialize)]
#[serde(remote = "DropOutcome", rename_all = "snake_case")]
enum OutcomeName {
    Dropped,
    Cookie,
}

impl From<TransitionLine> for Input {
    fn from(line: TransitionLine) -> Self {
        Self::Transition(Transition {
            at: line.mono_ns,
            key: line.key(),
            from: line.from,
            to: line.to,
            context: context(line.task),
            error: line.error,
            shutdown: line.shutdown,
            peer_fin: line.peer_fin,
            dead: line.dead,
            has_socket: line.has_socket,
            file_released: line.file_released,
            file_refs: line.file_refs,
            unread: line.unread,
            unacked: line.unacked,
            usage: line.usage.map(Usage::from),
            listener: line.listener.map(|text| text.0),
            waiter: (line.waiter_pid.map(FinWaiter::Blocked)).or(line.waiter.map(FinWaiter::from)),
        })
    }
}

impl From<AcceptLine> for Input {
    fn from(line: AcceptLine) -> Self {
        Self::Accept(Accept {
            at: line.mono_ns,
            key: line.key(),
            pid: line.pid,
            tid: line.tid,
            fd: line.fd,
        })
    }
}

impl From<DestroyLine> for Input {
    fn from(line: DestroyLine) -> Self {
        Self::Destroy(Destroy {
            at: line.mono_ns,
            key: line.key(),
        })
    }
}

impl From<RetransmitLine> for Input {
    fn from(line: RetransmitLine) -> Self {
        Self::Retransmit(Retransmit {
            at: line.mono_ns,
            key: line.key(),
            state: line.state,
            syn: line.flags.contains(&Flag::Syn),
            fin: line.flags.contains(&Flag::Fin),
            reason: line.reason,
            attempt: line.attempt,
            backoff: line.backoff,
            rto: line.rto_ns.map(Duration::from_nanos),
            dead: line.dead,
            user_timeout: line.user_timeout_ns.map(Duration::from_nanos),
            syn_retries: line.syn_retries,
        })
    }
}

impl From<SynackRetransmitLine> for Input {
    fn from(line: SynackRetransmitLine) -> Self {
        Self::SynackRetransmit(SynackRetransmit {
            at: line.mono_ns,
            key: line.key(),
            attempt: line.attempt,
            acked: line.acked,
            defer_accept: line.defer_accept,
            timeouts: line.timeouts,
            retries: line.retries,
        })
    }
}

impl From<ResetLine> for Input {
    fn from(line: ResetLine) -> Self {
        Self::Reset(Reset {
            at: line.mono_ns,
            key: line.key(),
            direction: line.direction,
            state: line.state,
            context: context(line.task),
            reason: line.reason.map(Arc::from),
        })
    }
}

impl From<QueueDropLine> for Input {
    fn from(line: QueueDropLine) -> Self {
        Self::QueueDrop(QueueDrop {
            at: line.mono_ns,
            key: line.key(),
            queue: line.queue,
            outcome: line.outcome,
            depth: line.depth,
            limit: line.limit,
        })
    }
}
