//! What to trace, and what became of it: the options of the probes and their status.

use tcptrace_common::filter::MAX_PORTS;
use tcptrace_core::filter::Family;
use tcptrace_core::units::{NetnsId, Port};

use crate::kernel::hooks::{Purpose, Tier, TierChoice};

/// How to trace.
#[derive(Clone, Debug)]
pub(crate) struct ProbeOptions {
    /// Size of the event ring; rounded up to a power of two, at least 64 KiB.
    pub(crate) ring_bytes: u32,
    /// What to leave out in the kernel.
    pub(crate) filter: KernelFilter,
    /// Whether accept may be seen by the system calls' exit, which slows every system call of the
    /// host a little, where the function cannot be probed.
    pub(crate) accept_syscalls: bool,
    /// The only way in which functions may be probed, or the best that loads.
    pub(crate) tier: Option<TierChoice>,
    /// Whether accepts and connects are told with the user stack of their thread.
    pub(crate) stacks: bool,
    /// Whether the verifier is to explain itself at length where it refuses a program.
    pub(crate) verifier_log: bool,
    /// Whether the kernel is to measure the programs, which costs each run some 30 ns.
    pub(crate) statistics: bool,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            ring_bytes: 32 << 20,
            filter: KernelFilter::default(),
            accept_syscalls: true,
            tier: None,
            stacks: false,
            verifier_log: false,
            statistics: false,
        }
    }
}

#[cfg(test)]
impl ProbeOptions {
    /// The usual ones, but for the tier that TCPTRACE_TIER asks for.
    pub(crate) fn for_tests() -> Self {
        use clap::ValueEnum as _;
        let tier = std::env::var("TCPTRACE_TIER").ok();
        Self {
            tier: tier.map(|it| TierChoice::from_str(&it, false).expect("a tier")),
            ..Self::default()
        }
    }
}

/// What passes in the kernel. Empty is everything; what is not known yet (a port that is still 0)
/// passes.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelFilter {
    /// One address family.
    pub(crate) family: Option<Family>,
    /// One network namespace.
    pub(crate) netns: Option<NetnsId>,
    /// Any of these local ports; more than 8 are not filtered in the kernel.
    pub(crate) local_ports: Vec<Port>,
    /// Any of these remote ports; more than 8 are not filtered in the kernel.
    pub(crate) remote_ports: Vec<Port>,
}

impl KernelFilter {
    /// Whether anything is left out.
    pub(crate) fn is_active(&self) -> bool {
        self.family.is_some()
            || self.netns.is_some()
            || !self.local_ports.is_empty()
            || !self.remote_ports.is_empty()
    }

    /// Whether the kernel applies all of it.
    pub(crate) fn is_exact(&self) -> bool {
        self.local_ports.len() <= MAX_PORTS && self.remote_ports.len() <= MAX_PORTS
    }
}

/// One probe, for the header and `doctor`.
#[derive(Clone, Debug)]
pub(crate) struct ProbeStatus {
    /// What it is for: `state`, `accept`, `peek`, …
    pub(crate) name: &'static str,
    /// Where it hooks: `sock:inet_sock_set_state`, …
    pub(crate) hook: &'static str,
    /// By which means.
    pub(crate) tier: Tier,
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// Whether it works.
    pub(crate) state: ProbeState,
}

/// How often a program has run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbeRuns {
    /// The program.
    pub(crate) program: &'static str,
    /// How often.
    pub(crate) runs: u64,
    /// Altogether.
    pub(crate) nanoseconds: u64,
}

/// Whether a probe works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeState {
    /// Loaded and attached (or ready to be run).
    Attached,
    /// Not, and why.
    Missing(String),
}
