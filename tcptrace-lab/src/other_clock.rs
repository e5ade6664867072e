//! A recording as another host would have written it, whose clock is wrong: the lab has one kernel and
//! one clock, and two hosts have two.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Rewrites every stamp of the wall clock by `ahead_ns`, as if it had been set so all the time, and
/// makes the recording one of another boot.
pub fn rewrite(from: &Path, to: &Path, ahead_ns: i64) -> Result<()> {
    let mut out = String::new();
    let mut offset = 0;
    for line in fs::read_to_string(from)?.lines() {
        let mut line: Value = serde_json::from_str(line)?;
        if line["type"] == "header" {
            let before = line["clock_offset_ns"].as_i64().context("no clock")?;
            offset = before + ahead_ns;
            line["clock_offset_ns"] = json!(offset);
            line["boot_id"] = json!("00000000-0000-4000-8000-000000000000");
        }
        let mono = line["mono_ns"].as_i64().context("no time")?;
        line["time"] = json!(stamp(mono + offset));
        writeln!(out, "{line}")?;
    }
    fs::write(to, out).with_context(|| format!("cannot write {}", to.display()))
}

/// RFC 3339 in UTC, from ns since 1970.
fn stamp(wall_ns: i64) -> String {
    const DAY: i64 = 86_400_000_000_000;
    let (mut day, nanos) = (wall_ns.div_euclid(DAY), wall_ns.rem_euclid(DAY));
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while day >= 365 + i64::from(leap(year)) {
        day -= 365 + i64::from(leap(year));
        year += 1;
    }
    let february = 28 + i64::from(leap(year));
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let (second, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let day = day + 1;
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::stamp;

    #[test]
    fn stamps_are_those_of_the_calendar() {
        for (wall, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_798_761_599_999_999_999, "2026-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(stamp(wall), expected);
        }
    }
}
