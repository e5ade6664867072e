//! What the peer does not answer: repeated SYNs, SYN-ACKs and data, silent peers, closes that get
//! stuck; and the listen queue that was made shorter than asked for. Here is who sees which fact; each
//! rule says in its own file what that means.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::book::Subject;
use crate::evictions::Evictions;
use crate::finding::{Kind, Owner, Service};
use crate::input::{
    Destroy, Input, Inspection, Retransmit, SocketRow, SynackRetransmit, Transition,
};
use crate::request::Request;
use crate::rules::backlog_truncated::{self, BacklogTruncated, Crowded};
use crate::rules::closing_stuck::{ClosingStuck, Entry};
use crate::rules::dead_peer::idle::Idle;
use crate::rules::{
    self, Bench, Timers, dead_peer, fin_retransmit, syn_retransmit, synack_retransmit,
};
use crate::settings::Settings;
use crate::tcp::{Endpoint, TcpState};
use crate::units::{MonoNs, NetnsId, Port, SockId};
use crate::world::World;

mod attempts;
mod cohort;

pub(crate) use attempts::Attempts;
pub(crate) use cohort::{Case, Cohort, Ending, Repetition};

/// Half-open connections whose completion is waited for, as facts arrive.
const HALF_OPEN: usize = 65_536;

/// Sockets that repeat, likewise.
const REPEATING: usize = 65_536;

/// TCP_RTO_MAX: the longest wait between two SYN-ACKs.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// A fact that waits for the clock.
#[derive(Debug)]
pub(crate) enum Fact {
    Repeated(Kind, Box<Repetition>),
    Ended(Kind, Case, Ending),
    /// Given up; with nothing in flight, by keepalive.
    Died(Box<Repetition>, bool),
    PeerLeft(SockId),
    ClosingFound(Box<Entry>),
    ClosingData(Box<(Entry, Retransmit)>),
    ClosingState(SockId, TcpState),
    ClosingLeft(SockId),
    Looked(Box<Look>),
    Crowded(Box<Crowded>),
}

/// A look, and whose socket it was as far as was known then.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) seen: Inspection,
    pub(crate) owner: Option<Owner>,
    pub(crate) service: Service,
}

/// An appointment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Review(Box<Subject>),
    /// The next repetition is due, the last having been then.
    Due(Kind, Box<Case>, MonoNs),
    Stuck(SockId),
    Idle(SockId),
}

/// All rules about what is unanswered.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// Sockets whose end must be told, known as soon as they repeat: SYNs, and data. Changed by facts as
    /// they arrive only, so that the clock's lag changes nothing.
    connecting: BTreeSet<SockId>,
    repeating: BTreeSet<SockId>,
    half_open: BTreeMap<(NetnsId, Option<Port>, Endpoint), (MonoNs, Case)>,
    syn: Attempts,
    synack: Attempts,
    peers: Attempts,
    idle: Idle,
    closing: ClosingStuck,
    backlog: BacklogTruncated,
    evictions: Evictions,
}

impl Default for Unanswered {
    fn default() -> Self {
        Self {
            connecting: BTreeSet::new(),
            repeating: BTreeSet::new(),
            half_open: BTreeMap::new(),
            syn: Attempts::new(Kind::SynRetransmit),
            synack: Attempts::new(Kind::SynackRetransmit),
            peers: Attempts::new(Kind::DeadPeer),
            idle: Idle::default(),
            closing: ClosingStuck::default(),
            backlog: BacklogTruncated::default(),
            evictions: Evictions::default(),
        }
    }
}

type Waiting = Vec<(MonoNs, rules::Fact)>;

fn wait(waiting: &mut Waiting, at: MonoNs, fact: Fact) {
    waiting.push((at, rules::Fact::Unanswered(fact)));
}

/// Returns how many were forgotten for it.
fn note(socks: &mut BTreeSet<SockId>, sock: SockId) -> u64 {
    socks.insert(sock);
    u64::from(socks.len() > REPEATING && socks.pop_first().is_some())
}

impl Unanswered {
    pub(crate) fn take_evicted(&mut self, evictions: &mut Evictions) {
        evictions.append(&mut self.evictions);
        self.idle.take_evicted(evictions);
        self.closing.take_evicted(evictions);
    }

    // Facts as they arrive: what the world knows now belongs to them.

    pub(crate) fn saw(
        &mut self,
        input: &Input,
        world: &World,
        settings: &Settings,
        timers: &mut Timers,
        waiting: &mut Waiting,
    ) {
        match input {
            Input::Transition(x) => self.saw_transition(x, world, settings, waiting),
            Input::Retransmit(x) => self.saw_retransmit(x, world, waiting),
            Input::SynackRetransmit(x) => self.saw_synack(x, world, waiting),
            Input::Destroy(x) => self.saw_destroy(x, waiting),
            Input::Socket(x) => self.saw_row(x, world, settings, timers, waiting),
            Input::Carried(x) => self.saw_row(&x.row(), world, settings, timers, waiting),
            Input::Inspection(x) => self.saw_inspection(x, world, waiting),
            Input::Listener(x) => {
                if let Some(crowded) = backlog_truncated::crowded(x, world, settings) {
                    wait(waiting, x.at, Fact::Crowded(Box::new(crowded)));
                }
            }
            _ => {}
        }
    }

