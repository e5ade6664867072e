//! Facts in, a picture out. Whatever the number of facts, what is kept is bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tcptrace_core::Engine;
use tcptrace_core::Input;
use tcptrace_core::engine::Annotation;
use tcptrace_core::finding::Owner;
use tcptrace_core::input::{Counters, Loss, NetnsFacts, ProcessFact, Transition};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{MonoNs, NetnsId, Pid};
use tcptrace_core::world::{Moment, World};

use super::buckets::Buckets;
use super::ends::Ends;
use super::finding::Finding;
use super::heaviest::{Heaviest, Line};
use super::histogram::Histogram;
use super::host::{Host, sysctls};
use super::listeners::{Listener, Listeners};
use super::states::States;

/// Findings that are shown; the engine has at most 200 open at once.
const FINDINGS: usize = 1000;
/// Losses told apart.
const LOSSES: usize = 100;
/// Lines of a table.
const LINES: usize = 20;
/// Namespaces whose counters and settings are kept.
const NAMESPACES: usize = 256;
/// Names of processes, for connections whose owner became known late.
const NAMES: usize = 65_536;

/// A loss of facts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Gap {
    pub(crate) cause: &'static str,
    pub(crate) kind: Option<String>,
    pub(crate) count: u64,
    pub(crate) from_mono_ns: MonoNs,
    pub(crate) to_mono_ns: MonoNs,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Totals {
    pub(crate) facts: u64,
    pub(crate) opened_actively: u64,
    pub(crate) opened_passively: u64,
    pub(crate) closed: u64,
    /// Handshakes that ended without a connection.
    pub(crate) failed: u64,
    pub(crate) accepts: u64,
    pub(crate) retransmits: u64,
    pub(crate) syn_retransmits: u64,
    pub(crate) fin_retransmits: u64,
    pub(crate) synack_retransmits: u64,
    pub(crate) resets_sent: u64,
    pub(crate) resets_received: u64,
    /// By the kernel's own counters: SYNs and final ACKs refused by a full queue.
    pub(crate) drops: u64,
    pub(crate) lost: u64,
}

/// The picture of one recording.
#[derive(Debug, Serialize)]
pub(crate) struct HostReport {
    pub(crate) host: Host,
    pub(crate) begin_wall_ns: i64,
    pub(crate) end_wall_ns: i64,
    pub(crate) end_mono_ns: MonoNs,
    /// The recording ended in good order, and why.
    pub(crate) ended: Option<String>,
    pub(crate) totals: Totals,
    pub(crate) time: Buckets,
    pub(crate) states: States,
    /// Sockets in each state at the end.
    pub(crate) at_end: BTreeMap<&'static str, u64>,
    pub(crate) lifetimes: Histogram,
    pub(crate) findings: Vec<Finding>,
    /// Findings that did not fit.
    pub(crate) findings_left_out: u64,
    pub(crate) processes: Vec<Line>,
    pub(crate) services: Vec<Line>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) losses: Vec<Gap>,
    #[serde(skip)]
    pub(crate) ends: Option<Ends>,
}

impl HostReport {
    /// How long it covers.
    pub(super) fn span(&self) -> Duration {
        self.end_mono_ns.since(self.time.begin)
    }

    /// An instant on the wall clock, by the clock offset at the end.
    pub(super) fn wall(&self, at: MonoNs) -> i64 {
        let behind = i128::from(self.end_mono_ns.0) - i128::from(at.0);
        (i128::from(self.end_wall_ns) - behind) as i64
    }
}

/// Boils a recording down.
#[derive(Debug)]
pub(crate) struct Collector {
    host: Host,
    begin_wall_ns: i64,
    offset: i128,
    end: MonoNs,
    ended: Option<String>,
    totals: Totals,
    time: Buckets,
    states: States,
    lifetimes: Histogram,
    findings: BTreeMap<String, Finding>,
    order: Vec<String>,
    findings_left_out: u64,
    processes: Heaviest,
    services: Heaviest,
    listeners: Listeners,
    losses: Vec<Gap>,
    counters: BTreeMap<NetnsId, Counters>,
    netns: BTreeMap<NetnsId, NetnsFacts>,
    names: BTreeMap<Pid, String>,
    ends: Option<Ends>,
}

/// `shop (pid 812)`.
pub(super) fn label(owner: &Owner) -> String {
    name_and_pid(&owner.process.name, owner.process.pid)
}

pub(super) fn name_and_pid(name: &str, pid: Pid) -> String {
    match name {
        "" => format!("pid {}", pid.0),
        name => format!("{name} (pid {})", pid.0),
    }
}

