//! Everything that touches the running kernel: probes, ring, snapshot, peek, counters, /proc.
//!
//! [`Kernel`] is the only door. Facts leave it as [`Input`]s, in an order that the engine can rely
//! on: who a process is comes before the first fact that names it, the end of a socket before the
//! birth of the next at its address, and every event that had been reported by the time of a look at
//! the kernel before what the look saw.
//!
//! Invariants: no kernel address passes the door; only [`clock`] asks the time; only `netns` and
//! `iterators` enter other namespaces, on threads that end there.

mod btf;
mod capabilities;
mod checkup;
mod clock;
mod counters;
mod diagnostics;
mod edge;
mod error;
mod hooks;
mod host;
mod identity;
mod inspect;
mod iterators;
mod layout;
mod learn;
mod listeners;
mod load;
mod losses;
mod netns;
mod on_demand;
mod probes;
mod process;
mod ring;
mod silence;
mod snapshot;
mod stacks;
#[cfg(test)]
mod tests;
mod threads;
mod tracefs;

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tcptrace_common::record::Kind;
use tcptrace_core::decode::Raw;
use tcptrace_core::filter::Filter;
use tcptrace_core::input::{Input, ProcessFact, Stack};
use tcptrace_core::request::Request;
use tcptrace_core::units::{MonoNs, NetnsId, Pid, WallNs};

pub(crate) use self::capabilities::Capability;
pub(crate) use self::checkup::{Checkup, exercise};
pub(crate) use self::error::KernelError;
pub(crate) use self::hooks::{Purpose, Tier, TierChoice};
pub(crate) use self::host::HostFacts;
pub(crate) use self::probes::{KernelFilter, ProbeOptions, ProbeRuns, ProbeState, ProbeStatus};
pub(crate) use self::silence::Silent;

pub(crate) use self::clock::wall as wall_now;

use self::edge::Edge;
use self::listeners::ListenerWatch;
use self::losses::LossBook;
use self::probes::Probes;
use self::silence::Silence;

/// Records taken from the ring at a time. This many, and the facts that they make, stay in a
/// processor's second-level cache from one step to the next; more would be fetched from memory again.
const BATCH: usize = 512;

/// Records that are read ahead for the name of a process that was gone before it was looked up.
const READ_AHEAD: usize = 65_536;

/// How to watch the kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelOptions {
    /// What to attach, and what to leave out.
    pub(crate) probes: ProbeOptions,
    /// Whether processes are told with their command lines, which may hold secrets.
    pub(crate) cmdline: bool,
}

impl From<&Filter> for KernelFilter {
    /// The conditions that the kernel can decide at the first event of a socket.
    fn from(filter: &Filter) -> Self {
        Self {
            family: filter.family,
            netns: filter.netns,
            local_ports: filter.local_ports.clone(),
            remote_ports: filter.remote_ports.clone(),
        }
    }
}

/// The running kernel, being watched.
pub(crate) struct Kernel {
    probes: Probes,
    filter: KernelFilter,
    edge: Edge,
    /// Taken from the ring and not told yet: the batch, and what was read ahead.
    raws: VecDeque<Raw>,
    /// The time of the last record drained.
    drained_to: MonoNs,
    reset_reasons: FxHashMap<u32, Option<Arc<str>>>,
    losses: LossBook,
    listeners: ListenerWatch,
    /// Namespaces whose hash tables a snapshot has still to read.
    tables_due: VecDeque<NetnsId>,
    silence: Silence,
    /// Probes found silent, not asked for yet.
    silent: Vec<Silent>,
}

impl Kernel {
    /// Attaches the probes. Needs a tokio runtime.
    pub(crate) fn open(options: &KernelOptions) -> Result<Self, KernelError> {
        let probes = Probes::open(&options.probes)?;
        let filter = options.probes.filter.clone();
        Ok(Self {
            edge: Edge::new(filter.netns, probes.wake_functions(), options.cmdline),
            probes,
            filter,
            raws: VecDeque::with_capacity(BATCH),
            drained_to: MonoNs(0),
            reset_reasons: FxHashMap::default(),
            losses: LossBook::new(clock::now()),
            listeners: ListenerWatch::default(),
            tables_due: VecDeque::new(),
            silence: Silence::default(),
            silent: Vec::new(),
        })
    }

    /// What the header of a recording and `doctor` say of the host.
    pub(crate) fn host(&self) -> HostFacts {
        HostFacts::read(self.probes.hz(), self.probes.status())
    }

