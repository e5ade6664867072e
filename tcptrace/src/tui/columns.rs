//! The columns of the list of connections: which fit, what stands above them, and one row.

use ratatui::text::{Line, Span};
use tcptrace_core::world::Socket;

use super::fit;
use super::names;
use super::quantity;
use super::rows::{Column, Sort};
use super::screen::Scene;
use super::theme::Theme;

/// The columns that fit in `cells`, with their widths. 80 cells show what one cannot do without;
/// what is beyond goes to more columns, then to names and addresses.
pub(super) fn fitting(cells: usize) -> Vec<(Column, usize)> {
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
        if used(&columns) + width < cells {
            columns.push((column, width));
        }
    }
    let mut spare = cells.saturating_sub(used(&columns));
    // One more cell makes room for any IPv4 endpoint; 24 for any process; 47 for any IPv6 one.
    for (column, widest) in [
        (Column::Local, 21_usize),
        (Column::Peer, 21),
        (Column::Process, 24),
        (Column::Peer, 47),
        (Column::Local, 47),
    ] {
        if let Some((_, width)) = columns.iter_mut().find(|(c, _)| *c == column) {
            let more = widest.saturating_sub(*width).min(spare);
            *width += more;
            spare -= more;
        }
    }
    columns
}

/// The cells that columns take, with the mark before and a space after each.
fn used(columns: &[(Column, usize)]) -> usize {
    1 + columns.iter().map(|(_, width)| width + 1).sum::<usize>()
}

/// One connection.
pub(super) fn row(socket: &Socket, columns: &[(Column, usize)], scene: Scene<'_>) -> Line<'static> {
    let Scene { sight, theme, .. } = scene;
    let mut spans = vec![Span::raw(" ")];
    for (column, cells) in columns {
        let cells = *cells;
        let (text, style) = match column {
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
        };
        spans.push(Span::styled(text, style));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

/// The titles of `columns`, the one that sorts with a mark.
pub(super) fn headings(columns: &[(Column, usize)], sort: Sort, theme: Theme) -> Line<'static> {
    let mut spans = vec![Span::raw(" ")];
    for (column, cells) in columns {
        let sorts = *column == sort.column;
        let mark = match (sorts, sort.reversed) {
            (false, _) => "",
            (true, false) => theme.ascending(),
            (true, true) => theme.descending(),
        };
        let title = format!("{}{mark}", column.title());
        let title = match column {
            Column::Age | Column::Unread | Column::Retransmits => fit::right(&title, *cells, theme),
            _ => fit::left(&title, *cells, theme),
        };
        let style = if sorts {
            theme.heading()
        } else {
            theme.quiet()
        };
        spans.push(Span::styled(title, style));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}
