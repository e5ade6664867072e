//! What was measured: rates, times, the heaviest, losses, and the host.

use tcptrace_core::tcp::TcpState;

use super::{Page, chart};
use crate::report::gather::HostReport;
use crate::report::heaviest::Line;
use crate::report::histogram::Histogram;
use crate::report::units::{clock, count, many, span};

pub(super) fn rates(report: &HostReport, page: &mut Page) {
    let times = (report.begin_wall_ns, report.end_wall_ns);
    let t = &report.totals;
    let time = &report.time;
    let sum = |number: u64| format!("{} in all", count(number));
    page.raw("<section class=\"card\">\n<h2>Rates</h2>\n<p class=\"hint\">Each a second, over the time of the recording.</p>\n<div class=\"charts\">\n");
    let opened = t.opened_actively + t.opened_passively;
    chart::rate(
        page,
        "Opened",
        "s-est",
        &time.rate(|b| b.opened),
        times,
        &sum(opened),
    );
    chart::rate(
        page,
        "Closed",
        "s-tw",
        &time.rate(|b| b.closed),
        times,
        &sum(t.closed),
    );
    chart::rate(
        page,
        "Sent again",
        "s-fw",
        &time.rate(|b| b.retransmits),
        times,
        &sum(t.retransmits + t.synack_retransmits),
    );
    chart::rate(
        page,
        "Refused by full queues",
        "s-cw",
        &time.rate(|b| b.drops),
        times,
        &sum(t.drops),
    );
    chart::rate(
        page,
        "Resets",
        "s-la",
        &time.rate(|b| b.resets),
        times,
        &sum(t.resets_sent + t.resets_received),
    );
    chart::rate(
        page,
        "Handshakes that failed",
        "s-syn",
        &time.rate(|b| b.failed),
        times,
        &sum(t.failed),
    );
    page.raw("</div>\n</section>\n");
}

pub(super) fn stays(report: &HostReport, page: &mut Page) {
    page.raw("<section class=\"card\">\n<h2>How long things took</h2>\n<div class=\"charts single\">\n<figure>\n<figcaption><b>Lifetimes</b> <span>");
    let lives = &report.lifetimes;
    if lives.total() == 0 {
        page.raw(
            "no connection began and ended within the recording</span></figcaption></figure>\n",
        );
    } else {
        page.text(&format!(
            "{} from birth to end: half within {}, 99 % within {}",
            many(lives.total(), "connection", "connections"),
            span(lives.quantile(0.5)),
            span(lives.quantile(0.99))
        ))
        .raw("</span></figcaption>\n");
        let bins: Vec<_> = lives
            .range()
            .into_iter()
            .map(|(from, number)| (span(from), number))
            .collect();
        chart::bars(page, "Lifetimes of connections", &bins);
        page.raw("</figure>\n");
    }
    page.raw("</div>\n<h3>Time in each state</h3>\n<div class=\"wide\"><table class=\"sortable\">\n<thead><tr><th scope=\"col\">State</th><th scope=\"col\" class=\"n\">left</th><th scope=\"col\" class=\"n\">half within</th><th scope=\"col\" class=\"n\">90 %</th><th scope=\"col\" class=\"n\">99 %</th><th scope=\"col\" class=\"n\">longest</th><th scope=\"col\">distribution</th></tr></thead>\n<tbody>\n");
    for state in TcpState::ALL {
        let stay = report.states.stay(state);
        if stay.total() > 0 {
            stay_row(state, stay, page);
        }
    }
    page.raw("</tbody></table></div>\n</section>\n");
}

fn stay_row(state: TcpState, stay: &Histogram, page: &mut Page) {
    page.raw("<tr>")
        .element("th scope=\"row\"", state.name())
        .element("td class=\"n\"", &count(stay.total()));
    let times = [
        stay.quantile(0.5),
        stay.quantile(0.9),
        stay.quantile(0.99),
        stay.longest(),
    ];
    for time in times {
        page.raw(&format!("<td class=\"n\" data-v=\"{}\">", time.as_nanos()))
            .text(&span(time))
            .raw("</td>");
    }
    let counts: Vec<u64> = stay.range().into_iter().map(|(_, n)| n).collect();
    page.raw("<td>");
    chart::spark(page, &counts);
    page.raw("</td></tr>\n");
}

pub(super) fn tables(report: &HostReport, page: &mut Page) {
    page.raw("<section class=\"card\">\n<h2>Who and where</h2>\n");
    weights("Processes", &report.processes, page);
    weights("Services", &report.services, page);
    if !report.listeners.is_empty() {
        page.raw("<h3>Listeners</h3>\n<div class=\"wide\"><table class=\"sortable\">\n<thead><tr><th scope=\"col\">Address</th><th scope=\"col\">Process</th><th scope=\"col\" class=\"n\">deepest queue</th><th scope=\"col\" class=\"n\">limit</th><th scope=\"col\" class=\"n\">half-open</th><th scope=\"col\" class=\"n\">drops</th></tr></thead>\n<tbody>\n");
        for listener in &report.listeners {
            let over = listener.deepest > listener.limit;
            page.raw(if over { "<tr class=\"over\">" } else { "<tr>" })
                .element("th scope=\"row\"", &listener.local)
                .element("td", listener.process.as_deref().unwrap_or("unknown"))
                .element("td class=\"n\"", &count(listener.deepest.into()))
                .element("td class=\"n\"", &count(listener.limit.into()))
                .element("td class=\"n\"", &count(listener.half_open.into()))
                .element("td class=\"n\"", &count(listener.drops.into()))
                .raw("</tr>\n");
        }
        page.raw("</tbody></table></div>\n");
    }
    page.raw("</section>\n");
}

