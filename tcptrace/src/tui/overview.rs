//! The first screen: what is wrong, above what this host's TCP is doing.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use tcptrace_core::tcp::TcpState;

use super::findings::Findings;
use super::fit;
use super::header;
use super::quantity;
use super::screen::Scene;
use super::theme::Theme;

/// The life of a connection, one column per part of it; the column of the side that closes second
/// is where leaks show.
const PARTS: [(&str, &[TcpState]); 4] = [
    (
        "opening",
        &[
            TcpState::SynSent,
            TcpState::SynRecv,
            TcpState::NewSynRecv,
            TcpState::Listen,
        ],
    ),
    ("open", &[TcpState::Established]),
    (
        "we closed first",
        &[
            TcpState::FinWait1,
            TcpState::FinWait2,
            TcpState::Closing,
            TcpState::TimeWait,
        ],
    ),
    (
        "peer closed first",
        &[TcpState::CloseWait, TcpState::LastAck],
    ),
];

/// Lines of the lower part: a blank one, titles, four states, a blank one, rates, losses.
const LOWER: u16 = 9;

/// Draws the overview; the findings of its upper part are `findings`.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, findings: &mut Findings, scene: Scene<'_>) {
    let upper = area.height.saturating_sub(LOWER);
    findings.draw(
        buffer,
        Rect {
            height: upper,
            ..area
        },
        scene,
    );
    let y = area.y + upper + 1;
    states(buffer, Rect { y, ..area }, scene);
    traffic(buffer, Rect { y: y + 6, ..area }, scene);
}

fn states(buffer: &mut Buffer, area: Rect, scene: Scene<'_>) {
    let theme = scene.theme;
    let longest = |states: &[TcpState]| {
        let lengths = states.iter().map(|state| state.name().len());
        lengths.max().unwrap_or_default()
    };
    // What names leave is shared alike by the counts.
    let names: usize = PARTS.iter().map(|(_, states)| longest(states)).sum();
    let counts = usize::from(area.width).saturating_sub(names) / PARTS.len();
    let mut x = area.x;
    for (title, states) in PARTS {
        let name = longest(states);
        let cells = (name + counts) as u16;
        let title = Line::styled(format!(" {title}"), theme.heading());
        buffer.set_line(x, area.y, &title, cells);
        let shown = states.iter().filter(|state| {
            // A separate count for half-open requests exists on few kernels' views only.
            **state != TcpState::NewSynRecv || count(**state, scene) > 0
        });
        for (state, y) in shown.zip(area.y + 1..area.y + 5) {
            let line = node(*state, name, name + counts, scene);
            buffer.set_line(x, y, &line, cells);
        }
        x += cells;
    }
}

fn count(state: TcpState, scene: Scene<'_>) -> u64 {
    scene.sight.totals().in_state[state as usize]
}

/// A state with its count, and the change over the last minute where there is one; names take
/// `longest` cells.
fn node(state: TcpState, longest: usize, cells: usize, scene: Scene<'_>) -> Line<'static> {
    let theme = scene.theme;
    let now = count(state, scene);
    let trend = match scene.rates.trend(state) {
        0 => String::new(),
        trend => format!(" {trend:+}"),
    };
    let name = format!(" {}", fit::left(state.name(), longest, theme));
    let room = cells.saturating_sub(fit::width(&name));
    let number = format!("{:>4}", quantity::count(now));
    // Where both do not fit, the count matters more.
    let trend = if number.len() + trend.len() <= room {
        trend
    } else {
        String::new()
    };
    let style = if now == 0 {
        theme.quiet()
    } else {
        theme.state(state)
    };
    Line::from(vec![
        Span::styled(name, style),
        Span::styled(number, style),
        Span::styled(trend, theme.quiet()),
    ])
}

fn traffic(buffer: &mut Buffer, area: Rect, scene: Scene<'_>) {
    let theme = scene.theme;
    let rates = scene.rates.per_second();
    let mut spans = vec![Span::styled(" per second  ", theme.heading())];
    for (name, rate) in [
        ("transitions", rates.transitions),
        ("accepts", rates.accepts),
        // Of SYN-ACKs too, which the kernel reports apart.
        ("retransmits", rates.retransmits + rates.synack_retransmits),
        ("resets", rates.resets),
    ] {
        spans.push(Span::styled(format!("{name} "), theme.quiet()));
        spans.push(Span::raw(format!("{}  ", quantity::rate(rate))));
    }
    buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
    let line = Line::from(vec![
        Span::styled(" lost        ", theme.heading()),
        lost(scene, theme),
    ]);
    buffer.set_line(area.x, area.y + 1, &line, area.width);
}

fn lost(scene: Scene<'_>, theme: Theme) -> Span<'static> {
    let totals = scene.sight.totals();
    match header::losses(totals) {
        Some(text) => Span::styled(format!(" {text} "), theme.loud()),
        None => Span::styled(
            "nothing: every event the kernel reported is counted here",
            theme.quiet(),
        ),
    }
}
