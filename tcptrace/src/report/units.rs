//! Numbers as people read them: instants in UTC, spans, counts.

use std::time::Duration;

use time::OffsetDateTime;

fn at(wall_ns: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(wall_ns.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// `2026-01-02 03:04:05`, UTC.
pub(super) fn instant(wall_ns: i64) -> String {
    let t = at(wall_ns);
    format!(
        "{:04}-{:02}-{:02} {}",
        t.year(),
        u8::from(t.month()),
        t.day(),
        clock(wall_ns)
    )
}

/// `03:04:05`, UTC.
pub(super) fn clock(wall_ns: i64) -> String {
    let t = at(wall_ns);
    format!("{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second())
}

/// `2.5 ms`, `61 s`, `5 min 3 s`, `3 h 2 min`.
pub(super) fn span(span: Duration) -> String {
    let s = span.as_secs();
    match span.as_nanos() {
        0..1_000 => format!("{} ns", span.as_nanos()),
        1_000..1_000_000 => format!("{} µs", tidy(span.as_nanos() as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", tidy(span.as_nanos() as f64 / 1e6)),
        _ if s < 120 => format!("{} s", tidy(span.as_secs_f64())),
        _ if s < 7_200 => two(s / 60, "min", s % 60, "s"),
        _ if s < 172_800 => two(s / 3_600, "h", s % 3_600 / 60, "min"),
        _ => two(s / 86_400, "days", s % 86_400 / 3_600, "h"),
    }
}

fn two(large: u64, one: &str, small: u64, other: &str) -> String {
    match small {
        0 => format!("{large} {one}"),
        _ => format!("{large} {one} {small} {other}"),
    }
}

/// Three digits are enough.
pub(super) fn tidy(value: f64) -> String {
    let text = match value.abs() {
        v if v < 10.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

/// `1 234 567`, with narrow spaces that do not break.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 connection`, `3 connections`.
pub(super) fn many(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(span(Duration::from_nanos(1_234)), "1.23 µs");
        assert_eq!(span(Duration::from_millis(1_500)), "1.5 s");
        assert_eq!(span(Duration::from_secs(3_725)), "62 min 5 s");
        assert_eq!(span(Duration::from_secs(120)), "2 min");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(many(1, "reset", "resets"), "1 reset");
        assert_eq!(instant(1_767_323_045_678_901_234), "2026-01-02 03:04:05");
    }
}
