//! `accept_queue_overflow`: established connections wait for accept, and the queue is full: the
//! kernel drops the next SYN or final ACK.
//!
//! The cause only ever becomes worse while the finding is open (too slow, not accepting, out of
//! descriptors): an incident keeps the name of what was worst about it.

use std::time::Duration;

use crate::book::Gist;
use crate::finding::{AcceptQueueEvidence, Cause, Confidence, Evidence, Severity};
use crate::rules::Bench;
use crate::rules::drops::{Listener, Overflow, confidence};
use crate::settings::Settings;
use crate::units::MonoNs;

/// The first verdict waits this long beyond the time after which no accept means not accepting.
const MARGIN: Duration = Duration::from_millis(100);

/// With a longer threshold the verdict does not wait for it: the cause is refined later.
const DECIDE_AT_MOST: Duration = Duration::from_secs(5);

/// When the first verdict falls.
pub(crate) fn decide_after(settings: &Settings) -> Duration {
    let absent = settings.accept_queue_overflow.not_accepting_after;
    absent.min(DECIDE_AT_MOST) + MARGIN
}

/// A look at the queue or the descriptors older than this says nothing of now.
const STALE: Duration = Duration::from_secs(15);

/// The cause, the severity and the proof, as of now.
pub(crate) fn judge(
    overflow: &mut Overflow,
    listener: Option<&Listener>,
    kernel_drops: u64,
    bench: &Bench<'_>,
) -> (Gist, Evidence) {
    let descriptors = overflow
        .owner
        .as_ref()
        .and_then(|owner| bench.descriptors.get(&owner.process.pid))
        .copied();
    let limits = &bench.settings.accept_queue_overflow;
    let stuck =
        listener.and_then(|l| stuck_since(l, overflow, bench.at, limits.not_accepting_after));
    // accept allocates the descriptor before it takes a connection; the last one may be in use
    // for a log file or a health check.
    let out_of_descriptors =
        stuck.is_some() && descriptors.is_some_and(|(open, limit)| open + 1 >= limit);
    let cause = if out_of_descriptors {
        Cause::FdLimit
    } else if stuck.is_some() {
        Cause::NotAccepting
    } else {
        Cause::TooSlow
    };
    let cause = overflow.cause.map_or(
        cause,
        |was| if rank(was) > rank(cause) { was } else { cause },
    );
    overflow.cause = Some(cause);
    if stuck.is_some_and(|since| bench.at.since(since) >= limits.critical_after) {
        overflow.severity = Severity::Critical;
    }
    overflow.severity = overflow.severity.max(Severity::Warning);

    let last_accept = listener.and_then(|l| l.last_accept);
    let unwatched = listener.and_then(|l| l.watched) == Some(false);
    let sees_accepts = bench.first_accept.is_some_and(|first| first <= bench.at);
    let mut sure = confidence(overflow);
    let mut inference = overflow.inference;
    if cause == Cause::NotAccepting && last_accept.is_none() && !sees_accepts && !unwatched {
        sure = sure.min(Confidence::Likely);
        inference = inference.or(Some(
            "no accept was seen anywhere since the start: the accept probe may be missing",
        ));
    }
    let level = listener.map(|l| l.full_level.unwrap_or(l.level));
    let facts = bench.world.netns_facts(overflow.netns);
    let evidence = AcceptQueueEvidence {
        listener: overflow.key,
        seen_full: listener.is_some_and(|l| l.full_level.is_some()),
        depth: level.map_or(0, |l| l.depth),
        limit: level.map_or(0, |l| l.limit),
        somaxconn: facts.and_then(|f| f.somaxconn),
        drops: overflow.dropped,
        kernel_drops: kernel_drops.max(overflow.dropped),
        last_accept: last_accept.map(|(at, _)| at),
        last_acceptor: last_accept.map(|(_, pid)| pid),
        watched: listener.and_then(|l| l.watched),
        abort_on_overflow: facts
            .and_then(|f| f.tcp_abort_on_overflow)
            .map(|value| value != 0),
        descriptors,
        synacks_to_answered_clients: overflow.answered,
        inference,
    };
    let gist = Gist {
        count: overflow.dropped.max(overflow.answered),
        progress: overflow.dropped + overflow.answered,
        cause: Some(cause),
        severity: overflow.severity,
        confidence: sure,
    };
    (gist, Evidence::AcceptQueue(evidence))
}

fn rank(cause: Cause) -> u8 {
    match cause {
        Cause::FdLimit => 2,
        Cause::NotAccepting => 1,
        _ => 0,
    }
}

/// Since when the queue has been full and nobody has accepted, if that is so and long enough.
fn stuck_since(
    listener: &Listener,
    overflow: &Overflow,
    now: MonoNs,
    absent: Duration,
) -> Option<MonoNs> {
    let fresh = |at: Option<MonoNs>| at.is_some_and(|at| now.since(at) <= STALE);
    let full = match listener.full_since {
        Some(since) if fresh(listener.accept_full_at) => since,
        // Proved by a client's repeated SYN-ACK, without a sample.
        None if fresh(listener.answered_at) && listener.accept_full_at.is_none() => overflow.first,
        _ => return None,
    };
    let since = listener.last_accept.map_or(full, |(at, _)| at.max(full));
    (now.since(since) > absent).then_some(since)
}
