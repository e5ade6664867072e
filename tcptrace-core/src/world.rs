//! The model of the host's TCP: sockets, processes, losses, and totals. Consumers borrow it; only
//! `Engine::apply` changes it.
//!
//! `track` takes in what happened, `look` what an inspection or snapshot saw.
//!
//! Invariants: unknown is absent; nothing here iterates in a random order; every table is bounded
//! and what is evicted is counted as [`LossCause::Evicted`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::evictions::Evictions;
use crate::finding::{Confidence, Owner, Service};
use crate::input::{
    Context, Holder, LossCause, NetnsFacts, ProcessInfo, QueueLevel, SnapshotMark, SocketKey, Tick,
};
use crate::tcp::{Endpoint, TcpState};
use crate::units::{MonoNs, NetnsId, Pid, SockId, WallNs};

mod carry;
mod closer;
mod flows;
mod journal;
mod listeners;
mod look;
mod owners;
mod processes;
mod queues;
mod slot;
mod table;
mod tags;
mod time_wait;
mod timeline;
mod track;

pub use closer::{Closer, Ends};
pub use flows::{Closes, Edges};
pub use journal::{Event, What};
pub use queues::Drops;

use journal::Journal;
use listeners::Listeners;
use processes::Processes;
use queues::Queues;
use slot::Life;
use table::Table;
pub use tags::{Tag, Tags};
use time_wait::Modelled;

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
    /// Who closed our side, and how.
    pub closer: Option<(Pid, CloseCall)>,
    /// How it ended: see [`Socket::closed_by`] and [`Socket::ended_by`].
    pub ends: Ends,
    /// Segments sent again.
    pub retransmits: u32,
    /// Unread bytes when last told.
    pub unread: Option<u32>,
    /// The queues, of a listener.
    pub accept_queue: Option<QueueLevel>,
    /// Half-open connections, of a listener.
    pub syn_depth: Option<u32>,
    /// When somebody last accepted from it, of a listener.
    pub last_accept: Option<Box<(MonoNs, Pid)>>,
    /// What happened to it that is out of the ordinary.
    pub special: Tags,
}

impl Socket {
    /// When somebody last accepted from it, and who, of a listener.
    pub fn last_accept(&self) -> Option<(MonoNs, Pid)> {
        self.last_accept.as_deref().copied()
    }

    /// Our end.
    pub fn local(&self) -> Endpoint {
        self.key.local
    }

    /// The other end.
    pub fn peer(&self) -> Endpoint {
        self.key.peer
    }

    /// What is out of the ordinary about it.
    pub fn tags(&self) -> Tags {
        let mut tags = self.special;
        let waits = self.origin == Origin::Passive
            && !self.accepted
            && matches!(self.state, TcpState::Established | TcpState::CloseWait);
        if waits {
            tags.add(Tag::NotAccepted);
        }
        tags
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
    /// The signal that ended it, where one did.
    pub signal: Option<u8>,
    /// Open descriptors and their limit, when last counted.
    pub descriptors: Option<(u64, u64)>,
    /// How often it closed a connection.
    pub closes: Closes,
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
    /// Those of [`LossCause::Evicted`] by table.
    pub evictions: Evictions,
    /// Sockets now in each state, indexed by the kernel's state number.
    pub in_state: [u64; 13],
    /// How often each edge of the state diagram was taken.
    pub edges: Edges,
}

/// Ended sockets kept for their details: some seconds at a thousand connections a second.
const ENDED: usize = 4096;

/// Tracked sockets. 300 bytes each; a host with more has other tools.
const SOCKETS: usize = 2_000_000;

/// Network namespaces whose sysctls are kept.
const NAMESPACES: usize = 16_384;

/// Losses told apart; older ones are merged into one long one.
const LOSSES: usize = 64;

/// Holders kept per socket, as many as a scan names.
const HOLDERS: usize = 16;

/// Everything the engine knows.
#[derive(Debug, Default)]
pub struct World {
    now: MonoNs,
    clock: Option<Tick>,
    totals: Totals,
    table: Table,
    listeners: Listeners,
    processes: Processes,
    netns: BTreeMap<NetnsId, NetnsFacts>,
    modelled: Modelled,
    queues: Queues,
    journal: Journal,
    ended: VecDeque<SockId>,
    /// The snapshots under way, and the number of the last one that began.
    snapshots: Vec<(SnapshotMark, u32)>,
    snapshot: u32,
    /// The windows in which facts about sockets were lost, in the order of telling.
    lost: VecDeque<(MonoNs, MonoNs)>,
}

impl Origin {
    /// As written in recordings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Listener => "listener",
        }
    }
}