impl Collector {
    /// For a recording that began at `begin`, `offset_ns` behind the wall clock. `two_ended` keeps
    /// what another host's recording may explain.
    pub(crate) fn new(host: Host, begin: MonoNs, offset_ns: i64, two_ended: bool) -> Self {
        Self {
            host,
            begin_wall_ns: (i128::from(begin.0) + i128::from(offset_ns)) as i64,
            offset: offset_ns.into(),
            end: begin,
            ended: None,
            totals: Totals::default(),
            time: Buckets::new(begin),
            states: States::default(),
            lifetimes: Histogram::default(),
            findings: BTreeMap::new(),
            order: Vec::new(),
            findings_left_out: 0,
            processes: Heaviest::default(),
            services: Heaviest::default(),
            listeners: Listeners::default(),
            losses: Vec::new(),
            counters: BTreeMap::new(),
            netns: BTreeMap::new(),
            names: BTreeMap::new(),
            ends: two_ended.then(Ends::default),
        }
    }

    /// Takes in a fact that the engine has taken in.
    pub(crate) fn input(&mut self, input: &Input, annotation: &Annotation, engine: &Engine) {
        self.totals.facts += 1;
        // A carried socket and a snapshot's row are no events.
        if let Some(ends) = &mut self.ends {
            ends.input(input, self.offset);
        }
        match input {
            Input::Transition(x) => self.transition(x, annotation, engine.world()),
            Input::Accept(_) => self.totals.accepts += 1,
            Input::Retransmit(x) => {
                self.totals.retransmits += 1;
                self.totals.syn_retransmits += u64::from(x.syn);
                self.totals.fin_retransmits += u64::from(x.fin);
                self.time.at(x.at).retransmits += 1;
                self.weigh(input, annotation, engine, |weight| weight.retransmits += 1);
            }
            Input::SynackRetransmit(x) => {
                self.totals.synack_retransmits += 1;
                self.time.at(x.at).retransmits += 1;
                self.weigh(input, annotation, engine, |weight| weight.retransmits += 1);
            }
            Input::Reset(x) => {
                match x.direction {
                    tcptrace_core::input::ResetDirection::Sent => self.totals.resets_sent += 1,
                    tcptrace_core::input::ResetDirection::Received => {
                        self.totals.resets_received += 1;
                    }
                }
                self.time.at(x.at).resets += 1;
                self.weigh(input, annotation, engine, |weight| weight.resets += 1);
            }
            Input::Listener(x) => self.listeners.sample(x, annotation.process.as_ref()),
            Input::Socket(x) => {
                if let Some(level) = x.queue {
                    self.listeners
                        .level(&x.key, annotation.process.as_ref(), level);
                }
            }
            Input::Carried(x) => {
                if let Some(level) = x.queue {
                    self.listeners
                        .level(&x.key, annotation.process.as_ref(), level);
                }
            }
            Input::Counters(x) => self.counted(x),
            Input::Netns(x) => {
                if self.netns.len() < NAMESPACES {
                    self.netns.insert(x.netns, *x);
                }
            }
            Input::Process(ProcessFact::Seen { info, .. }) => {
                if self.names.len() < NAMES {
                    self.names.insert(info.pid, info.name.to_string());
                }
            }
            Input::Loss(x) => self.lost(x),
            Input::Tick(x) => {
                self.offset = i128::from(x.wall.0) - i128::from(x.at.0);
                self.end = self.end.max(x.at);
                let totals = engine.world().totals();
                self.time.at(x.at).in_state = Some(totals.in_state);
            }
            Input::QueueDrop(_)
            | Input::Destroy(_)
            | Input::Snapshot(_)
            | Input::Inspection(_)
            | Input::Stack(_)
            | Input::Process(_) => {}
        }
    }

    fn transition(&mut self, x: &Transition, annotation: &Annotation, world: &World) {
        self.states.add(x, annotation);
        self.end = self.end.max(x.at);
        let counted = match (x.from, x.to) {
            (TcpState::SynSent, TcpState::Established) => {
                self.totals.opened_actively += 1;
                self.time.at(x.at).opened += 1;
                |weight: &mut super::heaviest::Weight| weight.opened += 1
            }
            (TcpState::SynRecv, TcpState::Established) => {
                self.totals.opened_passively += 1;
                self.time.at(x.at).opened += 1;
                |weight: &mut super::heaviest::Weight| weight.opened += 1
            }
            (TcpState::SynSent | TcpState::SynRecv, TcpState::Close) => {
                self.totals.failed += 1;
                self.time.at(x.at).failed += 1;
                |weight: &mut super::heaviest::Weight| weight.failed += 1
            }
            (TcpState::Listen | TcpState::Close, TcpState::Close) => return,
            (_, TcpState::Close) => {
                self.totals.closed += 1;
                self.time.at(x.at).closed += 1;
                if let Some(age) = lifetime(x, world) {
                    self.lifetimes.add(age);
                }
                |weight: &mut super::heaviest::Weight| weight.closed += 1
            }
            _ => return,
        };
        let socket = world.socket(x.key.sock);
        if let Some(owner) = annotation.process.as_ref() {
            counted(self.processes.of(&self.owner(owner)));
        }
        if let Some(service) = socket.map(|socket| world.service(socket)) {
            counted(self.services.of(&service.to_string()));
        }
    }

