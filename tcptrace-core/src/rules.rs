//! The rules, and the order in which they see facts.
//!
//! The world takes a fact at once. The rules see it when the clock has passed it, in order of time,
//! and their own deadlines fall due among the facts, each at its instant. So a verdict depends on
//! what happened and when, never on how often the clock ticked.
//!
//! The clock is the last tick, or [`AHEAD`] before the newest event: facts that run further ahead
//! than that are settled without waiting for a tick, which bounds the queue.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::book::{Book, Subject};
use crate::evictions::Evictions;
use crate::finding::Kind;
use crate::input::{Input, Loss, LossCause, ProcessFact, SnapshotPhase, SnapshotScope};
use crate::request::Request;
use crate::settings::Settings;
use crate::tcp::TcpState;
use crate::units::{MonoNs, Pid, SockId};
use crate::world::World;

mod accept_queue_overflow;
mod backlog_truncated;
mod close_wait_leak;
mod closing;
mod closing_stuck;
mod dead_peer;
mod drops;
mod fin_retransmit;
mod fin_wait2_stuck;
mod patience;
mod per_second;
mod port_exhaustion;
mod reset_burst;
mod syn_queue_overflow;
mod syn_retransmit;
mod synack_retransmit;
mod time_wait_pileup;
mod timers;
mod unanswered;

use close_wait_leak::CloseWaitLeak;
use closing::Closing;
use drops::Drops;
use fin_retransmit::FinRetransmit;
pub(crate) use timers::{Fact, Timer, Timers, Wishes};
use unanswered::Unanswered;

/// Records of two CPUs reach the ring out of order by microseconds, a tick is late by 50 ms; a
/// second is far beyond both.
const AHEAD: Duration = Duration::from_secs(1);

/// Snapshots cost half a second of CPU on a big host: losses that follow each other share one.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);

/// Processes whose descriptors are remembered: those asked about, the owners of open findings.
const OWNERS: usize = 4096;

/// How old the numbers of an open finding may be on a screen.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// What a rule may touch while it judges.
pub(crate) struct Bench<'a> {
    pub(crate) at: MonoNs,
    /// Where the clock is, for what concerns requests and no verdict.
    pub(crate) clock: MonoNs,
    pub(crate) world: &'a World,
    pub(crate) settings: &'a Settings,
    /// Open descriptors and their limit, as of `at`: the world may know of later ones already.
    pub(crate) descriptors: &'a BTreeMap<Pid, (u64, u64)>,
    /// The first accept seen anywhere: whether accepts can be seen on this host.
    pub(crate) first_accept: Option<MonoNs>,
    pub(crate) book: &'a mut Book,
    pub(crate) timers: &'a mut Timers,
    pub(crate) wishes: &'a mut Wishes,
}

/// All rules and their common clock.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    clock: MonoNs,
    waiting: Vec<(MonoNs, Fact)>,
    timers: Timers,
    wishes: Wishes,
    descriptors: BTreeMap<Pid, (u64, u64)>,
    first_accept: Option<MonoNs>,
    refreshed: MonoNs,
    book: Book,
    close_wait: CloseWaitLeak,
    fin: FinRetransmit,
    drops: Drops,
    closing: Closing,
    unanswered: Unanswered,
    snapshot_asked: Option<MonoNs>,
}

impl Rules {
    pub(crate) fn undecided(&self, now: MonoNs, settings: &Settings) -> usize {
        self.close_wait.undecided(now, settings)
    }

    pub(crate) fn half_close_in_use(&self, sock: SockId) -> bool {
        self.close_wait.in_use(sock)
    }

    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    pub(crate) fn book_mut(&mut self) -> &mut Book {
        &mut self.book
    }

