//! The top of every screen: what is traced and how, how fast, where one is, and, loudly, what was
//! lost.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use tcptrace_core::filter::Filter;
use tcptrace_core::input::LossCause;
use tcptrace_core::world::Totals;

use super::escape::escape;
use super::fit;
use super::quantity;
use super::screen::{Path, Scene, Screen};
use super::{HeaderFacts, Source};

/// Facts that come later than this are worth a word. A tick comes every 250 ms and stays 50 ms
/// behind the clock.
const LATE: Duration = Duration::from_secs(1);

/// From this width on, tabs show how many rows they have.
const ROOMY: u16 = 110;

/// Draws the header over `area`'s top and answers how many lines it took.
///
/// `live` are the engine's own totals, which go on while the view is paused.
pub(super) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    facts: &HeaderFacts,
    (path, filter): (&Path, &Filter),
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
        path,
        scene,
    );
    let mut y = area.y + 2;
    if let Some(text) = losses(live) {
        let line = Line::styled(format!(" {text} "), theme.loud());
        buffer.set_line(area.x, y, &line, area.width);
        y += 1;
    }
    rule(buffer, Rect { y, ..area }, facts, filter, scene);
    y + 1 - area.y
}

/// The line below the tabs; on it, what one should not forget: the command line's filter on the left,
/// and on the right a view that stands still, a recording, facts that come late.
fn rule(buffer: &mut Buffer, area: Rect, facts: &HeaderFacts, filter: &Filter, scene: Scene<'_>) {
    let theme = scene.theme;
    let rule = theme.rule().repeat(area.width.into());
    buffer.set_line(
        area.x,
        area.y,
        &Line::styled(rule, theme.quiet()),
        area.width,
    );
    let mut badges = Vec::new();
    if facts.late >= LATE {
        badges.push((
            format!(" {} LATE ", quantity::age(facts.late)),
            theme.loud(),
        ));
    }
    if let Some(recording) = &facts.recording {
        let text = format!(" REC {} ", escape(recording, theme.ascii));
        badges.push((text, theme.badge()));
    }
    if scene.sight.is_frozen() {
        badges.push((" PAUSED ".to_owned(), theme.badge()));
    }
    let mut right = area.right().saturating_sub(1);
    for (text, style) in badges {
        let room = usize::from(right.saturating_sub(area.x));
        let text = fit::cut(&text, room, theme);
        let cells = fit::width(&text) as u16;
        right = right.saturating_sub(cells);
        // The rule below is dim, and a badge is not.
        let style = style.remove_modifier(Modifier::DIM);
        buffer.set_line(right, area.y, &Line::styled(text, style), cells);
        right = right.saturating_sub(1);
    }
    let words = filter.words();
    if !words.is_empty() {
        let text = format!(" only {} ", escape(&words.join(" "), theme.ascii));
        let room = usize::from(right.saturating_sub(area.x + 2));
        let text = fit::cut(&text, room, theme);
        let style = theme.bold().remove_modifier(Modifier::DIM);
        let line = Line::styled(text, style);
        buffer.set_line(area.x + 2, area.y, &line, room as u16);
    }
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
        // On a narrow screen the file's name gives way.
        Source::Replay { file, position } => format!(
            "  replay {}, {}",
            escape(position, theme.ascii),
            escape(file, theme.ascii)
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

/// Which tab stands at column `x` of a header as wide as `width`.
pub(super) fn tab_at(x: u16, width: u16, scene: Scene<'_>) -> Option<usize> {
    let mut end = 1;
    (0..Screen::TABS.len()).find(|i| {
        end += fit::width(&tab_text(*i, width, scene)) as u16 + 2;
        x < end
    })
}

fn tab_text(i: usize, width: u16, scene: Scene<'_>) -> String {
    let (listeners, connections) = scene.sight.population();
    let tab = Screen::TABS[i];
    let number = match tab {
        Screen::Findings => Some(scene.sight.findings().len() as u64),
        // On 80 cells there is room for the names only.
        Screen::Connections if width >= ROOMY => Some(connections),
        Screen::Listeners if width >= ROOMY => Some(listeners),
        _ => None,
    };
    let number = number.map(|n| format!(" {}", quantity::count(n)));
    format!("{} {}{}", i + 1, tab.title(), number.unwrap_or_default())
}

fn tabs(buffer: &mut Buffer, area: Rect, path: &Path, scene: Scene<'_>) {
    let theme = scene.theme;
    let open = scene.sight.findings();
    let worst = open.first().map(|worst| theme.severity(worst.severity));
    let mut spans = vec![Span::raw(" ")];
    for (i, tab) in Screen::TABS.into_iter().enumerate() {
        let text = tab_text(i, area.width, scene);
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
    buffer.set_line(area.x, area.y, &line, area.width);
}

/// What was lost, by cause, and what was forgotten for want of room; nothing when nothing was.
pub(super) fn losses(totals: &Totals) -> Option<String> {
    let lost: Vec<_> = LossCause::ALL
        .into_iter()
        .filter(|cause| *cause != LossCause::Evicted)
        .map(|cause| (cause.name(), totals.losses[cause as usize]))
        .filter(|(_, count)| *count > 0)
        .collect();
    let mut said = Vec::new();
    if !lost.is_empty() {
        let sum = lost.iter().map(|(_, count)| count).sum();
        let causes: Vec<_> = lost
            .iter()
            .map(|(name, count)| format!("{name} {}", quantity::count(*count)))
            .collect();
        said.push(format!(
            "LOST {}: {}",
            quantity::counted(sum, "record"),
            causes.join(", ")
        ));
    }
    if totals.losses[LossCause::Evicted as usize] > 0 {
        said.push(format!("EVICTED from full tables: {}", totals.evictions));
    }
    (!said.is_empty()).then(|| said.join("; "))
}
