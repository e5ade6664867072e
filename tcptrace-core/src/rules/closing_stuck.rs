//! `closing_stuck`: our side has closed and cannot finish: FIN_WAIT1, CLOSING or LAST_ACK lasts. Either
//! the peer has no room (`zero_window`: the FIN was never sent), or data before the FIN is repeated
//! (`unacked_data`). Where only the FIN is repeated that is `fin_retransmit`, not this.
//!
//! Window probes raise no event, so a look decides: its window and what was never sent. A peer that
//! reads slowly but does read makes progress between two looks, and is let alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::book::{Draft, Gist, Program, Subject};
use crate::evictions::Evictions;
use crate::finding::{
    Cause, ClosingStuckEvidence, Confidence, Evidence, Kind, Owner, Service, Severity,
};
use crate::input::{Inspection, Retransmit, RetransmitReason, SocketKey, Transition};
use crate::request::Request;
use crate::rules::fin_retransmit::owner;
use crate::rules::unanswered::{Fact, Look, Timer};
use crate::rules::{self, Bench, Timers, patience};
use crate::settings::Settings;
use crate::tcp::TcpState;
use crate::units::{MonoNs, SockId};
use crate::world::{Moment, Socket, World};

/// A healthy close is over within milliseconds: remembering only those that stay keeps the rule off
/// the hot path.
const STAYS: Duration = Duration::from_secs(1);

/// Closing connections followed at once.
const FOLLOWED: usize = 65_536;

/// An open finding's sockets are looked at again so often, or once per `after`, and more rarely as
/// they age.
const AGAIN: Duration = Duration::from_secs(60);

const SAMPLES: usize = 8;
const PROCESSES: usize = 8;

/// What the world knew of a closing socket.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    key: SocketKey,
    state: TcpState,
    since: MonoNs,
    lower_bound: bool,
    owner: Option<Owner>,
    service: Service,
}

impl Entry {
    fn of(socket: &Socket, world: &World) -> Self {
        Self {
            key: socket.key,
            state: socket.state,
            since: socket.since,
            lower_bound: socket.since_is_lower_bound,
            owner: owner(socket, world),
            service: world.service(socket),
        }
    }

    /// Whose it is, as of the last fact about it: at which instant it was followed must not matter.
    fn belongs(&mut self, owner: Option<Owner>, service: Service) {
        self.owner = owner.or(self.owner.take());
        self.service = service;
    }
}

/// One that stayed.
#[derive(Debug)]
struct Closing {
    entry: Entry,
    data: u64,
    last_data: Option<Retransmit>,
    look: Option<Box<Inspection>>,
    /// Bytes were acknowledged between the last two looks.
    moves: bool,
    next: MonoNs,
    subject: Option<Subject>,
}

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct ClosingStuck {
    fresh: VecDeque<(MonoNs, SockId)>,
    closing: BTreeMap<SockId, Closing>,
    groups: BTreeMap<Subject, BTreeSet<SockId>>,
    /// Those that a fact under way will make followed: their end must be told too.
    seen: BTreeSet<SockId>,
    evicted: u64,
}

impl ClosingStuck {
    pub(crate) fn take_evicted(&mut self, evictions: &mut Evictions) {
        evictions.add(Kind::ClosingStuck.name(), std::mem::take(&mut self.evicted));
    }

    pub(crate) fn follows(&self, sock: SockId) -> bool {
        !self.closing.is_empty() && self.closing.contains_key(&sock)
    }

    // Facts as they arrive.

