//! From the address of a `struct sock` to a [`SockId`]: the one place that knows both.
//!
//! **Why an address is not an identity.** The kernel's allocator hands a freed sock out again within
//! milliseconds: in one second the same address is a client, then a server's child, then a client.
//! So a number is given to each *life* of an address, which
//!
//! - begins at CLOSE to SYN_SENT, CLOSE to LISTEN or LISTEN to SYN_RECV, or where the socket is first
//!   seen when it is older than the tracer;
//! - ends at `tcp_destroy_sock`, or when the next one begins at the same address. The latter happens
//!   when the record of the end was lost, and when an application uses one socket for one connection
//!   after the other (connect again after a failure, listen again after shutdown). Each of these is a
//!   connection with a tuple, an age and a fate of its own, so each is a life of its own. The engine
//!   is told of either end by a `Destroy`.
//!
//! The table also remembers the tuple, because no single record has all of it: ports are chosen after
//! SYN_SENT is reported, a child has no peer at its birth up to Linux 6.14, the local port is reset
//! at CLOSE, and a destroy record carries nothing but the address.
//!
//! Invariants: addresses leave this room only towards [`super::probes::Probes::peek`]. Records are
//! taken in ring order, which is the order in which the kernel reserved them on all CPUs; times are
//! compared only with those of snapshot rows and peeks, which come beside the ring. The table is
//! bounded by [`MAX_SOCKETS`], and what it forgets is counted.

mod life;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use tcptrace_core::decode::{RawKey, RawPeek, RawRow, RawTransition, SockAddress};
use tcptrace_core::input::SocketKey;
use tcptrace_core::tcp::{Endpoint, TcpState};
use tcptrace_core::units::{MonoNs, SockId};

use self::life::Life;

/// Sockets told apart at a time: twice what the tracer promises to follow, at 64 bytes each.
const MAX_SOCKETS: usize = 2_000_000;

/// When the table is full, one in this many is forgotten at once, so that the search for the least
/// recently used, which looks at all, is paid for by many births.
const EVICT_ONE_IN: usize = 64;

/// A state is stored just after its event is reported: a peek in between sees the old one. Beyond
/// this time a difference means that an event was lost.
const STORE_WITHIN_NS: u64 = 10_000_000;

/// Every socket that lives, and during a snapshot also those that ended since it began.
#[derive(Debug)]
pub(crate) struct Identities {
    lives: FxHashMap<SockAddress, Life>,
    /// Every life in the order of its number, for the way back from number to address. Stale entries
    /// are recognised by the table and swept out when they are the majority.
    births: Vec<(SockId, SockAddress)>,
    /// Who listens, for the regular look at their queues.
    listeners: BTreeMap<SockId, SockAddress>,
    last: SockId,
    capacity: usize,
    snapshot: bool,
    evicted: u64,
    /// Lives whose end nobody reported: their address came back with another socket.
    unreported: u64,
    /// State changes that were not reported, as the next one of the same socket shows.
    gaps: u64,
}

/// What a record means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Both the program and its understudy reported this: drop it.
    Duplicate,
    /// News of a socket.
    Fact {
        /// Which, with all that is known of its tuple.
        key: SocketKey,
        /// The life that ended at this address without a record of its end.
        ended: Option<SocketKey>,
    },
}

/// What a snapshot's row means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowStep {
    /// Which socket.
    pub(crate) key: SocketKey,
    /// The life that ended at this address without a record of its end.
    pub(crate) ended: Option<SocketKey>,
    /// An event is newer than the row: this is the state since. Of the row, only who holds the
    /// socket is still true.
    pub(crate) overtaken: Option<(TcpState, MonoNs)>,
}

impl Default for Identities {
    fn default() -> Self {
        Self {
            lives: FxHashMap::default(),
            births: Vec::new(),
            listeners: BTreeMap::new(),
            last: SockId(0),
            capacity: MAX_SOCKETS,
            snapshot: false,
            evicted: 0,
            unreported: 0,
            gaps: 0,
        }
    }
}

impl Identities {
    /// A state change.
    pub(crate) fn transition(&mut self, raw: &RawTransition) -> Step {
        let states = (raw.from, raw.to);
        let birth = matches!(
            states,
            (TcpState::Close, TcpState::SynSent | TcpState::Listen)
                | (TcpState::Listen, TcpState::SynRecv)
        );
        let mut ended = None;
        let mut life = match self.lives.get_mut(&raw.key.sock) {
            Some(life) if life.ended => None,
            Some(life) if life.repeats(states, raw.understudy) => return Step::Duplicate,
            Some(life) if birth || life.contradicts(&raw.key) || life.cannot_leave(raw.from) => {
                self.unreported += u64::from(life.is_open());
                ended = Some(life.key());
                None
            }
            known => known,
        };
        if life.is_none() {
            life = Some(self.begin(&raw.key, raw.at, ended));
        }
        let life = life.expect("a life was found or begun");
        life.learn(&raw.key);
        let gap = !life.follows(raw.from);
        life.step(states, raw.at, raw.understudy);
        let key = life.key();
        self.gaps += u64::from(gap);
        if raw.to == TcpState::Listen {
            self.listeners.insert(key.sock, raw.key.sock);
        } else if raw.from == TcpState::Listen && !birth {
            self.listeners.remove(&key.sock);
        }
        Step::Fact { key, ended }
    }

