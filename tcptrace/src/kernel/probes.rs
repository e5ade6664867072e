//! The probes: one object file, loaded program by program. What an older kernel refuses is named in
//! the status and the rest goes on; only the state changes and the ends of sockets are mandatory.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use aya::maps::{Map, MapError};
use aya::{Btf, Ebpf};
use rustc_hash::FxHashSet;
use tcptrace_common::names;
use tcptrace_common::record::Kind;
use tcptrace_core::decode::{DecodeError, Hz, Raw, RawPeek, RawRow, WakeFunctions};

use super::diagnostics::Diagnostics;
use super::error::KernelError;
use super::hooks::{
    self, DESCRIPTORS, Hook, ON_DEMAND, Purpose, TABLES, TRACEPOINTS, UNDERSTUDIES,
};
use super::layout::{self, Resolved};
use super::load;
use super::losses::Losses;
use super::on_demand::OnDemand;
use super::ring::Ring;
use super::{iterators, learn, process};

mod functions;
mod options;
mod unpaired;

pub(crate) use self::options::{KernelFilter, ProbeOptions, ProbeRuns, ProbeState, ProbeStatus};

/// How a snapshot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotEnd {
    /// Rows given.
    pub(crate) rows: u64,
    /// Nothing was cut off.
    pub(crate) complete: bool,
}

/// The loaded probes.
pub(crate) struct Probes {
    ebpf: Ebpf,
    ring: Ring,
    on_demand: OnDemand,
    diagnostics: Diagnostics,
    status: Vec<ProbeStatus>,
    hz: Hz,
    functions: WakeFunctions,
    reset_reasons: Vec<(u32, String)>,
    /// The iterator over descriptors that this kernel loads.
    descriptors: Option<&'static str>,
    /// Attached programs, and how many of their runs had been skipped at the last look.
    attached: Vec<(Hook, u64)>,
    /// The programs leave something out.
    filtered: bool,
    /// What understudies recovered, by kind.
    recovered: Vec<(Kind, u64)>,
    missing: Vec<(&'static str, String)>,
    /// The kernel keeps statistics of programs while this is open.
    statistics: Option<OwnedFd>,
}

impl Probes {
    /// Reads the kernel's BTF, loads and attaches everything, and learns the kernel's wake functions
    /// and tick rate.
    pub(crate) fn open(options: &ProbeOptions) -> Result<Self, KernelError> {
        Self::open_with(options, layout::resolve()?)
    }

    /// The same, with what the kernel's type information was found to say.
    fn open_with(options: &ProbeOptions, layout: Resolved) -> Result<Self, KernelError> {
        let mut ebpf = load::object(options, &layout)?;
        let btf = load::target_btf()?;
        let mut this = Self {
            ring: Ring::new(
                taken(&mut ebpf, names::EVENTS)?,
                taken(&mut ebpf, names::FAILED)?,
            ),
            on_demand: OnDemand::new(taken(&mut ebpf, names::ANSWERS)?),
            diagnostics: Diagnostics::of(&mut ebpf),
            ebpf,
            status: Vec::new(),
            hz: ASSUMED_HZ,
            functions: WakeFunctions {
                file_ref_bias: u64::from(layout.entry("file_ref").is_some()),
                ..WakeFunctions::default()
            },
            reset_reasons: Vec::new(),
            descriptors: None,
            attached: Vec::new(),
            filtered: options.filter.is_active(),
            recovered: Vec::new(),
            missing: layout.missing.clone(),
            statistics: options
                .statistics
                .then(|| aya::sys::enable_stats(aya::sys::Stats::RunTime).ok())
                .flatten(),
        };
        // Before the rest is attached, so that our own sockets are not traced.
        this.inspect(&btf, &layout);
        for hook in &TRACEPOINTS {
            if hooks::minds_preemption(hook.program) && !layout.may_preempt() {
                continue;
            }
            let lacks = (hook.program == "synack")
                .then(|| layout.lacks("SYN-ACK retransmits"))
                .flatten();
            this.try_hook(&btf, hook, lacks)?;
        }
        this.forget_the_unpaired(&layout)?;
        this.functions(&btf, &layout, options)?;
        this.reset_reasons = layout.reset_reasons;
        Ok(this)
    }

    /// Loads what looks at sockets: on demand, and by iterating.
    fn inspect(&mut self, btf: &Btf, layout: &Resolved) {
        let mut able = true;
        for hook in &ON_DEMAND {
            let lacks = layout
                .lacks("peek")
                .or(layout.lacks("accept by system call"));
            able &= self.try_hook(btf, hook, lacks).unwrap_or(false);
        }
        if able && let Err(error) = self.learn() {
            let state = ProbeState::Missing(error.reason());
            let hook = Hook {
                program: "wake functions",
                hook: "own sockets",
                ..ON_DEMAND[0]
            };
            self.note(&hook, state);
        }
        for hook in &DESCRIPTORS {
            let plain = hook.program == DESCRIPTORS[0].program;
            let lacks = (plain && layout.entry("has_sock_from_file") == Some(0))
                .then_some("bpf_sock_from_file; it is read by probe instead");
            if self.descriptors.is_none() && self.try_hook(btf, hook, lacks).unwrap_or(false) {
                self.descriptors = Some(hook.program);
            }
        }
        // What is missing here is said in the status.
        let _ = self.try_hook(btf, &TABLES, None);
    }

