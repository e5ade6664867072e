//! A finding as a recording holds it: enough to print it without the engine, and to compare it with
//! one that a replay made. Both ways of getting one lead to this type, so that text and NDJSON have
//! one printer.
//!
//! Words are strings here: a reader must be able to show a kind that only a newer tcptrace knows.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tcptrace_core::finding::{CallSite, Finding, Owner, Service, stack_row};
use tcptrace_core::input::{Frame, SocketKey};
use tcptrace_core::tcp::Endpoint;
use tcptrace_core::units::{MonoNs, NetnsId, Pid, Port, SockId};

/// One `finding` line, less its number and the stamp, which depend on the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordedFinding {
    /// When it entered this status.
    #[serde(rename = "mono_ns", skip_serializing)]
    pub(crate) at: MonoNs,
    /// `open`, `updated` or `resolved`.
    pub(crate) status: String,
    /// `f1`, …: the same from open to resolved.
    pub(crate) id: String,
    /// What.
    pub(crate) kind: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// `info`, `warning` or `critical`.
    pub(crate) severity: String,
    /// `exact`, `likely` or `unknown`.
    pub(crate) confidence: String,
    /// The largest holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<RecordedProcess>,
    /// The largest holders with their numbers of sockets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) processes: Vec<RecordedProcess>,
    /// Which service; absent when the tuple is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<RecordedService>,
    /// How many sockets or events.
    pub(crate) count: u64,
    /// When the oldest of them went wrong, on the wall clock.
    pub(crate) since: String,
    /// The same, monotonic.
    pub(crate) since_mono_ns: MonoNs,
    /// Sockets per minute, when it grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) growth_per_minute: Option<f64>,
    /// The finding that brought this one about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) caused_by: Option<String>,
    /// Some of the sockets.
    #[serde(default)]
    pub(crate) samples: Vec<RecordedSocket>,
    /// Where in their programs these were opened; with `--stacks` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stacks: Vec<RecordedCallSite>,
    /// What proves it; which fields depends on the kind.
    #[serde(default)]
    pub(crate) evidence: Value,
    /// One sentence: what, the numbers, since when.
    pub(crate) summary: String,
    /// One sentence: what to do.
    pub(crate) advice: String,
}

/// A process with all that is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedProcess {
    /// In the initial pid namespace.
    pub(crate) pid: Pid,
    /// Hostile text.
    pub(crate) name: String,
    /// How it is known to own the sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provenance: Option<String>,
    /// How surely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confidence: Option<String>,
    /// Its sockets, among those of the finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
    /// Start time, clock ticks since boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start: Option<u64>,
    /// The executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exe: Option<String>,
    /// The parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Pid>,
    /// The effective user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<u32>,
    /// Its pid in its own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ns_pid: Option<Pid>,
    /// The cgroup's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cgroup: Option<String>,
    /// The container's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,
    /// Its command line; with `--cmdline` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cmdline: Option<String>,
}

/// Where in a program some of the samples were accepted, connected or closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedCallSite {
    /// `accept`, `connect` or `close`.
    pub(crate) call: String,
    /// The process that called.
    pub(crate) pid: Pid,
    /// How many of the samples.
    pub(crate) count: u64,
    /// The functions, the innermost first.
    pub(crate) frames: Vec<RecordedFrame>,
}

/// One function on a stack. Hostile text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedFrame {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) function: Option<String>,
    /// The program or library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) module: Option<String>,
    /// The source file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// The line in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
}

/// What the sockets of a finding have in common besides their owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "open", rename_all = "snake_case")]
pub(crate) enum RecordedService {
    /// Passive opens: a port of this host. Without port: many ports, rolled up.
    Passive {
        /// The local port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<Port>,
    },
    /// Active opens. Without address and port: many remotes, rolled up.
    Active {
        /// The remote address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
        /// The remote port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<Port>,
    },
}

/// A socket, without its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedSocket {
    /// Which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sock: Option<SockId>,
    /// Its network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) netns: Option<NetnsId>,
    /// Our end.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub(crate) local: Endpoint,
    /// The other end.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub(crate) peer: Endpoint,
}

fn is_unknown(endpoint: &Endpoint) -> bool {
    *endpoint == Endpoint::default()
}

