//! A finding as a paragraph, for every command that prints some.

use std::collections::{BTreeMap, BTreeSet};
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
    if let Some(root) = &finding.caused_by {
        writeln!(out, "  because  of {}", printable(root))?;
    }
    writeln!(out, "  since    {}", finding.since)?;
    for (name, functions) in finding.stack_rows() {
        writeln!(out, "  {name} {}", printable(&functions))?;
    }
    writeln!(out, "  what     {}", printable(&finding.summary))?;
    writeln!(out, "  do       {}", printable(&finding.advice))
}

/// An incident stands where its first finding was seen: its root first, effects after their cause.
pub(super) fn root_first(findings: Vec<RecordedFinding>) -> Vec<RecordedFinding> {
    let known: BTreeSet<&str> = findings.iter().map(|finding| &*finding.id).collect();
    let mut effects: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut root_of: Vec<Option<&str>> = Vec::new();
    for (place, finding) in findings.iter().enumerate() {
        let cause = finding.caused_by.as_deref().filter(|id| known.contains(id));
        if let Some(cause) = cause {
            effects.entry(cause).or_default().push(place);
        }
        root_of.push(cause);
    }
    // Depth first from each root, in the order in which its incident was first seen.
    let place_of: BTreeMap<&str, usize> = findings
        .iter()
        .enumerate()
        .map(|(place, finding)| (&*finding.id, place))
        .collect();
    let mut order = Vec::new();
    let mut told = vec![false; findings.len()];
    for first in 0..findings.len() {
        let mut place = first;
        // A damaged recording may link in a circle: no chain is longer than the list.
        for _ in 0..findings.len() {
            match root_of[place].and_then(|cause| place_of.get(cause)) {
                Some(cause) => place = *cause,
                None => break,
            }
        }
        let mut next = vec![place];
        while let Some(place) = next.pop() {
            if !std::mem::replace(&mut told[place], true) {
                order.push(place);
                let after = effects.get(&*findings[place].id);
                next.extend(after.into_iter().flatten().rev());
            }
        }
    }
    let mut findings: Vec<Option<RecordedFinding>> = findings.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|place| findings[place].take())
        .collect()
}
