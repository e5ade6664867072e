//! The story in sentences, for somebody who was not there.

use super::ends::Meeting;
use super::gather::HostReport;
use super::units::{clock, count, instant, many, span};

/// Findings that are told; the rest are below.
const TOLD: usize = 4;

pub(super) fn tell(hosts: &[HostReport], ends: Option<&Meeting>) -> Vec<String> {
    let mut story = Vec::new();
    // Who names two recordings wants to know this first.
    if let Some(meeting) = ends {
        story.extend(meeting.sentences());
    }
    for host in hosts {
        one(host, &mut story);
    }
    story
}

fn one(report: &HostReport, story: &mut Vec<String>) {
    let t = &report.totals;
    let opened = t.opened_actively + t.opened_passively;
    story.push(format!(
        "{} (Linux {}) was watched for {}, from {} to {} UTC: {} opened, {} closed.",
        report.host.name,
        report.host.kernel,
        span(report.span()),
        instant(report.begin_wall_ns),
        clock(report.end_wall_ns),
        many(opened, "connection was", "connections were"),
        match t.closed {
            0 => "none was".to_owned(),
            n => count(n),
        },
    ));
    findings(report, story);
    trouble(report, story);
    losses(report, story);
}

fn findings(report: &HostReport, story: &mut Vec<String>) {
    let all = report.findings.len();
    if all == 0 {
        story.push("Nothing was found to be wrong.".to_owned());
        return;
    }
    let of = |weight: u8| {
        report
            .findings
            .iter()
            .filter(|f| f.worst() == weight)
            .count()
    };
    let words = [(3, "critical"), (2, "warning"), (1, "worth knowing")];
    let parts: Vec<String> = words
        .into_iter()
        .filter(|(weight, _)| of(*weight) > 0)
        .map(|(weight, word)| format!("{} {word}", of(weight)))
        .collect();
    let open = report
        .findings
        .iter()
        .filter(|f| f.status != "resolved")
        .count();
    story.push(format!(
        "{} ({}); {}.",
        many(all as u64, "problem was found", "problems were found"),
        parts.join(", "),
        match open {
            0 => "all were over at the end".to_owned(),
            n if n == all && n == 1 => "it was still there at the end".to_owned(),
            n if n == all => "all were still there at the end".to_owned(),
            n => format!("{n} of them still there at the end"),
        }
    ));
    let mut told: Vec<_> = report.findings.iter().collect();
    // A root before what it brought about.
    told.sort_by_key(|f| f.rank());
    for finding in told.iter().take(TOLD) {
        let root = finding
            .caused_by
            .as_ref()
            .map_or_else(String::new, |id| format!(" This follows from {id}."));
        story.push(format!(
            "{}: {}.{root}",
            finding.id,
            sentence(&finding.summary)
        ));
    }
    if all > TOLD {
        story.push(match all - TOLD {
            1 => "One more is listed below.".to_owned(),
            n => format!("{n} more are listed below."),
        });
    }
}

/// With a capital.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        // Names of processes stay as they are.
        Some(first) if text.starts_with("the ") || text.starts_with("an ") => {
            first.to_uppercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

fn trouble(report: &HostReport, story: &mut Vec<String>) {
    let t = &report.totals;
    let mut parts = Vec::new();
    if t.retransmits > 0 {
        parts.push(format!(
            "{} sent again ({} with SYN, {} with FIN)",
            many(t.retransmits, "segment was", "segments were"),
            count(t.syn_retransmits),
            count(t.fin_retransmits)
        ));
    }
    if t.synack_retransmits > 0 {
        parts.push(format!(
            "{} repeated",
            many(t.synack_retransmits, "SYN-ACK was", "SYN-ACKs were")
        ));
    }
    let resets = t.resets_sent + t.resets_received;
    if resets > 0 {
        parts.push(format!(
            "{} ({} sent, {} received)",
            many(
                resets,
                "connection attempt or connection was reset",
                "resets were seen"
            ),
            count(t.resets_sent),
            count(t.resets_received)
        ));
    }
    if t.failed > 0 {
        parts.push(many(
            t.failed,
            "handshake did not finish",
            "handshakes did not finish",
        ));
    }
    if t.drops > 0 {
        parts.push(format!(
            "the kernel refused {} because a queue was full",
            many(t.drops, "handshake segment", "handshake segments")
        ));
    }
    if !parts.is_empty() {
        story.push(format!("On the wire: {}.", parts.join("; ")));
    }
}

fn losses(report: &HostReport, story: &mut Vec<String>) {
    story.push(match report.totals.lost {
        0 => "No event was lost on the way into the recording.".to_owned(),
        n => format!(
            "{} lost on the way into the recording: what happened to the sockets concerned in that \
             time is not known, counts are too low by as much, and verdicts about them are at most \
             likely.",
            many(n, "event was", "events were")
        ),
    });
    if report.ended.is_none() {
        story.push(
            "The recording has no end: the recorder was killed, or the file was cut off."
                .to_owned(),
        );
    }
}