    pub(crate) fn saw_transition(
        &mut self,
        x: &Transition,
        world: &World,
        settings: &Settings,
        waiting: &mut Vec<(MonoNs, rules::Fact)>,
    ) {
        let mut tell = |at, fact| waiting.push((at, rules::Fact::Unanswered(fact)));
        let sock = x.key.sock;
        match (x.from.awaits_fin_ack(), x.to.awaits_fin_ack()) {
            (false, false) => {}
            (false, true) => self.fresh.push_back((x.at, sock)),
            (true, true) => tell(x.at, Fact::ClosingState(sock, x.to)),
            (true, false) if self.ends(sock) => tell(x.at, Fact::ClosingLeft(sock)),
            // The clock may lag behind: it stayed, and was not followed yet.
            (true, false) => {
                let stayed_at = entered(sock, world).map(|at| (at, at.plus(stays(settings))));
                if let Some((since, stayed)) = stayed_at
                    && stayed <= x.at
                    && let Some(socket) = world.socket(sock)
                {
                    let entry = Entry {
                        state: x.from,
                        since,
                        lower_bound: false,
                        ..Entry::of(socket, world)
                    };
                    tell(stayed, Fact::ClosingFound(Box::new(entry)));
                    tell(x.at, Fact::ClosingLeft(sock));
                }
            }
        }
    }

    /// Whether the end of this socket must be told.
    pub(crate) fn ends(&mut self, sock: SockId) -> bool {
        let seen = !self.seen.is_empty() && self.seen.remove(&sock);
        seen || self.follows(sock)
    }

    /// Data that was repeated while closing, if this is some.
    pub(crate) fn data(&mut self, x: &Retransmit, world: &World) -> Option<Fact> {
        if x.fin || !x.state.awaits_fin_ack() || x.reason != RetransmitReason::Timeout {
            return None;
        }
        let socket = world.socket(x.key.sock)?;
        let entry = Entry::of(socket, world);
        self.see(x.key.sock);
        Some(Fact::ClosingData(Box::new((entry, *x))))
    }

    /// A closing connection older than the tracer.
    pub(crate) fn row(&mut self, socket: &Socket, world: &World) -> Option<Fact> {
        let found = socket.state.awaits_fin_ack() && socket.since_is_lower_bound;
        found.then(|| {
            self.see(socket.key.sock);
            Fact::ClosingFound(Box::new(Entry::of(socket, world)))
        })
    }

    fn see(&mut self, sock: SockId) {
        self.seen.insert(sock);
        if self.seen.len() > FOLLOWED && self.seen.pop_first().is_some() {
            self.evicted += 1;
        }
    }

    /// Follows those who stayed.
    pub(crate) fn promote(
        &mut self,
        clock: MonoNs,
        world: &World,
        settings: &Settings,
        timers: &mut Timers,
    ) {
        let stays = stays(settings);
        while let Some((at, sock)) = self.fresh.front().copied()
            && at.plus(stays) <= clock
        {
            self.fresh.pop_front();
            let stayed = world
                .socket(sock)
                .filter(|socket| socket.state.awaits_fin_ack() && world.is_live(sock));
            if let Some(socket) = stayed {
                self.follow(Entry::of(socket, world), at.plus(stays), settings, timers);
            }
        }
    }

    fn follow(&mut self, entry: Entry, at: MonoNs, settings: &Settings, timers: &mut Timers) {
        let sock = entry.key.sock;
        if self.closing.contains_key(&sock) {
            return;
        }
        if self.closing.len() >= FOLLOWED {
            self.evicted += 1;
            return;
        }
        // Half-way a first look, to see by the second whether anything moves.
        let next = entry.since.plus(settings.closing_stuck.after / 2).max(at);
        timers.set(next, rules::Timer::Unanswered(Timer::Stuck(sock)));
        let closing = Closing {
            entry,
            data: 0,
            last_data: None,
            look: None,
            moves: false,
            next,
            subject: None,
        };
        self.closing.insert(sock, closing);
    }

    // Facts in order of time.

    pub(crate) fn found(&mut self, entry: Entry, bench: &mut Bench<'_>) {
        self.follow(entry, bench.at, bench.settings, bench.timers);
    }

    pub(crate) fn repeated(&mut self, entry: Entry, x: Retransmit, bench: &mut Bench<'_>) {
        let sock = entry.key.sock;
        let (owner, service) = (entry.owner.clone(), entry.service);
        self.follow(entry, bench.at, bench.settings, bench.timers);
        if let Some(closing) = self.closing.get_mut(&sock) {
            closing.entry.belongs(owner, service);
            closing.data += 1;
            closing.last_data = Some(x);
        }
    }

