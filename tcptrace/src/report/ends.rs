//! Both ends of a connection, recorded on two hosts: which segment was lost, which neither host can
//! tell alone. A FIN that is sent again may have been lost, or its acknowledgement may have been; only
//! the other host knows whether it arrived.
//!
//! Connections meet by their endpoints and by time; the clocks of the hosts are compared by the
//! connections that went well.
//!
//! Invariants: memory is bounded, connections without trouble go first; a verdict is no surer than
//! the clocks and the recordings.

mod clocks;
mod join;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use serde::Serialize;
use tcptrace_core::Input;
use tcptrace_core::input::{DropOutcome, Queue, ResetDirection, SocketKey, Transition};
use tcptrace_core::tcp::{Endpoint, TcpState};
use tcptrace_core::units::{MonoNs, SockId};

use super::gather::HostReport;
use super::units;
use clocks::Clocks;
use join::{Pair, join};
pub(crate) use verdict::Verdict;

/// Connections kept of one host, 300 bytes each.
const CONNECTIONS: usize = 200_000;
/// Verdicts that are shown one by one.
const VERDICTS: usize = 500;
/// Addresses and listening ports kept of one host.
const ADDRESSES: usize = 65_536;

/// A connection as one host saw it. Instants are its own wall clock's, in ns.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    pub(super) local: Endpoint,
    pub(super) peer: Endpoint,
    pub(super) active: bool,
    pub(super) first: i128,
    pub(super) last: i128,
    pub(super) syn_sent: Option<i128>,
    pub(super) established: Option<i128>,
    /// The peer's FIN arrived.
    pub(super) fin_arrived: Option<i128>,
    /// Our FIN was sent, first.
    pub(super) fin_sent: Option<i128>,
    /// The peer had acknowledged it.
    pub(super) fin_acked: Option<i128>,
    /// Ours was the first.
    pub(super) closed_first: bool,
    pub(super) closed: Option<i128>,
    /// Closed by its process before the peer's FIN came: the kernel went on with a small object,
    /// which reports nothing more.
    pub(super) orphaned: bool,
    pub(super) syn_repeats: u32,
    pub(super) fin_repeats: u32,
    pub(super) first_fin_repeat: Option<i128>,
    pub(super) data_repeats: u32,
    /// The socket of the peer's SYN-ACKs, seen by the listener.
    pub(super) reset_sent: bool,
    pub(super) reset_received: bool,
    pub(super) error: Option<u16>,
}

impl Side {
    fn troubled(&self) -> bool {
        self.syn_repeats + self.fin_repeats + self.data_repeats > 0
            || self.error.is_some()
            || self.reset_received
    }
}

/// Where a host can be reached, as far as its recording shows.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Local addresses of connections and listeners.
    own: BTreeSet<IpAddr>,
    /// Ports of listeners on every address.
    anywhere: BTreeSet<u16>,
}

/// Whether an address is a host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belongs {
    Surely,
    /// It listens on that port on every address, and none of its addresses is known.
    Perhaps,
    No,
}

impl Addresses {
    fn learn(&mut self, local: Endpoint) {
        let Some(address) = local.address else { return };
        if !address.is_unspecified() {
            if self.own.len() < ADDRESSES {
                self.own.insert(address);
            }
        } else if let Some(port) = local.port {
            self.anywhere.insert(port.0);
        }
    }

    pub(super) fn belongs(&self, end: Endpoint) -> Belongs {
        let Some(address) = end.address else {
            return Belongs::No;
        };
        if self.own.contains(&address) {
            Belongs::Surely
        } else if end.port.is_some_and(|port| self.anywhere.contains(&port.0))
            && self.own.iter().all(IpAddr::is_loopback)
        {
            Belongs::Perhaps
        } else {
            Belongs::No
        }
    }
}

/// What a listener saw of a client that had no socket yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Handshake {
    pub(super) synack_repeats: u32,
    /// The client had answered: the accept queue was full.
    pub(super) answered: bool,
    /// Segments that met a full accept queue, and SYNs that met a full SYN queue.
    pub(super) accept_drops: u32,
    pub(super) syn_drops: u32,
    /// SYNs that were answered with a cookie, which is sent once and remembered by nobody.
    pub(super) cookies: u32,
}

/// What a host's kernel counted in a second or so, for all of its listeners together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) at: i128,
    /// Segments that met a full accept queue.
    pub(super) overflows: u64,
    /// SYNs that were answered with a cookie.
    pub(super) cookies: u64,
}

