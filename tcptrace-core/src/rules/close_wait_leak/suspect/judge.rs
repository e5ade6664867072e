//! What the looks at a socket prove: first match wins, in the order of the catalogue.
//!
//! Invariant: `judge` is a pure function of what was seen up to its instant.

use std::time::Duration;

use super::{Answer, Held, Suspect, Verdict, Waiting};
use crate::finding::{Cause, Confidence};
use crate::input::FinWaiter;
use crate::settings::Settings;
use crate::units::MonoNs;

/// Empty wait queues that prove that nobody waits: a poll or select server has an empty queue
/// between two calls, but not three times over two seconds.
const EMPTY_PEEKS: u32 = 3;
const EMPTY_OVER: Duration = Duration::from_secs(2);

/// A deadline may use a look at most this old, or a quarter of the window; an older one might no
/// longer be true.
const FRESH: Duration = Duration::from_secs(2);

/// The last answer of a request and its acknowledgement may follow the peer's FIN this closely
/// without being a half-close in use; also covers the kernel's jiffy clock.
const AFTERMATH: Duration = Duration::from_secs(1);

/// Looks without a word on holders, after which none is expected any more: looks are repeated every
/// second, and scans of every descriptor share five.
const PEEKS_WITHOUT_HOLDERS: u32 = 8;

impl Suspect {
    /// What is proved at `at`. First match wins, in the order of the catalogue. `lost` says that facts were lost while it was in CLOSE_WAIT.
    pub(in crate::rules::close_wait_leak) fn judge(
        &self,
        at: MonoNs,
        settings: &Settings,
        lost: bool,
    ) -> Answer {
        let window = settings.close_wait_leak.after;
        let fresh = FRESH.min(window / 4);
        let Some(peek) = self.peek.filter(|p| at.since(p.at) <= fresh) else {
            return Answer::TooEarly;
        };
        let queued = !peek.has_socket && !peek.dead;
        if queued {
            // The look itself shows it in the queue: no loss can make that untrue.
            return if at >= self.queue_deadline(settings) {
                exact(Cause::NeverAccepted)
            } else {
                Answer::TooEarly
            };
        }
        if at < self.deadline(settings) {
            return Answer::TooEarly;
        }
        // Before the holders: a subflow of MPTCP has none of its own, its connection has.
        if peek.special_reader {
            return Answer::Guilty(Verdict {
                cause: None,
                confidence: Confidence::Unknown,
                inference: Some(
                    "its reader is kTLS, sockmap, zero-copy receive, MPTCP or the kernel: the \
                     sequence numbers do not tell what the application saw",
                ),
            });
        }
        if self.held == Held::Nobody {
            return at_most(exact(Cause::NoHolder), lost);
        }
        let quiet_by =
            MonoNs(self.entered.0.max(at.minus(window).0)).plus(AFTERMATH.min(window / 2));
        let still_since = self.still_since.max(self.moved_at);
        if still_since > quiet_by {
            return Answer::InUse {
                until: still_since.plus(window),
            };
        }
        let answer = match (peek.unread, peek.waiting) {
            (0, _) => self.read_to_the_end(),
            (_, Waiting::Somebody) => exact(Cause::EofUnread),
            (_, Waiting::Unrecognised) => likely(
                Cause::EofUnread,
                "something waits on it that is neither epoll, poll nor a blocked thread \
                 (io_uring, or a kernel user)",
            ),
            (_, Waiting::Torn) => Answer::TooEarly,
            (_, Waiting::Nobody) => self.unwatched(peek.at),
        };
        at_most(answer, lost)
    }

    fn unwatched(&self, at: MonoNs) -> Answer {
        if self.empty_peeks < EMPTY_PEEKS || at.since(self.empty_since) < EMPTY_OVER {
            return Answer::TooEarly;
        }
        // That nobody holds it at all comes first, and looks the same: a scan has to tell.
        if self.held == Held::Unknown && self.peeks < PEEKS_WITHOUT_HOLDERS {
            return Answer::TooEarly;
        }
        match (self.held, self.acceptor) {
            (Held::One(holder), Some(acceptor)) if holder != acceptor => likely(
                Cause::SharedFd,
                "nobody waits on it, and its only holder is not the process that accepted it",
            ),
            _ => likely(
                Cause::NotWatched,
                "that nobody waits on it is exact; that it was forgotten is inferred, its thread \
                 may be blocked elsewhere",
            ),
        }
    }

    /// Whether a copy of the descriptor was closed since the FIN, by the count of references: less
    /// what threads held while they were blocked on it.
    fn fewer_than_at_fin(&self) -> bool {
        let (Some(then), Some(now)) = (self.at_fin.file_refs, self.file_refs) else {
            return false;
        };
        match self.at_fin.waiter {
            // Neither holds a reference: what is gone is a copy.
            Some(FinWaiter::Nobody | FinWaiter::Epoll) => now < then,
            // A call of the one that waited held one, if its process has several threads.
            _ if !self.lone_thread => now + 1 < then,
            _ => now < then,
        }
    }

    fn read_to_the_end(&self) -> Answer {
        match (self.held, self.at_fin.unread) {
            (Held::Several, _) => exact(Cause::SharedFd),
            // The kernel saw a process blocked in a read of it, which no longer holds it.
            (Held::One(holder), _) if matches!(self.at_fin.waiter, Some(FinWaiter::Blocked(pid)) if pid != holder) => {
                if self.scanned {
                    exact(Cause::SharedFd)
                } else {
                    likely(Cause::SharedFd, "not every process was scanned for holders")
                }
            }
            (Held::One(_), _) if self.fewer_than_at_fin() => likely(
                Cause::SharedFd,
                "its file had more references when the FIN arrived than now, beyond those of \
                 threads that waited on it: a copy of the descriptor was closed, another lives",
            ),
            _ if self.file_refs_dropped => likely(
                Cause::SharedFd,
                "a copy of the descriptor was closed while it was in CLOSE_WAIT, another lives",
            ),
            // Only the FIN was unread when it arrived, and now it is read: a read returned 0.
            (_, Some(1)) => exact(Cause::EofReadNotClosed),
            (_, Some(_)) => likely(
                Cause::EofReadNotClosed,
                "the read that took the last data took the FIN with it; whether a read returned 0 \
                 was not seen",
            ),
            (_, None) => likely(
                Cause::EofReadNotClosed,
                "the FIN arrived before the tracer could see it; a forked child may have closed a \
                 copy of the descriptor",
            ),
        }
    }
}

fn exact(cause: Cause) -> Answer {
    Answer::Guilty(Verdict {
        cause: Some(cause),
        confidence: Confidence::Exact,
        inference: None,
    })
}

fn likely(cause: Cause, inference: &'static str) -> Answer {
    Answer::Guilty(Verdict {
        cause: Some(cause),
        confidence: Confidence::Likely,
        inference: Some(inference),
    })
}

/// A proof that spans a loss is no longer exact.
fn at_most(answer: Answer, lost: bool) -> Answer {
    match answer {
        Answer::Guilty(verdict) if lost && verdict.confidence == Confidence::Exact => {
            Answer::Guilty(Verdict {
                confidence: Confidence::Likely,
                inference: Some("facts were lost while it was in CLOSE_WAIT"),
                ..verdict
            })
        }
        answer => answer,
    }
}