    pub(crate) fn moved_on(&mut self, sock: SockId, state: TcpState) {
        if let Some(closing) = self.closing.get_mut(&sock) {
            closing.entry.state = state;
        }
    }

    pub(crate) fn looked(&mut self, look: &Look, bench: &mut Bench<'_>) {
        let x = &look.seen;
        let Some(closing) = self.closing.get_mut(&x.key.sock) else {
            return;
        };
        closing.moves = closing
            .look
            .as_ref()
            .is_some_and(|before| x.bytes_acked > before.bytes_acked);
        closing.look = Some(Box::new(x.clone()));
        closing.entry.belongs(look.owner.clone(), look.service);
        self.judge(x.key.sock, bench);
    }

    /// The appointment: look, and judge by what is known.
    pub(crate) fn keep(&mut self, sock: SockId, bench: &mut Bench<'_>) {
        let after = bench.settings.closing_stuck.after;
        let Some(closing) = self.closing.get_mut(&sock).filter(|c| c.next == bench.at) else {
            return;
        };
        // Evicted from a full world: nothing more will be heard of it.
        if bench.world.socket(sock).is_none() {
            self.left(sock, bench);
            return;
        }
        let deadline = closing.entry.since.plus(after);
        closing.next = if deadline > bench.at {
            deadline
        } else {
            // The older, the rarer.
            let age = bench.at.since(closing.entry.since);
            bench.at.plus(after.clamp(STAYS, AGAIN).max(age / 2))
        };
        let timer = rules::Timer::Unanswered(Timer::Stuck(sock));
        bench.timers.set(closing.next, timer);
        bench.wishes.others.insert(Request::Inspect {
            sock,
            holders: false,
        });
        self.judge(sock, bench);
    }

    fn judge(&mut self, sock: SockId, bench: &mut Bench<'_>) {
        let Some(closing) = self.closing.get(&sock) else {
            return;
        };
        let lasts = bench.at.since(closing.entry.since) >= bench.settings.closing_stuck.after;
        let cause = lasts.then(|| cause(closing)).flatten();
        let subject = cause.map(|cause| Subject {
            kind: Kind::ClosingStuck,
            cause: Some(cause),
            owner: Program::of(closing.entry.owner.as_ref().map(|o| &*o.process)),
            service: closing.entry.service,
        });
        let before = closing.subject.clone();
        if before == subject {
            if let Some(subject) = subject {
                self.tell(&subject, bench);
            }
            return;
        }
        if let Some(before) = before {
            self.leave(sock, &before, bench);
        }
        if let Some(closing) = self.closing.get_mut(&sock) {
            closing.subject.clone_from(&subject);
        }
        if let Some(subject) = subject {
            self.groups.entry(subject.clone()).or_default().insert(sock);
            self.tell(&subject, bench);
        }
    }

    pub(crate) fn left(&mut self, sock: SockId, bench: &mut Bench<'_>) {
        if let Some(subject) = self.closing.remove(&sock).and_then(|c| c.subject) {
            self.leave(sock, &subject, bench);
        }
    }

    fn leave(&mut self, sock: SockId, subject: &Subject, bench: &mut Bench<'_>) {
        if let Some(group) = self.groups.get_mut(subject)
            && group.remove(&sock)
        {
            if group.is_empty() {
                self.groups.remove(subject);
                bench.book.resolve(subject, bench.at);
            } else {
                self.tell(subject, bench);
            }
        }
    }

    fn gist(&self, subject: &Subject, bench: &Bench<'_>) -> Option<Gist> {
        let group = self.groups.get(subject)?;
        let count = group.len() as u64;
        let data = group.iter().filter_map(|sock| self.closing.get(sock));
        Some(Gist {
            count,
            cause: subject.cause,
            severity: if count >= bench.settings.closing_stuck.warning_count {
                Severity::Warning
            } else {
                Severity::Info
            },
            confidence: Confidence::Exact,
            progress: data.map(|closing| closing.data).sum(),
        })
    }

