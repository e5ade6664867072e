//! The list of findings: open ones, the most severe first, then those that resolved lately.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use tcptrace_core::Finding;
use tcptrace_core::finding::{FindingId, Status};

use super::cursor::{Cursor, Movement};
use super::escape::escape;
use super::export::Exported;
use super::fit;
use super::names;
use super::quantity;
use super::screen::{Key, Scene, Screen, Step};
use super::sight::Sight;

pub(super) const KEYS: &[Key] = &[("Enter", "open", "what it is, the proof, and what to do")];

/// Lines that a finding takes: its heading, and its sentence on two lines, or on more where there
/// is room for all findings with that.
const LINES: usize = 3;
const ROOMY_LINES: usize = 5;

/// The list of findings; the overview shows its beginning.
#[derive(Debug, Default)]
pub(super) struct Findings {
    cursor: Cursor<FindingId>,
    /// The lines on the screen, each with whose it is.
    drawn: Vec<(u16, FindingId)>,
}

/// Open findings and then resolved ones.
fn all(sight: Sight<'_>) -> Vec<&Arc<Finding>> {
    let mut all = sight.findings();
    all.extend(sight.resolved());
    all
}

impl Findings {
    pub(super) fn key(&mut self, key: KeyEvent, sight: Sight<'_>) -> Step {
        let ids: Vec<_> = all(sight).iter().map(|finding| finding.id).collect();
        if let Some(movement) = Movement::of(key) {
            self.cursor.travel(movement, &ids);
            return Step::Changed;
        }
        match (key.code, self.cursor.marked(&ids)) {
            (KeyCode::Enter, Some(id)) => Step::Open(Screen::Finding(id)),
            _ => Step::Unknown,
        }
    }

    /// The finding that is marked.
    pub(super) fn marked(&mut self, sight: Sight<'_>) -> Option<FindingId> {
        let ids: Vec<_> = all(sight).iter().map(|finding| finding.id).collect();
        self.cursor.marked(&ids)
    }

    /// A click marks a finding; one on the marked finding opens it.
    pub(super) fn click(&mut self, at: Position, sight: Sight<'_>) -> Step {
        let Some((_, id)) = self.drawn.iter().copied().find(|(y, _)| *y == at.y) else {
            return Step::Unknown;
        };
        if self.marked(sight) == Some(id) {
            return Step::Open(Screen::Finding(id));
        }
        let all = all(sight);
        let position = all.iter().position(|finding| finding.id == id);
        self.cursor.select(Some(id), position.unwrap_or(0));
        Step::Changed
    }

    /// Every finding, for a file.
    pub(super) fn export(sight: Sight<'_>) -> Vec<Exported> {
        let all = all(sight).into_iter();
        all.map(|finding| Exported::Finding(Arc::clone(finding)))
            .collect()
    }

    pub(super) fn draw(&mut self, buffer: &mut Buffer, area: Rect, scene: Scene<'_>) {
        let Scene { sight, theme, .. } = scene;
        self.drawn.clear();
        let title = Line::from(vec![
            Span::styled(" Findings  ", theme.heading()),
            Span::styled(tally(sight), theme.quiet()),
        ]);
        buffer.set_line(area.x, area.y, &title, area.width);
        let area = Rect {
            y: area.y + 1,
            height: area.height.saturating_sub(1),
            ..area
        };
        let findings = all(sight);
        if findings.is_empty() {
            return nothing_found(buffer, area, scene);
        }
        let ids: Vec<_> = findings.iter().map(|finding| finding.id).collect();
        let marked = self.cursor.marked(&ids);
        let height = usize::from(area.height);
        let lines = (height / findings.len()).clamp(LINES, ROOMY_LINES);
        let page = (height / lines).max(1);
        let top = self.cursor.scroll(findings.len(), page);
        let mut y = area.y;
        for finding in findings.iter().skip(top) {
            let room = usize::from(area.bottom().saturating_sub(y));
            if room == 0 {
                break;
            }
            let is_marked = Some(finding.id) == marked;
            for line in entry(finding, is_marked, lines, area.width.into(), scene)
                .into_iter()
                .take(room)
            {
                buffer.set_line(area.x, y, &line, area.width);
                self.drawn.push((y, finding.id));
                y += 1;
            }
        }
    }
}

