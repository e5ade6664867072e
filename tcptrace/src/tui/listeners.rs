//! The list of listeners: how full their queues are, what they refused, and whether anybody accepts.

use tcptrace_core::input::QueueLevel;
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::SockId;
use tcptrace_core::world::Socket;

use super::connections::{most_first, process_rank};
use super::export::Exported;
use super::fit;
use super::list::{Cell, Sieve, Subject};
use super::names;
use super::quantity;
use super::rows::Rank;
use super::screen::{Scene, Screen};
use super::sight::Sight;
use super::theme::Theme;

/// Every socket that listens.
#[derive(Debug, Default)]
pub(super) struct Listeners;

/// What listeners can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Accept,
    Syn,
    DropRate,
    Drops,
    Local,
    Process,
    LastAccept,
    Netns,
}

/// How full a queue is: 1 at its limit.
pub(super) fn share(queue: QueueLevel) -> f64 {
    f64::from(queue.depth) / f64::from(queue.limit.max(1))
}

/// The SYN queue, whose limit is the accept queue's.
pub(super) fn syn_queue(socket: &Socket) -> Option<QueueLevel> {
    Some(QueueLevel {
        depth: socket.syn_depth?,
        limit: socket.accept_queue?.limit,
    })
}

/// Fullest first.
fn fullness_rank(queue: Option<QueueLevel>) -> u128 {
    // In millionths, so that one of 4096 is told from none.
    most_first(queue.map(|queue| (share(queue) * 1e6) as u64 + u64::from(queue.depth > 0)))
}

impl Column {
    fn rank(self, socket: &Socket, sight: Sight<'_>) -> Rank {
        let local = socket.local();
        let port = local.port.map_or(u64::MAX, |port| port.0.into());
        let drops = sight.drops(socket.key.sock);
        match self {
            Self::Accept => (fullness_rank(socket.accept_queue), port),
            Self::Syn => (fullness_rank(syn_queue(socket)), port),
            Self::DropRate => (
                most_first(drops.map(|drops| (drops.per_second * 1000.0) as u64)),
                port,
            ),
            Self::Drops => (most_first(drops.map(|drops| drops.total)), port),
            Self::Local => (port.into(), 0),
            Self::Process => process_rank(socket),
            Self::LastAccept => (most_first(socket.last_accept().map(|(at, _)| at.0)), port),
            Self::Netns => (socket.netns().0.into(), port),
        }
    }
}

impl Subject for Listeners {
    type Id = SockId;
    type Column = Column;
    const NAME: &'static str = "Listeners";
    const NONE: &'static str = "Nobody listens.";
    const COLUMNS: &'static [Column] = &[
        Column::Accept,
        Column::Syn,
        Column::DropRate,
        Column::Drops,
        Column::LastAccept,
        Column::Local,
        Column::Process,
        Column::Netns,
    ];

    fn title(column: Column) -> (&'static str, bool) {
        match column {
            Column::Accept => ("ACCEPT QUEUE", false),
            Column::Syn => ("SYN QUEUE", false),
            Column::DropRate => ("DROPS/S", true),
            Column::Drops => ("DROPS", true),
            Column::Local => ("LOCAL", false),
            Column::Process => ("PROCESS", false),
            Column::LastAccept => ("ACCEPTED", true),
            Column::Netns => ("NETNS", false),
        }
    }

    fn fitting(cells: usize) -> Vec<(Column, usize)> {
        let mut columns = vec![
            (Column::Local, 15),
            (Column::Process, 13),
            (Column::Accept, 14),
            (Column::Syn, 14),
            (Column::DropRate, 8),
        ];
        // Cut where 80 cells are all there is.
        columns.push((Column::LastAccept, 9));
        for (column, width) in [(Column::Drops, 8), (Column::Netns, 10)] {
            if fit::columns(&columns) + width < cells {
                columns.push((column, width));
            }
        }
        let wishes = [
            (Column::Local, 21),
            (Column::Process, 24),
            (Column::Accept, 24),
            (Column::Syn, 24),
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
            .filter(|socket| socket.state == TcpState::Listen && sieve.passes(socket, sight));
        rows.extend(shown.map(|socket| (column.rank(socket, sight), socket.key.sock)));
    }

    fn cells(
        &self,
        id: SockId,
        columns: &[(Column, usize)],
        scene: Scene<'_>,
    ) -> Option<Vec<Cell>> {
        let Scene { sight, theme, .. } = scene;
        let socket = sight.socket(id)?;
        let drops = sight.drops(id);
        let cell = |(column, cells): &(Column, usize)| {
            let cells = *cells;
            match column {
                Column::Local => (fit::endpoint(socket.local(), cells, theme), theme.plain()),
                Column::Process => (
                    names::owner_column(socket.owner.as_ref(), cells, sight, theme),
                    theme.plain(),
                ),
                Column::Accept => gauge(socket.accept_queue, cells, theme),
                Column::Syn => gauge(syn_queue(socket), cells, theme),
                Column::DropRate => {
                    let rate = drops.map(|drops| drops.per_second);
                    let text = rate.map_or_else(|| "-".to_owned(), quantity::rate);
                    let style = if rate > Some(0.0) {
                        theme.fullness(1.0)
                    } else {
                        theme.quiet()
                    };
                    (fit::right(&text, cells, theme), style)
                }
                Column::Drops => {
                    let text =
                        drops.map_or_else(|| "-".to_owned(), |drops| quantity::count(drops.total));
                    (fit::right(&text, cells, theme), theme.plain())
                }
                Column::LastAccept => {
                    let text = socket.last_accept().map_or_else(
                        || "none seen".to_owned(),
                        |(at, _)| format!("{} ago", quantity::age(sight.now().since(at))),
                    );
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
        Some(Exported::Listener {
            socket: Box::new(sight.socket(id)?.clone()),
            drops: sight.drops(id),
        })
    }
}

/// `████░░░░░░ 52/128` in `cells`. A queue that is not empty shows at least one cell of the gauge.
pub(super) fn gauge(queue: Option<QueueLevel>, cells: usize, theme: Theme) -> Cell {
    let Some(queue) = queue else {
        return (fit::left("not sampled", cells, theme), theme.quiet());
    };
    let numbers = format!("{}/{}", queue.depth, queue.limit);
    // Room for `128/128` is kept, so that the gauges of a list are of one length.
    let long = cells.saturating_sub(1 + numbers.len().max(7)).max(2);
    let filled = match share(queue) {
        share if share <= 0.0 => 0,
        // The cast saturates.
        share => ((share * long as f64) as usize).clamp(1, long),
    };
    let text = format!(
        "{}{} {numbers}",
        theme.full().repeat(filled),
        theme.empty().repeat(long - filled),
    );
    (fit::left(&text, cells, theme), theme.fullness(share(queue)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_shows_the_first_and_the_last() {
        let theme = Theme {
            color: false,
            ascii: true,
            ..Theme::default()
        };
        let check = |depth, limit, text: &str| {
            let (drawn, _) = gauge(Some(QueueLevel { depth, limit }), 18, theme);
            assert_eq!(drawn.trim_end(), text);
        };
        check(0, 128, ".......... 0/128");
        check(1, 128, "#......... 1/128");
        check(64, 128, "#####..... 64/128");
        check(127, 128, "#########. 127/128");
        check(129, 128, "########## 129/128");
        check(1, 0, "########## 1/0");
        check(4096, 4096, "######## 4096/4096");
    }
}
