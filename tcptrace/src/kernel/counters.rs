//! The kernel's own counters and the sysctls of every network namespace, told when they change.
//!
//! Counters are read through `/proc/TASK/net/netstat` of a task that lives in the namespace, without
//! entering it; only namespaces that nothing but a mount keeps, and sysctls, which exist from the
//! inside alone, cost a thread that enters.
//!
//! Invariant: the cost of a poll is bounded, by [`NAMESPACES_PER_POLL`] and [`DISCOVER_EVERY`]; a
//! namespace without a door is forgotten at the next poll.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use rustc_hash::FxHashSet;
use tcptrace_core::input::{Counters, Input, Loss, LossCause, NetnsFacts};
use tcptrace_core::units::{MonoNs, NetnsId, Tid};

use super::clock;
use super::netns::{self, Door};

/// How many namespaces one poll reads; more take turns. A read takes about 40 µs.
const NAMESPACES_PER_POLL: usize = 256;

/// How often all processes are looked at for new namespaces, besides when an event names one.
const DISCOVER_EVERY: Duration = Duration::from_secs(5);

/// How often sysctls are read again: people change them during an incident.
const SYSCTLS_EVERY: Duration = Duration::from_secs(30);

/// Namespaces of events for which no door was found, remembered so that they are not sought for
/// every second. Each costs 4 bytes.
const MAX_DOORLESS: usize = 4096;

/// The namespaces and what was last read in each.
#[derive(Debug, Default)]
pub(crate) struct NamespaceCounters {
    known: BTreeMap<NetnsId, Namespace>,
    discovered: Option<MonoNs>,
    /// Named by an event, with a task that was in it then, and not found yet.
    wanted: BTreeMap<NetnsId, Option<Tid>>,
    doorless: FxHashSet<NetnsId>,
    left_out: u64,
    /// Where the next poll goes on.
    turn: Option<NetnsId>,
    /// The only namespace that is wanted.
    only: Option<NetnsId>,
}

#[derive(Debug)]
struct Namespace {
    door: Door,
    counters: Option<Counters>,
    facts: Option<NetnsFacts>,
}

impl NamespaceCounters {
    /// Nothing read yet; `only` this namespace is wanted, or all.
    pub(crate) fn new(only: Option<NetnsId>) -> Self {
        Self {
            only,
            ..Self::default()
        }
    }

    /// A socket of this namespace was seen, while `task` was at work on it.
    pub(crate) fn mention(&mut self, netns: NetnsId, task: Option<Tid>) {
        if netns != NetnsId(0)
            && !self.known.contains_key(&netns)
            && !self.doorless.contains(&netns)
            && self.wanted.len() < netns::MAX_NAMESPACES
        {
            self.wanted.entry(netns).or_insert(task);
        }
    }

    /// The namespaces with a door, in ascending order.
    pub(crate) fn known(&self) -> impl Iterator<Item = NetnsId> {
        self.known.keys().copied()
    }

    /// The way into a namespace.
    pub(crate) fn door(&self, netns: NetnsId) -> Option<&Door> {
        self.known.get(&netns).map(|known| &known.door)
    }

    /// The counters of a namespace as last read, with the orphans that were counted now.
    pub(crate) fn with_orphans(&self, netns: NetnsId, orphans: u64) -> Option<Input> {
        let counters = self.known.get(&netns)?.counters?;
        Some(Input::Counters(Counters {
            at: clock::now(),
            orphan_fin_wait2: Some(orphans),
            ..counters
        }))
    }

    /// Reads what is due, and tells the sink what is new.
    pub(crate) fn poll(&mut self, now: MonoNs, sink: &mut Vec<Input>) {
        let due = self
            .discovered
            .is_none_or(|last| now.since(last) >= DISCOVER_EVERY);
        if due || !self.wanted.is_empty() {
            self.discover(now, due, sink);
        }
        let turns = self.turns();
        for netns in turns {
            if let Some(known) = self.known.get_mut(&netns)
                && known.read(netns, now, sink).is_err()
            {
                // The task has left; the next poll looks whether another one lives there.
                self.known.remove(&netns);
                self.wanted.insert(netns, None);
            }
        }
    }