    /// Takes in a fact that the world already knows.
    pub(crate) fn apply(
        &mut self,
        input: &Input,
        world: &World,
        settings: &Settings,
        requests: &mut Vec<Request>,
    ) {
        self.closing
            .saw(input, world, &mut self.waiting, &mut self.timers);
        let (timers, waiting) = (&mut self.timers, &mut self.waiting);
        self.unanswered.saw(input, world, settings, timers, waiting);
        match input {
            Input::Transition(x) => {
                self.close_wait.saw_transition(x, &mut self.waiting);
                self.fin.saw_transition(x, &mut self.waiting);
                self.drops.saw_transition(x, world);
                self.settle_behind(x.at, world, settings);
            }
            Input::Accept(x) => {
                self.first_accept = Some(self.first_accept.map_or(x.at, |at| at.min(x.at)));
                let socket = world.socket(x.key.sock);
                if socket.is_some_and(|socket| socket.state == TcpState::CloseWait) {
                    self.waiting.push((x.at, Fact::Accepted(x.key.sock, x.pid)));
                }
                if let Some((listener, _)) = socket
                    .filter(|_| self.drops.watches_any())
                    .and_then(|socket| world.listener_of(socket))
                    .filter(|(listener, _)| self.drops.watches(*listener))
                {
                    self.waiting
                        .push((x.at, Fact::AcceptedFrom(listener, x.pid)));
                }
                self.settle_behind(x.at, world, settings);
            }
            Input::Retransmit(x) => {
                if x.state.awaits_fin_ack() {
                    self.fin.saw_retransmit(x, world, &mut self.waiting);
                } else if x.state == TcpState::CloseWait {
                    self.waiting.push((x.at, Fact::Sent(x.key.sock)));
                }
                self.settle_behind(x.at, world, settings);
            }
            Input::SynackRetransmit(x) => {
                self.drops.saw_synack(x);
                self.waiting.push((x.at, Fact::Synack(Box::new(*x))));
                self.settle_behind(x.at, world, settings);
            }
            Input::QueueDrop(x) => {
                self.drops.saw_drop(x);
                self.waiting.push((x.at, Fact::QueueDrop(Box::new(*x))));
                self.settle_behind(x.at, world, settings);
            }
            Input::Destroy(x) => {
                if self.close_wait.suspects(x.key.sock) {
                    self.waiting.push((x.at, Fact::LeftCloseWait(x.key.sock)));
                }
                self.fin.saw_destroy(x, &mut self.waiting);
                self.drops.saw_destroy(x);
            }
            Input::Carried(x) => self.close_wait.saw_row(&x.row(), world, &mut self.timers),
            Input::Socket(x) => self.close_wait.saw_row(x, world, &mut self.timers),
            Input::Snapshot(x) => {
                if let SnapshotPhase::End { complete: true } = x.phase {
                    self.close_wait.saw_snapshot(x, world, &mut self.waiting);
                }
                if x.phase == SnapshotPhase::Begin && x.scope == SnapshotScope::Descriptors {
                    self.snapshot_asked = None;
                }
            }
            Input::Inspection(x) => {
                self.close_wait
                    .saw_inspection(x, world, settings, &mut self.timers);
                if self.close_wait.suspects(x.key.sock) {
                    let owner = world.socket(x.key.sock).and_then(|s| world.owner(s));
                    self.waiting
                        .push((x.at, Fact::Peek(Box::new(x.clone()), owner)));
                }
            }
            Input::Listener(x) => {
                self.drops.saw_sample(x);
                let last_accept = world
                    .socket(x.key.sock)
                    .and_then(crate::world::Socket::last_accept);
                self.waiting
                    .push((x.at, Fact::Sample(Box::new(x.clone()), last_accept)));
            }
            Input::Stack(x) => self.waiting.push((x.at, Fact::Stack(Box::new(x.clone())))),
            Input::Counters(x) => self.waiting.push((x.at, Fact::Counters(Box::new(*x)))),
            Input::Process(ProcessFact::Descriptors {
                at,
                pid,
                open,
                limit,
            }) => {
                self.waiting
                    .push((*at, Fact::Descriptors(*pid, (*open, *limit))));
            }
            Input::Process(_) | Input::Netns(_) | Input::Reset(_) => {}
            Input::Loss(x) => self.lost(x, requests),
            Input::Tick(x) => {
                self.settle(x.at, world, settings);
                self.refresh(world, settings);
                self.ask(requests);
            }
        }
    }

    /// Settles what an event at `at` has left far behind.
    fn settle_behind(&mut self, at: MonoNs, world: &World, settings: &Settings) {
        let behind = at.minus(AHEAD);
        // Not for every event: each settling sorts what waits.
        if behind > self.clock.plus(AHEAD) {
            self.settle(behind, world, settings);
        }
    }

