//! `port_exhaustion`: a client's connections to one endpoint use up the local ports.
//!
//! Each connection from one source address to one (address, port) needs a local port of its own, out
//! of `ip_local_port_range`, while it lives and for 60 s of TIME_WAIT where our side closed first. When
//! none is left, connect fails with EADDRNOTAVAIL, which shows as SYN_SENT to CLOSE of a socket that
//! never had a local port: `tcp_v4_connect` and `tcp_v6_connect` set SYN_SENT before they look for one.
//!
//! Not seen: a bind to port 0 before connect (without IP_BIND_ADDRESS_NO_PORT) that finds no port. It
//! fails in bind, with EADDRINUSE, and changes no state.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::book::{Draft, Gist, Program, Subject};
use crate::evictions::Evictions;
use crate::finding::{Confidence, Evidence, Kind, PortEvidence, Service, Severity};
use crate::input::{
    Context, Destroy, NetnsFacts, SnapshotMark, SnapshotPhase, SnapshotScope, SocketKey, Transition,
};
use crate::rules::Bench;
use crate::rules::closing::{Parties, QUIET, of, party, start};
use crate::tcp::TcpState;
use crate::units::SockId;
use crate::world::{Origin, World};

mod route;

use route::{Route, Use};

/// TCP_TIMEWAIT_LEN.
const TIME_WAIT: u64 = 60;

/// A port in TIME_WAIT is free for a new connection after a second, where `tcp_tw_reuse` allows it; from
/// Linux 6.14 on after `tcp_tw_reuse_delay` (`tcp_twsk_unique`).
const REUSE_AFTER: u64 = 1;

/// Routes followed at once, some 2 kB each; a crawler has more, and none of them is near its end.
const ROUTES: usize = 8192;

/// Routes that so few ports are used for are forgotten when there is no room: they are far from the
/// end of any range, and come back with their next connection, short of no more than these.
const NEGLIGIBLE: u64 = 16;

/// The same of the less used half of all routes, where that is not enough: of 28,232 ports, as
/// everywhere by default, a thousand are few.
const FEW: u64 = 1000;

/// Connections followed at once.
const CONNECTIONS: usize = 1 << 20;

/// Seconds of which the use is remembered, for the forecast.
const HISTORY: usize = 61;

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct PortExhaustion {
    /// The route of each, and the number of its [`Use`]: a route that was forgotten and came back has
    /// nothing to do with the connections of before.
    connections: BTreeMap<SockId, (Route, u64)>,
    routes: BTreeMap<Route, Use>,
    /// Uses begun so far.
    uses: u64,
    /// The second in which hardly any room could be made: looking at every route is not for every
    /// connection.
    in_vain: u64,
    evicted: u64,
}

impl PortExhaustion {
    /// Returns whether there is something to count.
    pub(super) fn saw_transition(&mut self, x: &Transition, world: &World) -> bool {
        match (x.from, x.to) {
            (TcpState::Close, TcpState::SynSent) => self.enter(&x.key, of(x.at), world),
            // The source address may become known only now.
            (TcpState::SynSent, TcpState::Established) => false,
            (from, TcpState::Close) => {
                let refused = from == TcpState::SynSent
                    && x.error.is_none()
                    && !x.file_released
                    && x.key.local.port.is_none()
                    && matches!(x.context, Context::Process { exiting: false, .. });
                let second = of(x.at);
                let Some(usage) = self.leave(x.key.sock, second) else {
                    return false;
                };
                if refused {
                    usage.refused.add(second, 1);
                } else if x.enters_time_wait() || x.enters_orphan_fin_wait2() {
                    usage.waiting.add(second, 1);
                }
                true
            }
            _ => false,
        }
    }

    /// A socket is gone whose last transition was lost.
    pub(super) fn saw_end(&mut self, x: &Destroy) -> bool {
        self.leave(x.key.sock, of(x.at)).is_some()
    }

    /// Counts one connection less; returns the use of its route, unless that was forgotten since.
    fn leave(&mut self, sock: SockId, second: u64) -> Option<&mut Use> {
        let (route, id) = self.connections.remove(&sock)?;
        let usage = self.routes.get_mut(&route).filter(|usage| usage.id == id)?;
        usage.change(second, -1);
        Some(usage)
    }

    /// After a snapshot, connections older than the tracer are known. Returns whether there are any.
    pub(super) fn saw_snapshot(&mut self, x: &SnapshotMark, world: &World) -> bool {
        if x.scope != SnapshotScope::Descriptors || !matches!(x.phase, SnapshotPhase::End { .. }) {
            return false;
        }
        let mut any = false;
        for socket in world.sockets() {
            let older = socket.origin == Origin::Unknown
                && !matches!(socket.state, TcpState::Close | TcpState::TimeWait)
                && matches!(world.service(socket), Service::Remote(..));
            if older && !self.connections.contains_key(&socket.key.sock) {
                any |= self.enter(&socket.key, of(x.at), world);
            }
        }
        any
    }

