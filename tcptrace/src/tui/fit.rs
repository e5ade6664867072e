//! Making text fit: columns are terminal cells, not bytes or characters.

use ratatui::text::Span;
use tcptrace_core::tcp::Endpoint;

use super::theme::Theme;

/// How many cells `text` takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The longest prefix of `text` that takes at most `cells`.
fn prefix(text: &str, cells: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += width(c.encode_utf8(&mut [0; 4]));
        if used > cells {
            return &text[..at];
        }
    }
    text
}

/// `text` cut to `cells`, with an ellipsis where something is missing.
pub(super) fn cut(text: &str, cells: usize, theme: Theme) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let room = cells.saturating_sub(width(theme.ellipsis()));
    let mut cut = prefix(text, room).to_owned();
    if cells > 0 {
        cut.push_str(theme.ellipsis());
    }
    cut
}

/// `text` cut or padded on the right to exactly `cells`.
pub(super) fn left(text: &str, cells: usize, theme: Theme) -> String {
    let mut text = cut(text, cells, theme);
    let missing = cells.saturating_sub(width(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

/// `text` cut or padded on the left to exactly `cells`.
pub(super) fn right(text: &str, cells: usize, theme: Theme) -> String {
    let text = cut(text, cells, theme);
    let missing = cells.saturating_sub(width(&text));
    let mut padded = " ".repeat(missing);
    padded.push_str(&text);
    padded
}

/// An endpoint in `cells`; a long IPv6 address gives way before the port does.
pub(super) fn endpoint(endpoint: Endpoint, cells: usize, theme: Theme) -> String {
    let text = endpoint.to_string();
    if text.len() <= cells {
        return left(&text, cells, theme);
    }
    let tail = text.rfind("]:").map_or("", |at| &text[at..]);
    let head = &text[..text.len() - tail.len()];
    let mut cut = cut(head, cells.saturating_sub(tail.len()), theme);
    cut.push_str(tail);
    left(&cut, cells, theme)
}

/// The cells that columns take, with the mark or a space before each.
pub(super) fn columns<C>(columns: &[(C, usize)]) -> usize {
    columns.iter().map(|(_, width)| width + 1).sum()
}

/// Gives the spare of `cells` to columns, in the order of `wishes`, up to the width wished for.
pub(super) fn widen<C: PartialEq>(columns: &mut [(C, usize)], cells: usize, wishes: &[(C, usize)]) {
    let mut spare = cells.saturating_sub(self::columns(columns));
    for (column, widest) in wishes {
        if let Some((_, width)) = columns.iter_mut().find(|(c, _)| c == column) {
            let more = widest.saturating_sub(*width).min(spare);
            *width += more;
            spare -= more;
        }
    }
}

/// `text` broken into lines of at most `cells` at spaces, or inside a word that is longer.
pub(super) fn wrap(text: &str, cells: usize) -> Vec<String> {
    let cells = cells.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        if !line.is_empty() && width(&line) + 1 + width(word) > cells {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        while width(word) > cells {
            let piece = prefix(word, cells);
            // A cell is narrower than a wide character: let it overhang rather than loop.
            let at = if piece.is_empty() {
                word.chars().next().map_or(word.len(), char::len_utf8)
            } else {
                piece.len()
            };
            lines.push(word[..at].to_owned());
            word = &word[at..];
        }
        line.push_str(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THEME: Theme = Theme {
        color: false,
        ascii: false,
        palette: super::super::theme::Palette::Dark,
    };

    #[test]
    fn text_is_cut_with_an_ellipsis() {
        assert_eq!(cut("nginx", 5, THEME), "nginx");
        assert_eq!(cut("nginx", 4, THEME), "ngi…");
        assert_eq!(cut("服务器", 5, THEME), "服务…");
        assert_eq!(cut("nginx", 0, THEME), "");
        assert_eq!(right("12", 4, THEME), "  12");
        assert_eq!(left("12", 4, THEME), "12  ");
    }

    #[test]
    fn the_port_outlives_the_address() {
        let known = |text: &str| Endpoint::known(text.parse().unwrap());
        assert_eq!(endpoint(known("10.0.0.1:80"), 14, THEME), "10.0.0.1:80   ");
        assert_eq!(
            endpoint(known("[2001:db8:1:2:3:4:5:6]:443"), 21, THEME),
            "[2001:db8:1:2:3…]:443"
        );
        assert_eq!(endpoint(Endpoint::default(), 4, THEME), "*:* ");
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("to be or not", 5), ["to be", "or", "not"]);
        assert_eq!(wrap("unbreakable", 5), ["unbre", "akabl", "e"]);
        assert_eq!(wrap("", 5), [""]);
    }

    proptest! {
        #[test]
        fn wrapped_lines_fit_and_lose_nothing(text in "[a-zé服 ]{0,60}", cells in 2..20_usize) {
            let lines = wrap(&text, cells);
            for line in &lines {
                prop_assert!(width(line) <= cells);
            }
            let letters = |text: &str| text.replace(' ', "");
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
