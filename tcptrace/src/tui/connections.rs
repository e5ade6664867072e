//! The list of connections: sorted, filtered, and as quick with 100,000 as with ten.
//!
//! The order is worked out anew once per tick of the engine, or when the sort or the filter
//! changes; only the rows on the screen are looked up and formatted.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use tcptrace_core::filter::Filter;
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{MonoNs, SockId};

use super::columns;
use super::cursor::{Cursor, Movement};
use super::fit;
use super::prompt::{Prompt, Typed};
use super::quantity;
use super::rows::{Column, Rows, Sort};
use super::screen::{Key, Scene, Screen, Step};
use super::sight::Sight;
use super::words::Query;

pub(super) const KEYS: &[Key] = &[
    (
        "Enter",
        "open",
        "owner, holders and timeline of a connection",
    ),
    (
        "/",
        "filter",
        "show only some; Enter keeps the words, Esc drops them",
    ),
    (
        "s/S",
        "sort",
        "by the next column; S turns the order around",
    ),
    ("c", "", "clear the filter"),
];

/// Keys while the filter is typed.
pub(super) const EDIT_KEYS: &[Key] = &[
    ("Enter", "keep", ""),
    ("Esc", "drop", ""),
    ("Ctrl-U", "empty", ""),
    ("Ctrl-W", "erase a word", ""),
    (
        "",
        "words: state: port: pid: comm: local: remote: or any text",
        "",
    ),
];

/// The list, its order and its filter.
#[derive(Debug)]
pub(super) struct Connections {
    /// What the command line excludes from the view.
    base: Filter,
    query: Query,
    editing: Option<Editing>,
    sort: Sort,
    cursor: Cursor<SockId>,
    rows: Rows,
    /// What `rows` was made from; made anew when it is another tick's or `None`.
    made_at: Option<MonoNs>,
    /// The columns that fitted when last drawn.
    columns: Vec<(Column, usize)>,
}

/// The filter line is open.
#[derive(Debug)]
struct Editing {
    prompt: Prompt,
    /// What Esc goes back to.
    before: Query,
    /// Why the words in the prompt cannot be understood; the last good ones stay in force.
    complaint: Option<String>,
}

impl Connections {
    pub(super) fn new(base: Filter) -> Self {
        Self {
            base,
            query: Query::default(),
            editing: None,
            sort: Sort {
                column: Column::State,
                reversed: false,
            },
            cursor: Cursor::default(),
            rows: Rows::default(),
            made_at: None,
            columns: Vec::new(),
        }
    }

    /// Whether keys are text now.
    pub(super) fn is_editing(&self) -> bool {
        self.editing.is_some()
    }

    /// Makes the rows anew at the next look: what the view borrows from has changed.
    pub(super) fn forget_rows(&mut self) {
        self.made_at = None;
    }

    /// The first `count` connections as the list shows them.
    pub(super) fn shown(&mut self, sight: Sight<'_>, count: usize) -> Vec<SockId> {
        self.refresh(sight);
        self.rows.window(0, count).collect()
    }

    fn refresh(&mut self, sight: Sight<'_>) {
        let now = sight.now();
        if self.made_at == Some(now) {
            return;
        }
        self.made_at = Some(now);
        let shown = sight.sockets().filter(|socket| {
            socket.state != TcpState::Listen
                && self.base.passes(socket)
                && self.query.passes(socket, sight)
        });
        self.rows.fill(shown, self.sort);
    }

    fn settle(&mut self) -> usize {
        let selected = self.cursor.selected();
        let found = selected.and_then(|id| self.rows.position(id));
        let position = self.cursor.settle(found, self.rows.len());
        if selected.is_some() && found.is_none() {
            // It is gone: go on with the one that took its place.
            let heir = self.rows.at(position);
            self.cursor.select(heir, position);
        }
        position
    }

    pub(super) fn key(&mut self, key: KeyEvent, sight: Sight<'_>) -> Step {
        if self.editing.is_some() {
            return self.type_key(key);
        }
        self.refresh(sight);
        if let Some(movement) = Movement::of(key) {
            self.settle();
            let target = self.cursor.target(movement, self.rows.len());
            let id = self.rows.at(target);
            self.cursor.select(id, target);
            return Step::Changed;
        }
        match key.code {
            KeyCode::Enter => {
                let position = self.settle();
                let id = self.rows.at(position);
                id.map_or(Step::Unknown, |id| Step::Open(Screen::Connection(id)))
            }
            KeyCode::Char('/') => {
                self.editing = Some(Editing {
                    prompt: Prompt::new(&self.query.text),
                    before: self.query.clone(),
                    complaint: None,
                });
                Step::Changed
            }
            KeyCode::Char('s') => {
                self.sort = Sort {
                    column: self.next_column(),
                    reversed: false,
                };
                self.forget_rows();
                Step::Changed
            }
            KeyCode::Char('S') => {
                self.sort.reversed = !self.sort.reversed;
                self.forget_rows();
                Step::Changed
            }
            KeyCode::Char('c') | KeyCode::Esc if !self.query.is_empty() => {
                self.query = Query::default();
                self.forget_rows();
                Step::Changed
            }
            _ => Step::Unknown,
        }
    }

