//! The sentences about what the peer does not answer.

use std::time::Duration;

use super::{human, many};
use crate::finding::{
    AttemptOutcomes, BacklogTruncatedEvidence, Cause, ClosingStuckEvidence, DeadPeerEvidence,
    Detection, FinRetransmitEvidence, Finding, Patience, SynRetransmitEvidence,
    SynackRetransmitEvidence,
};
use crate::units::MonoNs;

/// `5 still waiting, 2 given up`.
fn ends(counts: &[(u64, &str)]) -> String {
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    told.join(", ")
}

fn outcomes(o: &AttemptOutcomes) -> String {
    ends(&[
        (o.waiting, "still unanswered"),
        (o.answered, "answered in the end"),
        (o.reset, "reset"),
        (o.timed_out, "given up by the kernel"),
        (o.abandoned, "abandoned"),
    ])
}

fn after(next: Option<Duration>) -> String {
    next.map_or_else(String::new, |next| {
        format!(", the next after {}", human(next))
    })
}

/// `attempt 3 of 10`.
fn attempt(attempt: u32, patience: &Patience) -> String {
    match patience.attempts() {
        Some(limit) => format!("attempt {attempt} of {limit}"),
        None => format!("attempt {attempt}"),
    }
}

/// `the kernel gives up 131 s after the first, by net.ipv4.tcp_syn_retries (6)`.
fn patience(p: &Patience) -> String {
    let when = p.gives_up_after.map_or_else(
        || "the kernel gives up".to_owned(),
        |after| format!("the kernel gives up {} after the first", human(after)),
    );
    match (p.user_timeout, p.limit) {
        (Some(timeout), _) => format!(
            "the kernel gives up after TCP_USER_TIMEOUT ({})",
            human(timeout)
        ),
        (None, Some((name @ "TCP_SYNCNT", value))) => format!("{when}, by {name} ({value})"),
        (None, Some((name, value))) => {
            let more = match p.linear {
                Some(linear @ 1..) => format!(" + tcp_syn_linear_timeouts {linear}"),
                _ => String::new(),
            };
            format!("{when}, by net.ipv4.{name} ({value}{more})")
        }
        (None, None) => "the kernel gives up by itself".to_owned(),
    }
}

fn keepalive(d: &Detection) -> String {
    let by = if d.per_socket {
        "as set on the socket"
    } else {
        "by the sysctls"
    };
    format!(
        "keepalive notices a dead peer after {} ({} + {} x {} {by})",
        human(d.total),
        human(d.time),
        human(d.interval),
        d.probes,
    )
}

impl Finding {
    pub(super) fn fin_retransmit(&self, e: &FinRetransmitEvidence) -> String {
        let n = many(self.count, "connection", "connections");
        let state = e
            .state
            .map_or_else(String::new, |state| format!(" in {state}"));
        let o = e.outcomes;
        let ends = ends(&[
            (o.waiting, "still waiting"),
            (o.acknowledged, "acknowledged in the end"),
            (o.reset, "reset"),
            (o.timed_out, "given up"),
        ]);
        format!(
            "the peer does not acknowledge our FIN on {n}{} of {}: up to {}{state}{}; {ends}; lost: {}",
            self.place(),
            self.who(),
            many(e.attempt.into(), "attempt", "attempts"),
            after(e.next_timeout),
            e.lost,
        )
    }

    pub(super) fn syn_retransmit(&self, e: &SynRetransmitEvidence) -> String {
        format!(
            "{} of {}{} unanswered: up to {}{}; {}; lost: {}",
            many(self.count, "connect", "connects"),
            self.who(),
            self.place(),
            attempt(e.repeated.attempt, &e.repeated.patience),
            after(e.repeated.next_timeout),
            outcomes(&e.repeated.outcomes),
            e.lost,
        )
    }

    pub(super) fn synack_retransmit(&self, e: &SynackRetransmitEvidence) -> String {
        let n = many(self.count, "handshake", "handshakes");
        let what = match self.cause {
            Some(Cause::AcceptQueueFull) => {
                format!("{n} answered by the client, but left waiting at the full accept queue")
            }
            Some(Cause::DeferAccept) => {
                format!("{n} complete, but waiting for the client's data (TCP_DEFER_ACCEPT)")
            }
            _ => format!("{n} without a final ACK"),
        };
        format!(
            "{what}{} of {}: SYN-ACK {}{}; {}; lost: {}",
            self.place(),
            self.who(),
            attempt(e.repeated.attempt, &e.repeated.patience),
            after(e.repeated.next_timeout),
            outcomes(&e.repeated.outcomes),
            e.lost,
        )
    }

    pub(super) fn dead_peer(&self, e: &DeadPeerEvidence) -> String {
        let (who, place) = (self.who(), self.place());
        let mut parts = Vec::new();
        let repeating = self.count.saturating_sub(e.idle);
        if repeating > 0 {
            let n = many(repeating, "connection", "connections");
            let data = match e.repeated.attempt {
                0 => String::new(),
                attempt => format!(
                    ": data repeated up to {}{}",
                    many(attempt.into(), "time", "times"),
                    after(e.repeated.next_timeout),
                ),
            };
            let keepalive = match e.by_keepalive {
                0 => String::new(),
                n => format!(" ({n} by probes, with nothing in flight)"),
            };
            parts.push(format!(
                "the peer of {n}{place} of {who} does not answer{data}; {}{keepalive}",
                outcomes(&e.repeated.outcomes),
            ));
        }
        if e.idle > 0 {
            parts.push(format!(
                "{}{place} of {who} silent and without keepalive, the longest for {}: a dead peer \
                 would go unnoticed",
                many(e.idle, "connection", "connections"),
                human(e.longest_idle.unwrap_or_default()),
            ));
        }
        parts.join("; ")
    }

