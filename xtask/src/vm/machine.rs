//! One run of one guest under qemu.
//!
//! The kernel's console and the command's output are two serial lines, so that a kernel message
//! never splits a line of the command. Invariant: every run ends, by the guest, by qemu, or by us at
//! the time limit.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::guest;
use super::verdict::{Heard, Judge, Mark, Unreliable, Verdict};
use crate::shell;

/// How much of the console a failure shows.
const TAIL: usize = 40;

/// How long a guest that starts and leaves at once may take where KVM works; 1 s is usual.
const KVM_PATIENCE: Duration = Duration::from_secs(15);

/// How long a guest may take until it is up: an emulated one takes 2 to 6 seconds where it is alone.
const BOOTING: Duration = Duration::from_secs(180);

/// How long qemu may take to leave after the verdict.
const LEAVING: Duration = Duration::from_secs(20);

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accelerator {
    /// The processor
    Kvm,
    /// qemu's emulation, some ten times slower
    Tcg,
}

impl Accelerator {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "emulation",
        }
    }

    /// The best one that works here. A /dev/kvm that can be opened may still not run a guest
    /// (nested virtualization, masked registers), so one is run.
    pub(crate) fn best(image: &Path, folder: &Path) -> Result<Self> {
        if !Path::new("/dev/kvm").exists() {
            return Ok(Self::Tcg);
        }
        let initramfs = folder.join("smallest.cpio");
        fs::write(&initramfs, guest::smallest()?)?;
        let machine = Machine {
            accelerator: Self::Kvm,
            processors: 1,
            image: image.to_owned(),
            initramfs,
            console: folder.join("kvm.log"),
            append: String::new(),
        };
        let mut qemu = machine.command();
        qemu.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = Guest(qemu.spawn().context("cannot start qemu-system-x86_64")?);
        let works = child
            .ended_within(KVM_PATIENCE)?
            .is_some_and(|status| status.success());
        Ok(if works { Self::Kvm } else { Self::Tcg })
    }
}

/// A virtual machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) accelerator: Accelerator,
    pub(crate) processors: u32,
    pub(crate) image: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// Where the kernel's messages go.
    pub(crate) console: PathBuf,
    /// More for the kernel's command line.
    pub(crate) append: String,
}

impl Machine {
    fn command(&self) -> Command {
        let mut qemu = shell::program(
            shell::find("qemu-system-x86_64").unwrap_or_else(|| "qemu-system-x86_64".into()),
        );
        match self.accelerator {
            Accelerator::Kvm => qemu.args(["-accel", "kvm", "-cpu", "host"]),
            Accelerator::Tcg => qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max"]),
        };
        // A restart ends qemu (-no-reboot), and the kernel restarts after a panic at once. The
        // processor's random numbers are good enough for a guest that nobody attacks; without them
        // 5.10 waits for entropy.
        // On a busy host an emulated timer comes too late for the kernel's check of it at the boot.
        let append = format!(
            "console=ttyS0 panic=-1 oops=panic quiet loglevel=5 mitigations=off \
             random.trust_cpu=on no_timer_check {}",
            self.append
        );
        qemu.args(["-m", "2048", "-smp", &self.processors.to_string()])
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none"])
            .arg("-kernel")
            .arg(&self.image)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", &append])
            .arg("-serial")
            .arg(format!("file:{}", self.console.display()))
            .args(["-serial", "stdio"])
            .stdin(Stdio::null());
        qemu
    }

