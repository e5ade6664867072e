//! The TCP state diagram with what really went through it.

use std::fmt::Write as _;

use tcptrace_core::tcp::TcpState::{self, *};

use super::Page;
use super::chart::Frame;
use crate::report::gather::HostReport;
use crate::report::units::count;

/// Where each state stands, as in the diagram of RFC 9293: opening above, closing below, on the
/// left who closes first.
const NODES: [(TcpState, f64, f64); 12] = [
    (Close, 500.0, 36.0),
    (Listen, 190.0, 110.0),
    (SynSent, 810.0, 110.0),
    (SynRecv, 190.0, 210.0),
    (Established, 500.0, 250.0),
    (FinWait1, 250.0, 350.0),
    (CloseWait, 750.0, 350.0),
    (FinWait2, 120.0, 450.0),
    (Closing, 390.0, 450.0),
    (LastAck, 750.0, 450.0),
    (TimeWait, 250.0, 545.0),
    // The end, drawn apart from the beginning.
    (NewSynRecv, 500.0, 545.0),
];

/// The moves that are drawn. `NewSynRecv` stands for the end: the kernel never reports it.
const MOVES: [(TcpState, TcpState); 16] = [
    (Close, Listen),
    (Close, SynSent),
    (Listen, SynRecv),
    (SynRecv, Established),
    (SynSent, Established),
    (SynSent, SynRecv),
    (Established, FinWait1),
    (Established, CloseWait),
    (FinWait1, FinWait2),
    (FinWait1, Closing),
    (FinWait1, TimeWait),
    (FinWait2, TimeWait),
    (Closing, TimeWait),
    (CloseWait, LastAck),
    (LastAck, NewSynRecv),
    (Established, NewSynRecv),
];

const WIDE: f64 = 150.0;
const HIGH: f64 = 50.0;

pub(super) fn write(report: &HostReport, page: &mut Page) {
    page.raw("<section class=\"card\">\n<h2>State diagram</h2>\n")
        .raw("<p class=\"hint\">How often each state was entered, how many sockets are in it at the end, and how often each way was taken.</p>\n")
        .raw("<div class=\"wide\">\n");
    let frame = Frame {
        width: 1000.0,
        height: 590.0,
        left: 0.0,
        right: 0.0,
        top: 0.0,
        bottom: 0.0,
    };
    frame.open(page, "chart diagram", "The TCP state diagram with totals");
    page.raw(
        "<defs><marker id=\"arrow\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"10\" \
         markerHeight=\"10\" markerUnits=\"userSpaceOnUse\" orient=\"auto-start-reverse\">\
         <path d=\"M0 0L10 5L0 10z\" class=\"arrow\"/></marker></defs>",
    );
    let moves: Vec<_> = MOVES
        .iter()
        .map(|(a, b)| (*a, *b, taken(report, *a, *b)))
        .collect();
    let most = moves.iter().map(|(_, _, n)| *n).max().unwrap_or(0);
    for (from, to, number) in &moves {
        way(*from, *to, *number, most, page);
    }
    for (from, to, number) in &moves {
        mark(*from, *to, *number, page);
    }
    for (state, x, y) in NODES {
        node(report, state, x, y, page);
    }
    page.raw("</svg>\n</div>\n");
    others(report, page);
    page.raw("</section>\n");
}

fn taken(report: &HostReport, from: TcpState, to: TcpState) -> u64 {
    let to = if to == NewSynRecv { Close } else { to };
    report.states.moves(from, to)
}

fn place(state: TcpState) -> (f64, f64) {
    NODES
        .iter()
        .find(|(node, _, _)| *node == state)
        .map_or((500.0, 36.0), |(_, x, y)| (*x, *y))
}

/// Where the line from the middle of a node towards `other` leaves its border.
fn border((x, y): (f64, f64), other: (f64, f64)) -> (f64, f64) {
    let (dx, dy) = (other.0 - x, other.1 - y);
    let along_x = if dx.abs() > 1e-9 {
        (WIDE / 2.0 + 3.0) / dx.abs()
    } else {
        f64::MAX
    };
    let along_y = if dy.abs() > 1e-9 {
        (HIGH / 2.0 + 3.0) / dy.abs()
    } else {
        f64::MAX
    };
    let share = along_x.min(along_y).min(1.0);
    (x + dx * share, y + dy * share)
}

