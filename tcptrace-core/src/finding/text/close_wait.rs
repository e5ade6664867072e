//! The sentences of a `close_wait_leak`.

use super::{human, many};
use crate::finding::{Cause, CloseWaitEvidence, Finding};
use crate::units::MonoNs;

/// EPOLLET and EPOLLONESHOT, as in `<sys/epoll.h>`.
const EDGE_TRIGGERED: u32 = 1 << 31;
const ONE_SHOT: u32 = 1 << 30;

/// EPOLLIN | EPOLLRDNORM | EPOLLRDHUP: what tells of a FIN.
const TELLS_OF_EOF: u32 = 0x1 | 0x40 | 0x2000;

impl Finding {
    pub(super) fn close_wait(&self, e: &CloseWaitEvidence, now: MonoNs) -> String {
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
                let nobody = match (e.acceptor_lives, e.listener_watched) {
                    (Some(false), _) => "; the process that accepted last has exited",
                    (_, Some(false)) => "; nobody waits on the listener",
                    (_, Some(true)) => "; somebody waits on the listener, but does not accept",
                    (_, None) => "",
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

    pub(super) fn close_wait_advice(&self, e: &CloseWaitEvidence) -> String {
        let text = match self.cause {
            Some(Cause::NeverAccepted) if e.acceptor_lives == Some(false) => {
                "restart the worker that accepted: it has exited, and whoever still holds the \
                 listener does not accept"
            }
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
                "close the parent's copy after fork, set CLOEXEC (SOCK_CLOEXEC in accept4), or \
                 call shutdown(SHUT_RDWR) before close: it ends the connection for every copy, so \
                 only where no sibling still uses it"
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
                let end = e.exhausted_in.map_or_else(String::new, |left| {
                    format!(", and at this rate none is left in {}", human(left))
                });
                format!("{text}; {open} of {limit} descriptors are open{end}")
            }
        }
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