/// What one recording tells of its connections.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    sides: BTreeMap<SockId, Side>,
    order: VecDeque<SockId>,
    handshakes: BTreeMap<(Endpoint, Endpoint), Handshake>,
    addresses: Addresses,
    evicted: u64,
    counted: Vec<Counted>,
    last_counted: BTreeMap<u32, (u64, u64)>,
    /// Looks at listeners whose accept queue was full; the others have no times.
    full: BTreeMap<Endpoint, Vec<i128>>,
}

impl Ends {
    /// Takes in a fact; `offset` is the wall clock minus the monotonic one.
    pub(super) fn input(&mut self, input: &Input, offset: i128) {
        let wall = |at: MonoNs| i128::from(at.0) + offset;
        // A listener may be older than the recording, and stand in the snapshot alone.
        if let Some(key) = input.key() {
            self.addresses.learn(key.local);
        }
        match input {
            Input::Transition(x) if x.key.sock != SockId(0) => self.transition(x, wall(x.at)),
            Input::Retransmit(x) => {
                let at = wall(x.at);
                let Some(side) = self.side(&x.key, at) else {
                    return;
                };
                side.last = at;
                if x.syn {
                    side.syn_repeats += 1;
                } else if x.fin {
                    side.fin_repeats += 1;
                    side.first_fin_repeat.get_or_insert(at);
                } else {
                    side.data_repeats += 1;
                }
            }
            Input::SynackRetransmit(x) => {
                let handshake = self.handshake(&x.key);
                handshake.synack_repeats += 1;
                handshake.answered |= x.acked && !x.defer_accept;
            }
            Input::QueueDrop(x) => {
                let handshake = self.handshake(&x.key);
                match (x.outcome, x.queue) {
                    (DropOutcome::Cookie, _) => handshake.cookies += 1,
                    (DropOutcome::Dropped, Queue::Accept) => handshake.accept_drops += 1,
                    (DropOutcome::Dropped, Queue::Syn) => handshake.syn_drops += 1,
                }
            }
            Input::Listener(x) if self.full.len() < ADDRESSES => {
                let looks = self.full.entry(x.key.local).or_default();
                if x.accept.depth > x.accept.limit && looks.len() < ADDRESSES {
                    looks.push(wall(x.at));
                }
            }
            Input::Reset(x) => {
                let at = wall(x.at);
                if let Some(side) = self.side(&x.key, at) {
                    match x.direction {
                        ResetDirection::Sent => side.reset_sent = true,
                        ResetDirection::Received => side.reset_received = true,
                    }
                }
            }
            Input::Counters(x) => {
                let now = (x.listen_overflows, x.req_q_full_do_cookies);
                let before = self.last_counted.insert(x.netns.0, now).unwrap_or(now);
                let counted = Counted {
                    at: wall(x.at),
                    overflows: now.0.saturating_sub(before.0),
                    cookies: now.1.saturating_sub(before.1),
                };
                if counted.overflows + counted.cookies > 0 && self.counted.len() < CONNECTIONS {
                    self.counted.push(counted);
                }
            }
            _ => {}
        }
    }

    fn transition(&mut self, x: &Transition, at: i128) {
        let Some(side) = self.side(&x.key, at) else {
            return;
        };
        side.last = at;
        side.error = side.error.or(x.error);
        match (x.from, x.to) {
            (TcpState::Close, TcpState::SynSent) => {
                side.active = true;
                side.syn_sent = Some(at);
            }
            (_, TcpState::Established) => side.established = Some(at),
            (_, TcpState::CloseWait) => side.fin_arrived = Some(at),
            (TcpState::Established | TcpState::SynRecv, TcpState::FinWait1) => {
                side.closed_first = true;
                side.fin_sent = Some(at);
            }
            (TcpState::CloseWait, TcpState::LastAck) => side.fin_sent = Some(at),
            (TcpState::FinWait1, TcpState::Closing) => side.fin_arrived = Some(at),
            _ => {}
        }
        // A reset ends these states too, and acknowledges nothing.
        let acked = match x.from {
            TcpState::FinWait1 => x.to == TcpState::FinWait2 || x.enters_time_wait(),
            TcpState::Closing | TcpState::LastAck => x.to == TcpState::Close,
            _ => false,
        };
        if acked && x.error.is_none() && !side.reset_received {
            side.fin_acked.get_or_insert(at);
        }
        // FIN with ACK straight from FIN_WAIT1, or the second FIN.
        if x.to == TcpState::Close {
            if x.enters_time_wait() {
                side.fin_arrived.get_or_insert(at);
            }
            side.orphaned = x.enters_orphan_fin_wait2();
            side.closed = Some(at);
        }
    }

