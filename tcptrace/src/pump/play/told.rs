//! Findings as a recording tells them, for an engine that cannot make them: the facts that led to
//! them are not all in the file.

use std::sync::Arc;

use tcptrace_core::finding::{
    CallSite, Cause, Confidence, Evidence, Finding, FindingId, Kind, Owner, Provenance, Service,
    Severity, Status, ToldEvidence,
};
use tcptrace_core::input::{Frame, ProcessInfo, SocketCall, SocketKey};
use tcptrace_core::units::{NetnsId, SockId};

use crate::recording::{RecordedCallSite, RecordedFinding, RecordedProcess, RecordedService};
use crate::report;

/// The finding, if this tcptrace knows its kind.
pub(super) fn finding(told: &RecordedFinding) -> Option<Finding> {
    let process = told.process.as_ref().map(owner);
    let processes = told.processes.iter();
    Some(Finding {
        id: id(&told.id)?,
        status: named(
            [Status::Open, Status::Updated, Status::Resolved],
            Status::name,
            &told.status,
        )?,
        kind: named(Kind::ALL, Kind::name, &told.kind)?,
        cause: told
            .cause
            .as_deref()
            .and_then(|cause| named(Cause::ALL, Cause::name, cause)),
        severity: named(
            [Severity::Info, Severity::Warning, Severity::Critical],
            Severity::name,
            &told.severity,
        )
        .unwrap_or(Severity::Warning),
        confidence: confidence(Some(&told.confidence)),
        processes: processes
            .map(|process| (owner(process), process.count.unwrap_or(0)))
            .collect(),
        process,
        service: match &told.service {
            Some(RecordedService::Passive { port }) => {
                port.map_or(Service::ManyPorts, Service::Local)
            }
            Some(RecordedService::Active {
                address: Some(address),
                port: Some(port),
            }) => Service::Remote(*address, *port),
            Some(RecordedService::Active { .. }) => Service::ManyRemotes,
            None => Service::Unknown,
        },
        count: told.count,
        since: told.since_mono_ns,
        at: told.at,
        growth_per_minute: told.growth_per_minute,
        samples: told
            .samples
            .iter()
            .map(|sample| SocketKey {
                sock: sample.sock.unwrap_or(SockId(0)),
                netns: sample.netns.unwrap_or(NetnsId(0)),
                local: sample.local,
                peer: sample.peer,
            })
            .collect(),
        stacks: told.stacks.iter().filter_map(call_site).collect(),
        evidence: Evidence::Told(ToldEvidence {
            summary: told.summary.clone(),
            advice: told.advice.clone(),
            rows: report::rows(&told.evidence),
        }),
        caused_by: told.caused_by.as_deref().and_then(id),
    })
}

fn named<T: Copy, const N: usize>(
    all: [T; N],
    name: impl Fn(T) -> &'static str,
    written: &str,
) -> Option<T> {
    all.into_iter().find(|value| name(*value) == written)
}

/// `f3`.
fn id(text: &str) -> Option<FindingId> {
    text.strip_prefix('f')?.parse().ok().map(FindingId)
}

fn confidence(written: Option<&String>) -> Confidence {
    let all = [Confidence::Unknown, Confidence::Likely, Confidence::Exact];
    written
        .and_then(|written| named(all, Confidence::name, written))
        .unwrap_or(Confidence::Unknown)
}

/// Nothing for a call that this tcptrace does not know.
fn call_site(told: &RecordedCallSite) -> Option<CallSite> {
    let frames = told.frames.iter().cloned().map(Frame::from);
    Some(CallSite {
        call: named(SocketCall::ALL, SocketCall::name, &told.call)?,
        pid: told.pid,
        count: told.count,
        frames: frames.collect(),
    })
}

fn owner(process: &RecordedProcess) -> Owner {
    let provenances = [
        Provenance::Connect,
        Provenance::Listen,
        Provenance::Accept,
        Provenance::Inherited,
        Provenance::Holder,
    ];
    let text = |text: &Option<String>| text.as_deref().map(Arc::from);
    Owner {
        process: Arc::new(ProcessInfo {
            pid: process.pid,
            start: process.start,
            name: Arc::from(process.name.as_str()),
            exe: text(&process.exe),
            parent: process.parent,
            uid: process.uid,
            ns_pid: process.ns_pid,
            cgroup: text(&process.cgroup),
            container: text(&process.container),
            cmdline: text(&process.cmdline),
        }),
        provenance: process
            .provenance
            .as_deref()
            .and_then(|written| named(provenances, Provenance::name, written))
            .unwrap_or(Provenance::Holder),
        confidence: confidence(process.confidence.as_ref()),
    }
}