    fn tell(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        if let Some(gist) = self.gist(subject, bench)
            && bench.book.wants(subject, gist, bench.at)
        {
            self.redraft(subject, bench);
        }
    }

    pub(crate) fn redraft(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let (Some(gist), Some(group)) = (self.gist(subject, bench), self.groups.get(subject))
        else {
            return;
        };
        let members = || group.iter().filter_map(|sock| self.closing.get(sock));
        let Some(oldest) = members().min_by_key(|c| c.entry.since) else {
            return;
        };
        let mut by_process: BTreeMap<_, (Owner, u64)> = BTreeMap::new();
        for owner in members().filter_map(|c| c.entry.owner.as_ref()) {
            let pid = owner.process.pid;
            by_process.entry(pid).or_insert((owner.clone(), 0)).1 += 1;
        }
        let mut processes: Vec<(Owner, u64)> = by_process.into_values().collect();
        processes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        processes.truncate(PROCESSES);
        let data = members().map(|c| c.data).sum();
        let draft = Draft {
            gist,
            process: processes.first().map(|(owner, _)| owner.clone()),
            processes,
            since: oldest.entry.since,
            growth_per_minute: None,
            samples: members().take(SAMPLES).map(|c| c.entry.key).collect(),
            evidence: Evidence::ClosingStuck(evidence(oldest, data, bench)),
        };
        bench.book.enter(subject, bench.at, draft);
    }
}

/// What a socket must have stayed, under these settings, to be followed.
fn stays(settings: &Settings) -> Duration {
    STAYS.min(settings.closing_stuck.after / 4)
}

/// When a socket whose closing has just ended had begun it.
fn entered(sock: SockId, world: &World) -> Option<MonoNs> {
    let began = |moment: &Moment| matches!(moment, Moment::Transition { from, to, .. } if to.awaits_fin_ack() && !from.awaits_fin_ack());
    let mut moments = world.timeline(sock).iter().rev();
    Some(moments.find(|(_, moment)| began(moment))?.0)
}

/// Why it does not finish, if that is this kind's matter.
fn cause(closing: &Closing) -> Option<Cause> {
    if closing.moves {
        return None;
    }
    let sending = closing.look.as_ref().and_then(|look| look.sending);
    if sending.is_some_and(|s| s.window == 0 && s.unsent > 0) {
        return Some(Cause::ZeroWindow);
    }
    // Only the FIN is out: the data has been acknowledged since.
    let only_fin = closing.look.as_ref().is_some_and(|look| {
        look.unacked <= 1 && closing.last_data.is_none_or(|data| data.at <= look.at)
    });
    (closing.data > 0 && !only_fin).then_some(Cause::UnackedData)
}

fn evidence(oldest: &Closing, data_retransmits: u64, bench: &Bench<'_>) -> ClosingStuckEvidence {
    let look = oldest.look.as_ref();
    let sending = look.and_then(|look| look.sending);
    let orphan = look
        .map(|look| look.dead)
        .or(oldest.last_data.map(|x| x.dead))
        .unwrap_or(false);
    let user_timeout = sending
        .and_then(|s| s.user_timeout)
        .or(oldest.last_data.and_then(|x| x.user_timeout));
    let facts = bench.world.netns_facts(oldest.entry.key.netns);
    // `tcp_probe_timer` counts the probes that nobody answered.
    let answered = sending.is_some_and(|s| s.window == 0 && s.unsent > 0 && s.probes_out == 0);
    let patience = if answered {
        patience::of_answered_probes(user_timeout)
    } else {
        patience::of_connection(facts, orphan, user_timeout)
    };
    ClosingStuckEvidence {
        state: Some(oldest.entry.state),
        oldest_age: bench.at.since(oldest.entry.since),
        age_is_lower_bound: oldest.entry.lower_bound,
        window: sending.map(|s| s.window),
        unsent: sending.map(|s| s.unsent),
        unacked: look.map(|look| look.unacked),
        probes_out: sending.map(|s| s.probes_out),
        backoff: sending.map(|s| s.backoff),
        data_retransmits,
        orphan,
        patience,
    }
}