    /// Now, on the clock of the facts.
    #[expect(clippy::unused_self, reason = "the clock is part of the kernel's door")]
    pub(crate) fn now(&self) -> MonoNs {
        clock::now()
    }

    /// Now, on the wall clock.
    #[expect(clippy::unused_self, reason = "the clock is part of the kernel's door")]
    pub(crate) fn wall(&self) -> WallNs {
        clock::wall()
    }

    /// Returns when enough has happened to be worth draining; drain on an interval as well.
    pub(crate) async fn ready(&mut self) {
        self.probes.ready().await;
    }

    /// Tells the sink what the next batch of records means, at most [`BATCH`] of them. Returns how
    /// many there were: 0 is an empty ring.
    pub(crate) fn drain(&mut self, sink: &mut Vec<Input>) -> usize {
        let before = sink.len();
        self.take_in(BATCH.saturating_sub(self.raws.len()));
        let mut count = 0;
        let mut recovered = [(Kind::Transition, 0), (Kind::Destroy, 0)];
        while count < BATCH
            && let Some(raw) = self.raws.pop_front()
        {
            count += 1;
            self.drained_to = raw.at();
            if let Some(pid) = raw.process()
                && self.edge.processes.is_gone_unnamed(pid, raw.at())
            {
                self.find_exit(pid, raw.at());
            }
            let (probes, reasons) = (&self.probes, &mut self.reset_reasons);
            let reason = |number| {
                reasons
                    .entry(number)
                    .or_insert_with(|| probes.reset_reason(number).map(Arc::from))
                    .clone()
            };
            if let Some(kind) = self.edge.take(&raw, reason, sink)
                && let Some(total) = recovered.iter_mut().find(|it| it.0 == kind)
            {
                total.1 += 1;
            }
        }
        if self.raws.is_empty() {
            // Reading ahead may have taken megabytes.
            self.raws.shrink_to(8 * BATCH);
        }
        for (kind, count) in recovered {
            if count > 0 {
                self.probes.recovered(kind, count);
            }
        }
        self.silence.hear(&sink[before..]);
        count
    }

    /// Takes at most `max` records from the ring.
    fn take_in(&mut self, max: usize) -> usize {
        let (raws, losses, processes) =
            (&mut self.raws, &mut self.losses, &mut self.edge.processes);
        self.probes.drain(max, &mut |record| match record {
            Ok(raw) => {
                if let Raw::Exit(exit) = &raw {
                    processes.foresee(exit);
                }
                raws.push_back(raw);
            }
            Err(_) => losses.undecoded += 1,
        })
    }

    /// Reads ahead to the exit record of a process that is gone, for its name.
    fn find_exit(&mut self, pid: Pid, at: MonoNs) {
        while self.raws.len() < READ_AHEAD
            && self.edge.processes.is_gone_unnamed(pid, at)
            && self.take_in(BATCH) > 0
        {}
    }

    /// The time of the last record drained: what is older has been given, or lost.
    pub(crate) fn drained_to(&self) -> MonoNs {
        self.drained_to
    }

    /// Drains what had been reported by `until`, so that it precedes what a look at the kernel saw.
    fn drain_to(&mut self, until: MonoNs, sink: &mut Vec<Input>) {
        while self.drain(sink) >= BATCH && self.drained_to < until {}
    }

    /// The regular look, about once a second: counters and sysctls of every namespace, the queues of
    /// every listener, what was lost, and the next part of a snapshot of the hash tables.
    pub(crate) fn poll(&mut self, sink: &mut Vec<Input>) {
        self.look(sink);
        self.tell_stacks(sink);
        self.read_tables(sink);
        self.tell_losses(sink);
    }

    /// The regular look without the hash tables, of which nobody who starts wants to wait: every
    /// socket that a process holds is in the snapshot of the descriptors.
    pub(crate) fn first_look(&mut self, sink: &mut Vec<Input>) {
        self.look(sink);
        self.tell_losses(sink);
    }

    fn look(&mut self, sink: &mut Vec<Input>) {
        let now = clock::now();
        let before = sink.len();
        self.edge.namespaces.poll(now, sink);
        self.silence.hear(&sink[before..]);
        let moved: Vec<_> = sink[before..]
            .iter()
            .filter_map(|input| match input {
                Input::Counters(counters) => Some(counters.netns),
                _ => None,
            })
            .collect();
        self.sample_listeners(&moved, sink);
    }

