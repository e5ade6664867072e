//! The laboratory: what it takes to hold tcptrace against the real kernel.
//!
//! `tcptrace-patient` is a process that makes a real mistake with its sockets; this library starts
//! such patients in network namespaces of their own, runs the real `tcptrace` beside them, and
//! reads what it wrote. It shares no code with the agent: a mistake in the agent's own types must
//! not hide itself here.
//!
//! Invariants: nothing outlives the value that started it (namespaces, processes, files), not even
//! after a panic; no packet leaves the host; every wait ends.

pub mod agent;
pub mod captures;
pub mod client;
pub mod confined;
pub mod demo;
pub mod incident;
pub mod netns;
pub mod other_clock;
pub mod patient;
pub mod programs;
pub mod recording;
pub mod schema;
pub mod sockets;
pub mod terminal;
pub mod witness;

use std::env;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(50);

/// How much longer than on a real machine everything may take: an emulated one is ten times slower, and
/// so is a busy one. TCPTRACE_LAB_PATIENCE multiplies every time limit, of which none is a measurement.
pub fn patience() -> u32 {
    env::var("TCPTRACE_LAB_PATIENCE")
        .ok()
        .and_then(|factor| factor.parse().ok())
        .unwrap_or(1)
}

/// Looks until `probe` has an answer; an error that names `what` when it has none in time, which
/// [`patience`] stretches.
pub fn wait_for<T>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let within = within * patience();
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {within:?} in vain for {what}");
        }
        thread::sleep(POLL);
    }
}

/// The path of a program of this workspace: the environment variable if it is set, else the file
/// that cargo put beside the running one (tests run one directory deeper, in `deps`).
pub fn program(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        let path = PathBuf::from(path);
        if !path.exists() {
            bail!("{variable} names {}, which does not exist", path.display());
        }
        return Ok(path);
    }
    let here = env::current_exe().context("cannot tell where this program is")?;
    here.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "there is no {name} beside {}, so nothing can be tested; run `cargo build --workspace`, or set {variable}",
                here.display()
            )
        })
}
