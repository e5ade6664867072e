//! The report as one page that needs nothing else: no network, no file beside it. Charts are SVG,
//! drawn here; the script only filters and sorts what is there without it.
//!
//! Invariant: text reaches the page through [`Page::text`] or [`escape`], so that a process called
//! `<script>` is a process with a strange name.

mod chart;
mod diagram;
mod ends;
mod findings;
mod measures;
mod timeline;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::Report;
use super::gather::HostReport;
use super::units::{count, instant, span};
use crate::printable::printable;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Writes the page.
pub(crate) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut page = Page::default();
    frame(report, &mut page);
    out.write_all(page.0.as_bytes())?;
    out.flush()
}

/// A page under construction.
#[derive(Debug, Default)]
struct Page(String);

/// What is not ours, for the inside of an element or of a quoted attribute.
fn escape(text: &str) -> Cow<'_, str> {
    let text = printable(text);
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

impl Page {
    /// Our own markup.
    fn raw(&mut self, markup: &str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Anybody's text.
    fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_str(&escape(text));
        self
    }

    /// An element with text in it.
    fn element(&mut self, open: &str, text: &str) -> &mut Self {
        let name = open.split(' ').next().unwrap_or(open);
        let _ = write!(self.0, "<{open}>{}</{name}>", escape(text));
        self
    }
}

fn frame(report: &Report, page: &mut Page) {
    let title = match report.hosts.as_slice() {
        [one] => format!("tcptrace report: {}", one.host.name),
        more => format!("tcptrace report: {} hosts", more.len()),
    };
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .raw("<meta name=\"color-scheme\" content=\"light dark\">\n")
        .raw(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n",
        )
        .element("title", &title)
        .raw("\n<style>\n")
        .raw(STYLE)
        .raw("</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#findings\">Skip to the findings</a>\n<main>\n");
    head(report, page);
    if let Some(meeting) = &report.ends {
        ends::write(meeting, page);
    }
    for (number, host) in report.hosts.iter().enumerate() {
        one(host, number, report.hosts.len() > 1, page);
    }
    page.raw("<footer><p>Made by tcptrace ")
        .text(&report.tool_version)
        .raw(". All times are UTC.</p></footer>\n</main>\n<script>\n")
        .raw(SCRIPT)
        .raw("</script>\n</body>\n</html>\n");
}

fn head(report: &Report, page: &mut Page) {
    page.raw("<header class=\"top\">\n<p class=\"brand\">tcptrace incident report");
    if report.redacted {
        page.raw(" <span class=\"tag\">redacted</span>");
    }
    page.raw("</p>\n<h1>");
    let names: Vec<&str> = report.hosts.iter().map(|h| h.host.name.as_str()).collect();
    page.text(&names.join(" and ")).raw("</h1>\n");
    for host in &report.hosts {
        page.raw("<p class=\"when\">");
        if report.hosts.len() > 1 {
            page.text(&host.host.name).raw(": ");
        }
        page.raw("<time>")
            .text(&instant(host.begin_wall_ns))
            .raw("</time> to <time>")
            .text(&instant(host.end_wall_ns))
            .raw("</time> UTC, ")
            .text(&span(host.span()))
            .raw("</p>\n");
    }
    page.raw("</header>\n<section class=\"card story\" aria-labelledby=\"summary\">\n")
        .raw("<h2 id=\"summary\">Summary</h2>\n");
    for sentence in &report.summary {
        page.element("p", sentence).raw("\n");
    }
    for note in &report.notes {
        page.element("p class=\"note\"", note).raw("\n");
    }
    page.raw("</section>\n");
}

fn one(report: &HostReport, number: usize, several: bool, page: &mut Page) {
    if several {
        page.raw("<h2 class=\"host\">")
            .text(&report.host.name)
            .raw("</h2>\n");
    }
    numbers(report, page);
    findings::write(report, number, page);
    timeline::write(report, number, page);
    measures::rates(report, page);
    diagram::write(report, page);
    measures::stays(report, page);
    measures::tables(report, page);
    measures::losses(report, page);
    measures::host(report, page);
}

/// The numbers that one looks for first.
fn numbers(report: &HostReport, page: &mut Page) {
    let t = &report.totals;
    let worst = |weight: u8| {
        report
            .findings
            .iter()
            .filter(|f| f.worst() == weight)
            .count() as u64
    };
    let cells = [
        ("critical", worst(3), "critical"),
        ("warnings", worst(2), "warning"),
        ("worth knowing", worst(1), "info"),
        (
            "connections opened",
            t.opened_actively + t.opened_passively,
            "",
        ),
        ("connections closed", t.closed, ""),
        (
            "segments sent again",
            t.retransmits + t.synack_retransmits,
            "",
        ),
        ("resets", t.resets_sent + t.resets_received, ""),
        ("refused by full queues", t.drops, ""),
        (
            "events lost",
            t.lost,
            if t.lost > 0 { "warning" } else { "" },
        ),
    ];
    page.raw("<dl class=\"numbers\">\n");
    for (label, value, class) in cells {
        let zero = if value == 0 { " zero" } else { "" };
        page.raw(&format!("<div class=\"{class}{zero}\"><dt>"))
            .text(label)
            .raw("</dt><dd>")
            .text(&count(value))
            .raw("</dd></div>\n");
    }
    page.raw("</dl>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_cannot_reach_the_page() {
        assert_eq!(
            escape("<script>alert('x')</script>\u{202e}"),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\\u{202e}"
        );
        assert_eq!(escape("\" onload=\"x"), "&quot; onload=&quot;x");
        let mut page = Page::default();
        page.element("p class=\"note\"", "a<b");
        assert_eq!(page.0, "<p class=\"note\">a&lt;b</p>");
    }
}
