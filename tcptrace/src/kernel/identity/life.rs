//! One life of one address: who it is, what was learnt of its tuple, what it did last.
//!
//! Stored a million times, so it is packed: ports as numbers, IPv4 addresses in place, anything else
//! (IPv6, and the two families mixed, as in a dual-stack socket before it is connected) behind a box.

use std::net::{IpAddr, Ipv4Addr};

use tcptrace_core::decode::RawKey;
use tcptrace_core::input::SocketKey;
use tcptrace_core::tcp::{Endpoint, TcpState};
use tcptrace_core::units::{MonoNs, NetnsId, Port, SockId};

#[derive(Debug)]
pub(super) struct Life {
    pub(super) id: SockId,
    /// When it began; 0 when it is older than what was seen of it.
    pub(super) born: MonoNs,
    /// Its last event.
    pub(super) at: MonoNs,
    addresses: Addresses,
    netns: NetnsId,
    local_port: u16,
    peer_port: u16,
    from: Option<TcpState>,
    /// Where the last event left it, if that is known.
    pub(super) state: Option<TcpState>,
    /// The last state change came from the understudy.
    understudy: bool,
    /// Destroyed, and kept as a tombstone while a snapshot goes on.
    pub(super) ended: bool,
}

const _: () = assert!(size_of::<Life>() <= 56);

/// Unspecified is not known.
#[derive(Debug, PartialEq, Eq)]
enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    Wide(Box<(Option<IpAddr>, Option<IpAddr>)>),
}

impl Addresses {
    fn new(local: Option<IpAddr>, peer: Option<IpAddr>) -> Self {
        match (local, peer) {
            (Some(IpAddr::V4(local)), None) => Self::V4(local, Ipv4Addr::UNSPECIFIED),
            (Some(IpAddr::V4(local)), Some(IpAddr::V4(peer))) => Self::V4(local, peer),
            (local, peer) => Self::Wide(Box::new((local, peer))),
        }
    }

    fn get(&self) -> (Option<IpAddr>, Option<IpAddr>) {
        match self {
            Self::V4(local, peer) => (
                Some(IpAddr::V4(*local)),
                (!peer.is_unspecified()).then_some(IpAddr::V4(*peer)),
            ),
            Self::Wide(both) => **both,
        }
    }
}

impl Life {
    pub(super) fn new(id: SockId, key: &RawKey, at: MonoNs) -> Self {
        Self {
            id,
            born: at,
            at,
            addresses: Addresses::new(key.local.address, key.peer.address),
            netns: key.netns,
            local_port: number(key.local.port),
            peer_port: number(key.peer.port),
            from: None,
            state: None,
            understudy: false,
            ended: false,
        }
    }

    /// The end of a life that nothing was known of.
    pub(super) fn tombstone(at: MonoNs) -> Self {
        Self {
            id: SockId(0),
            born: MonoNs(0),
            at,
            addresses: Addresses::V4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED),
            netns: NetnsId(0),
            local_port: 0,
            peer_port: 0,
            from: None,
            state: None,
            understudy: false,
            ended: true,
        }
    }

    pub(super) fn key(&self) -> SocketKey {
        let (local, peer) = self.addresses.get();
        SocketKey {
            sock: self.id,
            netns: self.netns,
            local: Endpoint {
                address: local,
                port: port(self.local_port),
            },
            peer: Endpoint {
                address: peer,
                port: port(self.peer_port),
            },
        }
    }

    /// Whether a row that shows `state` at `at` may have been read between the report of the last
    /// change and the storing of it. Nothing goes back to where it came from without a report, so
    /// the time may be long: that of a processor which a hypervisor stopped.
    pub(super) fn was_just(&self, state: TcpState, at: MonoNs) -> bool {
        const STOPPED_FOR_NS: u64 = 1_000_000_000;
        self.from == Some(state)
            && self.state != Some(state)
            && at.0.saturating_sub(self.at.0) < STOPPED_FOR_NS
    }

    /// Whether the state change was reported before, by the other of program and understudy.
    pub(super) fn repeats(&self, states: (TcpState, TcpState), understudy: bool) -> bool {
        (understudy || self.understudy)
            && self.from == Some(states.0)
            && self.state == Some(states.1)
    }

    /// Whether the record is about another socket than this life, whose end was lost. Until the
    /// peer is known, the local end is not certain either: a child has its listener's at birth.
    pub(super) fn contradicts(&self, key: &RawKey) -> bool {
        if self.netns != key.netns {
            return true;
        }
        if self.peer_port == 0 {
            return false;
        }
        let ports =
            |known: u16, told: Option<Port>| known != 0 && told.is_some_and(|told| told.0 != known);
        let addresses = |known: Option<IpAddr>, told: Option<IpAddr>| match (known, told) {
            (Some(known), Some(told)) => {
                known != told && !known.is_unspecified() && !told.is_unspecified()
            }
            _ => false,
        };
        let (local, peer) = self.addresses.get();
        ports(self.local_port, key.local.port)
            || ports(self.peer_port, key.peer.port)
            || addresses(local, key.local.address)
            || addresses(peer, key.peer.address)
    }

    /// Whether nothing has said that it is closed. A socket that failed to connect is closed, and
    /// may connect again.
    pub(super) fn is_open(&self) -> bool {
        self.state != Some(TcpState::Close)
    }

    /// Whether it lives, and carries a connection rather than listens.
    pub(super) fn is_connection(&self) -> bool {
        !self.ended
            && self
                .state
                .is_some_and(|state| !matches!(state, TcpState::Listen | TcpState::Close))
    }

    /// Whether the life cannot be in the state that a transition leaves: who listens never carries
    /// a connection, and the other way round.
    pub(super) fn cannot_leave(&self, from: TcpState) -> bool {
        self.state.is_some_and(|state| {
            (state == TcpState::Listen) != (from == TcpState::Listen)
                && state != TcpState::Close
                && from != TcpState::Close
        })
    }

    /// Takes over what the record knows, and keeps what it does not.
    pub(super) fn learn(&mut self, key: &RawKey) {
        if let Some(port) = key.local.port {
            self.local_port = port.0;
        }
        if let Some(port) = key.peer.port {
            self.peer_port = port.0;
        }
        let known = self.addresses.get();
        let merge = |known: Option<IpAddr>, told: Option<IpAddr>| match (known, told) {
            (_, Some(told)) if !told.is_unspecified() => Some(told),
            (Some(known), _) => Some(known),
            (None, told) => told,
        };
        let learnt = (
            merge(known.0, key.local.address),
            merge(known.1, key.peer.address),
        );
        if learnt != known {
            self.addresses = Addresses::new(learnt.0, learnt.1);
        }
    }

    /// Whether a change from this state follows the last one that was reported.
    pub(super) fn follows(&self, from: TcpState) -> bool {
        self.from.is_none() || self.state == Some(from)
    }

    /// A state change.
    pub(super) fn step(&mut self, states: (TcpState, TcpState), at: MonoNs, understudy: bool) {
        self.from = Some(states.0);
        self.state = Some(states.1);
        self.understudy = understudy;
        self.at = self.at.max(at);
    }

    /// Anything else that was seen of it.
    pub(super) fn touch(&mut self, at: MonoNs, state: Option<TcpState>) {
        self.at = self.at.max(at);
        if state.is_some() && state != self.state {
            self.state = state;
            self.from = None;
        }
    }
}

fn number(port: Option<Port>) -> u16 {
    port.map_or(0, |port| port.0)
}

fn port(number: u16) -> Option<Port> {
    (number != 0).then_some(Port(number))
}