    fn owner(&self, owner: &Owner) -> String {
        match self.names.get(&owner.process.pid) {
            Some(name) if owner.process.name.is_empty() => name_and_pid(name, owner.process.pid),
            _ => label(owner),
        }
    }

    fn weigh(
        &mut self,
        input: &Input,
        annotation: &Annotation,
        engine: &Engine,
        count: impl Fn(&mut super::heaviest::Weight),
    ) {
        if let Some(owner) = annotation.process.as_ref() {
            count(self.processes.of(&self.owner(owner)));
        }
        let world = engine.world();
        if let Some(socket) = input.key().and_then(|key| world.socket(key.sock)) {
            count(self.services.of(&world.service(socket).to_string()));
        }
    }

    fn counted(&mut self, x: &Counters) {
        if self.counters.len() >= NAMESPACES && !self.counters.contains_key(&x.netns) {
            return;
        }
        if let Some(before) = self.counters.insert(x.netns, *x) {
            let drops = |c: &Counters| c.listen_drops + c.req_q_full_drop;
            let more = drops(x).saturating_sub(drops(&before));
            self.totals.drops += more;
            self.time.at(x.at).drops += more;
        }
    }

    fn lost(&mut self, x: &Loss) {
        self.totals.lost += x.count;
        self.time.at(x.to).lost += x.count;
        let cause = x.cause.name();
        if self.losses.len() >= LOSSES
            && let Some(last) = self.losses.iter_mut().rfind(|gap| gap.cause == cause)
        {
            last.count += x.count;
            last.to_mono_ns = x.to;
            return;
        }
        self.losses.push(Gap {
            cause,
            kind: x.kind.as_deref().map(str::to_owned),
            count: x.count,
            from_mono_ns: x.from,
            to_mono_ns: x.to,
        });
    }

    /// Takes in a finding that opened, changed or resolved.
    pub(crate) fn finding(&mut self, mut finding: Finding) {
        let before = self.findings.remove(&finding.id);
        if before.is_none() {
            if self.findings.len() >= FINDINGS {
                self.findings_left_out += 1;
                return;
            }
            self.order.push(finding.id.clone());
        }
        finding.after(before);
        self.findings.insert(finding.id.clone(), finding);
    }

    /// A segment ended in good order.
    pub(crate) fn ended(&mut self, why: &str, at: MonoNs) {
        self.ended = Some(why.to_owned());
        self.end = self.end.max(at);
    }

    /// What the recording was, at its end.
    pub(crate) fn finish(mut self, engine: &Engine) -> HostReport {
        self.host.sysctls = self.netns.values().map(sysctls).collect();
        let totals = engine.world().totals();
        let at_end = TcpState::ALL
            .into_iter()
            .map(|state| (state.name(), totals.in_state[state as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        let mut findings: Vec<Finding> = self
            .order
            .iter()
            .filter_map(|id| self.findings.remove(id))
            .collect();
        findings.sort_by_key(Finding::rank);
        HostReport {
            begin_wall_ns: self.begin_wall_ns,
            end_wall_ns: (i128::from(self.end.0) + self.offset) as i64,
            end_mono_ns: self.end,
            ended: self.ended,
            totals: self.totals,
            time: self.time,
            states: self.states,
            at_end,
            lifetimes: self.lifetimes,
            findings,
            findings_left_out: self.findings_left_out,
            processes: self.processes.lines(LINES),
            services: self.services.lines(LINES),
            listeners: self.listeners.lines(),
            losses: self.losses,
            ends: self.ends,
            host: self.host,
        }
    }
}

/// From birth to end, of a connection whose birth was seen.
fn lifetime(x: &Transition, world: &World) -> Option<Duration> {
    let (born, first) = world.timeline(x.key.sock).first()?;
    matches!(
        first,
        Moment::Transition {
            from: TcpState::Close | TcpState::Listen,
            ..
        }
    )
    .then(|| x.at.since(*born))
}
