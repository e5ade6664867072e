//! The TCP state diagram, drawn: both ways to open, both ways to close, a live count on each state
//! and a rate on each edge.
//!
//! A drawing is data: strokes, and where on them states and rates stand. Two sizes exist: one that
//! fits on 78 cells, and one with boxes and sparklines.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use tcptrace_core::finding::{Severity, Status};
use tcptrace_core::tcp::TcpState::{
    self, Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, NewSynRecv,
    SynRecv, SynSent, TimeWait,
};

use super::fit;
use super::quantity;
use super::screen::Scene;
use super::spark;

/// Strokes, and the places of states, rates and labels, by column and line.
struct Drawing {
    width: u16,
    height: u16,
    strokes: &'static [(u16, u16, &'static str)],
    labels: &'static [(u16, u16, &'static str)],
    nodes: &'static [(u16, u16, TcpState)],
    rates: &'static [(u16, u16, Side, Edges)],
    boxed: bool,
}

/// The edges whose rates are one number.
type Edges = &'static [(TcpState, TcpState)];

/// On which side of its place a rate stands.
#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
    /// On a stroke, with a space on each side.
    Over,
}

/// Connections that end without the handshake of four: resets, refusals, timeouts.
const CUT_SHORT: Edges = &[
    (SynSent, Close),
    (SynRecv, Close),
    (Established, Close),
    (FinWait1, Close),
    (FinWait2, Close),
    (CloseWait, Close),
];

const SMALL: Drawing = Drawing {
    width: 78,
    height: 9,
    strokes: &[
        (7, 0, "─▶"),
        (30, 0, "──┐"),
        (38, 0, "┌──"),
        (60, 0, "◀─"),
        (32, 1, "▼"),
        (38, 1, "▼"),
        (22, 3, "┌────────────┴────────────┐"),
        (12, 5, "┌─────────┴───────┐"),
        (48, 5, "▼"),
        (12, 7, "└─────────┬───────┘"),
        (48, 7, "▼"),
        (36, 8, "─────────▶"),
        (54, 8, "◀─"),
    ],
    labels: &[
        (0, 1, "connect"),
        (10, 1, "active open"),
        (46, 1, "passive open"),
        (0, 3, "we close first"),
        (57, 3, "peer closes first"),
        (57, 8, "cut short"),
    ],
    nodes: &[
        (10, 0, SynSent),
        (42, 0, SynRecv),
        (63, 0, Listen),
        (30, 2, Established),
        (18, 4, FinWait1),
        (44, 4, CloseWait),
        (6, 6, FinWait2),
        (27, 6, Closing),
        (44, 6, LastAck),
        (18, 8, TimeWait),
        (47, 8, Close),
    ],
    rates: &[
        (5, 0, Side::Before, &[(Close, SynSent)]),
        (30, 1, Side::Before, &[(SynSent, Established)]),
        (40, 1, Side::After, &[(SynRecv, Established)]),
        (60, 1, Side::After, &[(Listen, SynRecv)]),
        (20, 3, Side::Before, &[(Established, FinWait1)]),
        (50, 3, Side::After, &[(Established, CloseWait)]),
        (10, 5, Side::Before, &[(FinWait1, FinWait2)]),
        (32, 5, Side::After, &[(FinWait1, Closing)]),
        (50, 5, Side::After, &[(CloseWait, LastAck)]),
        (10, 7, Side::Before, &[(FinWait2, TimeWait)]),
        (32, 7, Side::After, &[(Closing, TimeWait)]),
        (50, 7, Side::After, &[(LastAck, Close)]),
        (37, 8, Side::Over, &[(TimeWait, Close)]),
        (67, 8, Side::After, CUT_SHORT),
    ],
    boxed: false,
};

