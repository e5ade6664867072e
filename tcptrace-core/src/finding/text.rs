//! The sentences of a finding, for a tired engineer at 3 a.m.: what is wrong and how much of it,
//! then what to do, with this host's own numbers.
//!
//! Names of processes are hostile text; whoever shows a sentence escapes it.

use std::time::Duration;

use crate::finding::{
    AcceptQueueEvidence, Cause, CloseWaitEvidence, Evidence, Finding, Service, SynQueueEvidence,
};
use crate::units::MonoNs;

mod unanswered;

/// EPOLLET and EPOLLONESHOT, as in `<sys/epoll.h>`.
const EDGE_TRIGGERED: u32 = 1 << 31;
const ONE_SHOT: u32 = 1 << 30;

/// EPOLLIN | EPOLLRDNORM | EPOLLRDHUP: what tells of a FIN.
const TELLS_OF_EOF: u32 = 0x1 | 0x40 | 0x2000;

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
            Evidence::SynRetransmit(e) => self.syn_retransmit(e),
            Evidence::SynackRetransmit(e) => self.synack_retransmit(e),
            Evidence::DeadPeer(e) => self.dead_peer(e),
            Evidence::ClosingStuck(e) => self.closing_stuck(e, now),
            Evidence::BacklogTruncated(e) => self.backlog_truncated(e),
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
            Service::Local(_) => format!(" on {}", self.service),
            Service::Remote(..) | Service::ManyRemotes => format!(" {}", self.service),
            Service::Unknown => String::new(),
        }
    }

    fn close_wait(&self, e: &CloseWaitEvidence, now: MonoNs) -> String {
        let who = self.who();
        let place = self.place();
        let n = many(self.count, "connection", "connections");
        let bound = if e.age_is_lower_bound {
            "at least "
        } else {
            ""
        };
        let age = format!("{bound}{}", human(now.since(self.since)));
        let growth = self
            .growth_per_minute
            .map_or_else(String::new, |g| format!(", growing by {g:.1} a minute"));
        let what = match self.cause {
            Some(Cause::NeverAccepted) => {
                let nobody = match e.listener_watched {
                    Some(false) => "; nobody waits on the listener",
                    Some(true) => "; somebody waits on the listener, but does not accept",
                    None => "",
                };
                return format!(
                    "{who} never accepted {n}{place}: the clients have closed, the oldest {age} \
                     ago{growth}{nobody}"
                );
            }
            Some(Cause::NoHolder) => {
                return format!(
                    "{n}{place} in CLOSE_WAIT that no process holds: the peer has closed, the \
                     oldest {age} ago{growth}"
                );
            }
            Some(Cause::EofUnread) => format!("has not read the end of {n}{place}"),
            Some(Cause::NotWatched) => {
                format!("forgot {n}{place}: no epoll, poll or read waits on them")
            }
            Some(Cause::SharedFd) => {
                format!("still holds a copy of {n}{place} that another process is done with")
            }
            Some(Cause::EofReadNotClosed) => {
                format!("read the end of {n}{place} and never closed them")
            }
            _ => format!("keeps {n}{place} in CLOSE_WAIT, why cannot be told"),
        };
        let stuck = match self.cause {
            Some(Cause::EofUnread) => format!("; {}", unread(e)),
            _ => String::new(),
        };
        format!("{who} {what}; the peer has closed, the oldest {age} ago{growth}{stuck}")
    }

    fn close_wait_advice(&self, e: &CloseWaitEvidence) -> String {
        let text = match self.cause {
            Some(Cause::NeverAccepted) if e.listener_watched == Some(false) => {
                "register the listener with the event loop, or call accept in a loop: nothing in \
                 the process would notice a new connection"
            }
            Some(Cause::NeverAccepted) => {
                "look at what the accepting thread does: it is stuck, starved or out of \
                 descriptors; accept in a loop until EAGAIN"
            }
            Some(Cause::NoHolder) => {
                "look for descriptors in flight over UNIX sockets that nobody receives, and for \
                 io_uring files that were never unregistered"
            }
            Some(Cause::EofUnread) if stopped(e) => {
                "the process is stopped: continue it (kill -CONT) or end it"
            }
            Some(Cause::EofUnread) if fired_one_shot(e) => {
                "re-arm the one-shot registration (EPOLL_CTL_MOD) after each event"
            }
            Some(Cause::EofUnread) if edge_triggered(e) => {
                "with EPOLLET read until EAGAIN or 0 on every event: an edge is told only once"
            }
            Some(Cause::EofUnread) => {
                "look at what the worker does (its stack, its locks): the socket has been \
                 readable all that time"
            }
            Some(Cause::NotWatched) => {
                "keep every accepted or pooled socket registered for reading, close it when read \
                 returns 0, and let a pool's idle timeout be shorter than the server's"
            }
            Some(Cause::SharedFd) => {
                "close the parent's copy after fork, set CLOEXEC, or call shutdown(SHUT_RDWR) \
                 before close where no sibling still uses the connection"
            }
            Some(Cause::EofReadNotClosed) => {
                "close the socket when read returns 0, on error paths too; a pool must drop a \
                 connection that the server has closed"
            }
            _ => "look at the process that holds it; its reader hides what was read",
        };
        match (self.cause, e.descriptors) {
            (Some(Cause::NeverAccepted), _) | (_, None) => text.to_owned(),
            (_, Some((open, limit))) => {
                format!("{text}; {open} of {limit} descriptors are open")
            }
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
        let full = if e.limit > 0 || e.depth > 0 {
            format!(" is full ({} waiting, limit {})", e.depth, e.limit)
        } else {
            " is full".to_owned()
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
        format!(
            "the SYN queue{place} of {} is full ({} half-open, limit {}): {why}; {fate}, {} of {} \
             the kernel counted",
            self.who(),
            e.depth,
            e.limit,
            e.dropped + e.cookies,
            e.kernel_drops,
        )
    }
}

fn unread(e: &CloseWaitEvidence) -> String {
    let data = e.unread.unwrap_or(1).saturating_sub(1);
    let what = match data {
        0 => "only the end is unread".to_owned(),
        n => many(n.into(), "byte is unread", "bytes are unread"),
    };
    let why = if stopped(e) {
        ", and the process is stopped"
    } else if fired_one_shot(e) {
        ", and its one-shot epoll registration was not re-armed"
    } else if e.epoll.iter().any(|w| w.ready && !w.waited_on) {
        ", the event is pending, and nobody is in epoll_wait"
    } else if e.epoll.iter().any(|w| w.waited_on && !w.ready) {
        ", somebody is in epoll_wait, and no event is pending"
    } else if e.blocked > 0 {
        ", and a thread is blocked in a call on it"
    } else {
        ""
    };
    format!("{what}{why}")
}

fn stopped(e: &CloseWaitEvidence) -> bool {
    !e.threads.is_empty() && e.threads.iter().all(|t| matches!(t.state, 'T' | 't'))
}

fn fired_one_shot(e: &CloseWaitEvidence) -> bool {
    !e.epoll.is_empty()
        && e.epoll
            .iter()
            .all(|w| w.events & ONE_SHOT != 0 && w.events & TELLS_OF_EOF == 0)
}

fn edge_triggered(e: &CloseWaitEvidence) -> bool {
    e.epoll
        .iter()
        .any(|w| w.events & EDGE_TRIGGERED != 0 && !w.ready)
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