    /// Finds the doors of the namespaces that are there.
    fn discover(&mut self, now: MonoNs, due: bool, sink: &mut Vec<Input>) {
        let Ok((mut found, left_out)) = netns::discover() else {
            return; // /proc is away for the moment; the known doors still do.
        };
        for (netns, task) in std::mem::take(&mut self.wanted) {
            if found.contains_key(&netns) {
                continue;
            }
            // A thread may live in another namespace than its process, where no scan sees it.
            match task.map(Door::Task).filter(|door| door.leads_to(netns)) {
                Some(door) => {
                    found.insert(netns, door);
                }
                None => {
                    if self.doorless.len() < MAX_DOORLESS {
                        self.doorless.insert(netns);
                    }
                }
            }
        }
        self.known.retain(|netns, known| {
            // The door of a thread is not found by scanning; it holds as long as it leads there.
            found.contains_key(netns) || known.door.leads_to(*netns)
        });
        for (netns, door) in found {
            if self.only.is_some_and(|only| only != netns) {
                continue;
            }
            self.doorless.remove(&netns);
            match self.known.get_mut(&netns) {
                Some(known) => known.door = door,
                None => {
                    let namespace = Namespace {
                        door,
                        counters: None,
                        facts: None,
                    };
                    self.known.insert(netns, namespace);
                }
            }
        }
        if left_out > self.left_out {
            sink.push(Input::Loss(Loss {
                cause: LossCause::Evicted,
                kind: Some("netns".into()),
                count: left_out - self.left_out,
                from: self.discovered.unwrap_or(now),
                to: now,
            }));
        }
        self.left_out = left_out;
        if due {
            self.doorless.clear();
            self.discovered = Some(now);
        }
    }

    /// The namespaces to read now: all, or as many as one poll may, going round.
    fn turns(&mut self) -> Vec<NetnsId> {
        let after = self.turn.map_or(NetnsId(0), |NetnsId(id)| NetnsId(id));
        let turns: Vec<_> = (self.known.range(after..))
            .chain(self.known.range(..after))
            .map(|(netns, _)| *netns)
            .collect();
        self.turn = turns.get(NAMESPACES_PER_POLL).copied();
        turns.into_iter().take(NAMESPACES_PER_POLL).collect()
    }
}

impl Namespace {
    fn read(&mut self, netns: NetnsId, now: MonoNs, sink: &mut Vec<Input>) -> io::Result<()> {
        let facts_due = self
            .facts
            .is_none_or(|facts| now.since(facts.at) >= SYSCTLS_EVERY);
        let (counters, facts) = match &self.door {
            Door::Task(task) if !facts_due => {
                let counters = read_counters(&format!("/proc/{}/net", task.0), netns)?;
                // The task may have moved, or its number be another's.
                if !self.door.leads_to(netns) {
                    return Err(io::Error::from(io::ErrorKind::NotFound));
                }
                (counters, None)
            }
            door => door.enter(netns, || {
                let facts = facts_due.then(|| read_facts(netns));
                read_counters("/proc/thread-self/net", netns).map(|it| (it, facts))
            })??,
        };
        if let Some(facts) = facts {
            let known = self.facts.map(|known| NetnsFacts {
                at: facts.at,
                ..known
            });
            if known != Some(facts) {
                sink.push(Input::Netns(facts));
            }
            self.facts = Some(facts);
        }
        let known = self.counters.map(|known| Counters {
            at: counters.at,
            ..known
        });
        if known != Some(counters) {
            sink.push(Input::Counters(counters));
            self.counters = Some(counters);
        }
        Ok(())
    }
}

/// The `TcpExt` counters that findings reconcile with, by name: their positions differ from kernel
/// to kernel.
pub(super) fn read_counters(directory: &str, netns: NetnsId) -> io::Result<Counters> {
    let text = fs::read_to_string(format!("{directory}/netstat"))?;
    let mut counters = parse(&text);
    let sockstat = fs::read_to_string(format!("{directory}/sockstat"))?;
    counters.tw_sockets = tw_sockets(&sockstat);
    counters.at = clock::now();
    counters.netns = netns;
    Ok(counters)
}

fn parse(text: &str) -> Counters {
    let mut counters = Counters::default();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        if !names.starts_with("TcpExt:") {
            continue;
        }
        for (name, value) in names.split(' ').zip(values.split(' ')) {
            let field = match name {
                "ListenOverflows" => &mut counters.listen_overflows,
                "ListenDrops" => &mut counters.listen_drops,
                "TCPReqQFullDrop" => &mut counters.req_q_full_drop,
                "TCPReqQFullDoCookies" => &mut counters.req_q_full_do_cookies,
                "SyncookiesSent" => &mut counters.syncookies_sent,
                "TCPBacklogDrop" => &mut counters.backlog_drop,
                "TCPTimeWaitOverflow" => &mut counters.time_wait_overflow,
                "TCPAbortOnMemory" => &mut counters.abort_on_memory,
                _ => continue,
            };
            *field = value.parse().unwrap_or(0);
        }
    }
    counters
}

