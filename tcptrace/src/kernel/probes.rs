//! The probes: one object file, loaded program by program. What an older kernel refuses is named in
//! the status and the rest goes on; only the state changes and the ends of sockets are mandatory.

use std::os::fd::BorrowedFd;

use tcptrace_common::record::Kind;
use tcptrace_core::decode::{DecodeError, Hz, Raw, RawPeek, RawRow};
use tcptrace_core::filter::Family;
use tcptrace_core::units::{NetnsId, Port};

use super::error::KernelError;

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
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            ring_bytes: 32 << 20,
            filter: KernelFilter::default(),
            accept_syscalls: true,
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

/// One probe, for the header and `doctor`.
#[derive(Clone, Debug)]
pub(crate) struct ProbeStatus {
    /// What it is for: `state`, `accept`, `peek`, …
    pub(crate) name: &'static str,
    /// Where it hooks: `sock:inet_sock_set_state`, …
    pub(crate) hook: &'static str,
    /// `tracepoint`, `fexit`, `syscall`, `iterator`, `on demand`.
    pub(crate) tier: &'static str,
    /// Whether it works.
    pub(crate) state: ProbeState,
}

/// Whether a probe works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeState {
    /// Loaded and attached (or ready to be run).
    Attached,
    /// Not, and why.
    Missing(String),
}

/// How a snapshot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotEnd {
    /// Rows given.
    pub(crate) rows: u64,
    /// Nothing was cut off.
    pub(crate) complete: bool,
}

/// Running totals of what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Records for which the ring had no room, by kind.
    pub(crate) ring: Vec<(Kind, u64)>,
    /// Probes that the kernel skipped because they had interrupted themselves, by kind; for
    /// transitions less those that the understudy recovered (see [`Probes::recovered`]).
    pub(crate) recursion: Vec<(Kind, u64)>,
}

/// The loaded probes.
pub(crate) struct Probes {
    status: Vec<ProbeStatus>,
    hz: Hz,
}

impl Probes {
    /// Reads the kernel's BTF, loads and attaches everything, and learns the kernel's wake
    /// functions. Needs a tokio runtime.
    pub(crate) fn open(options: &ProbeOptions) -> Result<Self, KernelError> {
        let _ = options;
        Err(KernelError::Refused {
            what: "load probes".to_owned(),
            detail: "not built yet".to_owned(),
        })
    }

    /// Every probe, attached or not.
    pub(crate) fn status(&self) -> &[ProbeStatus] {
        &self.status
    }

    /// Returns when the ring is a quarter full; the caller drains on an interval of its own too.
    pub(crate) async fn ready(&mut self) {
        std::future::pending().await
    }

    /// Decodes at most `max` records of the ring; returns how many.
    pub(crate) fn drain(
        &mut self,
        max: usize,
        sink: &mut dyn FnMut(Result<Raw, DecodeError>),
    ) -> usize {
        let _ = (max, sink);
        0
    }

    /// One row per descriptor that is a TCP socket, of every process and network namespace, each
    /// listener followed by the connections in its accept queue.
    pub(crate) fn descriptors(
        &mut self,
        sink: &mut dyn FnMut(RawRow),
    ) -> Result<SnapshotEnd, KernelError> {
        let _ = sink;
        Ok(SnapshotEnd {
            rows: 0,
            complete: false,
        })
    }

    /// The hash tables of one network namespace (a descriptor of `/proc/PID/ns/net`), orphans too.
    pub(crate) fn tables(
        &mut self,
        netns: BorrowedFd<'_>,
        sink: &mut dyn FnMut(RawRow),
    ) -> Result<SnapshotEnd, KernelError> {
        let _ = (netns, sink);
        Ok(SnapshotEnd {
            rows: 0,
            complete: false,
        })
    }

    /// Looks at socks by address. An address that is no TCP sock any more gives no answer; one that
    /// was reused gives another tuple, which is for the caller to see.
    pub(crate) fn peek(
        &mut self,
        addresses: &[u64],
        sink: &mut dyn FnMut(RawPeek),
    ) -> Result<(), KernelError> {
        let _ = (addresses, sink);
        Ok(())
    }

    /// Running totals since the start.
    pub(crate) fn losses(&mut self) -> Losses {
        Losses::default()
    }

    /// Tells that `count` records of the understudy were no duplicates.
    pub(crate) fn recovered(&mut self, count: u64) {
        let _ = count;
    }

    /// The name of an `enum sk_rst_reason` value without its prefix, e.g. `NO_SOCKET`.
    pub(crate) fn reset_reason(&self, reason: u32) -> Option<&str> {
        let _ = reason;
        None
    }

    /// The kernel's tick rate.
    pub(crate) fn hz(&self) -> u32 {
        self.hz.0
    }
}