    /// Runs the guest, passes its output on, and gives its verdict. A guest that hangs, panics, or
    /// says nothing reliable is an error with the end of its console.
    pub(crate) fn run(
        &self,
        mark: &Mark,
        limit: Duration,
        hear: &mut dyn FnMut(&str),
    ) -> Result<Verdict, Lost> {
        let mut qemu = self.command();
        let mut guest = Guest(
            qemu.stdout(Stdio::piped())
                .spawn()
                .context("cannot start qemu-system-x86_64")?,
        );
        let output = guest.0.stdout.take().context("qemu has no output")?;
        let lines = lines(output);

        let mut judge = Judge::new(mark.clone());
        let end = Instant::now() + limit;
        let mut deadline = end.min(Instant::now() + BOOTING);
        let mut in_time = true;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match judge.hear(&line) {
                    Heard::Output => hear(&line),
                    Heard::Up => deadline = end,
                    Heard::Verdict => deadline = deadline.min(Instant::now() + LEAVING),
                },
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    in_time = false;
                    break;
                }
            }
        }
        let status = if in_time {
            guest.ended_within(LEAVING)?
        } else {
            None
        };
        drop(guest);

        let console = fs::read(&self.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let why = match (judge.verdict(), status) {
            _ if console.contains("Kernel panic") => "the guest's kernel panicked".to_owned(),
            (Ok(verdict), _) => {
                complaints(&console);
                return Ok(verdict);
            }
            (Err(Unreliable::None), None) if !judge.is_up() => {
                "the guest did not come up and was stopped".to_owned()
            }
            (Err(Unreliable::None), None) => format!(
                "the guest did not end within {} s and was stopped",
                limit.as_secs()
            ),
            (Err(unreliable), Some(status)) => format!("{unreliable} (qemu: {status})"),
            (Err(unreliable), None) => unreliable.to_string(),
        };
        Err(Lost {
            why: anyhow::anyhow!("{why}{}", tail(&console)),
            // A guest that restarts, panics included, ends qemu with success.
            of_the_machine: !judge.is_up()
                || status.is_some_and(|status| !status.success())
                || self.patched_late(&console),
        })
    }
}

impl Machine {
    /// Whether the kernel met a breakpoint of its own that it had taken back already. It patches functions
    /// while they run, as attaching to them asks for, and sees to it that every processor has seen the last
    /// byte; emulated ones run translated code, and were seen to see it late.
    fn patched_late(&self, console: &str) -> bool {
        let emulated = self.accelerator == Accelerator::Tcg && self.processors > 1;
        emulated && console.contains("Oops: int3")
    }
}

/// A run without a verdict.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) why: anyhow::Error,
    /// The emulator died, or let the kernel die, or the guest did before it came as far as the command:
    /// what was to run there has no part in it.
    pub(crate) of_the_machine: bool,
}

impl From<anyhow::Error> for Lost {
    fn from(why: anyhow::Error) -> Self {
        Self {
            why,
            of_the_machine: false,
        }
    }
}

/// A running qemu, stopped when dropped.
struct Guest(Child);

impl Guest {
    /// Waits for its end for a while.
    fn ended_within(&mut self, patience: Duration) -> Result<Option<std::process::ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of `output`, read on a thread so that waiting for one can end.
fn lines(output: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The end of the console, to go behind an error's sentence.
fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    let mut tail = String::from("; its console ends with:");
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        tail += "\n    ";
        tail += line.trim_end();
    }
    if lines.is_empty() {
        tail = "; its console is empty".to_owned();
    }
    tail
}

/// Passes on what the kernel complained of without dying.
fn complaints(console: &str) {
    let mut errors = std::io::stderr().lock();
    for line in console.lines() {
        if ["WARNING:", "BUG:", "INFO: task", "soft lockup", "rcu_sched"]
            .iter()
            .any(|sign| line.contains(sign))
        {
            let _ = writeln!(
                errors,
                "xtask: the guest's kernel says: {}",
                line.trim_end()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_emulated_processors_see_a_patch_late() {
        let late = |accelerator, processors| {
            let machine = Machine {
                accelerator,
                processors,
                image: PathBuf::new(),
                initramfs: PathBuf::new(),
                console: PathBuf::new(),
                append: String::new(),
            };
            machine.patched_late("[  105.120426] Oops: int3: 0000 [#1] SMP NOPTI\nKernel panic")
                && !machine.patched_late("Oops: 0000 [#1] SMP\nKernel panic")
        };
        assert!(late(Accelerator::Tcg, 2));
        assert!(!late(Accelerator::Tcg, 1) && !late(Accelerator::Kvm, 2));
    }
}