/// How many are in TIME_WAIT, or are orphans in FIN_WAIT2: `TCP: inuse 5 orphan 0 tw 3 …`.
fn tw_sockets(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|it| it.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.by_ref().find(|word| *word == "tw")?;
    words.next()?.parse().ok()
}

/// The sysctls of the namespace that the calling thread is in.
fn read_facts(netns: NetnsId) -> NetnsFacts {
    let tcp = |name: &str| sysctl(&format!("/proc/sys/net/ipv4/{name}"));
    let range = local_ports();
    NetnsFacts {
        at: clock::now(),
        netns,
        somaxconn: sysctl("/proc/sys/net/core/somaxconn"),
        tcp_max_syn_backlog: tcp("tcp_max_syn_backlog"),
        tcp_syncookies: tcp("tcp_syncookies"),
        tcp_synack_retries: tcp("tcp_synack_retries"),
        tcp_syn_retries: tcp("tcp_syn_retries"),
        tcp_orphan_retries: tcp("tcp_orphan_retries"),
        tcp_retries2: tcp("tcp_retries2"),
        tcp_fin_timeout: tcp("tcp_fin_timeout"),
        tcp_abort_on_overflow: tcp("tcp_abort_on_overflow"),
        tcp_max_tw_buckets: tcp("tcp_max_tw_buckets"),
        tcp_tw_reuse: tcp("tcp_tw_reuse"),
        tcp_timestamps: tcp("tcp_timestamps"),
        tcp_max_orphans: tcp("tcp_max_orphans"),
        local_port_first: range.map(|(first, _)| first),
        local_port_last: range.map(|(_, last)| last),
        local_ports_reserved: range.and_then(reserved_ports),
        tcp_syn_linear_timeouts: tcp("tcp_syn_linear_timeouts"),
        tcp_keepalive_time: tcp("tcp_keepalive_time"),
        tcp_keepalive_intvl: tcp("tcp_keepalive_intvl"),
        tcp_keepalive_probes: tcp("tcp_keepalive_probes"),
        tcp_rto_max_ms: tcp("tcp_rto_max_ms"),
        tcp_tw_reuse_delay: tcp("tcp_tw_reuse_delay"),
    }
}

/// `ip_local_port_range`.
fn local_ports() -> Option<(u32, u32)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let (first, last) = text.trim().split_once(char::is_whitespace)?;
    Some((first.parse().ok()?, last.trim().parse().ok()?))
}

/// How many ports of the range are reserved.
fn reserved_ports(range: (u32, u32)) -> Option<u32> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").ok()?;
    Some(count_reserved(&text, range))
}

/// A bitmap printed as a list: `8080,9000-9010`.
fn count_reserved(text: &str, (first, last): (u32, u32)) -> u32 {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
            let (from, to) = (from.max(first), to.min(last));
            (from <= to).then(|| to - from + 1)
        })
        .sum()
}