    pub(super) fn closing_stuck(&self, e: &ClosingStuckEvidence, now: MonoNs) -> String {
        let n = many(self.count, "connection", "connections");
        let state = e
            .state
            .map_or_else(String::new, |state| format!(" in {state}"));
        let bound = if e.age_is_lower_bound {
            "at least "
        } else {
            ""
        };
        let why = match self.cause {
            Some(Cause::ZeroWindow) => format!(
                "the peer has no room (window 0), and {} never sent, the FIN among them",
                many(e.unsent.unwrap_or(1).into(), "byte was", "bytes were"),
            ),
            _ => {
                let unacked = e.unacked.map_or_else(String::new, |n| {
                    format!(", {} not acknowledged", many(n.into(), "byte", "bytes"))
                });
                format!(
                    "data before the FIN is repeated unanswered ({}{unacked})",
                    many(e.data_retransmits, "segment", "segments"),
                )
            }
        };
        format!(
            "{} closed {n}{} and cannot finish{state}, the oldest for {bound}{}: {why}",
            self.who(),
            self.place(),
            human(now.since(self.since)),
        )
    }

    pub(super) fn backlog_truncated(&self, e: &BacklogTruncatedEvidence) -> String {
        format!(
            "the accept queue{} of {} is as short as net.core.somaxconn ({}) makes it, and has \
             held {}: listen probably asked for more",
            self.place(),
            self.who(),
            e.somaxconn,
            e.depth,
        )
    }
}

pub(super) fn fin_retransmit_advice(e: &FinRetransmitEvidence) -> String {
    let held = if e.orphan {
        "no descriptor is held, only kernel memory"
    } else {
        "the process still holds the descriptor"
    };
    format!(
        "see whether the peer is alive and a firewall or load balancer drops what belongs to \
         connections it has forgotten; {}, {held}",
        patience(&e.patience)
    )
}

pub(super) fn syn_retransmit_advice(e: &SynRetransmitEvidence) -> String {
    format!(
        "see whether the peer is up and listening, and where SYNs or SYN-ACKs are dropped \
         (firewall, full queue on the peer, conntrack, route back): capture on both ends; {}; give \
         connect a timeout of your own",
        patience(&e.repeated.patience)
    )
}

pub(super) fn synack_retransmit_advice(
    e: &SynackRetransmitEvidence,
    cause: Option<Cause>,
) -> String {
    let until = patience(&e.repeated.patience);
    match cause {
        Some(Cause::AcceptQueueFull) => {
            let queue = e
                .queue_limit
                .map_or_else(String::new, |limit| format!(" (limit {limit})"));
            format!("accept faster, or raise the backlog of listen{queue}; {until}")
        }
        Some(Cause::DeferAccept) => format!(
            "nothing is wrong: TCP_DEFER_ACCEPT holds the connection back until data comes; turn \
             it off where clients wait for the server to speak first; {until}"
        ),
        _ => format!(
            "see where SYN-ACKs or final ACKs are dropped (firewall, asymmetric route, conntrack), \
             or whether sources are forged; {until}; fewer tcp_synack_retries free the queue sooner"
        ),
    }
}

pub(super) fn dead_peer_advice(e: &DeadPeerEvidence) -> String {
    let keepalive = e.detection.as_ref().map(keepalive);
    if e.repeated.attempt > 0 || e.repeated.outcomes.waiting > 0 {
        let mut text = format!(
            "see whether the peer or the path is down; {}; set TCP_USER_TIMEOUT or an application \
             timeout to notice sooner",
            patience(&e.repeated.patience)
        );
        if let Some(keepalive) = keepalive {
            text = format!("{text}; {keepalive}, and only on an idle connection");
        }
        return text;
    }
    let how = keepalive.map_or_else(String::new, |keepalive| format!("; {keepalive}"));
    let set = match e.keepalive {
        Some(false) => "set SO_KEEPALIVE with a short TCP_KEEPIDLE, or better, ",
        _ => "",
    };
    format!("{set}send a heartbeat in the application and close what does not answer{how}")
}

pub(super) fn closing_stuck_advice(e: &ClosingStuckEvidence, cause: Option<Cause>) -> String {
    let held = if e.orphan {
        "no descriptor is held, only kernel memory, which tcp_max_orphans bounds"
    } else {
        "the process still holds the descriptor"
    };
    if cause == Some(Cause::ZeroWindow) && e.probes_out == Some(0) {
        let until = match (e.patience.user_timeout, e.orphan) {
            (Some(_), _) => patience(&e.patience),
            (None, true) => "the kernel gives up after some 5 min".to_owned(),
            (None, false) => "the kernel goes on for as long as they are answered".to_owned(),
        };
        return format!(
            "the peer answers window probes and does not read: look at what its application does; \
             where the data may be thrown away, close with SO_LINGER 0 (it sends a RST); {until}, \
             {held}"
        );
    }
    let what = match cause {
        Some(Cause::ZeroWindow) => {
            "the peer had no room and has not answered the last window probe: see whether it is \
             alive; where the data may be thrown away, close with SO_LINGER 0 (it sends a RST)"
        }
        _ => {
            "see whether the peer is alive, and whether the path drops large segments (path MTU) \
             or everything"
        }
    };
    format!("{what}; {}, {held}", patience(&e.patience))
}

pub(super) fn backlog_truncated_advice(e: &BacklogTruncatedEvidence) -> String {
    format!(
        "raise net.core.somaxconn above {}, then restart the service: the limit is taken when \
         listen is called; a longer queue helps against bursts, not against slow accepting",
        e.somaxconn
    )
}