    /// An event other than a state change, on a full socket that is its own subject. `state` is the
    /// socket's, where the record tells.
    pub(crate) fn event(&mut self, key: &RawKey, at: MonoNs, state: Option<TcpState>) -> Step {
        if key.sock == SockAddress(0) {
            return Self::no_socket(key);
        }
        let mut ended = None;
        let mut life = match self.lives.get_mut(&key.sock) {
            Some(life) if life.ended => None,
            Some(life) if life.contradicts(key) => {
                self.unreported += u64::from(life.is_open());
                ended = Some(life.key());
                None
            }
            known => known,
        };
        if life.is_none() {
            life = Some(self.begin(key, at, ended));
        }
        let life = life.expect("a life was found or begun");
        life.learn(key);
        life.touch(at, state);
        let key = life.key();
        Step::Fact { key, ended }
    }

    /// An event on a listener, whose record carries a client's endpoint in place of the peer's. The
    /// listener learns nothing from it.
    pub(crate) fn on_listener(&mut self, key: &RawKey, at: MonoNs) -> Step {
        if key.sock == SockAddress(0) {
            return Self::no_socket(key);
        }
        if let Some(life) = self.lives.get(&key.sock)
            && life.is_connection()
        {
            // With TCP Fast Open the child itself repeats its SYN-ACK.
            return self.event(key, at, None);
        }
        let local = Endpoint {
            address: None,
            port: key.local.port,
        };
        let own = RawKey {
            local,
            peer: Endpoint::default(),
            ..*key
        };
        match self.event(&own, at, Some(TcpState::Listen)) {
            Step::Fact { key: known, ended } => {
                self.listeners.insert(known.sock, key.sock);
                let mut local = known.local;
                local.learn(key.local);
                let key = SocketKey {
                    local,
                    peer: key.peer,
                    ..known
                };
                Step::Fact { key, ended }
            }
            Step::Duplicate => Step::Duplicate,
        }
    }

    /// A reset that belongs to no full socket.
    pub(crate) fn no_socket(key: &RawKey) -> Step {
        let key = SocketKey {
            sock: SockId(0),
            netns: key.netns,
            local: key.local,
            peer: key.peer,
        };
        Step::Fact { key, ended: None }
    }

    /// The kernel frees the socket. Nothing for one that was never told of: every TCP socket ends
    /// so, also one that was never used.
    pub(crate) fn destroy(&mut self, sock: SockAddress, at: MonoNs) -> Option<SocketKey> {
        let key = match self.lives.get_mut(&sock) {
            Some(life) if !life.ended => {
                life.ended = true;
                life.touch(at, None);
                Some(life.key())
            }
            _ => None,
        };
        if let Some(key) = &key {
            self.listeners.remove(&key.sock);
        }
        if !self.snapshot {
            self.lives.remove(&sock);
        } else if key.is_none() {
            // A row of the snapshot may still tell of a socket that is unknown here and gone.
            self.lives.insert(sock, Life::tombstone(at));
        }
        key
    }

    /// From here on ended lives are remembered, until [`Self::snapshot_ends`].
    pub(crate) fn snapshot_begins(&mut self) {
        self.snapshot = true;
    }