    /// Where sockets were opened or closed, as far as somebody asked and it has been found out.
    fn tell_stacks(&mut self, sink: &mut Vec<Input>) {
        let at = clock::now();
        for named in self.edge.stacks.told() {
            let identities = &self.edge.identities;
            let living = identities.address(named.sock);
            let living = living.and_then(|address| identities.key(address));
            let Some(key) = living.or(named.ended) else {
                continue;
            };
            self.edge.meet_holder(named.pid, at, sink);
            sink.push(Input::Stack(Stack {
                at,
                key,
                call: named.call,
                pid: named.pid,
                frames: named.frames,
            }));
        }
    }

    fn tell_losses(&mut self, sink: &mut Vec<Input>) {
        let mut losses = self.probes.losses();
        let identities = &self.edge.identities;
        if self.filter.is_active() {
            losses.infer(identities.gaps());
        }
        let (evicted, unreported) = (identities.evicted(), identities.unreported());
        self.losses
            .tell(losses, evicted, unreported, clock::now(), sink);
        let probes = &self.probes;
        let attached = |purpose| probes.serves(purpose);
        let queued = self.listeners.queued();
        let filtered = self.filter.is_active();
        let silent = self.silence.judge(attached, queued, filtered);
        for it in &silent {
            tracing::warn!("{it}");
        }
        self.silent.extend(silent);
    }

    /// Probes that have turned out to be silent since the last call.
    pub(crate) fn silent(&mut self) -> Vec<Silent> {
        std::mem::take(&mut self.silent)
    }

    /// How often each attached program has run, and how long that took, where the kernel counts.
    pub(crate) fn runs(&self) -> Vec<ProbeRuns> {
        self.probes.runs()
    }

    /// Whether the kernel says why it resets, and tells of resets without a socket (Linux 6.10 on).
    pub(crate) fn gives_reset_reasons(&self) -> bool {
        self.probes.gives_reset_reasons()
    }

    /// What the kernel's type information lacks: feature, and the first missing member.
    pub(crate) fn missing(&self) -> &[(&'static str, String)] {
        self.probes.missing()
    }

    /// Takes the looks that the engine asked for. What cannot be answered any more is left out.
    pub(crate) fn answer(&mut self, requests: &[Request], sink: &mut Vec<Input>) {
        let mut suspects = Vec::new();
        let mut scan = false;
        let mut snapshot = false;
        for request in requests {
            match request {
                Request::Inspect { sock, holders } => {
                    suspects.push(*sock);
                    scan |= holders;
                }
                Request::Listeners(netns) => self.sample_listeners_of(*netns, sink),
                Request::Descriptors(pid) => self.count_descriptors(*pid, sink),
                Request::Orphans(netns) => self.count_orphans(*netns, sink),
                Request::Stack(sock) => self.edge.stacks.ask(*sock),
                Request::Snapshot => snapshot = true,
            }
        }
        if !suspects.is_empty() {
            self.inspect(suspects, scan, sink);
        }
        if snapshot && let Err(error) = self.snapshot(sink) {
            // It said that it is not complete; the engine asks again when it needs to.
            tracing::warn!("{error}");
        }
    }

    /// Counts the orphans in FIN_WAIT2 of a namespace: 98,000 small sockets take a tenth of a second.
    fn count_orphans(&mut self, netns: NetnsId, sink: &mut Vec<Input>) {
        let Some(Ok(namespace)) = self
            .edge
            .namespaces
            .door(netns)
            .map(|door| door.open(netns))
        else {
            return; // It is gone, and its sockets with it.
        };
        let mut orphans = 0;
        let counted = self.probes.tables(namespace.as_fd(), &mut |row| {
            orphans += u64::from(row.orphan_fin_wait2 && row.key.netns == netns);
        });
        match counted {
            Ok(_) => sink.extend(self.edge.namespaces.with_orphans(netns, orphans)),
            Err(error) => tracing::warn!("{error}"),
        }
    }

    fn count_descriptors(&mut self, pid: Pid, sink: &mut Vec<Input>) {
        if let Some((open, limit)) = threads::descriptors(pid) {
            let at = clock::now();
            self.edge.meet_holder(pid, at, sink);
            sink.push(Input::Process(ProcessFact::Descriptors {
                at,
                pid,
                open,
                limit,
            }));
        }
    }
}