impl RecordedFinding {
    /// `finding` as it is at `now`; `stamp` spells a monotonic instant on the wall clock.
    pub(super) fn new(
        finding: &Finding,
        now: MonoNs,
        mut stamp: impl FnMut(MonoNs) -> String,
    ) -> Self {
        let summary = finding.summary(now);
        let advice = finding.advice();
        let Finding {
            id,
            status,
            kind,
            cause,
            severity,
            confidence,
            process,
            processes,
            service,
            count,
            since,
            at,
            growth_per_minute,
            samples,
            stacks,
            evidence,
            caused_by,
        } = finding;
        Self {
            at: *at,
            status: status.name().to_owned(),
            id: id.to_string(),
            kind: kind.name().to_owned(),
            cause: cause.map(|cause| cause.name().to_owned()),
            severity: severity.name().to_owned(),
            confidence: confidence.name().to_owned(),
            process: process
                .as_ref()
                .map(|owner| RecordedProcess::new(owner, None)),
            processes: processes
                .iter()
                .map(|(owner, count)| RecordedProcess::new(owner, Some(*count)))
                .collect(),
            service: RecordedService::new(service),
            count: *count,
            since: stamp(*since),
            since_mono_ns: *since,
            // Two decimals: more would be noise, and would not survive text exactly.
            growth_per_minute: growth_per_minute
                .filter(|rate| rate.is_finite())
                .map(|rate| (rate * 100.0).round() / 100.0),
            caused_by: caused_by.map(|id| id.to_string()),
            samples: samples.iter().map(RecordedSocket::new).collect(),
            stacks: stacks.iter().map(RecordedCallSite::new).collect(),
            evidence: serde_json::to_value(evidence)
                .expect("evidence has string keys and serializes no foreign type"),
            summary,
            advice,
        }
    }
}

impl RecordedFinding {
    /// Where the samples were opened, as rows of a table.
    pub(crate) fn stack_rows(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let samples = self.samples.len();
        self.stacks.iter().map(move |it| {
            let frames: Vec<Frame> = it.frames.iter().cloned().map(Frame::from).collect();
            stack_row(&it.call, frames.iter(), (it.count, samples))
        })
    }
}

impl RecordedCallSite {
    fn new(opening: &CallSite) -> Self {
        Self {
            call: opening.call.name().to_owned(),
            pid: opening.pid,
            count: opening.count,
            frames: opening.frames.iter().map(RecordedFrame::new).collect(),
        }
    }
}

impl RecordedFrame {
    fn new(frame: &Frame) -> Self {
        let Frame {
            function,
            module,
            file,
            line,
        } = frame;
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        Self {
            function: text(function),
            module: text(module),
            file: text(file),
            line: *line,
        }
    }
}

impl From<RecordedFrame> for Frame {
    fn from(frame: RecordedFrame) -> Self {
        Self {
            function: frame.function.map(Into::into),
            module: frame.module.map(Into::into),
            file: frame.file.map(Into::into),
            line: frame.line,
        }
    }
}

impl RecordedProcess {
    fn new(owner: &Owner, count: Option<u64>) -> Self {
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        let info = &owner.process;
        Self {
            pid: info.pid,
            name: info.name.to_string(),
            provenance: Some(owner.provenance.name().to_owned()),
            confidence: Some(owner.confidence.name().to_owned()),
            count,
            start: info.start,
            exe: text(&info.exe),
            parent: info.parent,
            uid: info.uid,
            ns_pid: info.ns_pid,
            cgroup: text(&info.cgroup),
            container: text(&info.container),
            cmdline: text(&info.cmdline),
        }
    }
}

impl RecordedService {
    fn new(service: &Service) -> Option<Self> {
        match *service {
            Service::Local(port) => Some(Self::Passive { port: Some(port) }),
            Service::ManyPorts => Some(Self::Passive { port: None }),
            Service::Remote(address, port) => Some(Self::Active {
                address: Some(address),
                port: Some(port),
            }),
            Service::ManyRemotes => Some(Self::Active {
                address: None,
                port: None,
            }),
            Service::Unknown => None,
        }
    }
}

impl RecordedSocket {
    fn new(key: &SocketKey) -> Self {
        let SocketKey {
            sock,
            netns,
            local,
            peer,
        } = *key;
        Self {
            sock: Some(sock).filter(|sock| *sock != SockId(0)),
            netns: Some(netns).filter(|netns| *netns != NetnsId(0)),
            local,
            peer,
        }
    }
}