impl CloseCall {
    /// As written in recordings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Shutdown => "shutdown",
            Self::Exit => "exit",
        }
    }
}

impl World {
    /// The last tick.
    pub fn now(&self) -> MonoNs {
        self.now
    }

    /// Live sockets in ascending order of id, those in a modelled TIME_WAIT included.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.table
            .iter()
            .filter(|slot| slot.life != Life::Ended)
            .map(|slot| &slot.socket)
    }

    /// One socket, while it lives and a little after.
    pub fn socket(&self, id: SockId) -> Option<&Socket> {
        self.table.get(id).map(|slot| &slot.socket)
    }

    /// Whether the socket is known and has not ended.
    pub fn is_live(&self, id: SockId) -> bool {
        self.table
            .get(id)
            .is_some_and(|slot| slot.life != Life::Ended)
    }

    /// What happened to a socket, oldest first; bounded, the birth is kept.
    pub fn timeline(&self, id: SockId) -> &[(MonoNs, Moment)] {
        self.table
            .get(id)
            .map_or(&[], |slot| slot.timeline.moments())
    }

    /// A process.
    pub fn process(&self, pid: Pid) -> Option<&Process> {
        self.processes.get(pid)
    }

    /// Processes in ascending order of pid, some exited ones included.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter()
    }

    /// Listening sockets of one namespace, ascending by port.
    pub fn listeners(&self, netns: NetnsId) -> impl Iterator<Item = &Socket> {
        self.listeners
            .in_netns(netns)
            .filter_map(|id| self.socket(id))
    }

    /// The sysctls of a namespace.
    pub fn netns_facts(&self, netns: NetnsId) -> Option<&NetnsFacts> {
        self.netns.get(&netns)
    }

    /// The latest events of all sockets, oldest first; bounded.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.journal.iter()
    }

    /// The handshakes that a listener refused; absent until it was sampled.
    pub fn drops(&self, listener: SockId) -> Option<Drops> {
        self.queues.drops(listener)
    }

    /// Counts.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The wall clock at the monotonic instant `at`, by the last tick.
    pub fn wall(&self, at: MonoNs) -> Option<WallNs> {
        let tick = self.clock?;
        let ahead = i128::from(at.0) - i128::from(tick.at.0);
        i64::try_from(i128::from(tick.wall.0) + ahead)
            .ok()
            .map(WallNs)
    }

    /// What the socket's connections have in common: the local port when it was opened passively
    /// (or a listener has that port), else where it connected to.
    pub fn service(&self, socket: &Socket) -> Service {
        let passive = match socket.origin {
            Origin::Passive | Origin::Listener => true,
            Origin::Active => false,
            Origin::Unknown => {
                socket.listener.is_some()
                    || self
                        .listeners
                        .of(socket.key.netns, socket.key.local)
                        .is_some()
            }
        };
        match (passive, socket.key.local, socket.key.peer) {
            (
                true,
                Endpoint {
                    port: Some(port), ..
                },
                _,
            ) => Service::Local(port),
            (
                false,
                _,
                Endpoint {
                    address: Some(address),
                    port: Some(port),
                },
            ) => Service::Remote(address, port),
            _ => Service::Unknown,
        }
    }

    /// The owner with what has been learnt of its process since.
    pub(crate) fn owner(&self, socket: &Socket) -> Option<Owner> {
        let mut owner = socket.owner.clone()?;
        if owner.process.name.is_empty()
            && let Some(process) = self.process(owner.process.pid)
        {
            owner.process = process.info.clone();
        }
        Some(owner)
    }

    /// The listener that a connection came from, if it can be told.
    pub(crate) fn listener_of(&self, socket: &Socket) -> Option<(SockId, Confidence)> {
        match socket.listener {
            Some(id) => Some((id, Confidence::Exact)),
            None => self.listeners.of(socket.key.netns, socket.key.local),
        }
    }

    /// Whether facts about sockets were lost between `since` and `until`.
    pub(crate) fn lost_between(&self, since: MonoNs, until: MonoNs) -> bool {
        self.lost
            .iter()
            .rev()
            .any(|(from, to)| *to >= since && *from <= until)
    }

    /// Counts what bounded tables evicted.
    pub(crate) fn evicted(&mut self, mut evictions: Evictions) {
        self.totals.losses[LossCause::Evicted as usize] += evictions.total();
        self.totals.evictions.append(&mut evictions);
    }

    fn evicted_from(&mut self, table: &'static str, count: u64) {
        self.totals.losses[LossCause::Evicted as usize] += count;
        self.totals.evictions.add(table, count);
    }
}
