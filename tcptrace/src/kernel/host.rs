//! What a recording's header and `doctor` say of the host.

use std::fs;

use super::probes::ProbeStatus;
use super::{clock, process};

/// The host, and what can be seen of it.
#[derive(Clone, Debug)]
pub(crate) struct HostFacts {
    /// Its name.
    pub(crate) hostname: String,
    /// The kernel's release, as `uname -r` prints it.
    pub(crate) kernel: String,
    /// The machine's architecture: `x86_64`, `aarch64`.
    pub(crate) arch: &'static str,
    /// Different after every boot; monotonic times compare only within one.
    pub(crate) boot_id: String,
    /// Kernel ticks a second.
    pub(crate) hz: u32,
    /// How far the wall clock was ahead of the monotonic one, in nanoseconds.
    pub(crate) wall_ahead_ns: i64,
    /// Every probe, attached or not.
    pub(crate) probes: Vec<ProbeStatus>,
    /// Otherwise processes have no more than the name in their exit record, because the agent sees
    /// them under other numbers than the kernel reports.
    pub(crate) initial_pid_namespace: bool,
}

impl HostFacts {
    /// Reads them now.
    pub(crate) fn read(hz: u32, probes: &[ProbeStatus]) -> Self {
        Self {
            hostname: kernel_text("hostname"),
            kernel: kernel_text("osrelease"),
            arch: std::env::consts::ARCH,
            boot_id: kernel_text("random/boot_id"),
            hz,
            wall_ahead_ns: clock::wall_ahead(),
            probes: probes.to_vec(),
            initial_pid_namespace: process::in_initial_pid_namespace(),
        }
    }
}

/// A line of `/proc/sys/kernel`, empty where the kernel does not tell.
fn kernel_text(name: &str) -> String {
    fs::read_to_string(format!("/proc/sys/kernel/{name}"))
        .map(|text| text.trim_end().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_names_itself() {
        let host = HostFacts::read(250, &[]);
        assert!(!host.hostname.is_empty() && !host.kernel.is_empty());
        assert_eq!(host.boot_id.len(), 36);
        assert!(host.wall_ahead_ns > 0);
    }
}
