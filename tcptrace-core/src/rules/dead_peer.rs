//! `dead_peer`: an established connection whose peer does not answer: data is repeated, or keepalive
//! probes run out, up to ETIMEDOUT. With `--idle-peers` also connections that are silent and have no
//! keepalive, so that a dead peer would never be noticed (`idle`).
//!
//! No event tells that repeated data was acknowledged: that the next repetition does not come when it
//! is due does. Keepalive and window probes raise no event either; their end does (ETIMEDOUT with
//! nothing in flight).

use std::time::Duration;

use crate::finding::{DeadPeerEvidence, Detection, Evidence};
use crate::input::{Context, NetnsFacts, Retransmit, RetransmitReason, Sending, Transition};
use crate::rules::unanswered::{Case, Cohort, Ending, Repetition};
use crate::rules::{Bench, patience};
use crate::tcp::TcpState;
use crate::world::World;

pub(crate) mod idle;

/// ENETUNREACH, ETIMEDOUT, EHOSTDOWN, EHOSTUNREACH: a router's word replaces ETIMEDOUT in
/// `tcp_write_err`, when one came.
const GIVEN_UP: [u16; 4] = [101, 110, 112, 113];

/// Whether our data, or a probe, may be unanswered in this state while the connection is in use.
pub(crate) fn in_use(state: TcpState) -> bool {
    matches!(state, TcpState::Established | TcpState::CloseWait)
}

/// Data that was repeated by timeout, if this is some.
pub(crate) fn repetition(x: &Retransmit, world: &World) -> Option<Repetition> {
    if !in_use(x.state) || x.reason != RetransmitReason::Timeout || x.syn {
        return None;
    }
    let socket = world.socket(x.key.sock)?;
    let facts = world.netns_facts(x.key.netns);
    Some(Repetition {
        case: Case::of(x.key.sock),
        key: socket.key,
        state: x.state,
        attempt: u32::from(x.attempt),
        next: patience::next_timeout(facts, x, None),
        patience: patience::of_connection(facts, x.dead, x.user_timeout),
        owner: world.owner(socket),
        service: world.service(socket),
        cause: None,
        repeated_syns: None,
        inference: None,
    })
}

/// When the next repetition should have come, if the data still were unanswered: the backoff
/// doubles, and so does the doubt.
pub(crate) fn overdue_after(x: &Repetition) -> Duration {
    let next = x.next.unwrap_or(Duration::from_secs(120));
    next + next / 2 + Duration::from_secs(1)
}

/// The kernel gave the peer up.
pub(crate) fn given_up(x: &Transition) -> bool {
    x.to == TcpState::Close
        && (in_use(x.from) || x.from == TcpState::FinWait2)
        && x.context == Context::Interrupt
        && x.error.is_some_and(|error| GIVEN_UP.contains(&error))
}

/// A connection that died without having been seen repeating: keepalive, or window probes.
pub(crate) fn death(x: &Transition, world: &World) -> Option<Repetition> {
    let socket = world.socket(x.key.sock)?;
    Some(Repetition {
        case: Case::of(x.key.sock),
        key: socket.key,
        state: x.from,
        attempt: 0,
        next: None,
        patience: patience::of_connection(world.netns_facts(x.key.netns), x.dead, None),
        owner: world.owner(socket),
        service: world.service(socket),
        cause: None,
        repeated_syns: None,
        inference: None,
    })
}

/// How a connection that repeats ended.
pub(crate) fn ending(x: &Transition) -> Ending {
    match (x.to, x.error) {
        (TcpState::Close, Some(error)) if GIVEN_UP.contains(&error) => Ending::TimedOut,
        (TcpState::Close, Some(_)) => Ending::Reset,
        // Its FIN came: it lives.
        (TcpState::CloseWait, _) => Ending::Answered,
        _ => Ending::Abandoned,
    }
}

/// How long keepalive needs, or would: the socket's own settings before the namespace's.
pub(crate) fn detection(facts: Option<&NetnsFacts>, own: Option<&Sending>) -> Option<Detection> {
    let seconds = |value: Option<u32>| Some(Duration::from_secs(value?.into()));
    let facts_time = seconds(facts.and_then(|f| f.tcp_keepalive_time));
    let facts_interval = seconds(facts.and_then(|f| f.tcp_keepalive_intvl));
    let time = own.and_then(|s| s.keepalive_time).or(facts_time)?;
    let interval = own.and_then(|s| s.keepalive_interval).or(facts_interval)?;
    let probes = own
        .and_then(|s| s.keepalive_probes)
        .map(u32::from)
        .or(facts.and_then(|f| f.tcp_keepalive_probes))?;
    let per_socket = own.is_some_and(|s| {
        s.keepalive_time.is_some() || s.keepalive_interval.is_some() || s.keepalive_probes.is_some()
    });
    Some(Detection {
        time,
        interval,
        probes,
        per_socket,
        total: time + interval * probes,
    })
}

pub(crate) fn evidence(group: &Cohort, bench: &Bench<'_>) -> Evidence {
    let worst = group.worst.as_ref();
    let netns = worst
        .map(|worst| worst.key.netns)
        .or_else(|| {
            let (case, _) = group.idle.first_key_value()?;
            Some(bench.world.socket(case.sock)?.key.netns)
        })
        .unwrap_or_default();
    let sending = group.sending.as_ref();
    let mut repeated = group.repeated(bench);
    if let Some(user_timeout) = sending.and_then(|s| s.user_timeout) {
        repeated.patience.user_timeout = Some(user_timeout);
        repeated.patience.gives_up_after = Some(user_timeout);
        repeated.patience.limit = None;
    }
    Evidence::DeadPeer(DeadPeerEvidence {
        state: worst.map(|worst| worst.state),
        repeated,
        by_keepalive: group.by_keepalive,
        idle: group.idle.len() as u64,
        longest_idle: group
            .idle
            .values()
            .min()
            .map(|since| bench.at.since(*since)),
        keepalive: sending.map(|s| s.keepalive),
        detection: detection(bench.world.netns_facts(netns), sending),
    })
}