const LARGE: Drawing = Drawing {
    width: 106,
    height: 19,
    strokes: &[
        (10, 1, "──▶"),
        (76, 1, "◀────────"),
        (24, 3, "│"),
        (24, 4, "│"),
        (24, 5, "└─────────▶"),
        (66, 3, "│"),
        (66, 4, "│"),
        (57, 5, "◀────────┘"),
        (24, 7, "┌────────────────────┴────────────────────┐"),
        (12, 11, "┌───────────┴───────────┐"),
        (66, 11, "▼"),
        (12, 15, "└───────────┬───────────┘"),
        (66, 15, "│"),
        (66, 16, "▼"),
        (35, 17, "──────────────────────────▶"),
        (70, 17, "◀──"),
    ],
    labels: &[
        (2, 0, "connect"),
        (11, 3, "active open"),
        (75, 3, "passive open"),
        (0, 7, "we close first"),
        (75, 7, "peer closes first"),
        (74, 17, "cut short"),
    ],
    nodes: &[
        (14, 0, SynSent),
        (56, 0, SynRecv),
        (86, 0, Listen),
        (36, 4, Established),
        (14, 8, FinWait1),
        (56, 8, CloseWait),
        (2, 12, FinWait2),
        (26, 12, Closing),
        (56, 12, LastAck),
        (14, 16, TimeWait),
        (63, 17, Close),
    ],
    rates: &[
        (8, 1, Side::Before, &[(Close, SynSent)]),
        (26, 3, Side::After, &[(SynSent, Established)]),
        (68, 3, Side::After, &[(SynRecv, Established)]),
        (79, 1, Side::Over, &[(Listen, SynRecv)]),
        (22, 7, Side::Before, &[(Established, FinWait1)]),
        (68, 7, Side::After, &[(Established, CloseWait)]),
        (10, 11, Side::Before, &[(FinWait1, FinWait2)]),
        (38, 11, Side::After, &[(FinWait1, Closing)]),
        (68, 11, Side::After, &[(CloseWait, LastAck)]),
        (10, 15, Side::Before, &[(FinWait2, TimeWait)]),
        (38, 15, Side::After, &[(Closing, TimeWait)]),
        (68, 15, Side::After, &[(LastAck, Close)]),
        (44, 17, Side::Over, &[(TimeWait, Close)]),
        (84, 17, Side::After, CUT_SHORT),
    ],
    boxed: true,
};

/// A box of [`LARGE`], and what it leaves for a sparkline beside the count and the change.
const BOX: usize = 20;
const SPARK: usize = 8;

/// How many lines the drawing for `area` takes, when findings are to keep `kept` lines.
pub(super) fn height(area: Rect, kept: u16) -> u16 {
    choose(area, kept).height
}

/// How many cells it takes.
pub(super) fn width(area: Rect, kept: u16) -> u16 {
    choose(area, kept).width
}

fn choose(area: Rect, kept: u16) -> &'static Drawing {
    if area.width > LARGE.width + 1 && area.height >= LARGE.height + kept {
        &LARGE
    } else {
        &SMALL
    }
}

/// Draws it into the top left of `area`; `whole` and `kept` are what [`height`] was asked with.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, whole: Rect, kept: u16, scene: Scene<'_>) {
    let drawing = choose(whole, kept);
    let theme = scene.theme;
    let at = |x: u16, y: u16| (area.x + 1 + x, area.y + y);
    let mut put = |x: u16, y: u16, line: &Line<'_>| {
        let (x, y) = at(x, y);
        if y < area.bottom() && x < area.right() {
            buffer.set_line(x, y, line, area.right() - x);
        }
    };
    for (x, y, stroke) in drawing.strokes {
        let text: String = stroke.chars().map(|c| theme.stroke(c)).collect();
        put(*x, *y, &Line::styled(text, theme.quiet()));
    }
    for (x, y, label) in drawing.labels {
        put(*x, *y, &Line::styled(*label, theme.heading()));
    }
    for (x, y, side, edges) in drawing.rates {
        let per_second = edges
            .iter()
            .map(|(from, to)| scene.rates.edge(*from, *to))
            .sum();
        let text = quantity::brief_rate(per_second);
        let style = if per_second > 0.0 {
            theme.bold()
        } else {
            theme.quiet()
        };
        let (x, text) = match side {
            Side::Before => ((*x + 1).saturating_sub(text.len() as u16), text),
            Side::After => (*x, text),
            Side::Over => (*x, format!(" {text} ")),
        };
        put(x, *y, &Line::styled(text, style));
    }
    for (x, y, state) in drawing.nodes {
        if drawing.boxed && *state != Close {
            for (line, y) in boxed(*state, scene).iter().zip(*y..) {
                put(*x, y, line);
            }
        } else {
            put(*x, *y, &plain(*state, scene));
        }
    }
}

/// Sockets in `state`. A half-open request, which few kernels show, is one in SYN_RECV.
fn count(state: TcpState, scene: Scene<'_>) -> u64 {
    let in_state = &scene.sight.totals().in_state;
    match state {
        SynRecv => in_state[SynRecv as usize] + in_state[NewSynRecv as usize],
        state => in_state[state as usize],
    }
}

