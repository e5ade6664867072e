//! The gate between names that strangers chose and the terminal.
//!
//! A process may call itself anything: an escape sequence that clears the screen, a right-to-left
//! override that makes `live.exe` read `exe.evil`. Every text that is not ours passes [`printable`](crate::printable);
//! [`scrub`] guards the finished frame, so that a forgotten call shows a replacement character
//! instead of obeying the stranger.

use ratatui::buffer::Buffer;

pub(super) use crate::printable::{escape, is_hostile};

/// The last gate: replaces what [`printable`](crate::printable) should have spelt out.
pub(super) fn scrub(buffer: &mut Buffer, ascii: bool) {
    let replacement = if ascii { "?" } else { "\u{fffd}" };
    for cell in &mut buffer.content {
        let symbol = cell.symbol();
        if symbol.contains(is_hostile) || (ascii && !symbol.is_ascii()) {
            cell.set_symbol(replacement);
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;

    use super::*;

    #[test]
    fn the_last_gate_replaces_what_was_forgotten() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 2, 1));
        buffer[(0, 0)].set_symbol("a\u{202e}");
        buffer[(1, 0)].set_symbol("b");
        scrub(&mut buffer, false);
        assert_eq!(buffer[(0, 0)].symbol(), "\u{fffd}");
        assert_eq!(buffer[(1, 0)].symbol(), "b");
    }
}
