//! One socket in CLOSE_WAIT: what looks at it have shown. What that proves is said in `judge`.

use std::time::Duration;

use crate::book::Subject;
use crate::finding::{Cause, Confidence, Owner};
use crate::input::{FinWaiter, Inspection, Waiters};
use crate::settings::Settings;
use crate::units::{MonoNs, Pid};

/// A client that gave up is not coming back; ten seconds in the accept queue after its FIN is
/// beyond any accept loop that works.
pub(super) const NEVER_ACCEPTED_AFTER: Duration = Duration::from_secs(10);

/// A look ahead of the deadline, so that the verdict can fall on it.
const AHEAD: Duration = Duration::from_millis(500);

/// When a look did not suffice (a torn wait queue), the next one. Without answers the intervals
/// double after some tries, so that an agent that cannot look is not asked forever.
const RETRY: Duration = Duration::from_secs(1);
const STEADY_RETRIES: u32 = 8;

mod judge;

/// Who waits on the socket, as far as the verdict minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The wait queue changed under the walk.
    Torn,
    Nobody,
    Somebody,
    /// Only entries of an unknown kind: io_uring, a kernel user.
    Unrecognised,
}

impl Waiting {
    fn of(waiters: Option<&Waiters>) -> Self {
        match waiters {
            None => Self::Torn,
            Some(w) if w.is_empty() => Self::Nobody,
            Some(w) if w.epoll.is_empty() && w.polling == 0 && w.blocked == 0 => Self::Unrecognised,
            Some(_) => Self::Somebody,
        }
    }
}

/// The last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peek {
    at: MonoNs,
    unread: u32,
    unacked: u32,
    bytes_acked: u64,
    has_socket: bool,
    dead: bool,
    special_reader: bool,
    waiting: Waiting,
}

/// Which processes hold the socket, by the last scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Unknown,
    Nobody,
    One(Pid),
    Several,
}

/// What is wrong with a socket, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) cause: Option<Cause>,
    pub(super) confidence: Confidence,
    pub(super) inference: Option<&'static str>,
}

/// The three answers of the rule, and the reason to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Guilty(Verdict),
    /// A half-close in use: fine until it has been quiet for the whole window.
    InUse {
        until: MonoNs,
    },
    TooEarly,
}

/// What the transition to CLOSE_WAIT told, if it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AtFin {
    /// Unread bytes, told from softirq.
    pub(super) unread: Option<u32>,
    /// References to the descriptor's file.
    pub(super) file_refs: Option<u32>,
    /// Who waited first.
    pub(super) waiter: Option<FinWaiter>,
}

/// A socket that stays in CLOSE_WAIT.
#[derive(Debug)]
pub(super) struct Suspect {
    pub(super) entered: MonoNs,
    pub(super) lower_bound: bool,
    /// What was true when the FIN arrived.
    pub(super) at_fin: AtFin,
    pub(super) peeks: u32,
    /// A look waits to be asked for.
    pub(super) asked: bool,
    /// Looks asked for since the last answer.
    pub(super) unanswered: u32,
    peek: Option<Peek>,
    /// Since when looks have shown the send side unmoved.
    still_since: MonoNs,
    /// When it was last seen to send, or its send queue to move.
    moved_at: MonoNs,
    empty_since: MonoNs,
    empty_peeks: u32,
    file_refs: Option<u32>,
    file_refs_dropped: bool,
    /// Its only holder has one thread, which holds no reference by a call that it is blocked in.
    lone_thread: bool,
    pub(super) held: Held,
    /// The scan that told `held` looked at every process.
    scanned: bool,
    /// The last judgement: its application still sends.
    pub(super) in_use: bool,
    pub(super) verdict: Option<Verdict>,
    pub(super) subject: Option<Subject>,
    pub(super) owner: Option<Pid>,
    /// Its owner as of the last look.
    pub(super) blamed: Option<Owner>,
    /// Who took it from the accept queue.
    pub(super) acceptor: Option<Pid>,
    /// The appointment in force; older ones are void.
    pub(super) next: MonoNs,
}

impl Suspect {
    pub(super) fn new(entered: MonoNs, lower_bound: bool, at_fin: AtFin) -> Self {
        Self {
            entered,
            lower_bound,
            at_fin,
            peeks: 0,
            asked: false,
            unanswered: 0,
            peek: None,
            still_since: MonoNs(u64::MAX),
            moved_at: MonoNs(0),
            empty_since: MonoNs(u64::MAX),
            empty_peeks: 0,
            file_refs: None,
            file_refs_dropped: false,
            lone_thread: false,
            held: Held::Unknown,
            scanned: false,
            in_use: false,
            verdict: None,
            subject: None,
            owner: None,
            blamed: None,
            acceptor: None,
            next: MonoNs(u64::MAX),
        }
    }

