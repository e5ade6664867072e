//! The last line: the keys that matter here.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::fit;
use super::screen::Key;
use super::theme::Theme;

/// What has just been done, in place of the keys.
pub(super) fn notice(buffer: &mut Buffer, area: Rect, text: &str, theme: Theme) {
    let text = fit::cut(&format!(" {text} "), area.width.into(), theme);
    buffer.set_line(
        area.x,
        area.y,
        &Line::styled(text, theme.badge()),
        area.width,
    );
}

/// The keys of the screen at hand and those that work everywhere, as many as fit; help and quit
/// always do.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, keys: &[&[Key]], theme: Theme) {
    let named: Vec<_> = keys
        .iter()
        .flat_map(|keys| keys.iter())
        .filter(|(_, word, _)| !word.is_empty())
        .collect();
    let cells = |(key, word, _): &Key| key.len() + word.len() + 3;
    let is_last = |(key, _, _): &Key| matches!(*key, "?" | "q");
    let mut room = usize::from(area.width).saturating_sub(1);
    room = room.saturating_sub(named.iter().filter(|k| is_last(k)).map(|k| cells(k)).sum());
    let mut spans = vec![Span::raw(" ")];
    for key in named {
        if !is_last(key) {
            if cells(key) > room {
                continue;
            }
            room -= cells(key);
        }
        spans.push(Span::styled(key.0, theme.bold()));
        spans.push(Span::styled(format!(" {}  ", key.1), theme.quiet()));
    }
    buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
}
