//! The first screen: what is wrong, above the state diagram of this host's TCP.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use tcptrace_core::filter::Filter;
use tcptrace_core::world::Totals;

use super::diagram;
use super::findings::Findings;
use super::fit;
use super::header;
use super::quantity;
use super::screen::Scene;
use super::spark;

/// Lines that findings keep of a small screen: a title and two findings.
const KEPT: u16 = 7;

/// Lines below the diagram: a blank one above it, traffic, losses.
const BESIDES: u16 = 3;

/// What the line of traffic takes without sparklines.
const TRAFFIC: usize = 78;

/// A label of the panel, and the rate beside it.
const LABEL: usize = 22;

/// Draws the overview; the findings of its upper part are `findings`.
pub(super) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    findings: &mut Findings,
    filter: &Filter,
    scene: Scene<'_>,
) {
    let kept = KEPT + BESIDES;
    let drawn = diagram::height(area, kept);
    let lower = (drawn + BESIDES).min(area.height);
    let upper = Rect {
        height: area.height - lower,
        ..area
    };
    findings.draw(buffer, upper, scene);
    let diagram = Rect {
        y: upper.bottom() + 1,
        height: drawn,
        ..area
    };
    diagram::draw(buffer, diagram, area, kept, scene);
    // Where there is room beside the diagram, the last minute stands there.
    let taken = diagram::width(area, kept) + 3;
    if area.width > taken + LABEL as u16 + 20 {
        let panel = Rect {
            x: area.x + taken,
            width: area.width - taken,
            ..diagram
        };
        last_minute(buffer, panel, scene);
    }
    let below = Rect {
        y: diagram.bottom(),
        height: area.bottom().saturating_sub(diagram.bottom()),
        ..area
    };
    traffic(buffer, below, scene);
    if below.height > 1 {
        let last = Rect {
            y: below.y + 1,
            ..below
        };
        remark(buffer, last, filter, scene);
    }
}

/// What is counted, in a word.
type Counter = (&'static str, fn(&Totals) -> u64);

const COUNTERS: [Counter; 4] = [
    ("transitions", |totals| totals.transitions),
    ("accepts", |totals| totals.accepts),
    // Of SYN-ACKs too, which the kernel reports apart.
    ("retransmits", |totals| {
        totals.retransmits + totals.synack_retransmits
    }),
    ("resets", |totals| totals.resets),
];

fn traffic(buffer: &mut Buffer, area: Rect, scene: Scene<'_>) {
    let theme = scene.theme;
    let rates = scene.rates.per_second();
    let now = [
        rates.transitions,
        rates.accepts,
        rates.retransmits + rates.synack_retransmits,
        rates.resets,
    ];
    let mut spans = vec![Span::raw(" ")];
    // Wide enough for any rate, so that nothing moves when one grows.
    let spark = usize::from(area.width).saturating_sub(TRAFFIC) / COUNTERS.len();
    for ((name, count), rate) in COUNTERS.iter().zip(now) {
        let text = quantity::brief_rate(rate);
        spans.push(Span::styled(format!("{name} "), theme.quiet()));
        spans.push(Span::styled(
            fit::left(&text, 6, theme),
            if rate > 0.0 {
                theme.bold()
            } else {
                theme.quiet()
            },
        ));
        if spark >= 4 {
            let history = scene.rates.gains(spark.min(30), count);
            let drawn = spark::line(&history, theme);
            spans.push(Span::styled(format!(" {drawn}"), theme.quiet()));
        }
        spans.push(Span::raw("  "));
    }
    buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
}

fn last_minute(buffer: &mut Buffer, area: Rect, scene: Scene<'_>) {
    let theme = scene.theme;
    let title = Line::styled("the last minute", theme.heading());
    buffer.set_line(area.x, area.y, &title, area.width);
    let room = usize::from(area.width).saturating_sub(LABEL + 1).min(60);
    let more: [Counter; 5] = [
        ("connections opened", |totals| {
            use tcptrace_core::tcp::TcpState::{Established, SynRecv, SynSent};
            let edges = &totals.edges;
            edges.count(SynSent, Established) + edges.count(SynRecv, Established)
        }),
        ("closed by us first", |totals| {
            use tcptrace_core::tcp::TcpState::{Established, FinWait1};
            totals.edges.count(Established, FinWait1)
        }),
        ("closed by the peer", |totals| {
            use tcptrace_core::tcp::TcpState::{CloseWait, Established};
            totals.edges.count(Established, CloseWait)
        }),
        ("into TIME_WAIT", |totals| {
            use tcptrace_core::tcp::TcpState::{Closing, FinWait2, TimeWait};
            totals.edges.count(FinWait2, TimeWait) + totals.edges.count(Closing, TimeWait)
        }),
        ("records lost", |totals| totals.losses.iter().sum()),
    ];
    let all = COUNTERS.iter().chain(&more);
    for ((name, count), y) in all.zip((area.y + 1..area.bottom()).step_by(2)) {
        let gains = scene.rates.gains(room, count);
        let most = gains.iter().copied().fold(0.0, f64::max);
        let head = format!(
            "{}{}",
            fit::left(name, LABEL, theme),
            spark::line(&gains, theme)
        );
        let style = if most > 0.0 {
            theme.plain()
        } else {
            theme.quiet()
        };
        buffer.set_line(area.x, y, &Line::styled(head, style), area.width);
        let scale = format!("  at most {}", quantity::brief_rate(most));
        if y + 1 < area.bottom() {
            buffer.set_line(
                area.x,
                y + 1,
                &Line::styled(scale, theme.quiet()),
                area.width,
            );
        }
    }
}

/// What the numbers above stand for.
fn remark(buffer: &mut Buffer, area: Rect, filter: &Filter, scene: Scene<'_>) {
    let theme = scene.theme;
    let text = if !filter.is_kernels() {
        " these are all connections: the filter holds for findings and lists"
    } else if header::losses(scene.sight.totals()).is_none() {
        " lost nothing: every event the kernel reported is counted here"
    } else {
        // The header says it loudly.
        return;
    };
    buffer.set_line(
        area.x,
        area.y,
        &Line::styled(text, theme.quiet()),
        area.width,
    );
}
