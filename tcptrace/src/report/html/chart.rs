//! Charts as SVG: axes that are labelled, colours that are the page's, a title that a screen reader
//! says.

use std::fmt::Write as _;

use super::{Page, escape};
use crate::report::units::{clock, tidy};

/// The inside of a chart, in its own units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Frame {
    pub(super) fn x(&self, share: f64) -> f64 {
        self.left + share * (self.width - self.left - self.right)
    }

    pub(super) fn y(&self, share: f64) -> f64 {
        self.height - self.bottom - share * (self.height - self.top - self.bottom)
    }

    pub(super) fn open(&self, page: &mut Page, class: &str, title: &str) {
        let (width, height) = (self.width, self.height);
        let _ = write!(
            page.0,
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{}\"><title>{}</title>",
            escape(title),
            escape(title)
        );
    }

    /// Lines across, with numbers up to `highest`.
    pub(super) fn scale(&self, page: &mut Page, highest: f64, unit: &str) {
        for share in [0.0, 0.5, 1.0] {
            let y = self.y(share);
            let (left, right) = (self.left, self.width - self.right);
            let class = if share == 0.0 { "axis" } else { "grid" };
            let _ = write!(
                page.0,
                "<line class=\"{class}\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}{unit}</text>",
                left - 6.0,
                y + 4.0,
                tidy(highest * share)
            );
        }
    }

    /// The time below.
    pub(super) fn times(&self, page: &mut Page, begin: i64, end: i64, marks: usize) {
        let y = self.height - self.bottom + 18.0;
        for mark in 0..=marks {
            let share = mark as f64 / marks as f64;
            let at = begin + ((end - begin) as f64 * share) as i64;
            let anchor = match mark {
                0 => "start",
                m if m == marks => "end",
                _ => "middle",
            };
            let _ = write!(
                page.0,
                "<text class=\"tick\" text-anchor=\"{anchor}\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                self.x(share),
                clock(at)
            );
        }
    }
}

/// A number that is easy to halve, at least `highest`.
pub(super) fn round_up(highest: f64) -> f64 {
    if highest <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(highest.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= highest * 0.999)
        .unwrap_or(10.0 * power)
}

/// The outline of an area from `below` to `above`, both 0 to 1, one value for each bucket. Steps, not
/// slopes: a bucket is a count over its width, and nothing is known inside.
pub(super) fn area(frame: &Frame, below: &[f64], above: &[f64]) -> String {
    let count = above.len().max(1) as f64;
    let mut path = String::new();
    for (at, value) in above.iter().enumerate() {
        let (left, right) = (frame.x(at as f64 / count), frame.x((at + 1) as f64 / count));
        let y = frame.y(*value);
        let first = if at == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{first}{left:.1} {y:.1}L{right:.1} {y:.1}");
    }
    for (at, value) in below.iter().enumerate().rev() {
        let (left, right) = (frame.x(at as f64 / count), frame.x((at + 1) as f64 / count));
        let y = frame.y(*value);
        let _ = write!(path, "L{right:.1} {y:.1}L{left:.1} {y:.1}");
    }
    path.push('Z');
    path
}

/// One rate over time as a figure with a caption.
pub(super) fn rate(
    page: &mut Page,
    title: &str,
    class: &str,
    values: &[f64],
    (begin, end): (i64, i64),
    total: &str,
) {
    const FRAME: Frame = Frame {
        width: 480.0,
        height: 150.0,
        left: 46.0,
        right: 8.0,
        top: 12.0,
        bottom: 26.0,
    };
    let peak = values.iter().copied().fold(0.0, f64::max);
    let highest = round_up(peak);
    let shares: Vec<f64> = values.iter().map(|v| v / highest).collect();
    let zero = vec![0.0; shares.len()];
    page.raw("<figure>\n<figcaption><b>")
        .text(title)
        .raw("</b> <span>")
        .text(&format!("{total}, at most {} a second", tidy(peak)))
        .raw("</span></figcaption>\n");
    FRAME.open(page, "chart", &format!("{title} over time: {total}"));
    FRAME.scale(page, highest, "");
    if peak > 0.0 {
        let _ = write!(
            page.0,
            "<path class=\"area {class}\" d=\"{}\"/>",
            area(&FRAME, &zero, &shares)
        );
    } else {
        let _ = write!(
            page.0,
            "<text class=\"nothing\" text-anchor=\"middle\" x=\"{:.0}\" y=\"{:.0}\">none</text>",
            FRAME.x(0.5),
            FRAME.y(0.45)
        );
    }
    FRAME.times(page, begin, end, 2);
    page.raw("</svg>\n</figure>\n");
}

/// Counts in bins, as bars with the first, middle and last bin named.
pub(super) fn bars(page: &mut Page, title: &str, bins: &[(String, u64)]) {
    const FRAME: Frame = Frame {
        width: 480.0,
        height: 170.0,
        left: 46.0,
        right: 8.0,
        top: 12.0,
        bottom: 28.0,
    };
    let highest = round_up(bins.iter().map(|(_, n)| *n as f64).fold(0.0, f64::max));
    FRAME.open(page, "chart", title);
    FRAME.scale(page, highest, "");
    let count = bins.len().max(1) as f64;
    for (at, (name, number)) in bins.iter().enumerate() {
        let (left, right) = (FRAME.x(at as f64 / count), FRAME.x((at + 1) as f64 / count));
        let top = FRAME.y(*number as f64 / highest);
        let _ = write!(
            page.0,
            "<rect class=\"bar\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>{} and longer: {number}</title></rect>",
            (right - left - 1.0).max(1.0),
            FRAME.y(0.0) - top,
            escape(name)
        );
    }
    let y = FRAME.height - FRAME.bottom + 18.0;
    for (at, anchor) in [
        (0, "start"),
        (bins.len() / 2, "middle"),
        (bins.len().saturating_sub(1), "end"),
    ] {
        if let Some((name, _)) = bins.get(at) {
            let share = match anchor {
                "start" => 0.0,
                "end" => 1.0,
                _ => at as f64 / count,
            };
            let _ = write!(
                page.0,
                "<text class=\"tick\" text-anchor=\"{anchor}\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                FRAME.x(share),
                escape(name)
            );
        }
    }
    page.raw("</svg>\n");
}

/// A histogram in a cell of a table.
pub(super) fn spark(page: &mut Page, counts: &[u64]) {
    let highest = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = 120.0 / counts.len().max(1) as f64;
    page.raw("<svg class=\"spark\" viewBox=\"0 0 120 24\" aria-hidden=\"true\">");
    for (at, number) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let height = (*number as f64 / highest * 22.0).max(1.5);
        let _ = write!(
            page.0,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            at as f64 * width,
            24.0 - height,
            (width - 0.5).max(1.0)
        );
    }
    page.raw("</svg>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_easy_numbers() {
        for (highest, expected) in [(0.0, 1.0), (3.0, 4.0), (41.0, 50.0), (1000.0, 1000.0)] {
            assert!((round_up(highest) - expected).abs() < 1e-6, "{highest}");
        }
    }
}