    fn saw_transition(
        &mut self,
        x: &Transition,
        world: &World,
        settings: &Settings,
        waiting: &mut Waiting,
    ) {
        let sock = x.key.sock;
        match (x.from, x.to) {
            (TcpState::Close, TcpState::SynSent) => self.syn.all.add(x.at),
            (TcpState::Listen, TcpState::SynRecv) => self.synack.all.add(x.at),
            (_, TcpState::Established) => self.idle.established(sock, x.at, settings),
            _ => {}
        }
        if matches!(x.from, TcpState::SynSent | TcpState::SynRecv)
            && !self.connecting.is_empty()
            && self.connecting.remove(&sock)
        {
            let ending = syn_retransmit::ending(x);
            wait(
                waiting,
                x.at,
                Fact::Ended(Kind::SynRetransmit, Case::of(sock), ending),
            );
        }
        // A child has its tuple at its birth, or (up to Linux 6.14) when it is established.
        if !self.half_open.is_empty() && matches!(x.from, TcpState::Listen | TcpState::SynRecv) {
            let place = (x.key.netns, x.key.local.port, x.key.peer);
            if let Some((_, case)) = self.half_open.remove(&place) {
                let fact = Fact::Ended(Kind::SynackRetransmit, case, Ending::Answered);
                wait(waiting, x.at, fact);
            }
        }
        let followed = !self.repeating.is_empty() && self.repeating.remove(&sock);
        if dead_peer::given_up(x) {
            if let Some(death) = dead_peer::death(x, world) {
                wait(
                    waiting,
                    x.at,
                    Fact::Died(Box::new(death), x.unacked == Some(0)),
                );
            }
        } else if followed {
            let ending = dead_peer::ending(x);
            wait(
                waiting,
                x.at,
                Fact::Ended(Kind::DeadPeer, Case::of(sock), ending),
            );
        }
        if x.from == TcpState::Established && self.idle.watches(sock) {
            wait(waiting, x.at, Fact::PeerLeft(sock));
        }
        self.closing.saw_transition(x, world, settings, waiting);
    }

    fn saw_retransmit(&mut self, x: &Retransmit, world: &World, waiting: &mut Waiting) {
        if let Some(repetition) = syn_retransmit::repetition(x, world) {
            let evicted = note(&mut self.connecting, x.key.sock);
            self.evictions.add(Kind::SynRetransmit.name(), evicted);
            let fact = Fact::Repeated(Kind::SynRetransmit, Box::new(repetition));
            wait(waiting, x.at, fact);
        } else if let Some(repetition) = dead_peer::repetition(x, world) {
            let evicted = note(&mut self.repeating, x.key.sock);
            self.evictions.add(Kind::DeadPeer.name(), evicted);
            wait(
                waiting,
                x.at,
                Fact::Repeated(Kind::DeadPeer, Box::new(repetition)),
            );
        } else if let Some(fact) = self.closing.data(x, world) {
            wait(waiting, x.at, fact);
        }
    }

    fn saw_synack(&mut self, x: &SynackRetransmit, world: &World, waiting: &mut Waiting) {
        let repetition = synack_retransmit::repetition(x, world);
        let place = (x.key.netns, x.key.local.port, x.key.peer);
        self.half_open.insert(place, (x.at, repetition.case));
        if self.half_open.len() > HALF_OPEN {
            // Nobody tells when one expires.
            self.half_open
                .retain(|_, (at, _)| x.at.since(*at) < FORGOTTEN_AFTER);
            if self.half_open.len() > HALF_OPEN && self.half_open.pop_first().is_some() {
                self.evictions.add(Kind::SynackRetransmit.name(), 1);
            }
        }
        wait(
            waiting,
            x.at,
            Fact::Repeated(Kind::SynackRetransmit, Box::new(repetition)),
        );
    }

    fn saw_destroy(&mut self, x: &Destroy, waiting: &mut Waiting) {
        // Its last transition was lost.
        let sock = x.key.sock;
        for (followed, kind) in [
            (&mut self.connecting, Kind::SynRetransmit),
            (&mut self.repeating, Kind::DeadPeer),
        ] {
            if !followed.is_empty() && followed.remove(&sock) {
                let fact = Fact::Ended(kind, Case::of(sock), Ending::Abandoned);
                wait(waiting, x.at, fact);
            }
        }
        if self.closing.ends(sock) {
            wait(waiting, x.at, Fact::ClosingLeft(sock));
        }
        if self.idle.watches(sock) {
            wait(waiting, x.at, Fact::PeerLeft(sock));
        }
    }

