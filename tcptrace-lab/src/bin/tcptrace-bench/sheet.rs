//! What was measured under one load: a table of medians, with the ratio to the untraced run.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

/// A quantity: its name, which is the table's heading, and the digits that are worth printing.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) digits: usize,
}

/// Shorthand for a table of columns.
pub(crate) const fn column(name: &'static str, digits: usize) -> Column {
    Column { name, digits }
}

/// One load.
pub(crate) struct Sheet {
    pub(crate) load: &'static str,
    pub(crate) about: String,
    pub(crate) columns: &'static [Column],
    /// The column whose ratio to the first row is shown, per round.
    pub(crate) ratio: Option<&'static str>,
    rows: Vec<Row>,
    /// What a reader should know of the numbers.
    pub(crate) remarks: Vec<String>,
    /// What must not be.
    pub(crate) faults: Vec<String>,
}

struct Row {
    mode: String,
    samples: BTreeMap<&'static str, Vec<f64>>,
}

impl Sheet {
    pub(crate) fn new(load: &'static str, about: String, columns: &'static [Column]) -> Self {
        Self {
            load,
            about,
            columns,
            ratio: None,
            rows: Vec::new(),
            remarks: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Adds what one run of a mode gave.
    pub(crate) fn add(&mut self, mode: &str, values: &[(&'static str, f64)]) {
        let place = self.rows.iter().position(|row| row.mode == mode);
        let place = place.unwrap_or_else(|| {
            self.rows.push(Row {
                mode: mode.to_owned(),
                samples: BTreeMap::new(),
            });
            self.rows.len() - 1
        });
        for (name, value) in values {
            self.rows[place]
                .samples
                .entry(name)
                .or_default()
                .push(*value);
        }
    }

    /// The rows in order, with the medians by column.
    fn medians(&self) -> impl Iterator<Item = (&Row, Vec<Option<f64>>)> {
        self.rows.iter().map(|row| {
            let medians = self
                .columns
                .iter()
                .map(|column| row.samples.get(column.name).and_then(|it| median(it)))
                .collect();
            (row, medians)
        })
    }

    /// The median of the ratios to the first row, round by round.
    fn ratio_of(&self, row: &Row) -> Option<f64> {
        let name = self.ratio?;
        let base = self.rows.first()?.samples.get(name)?;
        let own = row.samples.get(name)?;
        let ratios: Vec<_> = own.iter().zip(base).map(|(own, base)| own / base).collect();
        median(&ratios)
    }

    pub(crate) fn json(&self) -> Value {
        let rows: Vec<_> = self
            .medians()
            .map(|(row, medians)| {
                let medians: BTreeMap<_, _> = self
                    .columns
                    .iter()
                    .zip(medians)
                    .filter_map(|(column, value)| Some((column.name, value?)))
                    .collect();
                json!({
                    "mode": row.mode, "medians": medians, "ratio": self.ratio_of(row),
                    "samples": row.samples,
                })
            })
            .collect();
        json!({
            "load": self.load, "about": self.about, "ratio_of": self.ratio, "modes": rows,
            "remarks": self.remarks, "faults": self.faults,
        })
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n\n{}\n", self.load, self.about)?;
        let mut lines = Vec::new();
        let mut head = vec![String::new()];
        head.extend(self.columns.iter().map(|column| column.name.to_owned()));
        if self.ratio.is_some() {
            head.push("of untraced".to_owned());
        }
        lines.push(head);
        for (row, medians) in self.medians() {
            let mut cells = vec![row.mode.clone()];
            cells.extend(self.columns.iter().zip(medians).map(|(column, value)| {
                value.map_or(String::new(), |value| grouped(value, column.digits))
            }));
            if self.ratio.is_some() {
                let ratio = self.ratio_of(row);
                cells.push(ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")));
            }
            lines.push(cells);
        }
        let width = |at: usize| lines.iter().map(|cells| cells[at].len()).max().unwrap_or(0);
        let widths: Vec<_> = (0..lines[0].len()).map(width).collect();
        for (number, cells) in lines.iter().enumerate() {
            write!(f, "| {:<1$} |", cells[0], widths[0])?;
            for (cell, width) in cells.iter().zip(&widths).skip(1) {
                write!(f, " {cell:>width$} |")?;
            }
            writeln!(f)?;
            if number == 0 {
                write!(f, "|{}|", "-".repeat(widths[0] + 2))?;
                for width in &widths[1..] {
                    write!(f, "{}:|", "-".repeat(width + 1))?;
                }
                writeln!(f)?;
            }
        }
        for remark in &self.remarks {
            writeln!(f, "\n{remark}")?;
        }
        for fault in &self.faults {
            writeln!(f, "\n**{fault}**")?;
        }
        Ok(())
    }
}

/// The middle one, or the mean of the two middle ones.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<_> = values.iter().copied().filter(|it| it.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// `12,345.6`
fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{out}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_shows_medians_and_the_ratio_of_each_round() {
        const COLUMNS: [Column; 2] = [column("per second", 0), column("µs", 2)];
        let mut sheet = Sheet::new("churn", "Short connections.".to_owned(), &COLUMNS);
        sheet.ratio = Some("per second");
        // The second round is twice as fast for everybody.
        for (untraced, traced) in [(1000.0, 900.0), (2000.0, 1800.0), (1000.0, 950.0)] {
            sheet.add("untraced", &[("per second", untraced)]);
            sheet.add("record", &[("per second", traced), ("µs", 1.25)]);
        }
        let expected = "\
### churn

Short connections.

|          | per second |   µs | of untraced |
|----------|-----------:|------:|------------:|
| untraced |      1,000 |      |        1.00 |
| record   |        950 | 1.25 |        0.90 |
";
        // A µ is two bytes long; the table is read by machines that do not mind.
        let plain = |text: &str| text.replace([' ', '-'], "");
        assert_eq!(plain(&sheet.to_string()), plain(expected));
        assert_eq!(sheet.json()["modes"][1]["ratio"], 0.9);
    }
}
