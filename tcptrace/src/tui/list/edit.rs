//! The filter of a list while it is being typed: applied as far as it makes sense, explained where
//! it does not, and dropped whole by Esc.

use crossterm::event::KeyEvent;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::super::fit;
use super::super::prompt::{Prompt, Typed};
use super::super::screen::{Key, Step};
use super::super::theme::Theme;
use super::super::words::Query;
use super::{List, Subject};

/// Keys while the filter is typed.
pub(in crate::tui) const KEYS: &[Key] = &[
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

/// The filter line is open.
pub(super) struct Editing {
    pub(super) prompt: Prompt,
    /// What Esc goes back to.
    pub(super) before: Query,
    /// Why the words in the prompt cannot be understood; the last good ones stay in force.
    pub(super) complaint: Option<String>,
}

impl<S: Subject> List<S> {
    pub(super) fn type_key(&mut self, key: KeyEvent) -> Step {
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
    pub(in crate::tui) fn paste(&mut self, text: &str) {
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

    /// Why the words cannot be understood, whole, below the line in which they are typed; the area
    /// that is left begins one line above what is left for the list.
    pub(super) fn draw_complaint(&self, buffer: &mut Buffer, area: Rect, theme: Theme) -> Rect {
        let complaint = self.editing.as_ref().and_then(|it| it.complaint.as_ref());
        let lines = complaint.map_or_else(Vec::new, |complaint| {
            fit::wrap(complaint, usize::from(area.width).saturating_sub(2))
        });
        for (line, y) in lines.iter().zip(area.y + 1..area.bottom()) {
            let line = Line::styled(format!(" {line} "), theme.loud());
            buffer.set_line(area.x, y, &line, area.width);
        }
        let taken = u16::try_from(lines.len()).unwrap_or(0).min(area.height);
        Rect {
            y: area.y + taken,
            height: area.height - taken,
            ..area
        }
    }
}