    /// The next column that is on the screen.
    fn next_column(&self) -> Column {
        let is_shown = |column| {
            self.columns.is_empty() || self.columns.iter().any(|(shown, _)| *shown == column)
        };
        let mut column = self.sort.column.next();
        while !is_shown(column) && column != self.sort.column {
            column = column.next();
        }
        column
    }

    fn type_key(&mut self, key: KeyEvent) -> Step {
        let Some(editing) = &mut self.editing else {
            return Step::Unknown;
        };
        match editing.prompt.key(key) {
            Typed::Changed => self.understand(),
            Typed::Done if editing.complaint.is_none() => self.editing = None,
            Typed::Done => {}
            Typed::Dropped => {
                self.query = std::mem::take(&mut editing.before);
                self.editing = None;
                self.forget_rows();
            }
            Typed::Unknown => return Step::Unknown,
        }
        Step::Changed
    }

    /// Takes pasted text into the filter line.
    pub(super) fn paste(&mut self, text: &str) {
        if let Some(editing) = &mut self.editing {
            for c in text.chars() {
                editing.prompt.insert(c);
            }
            self.understand();
        }
    }

    /// Applies the words as they are typed, as far as they make sense.
    fn understand(&mut self) {
        let Some(editing) = &mut self.editing else {
            return;
        };
        match editing.prompt.text().parse() {
            Ok(query) => {
                editing.complaint = None;
                self.query = query;
                self.forget_rows();
            }
            Err(bad) => editing.complaint = Some(bad.to_string()),
        }
    }

    pub(super) fn draw(&mut self, buffer: &mut Buffer, area: Rect, scene: Scene<'_>) {
        let Scene { sight, theme, .. } = scene;
        self.refresh(sight);
        self.columns = columns::fitting(area.width.into());
        self.draw_title(buffer, area, scene);
        let headings = columns::headings(&self.columns, self.sort, theme);
        buffer.set_line(area.x, area.y + 1, &headings, area.width);
        let body = Rect {
            y: area.y + 2,
            height: area.height.saturating_sub(2),
            ..area
        };
        if self.rows.len() == 0 {
            let text = if self.query.is_empty() && self.base.is_empty() {
                "  No connection."
            } else {
                "  No connection passes the filter; c clears it."
            };
            buffer.set_line(
                body.x,
                body.y,
                &Line::styled(text, theme.quiet()),
                body.width,
            );
            return;
        }
        let marked = self.settle();
        let page = usize::from(body.height);
        let top = self.cursor.scroll(self.rows.len(), page);
        for ((id, position), y) in self.rows.window(top, page).zip(top..).zip(body.y..) {
            let mut line = match sight.socket(id) {
                Some(socket) => columns::row(socket, &self.columns, scene),
                None => Line::styled(" gone", theme.quiet()),
            };
            if position == marked {
                let text: String = line.spans.iter().map(|span| &*span.content).collect();
                let text = format!("{}{}", theme.marker(), text.get(1..).unwrap_or_default());
                line = Line::styled(fit::left(&text, body.width.into(), theme), theme.selected());
            }
            buffer.set_line(body.x, y, &line, body.width);
        }
    }

    fn draw_title(&self, buffer: &mut Buffer, area: Rect, scene: Scene<'_>) {
        let theme = scene.theme;
        let mut spans = vec![Span::styled(" Connections  ", theme.heading())];
        if let Some(editing) = &self.editing {
            let (before, after) = editing.prompt.halves();
            let mut after = after.chars();
            let at = after.next().unwrap_or(' ');
            spans.extend([
                Span::styled("/", theme.bold()),
                Span::raw(before.to_owned()),
                Span::styled(at.to_string(), theme.selected()),
                Span::raw(after.as_str().to_owned()),
                Span::raw("  "),
            ]);
            match &editing.complaint {
                Some(text) => spans.push(Span::styled(text.clone(), theme.loud())),
                None => spans.push(Span::styled(
                    format!("{} shown", quantity::count(self.rows.len() as u64)),
                    theme.quiet(),
                )),
            }
        } else {
            let (_, all) = scene.sight.population();
            let shown = self.rows.len() as u64;
            let filter = match (self.query.is_empty(), self.base.is_empty()) {
                (true, true) => quantity::count(shown),
                _ => format!("{} of {}", quantity::count(shown), quantity::count(all)),
            };
            spans.push(Span::styled(filter, theme.plain()));
            if !self.query.is_empty() {
                spans.push(Span::styled("  filter ", theme.quiet()));
                spans.push(Span::styled(self.query.text.clone(), theme.bold()));
            }
            let order = if self.sort.reversed { ", reversed" } else { "" };
            let column = self.sort.column.title().to_lowercase();
            spans.push(Span::styled(format!("  by {column}{order}"), theme.quiet()));
        }
        buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
    }
}
