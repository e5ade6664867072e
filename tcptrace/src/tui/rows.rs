//! The order of many sockets, without sorting them all.
//!
//! A list of 100,000 connections shows thirty. Each socket becomes a small key; what stands on the
//! screen is found by selection, which is linear in the number of rows, and only those rows are
//! sorted and, elsewhere, formatted.

use std::net::IpAddr;

use tcptrace_core::tcp::{Endpoint, TcpState};
use tcptrace_core::units::SockId;
use tcptrace_core::world::Socket;

/// What connections can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    State,
    Age,
    Process,
    Local,
    Peer,
    Unread,
    Retransmits,
    Netns,
}

impl Column {
    /// In the order in which they stand on the screen and `s` walks through them.
    pub(super) const ALL: [Self; 8] = [
        Self::State,
        Self::Age,
        Self::Process,
        Self::Local,
        Self::Peer,
        Self::Unread,
        Self::Retransmits,
        Self::Netns,
    ];

    pub(super) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|column| *column == self);
        Self::ALL[at.map_or(0, |at| (at + 1) % Self::ALL.len())]
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::State => "STATE",
            Self::Age => "AGE",
            Self::Process => "PROCESS",
            Self::Local => "LOCAL",
            Self::Peer => "PEER",
            Self::Unread => "UNREAD",
            Self::Retransmits => "RETX",
            Self::Netns => "NETNS",
        }
    }

    /// A number whose ascending order puts first what one would look for first: trouble, the
    /// oldest, the most.
    fn key(self, socket: &Socket) -> (u128, u64) {
        match self {
            Self::State => (trouble(socket.state).into(), socket.since.0),
            Self::Age => (socket.since.0.into(), 0),
            Self::Process => match &socket.owner {
                Some(owner) => (text_key(&owner.process.name), owner.process.pid.0.into()),
                None => (u128::MAX, 0),
            },
            Self::Local => endpoint_key(socket.local()),
            Self::Peer => endpoint_key(socket.peer()),
            Self::Unread => (most_first(socket.unread.map(u64::from)), socket.since.0),
            Self::Retransmits => {
                let retransmits = u64::from(socket.retransmits);
                (most_first(Some(retransmits)), socket.since.0)
            }
            Self::Netns => (socket.netns().0.into(), socket.since.0),
        }
    }
}

/// How much a state calls for a look: the least first.
fn trouble(state: TcpState) -> u8 {
    match state {
        TcpState::CloseWait => 0,
        TcpState::LastAck => 1,
        TcpState::Closing => 2,
        TcpState::FinWait1 => 3,
        TcpState::SynSent => 4,
        TcpState::SynRecv | TcpState::NewSynRecv => 5,
        TcpState::FinWait2 => 6,
        TcpState::Established => 7,
        TcpState::TimeWait => 8,
        TcpState::Close => 9,
        TcpState::Listen => 10,
    }
}

/// The first 16 bytes, which hold a whole `comm`.
fn text_key(text: &str) -> u128 {
    let mut bytes = [0; 16];
    for (byte, from) in bytes.iter_mut().zip(text.bytes()) {
        *byte = from.to_ascii_lowercase();
    }
    u128::from_be_bytes(bytes)
}

fn endpoint_key(endpoint: Endpoint) -> (u128, u64) {
    let address = match endpoint.address {
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped().to_bits(),
        Some(IpAddr::V6(address)) => address.to_bits(),
        None => u128::MAX,
    };
    (
        address,
        endpoint.port.map_or(u64::MAX, |port| port.0.into()),
    )
}

fn most_first(number: Option<u64>) -> u128 {
    number.map_or(u128::MAX, |number| u128::from(u64::MAX - number))
}

/// By what, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: Column,
    pub(super) reversed: bool,
}

/// The sockets of a list, in an order that is worked out where it is looked at.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
}

/// The derived order is the list's: by key, then by id, so that equals never swap places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    key: (u128, u64),
    id: SockId,
}

impl Rows {
    /// Takes the sockets to show; keeps the memory of the last time.
    pub(super) fn fill<'a>(&mut self, sockets: impl Iterator<Item = &'a Socket>, sort: Sort) {
        self.rows.clear();
        self.rows.extend(sockets.map(|socket| {
            let (major, minor) = sort.column.key(socket);
            let key = if sort.reversed {
                (!major, !minor)
            } else {
                (major, minor)
            };
            Row {
                key,
                id: socket.key.sock,
            }
        }));
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Where `id` stands.
    pub(super) fn position(&self, id: SockId) -> Option<usize> {
        let row = self.rows.iter().find(|row| row.id == id)?;
        Some(self.rows.iter().filter(|other| *other < row).count())
    }

    /// Who stands at `position`.
    pub(super) fn at(&mut self, position: usize) -> Option<SockId> {
        if position >= self.rows.len() {
            return None;
        }
        Some(self.rows.select_nth_unstable(position).1.id)
    }

    /// `count` ids from `top` on, in order.
    pub(super) fn window(&mut self, top: usize, count: usize) -> impl Iterator<Item = SockId> {
        if top < self.rows.len() {
            self.rows.select_nth_unstable(top);
        }
        let rest = self.rows.get_mut(top..).unwrap_or_default();
        if count < rest.len() {
            rest.select_nth_unstable(count);
        }
        let count = count.min(rest.len());
        let window = &mut rest[..count];
        window.sort_unstable();
        window.iter().map(|row| row.id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture;
    use super::*;

    #[test]
    fn trouble_comes_first_and_the_oldest_of_it() {
        let mut sockets = Vec::new();
        for (id, state, since) in [
            (1, TcpState::Established, 10),
            (2, TcpState::CloseWait, 30),
            (3, TcpState::TimeWait, 5),
            (4, TcpState::CloseWait, 20),
        ] {
            let mut socket = fixture::connection();
            socket.key.sock = SockId(id);
            socket.state = state;
            socket.since.0 = since;
            sockets.push(socket);
        }
        let mut rows = Rows::default();
        let mut sort = Sort {
            column: Column::State,
            reversed: false,
        };
        rows.fill(sockets.iter(), sort);
        assert_eq!(
            rows.window(0, 9).map(|id| id.0).collect::<Vec<_>>(),
            [4, 2, 1, 3]
        );
        sort.reversed = true;
        rows.fill(sockets.iter(), sort);
        assert_eq!(
            rows.window(0, 9).map(|id| id.0).collect::<Vec<_>>(),
            [3, 1, 2, 4]
        );
        assert_eq!(rows.window(9, 9).count(), 0);
    }

    proptest! {
        #[test]
        fn selection_agrees_with_sorting(
            keys in prop::collection::vec(0..50_u64, 1..200),
            top in 0..200_usize,
            count in 0..50_usize,
        ) {
            let mut rows = Rows {
                rows: keys
                    .iter()
                    .enumerate()
                    .map(|(id, key)| Row { key: (0, *key), id: SockId(id as u64) })
                    .collect(),
            };
            let mut sorted = rows.rows.clone();
            sorted.sort_unstable();
            let expected: Vec<_> = sorted.iter().skip(top).take(count).map(|row| row.id).collect();
            prop_assert_eq!(rows.window(top, count).collect::<Vec<_>>(), expected);
            for (position, row) in sorted.iter().enumerate() {
                prop_assert_eq!(rows.position(row.id), Some(position));
                prop_assert_eq!(rows.at(position), Some(row.id));
            }
        }
    }
}
