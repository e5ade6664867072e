//! The report for a terminal.

use std::io::{self, Write};

use super::Report;
use super::finding::Finding;
use super::gather::HostReport;
use super::heaviest::Line;
use super::units::{clock, count, span};
use crate::printable::printable;
use tcptrace_core::tcp::TcpState;

/// Writes all of it. Every text that is not ours is made printable.
pub(crate) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for sentence in &report.summary {
        writeln!(out, "{}", printable(sentence))?;
    }
    for note in &report.notes {
        writeln!(out, "note: {}", printable(note))?;
    }
    if let Some(meeting) = &report.ends {
        heading(out, "Both ends")?;
        for verdict in &meeting.verdicts {
            writeln!(
                out,
                "  {:<20} {} ({})",
                verdict.segment,
                printable(&verdict.sentence),
                verdict.confidence
            )?;
        }
        if meeting.left_out > 0 {
            writeln!(out, "  and {} more", meeting.left_out)?;
        }
    }
    for host in &report.hosts {
        one(host, out)?;
    }
    out.flush()
}

fn heading(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "\n{text}\n{}", "-".repeat(text.chars().count()))
}

fn one(report: &HostReport, out: &mut impl Write) -> io::Result<()> {
    let name = printable(&report.host.name).into_owned();
    heading(out, &format!("Findings on {name}"))?;
    if report.findings.is_empty() {
        writeln!(out, "  none")?;
    }
    for item in &report.findings {
        finding(report, item, out)?;
    }
    heading(out, &format!("Connections of {name}"))?;
    writeln!(
        out,
        "  {:<14} {:>9} {:>9}   {:>9} {:>9} {:>9}",
        "state", "entered", "at end", "p50", "p99", "longest"
    )?;
    for state in TcpState::ALL {
        let entered = report.states.entered(state);
        let now = report.at_end.get(state.name()).copied().unwrap_or(0);
        if entered == 0 && now == 0 {
            continue;
        }
        let stay = report.states.stay(state);
        let known = |value: std::time::Duration| match stay.total() {
            0 => "-".to_owned(),
            _ => span(value),
        };
        writeln!(
            out,
            "  {:<14} {:>9} {:>9}   {:>9} {:>9} {:>9}",
            state.name(),
            entered,
            now,
            known(stay.quantile(0.5)),
            known(stay.quantile(0.99)),
            known(stay.longest())
        )?;
    }
    table(out, "process", &report.processes)?;
    table(out, "service", &report.services)?;
    if !report.losses.is_empty() {
        heading(out, &format!("Losses on {name}"))?;
        for gap in &report.losses {
            writeln!(
                out,
                "  {} {} ({}), {} to {} UTC",
                count(gap.count),
                gap.kind.as_deref().unwrap_or("facts"),
                gap.cause,
                clock(report.wall(gap.from_mono_ns)),
                clock(report.wall(gap.to_mono_ns))
            )?;
        }
    }
    Ok(())
}

fn finding(report: &HostReport, finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{} {} {} ({}, {})",
        finding.id,
        finding.severity,
        printable(&finding.name()),
        finding.confidence,
        finding.status
    )?;
    writeln!(out, "  what      {}", printable(&finding.summary))?;
    writeln!(out, "  do        {}", printable(&finding.advice))?;
    if let Some(root) = &finding.caused_by {
        writeln!(out, "  follows   from {root}")?;
    }
    writeln!(
        out,
        "  told      {} UTC, last {} UTC",
        clock(report.wall(finding.opened())),
        clock(report.wall(finding.at_mono_ns))
    )?;
    for (name, value) in &finding.evidence {
        writeln!(out, "    {:<22} {}", printable(name), printable(value))?;
    }
    Ok(())
}

fn table(out: &mut impl Write, title: &str, lines: &[Line]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n  {title:<32} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "opened", "closed", "failed", "repeats", "resets"
    )?;
    for Line { name, weight } in lines {
        writeln!(
            out,
            "  {:<32} {:>8} {:>8} {:>8} {:>8} {:>8}",
            printable(name),
            weight.opened,
            weight.closed,
            weight.failed,
            weight.retransmits,
            weight.resets
        )?;
    }
    Ok(())
}
