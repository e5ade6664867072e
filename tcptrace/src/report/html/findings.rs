//! The findings: what, who, what to do, and the proof.

use std::fmt::Write as _;

use super::{Page, escape};
use crate::report::finding::{Finding, Point};
use crate::report::gather::HostReport;
use crate::report::units::{clock, count, instant};

/// So many are open at first; the rest unfold.
const UNFOLDED: usize = 3;

pub(super) fn write(report: &HostReport, number: usize, page: &mut Page) {
    let anchor = if number == 0 {
        "findings".to_owned()
    } else {
        format!("findings-{number}")
    };
    page.raw(&format!(
        "<section class=\"findings\" aria-labelledby=\"{anchor}\">\n<h2 id=\"{anchor}\">Findings</h2>\n"
    ));
    if report.findings.is_empty() {
        page.raw("<p class=\"card calm\">Nothing was found to be wrong.</p>\n</section>\n");
        return;
    }
    controls(number, page);
    page.raw("<div class=\"list\">\n");
    for (at, finding) in report.findings.iter().enumerate() {
        one(report, finding, number, at < UNFOLDED, page);
    }
    page.raw("</div>\n<p class=\"none\" hidden>No finding matches the filter.</p>\n");
    if report.findings_left_out > 0 {
        page.raw("<p class=\"note\">")
            .text(&format!(
                "{} more findings are left out.",
                report.findings_left_out
            ))
            .raw("</p>\n");
    }
    page.raw("</section>\n");
}

fn controls(number: usize, page: &mut Page) {
    page.raw("<form class=\"controls\" role=\"search\">\n<label>Filter <input type=\"search\" name=\"words\" placeholder=\"process, port, cause…\" autocomplete=\"off\"></label>\n<fieldset><legend>Severity</legend>\n");
    for severity in ["critical", "warning", "info"] {
        let _ = writeln!(
            page.0,
            "<label><input type=\"checkbox\" name=\"{severity}\" checked> {severity}</label>"
        );
    }
    let _ = write!(
        page.0,
        "</fieldset>\n<label>Sort by <select name=\"order\" id=\"order-{number}\">\
         <option value=\"severity\">severity</option><option value=\"time\">time</option>\
         <option value=\"count\">count</option></select></label>\n</form>\n"
    );
}

fn one(report: &HostReport, finding: &Finding, host: usize, open: bool, page: &mut Page) {
    let severity = match finding.worst() {
        3 => "critical",
        2 => "warning",
        _ => "info",
    };
    let id = escape(&finding.id).into_owned();
    let _ = write!(
        page.0,
        "<article class=\"card finding {severity}\" id=\"h{host}-{id}\" data-severity=\"{}\" \
         data-class=\"{severity}\" data-time=\"{}\" data-count=\"{}\">\n<h3><span class=\"badge \
         {severity}\">{severity}</span> <code>{}</code> <span class=\"id\">{id}</span>",
        finding.worst(),
        finding.opened().0,
        finding.count,
        escape(&finding.name())
    );
    if finding.status == "resolved" {
        page.raw(" <span class=\"tag\">over</span>");
    }
    page.raw("</h3>\n<p class=\"who\">");
    let mut facts = Vec::new();
    facts.extend(finding.process.clone());
    facts.extend(finding.service.clone());
    facts.push(format!("count {}", count(finding.count)));
    facts.push(format!("{} confidence", finding.confidence));
    for (at, fact) in facts.iter().enumerate() {
        if at > 0 {
            page.raw(" <i>·</i> ");
        }
        page.text(fact);
    }
    page.raw("</p>\n")
        .element("p class=\"what\"", &format!("{}.", finding.summary))
        .raw("\n<p class=\"do\"><b>What to do:</b> ")
        .text(&finding.advice)
        .raw(".</p>\n");
    if let Some(root) = &finding.caused_by {
        let _ = writeln!(
            page.0,
            "<p class=\"root\">Brought about by <a href=\"#h{host}-{root}\">{root}</a>.</p>",
            root = escape(root)
        );
    }
    let _ = writeln!(
        page.0,
        "<details{}>\n<summary>Evidence and history</summary>",
        if open { " open" } else { "" }
    );
    page.raw("<div class=\"proof\">\n");
    evidence(finding, page);
    history(report, finding, page);
    samples(finding, page);
    page.raw("</div>\n</details>\n</article>\n");
}

fn evidence(finding: &Finding, page: &mut Page) {
    if finding.evidence.is_empty() {
        return;
    }
    page.raw("<div><h4>Evidence</h4>\n<table class=\"rows\"><tbody>\n");
    for (name, value) in &finding.evidence {
        page.raw("<tr>")
            .element("th scope=\"row\"", name)
            .element("td", value)
            .raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n");
}

fn history(report: &HostReport, finding: &Finding, page: &mut Page) {
    page.raw("<div><h4>History</h4>\n<table class=\"rows\"><thead><tr><th scope=\"col\">UTC</th><th scope=\"col\">status</th><th scope=\"col\">severity</th><th scope=\"col\">count</th></tr></thead><tbody>\n");
    page.raw("<tr><td>")
        .text(&since(report, finding.since_wall_ns))
        .raw("</td><td colspan=\"3\">the oldest went wrong, or before that</td></tr>\n");
    // The first, and the last ones: what lies between is more of the same.
    const SHOWN: usize = 8;
    // What changed several times within a second stands there once, as it was in the end.
    let second = |point: &Point| clock(report.wall(point.mono_ns));
    let mut points: Vec<&Point> = finding.history.iter().collect();
    points.reverse();
    points.dedup_by(|earlier, later| {
        second(earlier) == second(later) && earlier.status == later.status
    });
    points.reverse();
    let skipped = points.len().saturating_sub(SHOWN);
    for (at, point) in points.iter().enumerate() {
        if at > 0 && at <= skipped {
            if at == 1 {
                page.raw("<tr><td colspan=\"4\">…</td></tr>\n");
            }
            continue;
        }
        page.raw("<tr>")
            .element("td", &second(point))
            .element("td", &point.status)
            .element("td", &point.severity)
            .element("td class=\"n\"", &count(point.count))
            .raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n");
}

/// The day stands above; it is told again only when it is another one.
fn since(report: &HostReport, wall_ns: i64) -> String {
    let (full, begin) = (instant(wall_ns), instant(report.begin_wall_ns));
    match (full.split_once(' '), begin.split_once(' ')) {
        (Some((day, time)), Some((first, _))) if day == first => time.to_owned(),
        _ => full,
    }
}

fn samples(finding: &Finding, page: &mut Page) {
    if finding.processes.len() > 1 {
        page.raw("<div><h4>Processes</h4>\n<ul>\n");
        for (name, number) in &finding.processes {
            page.raw("<li>").text(name);
            if let Some(number) = number {
                page.raw(", ").text(&count(*number));
            }
            page.raw("</li>\n");
        }
        page.raw("</ul></div>\n");
    }
    if !finding.samples.is_empty() {
        page.raw("<div><h4>Some of the connections</h4>\n<ul class=\"samples\">\n");
        for (local, peer) in &finding.samples {
            page.raw("<li>").element("code", local);
            // A listener has no peer.
            if peer != "*:*" {
                page.raw(" ← ").element("code", peer);
            }
            page.raw("</li>\n");
        }
        page.raw("</ul></div>\n");
    }
}
