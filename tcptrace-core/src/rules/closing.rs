//! What the rules about closing connections share: counts by second, and one appointment at each full
//! second for all of them.
//!
//! Facts are counted when they arrive, into the second in which they happened; verdicts are made at
//! full seconds, from the seconds that are over. So a verdict depends on facts and their times alone.

use crate::book::Subject;
use crate::evictions::Evictions;
use crate::finding::Confidence;
use crate::finding::{Kind, Owner, Provenance, Service};
use crate::input::Input;
use crate::rules::fin_wait2_stuck::{FinWait2Stuck, HalfFact};
use crate::rules::port_exhaustion::PortExhaustion;
use crate::rules::reset_burst::ResetBurst;
use crate::rules::time_wait_pileup::TimeWaitPileup;
use crate::rules::{Bench, Fact, Rules, Timer, Timers};
use crate::settings::Settings;
use crate::tcp::TcpState;
use crate::units::{MonoNs, SockId};
use crate::world::{Socket, World};

mod parties;
mod seconds;
mod services;

pub(super) use parties::Parties;
pub(super) use seconds::{Level, Seconds, of, start};
pub(super) use services::Services;

/// A rate is quiet after this many seconds: then its finding resolves.
pub(super) const QUIET: u64 = 60;

/// The rules about closing connections.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    time_wait: TimeWaitPileup,
    ports: PortExhaustion,
    fin_wait2: FinWait2Stuck,
    resets: ResetBurst,
    /// Connections that closed, for shares.
    closes: Seconds,
    services: Services,
    /// The full second of the next appointment.
    armed: Option<u64>,
}

impl Closing {
    /// Counts a fact that the world already knows.
    pub(super) fn saw(
        &mut self,
        input: &Input,
        world: &World,
        waiting: &mut Vec<(MonoNs, Fact)>,
        timers: &mut Timers,
    ) {
        let due = match input {
            Input::Transition(x) => {
                if x.to == TcpState::Close && !matches!(x.from, TcpState::Listen | TcpState::Close)
                {
                    self.closes.add(of(x.at), 1);
                }
                let waits = self.time_wait.saw_transition(x, world, &mut self.services);
                let ports = self.ports.saw_transition(x, world);
                let resets = self.resets.saw_transition(x, world, &mut self.services);
                let stuck = self
                    .fin_wait2
                    .saw_transition(x, world, waiting, &mut self.services);
                (waits || ports || resets || stuck).then(|| of(x.at) + 1)
            }
            Input::Reset(x) => self
                .resets
                .saw_reset(x, world, &mut self.services)
                .then(|| of(x.at) + 1),
            Input::Destroy(x) => {
                self.fin_wait2.saw_end(x.key.sock, x.at, waiting);
                self.ports.saw_end(x).then(|| of(x.at) + 1)
            }
            Input::Socket(x) => {
                self.fin_wait2.saw_row(x, waiting);
                None
            }
            Input::Carried(x) => {
                self.fin_wait2.saw_row(&x.row(), waiting);
                None
            }
            Input::Snapshot(x) => self.ports.saw_snapshot(x, world).then(|| of(x.at) + 1),
            Input::Inspection(x) => {
                self.fin_wait2.saw_inspection(x, waiting);
                None
            }
            Input::Counters(x) => {
                self.fin_wait2.saw_counters(x);
                self.time_wait.saw_counters(x).then(|| of(x.at) + 1)
            }
            _ => None,
        };
        if let Some(due) = due {
            self.arm(due, timers);
        }
    }

    fn arm(&mut self, second: u64, timers: &mut Timers) {
        if self.armed.is_none_or(|armed| armed > second) {
            self.armed = Some(second);
            timers.set(start(second), Timer::Second);
        }
    }

    /// A second is over.
    fn second(&mut self, bench: &mut Bench<'_>) {
        let now = of(bench.at);
        if self.armed != Some(now) {
            // An earlier appointment was made after this one.
            return;
        }
        self.armed = None;
        let window = bench.settings.reset_burst.window.as_secs().max(1);
        let closes = self.closes.before(now, window);
        let due = [
            self.time_wait.second(now, bench),
            self.ports.second(now, bench),
            self.fin_wait2.second(now, bench),
            self.resets.second(now, closes, bench),
        ];
        if let Some(due) = due.into_iter().flatten().min() {
            self.arm(due.max(now + 1), bench.timers);
        }
    }

    pub(crate) fn take_evicted(&mut self, evictions: &mut Evictions) {
        self.time_wait.take_evicted(evictions);
        self.ports.take_evicted(evictions);
        self.fin_wait2.take_evicted(evictions);
        self.resets.take_evicted(evictions);
    }

    fn redraft(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let now = of(bench.at);
        match subject.kind {
            Kind::TimeWaitPileup => self.time_wait.redraft(subject, now, bench),
            Kind::PortExhaustion => self.ports.redraft(subject, bench),
            Kind::FinWait2Stuck => self.fin_wait2.redraft(subject, now, bench),
            _ => {
                let window = bench.settings.reset_burst.window.as_secs().max(1);
                let closes = self.closes.before(now, window);
                self.resets.redraft(subject, now, closes, bench);
            }
        }
    }
}

impl Closing {
    fn half_closed(&mut self, sock: SockId, fact: HalfFact, bench: &mut Bench<'_>) {
        if let Some(due) = self.fin_wait2.fact(sock, fact, bench) {
            self.arm(due, bench.timers);
        }
    }
}

impl Rules {
    /// News of a half-closed connection.
    pub(super) fn half_closed(
        &mut self,
        sock: SockId,
        fact: HalfFact,
        at: MonoNs,
        world: &World,
        settings: &Settings,
    ) {
        self.with_closing(at, world, settings, |closing, bench| {
            closing.half_closed(sock, fact, bench);
        });
    }

    /// The appointment of the rules about closing connections.
    pub(super) fn closing_second(&mut self, at: MonoNs, world: &World, settings: &Settings) {
        self.with_closing(at, world, settings, Closing::second);
    }

    /// Fresh numbers of an open finding about closing connections.
    pub(super) fn redraft_closing(
        &mut self,
        subject: &Subject,
        at: MonoNs,
        world: &World,
        settings: &Settings,
    ) {
        self.with_closing(at, world, settings, |closing, bench| {
            closing.redraft(subject, bench);
        });
    }

    fn with_closing(
        &mut self,
        at: MonoNs,
        world: &World,
        settings: &Settings,
        work: impl FnOnce(&mut Closing, &mut Bench<'_>),
    ) {
        let mut bench = Bench {
            at,
            clock: self.clock,
            world,
            settings,
            descriptors: &self.descriptors,
            first_accept: self.first_accept,
            book: &mut self.book,
            timers: &mut self.timers,
            wishes: &mut self.wishes,
        };
        work(&mut self.closing, &mut bench);
    }
}

/// Whose connection it is: the owner, or who closed it.
pub(super) fn party(socket: &Socket, world: &World) -> Option<Owner> {
    world.owner(socket).or_else(|| {
        let (pid, _) = socket.closer?;
        Some(Owner {
            process: world.process(pid)?.info.clone(),
            provenance: Provenance::Holder,
            confidence: Confidence::Exact,
        })
    })
}

/// Whether the closer is the one that accepted, or that connected.
pub(super) fn is_remote(service: Service) -> bool {
    matches!(service, Service::Remote(..) | Service::ManyRemotes)
}
