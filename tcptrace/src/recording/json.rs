//! Writing JSON by hand, without allocating: the hot lines are made here. Serde's writers are kept
//! for the rare ones, with the same rules of escaping.
//!
//! Invariant: whatever the text, the output is valid JSON and safe to print on a terminal. Names
//! come from processes that choose them, and `-o -` may end on a screen.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use tcptrace_core::units::nanos;

use super::draft::{Draft, Piece, Whole};

/// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`
const LONGEST_V6: usize = 45;

/// An object under construction. Absent values are simply not written.
pub(super) struct Object<'a> {
    out: &'a mut Draft,
    /// What the next key is preceded by: the opening brace at first.
    separator: u8,
}

impl<'a> Object<'a> {
    /// Goes on with an object whose opening brace and first member stand in `out` already.
    pub(super) fn resume(out: &'a mut Draft) -> Self {
        Self {
            out,
            separator: b',',
        }
    }

    #[inline(always)]
    fn key(&mut self, key: &'static str) {
        let name = key.as_bytes();
        let room = self.out.take(name.len() + 4);
        let (before, rest) = room.split_at_mut(2);
        before.copy_from_slice(&[self.separator, b'"']);
        let (middle, after) = rest.split_at_mut(name.len());
        middle.copy_from_slice(name);
        after.copy_from_slice(b"\":");
        self.separator = b',';
    }

    /// Members made at compile time. They begin with a comma, so they cannot be the first.
    #[inline(always)]
    pub(super) fn made<const N: usize>(&mut self, members: &Piece<N>) {
        debug_assert_eq!(self.separator, b',', "the first member has no comma");
        self.out.piece(members);
    }

    /// Where the next bytes go: for pieces that were made before.
    pub(super) fn draft(&mut self) -> &mut Draft {
        self.out
    }

    /// A whole number.
    #[inline(always)]
    pub(super) fn number(&mut self, key: &'static str, value: impl Whole) {
        self.key(key);
        self.out.number(value);
    }

    /// A whole number, where known.
    #[inline(always)]
    pub(super) fn known(&mut self, key: &'static str, value: Option<impl Whole>) {
        if let Some(value) = value {
            self.number(key, value);
        }
    }

    /// A time span in nanoseconds, where known.
    #[inline(always)]
    pub(super) fn span(&mut self, key: &'static str, value: Option<Duration>) {
        self.known(key, value.map(nanos));
    }

    /// A truth value.
    #[inline(always)]
    pub(super) fn flag(&mut self, key: &'static str, value: bool) {
        self.key(key);
        if value {
            self.out.put(b"true");
        } else {
            self.out.put(b"false");
        }
    }

    /// One of our own words, which need no escaping.
    #[inline(always)]
    pub(super) fn word(&mut self, key: &'static str, value: &'static str) {
        self.key(key);
        self.out.byte(b'"');
        self.out.put_short(value.as_bytes());
        self.out.byte(b'"');
    }

    /// Foreign text.
    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        escaped(self.out, value);
    }

    /// Foreign text, where known.
    pub(super) fn known_text(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A number written as text in base 36, lower case: an identity.
    pub(super) fn base36(&mut self, key: &'static str, number: u64) {
        self.key(key);
        let mut digits = [0_u8; 13];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        self.out.byte(b'"');
        self.out.put_short(&digits[at..]);
        self.out.byte(b'"');
    }

    /// An IP address.
    pub(super) fn address(&mut self, key: &'static str, address: IpAddr) {
        self.key(key);
        self.out.byte(b'"');
        match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                self.out.octet(a);
                for octet in [b, c, d] {
                    self.out.byte(b'.');
                    self.out.octet(octet);
                }
            }
            IpAddr::V6(v6) => {
                let mut room = [0; LONGEST_V6];
                let mut rest = &mut room[..];
                write!(rest, "{v6}").expect("the room is that of the longest address");
                let unused = rest.len();
                self.out.put(&room[..LONGEST_V6 - unused]);
            }
        }
        self.out.byte(b'"');
    }

    /// A member that is an object.
    #[inline(always)]
    pub(super) fn object(&mut self, key: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        object(self.out, fill);
    }

    /// A member that is an array of objects.
    pub(super) fn objects<T>(
        &mut self,
        key: &'static str,
        items: impl IntoIterator<Item = T>,
        fill: impl Fn(&mut Object<'_>, T),
    ) {
        self.key(key);
        let mut separator = b'[';
        for item in items {
            self.out.byte(separator);
            separator = b',';
            object(self.out, |inner| fill(inner, item));
        }
        if separator == b'[' {
            self.out.byte(b'[');
        }
        self.out.byte(b']');
    }

    /// A member that is an array of our own words.
    pub(super) fn words(&mut self, key: &'static str, words: &[(&'static str, bool)]) {
        self.key(key);
        self.out.byte(b'[');
        let mut first = true;
        for (word, _) in words.iter().filter(|(_, present)| *present) {
            if !first {
                self.out.byte(b',');
            }
            first = false;
            self.out.byte(b'"');
            self.out.put_short(word.as_bytes());
            self.out.byte(b'"');
        }
        self.out.byte(b']');
    }

    /// Appends the members of `value`, which must serialize as an object. For rare lines: it
    /// allocates.
    pub(super) fn members(&mut self, value: &impl Serialize) {
        let mut text = Vec::with_capacity(1024);
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, Printable);
        value
            .serialize(&mut serializer)
            .expect("our own types have string keys, and a Vec accepts every byte");
        let inner = text
            .strip_prefix(b"{")
            .and_then(|rest| rest.strip_suffix(b"}"))
            .expect("our own types serialize as objects");
        if !inner.is_empty() {
            self.out.byte(self.separator);
            self.separator = b',';
            self.out.put(inner);
        }
    }

    /// Closes the object.
    pub(super) fn close(self) {
        if self.separator == b'{' {
            self.out.byte(b'{');
        }
        self.out.byte(b'}');
    }
}