    fn enter(&mut self, key: &SocketKey, second: u64, world: &World) -> bool {
        let Some(route) = Route::of(key) else {
            return false;
        };
        if !self.routes.contains_key(&route) && self.routes.len() >= ROUTES {
            self.make_room(second);
        }
        let full = self.routes.len() >= ROUTES && !self.routes.contains_key(&route);
        if full || self.connections.len() >= CONNECTIONS {
            self.evicted += 1;
            return false;
        }
        self.leave(key.sock, second);
        let uses = &mut self.uses;
        let usage = self.routes.entry(route).or_insert_with(|| {
            *uses += 1;
            Use {
                id: *uses,
                parties: Parties::few(),
                ..Use::default()
            }
        });
        self.connections.insert(key.sock, (route, usage.id));
        usage.change(second, 1);
        let owner = world.socket(key.sock).and_then(|it| party(it, world));
        usage.parties.add(owner, *key);
        true
    }

    /// Forgets the routes that hardly anything uses: a host that visits thousands of remotes has many.
    fn make_room(&mut self, second: u64) {
        if self.in_vain >= second {
            return;
        }
        let ports = |usage: &Use| {
            let live = usage.live + usage.changes.iter().map(|(_, by)| by).sum::<i64>();
            u64::try_from(live).unwrap_or(0) + usage.waiting.before(second + 1, TIME_WAIT)
        };
        let mut all: Vec<u64> = self.routes.values().map(ports).collect();
        all.sort_unstable();
        let median = all.get(all.len() / 2).copied().unwrap_or(0);
        let few = median.clamp(NEGLIGIBLE, FEW);
        self.routes
            .retain(|_, usage| ports(usage) > few || usage.told.is_some());
        if self.routes.len() > ROUTES / 8 * 7 {
            self.in_vain = second;
        }
    }

    pub(super) fn take_evicted(&mut self, evictions: &mut Evictions) {
        evictions.add(
            Kind::PortExhaustion.name(),
            std::mem::take(&mut self.evicted),
        );
    }

    /// Judges at a full second; returns the next that is of interest.
    pub(super) fn second(&mut self, now: u64, bench: &mut Bench<'_>) -> Option<u64> {
        let mut next = None;
        let mut worth = Vec::new();
        let mut quiet = Vec::new();
        let mut idle = Vec::new();
        for (route, usage) in &mut self.routes {
            let level = level(route, usage, now, bench);
            if usage.history.len() >= HISTORY {
                usage.history.pop_front();
            }
            usage.history.push_back((now, level.used));
            if level.severity.is_some() {
                usage.told = Some(now);
                usage.opened.get_or_insert(now);
                worth.push(*route);
            } else if let Some(told) = usage.told
                && now.saturating_sub(told) >= QUIET
            {
                usage.told = None;
                usage.opened = None;
                quiet.extend(usage.subject.take());
            }
            // While nothing changes there is nothing to judge.
            if usage.last + TIME_WAIT + QUIET >= now {
                next = Some(now + 1);
            } else if usage.is_empty() && usage.told.is_none() {
                idle.push(*route);
            }
        }
        for route in idle {
            self.routes.remove(&route);
        }
        for route in worth {
            self.tell(&route, now, bench);
        }
        for subject in quiet {
            let shared = self
                .routes
                .values()
                .any(|usage| usage.subject.as_ref() == Some(&subject));
            if !shared {
                bench.book.resolve(&subject, bench.at);
            }
        }
        next
    }

    fn tell(&mut self, route: &Route, now: u64, bench: &mut Bench<'_>) {
        let Some(usage) = self.routes.get_mut(route) else {
            return;
        };
        let subject = usage.subject.get_or_insert_with(|| {
            let processes = usage.parties.processes(bench.world);
            Subject {
                kind: Kind::PortExhaustion,
                cause: None,
                owner: Program::of(processes.first().map(|(owner, _)| &*owner.process)),
                service: Service::Remote(route.address, route.port),
            }
        });
        let subject = subject.clone();
        // Of several source addresses the one that is nearest its end tells for all.
        let level = level(route, usage, now, bench);
        let most = self.routes.iter().all(|(other, usage)| {
            other == route
                || usage.subject.as_ref() != Some(&subject)
                || usage
                    .history
                    .back()
                    .is_none_or(|(_, used)| *used <= level.used)
        });
        let Some(severity) = level.severity.filter(|_| most) else {
            return;
        };
        let gist = gist(&level, severity);
        if bench.book.wants(&subject, gist, bench.at) {
            self.draft(&subject, route, &level, gist, bench);
        }
    }

    pub(super) fn redraft(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let now = of(bench.at);
        let found = self
            .routes
            .iter_mut()
            .filter(|(_, usage)| usage.subject.as_ref() == Some(subject))
            .map(|(route, usage)| (*route, level(route, usage, now, bench)))
            .max_by_key(|(_, level)| level.used);
        if let Some((route, level)) = found {
            let gist = gist(&level, level.severity.unwrap_or(Severity::Info));
            self.draft(subject, &route, &level, gist, bench);
        }
    }

