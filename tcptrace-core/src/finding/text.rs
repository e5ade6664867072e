//! The sentences of a finding, for a tired engineer at 3 a.m.: what is wrong and how much of it,
//! then what to do, with this host's own numbers.
//!
//! Names of processes are hostile text; whoever shows a sentence escapes it.

use std::time::Duration;

use crate::finding::{AcceptQueueEvidence, Cause, Evidence, Finding, Service, SynQueueEvidence};
use crate::units::MonoNs;

mod close_wait;
mod closing;
mod unanswered;

/// A duration as people say it: `800 ms`, `61 s`, `5 min`, `3 h`.
pub(super) fn human(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        s @ 1..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

/// `1 connection`, `3 connections`.
fn many(count: u64, one: &str, more: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        n => format!("{n} {more}"),
    }
}

impl Finding {
    /// One sentence: what, the numbers, since when.
    pub fn summary(&self, now: MonoNs) -> String {
        match &self.evidence {
            Evidence::CloseWait(e) => self.close_wait(e, now),
            Evidence::AcceptQueue(e) => self.accept_queue(e, now),
            Evidence::SynQueue(e) => self.syn_queue(e),
            Evidence::FinRetransmit(e) => self.fin_retransmit(e),
            Evidence::TimeWait(e) => self.time_wait(e),
            Evidence::Ports(e) => self.ports(e),
            Evidence::FinWait2(e) => self.fin_wait2(e, now),
            Evidence::Resets(e) => self.resets(e),
            Evidence::SynRetransmit(e) => self.syn_retransmit(e),
            Evidence::SynackRetransmit(e) => self.synack_retransmit(e),
            Evidence::DeadPeer(e) => self.dead_peer(e),
            Evidence::ClosingStuck(e) => self.closing_stuck(e, now),
            Evidence::BacklogTruncated(e) => self.backlog_truncated(e),
            Evidence::Told(e) => e.summary.clone(),
        }
    }

    /// One sentence: what to do, with this host's own values.
    pub fn advice(&self) -> String {
        match &self.evidence {
            Evidence::CloseWait(e) => self.close_wait_advice(e),
            Evidence::AcceptQueue(e) => self.accept_queue_advice(e),
            Evidence::SynQueue(e) => syn_queue_advice(e, self.cause),
            Evidence::FinRetransmit(e) => unanswered::fin_retransmit_advice(e),
            Evidence::SynRetransmit(e) => unanswered::syn_retransmit_advice(e),
            Evidence::SynackRetransmit(e) => unanswered::synack_retransmit_advice(e, self.cause),
            Evidence::DeadPeer(e) => unanswered::dead_peer_advice(e),
            Evidence::ClosingStuck(e) => unanswered::closing_stuck_advice(e, self.cause),
            Evidence::BacklogTruncated(e) => unanswered::backlog_truncated_advice(e),
            Evidence::TimeWait(e) => self.time_wait_advice(e),
            Evidence::Ports(e) => self.ports_advice(e),
            Evidence::FinWait2(e) => self.fin_wait2_advice(e),
            Evidence::Resets(e) => self.resets_advice(e),
            Evidence::Told(e) => e.advice.clone(),
        }
    }

    fn who(&self) -> String {
        let Some(owner) = &self.process else {
            return "an unknown process".to_owned();
        };
        let pid = owner.process.pid.0;
        let name = match &*owner.process.name {
            "" => format!("pid {pid}"),
            name => format!("{name} (pid {pid})"),
        };
        match self.processes.len() {
            0 | 1 => name,
            2 => format!("{name} and another process"),
            n => format!("{name} and {} other processes", n - 1),
        }
    }

    fn place(&self) -> String {
        match self.service {
            Service::Local(_) | Service::ManyPorts => format!(" on {}", self.service),
            Service::Remote(..) | Service::ManyRemotes => format!(" {}", self.service),
            Service::Unknown => String::new(),
        }
    }