fn sysctl(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::super::netns::tests::Tenant;
    use super::*;

    fn counters_of(sink: &[Input], netns: NetnsId) -> Vec<Counters> {
        sink.iter()
            .filter_map(|input| match input {
                Input::Counters(counters) if counters.netns == netns => Some(*counters),
                _ => None,
            })
            .collect()
    }

    fn facts_of(sink: &[Input], netns: NetnsId) -> Vec<NetnsFacts> {
        sink.iter()
            .filter_map(|input| match input {
                Input::Netns(facts) if facts.netns == netns => Some(*facts),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_namespace_tells_its_overflows_once_each() {
        let tenant = Tenant::new();
        let (netns, door) = (tenant.netns, tenant.door());
        let mut polled = NamespaceCounters::default();
        let mut sink = Vec::new();
        let poll = |polled: &mut NamespaceCounters, sink: &mut Vec<Input>| {
            sink.clear();
            polled.poll(clock::now(), sink);
        };
        poll(&mut polled, &mut sink);
        let first = counters_of(&sink, netns);
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].listen_overflows, 0);
        let facts = facts_of(&sink, netns);
        assert!(facts[0].somaxconn.is_some() && facts[0].tcp_syn_retries.is_some());
        let own = netns::own().unwrap();
        assert_eq!(counters_of(&sink, own).len(), 1);

        poll(&mut polled, &mut sink);
        assert_eq!(counters_of(&sink, netns), [], "nothing happened there");
        assert_eq!(facts_of(&sink, netns), []);

        // A queue for one takes two; the third connection's segments are dropped.
        let held = door
            .enter(netns, || {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                // SAFETY: a listening socket that `listener` owns; listen only sets its backlog.
                unsafe {
                    libc::listen(std::os::fd::AsRawFd::as_raw_fd(&listener), 1);
                }
                let address = listener.local_addr().unwrap();
                let clients: Vec<_> = (0..4)
                    .filter_map(|_| {
                        TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok()
                    })
                    .collect();
                (listener, clients)
            })
            .unwrap();
        poll(&mut polled, &mut sink);
        let after = counters_of(&sink, netns);
        assert_eq!(after.len(), 1);
        assert!(after[0].listen_overflows > 0 && after[0].listen_drops > 0);
        drop(held);
        drop(tenant);

        poll(&mut polled, &mut sink);
        assert!(polled.known().all(|id| id != netns), "forgotten");
    }

    #[test]
    fn sysctls_are_told_again_when_they_change() {
        let tenant = Tenant::new();
        let (netns, door) = (tenant.netns, tenant.door());
        let mut polled = NamespaceCounters::default();
        let mut sink = Vec::new();
        polled.poll(clock::now(), &mut sink);
        assert_eq!(facts_of(&sink, netns).len(), 1);
        let write = || fs::write("/proc/sys/net/core/somaxconn", "77").unwrap();
        door.enter(netns, write).unwrap();

        sink.clear();
        // A machine that has just started has no time long ago, so time goes on instead.
        polled.poll(clock::now().plus(2 * SYSCTLS_EVERY), &mut sink);
        assert_eq!(facts_of(&sink, netns)[0].somaxconn, Some(77));
    }

    #[test]
    fn a_namespace_that_an_event_names_is_found_at_once() {
        let mut polled = NamespaceCounters::default();
        let mut sink = Vec::new();
        polled.poll(clock::now(), &mut sink);
        let tenant = Tenant::new();
        // The kernel gives the number of a namespace that ended, perhaps another test's, again.
        polled.known.clear();
        sink.clear();
        polled.mention(tenant.netns, None);
        polled.mention(NetnsId(1), None);
        polled.poll(clock::now(), &mut sink);
        assert_eq!(counters_of(&sink, tenant.netns).len(), 1);
        // One that cannot be found is not sought again until the next regular look.
        polled.mention(NetnsId(1), None);
        assert!(!polled.wanted.contains_key(&NetnsId(1)));
    }

    #[test]
    fn every_namespace_has_its_turn() {
        let mut polled = NamespaceCounters::default();
        for id in 1..=600 {
            let namespace = Namespace {
                door: Door::Own,
                counters: None,
                facts: None,
            };
            polled.known.insert(NetnsId(id), namespace);
        }
        let mut seen = FxHashSet::default();
        for _ in 0..3 {
            let turns = polled.turns();
            assert!(turns.len() <= NAMESPACES_PER_POLL);
            seen.extend(turns);
        }
        assert_eq!(seen.len(), 600);
    }

    #[test]
    fn sockets_in_time_wait_and_reserved_ports_are_counted() {
        let text =
            "sockets: used 5\nTCP: inuse 5 orphan 0 tw 37 alloc 9 mem 1\nUDP: inuse 2 mem 0\n";
        assert_eq!(tw_sockets(text), Some(37));
        assert_eq!(tw_sockets("TCP: inuse 5"), None);
        assert_eq!(count_reserved("\n", (32_768, 60_999)), 0);
        assert_eq!(
            count_reserved("80,40000,50000-50009,60990-61010\n", (32_768, 60_999)),
            21
        );
    }

    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: A ListenDrops ListenOverflows\nTcpExt: 1 2 3\nIpExt: B\nIpExt: 9\n";
        let counters = parse(text);
        assert_eq!((counters.listen_drops, counters.listen_overflows), (2, 3));
        assert_eq!(parse(""), Counters::default());
    }
}
