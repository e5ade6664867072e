//! The time line: how many sockets were in which state, and when each finding was there.

use std::fmt::Write as _;

use tcptrace_core::tcp::TcpState;

use super::chart::{Frame, area, round_up};
use super::{Page, escape};
use crate::report::finding::Finding;
use crate::report::gather::HostReport;
use crate::report::units::{clock, count};

/// States that belong together, from the bottom of the chart up.
const BANDS: [(&str, &str, &[TcpState]); 5] = [
    ("CLOSE_WAIT", "s-cw", &[TcpState::CloseWait]),
    ("ESTABLISHED", "s-est", &[TcpState::Established]),
    (
        "LAST_ACK, CLOSING",
        "s-la",
        &[TcpState::LastAck, TcpState::Closing],
    ),
    (
        "FIN_WAIT1, FIN_WAIT2",
        "s-fw",
        &[TcpState::FinWait1, TcpState::FinWait2],
    ),
    (
        "SYN_SENT, SYN_RECV",
        "s-syn",
        &[TcpState::SynSent, TcpState::SynRecv],
    ),
];

/// Drawn apart: a busy host has thousands, which is fine, and would flatten everything else.
const APART: (&str, &str, &[TcpState]) = ("TIME_WAIT", "s-tw", &[TcpState::TimeWait]);
/// Its height.
const STRIP: f64 = 70.0;

/// Findings that have a line of their own; the list has them all.
const LANES: usize = 16;
const LANE: f64 = 26.0;
const CHART: f64 = 220.0;

pub(super) fn write(report: &HostReport, number: usize, page: &mut Page) {
    let lanes: Vec<&Finding> = report.findings.iter().take(LANES).collect();
    let frame = Frame {
        width: 1040.0,
        height: CHART,
        left: 56.0,
        right: 10.0,
        top: 12.0,
        bottom: 26.0,
    };
    page.raw(&format!(
        "<section class=\"card\" aria-labelledby=\"time-{number}\">\n<h2 id=\"time-{number}\">Time line</h2>\n"
    ))
    .raw("<p class=\"hint\">Sockets in each state, listeners left out; below, when each finding was there.</p>\n");
    let bands: Vec<Band> = BANDS
        .into_iter()
        .map(|band| Band::of(report, band))
        .collect();
    let apart = Band::of(report, APART);
    legend(&bands, &apart, page);
    let strip = if apart.most() > 0.0 { STRIP } else { 0.0 };
    let chart = CHART + strip;
    page.raw("<div class=\"wide\">\n");
    let whole = Frame {
        height: chart + lanes.len() as f64 * LANE + 6.0,
        ..frame
    };
    whole.open(
        page,
        "chart timeline",
        "Sockets in each state over time, and when each finding was there",
    );
    stacked(&frame, &bands, page);
    if strip > 0.0 {
        let lower = Frame {
            height: chart,
            top: CHART - 10.0,
            ..frame
        };
        stacked(&lower, &[apart], page);
        let _ = write!(
            page.0,
            "<text class=\"tick over\" x=\"{}\" y=\"{}\">TIME_WAIT, its own scale</text>",
            lower.left + 6.0,
            lower.top + 12.0
        );
    }
    Frame {
        height: chart,
        ..frame
    }
    .times(page, report.begin_wall_ns, report.end_wall_ns, 6);
    for (at, finding) in lanes.iter().enumerate() {
        lane(report, finding, &frame, chart + at as f64 * LANE, page);
    }
    page.raw("</svg>\n</div>\n</section>\n");
}

struct Band {
    name: &'static str,
    class: &'static str,
    values: Vec<f64>,
}

impl Band {
    fn of(
        report: &HostReport,
        (name, class, states): (&'static str, &'static str, &[TcpState]),
    ) -> Self {
        let mut values = vec![0.0; report.time.buckets.len()];
        for state in states {
            for (sum, more) in values.iter_mut().zip(report.time.in_state(*state)) {
                *sum += more;
            }
        }
        Self {
            name,
            class,
            values,
        }
    }

    fn most(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f64::max)
    }
}

fn legend(bands: &[Band], apart: &Band, page: &mut Page) {
    page.raw("<ul class=\"legend\">\n");
    for band in bands.iter().chain([apart]) {
        let most = band.most();
        if most <= 0.0 {
            continue;
        }
        page.raw(&format!("<li><i class=\"{}\"></i>", band.class))
            .text(band.name)
            .raw(" <span>at most ")
            .text(&count(most as u64))
            .raw("</span></li>\n");
    }
    page.raw("</ul>\n");
}

fn stacked(frame: &Frame, bands: &[Band], page: &mut Page) {
    let length = bands.first().map_or(0, |band| band.values.len());
    let mut sums = vec![0.0; length];
    for band in bands {
        for (sum, more) in sums.iter_mut().zip(&band.values) {
            *sum += more;
        }
    }
    let highest = round_up(sums.iter().copied().fold(0.0, f64::max));
    frame.scale(page, highest, "");
    let mut below = vec![0.0; length];
    for band in bands {
        let above: Vec<f64> = below
            .iter()
            .zip(&band.values)
            .map(|(low, more)| low + more / highest)
            .collect();
        if band.values.iter().any(|v| *v > 0.0) {
            let _ = write!(
                page.0,
                "<path class=\"band {}\" d=\"{}\"><title>{}</title></path>",
                band.class,
                area(frame, &below, &above),
                band.name
            );
        }
        below = above;
    }
}

fn lane(report: &HostReport, finding: &Finding, frame: &Frame, top: f64, page: &mut Page) {
    let length = report.span().as_secs_f64().max(1e-9);
    let share = |at| {
        let since: std::time::Duration = tcptrace_core::units::MonoNs::since(at, report.time.begin);
        (since.as_secs_f64() / length).clamp(0.0, 1.0)
    };
    let begin = share(finding.opened());
    let end = match finding.status.as_str() {
        "resolved" => share(finding.at_mono_ns),
        _ => 1.0,
    };
    let (left, right) = (frame.x(begin), frame.x(end).max(frame.x(begin) + 4.0));
    let class = ["info", "info", "warning", "critical"][usize::from(finding.worst().min(3))];
    let label = format!("{} {}", finding.id, finding.name());
    let until = match finding.status.as_str() {
        "resolved" => format!("to {}", clock(report.wall(finding.at_mono_ns))),
        _ => "on".to_owned(),
    };
    let _ = write!(
        page.0,
        "<g><title>{}: {} {until} UTC</title>\
         <line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <rect class=\"lane {class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"18\" rx=\"4\"/>",
        escape(&label),
        clock(report.wall(finding.opened())),
        frame.left,
        frame.width - frame.right,
        top + 4.0,
        right - left,
        y = top + 13.0,
    );
    // Inside the bar where it fits, else beside it, where there is room.
    let wide = label.chars().count() as f64 * 7.3 + 12.0;
    let (x, anchor, class) = if right - left > wide {
        (left + 8.0, "start", "lane-label inside")
    } else if right + wide < frame.width {
        (right + 6.0, "start", "lane-label")
    } else {
        (left - 6.0, "end", "lane-label")
    };
    let _ = write!(
        page.0,
        "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{:.1}\">{}</text></g>",
        top + 17.5,
        escape(&label)
    );
}
