//! Wall-clock stamps for monotonic instants, cheaply: RFC 3339, UTC, nanoseconds.
//!
//! The difference between the two clocks is data: it stands in the header and every tick brings it
//! up to date, so that the `time` of a tick is exactly the wall clock that it carries.

use tcptrace_core::input::Tick;
use tcptrace_core::units::{MonoNs, WallNs};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::draft::digits;

const NANOS: i128 = 1_000_000_000;

/// Turns monotonic time into RFC 3339 text.
#[derive(Clone, Debug)]
pub(super) struct Stamper {
    /// Wall clock minus monotonic clock. Wider than both, so that no tick is rounded.
    offset: i128,
    /// The second that `prefix` spells; most lines share it with the line before.
    second: i64,
    prefix: [u8; 20],
}

impl Stamper {
    /// With the clock offset of a header.
    pub(super) fn new(clock_offset_ns: i64) -> Self {
        Self {
            offset: clock_offset_ns.into(),
            second: 0,
            prefix: *b"1970-01-01T00:00:00.",
        }
    }

    /// Takes the offset of a tick: the wall clock may have been set or slewed.
    pub(super) fn learn(&mut self, tick: &Tick) {
        self.offset = i128::from(tick.wall.0) - i128::from(tick.at.0);
    }

    /// The difference, clamped to what a header can say.
    pub(super) fn offset(&self) -> i64 {
        self.offset.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// The wall clock at `at`.
    pub(super) fn wall(&self, at: MonoNs) -> WallNs {
        let wall = i128::from(at.0) + self.offset;
        // Clamped to what nanoseconds in an i64 can say: the years 1677 to 2262.
        WallNs(wall.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    /// The stamp of `at`, without quotes.
    pub(super) fn stamp(&mut self, at: MonoNs) -> [u8; 30] {
        let wall = self.wall(at).0;
        let second = wall.div_euclid(NANOS as i64);
        if second != self.second {
            self.prefix = spell(second);
            self.second = second;
        }
        let mut text = [b'Z'; 30];
        text[..20].copy_from_slice(&self.prefix);
        digits(&mut text[20..29], wall.rem_euclid(NANOS as i64) as u64);
        text
    }

    /// The stamp of `at` as a string.
    pub(super) fn text(&mut self, at: MonoNs) -> String {
        String::from_utf8_lossy(&self.stamp(at)).into_owned()
    }
}

/// `2026-11-20T22:43:05.`
fn spell(second: i64) -> [u8; 20] {
    let mut text = *b"0000-00-00T00:00:00.";
    // Seconds of an i64 of nanoseconds lie well within the years that the crate can say.
    let at = OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut put = |from: usize, width: usize, value: u32| {
        let mut rest = value;
        for digit in text[from..from + width].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    };
    put(0, 4, at.year().unsigned_abs());
    put(5, 2, u8::from(at.month()).into());
    put(8, 2, at.day().into());
    put(11, 2, at.hour().into());
    put(14, 2, at.minute().into());
    put(17, 2, at.second().into());
    text
}

/// Reads an RFC 3339 stamp; nothing when it is none, or lies outside the years 1677 to 2262.
pub(crate) fn parse(text: &str) -> Option<WallNs> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos()).ok().map(WallNs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp(wall: i64) -> String {
        let mut stamper = Stamper::new(0);
        stamper.learn(&Tick {
            at: MonoNs(7),
            wall: WallNs(wall),
        });
        stamper.text(MonoNs(7))
    }

    #[test]
    fn stamps_are_rfc3339() {
        for (wall, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (1_709_210_096_000_000_042, "2024-02-29T12:34:56.000000042Z"),
        ] {
            assert_eq!(stamp(wall), text);
        }
        assert_eq!(
            parse("2024-02-29T13:34:56.5+01:00"),
            Some(WallNs(1_709_210_096_500_000_000))
        );
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn the_cached_second_is_replaced_both_ways() {
        let mut stamper = Stamper::new(0);
        for second in [5, 6, 5, 65, 0] {
            let text = stamper.text(MonoNs(second * 1_000_000_000));
            assert_eq!(parse(&text), Some(WallNs(second as i64 * 1_000_000_000)));
        }
    }

    proptest! {
        #[test]
        fn every_wall_clock_survives(wall: i64) {
            prop_assert_eq!(parse(&stamp(wall)), Some(WallNs(wall)));
        }
    }
}