    fn queue_deadline(&self, settings: &Settings) -> MonoNs {
        self.entered
            .plus(settings.close_wait_leak.after.min(NEVER_ACCEPTED_AFTER))
    }

    fn deadline(&self, settings: &Settings) -> MonoNs {
        self.entered.plus(settings.close_wait_leak.after)
    }

    pub(super) fn queued(&self) -> bool {
        self.peek.is_some_and(|p| !p.has_socket && !p.dead)
    }

    /// Whether the next look should also tell who holds it.
    pub(super) fn wants_holders(&self) -> bool {
        self.held == Held::Unknown && !self.queued()
    }

    pub(super) fn unread(&self) -> Option<u32> {
        self.peek.map(|p| p.unread)
    }

    /// The application sent: a half-close in use.
    pub(super) fn sent(&mut self, at: MonoNs) {
        self.moved_at = self.moved_at.max(at);
    }

    /// Somebody took it from the accept queue: what the last look saw is past.
    pub(super) fn unsettle(&mut self) {
        self.peek = None;
        self.still_since = MonoNs(u64::MAX);
        self.empty_peeks = 0;
    }

    /// A snapshot's row shows it in an accept queue, which needs no second look.
    pub(super) fn found_queued(&mut self, at: MonoNs, unread: u32) {
        self.peek = Some(Peek {
            at,
            unread,
            unacked: 0,
            bytes_acked: 0,
            has_socket: false,
            dead: false,
            special_reader: false,
            waiting: Waiting::Torn,
        });
    }

    /// Takes in a look.
    pub(super) fn learn(&mut self, x: &Inspection) {
        let waiting = Waiting::of(x.waiters.as_ref());
        let moved = self
            .peek
            .is_some_and(|p| p.bytes_acked != x.bytes_acked || p.unacked != x.unacked);
        if moved && self.peeks > 0 {
            self.still_since = x.at;
            self.moved_at = x.at;
        }
        // Nothing arrived since, so nothing was acknowledged since.
        let silent_since = x.idle.map_or(x.at, |idle| x.at.minus(idle));
        self.still_since = self.still_since.min(silent_since);
        if self.lower_bound && self.peeks == 0 && x.idle.is_some() {
            self.entered = self.entered.min(silent_since);
        }
        match waiting {
            Waiting::Nobody if x.unread > 0 => {
                if self.empty_peeks == 0 {
                    self.empty_since = x.at;
                }
                self.empty_peeks += 1;
            }
            Waiting::Torn => {}
            _ => self.empty_peeks = 0,
        }
        if let (Some(before), Some(now)) = (self.file_refs, x.file_refs)
            && now < before
            && waiting == Waiting::Nobody
        {
            self.file_refs_dropped = true;
        }
        // A blocked thread holds a reference of its own; only a free socket's count compares.
        if waiting == Waiting::Nobody {
            self.file_refs = x.file_refs.or(self.file_refs);
        }
        if !x.threads.is_empty() {
            self.lone_thread = x.threads.len() == 1;
        }
        if let Some(scan) = &x.holders {
            self.scanned = scan.complete;
            let mut pids = scan.holders.iter().map(|h| h.pid);
            self.held = match pids.next() {
                None if scan.complete && x.has_socket => Held::Nobody,
                None => Held::Unknown,
                Some(first) if pids.all(|pid| pid == first) => Held::One(first),
                Some(_) => Held::Several,
            };
        }
        self.peeks = self.peeks.saturating_add(1);
        self.unanswered = 0;
        self.peek = Some(Peek {
            at: x.at,
            unread: x.unread,
            unacked: x.unacked,
            bytes_acked: x.bytes_acked,
            has_socket: x.has_socket,
            dead: x.dead,
            special_reader: x.special_reader,
            waiting,
        });
    }

    /// When to judge and look next, after `now`, while there is no verdict: looks spread over the
    /// time to the deadline, one just before it, and the deadline itself.
    pub(super) fn appointment(&self, now: MonoNs, settings: &Settings) -> MonoNs {
        let after = settings.close_wait_leak.after;
        let deadline = self.deadline(settings);
        let early = AHEAD.min(after / 4);
        let mut appointments = [
            self.entered.plus(after / 2),
            deadline.minus(early),
            deadline,
            deadline,
            deadline,
        ];
        if self.peek.is_none() || self.queued() {
            let queue = self.queue_deadline(settings);
            appointments[3] = queue.minus(early);
            appointments[4] = queue;
        }
        appointments
            .into_iter()
            .filter(|at| *at > now)
            .min()
            .unwrap_or_else(|| {
                let doublings = self.unanswered.saturating_sub(STEADY_RETRIES).min(31);
                now.plus(RETRY * (1 << doublings))
            })
    }
}
