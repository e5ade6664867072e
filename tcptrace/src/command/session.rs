//! What the live modes share at their start: privileges, probes, the engine, the recording.

use std::path::Path;

use tcptrace_core::Engine;
use tcptrace_core::filter::Filter;
use tcptrace_core::settings::Settings;

use super::{KernelArgs, OutputArgs};
use crate::failure::{Failure, FailureKind};
use crate::gate::Gate;
use crate::kernel::{HostFacts, Kernel, KernelError, KernelOptions};
use crate::pump::Pump;
use crate::recording::{Header, Recorder, Target};

/// Where the recording goes: as asked, or as `otherwise` says.
pub(super) fn target(args: &OutputArgs, otherwise: impl FnOnce() -> Target) -> Target {
    match &args.output {
        Some(path) if path == Path::new("-") => Target::Stdout,
        Some(path) => Target::File { path: path.clone(), force: args.force },
        None => otherwise(),
    }
}

/// Attaches the probes and opens the recording. The file is created only when the probes run, so
/// that a host that cannot be traced leaves no empty file behind.
pub(super) fn open(
    target: Option<Target>,
    settings: Settings,
    kernel: &KernelArgs,
    filter: Filter,
) -> Result<Pump, Failure> {
    let options = KernelOptions {
        ring_bytes: kernel.ring_size,
        accept_syscalls: !kernel.no_accept_syscalls,
        filter: filter.clone(),
    };
    let kernel = Kernel::open(&options).map_err(kernel_failure)?;
    let gate = Gate::new(filter.without_kernel_part());
    let recorder = target
        .map(|target| Recorder::create(&target, &header(&kernel.host(), &settings, &gate)))
        .transpose()?;
    Ok(Pump::new(kernel, Engine::new(settings), gate, recorder))
}

/// Gives an error of the kernel's side its exit code.
fn kernel_failure(error: KernelError) -> Failure {
    let kind = match error {
        KernelError::Privilege { .. } => FailureKind::Privilege,
        KernelError::Unsupported { .. } => FailureKind::Kernel,
        _ => FailureKind::Runtime,
    };
    Failure::new(kind, error)
}

/// What the first line of the recording says.
fn header(host: &HostFacts, settings: &Settings, gate: &Gate) -> Header {
    Header {
        at: host.now,
        clock_offset_ns: host.clock_offset_ns,
        recording_id: recording_id(),
        boot_id: host.boot_id.clone(),
        host: host.hostname.clone(),
        kernel: host.kernel.clone(),
        arch: host.arch.clone(),
        hz: host.hz,
        command: std::env::args().collect(),
        thresholds: settings.into(),
        completeness: if gate.is_open() { Completeness::All } else { Completeness::Filtered },
        ..Header::default()
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
