//! `synack_retransmit`: our SYN-ACK is unanswered and sent again. Why: the client did answer and the
//! accept queue was full; TCP_DEFER_ACCEPT waits for data, which is no fault; or no final ACK came.
//!
//! Of the last, the kernel's two counts tell more: each repetition counts (`num_retrans`), but only
//! a fired timer counts as a timeout (`num_timeout`). When there are more repetitions than timeouts,
//! the others answered SYNs that the client repeated: our SYN-ACK does not reach it. When there are
//! not, the client is content, or was never there: its final ACK is lost, or the source is forged.
//! The last repetition is not among them yet; that it comes before its timer could have fired tells.
//! How a half-open connection ends without becoming one is not reported by any event.

use std::time::Duration;

use crate::finding::{Cause, Evidence, Service, SynackRetransmitEvidence};
use crate::input::{SocketKey, SynackRetransmit};
use crate::rules::unanswered::{Case, Cohort, Repetition};
use crate::rules::{Bench, patience};
use crate::tcp::{Endpoint, TcpState};
use crate::world::World;

/// A SYN-ACK that was repeated.
pub(crate) fn repetition(x: &SynackRetransmit, world: &World) -> Repetition {
    let socket = world.socket(x.key.sock);
    let queue = socket.and_then(|socket| socket.accept_queue);
    let full = queue.is_some_and(|queue| queue.depth > queue.limit);
    let (cause, inference) = match (x.acked, x.defer_accept) {
        (false, _) => (Cause::NoFinalAck, None),
        (true, false) => (Cause::AcceptQueueFull, None),
        (true, true) if full => (
            Cause::AcceptQueueFull,
            Some("the accept queue was full when last sampled; TCP_DEFER_ACCEPT is set too"),
        ),
        (true, true) => (Cause::DeferAccept, None),
    };
    let before = u32::from(x.attempt).saturating_sub(1);
    let port = socket.map_or(x.key.local.port, |socket| socket.key.local.port);
    let timeouts = x.timeouts.map(u32::from);
    Repetition {
        case: Case {
            sock: x.key.sock,
            client: x.key.peer,
        },
        key: x.key,
        state: TcpState::SynRecv,
        attempt: u32::from(x.attempt),
        next: Some(patience::next_synack(
            timeouts.map_or(u32::from(x.attempt), |n| n + 1),
        )),
        patience: patience::of_synack(world.netns_facts(x.key.netns), x.retries),
        owner: socket.and_then(|socket| world.owner(socket)),
        service: port.map_or(Service::Unknown, Service::Local),
        cause: Some(cause),
        repeated_syns: timeouts.map(|timeouts| before.saturating_sub(timeouts)),
        inference,
    }
}

/// Whether a repetition came too soon after the one before to be the timer's: it answers a SYN. Both
/// arm the timer anew, for half of what `next` will be, or for the longest timeout of newer kernels.
pub(crate) fn is_early(x: &Repetition, after: Duration, longest: Duration) -> bool {
    x.next.is_some_and(|next| {
        let timer = (next / 2).min(longest);
        after < timer - timer / 10
    })
}

/// When the next repetition should have come, if the half-open connection still were.
pub(crate) fn overdue_after(x: &Repetition) -> Duration {
    let next = x.next.unwrap_or_default();
    next + next / 2 + Duration::from_secs(1)
}

pub(crate) fn evidence(group: &Cohort, cause: Option<Cause>, bench: &Bench<'_>) -> Evidence {
    let worst = group.worst.as_ref();
    let listener = worst.map_or(SocketKey::default(), |worst| SocketKey {
        peer: Endpoint::default(),
        ..worst.key
    });
    let queue = bench
        .world
        .socket(listener.sock)
        .and_then(|socket| socket.accept_queue);
    let repeated_syns = worst.and_then(|worst| worst.repeated_syns);
    let attempt = worst.map_or(0, |worst| worst.attempt);
    Evidence::SynackRetransmit(SynackRetransmitEvidence {
        listener,
        repeated: group.repeated(bench),
        repeated_syns,
        depth: queue.map(|queue| queue.depth),
        queue_limit: queue.map(|queue| queue.limit),
        lost: match (cause, repeated_syns) {
            (Some(Cause::AcceptQueueFull), _) => "nothing: the final ACK met the full queue",
            (Some(Cause::DeferAccept), _) => "nothing: the client's data is waited for",
            (_, Some(1..)) => "our SYN-ACK: the client repeats its SYN",
            (_, Some(0)) if attempt >= 2 => {
                "the final ACK, or the client: it does not repeat its SYN"
            }
            _ => "our SYN-ACK, or the final ACK",
        },
    })
}
