//! Facts that come by the hundred thousand a second: what the probes report.

use tcptrace_core::engine::Annotation;
use tcptrace_core::input::{
    Accept, Context, DropOutcome, FinWaiter, Queue, QueueDrop, Reset, ResetDirection, Retransmit,
    RetransmitReason, SynackRetransmit, Transition, Usage,
};

use tcptrace_core::tcp::TcpState;
use tcptrace_core::world::{CloseCall, Closer};

use crate::recording::draft::Piece;
use crate::recording::json::Object;

/// `from` and `to` of every change, by the kernel's numbers of the states, less one.
static STATES: [[Piece<48>; TcpState::ALL.len()]; TcpState::ALL.len()] = {
    let mut pieces = [[Piece::of(&[]); TcpState::ALL.len()]; TcpState::ALL.len()];
    let mut from = 0;
    while from < TcpState::ALL.len() {
        let mut to = 0;
        while to < TcpState::ALL.len() {
            let names = (TcpState::ALL[from].name(), TcpState::ALL[to].name());
            pieces[from][to] =
                Piece::of(&[r#","from":""#, names.0, r#"","to":""#, names.1, r#"""#]);
            to += 1;
        }
        from += 1;
    }
    pieces
};

/// The four truth values of a transition, the first with the highest weight.
static FLAGS: [Piece<80>; 16] = {
    const fn word(number: usize, weight: usize) -> &'static str {
        if number & weight == 0 {
            "false"
        } else {
            "true"
        }
    }
    let mut pieces = [Piece::of(&[]); 16];
    let mut number = 0;
    while number < pieces.len() {
        pieces[number] = Piece::of(&[
            r#","peer_fin":"#,
            word(number, 8),
            r#","dead":"#,
            word(number, 4),
            r#","has_socket":"#,
            word(number, 2),
            r#","file_released":"#,
            word(number, 1),
        ]);
        number += 1;
    }
    pieces
};

pub(super) fn transition(line: &mut Object<'_>, transition: &Transition, annotation: &Annotation) {
    let Transition {
        at: _,
        key: _,
        from,
        to,
        context,
        error,
        shutdown,
        peer_fin,
        dead,
        has_socket,
        file_released,
        file_refs,
        unread,
        unacked,
        usage,
        listener,
        waiter,
    } = transition;
    line.made(&STATES[*from as usize - 1][*to as usize - 1]);
    if transition.enters_time_wait() {
        line.word("enters", TcpState::TimeWait.name());
    } else if transition.enters_orphan_fin_wait2() {
        line.word("enters", TcpState::FinWait2.name());
    }
    line.span("in_state_ns", annotation.in_state);
    if let Some(closer) = annotation.closer {
        line.object("closer", |object| closer_of(object, closer));
    }
    task(line, context);
    line.known("error", *error);
    let flags = [*peer_fin, *dead, *has_socket, *file_released];
    let number = flags
        .iter()
        .fold(0, |sum, flag| sum << 1 | usize::from(*flag));
    line.number("shutdown", shutdown.0);
    line.made(&FLAGS[number]);
    line.known("file_refs", *file_refs);
    line.known("unread", *unread);
    line.known("unacked", *unacked);
    if let Some(Usage {
        idle,
        segments_in,
        segments_out,
    }) = usage
    {
        line.object("usage", |usage| {
            usage.span("idle_ns", Some(*idle));
            usage.number("segments_in", *segments_in);
            usage.number("segments_out", *segments_out);
        });
    }
    if let Some(listener) = listener {
        line.base36("listener", listener.0);
    }
    let waiter = match waiter {
        None => return,
        Some(FinWaiter::Nobody) => "nobody",
        Some(FinWaiter::Epoll) => "epoll",
        Some(FinWaiter::Other) => "other",
        Some(FinWaiter::Blocked(pid)) => {
            line.number("waiter_pid", pid.0);
            return;
        }
    };
    line.word("waiter", waiter);
}

pub(super) fn accept(line: &mut Object<'_>, accept: &Accept) {
    let Accept {
        at: _,
        key: _,
        pid,
        tid,
        fd,
    } = accept;
    line.number("pid", pid.0);
    line.number("tid", tid.0);
    line.known("fd", fd.map(|fd| fd.0));
}

pub(super) fn retransmit(line: &mut Object<'_>, retransmit: &Retransmit) {
    let Retransmit {
        at: _,
        key: _,
        state,
        syn,
        fin,
        reason,
        attempt,
        backoff,
        rto,
        dead,
        user_timeout,
        syn_retries,
    } = retransmit;
    line.words("flags", &[("SYN", *syn), ("FIN", *fin)]);
    line.word("state", state.name());
    line.number("attempt", *attempt);
    line.word(
        "reason",
        match reason {
            RetransmitReason::Timeout => "timeout",
            RetransmitReason::LossProbe => "loss_probe",
            RetransmitReason::Recovery => "recovery",
        },
    );
    line.number("backoff", *backoff);
    line.span("rto_ns", *rto);
    line.flag("dead", *dead);
    line.span("user_timeout_ns", *user_timeout);
    line.known("syn_retries", *syn_retries);
}

pub(super) fn synack_retransmit(line: &mut Object<'_>, retransmit: &SynackRetransmit) {
    let SynackRetransmit {
        at: _,
        key: _,
        attempt,
        acked,
        defer_accept,
        timeouts,
        retries,
    } = retransmit;
    line.number("attempt", *attempt);
    line.flag("acked", *acked);
    line.flag("defer_accept", *defer_accept);
    line.known("timeouts", *timeouts);
    line.known("retries", *retries);
}

pub(super) fn reset(line: &mut Object<'_>, reset: &Reset) {
    let Reset {
        at: _,
        key: _,
        direction,
        state,
        reason,
        context,
    } = reset;
    line.word(
        "direction",
        match direction {
            ResetDirection::Sent => "sent",
            ResetDirection::Received => "received",
        },
    );
    if let Some(state) = state {
        line.word("state", state.name());
    }
    line.known_text("reason", reason.as_deref());
    task(line, context);
}

pub(super) fn queue_drop(line: &mut Object<'_>, drop: &QueueDrop) {
    let QueueDrop {
        at: _,
        key: _,
        queue,
        outcome,
        depth,
        limit,
    } = drop;
    line.word(
        "queue",
        match queue {
            Queue::Syn => "syn",
            Queue::Accept => "accept",
        },
    );
    line.word(
        "outcome",
        match outcome {
            DropOutcome::Dropped => "dropped",
            DropOutcome::Cookie => "cookie",
        },
    );
    line.number("depth", *depth);
    line.number("limit", *limit);
}

fn closer_of(object: &mut Object<'_>, closer: Closer) {
    match closer {
        Closer::Process { pid, call, signal } => {
            object.word("by", "process");
            object.number("pid", pid.0);
            object.word(
                "call",
                match call {
                    CloseCall::Close => "close",
                    CloseCall::Shutdown => "shutdown",
                    CloseCall::Exit => "exit",
                },
            );
            object.known("signal", signal);
        }
        Closer::PeerFin => object.word("by", "peer_fin"),
        Closer::PeerReset => object.word("by", "peer_reset"),
        Closer::Timeout => object.word("by", "timeout"),
        Closer::Admin { pid } => {
            object.word("by", "admin");
            object.known("pid", pid.map(|pid| pid.0));
        }
    }
}

/// The task that caused the event. In softirq or timer context nobody did, and it is absent.
fn task(line: &mut Object<'_>, context: &Context) {
    match context {
        Context::Interrupt => {}
        Context::Process { pid, tid, exiting } => line.object("task", |task| {
            task.number("pid", pid.0);
            task.number("tid", tid.0);
            task.flag("exiting", *exiting);
        }),
    }
}
