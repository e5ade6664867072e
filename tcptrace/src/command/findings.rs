//! A finding as a paragraph, for every command that prints some.

use std::io::{self, Write};

use crate::printable::printable;
use crate::recording::RecordedFinding;

/// Writes one.
pub(super) fn text(finding: &RecordedFinding, out: &mut impl Write) -> io::Result<()> {
    let cause = finding
        .cause
        .as_deref()
        .map(|cause| format!("/{cause}"))
        .unwrap_or_default();
    writeln!(
        out,
        "{} {} {}{cause} ({}, {})",
        finding.id, finding.severity, finding.kind, finding.confidence, finding.status
    )?;
    if let Some(process) = &finding.process {
        writeln!(
            out,
            "  process  {} (pid {})",
            printable(&process.name),
            process.pid.0
        )?;
    }
    writeln!(out, "  since    {}", finding.since)?;
    writeln!(out, "  what     {}", printable(&finding.summary))?;
    writeln!(out, "  do       {}", printable(&finding.advice))
}