fn ends(from: TcpState, to: TcpState) -> ((f64, f64), (f64, f64)) {
    let (a, b) = (place(from), place(to));
    (border(a, b), border(b, a))
}

fn way(from: TcpState, to: TcpState, number: u64, most: u64, page: &mut Page) {
    let ((x1, y1), (x2, y2)) = ends(from, to);
    let class = if number == 0 { "way never" } else { "way" };
    let share = ((number + 1) as f64).ln() / ((most + 2) as f64).ln();
    let _ = write!(
        page.0,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" \
         stroke-width=\"{:.1}\" marker-end=\"url(#arrow)\"/>",
        1.2 + 3.0 * share
    );
}

/// The number on a way.
fn mark(from: TcpState, to: TcpState, number: u64, page: &mut Page) {
    if number == 0 {
        return;
    }
    let ((x1, y1), (x2, y2)) = ends(from, to);
    // Not in the middle, where ways cross.
    let (x, y) = (x1 + (x2 - x1) * 0.46, y1 + (y2 - y1) * 0.46);
    let text = count(number);
    let wide = text.chars().count() as f64 * 8.0 + 14.0;
    let _ = write!(
        page.0,
        "<g><title>{} to {}: {text}</title><rect class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" \
         width=\"{wide:.1}\" height=\"20\" rx=\"10\"/><text class=\"mark-text\" \
         text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{text}</text></g>",
        from.name(),
        if to == NewSynRecv { "CLOSE" } else { to.name() },
        x - wide / 2.0,
        y - 10.0,
        y + 4.5
    );
}

fn node(report: &HostReport, state: TcpState, x: f64, y: f64, page: &mut Page) {
    let end = state == NewSynRecv;
    let (name, below) = if end {
        let gone: u64 = TcpState::ALL
            .into_iter()
            .map(|from| report.states.moves(from, Close))
            .sum();
        ("CLOSE", format!("{} ended", count(gone)))
    } else if state == Close {
        ("CLOSE", "new sockets".to_owned())
    } else {
        let now = report.at_end.get(state.name()).copied().unwrap_or(0);
        let entered = report.states.entered(state);
        (
            state.name(),
            format!("{} in, {} now", count(entered), count(now)),
        )
    };
    let now = report.at_end.get(state.name()).copied().unwrap_or(0);
    let class = match state {
        CloseWait | FinWait1 | LastAck | Closing if now > 0 => "node stuck",
        _ if now > 0 && !end && state != Close => "node busy",
        _ => "node",
    };
    let _ = write!(
        page.0,
        "<g><rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{WIDE}\" height=\"{HIGH}\" \
         rx=\"8\"/><text class=\"node-name\" text-anchor=\"middle\" x=\"{x}\" y=\"{:.1}\">{name}</text>\
         <text class=\"node-count\" text-anchor=\"middle\" x=\"{x}\" y=\"{:.1}\">{below}</text></g>",
        x - WIDE / 2.0,
        y - HIGH / 2.0,
        y - 3.0,
        y + 15.0
    );
}

/// Ways that are not drawn: failed handshakes, resets, timeouts, orphans.
fn others(report: &HostReport, page: &mut Page) {
    let drawn = |from: TcpState, to: TcpState| {
        MOVES
            .iter()
            .any(|(a, b)| *a == from && (*b == to || (*b == NewSynRecv && to == Close)))
    };
    let mut items = Vec::new();
    for from in TcpState::ALL {
        for to in TcpState::ALL {
            let number = report.states.moves(from, to);
            if number > 0 && !drawn(from, to) {
                items.push(format!(
                    "{} to {}: {}",
                    from.name(),
                    to.name(),
                    count(number)
                ));
            }
        }
    }
    if !items.is_empty() {
        page.raw("<p class=\"hint\">Also: ")
            .text(&items.join("; "))
            .raw(".</p>\n");
    }
}
