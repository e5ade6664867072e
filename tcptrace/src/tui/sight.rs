//! What the screens look at: the engine as it is, or as it was when the view was paused.
//!
//! The engine goes on while the view stands still, so a pause copies what the screens can show, and
//! drops it again on resume. The copy is bounded by [`FROZEN_SOCKETS`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tcptrace_core::Engine;
use tcptrace_core::filter::Filter;
use tcptrace_core::finding::{Finding, FindingId};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{MonoNs, Pid, SockId, WallNs};
use tcptrace_core::world::{Drops, Event, Moment, Process, Socket, Totals};

/// How many connections a paused view keeps: those that the list shows first. 100,000 take some
/// 40 MB, and nobody reads further.
const FROZEN_SOCKETS: usize = 100_000;

/// The engine, now or at the moment of the pause.
#[derive(Clone, Copy)]
pub(super) enum Sight<'a> {
    /// Of its findings, those that pass the command line's filter.
    Live(&'a Engine, &'a Filter),
    Frozen(&'a Frozen),
}

/// What a paused view shows.
pub(super) struct Frozen {
    now: MonoNs,
    wall: Option<WallNs>,
    close_wait_after: Duration,
    totals: Totals,
    findings: Vec<Arc<Finding>>,
    resolved: Vec<Arc<Finding>>,
    /// Ascending by id.
    sockets: Vec<Socket>,
    /// Those of them that were not alive, ascending.
    ended: Vec<SockId>,
    /// Those that are half-closes in use, ascending.
    half_closes: Vec<SockId>,
    /// The timelines of `sockets`, one after the other.
    moments: Vec<(MonoNs, Moment)>,
    /// Where in `moments` each socket's timeline lies.
    timelines: Vec<Range<usize>>,
    processes: BTreeMap<Pid, Process>,
    /// Of the listeners that were sampled.
    drops: BTreeMap<SockId, Drops>,
    /// The log, oldest first.
    events: Vec<Event>,
}

fn passing<'a>(
    findings: impl Iterator<Item = &'a Arc<Finding>>,
    filter: &Filter,
) -> impl Iterator<Item = &'a Arc<Finding>> {
    findings.filter(|finding| filter.passes_finding(finding))
}

impl Frozen {
    /// Copies what can be shown. Where there are more sockets than [`FROZEN_SOCKETS`], that many
    /// of those that the list shows first are kept, besides listeners, the samples of findings,
    /// and `open`, which the user looks at.
    pub(super) fn take(
        engine: &Engine,
        filter: &Filter,
        first_shown: impl FnOnce(usize) -> Vec<SockId>,
        open: &[SockId],
    ) -> Self {
        let world = engine.world();
        let live: u64 = world.totals().in_state.iter().sum();
        let findings: Vec<_> = passing(engine.findings(), filter).cloned().collect();
        let resolved: Vec<_> = passing(engine.resolved(), filter).cloned().collect();
        let named = findings.iter().chain(&resolved);
        let mut named: Vec<_> = named
            .flat_map(|finding| finding.sample_ids())
            .chain(open.iter().copied())
            .collect();
        named.sort_unstable();
        named.dedup();
        let keep = (live > FROZEN_SOCKETS as u64).then(|| {
            let mut keep = first_shown(FROZEN_SOCKETS);
            keep.sort_unstable();
            keep
        });
        let mut sockets: Vec<_> = world
            .sockets()
            .filter(|socket| {
                socket.state == TcpState::Listen
                    || keep
                        .as_ref()
                        .is_none_or(|keep| keep.binary_search(&socket.key.sock).is_ok())
            })
            .cloned()
            .collect();
        // The named ones may have ended, and are known a little longer.
        let known = sockets.len();
        for id in named {
            let id_of = |socket: &Socket| socket.key.sock;
            if sockets[..known].binary_search_by_key(&id, id_of).is_err() {
                sockets.extend(world.socket(id).cloned());
            }
        }
        sockets.sort_unstable_by_key(|socket| socket.key.sock);
        let mut ended = Vec::new();
        let half_closes = (sockets.iter().map(|socket| socket.key.sock))
            .filter(|id| engine.half_close_in_use(*id))
            .collect();
        let mut moments = Vec::new();
        let timelines = sockets
            .iter()
            .map(|socket| {
                let (id, start) = (socket.key.sock, moments.len());
                moments.extend_from_slice(world.timeline(id));
                if !world.is_live(id) {
                    ended.push(id);
                }
                start..moments.len()
            })
            .collect();
        let mut pids: Vec<_> = sockets
            .iter()
            .flat_map(|socket| {
                let owner = socket.owner.iter().map(|owner| owner.process.pid);
                owner.chain(socket.holders.iter().map(|holder| holder.pid))
            })
            .collect();
        let events: Vec<_> = world.events().copied().collect();
        let closers = world
            .processes()
            .filter(|process| process.closes.total() > 0)
            .map(|process| process.info.pid);
        pids.extend(closers.chain(events.iter().filter_map(|event| event.owner)));
        let drops = sockets
            .iter()
            .filter_map(|socket| Some((socket.key.sock, world.drops(socket.key.sock)?)))
            .collect();
        pids.sort_unstable();
        pids.dedup();
        let known = |pid: Pid| Some((pid, world.process(pid)?.clone()));
        let processes = pids.into_iter().filter_map(known).collect();
        Self {
            now: world.now(),
            wall: world.wall(world.now()),
            close_wait_after: engine.settings().close_wait_leak.after,
            totals: world.totals().clone(),
            resolved,
            findings,
            sockets,
            ended,
            half_closes,
            moments,
            timelines,
            processes,
            drops,
            events,
        }
    }