    /// The kernel's wake functions, as far as they were learnt.
    pub(super) fn wake_functions(&self) -> WakeFunctions {
        self.functions
    }

    /// Learns the tick rate and the wake functions.
    fn learn(&mut self) -> Result<(), KernelError> {
        self.hz = learn::hz(&self.ebpf, &mut self.on_demand)?;
        let bias = self.functions.file_ref_bias;
        self.functions = learn::wake_functions(&self.ebpf, &mut self.on_demand, self.hz, bias)?;
        Ok(())
    }

    /// Loads and attaches one program, unless something is known to be missing, and notes the result.
    /// Only a mandatory program fails.
    fn try_hook(
        &mut self,
        btf: &Btf,
        hook: &Hook,
        lacks: Option<&str>,
    ) -> Result<bool, KernelError> {
        let state = match lacks {
            Some(lacks) => ProbeState::Missing(format!("this kernel lacks {lacks}")),
            None => match load::hook_in(&mut self.ebpf, btf, hook) {
                Ok(()) => ProbeState::Attached,
                Err(error) if hook.mandatory => return Err(error),
                Err(error) => ProbeState::Missing(error.reason()),
            },
        };
        let attached = state == ProbeState::Attached;
        if attached && hook.emits.is_some() {
            self.attached.push((*hook, 0));
        }
        self.note(hook, state);
        Ok(attached)
    }

    fn note(&mut self, hook: &Hook, state: ProbeState) {
        self.status.push(ProbeStatus {
            name: hook.program,
            hook: hook.hook,
            tier: hook.tier,
            purpose: hook.purpose,
            state,
        });
    }

    /// Whether a program for this purpose is attached.
    pub(crate) fn serves(&self, purpose: Purpose) -> bool {
        let mut status = self.status.iter();
        status.any(|it| it.purpose == purpose && it.state == ProbeState::Attached)
    }

