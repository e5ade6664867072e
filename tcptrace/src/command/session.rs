//! What the live modes share at their start: privileges, probes, the engine, the recording.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tcptrace_core::Engine;
use tcptrace_core::filter::Filter;
use tcptrace_core::settings::Settings;
use time::macros::format_description;

use super::{KernelArgs, OutputArgs};
use crate::failure::{Failure, FailureKind};
use crate::gate::{Events, Gate};
use crate::kernel::{
    self, HostFacts, Kernel, KernelError, KernelFilter, KernelOptions, ProbeOptions, ProbeState,
    ProbeStatus, Purpose,
};
use crate::pump::{Ended, Opener, Pump};
use crate::recording::{self, Completeness, Header, Probe, Recorder, Rotation, Target};
use crate::tui::{HeaderFacts, Source};

/// Where the recording goes: as asked, or as `otherwise` says.
pub(super) fn target(args: &OutputArgs, otherwise: Target) -> Target {
    match &args.output {
        Some(path) if path == Path::new("-") => Target::Stdout,
        Some(path) => Target::File {
            path: path.clone(),
            force: args.force,
        },
        None => otherwise,
    }
}

/// Now as part of a file's name: `20260102T030405Z`.
pub(super) fn utc_stamp() -> Result<String, Failure> {
    let now = time::OffsetDateTime::from_unix_timestamp_nanos(kernel::wall_now().0.into())?;
    Ok(now.format(format_description!(
        "[year][month][day]T[hour][minute][second]Z"
    ))?)
}

/// Attaches the probes and opens the recording. The file is created only when the probes run, so
/// that a host that cannot be traced leaves no empty file behind.
pub(super) fn open(
    target: Option<Target>,
    settings: Settings,
    kernel: &KernelArgs,
    filter: Filter,
) -> Result<Pump, Failure> {
    open_keeping(target, Keep::default(), settings, kernel, filter)
}

/// What of the facts a recording keeps, and in which files.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keep {
    pub(super) rotation: Rotation,
    pub(super) events: Events,
}

/// As [`open`], for a recording that is more than one file with everything.
pub(super) fn open_keeping(
    target: Option<Target>,
    keep: Keep,
    settings: Settings,
    kernel: &KernelArgs,
    filter: Filter,
) -> Result<Pump, Failure> {
    let in_kernel = KernelFilter {
        family: filter.family,
        netns: filter.netns,
        local_ports: filter.local_ports.clone(),
        remote_ports: filter.remote_ports.clone(),
    };
    let complete = in_kernel.is_exact()
        && Filter {
            family: None,
            netns: None,
            local_ports: Vec::new(),
            remote_ports: Vec::new(),
            ..filter.clone()
        }
        .is_empty();
    let options = KernelOptions {
        probes: ProbeOptions {
            ring_bytes: kernel.ring_size,
            filter: in_kernel,
            accept_syscalls: !kernel.no_accept_syscalls,
            tier: kernel.tier,
            stacks: kernel.stacks,
            ..ProbeOptions::default()
        },
        cmdline: kernel.cmdline,
    };
    take_precedence();
    let kernel = Kernel::open(&options).map_err(kernel_failure)?;
    if !kernel.host().initial_pid_namespace {
        eprintln!(
            "tcptrace: this is not the host's pid namespace, so processes have only the names that \
             they leave at their exit; run in the host's (docker run --pid=host)"
        );
    }
    let gate = Gate::new(filter, complete).keeping(keep.events);
    let recorder = match target {
        Some(target) => Some(Recorder::create(
            &target,
            keep.rotation,
            &header(&kernel, &settings, &gate, false)?,
        )?),
        None => None,
    };
    Ok(Pump::new(kernel, Engine::new(settings), gate, recorder))
}

/// Niceness of the tracer. It needs little of a processor, but on a host in trouble it must get that
/// little in time: the ring holds about a second of saturation, then events are lost.
const NICENESS: i32 = -10;

