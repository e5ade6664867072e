//! The list of connections.

use std::net::IpAddr;

use tcptrace_core::tcp::{Endpoint, TcpState};
use tcptrace_core::units::SockId;
use tcptrace_core::world::Socket;

use super::export::Exported;
use super::fit;
use super::list::{Cell, Sieve, Subject};
use super::names;
use super::quantity;
use super::rows::Rank;
use super::screen::{Scene, Screen};
use super::sight::Sight;

/// Every socket that does not listen.
#[derive(Debug, Default)]
pub(super) struct Connections;

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
    fn rank(self, socket: &Socket) -> Rank {
        match self {
            Self::State => (trouble(socket.state).into(), socket.since.0),
            Self::Age => (socket.since.0.into(), 0),
            Self::Process => process_rank(socket),
            Self::Local => endpoint_rank(socket.local()),
            Self::Peer => endpoint_rank(socket.peer()),
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

/// By the name of the owner, then by pid; who is not known comes last.
pub(super) fn process_rank(socket: &Socket) -> Rank {
    match &socket.owner {
        Some(owner) => (text_rank(&owner.process.name), owner.process.pid.0.into()),
        None => (u128::MAX, 0),
    }
}

/// The first 16 bytes, which hold a whole `comm`.
pub(super) fn text_rank(text: &str) -> u128 {
    let mut bytes = [0; 16];
    for (byte, from) in bytes.iter_mut().zip(text.bytes()) {
        *byte = from.to_ascii_lowercase();
    }
    u128::from_be_bytes(bytes)
}

pub(super) fn endpoint_rank(endpoint: Endpoint) -> Rank {
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

pub(super) fn most_first(number: Option<u64>) -> u128 {
    number.map_or(u128::MAX, |number| u128::from(u64::MAX - number))
}

impl Subject for Connections {
    type Id = SockId;
    type Column = Column;
    const NAME: &'static str = "Connections";
    const NONE: &'static str = "No connection.";
    const COLUMNS: &'static [Column] = &[
        Column::State,
        Column::Age,
        Column::Process,
        Column::Local,
        Column::Peer,
        Column::Unread,
        Column::Retransmits,
        Column::Netns,
    ];

    fn title(column: Column) -> (&'static str, bool) {
        match column {
            Column::State => ("STATE", false),
            Column::Age => ("AGE", true),
            Column::Process => ("PROCESS", false),
            Column::Local => ("LOCAL", false),
            Column::Peer => ("PEER", false),
            Column::Unread => ("UNREAD", true),
            Column::Retransmits => ("RETX", true),
            Column::Netns => ("NETNS", false),
        }
    }

    /// 80 cells show what one cannot do without; what is beyond goes to more columns, then to
    /// names and addresses.
    fn fitting(cells: usize) -> Vec<(Column, usize)> {
        let mut columns = vec![
            (Column::State, 11),
            (Column::Age, 7),
            (Column::Process, 16),
            (Column::Local, 20),
            (Column::Peer, 20),
        ];
        for (column, width) in [
            (Column::Unread, 7),
            (Column::Retransmits, 5),
            (Column::Netns, 10),
        ] {
            if fit::columns(&columns) + width < cells {
                columns.push((column, width));
            }
        }
        // One more cell makes room for any IPv4 endpoint; 24 for any process; 47 for any IPv6 one.
        let wishes = [
            (Column::Local, 21),
            (Column::Peer, 21),
            (Column::Process, 24),
            (Column::Peer, 47),
            (Column::Local, 47),
        ];
        fit::widen(&mut columns, cells, &wishes);
        columns
    }

    fn rank(
        &mut self,
        sight: Sight<'_>,
        sieve: &Sieve<'_>,
        column: Column,
        rows: &mut Vec<(Rank, SockId)>,
    ) {
        let shown = sight
            .sockets()
            .filter(|socket| socket.state != TcpState::Listen && sieve.passes(socket, sight));
        rows.extend(shown.map(|socket| (column.rank(socket), socket.key.sock)));
    }

    fn cells(
        &self,
        id: SockId,
        columns: &[(Column, usize)],
        scene: Scene<'_>,
    ) -> Option<Vec<Cell>> {
        let Scene { sight, theme, .. } = scene;
        let socket = sight.socket(id)?;
        let cell = |(column, cells): &(Column, usize)| {
            let cells = *cells;
            match column {
                Column::State => (
                    fit::left(socket.state.name(), cells, theme),
                    theme.state(socket.state),
                ),
                Column::Age => (
                    fit::right(&names::state_age(socket, sight), cells, theme),
                    theme.plain(),
                ),
                Column::Process => (
                    names::owner_column(socket.owner.as_ref(), cells, sight, theme),
                    theme.plain(),
                ),
                Column::Local => (fit::endpoint(socket.local(), cells, theme), theme.plain()),
                Column::Peer => (fit::endpoint(socket.peer(), cells, theme), theme.plain()),
                Column::Unread => {
                    let unread = socket.unread.map(|bytes| quantity::count(bytes.into()));
                    let text = unread.unwrap_or_else(|| "-".to_owned());
                    (fit::right(&text, cells, theme), theme.plain())
                }
                Column::Retransmits => {
                    let text = quantity::count(socket.retransmits.into());
                    (fit::right(&text, cells, theme), theme.plain())
                }
                Column::Netns => (
                    fit::left(&socket.netns().0.to_string(), cells, theme),
                    theme.quiet(),
                ),
            }
        };
        Some(columns.iter().map(cell).collect())
    }

    fn open(&self, id: SockId, _: Sight<'_>) -> Option<Screen> {
        Some(Screen::Connection(id))
    }

    fn export(&self, id: SockId, sight: Sight<'_>) -> Option<Exported> {
        let socket = sight.socket(id)?;
        Some(Exported::Connection(Box::new(socket.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::rows::Rows;
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
        let order = |reversed| {
            let mut rows = Rows::default();
            let ranked = sockets
                .iter()
                .map(|socket| (Column::State.rank(socket), socket.key.sock));
            rows.fill(ranked, reversed);
            rows.window(0, 9).map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(order(false), [4, 2, 1, 3]);
        assert_eq!(order(true), [3, 1, 2, 4]);
    }

    #[test]
    fn eighty_cells_hold_the_columns_and_more_cells_more_of_them() {
        for (cells, count) in [(80, 5), (120, 8), (200, 8)] {
            let columns = Connections::fitting(cells);
            assert_eq!(columns.len(), count);
            assert!(fit::columns(&columns) <= cells);
        }
    }
}