#[inline(always)]
fn object(out: &mut Draft, fill: impl FnOnce(&mut Object<'_>)) {
    let mut inner = Object {
        out,
        separator: b'{',
    };
    fill(&mut inner);
    inner.close();
}

/// Appends `text` as a JSON string.
fn escaped(out: &mut Draft, text: &str) {
    out.byte(b'"');
    let plain = |b: u8| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\';
    if text.bytes().all(plain) {
        out.put_short(text.as_bytes());
    } else {
        for c in text.chars() {
            match c {
                '"' => out.put(b"\\\""),
                '\\' => out.put(b"\\\\"),
                '\n' => out.put(b"\\n"),
                '\t' => out.put(b"\\t"),
                c if hostile(c) => out.put(&unicode_escape(c)),
                c => out.put(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    out.byte(b'"');
}

/// Characters that make a terminal do something else than show them: controls (C0, DEL, C1), line
/// separators, and those that turn the direction of writing. All lie below U+10000.
fn hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

fn unicode_escape(c: char) -> [u8; 6] {
    let code = u32::from(c);
    let digit = |shift: u32| b"0123456789abcdef"[(code >> shift & 0xf) as usize];
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
}

/// Serde's compact JSON, with our escaping of hostile characters. Serde itself escapes quotes,
/// backslashes and C0; the rest reaches `write_string_fragment`.
struct Printable;

impl serde_json::ser::Formatter for Printable {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for part in fragment.split_inclusive(hostile) {
            let last = part.chars().next_back().filter(|c| hostile(*c));
            let clean = &part[..part.len() - last.map_or(0, char::len_utf8)];
            writer.write_all(clean.as_bytes())?;
            if let Some(c) = last {
                writer.write_all(&unicode_escape(c))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_hand(text: &str) -> String {
        let mut out = Draft::new();
        escaped(&mut out, text);
        String::from_utf8(out.written().to_vec()).unwrap()
    }

    fn by_serde(text: &str) -> String {
        let mut out = Draft::new();
        let mut object = Object::resume(&mut out);
        object.members(&std::collections::BTreeMap::from([("k", text)]));
        let out = String::from_utf8(out.written().to_vec()).unwrap();
        out.strip_prefix(",\"k\":").unwrap().to_owned()
    }

    #[test]
    fn hostile_names_cannot_reach_the_terminal() {
        let evil = "a\x1b[2J\u{202e}\u{9b}31m\x7f\"\\\n\u{0}é";
        for text in [by_hand(evil), by_serde(evil)] {
            assert!(!text.chars().any(hostile), "{text}");
            assert_eq!(serde_json::from_str::<String>(&text).unwrap(), evil);
        }
    }

    #[test]
    fn empty_containers_are_closed() {
        let mut out = Draft::new();
        object(&mut out, |o| {
            o.objects("none", std::iter::empty::<u8>(), |_, _| ());
            o.object("empty", |_| ());
            o.words("words", &[("A", true), ("B", false), ("C", true)]);
            o.members(&std::collections::BTreeMap::<&str, u8>::new());
        });
        assert_eq!(
            out.written(),
            br#"{"none":[],"empty":{},"words":["A","C"]}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "\\PC*|[\\s\\S]*") {
            for json in [by_hand(&text), by_serde(&text)] {
                prop_assert_eq!(&serde_json::from_str::<String>(&json).unwrap(), &text);
            }
        }
    }
}