    fn lost(&mut self, x: &Loss, requests: &mut Vec<Request>) {
        let blind = matches!(x.cause, LossCause::Ring | LossCause::Recursion);
        let asked = self
            .snapshot_asked
            .is_some_and(|at| x.to.since(at) < SNAPSHOT_EVERY);
        if blind && x.count > 0 && !asked {
            self.snapshot_asked = Some(x.to);
            requests.push(Request::Snapshot);
        }
    }

    /// Between two lines of news a screen still wants current numbers. Only of leaks: judging one of
    /// the others at an odd instant could change its verdict.
    fn refresh(&mut self, world: &World, settings: &Settings) {
        if self.clock.since(self.refreshed) < REFRESH_EVERY {
            return;
        }
        self.refreshed = self.clock;
        self.book.set_quiet(true);
        for subject in self.book.changed() {
            if subject.kind == Kind::CloseWaitLeak {
                self.redraft(&subject, self.clock, world, settings);
            }
        }
        self.book.set_quiet(false);
    }

    /// Hands out wishes, the dear ones in portions.
    fn ask(&mut self, requests: &mut Vec<Request>) {
        requests.extend(std::mem::take(&mut self.wishes.others));
        self.close_wait.hand_out(requests);
    }

    /// Evictions since the last call.
    pub(crate) fn take_evicted(&mut self) -> Evictions {
        let mut evictions = std::mem::take(&mut self.wishes.evicted);
        self.drops.take_evicted(&mut evictions);
        self.closing.take_evicted(&mut evictions);
        self.unanswered.take_evicted(&mut evictions);
        evictions
    }

    /// Shows the rules everything up to `clock`, facts and appointments in order of time.
    pub(crate) fn settle(&mut self, clock: MonoNs, world: &World, settings: &Settings) {
        self.clock = self.clock.max(clock);
        // Nearly sorted already; stable, so that facts of one instant keep their order.
        self.waiting.sort_by_key(|(at, _)| *at);
        let ripe = self.waiting.partition_point(|(at, _)| *at <= self.clock);
        let rest = self.waiting.split_off(ripe);
        let facts = std::mem::replace(&mut self.waiting, rest);
        for (at, fact) in facts {
            self.close_wait
                .promote(at, world, settings, &mut self.timers);
            self.unanswered
                .promote(at, world, settings, &mut self.timers);
            self.fall_due(at, false, world, settings);
            self.see(at, fact, world, settings);
        }
        self.close_wait
            .promote(self.clock, world, settings, &mut self.timers);
        self.unanswered
            .promote(self.clock, world, settings, &mut self.timers);
        self.fall_due(self.clock, true, world, settings);
        self.book.forget_before(self.clock);
    }

    /// Keeps the appointments before `until`, and at it when `inclusive`: at one instant facts come
    /// before deadlines.
    fn fall_due(&mut self, until: MonoNs, inclusive: bool, world: &World, settings: &Settings) {
        let due = |at: MonoNs| at < until || (inclusive && at == until);
        loop {
            let timer = self.timers.0.peek().map(|Reverse((at, _))| *at);
            let update = self.book.next_due();
            match (timer, update) {
                (Some(at), update) if due(at) && update.is_none_or(|other| at <= other) => {
                    if let Some(Reverse((at, timer))) = self.timers.0.pop() {
                        self.keep(at, timer, world, settings);
                    }
                }
                (_, Some(at)) if due(at) => {
                    if let Some(subject) = self.book.pop_due(at) {
                        self.redraft(&subject, at, world, settings);
                    }
                }
                _ => return,
            }
        }
    }

