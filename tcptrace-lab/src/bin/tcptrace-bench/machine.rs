//! The machine that the numbers were measured on.

use std::fmt;
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// What decides about the numbers, besides the program.
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    memory_gib: u64,
    virtual_machine: bool,
    load: String,
}

impl Machine {
    /// Asks /proc.
    pub(crate) fn describe() -> Result<Self> {
        let read = |path: &str| {
            fs::read_to_string(path).with_context(|| format!("cannot read {path}; mount /proc"))
        };
        let cpuinfo = read("/proc/cpuinfo")?;
        let line = |text: &str, name: &str| {
            text.lines().find_map(|line| {
                Some(
                    line.strip_prefix(name)?
                        .split_once(':')?
                        .1
                        .trim()
                        .to_owned(),
                )
            })
        };
        let memory = line(&read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let kib: u64 = memory
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            processor: line(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: std::thread::available_parallelism()?.get(),
            memory_gib: kib.div_ceil(1 << 20),
            virtual_machine: cpuinfo.contains("hypervisor"),
            load: read("/proc/loadavg")?.split_whitespace().take(1).collect(),
        })
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "kernel": self.kernel, "processor": self.processor, "processors": self.processors,
            "memory_gib": self.memory_gib, "virtual": self.virtual_machine,
            "load_before": self.load,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kernel,
            processor,
            processors,
            memory_gib,
            virtual_machine,
            load,
            ..
        } = self;
        let kind = if *virtual_machine {
            "virtual processors"
        } else {
            "processors"
        };
        write!(
            f,
            "Linux {kernel}, {processors} {kind} ({processor}), {memory_gib} GiB; load before: {load}"
        )
    }
}