    /// What the kernel's type information lacks: feature, and the first missing member.
    pub(crate) fn missing(&self) -> &[(&'static str, String)] {
        &self.missing
    }

    /// How often each program has run.
    pub(crate) fn runs(&self) -> Vec<ProbeRuns> {
        // Where the kernel did not let us have them, there are none.
        let attached =
            |it: &&ProbeStatus| it.state == ProbeState::Attached && self.statistics.is_some();
        self.status
            .iter()
            .filter(attached)
            .filter_map(|it| {
                Some(ProbeRuns {
                    program: it.name,
                    runs: counted(&self.ebpf, it.name, "run_cnt")?,
                    nanoseconds: counted(&self.ebpf, it.name, "run_time_ns")?,
                })
            })
            .collect()
    }

    /// Every probe, attached or not.
    pub(crate) fn status(&self) -> &[ProbeStatus] {
        &self.status
    }

    /// Returns when the ring is a quarter full, or at once when the last drain stopped at its limit;
    /// the caller drains on an interval of its own too. Needs a tokio runtime.
    pub(crate) async fn ready(&mut self) {
        self.ring.ready().await;
    }

    /// Decodes at most `max` records of the ring; returns how many.
    pub(crate) fn drain(
        &mut self,
        max: usize,
        sink: &mut dyn FnMut(Result<Raw, DecodeError>),
    ) -> usize {
        self.ring.drain(max, self.hz, sink)
    }

    /// One row per descriptor that is a TCP socket, of every process and network namespace, and then
    /// one per connection in the accept queue of each listener among them.
    pub(crate) fn descriptors(
        &mut self,
        sink: &mut dyn FnMut(RawRow),
    ) -> Result<SnapshotEnd, KernelError> {
        let program = self.descriptors.unwrap_or(DESCRIPTORS[0].program);
        let file = iterators::start(&mut self.ebpf, program)?;
        let mut listeners = FxHashSet::default();
        let rows = iterators::rows(file, self.hz, &mut |row| {
            if row.queue.is_some_and(|queue| queue.depth > 0) {
                listeners.insert(row.key.sock);
            }
            sink(row);
        })?;
        // The kernel iterates over the processes of our pid namespace: in a container's, who holds a
        // socket there is no proof that nobody else does.
        let mut end = SnapshotEnd {
            rows,
            complete: process::in_initial_pid_namespace(),
        };
        let mut listeners: Vec<_> = listeners.into_iter().collect();
        listeners.sort_unstable();
        for listener in listeners {
            let (children, complete) = self.on_demand.accept_queue(&self.ebpf, listener.0)?;
            end.complete &= complete;
            self.peek(&children, &mut |child| {
                // One that was accepted meanwhile has a descriptor, or will be seen accepted.
                if !child.has_socket && !child.dead {
                    end.rows += 1;
                    sink(child.into_row(listener));
                }
            })?;
        }
        Ok(end)
    }

    /// The hash tables of one network namespace (a descriptor of `/proc/PID/ns/net`), orphans too.
    pub(crate) fn tables(
        &mut self,
        netns: BorrowedFd<'_>,
        sink: &mut dyn FnMut(RawRow),
    ) -> Result<SnapshotEnd, KernelError> {
        let file = iterators::start_in(&mut self.ebpf, TABLES.program, netns)?;
        let rows = iterators::rows(file, self.hz, sink)?;
        Ok(SnapshotEnd {
            rows,
            complete: true,
        })
    }

    /// Looks at socks by address. An address that is no TCP sock any more gives no answer; one that
    /// was reused gives another tuple, which is for the caller to see.
    pub(crate) fn peek(
        &mut self,
        addresses: &[u64],
        sink: &mut dyn FnMut(RawPeek),
    ) -> Result<(), KernelError> {
        let Self {
            ebpf,
            on_demand,
            functions,
            hz,
            ..
        } = self;
        on_demand.peek(ebpf, functions, *hz, addresses, sink)
    }

    /// Running totals since the start. Also passes on what the programs had to say.
    pub(crate) fn losses(&mut self) -> Losses {
        self.diagnostics.pass_on();
        let mut recursion: Vec<(Kind, u64)> = Vec::new();
        for (hook, before) in &mut self.attached {
            // What an understudy misses, the first program handled.
            if UNDERSTUDIES.contains(&hook.program) {
                continue;
            }
            // Of what a filter keeps out, the understudy tells nothing either, so the two numbers
            // no longer match; by construction they stand in for each other all the same.
            if self.filtered && matches!(hook.emits, Some(Kind::Transition | Kind::Destroy)) {
                continue;
            }
            let Some(now) = skipped(&self.ebpf, hook) else {
                continue;
            };
            // What an understudy recovered of them may still be in the ring: they are judged at
            // the next look.
            let mut missed = std::mem::replace(before, now);
            let recovered = self.recovered.iter().filter(|it| Some(it.0) == hook.emits);
            missed = missed.saturating_sub(recovered.map(|it| it.1).sum());
            match (
                hook.emits,
                recursion.iter_mut().find(|it| Some(it.0) == hook.emits),
            ) {
                (_, Some(total)) => total.1 += missed,
                (Some(kind), None) if missed > 0 => recursion.push((kind, missed)),
                _ => {}
            }
        }
        Losses {
            ring: self.ring.failed(),
            recursion,
        }
    }

    /// Tells that `count` records of the understudy for this kind were no duplicates.
    pub(crate) fn recovered(&mut self, kind: Kind, count: u64) {
        match self.recovered.iter_mut().find(|it| it.0 == kind) {
            Some(total) => total.1 += count,
            None => self.recovered.push((kind, count)),
        }
    }

    /// The name of an `enum sk_rst_reason` value without its prefix, e.g. `NO_SOCKET`.
    pub(crate) fn reset_reason(&self, reason: u32) -> Option<&str> {
        let (_, name) = self.reset_reasons.iter().find(|it| it.0 == reason)?;
        Some(name)
    }

    /// Whether the kernel says why it resets.
    pub(crate) fn gives_reset_reasons(&self) -> bool {
        !self.reset_reasons.is_empty()
    }

    /// The kernel's tick rate.
    pub(crate) fn hz(&self) -> u32 {
        self.hz.0
    }
}

/// The tick rate of most distributions' kernels, until it is learnt.
const ASSUMED_HZ: Hz = Hz(250);

/// Takes a map out of the object.
fn taken<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, KernelError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let refused = |detail: String| KernelError::Refused {
        what: format!("open the map {name}"),
        detail,
    };
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| refused("the object has no such map".to_owned()))?;
    M::try_from(map).map_err(|error| refused(error.to_string()))
}

/// How often the kernel skipped a program because it had interrupted itself (from Linux 5.12 on).
fn skipped(ebpf: &Ebpf, hook: &Hook) -> Option<u64> {
    counted(ebpf, hook.program, "recursion_misses")
}

/// A number that the kernel keeps with a loaded program.
fn counted(ebpf: &Ebpf, program: &str, what: &str) -> Option<u64> {
    let program = ebpf.program(program)?;
    let fd = program.fd().ok()?.as_fd().as_raw_fd();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests;