    fn draft(
        &self,
        subject: &Subject,
        route: &Route,
        level: &Level,
        gist: Gist,
        bench: &mut Bench<'_>,
    ) {
        let Some(usage) = self.routes.get(route) else {
            return;
        };
        let facts = bench.world.netns_facts(route.netns);
        let processes = usage.parties.processes(bench.world);
        let growth = growth(&usage.history).filter(|growth| *growth > 0.0);
        let exhausted_in = level
            .available
            .zip(growth)
            .map(|(available, growth)| available.saturating_sub(level.used) as f64 / growth)
            .filter(|minutes| *minutes < 24.0 * 60.0)
            .map(|minutes| Duration::from_secs_f64(minutes * 60.0));
        let inference = match (level.refused, level.percent) {
            (1.., Some(0..50)) => Some(
                "connects found no port although few were seen in use: ports taken by bind or \
                 older than the tracer",
            ),
            _ => None,
        };
        let evidence = PortEvidence {
            source: route.source,
            live: level.live,
            time_wait: level.waiting,
            time_wait_reusable: level.reusable,
            used: level.used,
            available: level.available,
            range: facts.and_then(|f| f.local_port_first.zip(f.local_port_last)),
            reserved: facts.and_then(|f| f.local_ports_reserved),
            percent: level.percent,
            refused: level.refused,
            exhausted_in,
            tw_reuse: facts.and_then(|f| f.tcp_tw_reuse),
            timestamps: facts.and_then(|f| f.tcp_timestamps),
            inference,
        };
        let draft = Draft {
            gist,
            process: processes.first().map(|(owner, _)| owner.clone()),
            processes,
            since: start(usage.opened.unwrap_or_else(|| of(bench.at))),
            growth_per_minute: growth,
            samples: usage.parties.samples(),
            evidence: Evidence::Ports(evidence),
        };
        bench.book.enter(subject, bench.at, draft);
    }
}

/// How much of a route is used.
struct Level {
    live: u64,
    waiting: u64,
    reusable: bool,
    used: u64,
    available: Option<u64>,
    percent: Option<u64>,
    refused: u64,
    severity: Option<Severity>,
}

fn level(route: &Route, usage: &mut Use, now: u64, bench: &Bench<'_>) -> Level {
    let facts = bench.world.netns_facts(route.netns);
    let live = usage.live_at(now);
    let waiting = usage.waiting.before(now, TIME_WAIT);
    let reusable = facts.is_some_and(|facts| reuses(facts, route));
    let held = if reusable {
        let delay = facts.and_then(|facts| facts.tcp_tw_reuse_delay);
        let seconds = delay.map_or(REUSE_AFTER, |ms| u64::from(ms).div_ceil(1000));
        usage.waiting.before(now, seconds.min(TIME_WAIT))
    } else {
        waiting
    };
    let used = live + held;
    let available = facts.and_then(|facts| {
        let (first, last) = facts.local_port_first.zip(facts.local_port_last)?;
        let reserved = facts.local_ports_reserved.unwrap_or(0);
        Some(u64::from(last.saturating_sub(first) + 1).saturating_sub(reserved.into()))
    });
    let percent = available.map(|available| used * 100 / available.max(1));
    let lately = usage.refused.before(now, QUIET);
    let since = usage.opened.unwrap_or(now).saturating_sub(QUIET);
    let thresholds = &bench.settings.port_exhaustion;
    let severity = match percent {
        _ if lately > 0 => Some(Severity::Critical),
        Some(percent) if percent >= thresholds.critical_percent => Some(Severity::Critical),
        Some(percent) if percent >= thresholds.warning_percent => Some(Severity::Warning),
        Some(percent) if percent >= thresholds.info_percent => Some(Severity::Info),
        _ => None,
    };
    Level {
        live,
        waiting,
        reusable,
        used,
        available,
        percent,
        refused: usage.refused.before(now, now - since),
        severity,
    }
}

/// `tcp_tw_reuse`: 1 for all, 2 for the loopback only; both need timestamps.
fn reuses(facts: &NetnsFacts, route: &Route) -> bool {
    let allowed = match facts.tcp_tw_reuse {
        Some(1) => true,
        Some(2) => route.address.is_loopback(),
        _ => false,
    };
    allowed && facts.tcp_timestamps.is_some_and(|value| value != 0)
}

fn gist(level: &Level, severity: Severity) -> Gist {
    Gist {
        count: level.used,
        cause: None,
        severity,
        confidence: if level.refused > 0 || level.available.is_some() {
            Confidence::Exact
        } else {
            Confidence::Likely
        },
        progress: level.refused,
    }
}

/// Ports a minute, over what is remembered.
fn growth(history: &VecDeque<(u64, u64)>) -> Option<f64> {
    let (first, last) = (history.front()?, history.back()?);
    let seconds = last.0.checked_sub(first.0).filter(|it| *it > 0)?;
    Some((last.1 as f64 - first.1 as f64) * 60.0 / seconds as f64)
}
