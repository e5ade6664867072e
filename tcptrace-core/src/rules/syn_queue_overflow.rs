//! `syn_queue_overflow`: half-open connections fill the queue of a listener: the kernel drops the
//! next SYN, or answers it with a cookie.
//!
//! Full because the clients never complete (`syn_flood`), or because many came at once (`burst`).
//! Half-open clients show themselves when their SYN-ACK is repeated, a second later: the first
//! verdict waits for that.

use std::time::Duration;

use crate::book::Gist;
use crate::finding::{Cause, Confidence, Evidence, Severity, SynQueueEvidence};
use crate::rules::Bench;
use crate::rules::drops::{Listener, Overflow, SECONDS, confidence};

/// SYN-ACKs are repeated after 1 s and 3 s.
pub(crate) const DECIDE_AFTER: Duration = Duration::from_millis(3_500);

/// Repeated SYN-ACKs that make a flood rather than bad luck on some paths.
const FLOOD_SYNACKS: u64 = 16;

/// Different addresses that are many. With fewer it may be one client behind a broken path.
const MANY_SOURCES: usize = 8;

/// The cause, the severity and the proof, as of now. `births` counts the listener's completed
/// handshakes.
pub(crate) fn judge(
    overflow: &mut Overflow,
    listener: Option<&Listener>,
    kernel_drops: u64,
    births: Option<u64>,
    bench: &Bench<'_>,
) -> (Gist, Evidence) {
    if let Some(listener) = listener {
        overflow.unanswered = overflow.unanswered.max(listener.unanswered);
        overflow.sources.extend(
            listener
                .sources
                .iter()
                .take(1024_usize.saturating_sub(overflow.sources.len())),
        );
    }
    let completed = births
        .unwrap_or_default()
        .saturating_sub(overflow.births_before);
    let flood = overflow.unanswered >= FLOOD_SYNACKS && completed < overflow.unanswered;
    if flood || overflow.cause == Some(Cause::SynFlood) {
        overflow.cause = Some(Cause::SynFlood);
    } else {
        overflow.cause = Some(Cause::Burst);
    }
    let mut sure = confidence(overflow);
    let mut inference = overflow.inference;
    if overflow.cause == Some(Cause::SynFlood) && overflow.sources.len() < MANY_SOURCES {
        sure = sure.min(Confidence::Likely);
        inference = inference.or(Some(
            "few client addresses: one client behind a broken path looks the same",
        ));
    }
    if overflow.dropped > 0 {
        overflow.severity = overflow.severity.max(Severity::Warning);
    }
    let limits = &bench.settings.syn_queue_overflow;
    let seconds = limits.critical_after.as_secs().clamp(1, SECONDS as u64);
    let long = bench.at.since(overflow.first) >= limits.critical_after;
    if long
        && overflow.dropped_within(bench.at, seconds)
            >= limits.critical_per_second.saturating_mul(seconds)
    {
        overflow.severity = Severity::Critical;
    }
    let facts = bench.world.netns_facts(overflow.netns);
    let explained = overflow.dropped + overflow.cookies;
    let evidence = SynQueueEvidence {
        listener: overflow.key,
        seen_full: listener.is_some_and(|l| l.full_syn_depth.is_some()),
        depth: listener.map_or(0, |l| l.full_syn_depth.unwrap_or(l.syn_depth)),
        limit: listener.map_or(0, |l| l.level.limit),
        dropped: overflow.dropped,
        cookies: overflow.cookies,
        kernel_drops: kernel_drops.max(explained),
        syncookies: facts.and_then(|f| f.tcp_syncookies),
        max_syn_backlog: facts.and_then(|f| f.tcp_max_syn_backlog),
        unanswered_synacks: overflow.unanswered,
        sources: u32::try_from(overflow.sources.len()).unwrap_or(u32::MAX),
        inference,
    };
    let gist = Gist {
        count: explained,
        progress: overflow.unanswered,
        cause: overflow.cause,
        severity: overflow.severity,
        confidence: sure,
    };
    (gist, Evidence::SynQueue(evidence))
}