    /// A row of a snapshot, after all events that were reported up to the snapshot's end. Nothing
    /// when the socket it tells of is gone, or is none that is followed: an unused one, or one of the
    /// small objects in TIME_WAIT and NEW_SYN_RECV.
    pub(crate) fn row(&mut self, raw: &RawRow) -> Option<RowStep> {
        if matches!(raw.state, TcpState::TimeWait | TcpState::NewSynRecv) {
            return None;
        }
        let mut ended = None;
        match self.lives.get_mut(&raw.key.sock) {
            Some(life) if raw.at < life.born => return None,
            Some(life) if life.ended && raw.at <= life.at => return None,
            // Told before it is stored, a new state may be missing from a row read just after.
            Some(life)
                if !life.ended
                    && (raw.at < life.at
                        || life.was_just(raw.state, raw.at) && !life.contradicts(&raw.key)) =>
            {
                return Some(RowStep {
                    key: life.key(),
                    ended: None,
                    overtaken: Some((life.state.unwrap_or(raw.state), life.at)),
                });
            }
            // A listener at the address of a connection is another socket, even with its port.
            Some(life) if raw.state == TcpState::Listen && life.is_connection() => {
                ended = Some(life.key());
                self.begin(&raw.key, MonoNs(0), ended);
            }
            Some(life) if !life.ended && !life.contradicts(&raw.key) => {}
            Some(life) if !life.ended => {
                ended = Some(life.key());
                self.begin(&raw.key, MonoNs(0), ended);
            }
            // Sockets that were never used have nothing to tell.
            _ if raw.state == TcpState::Close => return None,
            _ => {
                self.begin(&raw.key, MonoNs(0), None);
            }
        }
        let life = self.lives.get_mut(&raw.key.sock)?;
        life.learn(&raw.key);
        life.touch(raw.at, Some(raw.state));
        let key = life.key();
        if raw.state == TcpState::Listen {
            self.listeners.insert(key.sock, raw.key.sock);
        }
        Some(RowStep {
            key,
            ended,
            overtaken: None,
        })
    }

    /// All rows were given.
    pub(crate) fn snapshot_ends(&mut self) {
        self.snapshot = false;
        self.lives.retain(|_, life| !life.ended);
    }

    /// An answer of the peek, after all events reported up to then: the socket's key, if the answer
    /// is about `sock` still and no event has overtaken it.
    pub(crate) fn peeked(&mut self, sock: SockId, raw: &RawPeek) -> Option<SocketKey> {
        let life = self.lives.get_mut(&raw.key.sock)?;
        let same = life.id == sock && !life.ended && !life.contradicts(&raw.key);
        let settled = life.state.is_none_or(|state| state == raw.state)
            || raw.at.0.saturating_sub(life.at.0) > STORE_WITHIN_NS;
        if !same || !settled || raw.at < life.at {
            return None;
        }
        life.learn(&raw.key);
        life.state = Some(raw.state);
        Some(life.key())
    }

    /// Where a living socket lies.
    pub(crate) fn address(&self, sock: SockId) -> Option<SockAddress> {
        let place = self
            .births
            .binary_search_by_key(&sock, |(id, _)| *id)
            .ok()?;
        let (_, address) = self.births[place];
        let life = self.lives.get(&address)?;
        (life.id == sock && !life.ended).then_some(address)
    }

    /// The living socket at an address that a row names.
    pub(crate) fn living(&self, address: SockAddress) -> Option<SockId> {
        let life = self.lives.get(&address)?;
        (!life.ended).then_some(life.id)
    }

    /// Listeners, in ascending order from the first after `after`.
    pub(crate) fn listeners_after(
        &self,
        after: SockId,
    ) -> impl Iterator<Item = (SockId, SockAddress)> {
        self.listeners
            .range(SockId(after.0 + 1)..)
            .map(|(id, address)| (*id, *address))
    }

    /// How many listen.
    pub(crate) fn listening(&self) -> usize {
        self.listeners.len()
    }

    /// The key of a living socket.
    pub(crate) fn key(&self, address: SockAddress) -> Option<SocketKey> {
        let life = self.lives.get(&address)?;
        (!life.ended).then(|| life.key())
    }

    /// Lives whose end was not reported.
    pub(crate) fn unreported(&self) -> u64 {
        self.unreported
    }

    /// State changes so far that the next one of the same socket shows to be missing.
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// How many sockets were forgotten for want of room, since the start.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Begins a life at `key.sock`, in place of what was there.
    fn begin(&mut self, key: &RawKey, at: MonoNs, ended: Option<SocketKey>) -> &mut Life {
        if let Some(ended) = ended {
            self.listeners.remove(&ended.sock);
        }
        if self.lives.len() >= self.capacity {
            self.evict();
        }
        if self.births.len() > 1024 + 2 * self.lives.len() {
            let lives = &self.lives;
            self.births
                .retain(|(id, address)| lives.get(address).is_some_and(|life| life.id == *id));
        }
        self.last = SockId(self.last.0 + 1);
        self.births.push((self.last, key.sock));
        let life = Life::new(self.last, key, at);
        self.lives.entry(key.sock).insert_entry(life).into_mut()
    }

    /// Forgets those that were silent longest.
    fn evict(&mut self) {
        let mut times: Vec<_> = self.lives.values().map(|life| life.at).collect();
        let place = times.len() / EVICT_ONE_IN;
        let (_, oldest, _) = times.select_nth_unstable(place);
        let oldest = *oldest;
        let before = self.lives.len();
        let listeners = &mut self.listeners;
        self.lives.retain(|_, life| {
            let stays = life.at > oldest;
            if !stays {
                listeners.remove(&life.id);
            }
            stays
        });
        self.evicted += (before - self.lives.len()) as u64;
    }
}