/// Asks the scheduler to prefer this thread, and those that it starts, to what it observes.
fn take_precedence() {
    let asked = rustix::process::getpriority_process(None)
        .and_then(|now| rustix::process::setpriority_process(None, now.min(NICENESS)));
    if let Err(error) = asked {
        tracing::debug!(%error, "cannot be preferred by the scheduler (CAP_SYS_NICE)");
    }
}

/// Gives an error of the kernel's side its exit code.
fn kernel_failure(error: KernelError) -> Failure {
    let kind = match error {
        KernelError::NotPrivileged { .. } => FailureKind::Privilege,
        KernelError::KernelCannot { .. } | KernelError::Forbidden { .. } => FailureKind::Kernel,
        _ => FailureKind::Runtime,
    };
    Failure::new(kind, error)
}

/// Opens recordings in the middle of a run, in the working directory, named after the time.
pub(super) fn opener() -> Opener {
    Box::new(|kernel, settings, gate| {
        let path = format!("tcptrace-{}.ndjson", utc_stamp()?).into();
        let target = Target::File { path, force: false };
        let header = header(kernel, settings, gate, true)?;
        Ok(Recorder::create(&target, Rotation::default(), &header)?)
    })
}

/// What the first line of the recording says; `late` when it begins in the middle of a run.
fn header(
    kernel: &Kernel,
    settings: &Settings,
    gate: &Gate,
    late: bool,
) -> Result<Header, Failure> {
    let host = kernel.host();
    let recording_id = fs::read_to_string("/proc/sys/kernel/random/uuid")
        .context("cannot make an id for the recording; mount /proc")?;
    Ok(Header {
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        at: kernel.now(),
        clock_offset_ns: host.wall_ahead_ns,
        recording_id: recording_id.trim_end().to_owned(),
        boot_id: known(host.boot_id),
        host: known(host.hostname),
        kernel: known(host.kernel),
        arch: Some(host.arch.to_owned()),
        hz: Some(host.hz),
        command: std::env::args().collect(),
        filters: gate.words(),
        thresholds: settings.into(),
        probes: host
            .probes
            .iter()
            .map(|probe| Probe {
                name: probe.name.to_owned(),
                hook: Some(probe.hook.to_owned()),
                tier: Some(probe.tier.name().to_owned()),
                attached: probe.state == ProbeState::Attached,
                reason: match &probe.state {
                    ProbeState::Attached => None,
                    ProbeState::Missing(reason) => Some(reason.clone()),
                },
            })
            .collect(),
        completeness: match (late, gate.events()) {
            (true, _) => Completeness::Partial,
            (false, Events::All) if gate.is_complete() => Completeness::All,
            (false, Events::All) => Completeness::Filtered,
            (false, Events::Suspects) => Completeness::Suspects,
            (false, Events::None) => Completeness::None,
        },
        ..Header::default()
    })
}

/// Empty is how a missing text is read.
fn known(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// What the TUI's header says of the host.
pub(super) fn header_facts(host: &HostFacts, recording: Option<String>) -> HeaderFacts {
    let attached = |probe: &&ProbeStatus| probe.state == ProbeState::Attached;
    let running = host.probes.iter().filter(attached).count();
    let accept = host
        .probes
        .iter()
        .filter(attached)
        .find(|probe| probe.purpose == Purpose::Accepts)
        .map_or("accept untraced".to_owned(), |probe| {
            format!("accept by {}", probe.tier.name())
        });
    HeaderFacts {
        host: host.hostname.clone(),
        kernel: host.kernel.clone(),
        // Not of how many: the others are other ways to the same facts. `doctor` has them all.
        probes: format!("{running} probes, {accept}"),
        recording,
        late: Duration::ZERO,
        source: Source::Live,
    }
}

/// The footer's word for how a run ended.
pub(super) fn reason(ended: &Result<Ended, Failure>) -> recording::Ended {
    match ended {
        Ok(Ended::Signal) => recording::Ended::Signal,
        Ok(Ended::Duration) => recording::Ended::Duration,
        Ok(Ended::Quit) => recording::Ended::Quit,
        Ok(Ended::DiskLow) => recording::Ended::DiskLow,
        Ok(Ended::BrokenPipe) | Err(_) => recording::Ended::Failure,
    }
}
