//! The gate between names that strangers chose and a terminal or a page.
//!
//! A process may call itself anything: an escape sequence that clears the screen, a right-to-left
//! override that makes `live.exe` read `exe.evil`. Every text that is not ours passes [`printable`]
//! before it is shown.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal may act on `c`, or a reader may be misled by it: controls, bidirectional
/// formatting, and characters that take no room or hide others.
pub(crate) fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'                        // soft hyphen
            | '\u{34f}'                     // combining grapheme joiner
            | '\u{61c}'                     // Arabic letter mark
            | '\u{115f}' | '\u{1160}'       // Hangul fillers
            | '\u{17b4}' | '\u{17b5}'       // invisible Khmer vowels
            | '\u{180b}'..='\u{180f}'       // Mongolian variation selectors
            | '\u{200b}'..='\u{200f}'       // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'       // line separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}'       // word joiner, isolates, deprecated formatting
            | '\u{3164}' | '\u{ffa0}'       // Hangul fillers
            | '\u{fe00}'..='\u{fe0f}'       // variation selectors
            | '\u{feff}'                    // byte order mark
            | '\u{fff0}'..='\u{fffb}'       // interlinear annotation
            | '\u{e0000}'..='\u{e0fff}') // tags and more variation selectors
}

/// `text` with everything hostile spelt out: `\x1b`, `\u{202e}`. With `ascii`, all that is not
/// ASCII is spelt out too.
///
/// The escapes hold no hostile character, so escaping twice does no harm.
pub(crate) fn escape(text: &str, ascii: bool) -> Cow<'_, str> {
    let bad = |c: char| is_hostile(c) || (ascii && !c.is_ascii());
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let code = u32::from(c);
        let written = match c {
            _ if !bad(c) => {
                plain.push(c);
                Ok(())
            }
            _ if code < 0x100 => write!(plain, "\\x{code:02x}"),
            _ => write!(plain, "\\u{{{code:x}}}"),
        };
        debug_assert!(written.is_ok(), "a String takes any text");
    }
    Cow::Owned(plain)
}

/// `text` as it may be shown on any terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escape(text, false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(hostile: &str, shown: &str) {
        assert_eq!(escape(hostile, false), shown);
    }

    #[test]
    fn hostile_characters_are_spelt_out() {
        check("nginx", "nginx");
        check("ngi\u{1b}[2Jnx", "ngi\\x1b[2Jnx");
        check("a\nb\rc\td\0e", "a\\x0ab\\x0dc\\x09d\\x00e");
        check("c1\u{9b}31m", "c1\\x9b31m");
        check("live\u{202e}exe.", "live\\u{202e}exe.");
        check("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}");
        check("zero\u{200b}width", "zero\\u{200b}width");
        check("tag\u{e0041}", "tag\\u{e0041}");
        check("naïve 服务", "naïve 服务");
        assert_eq!(escape("naïve", true), "na\\xefve");
    }

    proptest! {
        #[test]
        fn nothing_hostile_survives(text in any::<String>(), ascii in any::<bool>()) {
            let shown = escape(&text, ascii);
            prop_assert!(!shown.contains(is_hostile));
            prop_assert!(!ascii || shown.is_ascii());
            prop_assert_eq!(escape(&shown, ascii), shown.clone());
        }
    }
}
