//! The buffer in which a line is made, before it is copied to the batch whole.
//!
//! A line has some thirty members of a few bytes each, so what counts is the cost of a small piece:
//! room is taken once for each, checked once, and filled by moves of a size that the compiler knows.
//! A call of `memcpy` for five bytes costs more than the five bytes.

use std::mem;

/// Where most lines fit; longer ones (headers, findings, long lists of holders) make it grow.
const ROOM: usize = 4 << 10;

/// Decimal digits in pairs.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// The parts of an IPv4 address in decimal, leading zeroes included.
const OCTETS: [[u8; 3]; 256] = {
    let mut octets = [[0; 3]; 256];
    let mut number = 0;
    while number < 256 {
        let [tens, ones] = PAIRS[number % 100];
        octets[number] = [b'0' + (number / 100) as u8, tens, ones];
        number += 1;
    }
    octets
};

/// A text that was made at compile time, in room of a known size: moving all of the room takes a few
/// moves, where moving a text of unknown length takes a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<const N: usize> {
    room: [u8; N],
    len: usize,
}

impl<const N: usize> Piece<N> {
    /// All parts, one after the other; they must fit.
    pub(super) const fn of(parts: &[&str]) -> Self {
        let mut piece = Self {
            room: [0; N],
            len: 0,
        };
        let mut number = 0;
        while number < parts.len() {
            let part = parts[number].as_bytes();
            let mut at = 0;
            while at < part.len() {
                piece.room[piece.len] = part[at];
                piece.len += 1;
                at += 1;
            }
            number += 1;
        }
        piece
    }
}

/// A line under construction.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// Always of full length; what lies behind `len` is what is left of earlier lines.
    bytes: Vec<u8>,
    len: usize,
}

impl Draft {
    /// An empty line.
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; ROOM],
            len: 0,
        }
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// What was written since it was last empty.
    pub(super) fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How much was written.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Room for the next `count` bytes, all of which must be written, or given back.
    #[inline(always)]
    pub(super) fn take(&mut self, count: usize) -> &mut [u8] {
        let end = self.len + count;
        if end > self.bytes.len() {
            self.grow(end);
        }
        let begin = mem::replace(&mut self.len, end);
        &mut self.bytes[begin..end]
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        self.bytes.resize(end.next_power_of_two(), 0);
    }

    /// One byte.
    #[inline(always)]
    pub(super) fn byte(&mut self, byte: u8) {
        self.take(1)[0] = byte;
    }

    /// A piece of known length, or a long one.
    #[inline(always)]
    pub(super) fn put(&mut self, piece: &[u8]) {
        self.take(piece.len()).copy_from_slice(piece);
    }

    /// A text made at compile time. What lies behind it in its room is overwritten by what follows.
    #[inline(always)]
    pub(super) fn piece<const N: usize>(&mut self, piece: &Piece<N>) {
        let end = self.len + N;
        if end > self.bytes.len() {
            self.grow(end);
        }
        self.bytes[self.len..end].copy_from_slice(&piece.room);
        self.len += piece.len;
    }

    /// A piece of a few bytes whose number is not known beforehand.
    #[inline(always)]
    pub(super) fn put_short(&mut self, piece: &[u8]) {
        let count = piece.len();
        let room = self.take(count);
        // Two moves that overlap cover every length between one and two of them.
        match count {
            0 => {}
            1..4 => {
                for (to, from) in room.iter_mut().zip(piece) {
                    *to = *from;
                }
            }
            4..8 => overlapping::<4>(room, piece),
            8..16 => overlapping::<8>(room, piece),
            16..32 => overlapping::<16>(room, piece),
            _ => room.copy_from_slice(piece),
        }
    }

    /// A number in decimal.
    #[inline(always)]
    pub(super) fn number(&mut self, number: impl Whole) {
        let (negative, value) = number.parts();
        if negative {
            self.byte(b'-');
        }
        self.digits(value);
    }

    /// Four at a time from the end, in a place of their own: how many there are is known only then.
    #[inline]
    fn digits(&mut self, value: u64) {
        if value < 10 {
            self.byte(b'0' + value as u8);
            return;
        }
        let mut room = [0; 20];
        let mut at = room.len();
        let mut put = |rest: u64| {
            at -= 2;
            room[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        };
        let mut rest = value;
        while rest >= 10_000 {
            let low = rest % 10_000;
            rest /= 10_000;
            put(low);
            put(low / 100);
        }
        if rest >= 100 {
            put(rest);
            rest /= 100;
        }
        put(rest);
        if rest < 10 {
            at += 1;
        }
        self.put_short(&room[at..]);
    }

    /// A part of an IPv4 address.
    #[inline(always)]
    pub(super) fn octet(&mut self, octet: u8) {
        let [hundreds, rest @ ..] = OCTETS[usize::from(octet)];
        match octet {
            0..10 => self.byte(rest[1]),
            10..100 => self.put(&rest),
            100.. => self.put(&[hundreds, rest[0], rest[1]]),
        }
    }
}