fn tally(sight: Sight<'_>) -> String {
    let resolved = match sight.resolved().len() {
        0 => String::new(),
        count => format!(", {count} resolved lately"),
    };
    format!("{} open{resolved}", sight.findings().len())
}

/// The heading and the sentence of one finding, on `most_lines` at most; a resolved one has its
/// heading only.
fn entry(
    finding: &Finding,
    is_marked: bool,
    most_lines: usize,
    cells: usize,
    scene: Scene<'_>,
) -> Vec<Line<'static>> {
    let Scene { sight, theme, .. } = scene;
    let marker = if is_marked { theme.marker() } else { " " };
    let resolved = finding.status == Status::Resolved;
    let (mark, word, tint) = if resolved {
        (theme.done(), "resolved", theme.good())
    } else {
        let severity = finding.severity;
        (
            theme.severity_mark(severity),
            severity.name(),
            theme.severity(severity),
        )
    };
    let age = if resolved {
        let since = quantity::age(sight.now().since(finding.at));
        format!("{since} ago ")
    } else {
        format!("for {} ", quantity::age(finding.age(sight.now())))
    };
    let who = finding.process.as_ref().map_or_else(String::new, |owner| {
        format!("  {}", names::process(&owner.process, theme))
    });
    let head = format!("{marker}{mark} {}  ", fit::left(word, 8, theme));
    let what = format!(
        "{}{who}  {}",
        names::kind_and_cause(finding),
        finding.service
    );
    let room = cells.saturating_sub(fit::width(&head) + age.len() + 1);
    let what = fit::left(&what, room, theme);
    let mut heading = vec![
        Span::styled(head, tint),
        Span::styled(
            what,
            if resolved {
                theme.plain()
            } else {
                theme.bold()
            },
        ),
        Span::styled(format!(" {age}"), theme.quiet()),
    ];
    if is_marked {
        for span in &mut heading {
            span.style = theme.selected();
        }
    }
    let mut lines = vec![Line::from(heading)];
    if !resolved {
        let summary = finding.summary(sight.now());
        let summary = escape(&summary, theme.ascii);
        let indent = 5;
        let mut pieces = fit::wrap(&summary, cells.saturating_sub(indent + 1));
        if pieces.len() > most_lines - 1 {
            pieces.truncate(most_lines - 1);
            if let Some(last) = pieces.last_mut() {
                last.push_str(theme.ellipsis());
            }
        }
        for piece in pieces {
            lines.push(Line::raw(format!("{}{piece}", " ".repeat(indent))));
        }
    }
    lines
}

/// Nothing found is an answer too: say what was looked at, and when there could be more.
fn nothing_found(buffer: &mut Buffer, area: Rect, scene: Scene<'_>) {
    let Scene {
        sight,
        theme,
        rates,
    } = scene;
    let (listeners, connections) = sight.population();
    let text = format!(
        "Nothing is wrong so far with {} and {}, watched for {}. A connection in CLOSE_WAIT \
         becomes suspect after {} s.",
        quantity::counted(connections, "connection"),
        quantity::counted(listeners, "listener"),
        quantity::age(rates.uptime()),
        sight.close_wait_after().as_secs(),
    );
    let lines = fit::wrap(&text, usize::from(area.width).saturating_sub(3));
    for (line, y) in lines.into_iter().zip(area.y..area.bottom()) {
        let line = Line::styled(format!("  {line}"), theme.plain());
        buffer.set_line(area.x, y, &line, area.width);
    }
}