/// How bad the worst open finding about `state` is.
fn worst(state: TcpState, scene: Scene<'_>) -> Option<Severity> {
    let sight = scene.sight;
    let about = |finding: &&&std::sync::Arc<tcptrace_core::Finding>| {
        let states = finding.kind.states();
        // Of several states, those in which its samples are.
        let sampled = |state: &TcpState| {
            finding
                .sample_ids()
                .filter_map(|id| sight.socket(id))
                .any(|socket| socket.state == *state)
        };
        match states {
            [only] => *only == state,
            several if several.iter().any(sampled) => several.contains(&state) && sampled(&state),
            several => several.contains(&state),
        }
    };
    let findings = sight.findings();
    findings
        .iter()
        .filter(|finding| finding.status != Status::Resolved)
        .filter(about)
        .map(|finding| finding.severity)
        .max()
}

/// How a state looks: its style, and the mark of its worst finding.
fn look(state: TcpState, scene: Scene<'_>) -> (Style, String) {
    let theme = scene.theme;
    match worst(state, scene) {
        Some(severity) => (
            theme.severity(severity).add_modifier(Modifier::REVERSED),
            format!(" {}", theme.severity_mark(severity).trim()),
        ),
        None if state != Close && count(state, scene) == 0 => (theme.quiet(), String::new()),
        None => (theme.state(state), String::new()),
    }
}

/// `CLOSE_WAIT 3 !`.
fn plain(state: TcpState, scene: Scene<'_>) -> Line<'static> {
    let (style, mark) = look(state, scene);
    let text = match state {
        Close => format!("CLOSED{mark}"),
        state => format!(
            "{} {}{mark}",
            state.name(),
            quantity::brief(count(state, scene))
        ),
    };
    Line::styled(text, style)
}

/// The three lines of a box: name and mark; count, change, and the last minute; the bottom.
fn boxed(state: TcpState, scene: Scene<'_>) -> [Line<'static>; 3] {
    let theme = scene.theme;
    let (style, mark) = look(state, scene);
    let has_finding = !mark.is_empty();
    let frame = if has_finding {
        style.remove_modifier(Modifier::REVERSED)
    } else {
        theme.quiet()
    };
    let stroke = |text: &str| -> String { text.chars().map(|c| theme.stroke(c)).collect() };
    let name = format!(" {}{mark} ", state.name());
    let rest = BOX.saturating_sub(3 + fit::width(&name));
    let trend = match scene.rates.trend(state) {
        0 => String::new(),
        trend => format!("{trend:+}"),
    };
    let now = quantity::brief(count(state, scene));
    let room = BOX - 4 - SPARK - 1;
    // Where both do not fit, the count matters more.
    let numbers = if now.len() + 1 + trend.len() <= room {
        fit::left(&format!("{now} {trend}"), room, theme)
    } else {
        fit::left(&now, room, theme)
    };
    let history = scene.rates.history(SPARK, |totals| {
        let more = if state == SynRecv {
            totals.in_state[NewSynRecv as usize]
        } else {
            0
        };
        (totals.in_state[state as usize] + more) as f64
    });
    let text = if has_finding || count(state, scene) == 0 {
        frame
    } else {
        theme.plain()
    };
    [
        Line::from(vec![
            Span::styled(stroke("┌─"), frame),
            Span::styled(name, style),
            Span::styled(stroke(&"─".repeat(rest)), frame),
            Span::styled(stroke("┐"), frame),
        ]),
        Line::from(vec![
            Span::styled(stroke("│ "), frame),
            Span::styled(numbers, text.add_modifier(Modifier::BOLD)),
            Span::styled(format!(" {}", spark::line(&history, theme)), theme.quiet()),
            Span::styled(stroke(" │"), frame),
        ]),
        Line::styled(stroke(&format!("└{}┘", "─".repeat(BOX - 2))), frame),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_stands_in_both_drawings_and_everything_inside() {
        for drawing in [&SMALL, &LARGE] {
            for state in TcpState::ALL {
                let drawn = drawing.nodes.iter().any(|(_, _, node)| *node == state);
                assert_eq!(drawn, state != NewSynRecv, "{state}");
            }
            let texts = drawing.strokes.iter().chain(drawing.labels);
            for (x, y, text) in texts {
                assert!(*x + fit::width(text) as u16 <= drawing.width, "{text}");
                assert!(*y < drawing.height, "{text}");
            }
            let edges = drawing.rates.iter().flat_map(|(_, _, _, edges)| *edges);
            assert_eq!(edges.count(), 13 + CUT_SHORT.len());
        }
    }
}