fn weights(title: &str, lines: &[Line], page: &mut Page) {
    if lines.is_empty() {
        return;
    }
    page.element("h3", title).raw(
        "\n<div class=\"wide\"><table class=\"sortable\">\n<thead><tr><th scope=\"col\">Name</th>",
    );
    for column in ["opened", "closed", "failed", "sent again", "resets"] {
        page.element("th scope=\"col\" class=\"n\"", column);
    }
    page.raw("</tr></thead>\n<tbody>\n");
    for Line { name, weight } in lines {
        page.raw("<tr>").element("th scope=\"row\"", name);
        for number in [
            weight.opened,
            weight.closed,
            weight.failed,
            weight.retransmits,
            weight.resets,
        ] {
            page.element("td class=\"n\"", &count(number));
        }
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n");
}

pub(super) fn losses(report: &HostReport, page: &mut Page) {
    page.raw("<section class=\"card\">\n<h2>What is missing</h2>\n");
    if report.losses.is_empty() {
        page.raw("<p>Nothing: every event that the kernel reported is counted here.</p>\n");
    } else {
        page.raw("<p>Events were lost. What happened to the sockets concerned in that time is not known: counts are too low by as much, and verdicts about them are at most likely.</p>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">UTC</th><th scope=\"col\">what</th><th scope=\"col\" class=\"n\">how many</th><th scope=\"col\">cause</th><th scope=\"col\">effect</th></tr></thead>\n<tbody>\n");
        for gap in &report.losses {
            let from = clock(report.wall(gap.from_mono_ns));
            let to = clock(report.wall(gap.to_mono_ns));
            page.raw("<tr>")
                .element("td", &format!("{from} to {to}"))
                .element("td", gap.kind.as_deref().unwrap_or("facts"))
                .element("td class=\"n\"", &count(gap.count))
                .element("td", gap.cause)
                .element("td", effect(gap.cause))
                .raw("</tr>\n");
        }
        page.raw("</tbody></table></div>\n");
    }
    if report.ended.is_none() {
        page.raw("<p class=\"note\">The recording has no end: the recorder was killed, or the file was cut off.</p>\n");
    }
    page.raw("</section>\n");
}

/// What a loss means for what is said here.
fn effect(cause: &str) -> &'static str {
    match cause {
        "ring" => "the kernel's buffer was full; a snapshot followed, so later states are right",
        "recursion" => "the kernel skipped a probe; a snapshot followed, so later states are right",
        "unreported" => "ends of sockets were not told; they may be counted as open for a while",
        "decode" => "records were not understood, by an older tcptrace than the programs",
        "writer" => "the file could not take them; findings were judged with them, rates lack them",
        "evicted" => {
            "tables were full: sockets, processes or groups were forgotten, or not taken in"
        }
        _ => "facts are missing",
    }
}

pub(super) fn host(report: &HostReport, page: &mut Page) {
    let host = &report.host;
    page.raw(
        "<section class=\"card\">\n<h2>Host and recording</h2>\n<table class=\"rows\"><tbody>\n",
    );
    let known = [
        ("host", host.name.clone()),
        ("kernel", format!("{} {}", host.kernel, host.arch)),
        ("boot", host.boot_id.clone()),
        ("recording", host.recording_id.clone()),
        ("recorded by", format!("tcptrace {}", host.tool_version)),
        ("command", host.command.join(" ")),
        ("filters", host.filters.join(" ")),
        ("keeps", host.completeness.clone()),
        ("files", host.files.join(", ")),
        ("facts", count(report.totals.facts)),
        (
            "ended",
            report.ended.clone().unwrap_or_else(|| "cut off".to_owned()),
        ),
    ];
    for (name, value) in known.iter().filter(|(_, value)| !value.is_empty()) {
        page.raw("<tr>")
            .element("th scope=\"row\"", name)
            .element("td", value)
            .raw("</tr>\n");
    }
    for (name, value) in &host.thresholds {
        page.raw("<tr>")
            .element("th scope=\"row\"", &format!("threshold {name}"))
            .element("td", value)
            .raw("</tr>\n");
    }
    page.raw("</tbody></table>\n<details>\n<summary>Probes</summary>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Probe</th><th scope=\"col\">by</th><th scope=\"col\">runs</th><th scope=\"col\">why not</th></tr></thead>\n<tbody>\n");
    for probe in &host.probes {
        page.raw("<tr>")
            .element("th scope=\"row\"", &probe.name)
            .element("td", &probe.tier)
            .element("td", if probe.attached { "yes" } else { "no" })
            .element("td", &probe.reason)
            .raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n</details>\n<details>\n<summary>Settings of network namespaces</summary>\n");
    for (netns, settings) in host.sysctls.iter().take(16) {
        page.element("h4", &format!("namespace {netns}"))
            .raw("<table class=\"rows\"><tbody>\n");
        for (name, value) in settings {
            page.raw("<tr>")
                .element("th scope=\"row\"", name)
                .element("td class=\"n\"", value)
                .raw("</tr>\n");
        }
        page.raw("</tbody></table>\n");
    }
    if host.sysctls.len() > 16 {
        page.raw("<p>")
            .text(&format!("and {} more", host.sysctls.len() - 16))
            .raw("</p>\n");
    }
    page.raw("</details>\n</section>\n");
}
