//! A second witness of state changes and retransmissions: the kernel's own event buffer (ftrace), which no policy about
//! BPF concerns.
//!
//! A host may exempt processes from BPF: its supervisor, say, whose namespaces not even root can
//! read. While such a task runs, the kernel calls no BPF program, and that includes the softirqs
//! that interrupt it, timers among them: what happens to other processes' connections, and no tracer
//! made of BPF can see. Of these events, and of no others, the witness keeps a list.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const TRACEFS: &str = "/sys/kernel/tracing";

/// Of this process's next witness: tests run beside each other.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Runs a scenario again, twice at most, that failed while the host hid something from BPF: what failed
/// then may have been invisible to any tracer made of BPF. Where nothing was hidden, a failure is one.
pub fn despite_hiding<T>(scenario: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 0..2 {
        let witness = Witness::new()?;
        let outcome = catch_unwind(AssertUnwindSafe(&scenario));
        let hidden = witness.buffer()?;
        let hidden: Vec<_> = hidden.lines().filter(|it| !it.starts_with('#')).collect();
        if matches!(outcome, Ok(Ok(_))) || hidden.is_empty() {
            return outcome.unwrap_or_else(|panic| resume_unwind(panic));
        }
        let error = outcome.ok().and_then(Result::err);
        eprintln!("once more: the host hid {hidden:#?}; {error:?}");
    }
    scenario()
}

/// A state change that BPF programs were not told of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hidden {
    /// Local and peer port.
    pub ports: (u16, u16),
    /// The kernel's names, without `TCP_`.
    pub states: (String, String),
}

/// Watches from its making to [`Witness::hidden`] and [`Witness::hidden_retransmits`].
#[derive(Debug)]
pub struct Witness {
    /// Absent where no process is exempt.
    instance: Option<PathBuf>,
}

impl Witness {
    /// Begins to watch. Takes the calling thread into a mount namespace of its own if tracefs is not
    /// mounted.
    pub fn new() -> Result<Self> {
        let tasks = exempt_tasks()?;
        if tasks.is_empty() {
            return Ok(Self { instance: None });
        }
        if !Path::new(TRACEFS).join("events").exists() {
            unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
            mount(
                Some("tracefs"),
                TRACEFS,
                Some("tracefs"),
                MsFlags::empty(),
                none,
            )
            .context("cannot mount tracefs")?;
        }
        let instance = Path::new(TRACEFS).join("instances").join(format!(
            "tcptrace-lab-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir(&instance)
            .with_context(|| format!("cannot make the ftrace instance {}", instance.display()))?;
        let witness = Self {
            instance: Some(instance.clone()),
        };
        let put = |file: &str, text: &str| {
            fs::OpenOptions::new()
                .append(true)
                .open(instance.join(file))
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .with_context(|| format!("cannot write {text} to {file}"))
        };
        put("options/event-fork", "1")?;
        for task in tasks {
            put("set_event_pid", &task.to_string())?;
        }
        put("events/sock/inet_sock_set_state/enable", "1")?;
        put("events/tcp/tcp_retransmit_skb/enable", "1")?;
        Ok(witness)
    }

    /// The state changes that BPF programs were not told of so far.
    pub fn hidden(&self) -> Result<Vec<Hidden>> {
        self.buffer()?
            .lines()
            .filter(|line| line.contains("inet_sock_set_state:"))
            .map(|line| parse(line).with_context(|| format!("not understood: {line}")))
            .collect()
    }

    /// How many segments towards a port were sent again without BPF programs being told so far.
    pub fn hidden_retransmits(&self, port: u16) -> Result<u64> {
        let towards = format!(" dport={port} ");
        let buffer = self.buffer()?;
        let lines = buffer.lines();
        let hidden = lines.filter(|it| it.contains("tcp_retransmit_skb:") && it.contains(&towards));
        Ok(hidden.count() as u64)
    }

    fn buffer(&self) -> Result<String> {
        match &self.instance {
            Some(instance) => Ok(fs::read_to_string(instance.join("trace"))?),
            None => Ok(String::new()),
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Some(instance) = &self.instance {
            // An instance that stays behind costs memory; nothing else can be done about it here.
            let _ = fs::remove_dir(instance);
        }
    }
}

fn parse(line: &str) -> Option<Hidden> {
    let field = |name: &str| {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let state = |name: &str| Some(field(name)?.strip_prefix("TCP_")?.to_owned());
    Some(Hidden {
        ports: (field("sport")?.parse().ok()?, field("dport")?.parse().ok()?),
        states: (state("oldstate")?, state("newstate")?),
    })
}

/// Whether the host hides state changes now and then; see above.
pub fn host_hides() -> Result<bool> {
    Ok(!exempt_tasks()?.is_empty())
}

/// Threads of processes whose namespaces root may not read.
fn exempt_tasks() -> Result<Vec<u32>> {
    let mut tasks = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        let numbered = process
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        let exempt = || {
            fs::read_link(process.join("ns/net"))
                .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
        };
        if !numbered || !exempt() {
            continue;
        }
        for task in fs::read_dir(process.join("task"))? {
            tasks.extend(
                task?
                    .file_name()
                    .to_str()
                    .and_then(|t| t.parse::<u32>().ok()),
            );
        }
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_in_plain_sight_is_not_tried_again() {
        let tries = std::cell::Cell::new(0);
        let outcome: Result<()> = despite_hiding(|| {
            tries.set(tries.get() + 1);
            anyhow::bail!("wrong")
        });
        assert!(outcome.is_err());
        assert_eq!(tries.get(), 1);
        let panic = catch_unwind(|| despite_hiding(|| -> Result<()> { panic!("wrong") }));
        assert!(panic.is_err());
    }

    #[test]
    fn a_line_of_the_event_buffer_is_understood() {
        let line = "supervisor-75 [001] ..s2. 11998.857422: inet_sock_set_state: family=AF_INET \
                    protocol=IPPROTO_TCP sport=40332 dport=38309 saddr=127.0.0.1 daddr=127.0.0.1 \
                    oldstate=TCP_FIN_WAIT1 newstate=TCP_FIN_WAIT2";
        let hidden = Hidden {
            ports: (40332, 38309),
            states: ("FIN_WAIT1".to_owned(), "FIN_WAIT2".to_owned()),
        };
        assert_eq!(parse(line), Some(hidden));
    }
}