    fn side(&mut self, key: &SocketKey, at: i128) -> Option<&mut Side> {
        if key.sock == SockId(0) {
            return None;
        }
        if !self.sides.contains_key(&key.sock) {
            while self.sides.len() >= CONNECTIONS
                && let Some(oldest) = self.order.pop_front()
            {
                // Once round: what is in trouble stays longer.
                if self.sides.get(&oldest).is_some_and(Side::troubled)
                    && self.order.len() > CONNECTIONS / 2
                {
                    self.order.push_back(oldest);
                    if self.sides.values().take(64).all(Side::troubled) {
                        self.sides.remove(&oldest);
                        self.evicted += 1;
                    }
                    continue;
                }
                self.evicted += u64::from(self.sides.remove(&oldest).is_some());
            }
            self.order.push_back(key.sock);
        }
        let side = self.sides.entry(key.sock).or_insert_with(|| Side {
            first: at,
            last: at,
            ..Side::default()
        });
        side.local.learn(key.local);
        side.peer.learn(key.peer);
        Some(side)
    }

    fn handshake(&mut self, key: &SocketKey) -> &mut Handshake {
        if self.handshakes.len() >= CONNECTIONS
            && !self.handshakes.contains_key(&(key.local, key.peer))
        {
            self.handshakes.pop_first();
            self.evicted += 1;
        }
        self.handshakes.entry((key.local, key.peer)).or_default()
    }
}

/// What two recordings tell together.
#[derive(Debug, Serialize)]
pub(crate) struct Meeting {
    /// The hosts' names.
    pub(crate) hosts: [String; 2],
    /// Connections that both saw.
    pub(crate) joined: u64,
    /// The second host's wall clock minus the first's, and how far it may be off.
    pub(crate) clocks: Clocks,
    pub(crate) verdicts: Vec<Verdict>,
    /// Verdicts that did not fit.
    pub(crate) left_out: u64,
    /// Connections that did not fit, of both hosts.
    pub(crate) evicted: u64,
}

impl Meeting {
    /// Joins two recordings; nothing when either was not collected for it.
    pub(crate) fn of(hosts: &[HostReport]) -> Option<Self> {
        let [a, b] = hosts else { return None };
        let (ends_a, ends_b) = (a.ends.as_ref()?, b.ends.as_ref()?);
        let same_boot = !a.host.boot_id.is_empty() && a.host.boot_id == b.host.boot_id;
        let pairs = join(ends_a, ends_b, same_boot);
        let clocks = Clocks::compare(&pairs, same_boot);
        let names = [a.host.name.clone(), b.host.name.clone()];
        let sure = a.totals.lost == 0 && b.totals.lost == 0;
        let mut verdicts = verdict::all(ends_a, ends_b, &pairs, &clocks, &names, sure);
        let left_out = verdicts.len().saturating_sub(VERDICTS) as u64;
        verdicts.truncate(VERDICTS);
        // Two recordings of one host, one after the other, have no two ends.
        let both = pairs.iter().any(|(a, b)| a.is_some() && b.is_some());
        if same_boot && !both && verdicts.is_empty() {
            return None;
        }
        Some(Self {
            hosts: names,
            joined: pairs
                .iter()
                .filter(|(a, b)| a.is_some() && b.is_some())
                .count() as u64,
            clocks,
            verdicts,
            left_out,
            evicted: ends_a.evicted + ends_b.evicted,
        })
    }

    /// For the story.
    pub(super) fn sentences(&self) -> Vec<String> {
        let [a, b] = &self.hosts;
        if self.joined == 0 && self.verdicts.is_empty() {
            return vec![format!(
                "No connection between {a} and {b} is in both recordings: address translation \
                 between them hides it, or they did not talk."
            )];
        }
        let mut sentences = vec![format!(
            "{} seen from both ends, {a} and {b}; {}.",
            units::many(self.joined, "connection was", "connections were"),
            self.clocks
        )];
        let mut by_segment: BTreeMap<&str, u64> = BTreeMap::new();
        for verdict in &self.verdicts {
            *by_segment.entry(verdict.segment).or_default() += 1;
        }
        for (segment, count) in by_segment {
            if let Some(first) = self.verdicts.iter().find(|v| v.segment == segment) {
                let more = match count {
                    1 => String::new(),
                    n => format!(" ({} such connections in all)", n),
                };
                sentences.push(format!("{}{more}.", first.sentence));
            }
        }
        sentences
    }

    /// Every text that may hold a name or an address.
    pub(super) fn each_text(&mut self, each: &mut impl FnMut(&mut String)) {
        self.hosts.iter_mut().for_each(&mut *each);
        for verdict in &mut self.verdicts {
            each(&mut verdict.connection);
            each(&mut verdict.from);
            each(&mut verdict.to);
            each(&mut verdict.sentence);
        }
    }
}