    fn accept_queue(&self, e: &AcceptQueueEvidence, now: MonoNs) -> String {
        let who = self.who();
        let place = self.place();
        let why = match (self.cause, e.last_accept) {
            (Some(Cause::FdLimit), _) => match e.descriptors {
                Some((open, limit)) => format!("{who} is out of descriptors ({open} of {limit})"),
                None => format!("{who} is out of descriptors"),
            },
            (Some(Cause::NotAccepting), Some(at)) => {
                format!("{who} last accepted {} ago", human(now.since(at)))
            }
            (Some(Cause::NotAccepting), None) => format!("{who} does not accept"),
            _ => format!("{who} accepts more slowly than clients arrive"),
        };
        let full = match (e.seen_full, e.limit) {
            (true, limit) => format!(" is full ({} waiting, limit {limit})", e.depth),
            (false, 0) => " overflowed".to_owned(),
            (false, limit) => format!(
                " overflowed ({} waiting when looked at, limit {limit})",
                e.depth
            ),
        };
        let dropped = match (e.drops, e.synacks_to_answered_clients) {
            (0, 0) => String::new(),
            (0, n) => format!(
                "; {} waiting although the client had answered",
                many(n, "handshake was left", "handshakes were left")
            ),
            (n, _) => format!(
                "; this explains {n} of {} the kernel counted",
                many(e.kernel_drops, "drop", "drops")
            ),
        };
        format!("the accept queue{place}{full}: {why}{dropped}")
    }

    fn accept_queue_advice(&self, e: &AcceptQueueEvidence) -> String {
        let abort = match e.abort_on_overflow {
            Some(true) => {
                "; net.ipv4.tcp_abort_on_overflow is 1: clients are reset instead of trying again"
            }
            _ => "",
        };
        format!("{}{abort}", self.accept_queue_remedy(e))
    }

    fn accept_queue_remedy(&self, e: &AcceptQueueEvidence) -> String {
        let backlog = match e.somaxconn {
            Some(max) if e.limit >= max => format!(
                "raise net.core.somaxconn ({max}), then the backlog of listen ({})",
                e.limit
            ),
            Some(max) => format!(
                "raise the backlog of listen ({}; net.core.somaxconn allows {max})",
                e.limit
            ),
            None => format!("raise the backlog of listen ({})", e.limit),
        };
        match self.cause {
            Some(Cause::FdLimit) => match e.descriptors {
                Some((_, limit)) => format!(
                    "find what keeps descriptors open, and raise the limit (RLIMIT_NOFILE is \
                     {limit}; LimitNOFILE in a systemd unit)"
                ),
                None => "find what keeps descriptors open, and raise RLIMIT_NOFILE".to_owned(),
            },
            Some(Cause::NotAccepting) if e.watched == Some(false) => {
                "nobody waits on the listener: register it with the event loop, or call accept in \
                 a loop; a longer queue would only hide it"
                    .to_owned()
            }
            Some(Cause::NotAccepting) => "look at what the accepting thread does (its stack, its \
                 locks); a longer queue would only hide it"
                .to_owned(),
            _ => format!("accept in a loop until EAGAIN, add workers, and {backlog}"),
        }
    }

    fn syn_queue(&self, e: &SynQueueEvidence) -> String {
        let place = self.place();
        let why = match self.cause {
            Some(Cause::SynFlood) => format!(
                "clients do not complete ({} repeated unanswered, from {})",
                many(e.unanswered_synacks, "SYN-ACK", "SYN-ACKs"),
                many(e.sources.into(), "address", "addresses"),
            ),
            _ => "many connected at once".to_owned(),
        };
        let fate = match (e.dropped, e.cookies) {
            (0, c) => format!("{} answered with a cookie", many(c, "SYN was", "SYNs were")),
            (d, 0) => format!("{} dropped", many(d, "SYN was", "SYNs were")),
            (d, c) => format!("{d} SYNs were dropped and {c} answered with a cookie"),
        };
        let full = match (e.seen_full, e.limit) {
            (true, limit) => format!("is full ({} half-open, limit {limit})", e.depth),
            (false, 0) => "overflowed".to_owned(),
            (false, limit) => format!(
                "overflowed ({} half-open when looked at, limit {limit})",
                e.depth
            ),
        };
        format!(
            "the SYN queue{place} of {} {full}: {why}; {fate}, {} of {} the kernel counted",
            self.who(),
            e.dropped + e.cookies,
            e.kernel_drops,
        )
    }
}

fn syn_queue_advice(e: &SynQueueEvidence, cause: Option<Cause>) -> String {
    let cookies = match e.syncookies {
        Some(0) => "set net.ipv4.tcp_syncookies to 1 (it is 0), and ",
        _ => "",
    };
    let backlog = e.max_syn_backlog.map_or_else(String::new, |max| {
        format!("; net.ipv4.tcp_max_syn_backlog is {max}")
    });
    match cause {
        Some(Cause::SynFlood) => format!(
            "{cookies}lower net.ipv4.tcp_synack_retries, and filter the sources upstream; a \
             longer queue (backlog {}) only buys time{backlog}",
            e.limit
        ),
        _ => format!(
            "{cookies}raise the backlog of listen ({}), which bounds the SYN queue too{backlog}",
            e.limit
        ),
    }
}
