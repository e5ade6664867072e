//! The top of every screen: what is traced and how, how fast, where one is, and, loudly, what was
//! lost.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use tcptrace_core::input::LossCause;
use tcptrace_core::world::Totals;

use super::escape::escape;
use super::fit;
use super::quantity;
use super::screen::{Path, Scene, Screen};
use super::{HeaderFacts, Source};

/// Draws the header over `area`'s top and answers how many lines it took.
///
/// `live` are the engine's own totals, which go on while the view is paused.
pub(super) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    facts: &HeaderFacts,
    path: &Path,
    scene: Scene<'_>,
    live: &Totals,
) -> u16 {
    let theme = scene.theme;
    identity(buffer, area, facts, scene);
    tabs(
        buffer,
        Rect {
            y: area.y + 1,
            ..area
        },
        facts,
        path,
        scene,
    );
    let mut y = area.y + 2;
    if let Some(text) = losses(live) {
        let text = format!(" {text}. What is shown may be incomplete.");
        let line = Line::styled(fit::left(&text, area.width.into(), theme), theme.loud());
        buffer.set_line(area.x, y, &line, area.width);
        y += 1;
    }
    let rule = theme.rule().repeat(area.width.into());
    buffer.set_line(area.x, y, &Line::styled(rule, theme.quiet()), area.width);
    y + 1 - area.y
}

fn identity(buffer: &mut Buffer, area: Rect, facts: &HeaderFacts, scene: Scene<'_>) {
    let theme = scene.theme;
    let rate = scene.rates.per_second().events;
    let uptime = scene.rates.uptime();
    let right = format!(
        "{} events/s  up {} ",
        quantity::rate(rate),
        quantity::age(uptime)
    );
    let room = usize::from(area.width).saturating_sub(fit::width(&right) + 1);
    let host = escape(&facts.host, theme.ascii);
    let mode = match &facts.source {
        Source::Live => format!("  {}", escape(&facts.probes, theme.ascii),),
        Source::Replay { file, position } => format!(
            "  replay of {}, {}",
            escape(file, theme.ascii),
            escape(position, theme.ascii)
        ),
    };
    let kernel = format!("  Linux {}", escape(&facts.kernel, theme.ascii));
    let mut rest = mode;
    // The kernel's version is the first to give way.
    if fit::width(&host) + fit::width(&rest) + fit::width(&kernel) + 11 <= room {
        rest = format!("{kernel}{rest}");
    }
    let name = " tcptrace  ";
    let host = fit::cut(&host, room.saturating_sub(name.len()).min(32), theme);
    let used = name.len() + fit::width(&host);
    let line = Line::from(vec![
        Span::styled(name, theme.heading()),
        Span::styled(host, theme.bold()),
        Span::styled(
            fit::cut(&rest, room.saturating_sub(used), theme),
            theme.quiet(),
        ),
    ]);
    buffer.set_line(area.x, area.y, &line, area.width);
    let x = area.right().saturating_sub(fit::width(&right) as u16);
    buffer.set_line(x, area.y, &Line::raw(right), area.width);
}

fn tabs(buffer: &mut Buffer, area: Rect, facts: &HeaderFacts, path: &Path, scene: Scene<'_>) {
    let theme = scene.theme;
    let (listeners, connections) = scene.sight.population();
    let open = scene.sight.findings();
    let findings = open.len() as u64;
    let worst = open.first().map(|worst| theme.severity(worst.severity));
    let mut spans = vec![Span::raw(" ")];
    for (i, tab) in Screen::TABS.into_iter().enumerate() {
        let number = match tab {
            Screen::Findings => Some(findings),
            Screen::Connections => Some(connections),
            Screen::Listeners => Some(listeners),
            _ => None,
        };
        let number = number.map(|n| format!(" {}", quantity::count(n)));
        let text = format!("{} {}{}", i + 1, tab.title(), number.unwrap_or_default());
        let style = match (tab, worst) {
            // The worst finding tints its tab; the list says it in words.
            (Screen::Findings, Some(worst)) => worst,
            _ => theme.quiet(),
        };
        if i == path.tab() {
            // Brackets say where one is when reverse video does not show in a capture.
            spans.push(Span::styled(format!("[{text}]"), theme.bold()));
        } else {
            spans.push(Span::styled(format!(" {text} "), style));
        }
    }
    let line = Line::from(spans);
    let used = line.width();
    buffer.set_line(area.x, area.y, &line, area.width);

    let mut room = usize::from(area.width).saturating_sub(used);
    let mut x = area.right();
    let mut badge = |text: String| {
        let text = fit::cut(&text, room, theme);
        let cells = fit::width(&text) as u16;
        x = x.saturating_sub(cells);
        buffer.set_line(x, area.y, &Line::styled(text, theme.badge()), cells);
        room = room.saturating_sub(usize::from(cells) + 1);
        x = x.saturating_sub(1);
    };
    if scene.sight.is_frozen() {
        badge(" PAUSED ".to_owned());
    }
    if let Some(recording) = &facts.recording {
        badge(format!(" REC {} ", escape(recording, theme.ascii)));
    }
}

/// What was lost, by cause; nothing when nothing was.
pub(super) fn losses(totals: &Totals) -> Option<String> {
    let sum: u64 = totals.losses.iter().sum();
    if sum == 0 {
        return None;
    }
    let causes: Vec<_> = LossCause::ALL
        .iter()
        .zip(totals.losses)
        .filter(|(_, count)| *count > 0)
        .map(|(cause, count)| format!("{} {}", cause.name(), quantity::count(count)))
        .collect();
    Some(format!(
        "LOST {}: {}",
        quantity::counted(sum, "record"),
        causes.join(", ")
    ))
}
