//! The model of the host's TCP: sockets, processes, losses, and totals. Consumers borrow it; only
//! `Engine::apply` changes it.

use std::sync::Arc;

use crate::finding::Owner;
use crate::input::{Context, Holder, LossCause, ProcessInfo, QueueLevel, SocketKey};
use crate::tcp::{Endpoint, TcpState};
use crate::units::{MonoNs, NetnsId, Pid, SockId};

/// How a socket came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Older than the tracer, or born during a loss.
    #[default]
    Unknown,
    /// connect.
    Active,
    /// A child of a listener.
    Passive,
    /// listen.
    Listener,
}

/// How a connection was closed on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCall {
    /// close, or shutdown of both directions with it.
    Close,
    /// shutdown: the descriptor stays.
    Shutdown,
    /// The process exited.
    Exit,
}

/// One thing that happened to a socket, for its timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Moment {
    Transition {
        from: TcpState,
        to: TcpState,
        by: Context,
    },
    /// The kernel's CLOSE that really starts TIME_WAIT (`true`) or an orphan's FIN_WAIT2.
    TimeWait {
        orphan_fin_wait2: bool,
    },
    Accepted {
        by: Pid,
    },
    Retransmitted {
        fin: bool,
        syn: bool,
        attempt: u8,
    },
    SynackRetransmitted {
        attempt: u8,
        acked: bool,
    },
    Reset {
        sent: bool,
    },
    Found {
        state: TcpState,
    },
    Inspected {
        unread: u32,
    },
    Destroyed,
}

/// A socket as the engine knows it.
#[derive(Clone, Debug)]
pub struct Socket {
    /// Which.
    pub key: SocketKey,
    /// Its state: TIME_WAIT and an orphan's FIN_WAIT2 are modelled after the kernel's CLOSE.
    pub state: TcpState,
    /// When it entered the state.
    pub since: MonoNs,
    /// `since` is when it was first seen, and the state is older.
    pub since_is_lower_bound: bool,
    /// When it was first seen.
    pub first_seen: MonoNs,
    /// How it came to be.
    pub origin: Origin,
    /// The listener that it came from.
    pub listener: Option<SockId>,
    /// Its owner.
    pub owner: Option<Owner>,
    /// Descriptors that refer to it, as far as scans saw them.
    pub holders: Vec<Holder>,
    /// A process took it from the accept queue (or connected it).
    pub accepted: bool,
    /// Who closed it, and how.
    pub closer: Option<(Pid, CloseCall)>,
    /// Segments sent again.
    pub retransmits: u32,
    /// Unread bytes when last told.
    pub unread: Option<u32>,
    /// The queues, of a listener.
    pub accept_queue: Option<QueueLevel>,
    /// Half-open connections, of a listener.
    pub syn_depth: Option<u32>,
    /// When somebody last accepted from it, of a listener.
    pub last_accept: Option<(MonoNs, Pid)>,
}

impl Socket {
    /// Our end.
    pub fn local(&self) -> Endpoint {
        self.key.local
    }

    /// The other end.
    pub fn peer(&self) -> Endpoint {
        self.key.peer
    }

    /// The network namespace.
    pub fn netns(&self) -> NetnsId {
        self.key.netns
    }
}

/// A process as the engine knows it; kept after its exit while sockets refer to it.
#[derive(Clone, Debug)]
pub struct Process {
    /// Read once from /proc, or from its exit record.
    pub info: Arc<ProcessInfo>,
    /// When it exited.
    pub exited: Option<MonoNs>,
    /// Open descriptors and their limit, when last counted.
    pub descriptors: Option<(u64, u64)>,
}

/// What was counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Totals {
    pub inputs: u64,
    pub transitions: u64,
    pub accepts: u64,
    pub retransmits: u64,
    pub synack_retransmits: u64,
    pub resets: u64,
    pub destroys: u64,
    pub inspections: u64,
    /// Lost facts by cause, in the order of [`LossCause::ALL`].
    pub losses: [u64; LossCause::ALL.len()],
    /// Sockets now in each state, indexed by the kernel's state number.
    pub in_state: [u64; 13],
}

/// Everything the engine knows.
#[derive(Debug, Default)]
pub struct World {
    now: MonoNs,
    totals: Totals,
}

impl World {
    /// The last tick.
    pub fn now(&self) -> MonoNs {
        self.now
    }

    /// Live sockets in ascending order of id, those in a modelled TIME_WAIT included.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        std::iter::empty()
    }

    /// One socket, while it lives and a little after.
    pub fn socket(&self, id: SockId) -> Option<&Socket> {
        let _ = id;
        None
    }

    /// What happened to a socket, oldest first; bounded, the birth is kept.
    pub fn timeline(&self, id: SockId) -> &[(MonoNs, Moment)] {
        let _ = id;
        &[]
    }

    /// A process.
    pub fn process(&self, pid: Pid) -> Option<&Process> {
        let _ = pid;
        None
    }

    /// Counts.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The wall clock at the monotonic instant `at`, by the last tick.
    pub fn wall(&self, at: MonoNs) -> Option<crate::units::WallNs> {
        let _ = at;
        None
    }
}