    /// Splits off what a rule may touch.
    fn bench<'a>(
        &'a mut self,
        at: MonoNs,
        world: &'a World,
        settings: &'a Settings,
    ) -> (
        &'a mut CloseWaitLeak,
        &'a mut FinRetransmit,
        &'a mut Drops,
        &'a mut Unanswered,
        Bench<'a>,
    ) {
        (
            &mut self.close_wait,
            &mut self.fin,
            &mut self.drops,
            &mut self.unanswered,
            Bench {
                at,
                clock: self.clock,
                world,
                settings,
                descriptors: &self.descriptors,
                first_accept: self.first_accept,
                book: &mut self.book,
                timers: &mut self.timers,
                wishes: &mut self.wishes,
            },
        )
    }

    fn see(&mut self, at: MonoNs, fact: Fact, world: &World, settings: &Settings) {
        if let Fact::Descriptors(pid, count) = &fact {
            self.descriptors.insert(*pid, *count);
            if self.descriptors.len() > OWNERS {
                self.descriptors.pop_first();
                self.wishes.evicted.add("descriptors", 1);
            }
        }
        if let Fact::Stack(stack) = fact {
            return self.book.learn(*stack, at);
        }
        if let Fact::HalfClosed(sock, fact) = fact {
            return self.half_closed(sock, fact, at, world, settings);
        }
        let (close_wait, fin, drops, unanswered, mut bench) = self.bench(at, world, settings);
        match fact {
            Fact::Peek(x, owner) => close_wait.peeked(&x, owner, &mut bench),
            Fact::LeftCloseWait(sock) => close_wait.left(sock, &mut bench),
            Fact::Accepted(sock, pid) => close_wait.accepted(sock, pid, &mut bench),
            Fact::Sent(sock) => close_wait.sent(sock, at),
            Fact::Fin(x, seen) => fin.retransmitted(&x, seen, &mut bench),
            Fact::FinEnded(sock, ending) => fin.ended(sock, ending, &mut bench),
            Fact::Sample(x, last_accept) => {
                close_wait.sampled(&x);
                drops.sampled(&x, last_accept, &mut bench);
            }
            Fact::Counters(x) => drops.counted(&x, &mut bench),
            Fact::QueueDrop(x) => drops.dropped(&x, &mut bench),
            Fact::Synack(x) => drops.synack(&x, &mut bench),
            Fact::AcceptedFrom(listener, pid) => drops.accepted(listener, pid, at),
            Fact::HalfClosed(..) | Fact::Stack(_) => {}
            Fact::Descriptors(pid, _) => {
                close_wait.descriptors(pid, &mut bench);
                drops.descriptors(pid, &mut bench);
            }
            Fact::Unanswered(fact) => unanswered.see(fact, &mut bench),
        }
    }

    fn keep(&mut self, at: MonoNs, timer: Timer, world: &World, settings: &Settings) {
        if timer == Timer::Second {
            return self.closing_second(at, world, settings);
        }
        let (close_wait, fin, drops, unanswered, mut bench) = self.bench(at, world, settings);
        match timer {
            Timer::Suspect(sock) => close_wait.look(sock, &mut bench),
            Timer::Minute(subject) => close_wait.minute(&subject, &mut bench),
            Timer::Sample(subject) => close_wait.sample(&subject, &mut bench),
            Timer::Fin(subject) => fin.review(&subject, &mut bench),
            Timer::Queue(subject) => drops.review(&subject, &mut bench),
            Timer::Attribute(number) => drops.attribute(number, &mut bench),
            Timer::Second => {}
            Timer::Unanswered(timer) => unanswered.keep(timer, &mut bench),
        }
    }

    fn redraft(&mut self, subject: &Subject, at: MonoNs, world: &World, settings: &Settings) {
        let (close_wait, fin, drops, unanswered, mut bench) = self.bench(at, world, settings);
        match subject.kind {
            Kind::CloseWaitLeak => close_wait.redraft(subject, &mut bench),
            Kind::FinRetransmit => fin.redraft(subject, &mut bench),
            Kind::AcceptQueueOverflow | Kind::SynQueueOverflow => {
                drops.redraft(subject, &mut bench);
            }
            Kind::BacklogTruncated
            | Kind::ClosingStuck
            | Kind::SynRetransmit
            | Kind::SynackRetransmit
            | Kind::DeadPeer => unanswered.redraft(subject, &mut bench),
            Kind::TimeWaitPileup
            | Kind::PortExhaustion
            | Kind::FinWait2Stuck
            | Kind::ResetBurst => self.redraft_closing(subject, at, world, settings),
        }
    }

    /// Enters the final numbers of every open finding.
    pub(crate) fn finish(&mut self, at: MonoNs, world: &World, settings: &Settings) {
        self.settle(at, world, settings);
        for subject in self.book.open_subjects() {
            self.redraft(&subject, at, world, settings);
        }
    }
}