/// Both ends of a piece that is between `N` and `2 * N` bytes long.
#[inline(always)]
fn overlapping<const N: usize>(room: &mut [u8], piece: &[u8]) {
    if let (Some(to), Some(from)) = (room.first_chunk_mut::<N>(), piece.first_chunk::<N>()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (room.last_chunk_mut::<N>(), piece.last_chunk::<N>()) {
        *to = *from;
    }
}

/// Fills `room` with the last digits of `value`, leading zeroes included.
#[inline]
pub(super) fn digits(room: &mut [u8], value: u64) {
    let mut rest = value;
    let mut pairs = room.rchunks_exact_mut(2);
    for pair in &mut pairs {
        pair.copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if let [first] = pairs.into_remainder() {
        *first = b'0' + (rest % 10) as u8;
    }
}

/// A whole number of any width.
pub(super) trait Whole: Copy {
    /// Whether it is below zero, and how far it is from zero.
    fn parts(self) -> (bool, u64);
}

macro_rules! whole {
    ($($unsigned:ty)* ; $($signed:ty)*) => {
        $(impl Whole for $unsigned {
            #[inline(always)]
            fn parts(self) -> (bool, u64) {
                (false, u64::from(self))
            }
        })*
        $(impl Whole for $signed {
            #[inline(always)]
            fn parts(self) -> (bool, u64) {
                (self < 0, u64::from(self.unsigned_abs()))
            }
        })*
    };
}

whole!(u8 u16 u32 u64 ; i32 i64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(fill: impl FnOnce(&mut Draft)) -> String {
        let mut line = Draft::new();
        // What lies behind the end must not matter.
        line.put(&[b'x'; 100]);
        line.clear();
        fill(&mut line);
        String::from_utf8(line.written().to_vec()).unwrap()
    }

    #[test]
    fn a_line_grows_with_its_pieces() {
        let piece = "0123456789".repeat(ROOM);
        assert_eq!(written(|line| line.put(piece.as_bytes())), piece);
    }

    #[test]
    fn texts_made_beforehand_need_not_fill_their_room() {
        const PIECE: Piece<48> = Piece::of(&["abc", "", "def"]);
        let long = "x".repeat(ROOM - 6);
        let text = written(|line| {
            line.put(long.as_bytes());
            line.piece(&PIECE);
            line.byte(b'.');
        });
        assert_eq!(text, format!("{long}abcdef."));
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_the_library_does(a: u64, b: i64, c: u8, shift in 0..64_u32) {
            let text = written(|line| {
                line.number(a >> shift);
                line.byte(b' ');
                line.number(b >> shift);
                line.byte(b' ');
                line.octet(c);
            });
            prop_assert_eq!(text, format!("{} {} {c}", a >> shift, b >> shift));
        }

        #[test]
        fn short_pieces_of_every_length_are_whole(text in "[a-z]{0,70}") {
            prop_assert_eq!(written(|line| line.put_short(text.as_bytes())), text);
        }
    }
}
