//! Evidence of what the peer does not answer, as rows.

use super::{Rows, maybe, yes};
use crate::finding::text::human;
use crate::finding::{
    BacklogTruncatedEvidence, ClosingStuckEvidence, DeadPeerEvidence, Patience, Repeated,
    SynRetransmitEvidence, SynackRetransmitEvidence,
};

pub(super) fn patience(rows: &mut Rows, patience: &Patience) {
    maybe(
        rows,
        "limit",
        patience.limit,
        |(name, value)| match patience.linear {
            Some(linear) if linear > 0 => {
                format!("{value} ({name}) + {linear} (tcp_syn_linear_timeouts)")
            }
            _ => format!("{value} ({name})"),
        },
    );
    maybe(rows, "TCP_USER_TIMEOUT", patience.user_timeout, human);
    maybe(rows, "given up after", patience.gives_up_after, human);
}

fn repeated(rows: &mut Rows, e: &Repeated) {
    rows.push(("attempt", e.attempt.to_string()));
    maybe(rows, "next timeout", e.next_timeout, human);
    patience(rows, &e.patience);
    rows.push(("waiting", e.outcomes.waiting.to_string()));
    rows.push(("answered", e.outcomes.answered.to_string()));
    rows.push(("reset", e.outcomes.reset.to_string()));
    rows.push(("timed out", e.outcomes.timed_out.to_string()));
    rows.push(("abandoned", e.outcomes.abandoned.to_string()));
    maybe(rows, "inferred", e.inference, str::to_owned);
}

/// Two possibilities look the same to the sender, as ACKs are never repeated.
pub(super) fn lost(what: &str) -> String {
    if what.contains(", or ") {
        format!("{what} (this host cannot tell which)")
    } else {
        what.to_owned()
    }
}

pub(super) fn syn_retransmit(e: &SynRetransmitEvidence) -> Rows {
    let mut rows = Vec::new();
    maybe(&mut rows, "state", e.state, |state| state.to_string());
    repeated(&mut rows, &e.repeated);
    rows.push(("lost", lost(e.lost)));
    rows
}

pub(super) fn synack_retransmit(e: &SynackRetransmitEvidence) -> Rows {
    let mut rows = vec![("listener", e.listener.local.to_string())];
    repeated(&mut rows, &e.repeated);
    maybe(
        &mut rows,
        "answers to repeated SYNs",
        e.repeated_syns,
        |n| n.to_string(),
    );
    let queue = e.depth.zip(e.queue_limit);
    maybe(&mut rows, "accept queue", queue, |(depth, limit)| {
        format!("{depth}, limit {limit}")
    });
    rows.push(("lost", lost(e.lost)));
    rows
}

pub(super) fn dead_peer(e: &DeadPeerEvidence) -> Rows {
    let mut rows = Vec::new();
    maybe(&mut rows, "state", e.state, |state| state.to_string());
    repeated(&mut rows, &e.repeated);
    rows.push(("of these by keepalive", e.by_keepalive.to_string()));
    if e.idle > 0 {
        rows.push(("silent without keepalive", e.idle.to_string()));
    }
    maybe(&mut rows, "longest silence", e.longest_idle, human);
    maybe(&mut rows, "SO_KEEPALIVE", e.keepalive, yes);
    maybe(&mut rows, "keepalive notices after", e.detection, |d| {
        format!(
            "{}: {} + {} x {}, {}",
            human(d.total),
            human(d.time),
            human(d.interval),
            d.probes,
            if d.per_socket {
                "set on the socket"
            } else {
                "by the sysctls"
            },
        )
    });
    rows
}

pub(super) fn closing_stuck(e: &ClosingStuckEvidence) -> Rows {
    let mut rows = Vec::new();
    maybe(&mut rows, "state", e.state, |state| state.to_string());
    let bound = if e.age_is_lower_bound {
        "at least "
    } else {
        ""
    };
    rows.push(("oldest", format!("{bound}{}", human(e.oldest_age))));
    maybe(&mut rows, "peer's window", e.window, |n| n.to_string());
    maybe(&mut rows, "never sent", e.unsent, |n| format!("{n} bytes"));
    maybe(&mut rows, "not acknowledged", e.unacked, |n| {
        format!("{n} bytes")
    });
    maybe(&mut rows, "unanswered window probes", e.probes_out, |n| {
        n.to_string()
    });
    maybe(&mut rows, "backoff", e.backoff, |n| n.to_string());
    rows.push(("data repeated", e.data_retransmits.to_string()));
    rows.push(("orphan", yes(e.orphan)));
    patience(&mut rows, &e.patience);
    rows
}

pub(super) fn backlog_truncated(e: &BacklogTruncatedEvidence) -> Rows {
    vec![
        ("listener", e.listener.local.to_string()),
        ("accept queue", format!("{}, limit {}", e.depth, e.limit)),
        ("somaxconn", e.somaxconn.to_string()),
        ("inferred", e.inference.to_owned()),
    ]
}
