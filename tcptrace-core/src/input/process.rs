//! What is known of processes.

use std::sync::Arc;

use crate::units::{MonoNs, Pid};

/// News of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessFact {
    /// It was seen for the first time, or its pid was reused.
    Seen {
        /// When it was read.
        at: MonoNs,
        /// What is known of it.
        info: Arc<ProcessInfo>,
    },
    /// Its descriptors and their limit now, on request.
    Descriptors {
        /// When they were counted.
        at: MonoNs,
        /// Of which process.
        pid: Pid,
        /// Open descriptors.
        open: u64,
        /// RLIMIT_NOFILE, the soft limit.
        limit: u64,
    },
    /// Its last thread exits; its sockets are closed just after this.
    Exit {
        /// When.
        at: MonoNs,
        /// Which process.
        pid: Pid,
        /// Its name at the end, for a process that was too short-lived to be looked up.
        name: Arc<str>,
        /// The signal that ended it, 0 for none; absent where the kernel does not say.
        signal: Option<u8>,
    },
}

impl ProcessFact {
    /// When it was true.
    pub fn at(&self) -> MonoNs {
        match self {
            Self::Seen { at, .. } | Self::Descriptors { at, .. } | Self::Exit { at, .. } => *at,
        }
    }

    /// Which process.
    pub fn pid(&self) -> Pid {
        match self {
            Self::Seen { info, .. } => info.pid,
            Self::Descriptors { pid, .. } | Self::Exit { pid, .. } => *pid,
        }
    }
}

/// A process, read once from /proc. (pid, start) is its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its pid in the initial namespace.
    pub pid: Pid,
    /// Start time, clock ticks since boot (`/proc/PID/stat` field 22); absent if it was gone.
    pub start: Option<u64>,
    /// `/proc/PID/comm`. Hostile text: escape it before it reaches a terminal or a page.
    pub name: Arc<str>,
    /// The executable's path.
    pub exe: Option<Arc<str>>,
    /// The parent.
    pub parent: Option<Pid>,
    /// The effective user.
    pub uid: Option<u32>,
    /// Its pid in its own namespace, where that differs.
    pub ns_pid: Option<Pid>,
    /// The cgroup's path.
    pub cgroup: Option<Arc<str>>,
    /// The container id found in the cgroup's path.
    pub container: Option<Arc<str>>,
    /// Its command line, arguments separated by spaces: read on request only (`--cmdline`), as it may
    /// hold secrets. Hostile text.
    pub cmdline: Option<Arc<str>>,
}