    fn saw_row(
        &mut self,
        x: &SocketRow,
        world: &World,
        settings: &Settings,
        timers: &mut Timers,
        waiting: &mut Waiting,
    ) {
        self.idle.saw_row(x, settings, timers);
        if x.state.awaits_fin_ack()
            && !self.closing.follows(x.key.sock)
            && let Some(fact) = world
                .socket(x.key.sock)
                .and_then(|socket| self.closing.row(socket, world))
        {
            wait(waiting, x.at, fact);
        }
    }

    fn saw_inspection(&mut self, x: &Inspection, world: &World, waiting: &mut Waiting) {
        let sock = x.key.sock;
        let wanted = x.state.awaits_fin_ack()
            || x.state == TcpState::Established
            || (!self.repeating.is_empty() && self.repeating.contains(&sock));
        if let Some(socket) = world.socket(sock).filter(|_| wanted) {
            let look = Look {
                seen: x.clone(),
                owner: fin_retransmit::owner(socket, world),
                service: world.service(socket),
            };
            wait(waiting, x.at, Fact::Looked(Box::new(look)));
        }
    }

    /// Takes note of those who stayed in a state that is left at once as a rule.
    pub(crate) fn promote(
        &mut self,
        clock: MonoNs,
        world: &World,
        settings: &Settings,
        timers: &mut Timers,
    ) {
        self.closing.promote(clock, world, settings, timers);
        self.idle.promote(clock, world, settings, timers);
    }

    // Facts and appointments in order of time.

    fn attempts(&mut self, kind: Kind) -> &mut Attempts {
        match kind {
            Kind::SynRetransmit => &mut self.syn,
            Kind::SynackRetransmit => &mut self.synack,
            _ => &mut self.peers,
        }
    }

    pub(crate) fn see(&mut self, fact: Fact, bench: &mut Bench<'_>) {
        match fact {
            Fact::Repeated(kind, x) => self.repeated(kind, *x, bench),
            Fact::Ended(kind, case, ending) => self.attempts(kind).ended(case, ending, bench),
            Fact::Died(x, by_keepalive) => self.peers.died(*x, by_keepalive, bench),
            Fact::PeerLeft(sock) => {
                if self.idle.left(sock) {
                    self.peers.stirred(Case::of(sock), bench);
                }
            }
            Fact::ClosingFound(entry) => self.closing.found(*entry, bench),
            Fact::ClosingData(data) => {
                let (entry, x) = *data;
                self.closing.repeated(entry, x, bench);
            }
            Fact::ClosingState(sock, state) => self.closing.moved_on(sock, state),
            Fact::ClosingLeft(sock) => self.closing.left(sock, bench),
            Fact::Looked(x) => {
                self.closing.looked(&x, bench);
                self.idle.looked(&x, &mut self.peers, bench);
                if let Some(sending) = x.seen.sending {
                    self.peers.looked(Case::of(x.seen.key.sock), sending);
                }
            }
            Fact::Crowded(x) => self.backlog.saw(*x, bench),
        }
    }

    fn repeated(&mut self, kind: Kind, x: Repetition, bench: &mut Bench<'_>) {
        let overdue = match kind {
            Kind::SynackRetransmit => Some(synack_retransmit::overdue_after(&x)),
            Kind::DeadPeer => Some(dead_peer::overdue_after(&x)),
            _ => None,
        };
        if let Some(overdue) = overdue {
            let timer = Timer::Due(kind, Box::new(x.case), bench.at);
            bench
                .timers
                .set(bench.at.plus(overdue), rules::Timer::Unanswered(timer));
        }
        // Its own timeouts and keepalive are worth knowing once it is worth a finding.
        if kind == Kind::DeadPeer && u64::from(x.attempt) == bench.settings.dead_peer.info_attempt {
            bench.wishes.others.insert(Request::Inspect {
                sock: x.case.sock,
                holders: false,
            });
        }
        self.attempts(kind).repeated(x, bench);
    }

    pub(crate) fn keep(&mut self, timer: Timer, bench: &mut Bench<'_>) {
        match timer {
            Timer::Review(subject) => match subject.kind {
                Kind::BacklogTruncated => self.backlog.review(&subject, bench),
                kind => self.attempts(kind).review(&subject, bench),
            },
            Timer::Due(kind, case, last) => self.attempts(kind).overdue(*case, last, bench),
            Timer::Stuck(sock) => self.closing.keep(sock, bench),
            Timer::Idle(sock) => self.idle.look(sock, bench),
        }
    }

    pub(crate) fn redraft(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        match subject.kind {
            Kind::BacklogTruncated => self.backlog.redraft(subject, bench),
            Kind::ClosingStuck => self.closing.redraft(subject, bench),
            kind => self.attempts(kind).redraft(subject, bench),
        }
    }
}
