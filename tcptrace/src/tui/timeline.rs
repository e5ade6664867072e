//! What happened to a socket, line by line, with the time in between.

use ratatui::text::{Line, Span};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::SockId;
use tcptrace_core::world::Moment;

use super::document::Document;
use super::fit;
use super::list::Cell;
use super::names;
use super::quantity;
use super::screen::Scene;

/// Adds the timeline of `id` to `document`.
pub(super) fn describe(document: &mut Document, id: SockId, scene: Scene<'_>) {
    let Scene { sight, theme, .. } = scene;
    let moments = sight.timeline(id);
    let Some((first, _)) = moments.first() else {
        document.paragraph(
            "  Nothing happened to it since the trace began.",
            theme.quiet(),
        );
        return;
    };
    let mut previous = *first;
    for (at, moment) in moments {
        let when = match sight.wall(*at) {
            Some(wall) => quantity::time_of_day(wall),
            None => format!("+{}", quantity::gap(at.since(*first), theme)),
        };
        let gap = if at == first {
            String::new()
        } else {
            format!("+{}", quantity::gap(at.since(previous), theme))
        };
        let (what, style) = sentence(moment, scene);
        document.line(Line::from(vec![
            Span::styled(
                format!(
                    "  {}  {}  ",
                    fit::left(&when, 12, theme),
                    fit::right(&gap, 11, theme)
                ),
                theme.quiet(),
            ),
            Span::styled(
                fit::cut(&what, document.cells().saturating_sub(29), theme),
                style,
            ),
        ]));
        previous = *at;
    }
    if let Some(socket) = sight.socket(id)
        && !matches!(moments.last(), Some((_, Moment::Destroyed)))
    {
        let gap = format!("+{}", quantity::gap(sight.now().since(previous), theme));
        let now = fit::left("now", 12, theme);
        document.line(Line::styled(
            format!("  {now}  {}  {}", fit::right(&gap, 11, theme), socket.state),
            theme.quiet(),
        ));
    }
}

/// What happened, and how it looks.
pub(super) fn sentence(moment: &Moment, scene: Scene<'_>) -> Cell {
    let Scene { sight, theme, .. } = scene;
    match moment {
        Moment::Transition { from, to, by } => {
            let who = names::context(*by, sight, theme);
            let text = format!("{from} {} {to}{} {who}", theme.arrow(), meaning(*from, *to));
            (text, theme.state(*to))
        }
        Moment::TimeWait {
            orphan_fin_wait2: false,
        } => (
            "TIME_WAIT for 60 s, outside the socket".to_owned(),
            theme.quiet(),
        ),
        Moment::TimeWait {
            orphan_fin_wait2: true,
        } => (
            "FIN_WAIT2 as an orphan: no descriptor is left".to_owned(),
            theme.quiet(),
        ),
        Moment::Accepted { by } => (
            format!("accepted by {}", names::pid(*by, sight, theme)),
            theme.good(),
        ),
        Moment::Retransmitted { fin, syn, attempt } => {
            let what = match (syn, fin) {
                (true, _) => "SYN",
                (false, true) => "FIN",
                (false, false) => "data",
            };
            (
                format!("{what} sent again, attempt {attempt}"),
                theme.state(TcpState::CloseWait),
            )
        }
        Moment::SynackRetransmitted { attempt, acked } => {
            let answered = if *acked {
                ", although the client had answered"
            } else {
                ""
            };
            (
                format!("SYN-ACK sent again, attempt {attempt}{answered}"),
                theme.state(TcpState::CloseWait),
            )
        }
        Moment::Reset { sent: true } => ("RST sent".to_owned(), theme.bold()),
        Moment::Reset { sent: false } => ("RST received".to_owned(), theme.bold()),
        Moment::Found { state } => (
            format!("found in {state}, older than the trace"),
            theme.plain(),
        ),
        Moment::Inspected { unread } => (
            format!(
                "inspected: {} unread",
                quantity::counted((*unread).into(), "byte")
            ),
            theme.quiet(),
        ),
        Moment::Destroyed => ("freed by the kernel".to_owned(), theme.quiet()),
    }
}

/// What a transition means for the connection, where it says more than its states.
fn meaning(from: TcpState, to: TcpState) -> &'static str {
    match (from, to) {
        (_, TcpState::CloseWait) => ", the peer closed,",
        (_, TcpState::FinWait1) => ", our side closed first,",
        (TcpState::CloseWait, TcpState::LastAck) => ", our side closed too,",
        (TcpState::FinWait1, TcpState::FinWait2) => ", the peer acknowledged our FIN,",
        (_, TcpState::Closing) => ", both closed at once,",
        _ => "",
    }
}
