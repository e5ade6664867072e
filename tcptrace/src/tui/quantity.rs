//! Numbers and times as a person reads them: counts with separators, ages in at most two units,
//! gaps with their precision, wall clock in UTC.

use std::time::Duration;

use tcptrace_core::units::WallNs;

use super::theme::Theme;

/// 1234567 as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and its noun, `1 socket`, `2 sockets`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// A rate per second: `0`, `0.3`, `12`, `1,234`.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        r if r <= 0.0 => "0".to_owned(),
        r if r < 9.95 => format!("{:.1}", r.max(0.1)),
        // The cast saturates; a rate is far below.
        r => count(r.round() as u64),
    }
}

/// A count in at most seven cells: `999,999`, `1.2M`.
pub(super) fn brief(number: u64) -> String {
    match number {
        0..1_000_000 => count(number),
        1_000_000..100_000_000 => format!("{:.1}M", number as f64 / 1e6),
        _ => format!("{}M", number / 1_000_000),
    }
}

/// A rate in at most six cells: `0/s`, `3.1/s`, `123/s`, `1.2k/s`, `12k/s`.
pub(super) fn brief_rate(per_second: f64) -> String {
    match per_second {
        r if r < 999.5 => format!("{}/s", rate(r)),
        r if r < 9950.0 => format!("{:.1}k/s", r / 1e3),
        r if r < 999_500.0 => format!("{:.0}k/s", r / 1e3),
        r => format!("{:.0}M/s", r / 1e6),
    }
}

/// An age in at most six columns: `0.3s`, `12s`, `5m03s`, `3h12m`, `12d03h`.
pub(super) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("0.{}s", duration.subsec_millis() / 100),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        86_400..8_640_000 => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The time between two events: `12 µs`, `3.141 ms`, `1.203 s`, `5m03s`.
pub(super) fn gap(duration: Duration, theme: Theme) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1000 => format!("{micros} {}", theme.micro()),
        1000..1_000_000 => format!("{}.{:03} ms", micros / 1000, micros % 1000),
        1_000_000..60_000_000 => {
            format!("{}.{:03} s", micros / 1_000_000, micros / 1000 % 1000)
        }
        _ => age(duration),
    }
}

/// The time of day, UTC, to the millisecond: `14:03:22.123`.
pub(super) fn time_of_day(wall: WallNs) -> String {
    let millis = wall.0.div_euclid(1_000_000).rem_euclid(86_400_000);
    let seconds = millis / 1000;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        millis % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "socket"), "1 socket");
        assert_eq!(counted(1200, "socket"), "1,200 sockets");
    }

    #[test]
    fn rates_keep_what_matters() {
        for (per_second, text) in [(0.0, "0"), (0.01, "0.1"), (1.25, "1.2"), (1234.5, "1,235")] {
            assert_eq!(rate(per_second), text);
        }
        for (per_second, text) in [
            (0.0, "0/s"),
            (3.12, "3.1/s"),
            (999.0, "999/s"),
            (1234.0, "1.2k/s"),
            (54_321.0, "54k/s"),
            (2e6, "2M/s"),
        ] {
            assert_eq!(brief_rate(per_second), text);
            assert!(text.len() <= 6);
        }
        assert_eq!(brief(999_999), "999,999");
        assert_eq!(brief(1_250_000), "1.2M");
    }

    #[test]
    fn ages_take_six_columns() {
        for (millis, text) in [
            (0, "0.0s"),
            (340, "0.3s"),
            (59_999, "59s"),
            (303_000, "5m03s"),
            (11_520_000, "3h12m"),
            (1_047_600_000, "12d03h"),
            (86_400_000_000, "1000d"),
        ] {
            assert_eq!(age(Duration::from_millis(millis)), text);
            assert!(text.len() <= 6);
        }
    }

    #[test]
    fn gaps_keep_three_digits() {
        let theme = Theme {
            color: false,
            ascii: true,
            ..Theme::default()
        };
        for (micros, text) in [
            (7, "7 us"),
            (3_141, "3.141 ms"),
            (1_203_999, "1.203 s"),
            (303_000_000, "5m03s"),
        ] {
            assert_eq!(gap(Duration::from_micros(micros), theme), text);
        }
    }

    #[test]
    fn the_time_of_day_wraps_at_midnight_and_before_the_epoch() {
        assert_eq!(time_of_day(WallNs(86_399_999_000_000)), "23:59:59.999");
        assert_eq!(time_of_day(WallNs(86_400_000_000_000)), "00:00:00.000");
        assert_eq!(time_of_day(WallNs(-1_000_000)), "23:59:59.999");
    }
}