    fn is_ended(&self, id: SockId) -> bool {
        self.ended.binary_search(&id).is_ok()
    }

    fn index(&self, id: SockId) -> Option<usize> {
        self.sockets
            .binary_search_by_key(&id, |socket| socket.key.sock)
            .ok()
    }
}

impl<'a> Sight<'a> {
    pub(super) fn is_frozen(self) -> bool {
        matches!(self, Self::Frozen(_))
    }

    /// The last tick.
    pub(super) fn now(self) -> MonoNs {
        match self {
            Self::Live(engine, _) => engine.world().now(),
            Self::Frozen(frozen) => frozen.now,
        }
    }

    pub(super) fn wall(self, at: MonoNs) -> Option<WallNs> {
        match self {
            Self::Live(engine, _) => engine.world().wall(at),
            Self::Frozen(frozen) => {
                let later = i64::try_from(at.since(frozen.now).as_nanos()).ok()?;
                let earlier = i64::try_from(frozen.now.since(at).as_nanos()).ok()?;
                Some(WallNs(frozen.wall?.0 + later - earlier))
            }
        }
    }

    pub(super) fn close_wait_after(self) -> Duration {
        match self {
            Self::Live(engine, _) => engine.settings().close_wait_leak.after,
            Self::Frozen(frozen) => frozen.close_wait_after,
        }
    }

    pub(super) fn totals(self) -> &'a Totals {
        match self {
            Self::Live(engine, _) => engine.world().totals(),
            Self::Frozen(frozen) => &frozen.totals,
        }
    }

    /// Open findings, the most severe first, then the oldest.
    pub(super) fn findings(self) -> Vec<&'a Arc<Finding>> {
        match self {
            Self::Live(engine, filter) => passing(engine.findings(), filter).collect(),
            Self::Frozen(frozen) => frozen.findings.iter().collect(),
        }
    }

    /// Findings that resolved lately, newest first.
    pub(super) fn resolved(self) -> Vec<&'a Arc<Finding>> {
        match self {
            Self::Live(engine, filter) => passing(engine.resolved(), filter).collect(),
            Self::Frozen(frozen) => frozen.resolved.iter().collect(),
        }
    }

    /// A finding, open or lately resolved.
    pub(super) fn finding(self, id: FindingId) -> Option<&'a Arc<Finding>> {
        let of_id = |finding: &&'a Arc<Finding>| finding.id == id;
        let open = self.findings().into_iter().find(of_id);
        open.or_else(|| self.resolved().into_iter().find(of_id))
    }

    /// Every live socket, in ascending order of id.
    pub(super) fn sockets(self) -> Box<dyn Iterator<Item = &'a Socket> + 'a> {
        match self {
            Self::Live(engine, _) => Box::new(engine.world().sockets()),
            Self::Frozen(frozen) => {
                let is_live = |socket: &&Socket| !frozen.is_ended(socket.key.sock);
                Box::new(frozen.sockets.iter().filter(is_live))
            }
        }
    }

    /// A socket, while it lives and a little after.
    pub(super) fn socket(self, id: SockId) -> Option<&'a Socket> {
        match self {
            Self::Live(engine, _) => engine.world().socket(id),
            Self::Frozen(frozen) => frozen.sockets.get(frozen.index(id)?),
        }
    }

    pub(super) fn is_live(self, id: SockId) -> bool {
        match self {
            Self::Live(engine, _) => engine.world().is_live(id),
            Self::Frozen(frozen) => frozen.index(id).is_some() && !frozen.is_ended(id),
        }
    }

    /// Whether a socket in CLOSE_WAIT is no leak, as its application still sends.
    pub(super) fn half_close_in_use(self, id: SockId) -> bool {
        match self {
            Self::Live(engine, _) => engine.half_close_in_use(id),
            Self::Frozen(frozen) => frozen.half_closes.binary_search(&id).is_ok(),
        }
    }

    /// What happened to a socket, oldest first.
    pub(super) fn timeline(self, id: SockId) -> &'a [(MonoNs, Moment)] {
        match self {
            Self::Live(engine, _) => engine.world().timeline(id),
            Self::Frozen(frozen) => match frozen.index(id) {
                Some(at) => &frozen.moments[frozen.timelines[at].clone()],
                None => &[],
            },
        }
    }

    pub(super) fn process(self, pid: Pid) -> Option<&'a Process> {
        match self {
            Self::Live(engine, _) => engine.world().process(pid),
            Self::Frozen(frozen) => frozen.processes.get(&pid),
        }
    }

    /// Processes in ascending order of pid.
    pub(super) fn processes(self) -> Box<dyn Iterator<Item = &'a Process> + 'a> {
        match self {
            Self::Live(engine, _) => Box::new(engine.world().processes()),
            Self::Frozen(frozen) => Box::new(frozen.processes.values()),
        }
    }

    /// What a listener refused.
    pub(super) fn drops(self, id: SockId) -> Option<Drops> {
        match self {
            Self::Live(engine, _) => engine.world().drops(id),
            Self::Frozen(frozen) => frozen.drops.get(&id).copied(),
        }
    }

    /// The latest events, oldest first.
    pub(super) fn events(self) -> Box<dyn Iterator<Item = &'a Event> + 'a> {
        match self {
            Self::Live(engine, _) => Box::new(engine.world().events()),
            Self::Frozen(frozen) => Box::new(frozen.events.iter()),
        }
    }

    /// Listeners and all other sockets.
    pub(super) fn population(self) -> (u64, u64) {
        let in_state = &self.totals().in_state;
        let listeners = in_state[TcpState::Listen as usize];
        (listeners, in_state.iter().sum::<u64>() - listeners)
    }
}
