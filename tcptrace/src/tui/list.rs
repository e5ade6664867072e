//! A screen that is a list: sorted by any column, filtered, its selection stable, and as quick with
//! 100,000 rows as with ten.
//!
//! What is listed is a [`Subject`]'s; moving, sorting, filtering and drawing are the same for all.
//! The order is worked out anew once per tick of the engine, or when the sort or the filter
//! changes; only the rows on the screen are looked up and formatted.

mod edit;

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use tcptrace_core::filter::Filter;
use tcptrace_core::units::MonoNs;

use super::cursor::{Cursor, Movement};
use super::export::Exported;
use super::fit;
use super::prompt::Prompt;
use super::quantity;
use super::rows::{Rank, Rows, Sort};
use super::screen::{Key, Scene, Screen, Step};
use super::sight::Sight;
use super::theme::Theme;
use super::words::Query;
use edit::Editing;
pub(super) use edit::KEYS as EDIT_KEYS;

/// Keys of every list of this kind.
pub(super) const KEYS: &[Key] = &[
    ("Enter", "open", "everything known about the marked row"),
    (
        "/",
        "filter",
        "show only some; Enter keeps the words, Esc drops them",
    ),
    (
        "s/S",
        "sort",
        "by the next column, also with the arrows right and left; S turns the order around",
    ),
    ("c", "", "clear the filter"),
];

/// How wide a row is made for the clipboard.
const COPY_CELLS: usize = 200;

/// What a list passes on: the command line's filter and the words of `/`.
pub(super) struct Sieve<'a> {
    pub(super) base: &'a Filter,
    pub(super) query: &'a Query,
}

impl Sieve<'_> {
    /// Whether it passes everything.
    pub(super) fn is_open(&self) -> bool {
        self.base.is_empty() && self.query.is_empty()
    }

    pub(super) fn passes(&self, socket: &tcptrace_core::world::Socket, sight: Sight<'_>) -> bool {
        self.base.passes(socket) && self.query.passes(socket, sight)
    }
}

/// A cell of a row.
pub(super) type Cell = (String, Style);

/// What is listed.
pub(super) trait Subject: Default {
    /// Who a row is.
    type Id: Copy + Ord;
    /// What it can be sorted by.
    type Column: Copy + PartialEq + 'static;
    /// The screen's name.
    const NAME: &'static str;
    /// What is said when there is none.
    const NONE: &'static str;
    /// Every column; the first sorts until the user asks for another.
    const COLUMNS: &'static [Self::Column];

