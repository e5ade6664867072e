//! Facts that come by the hundred thousand a second: what the probes report.

use tcptrace_core::engine::Annotation;
use tcptrace_core::input::{
    Accept, Context, DropOutcome, Queue, QueueDrop, Reset, ResetDirection, Retransmit,
    RetransmitReason, SynackRetransmit, Transition,
};

use tcptrace_core::tcp::TcpState;

use crate::recording::json::Object;

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
    } = transition;
    line.word("from", from.name());
    line.word("to", to.name());
    if transition.enters_time_wait() {
        line.word("enters", TcpState::TimeWait.name());
    } else if transition.enters_orphan_fin_wait2() {
        line.word("enters", TcpState::FinWait2.name());
    }
    line.span("in_state_ns", annotation.in_state);
    task(line, context);
    line.known("error", *error);
    line.number("shutdown", shutdown.0);
    line.flag("peer_fin", *peer_fin);
    line.flag("dead", *dead);
    line.flag("has_socket", *has_socket);
    line.flag("file_released", *file_released);
    line.known("file_refs", *file_refs);
    line.known("unread", *unread);
    line.known("unacked", *unacked);
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
