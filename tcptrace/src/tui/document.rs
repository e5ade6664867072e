//! A text that scrolls: headings, paragraphs, tables of names and values, and lines that can be
//! marked.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::fit;
use super::quantity;
use super::screen::Place;
use super::theme::Theme;

/// Names in a table of pairs take at most this many cells.
const NAME_CELLS: usize = 22;

/// Lines laid out for one width.
pub(super) struct Document {
    theme: Theme,
    cells: usize,
    lines: Vec<Line<'static>>,
    /// Which of them can be marked and opened.
    links: Vec<usize>,
}

impl Document {
    pub(super) fn new(width: u16, theme: Theme) -> Self {
        Self {
            theme,
            // One cell of air on each side.
            cells: usize::from(width).saturating_sub(2),
            lines: Vec::new(),
            links: Vec::new(),
        }
    }

    pub(super) fn cells(&self) -> usize {
        self.cells
    }

    pub(super) fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(Line::default());
        }
        self.lines
            .push(Line::styled(text.to_owned(), self.theme.heading()));
    }

    /// Wrapped text. It must have been escaped.
    pub(super) fn paragraph(&mut self, text: &str, style: Style) {
        for line in fit::wrap(text, self.cells) {
            self.lines.push(Line::styled(line, style));
        }
    }

    /// A table of names and values; long values wrap under themselves. Both must have been
    /// escaped.
    pub(super) fn pairs<N: AsRef<str>>(&mut self, pairs: &[(N, String)]) {
        let names = pairs.iter().map(|(name, _)| fit::width(name.as_ref()));
        let column = names.max().unwrap_or(0).min(NAME_CELLS);
        for (name, value) in pairs {
            let room = self.cells.saturating_sub(column + 4);
            for (i, piece) in fit::wrap(value, room).into_iter().enumerate() {
                let name = if i == 0 { name.as_ref() } else { "" };
                self.lines.push(Line::from(vec![
                    Span::styled(
                        format!("  {}  ", fit::left(name, column, self.theme)),
                        self.theme.quiet(),
                    ),
                    Span::raw(piece),
                ]));
            }
        }
    }

    pub(super) fn line(&mut self, line: Line<'static>) {
        self.lines.push(line);
    }

    /// A line that can be marked and opened.
    pub(super) fn link(&mut self, text: &str, marked: bool) {
        let marker = if marked { self.theme.marker() } else { " " };
        let text = fit::left(&format!("{marker} {text}"), self.cells, self.theme);
        self.links.push(self.lines.len());
        if marked {
            self.lines.push(Line::styled(text, self.theme.selected()));
        } else {
            self.lines.push(Line::raw(text));
        }
    }

    /// The text alone, for the clipboard.
    pub(super) fn text(&self) -> String {
        let lines = self.lines.iter().map(|line| {
            let text: String = line.spans.iter().map(|span| &*span.content).collect();
            text.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Draws what is in sight of `place`, and notes there how far it can scroll.
    pub(super) fn draw(self, buffer: &mut Buffer, area: Rect, place: &mut Place) {
        let height = usize::from(area.height);
        let overflows = self.lines.len() > height;
        // The last line then says what is missing.
        let page = if overflows { height - 1 } else { height };
        place.fit(self.lines.len(), page, self.links);
        for (line, y) in self
            .lines
            .iter()
            .skip(place.scroll)
            .take(page)
            .zip(area.y..)
        {
            buffer.set_line(area.x + 1, y, line, self.cells as u16);
        }
        if overflows {
            let below = self.lines.len() - place.scroll - page;
            let text = match below {
                0 => "end".to_owned(),
                below => format!(
                    "{}: j or PgDn",
                    quantity::counted(below as u64, "more line")
                ),
            };
            let line = Line::styled(
                fit::right(&text, self.cells, self.theme),
                self.theme.quiet(),
            );
            buffer.set_line(area.x + 1, area.bottom() - 1, &line, self.cells as u16);
        }
    }
}