    /// Its title, and whether it is a number, which stands on the right.
    fn title(column: Self::Column) -> (&'static str, bool);

    /// The columns that fit in `cells`, with their widths.
    fn fitting(cells: usize) -> Vec<(Self::Column, usize)>;

    /// Gives every row that passes, ranked by `column`, to `rows`.
    fn rank(
        &mut self,
        sight: Sight<'_>,
        sieve: &Sieve<'_>,
        column: Self::Column,
        rows: &mut Vec<(Rank, Self::Id)>,
    );

    /// The cells of a row; `None` when it has gone.
    fn cells(
        &self,
        id: Self::Id,
        columns: &[(Self::Column, usize)],
        scene: Scene<'_>,
    ) -> Option<Vec<Cell>>;

    /// Where Enter leads.
    fn open(&self, id: Self::Id, sight: Sight<'_>) -> Option<Screen>;

    /// The row for a file.
    fn export(&self, id: Self::Id, sight: Sight<'_>) -> Option<Exported>;
}

/// The list, its order and its filter.
pub(super) struct List<S: Subject> {
    pub(super) subject: S,
    /// What the command line excludes from the view.
    base: Filter,
    query: Query,
    editing: Option<Editing>,
    sort: Sort<S::Column>,
    cursor: Cursor<S::Id>,
    rows: Rows<S::Id>,
    ranked: Vec<(Rank, S::Id)>,
    /// What `rows` was made from; made anew when it is another tick's or `None`.
    made_at: Option<MonoNs>,
    /// The columns that fitted when last drawn, and where the rows were.
    columns: Vec<(S::Column, usize)>,
    body: Rect,
}

impl<S: Subject> List<S> {
    pub(super) fn new(base: Filter) -> Self {
        Self {
            subject: S::default(),
            base,
            query: Query::default(),
            editing: None,
            sort: Sort {
                column: S::COLUMNS[0],
                reversed: false,
            },
            cursor: Cursor::default(),
            rows: Rows::default(),
            ranked: Vec::new(),
            made_at: None,
            columns: Vec::new(),
            body: Rect::default(),
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

    /// Shows only what `words` say.
    pub(super) fn show_only(&mut self, words: &str) {
        if let Ok(query) = words.parse() {
            self.query = query;
            self.forget_rows();
        }
    }

    /// The first `count` rows as the list shows them.
    pub(super) fn shown(&mut self, sight: Sight<'_>, count: usize) -> Vec<S::Id> {
        self.refresh(sight);
        self.rows.window(0, count).collect()
    }

    /// The rows that were on the screen when it was last drawn.
    pub(super) fn visible(&mut self) -> Vec<S::Id> {
        let page = usize::from(self.body.height).min(self.rows.len());
        self.rows.window(self.cursor.top(), page).collect()
    }

    fn refresh(&mut self, sight: Sight<'_>) {
        let now = sight.now();
        if self.made_at == Some(now) {
            return;
        }
        self.made_at = Some(now);
        let sieve = Sieve {
            base: &self.base,
            query: &self.query,
        };
        self.ranked.clear();
        self.subject
            .rank(sight, &sieve, self.sort.column, &mut self.ranked);
        self.rows.fill(self.ranked.drain(..), self.sort.reversed);
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

    fn marked(&mut self, sight: Sight<'_>) -> Option<S::Id> {
        self.refresh(sight);
        let position = self.settle();
        self.rows.at(position)
    }

    fn travel(&mut self, movement: Movement) {
        self.settle();
        let target = self.cursor.target(movement, self.rows.len());
        let id = self.rows.at(target);
        self.cursor.select(id, target);
    }

    fn sort_by(&mut self, column: S::Column) {
        self.sort = Sort {
            column,
            reversed: self.sort.column == column && !self.sort.reversed,
        };
        self.forget_rows();
    }

    pub(super) fn key(&mut self, key: KeyEvent, sight: Sight<'_>) -> Step {
        if self.editing.is_some() {
            return self.type_key(key);
        }
        self.refresh(sight);
        if let Some(movement) = Movement::of(key) {
            self.travel(movement);
            return Step::Changed;
        }
        match key.code {
            KeyCode::Enter => {
                let marked = self.marked(sight);
                let to = marked.and_then(|id| self.subject.open(id, sight));
                return to.map_or(Step::Unknown, Step::Open);
            }
            KeyCode::Char('/') => {
                self.editing = Some(Editing {
                    prompt: Prompt::new(&self.query.text),
                    before: self.query.clone(),
                    complaint: None,
                });
            }
            KeyCode::Char('s') | KeyCode::Right => self.sort_by(self.column_beside(1)),
            KeyCode::Left => self.sort_by(self.column_beside(-1)),
            KeyCode::Char('S') => self.sort_by(self.sort.column),
            KeyCode::Char('c') | KeyCode::Esc if !self.query.is_empty() => {
                self.query = Query::default();
                self.forget_rows();
            }
            _ => return Step::Unknown,
        }
        Step::Changed
    }

    /// The column on the screen that stands `steps` to the right of the one that sorts.
    fn column_beside(&self, steps: isize) -> S::Column {
        let shown = self.columns.iter().map(|(column, _)| *column);
        let shown: Vec<_> = match self.columns.is_empty() {
            true => S::COLUMNS.to_vec(),
            false => shown.collect(),
        };
        let of = |column: &S::Column| *column == self.sort.column;
        // One that a narrower terminal hides is left behind.
        let at = shown.iter().position(of).unwrap_or(0).cast_signed();
        let beside = (at + steps).rem_euclid(shown.len().max(1).cast_signed());
        let beside = shown.get(beside.cast_unsigned()).copied();
        beside.unwrap_or(self.sort.column)
    }

    /// A click on a title sorts, one on a row marks it, one on the marked row opens it.
    pub(super) fn click(&mut self, at: Position, sight: Sight<'_>) -> Step {
        self.refresh(sight);
        if at.y + 1 == self.body.y {
            let mut x = self.body.x + 1;
            for (column, width) in self.columns.clone() {
                if (x..=x + width as u16).contains(&at.x) {
                    self.sort_by(column);
                    return Step::Changed;
                }
                x += width as u16 + 1;
            }
            return Step::Unknown;
        }
        if !self.body.contains(at) {
            return Step::Unknown;
        }
        let marked = self.settle();
        let position = self.cursor.top() + usize::from(at.y - self.body.y);
        match self.rows.at(position) {
            Some(id) if position == marked => self
                .subject
                .open(id, sight)
                .map_or(Step::Unknown, Step::Open),
            Some(id) => {
                self.cursor.select(Some(id), position);
                Step::Changed
            }
            None => Step::Unknown,
        }
    }

    /// The marked row as text.
    pub(super) fn copy(&mut self, scene: Scene<'_>) -> Option<String> {
        let id = self.marked(scene.sight)?;
        let columns = S::fitting(COPY_CELLS);
        let cells = self.subject.cells(id, &columns, scene)?;
        let words: Vec<_> = cells.iter().map(|(text, _)| text.trim()).collect();
        Some(words.join("  "))
    }

    /// Every row that passes, in the order of the list, for a file.
    pub(super) fn export(&mut self, sight: Sight<'_>) -> Vec<Exported> {
        self.refresh(sight);
        let all = self.rows.len();
        let ids: Vec<_> = self.rows.window(0, all).collect();
        ids.into_iter()
            .filter_map(|id| self.subject.export(id, sight))
            .collect()
    }

    pub(super) fn draw(&mut self, buffer: &mut Buffer, area: Rect, scene: Scene<'_>) {
        let theme = scene.theme;
        self.refresh(scene.sight);
        self.columns = S::fitting(area.width.into());
        self.draw_title(buffer, area, theme);
        let area = self.draw_complaint(buffer, area, theme);
        buffer.set_line(area.x, area.y + 1, &self.headings(theme), area.width);
        let body = Rect {
            y: area.y + 2,
            height: area.height.saturating_sub(2),
            ..area
        };
        self.body = body;
        if self.rows.len() == 0 {
            let text = if self.query.is_empty() && self.base.is_empty() {
                format!("  {}", S::NONE)
            } else if self.query.is_empty() {
                "  Nothing passes the command line's filter.".to_owned()
            } else if self.editing.is_some() {
                "  Nothing passes the filter.".to_owned()
            } else {
                "  Nothing passes the filter; c clears it.".to_owned()
            };
            let line = Line::styled(text, theme.quiet());
            buffer.set_line(body.x, body.y, &line, body.width);
            return;
        }
        let marked = self.settle();
        let page = usize::from(body.height);
        let top = self.cursor.scroll(self.rows.len(), page);
        for ((id, position), y) in self.rows.window(top, page).zip(top..).zip(body.y..) {
            let cells = self.subject.cells(id, &self.columns, scene);
            let mut spans = Vec::new();
            for (text, style) in cells.unwrap_or_else(|| vec![("gone".to_owned(), theme.quiet())]) {
                spans.push(Span::raw(" "));
                spans.push(Span::styled(text, style));
            }
            let mut line = Line::from(spans);
            if position == marked {
                let text: String = line.spans.iter().map(|span| &*span.content).collect();
                let text = format!("{}{}", theme.marker(), text.get(1..).unwrap_or_default());
                line = Line::styled(fit::left(&text, body.width.into(), theme), theme.selected());
            }
            buffer.set_line(body.x, y, &line, body.width);
        }
    }

    fn draw_title(&self, buffer: &mut Buffer, area: Rect, theme: Theme) {
        let mut spans = vec![Span::styled(format!(" {}  ", S::NAME), theme.heading())];
        let shown = quantity::count(self.rows.len() as u64);
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
            spans.push(Span::styled(format!("{shown} shown"), theme.quiet()));
        } else {
            spans.push(Span::styled(shown, theme.plain()));
            if !self.query.is_empty() {
                spans.push(Span::styled("  filter ", theme.quiet()));
                spans.push(Span::styled(self.query.text.clone(), theme.bold()));
            } else if !self.base.is_empty() {
                spans.push(Span::styled("  filtered", theme.quiet()));
            }
            let order = if self.sort.reversed { ", reversed" } else { "" };
            let column = S::title(self.sort.column).0.to_lowercase();
            spans.push(Span::styled(format!("  by {column}{order}"), theme.quiet()));
        }
        buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
    }

    /// The titles of the columns, the one that sorts with a mark.
    fn headings(&self, theme: Theme) -> Line<'static> {
        let mut spans = vec![Span::raw(" ")];
        for (column, cells) in &self.columns {
            let sorts = *column == self.sort.column;
            let mark = match (sorts, self.sort.reversed) {
                (false, _) => "",
                (true, false) => theme.ascending(),
                (true, true) => theme.descending(),
            };
            let (title, is_number) = S::title(*column);
            let title = format!("{title}{mark}");
            let title = if is_number {
                fit::right(&title, *cells, theme)
            } else {
                fit::left(&title, *cells, theme)
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
}
