//! `cargo xtask live` and `cargo xtask record`: build the agent, then become it.
//!
//! The agent replaces this process, so that its exit code is ours, Ctrl-C reaches it exactly once,
//! and nobody but the agent owns the terminal.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::{repository, shell};

/// Builds the agent and runs `tcptrace <command> <arguments>`, as root.
pub(crate) fn run(command: &str, arguments: &[OsString]) -> Result<()> {
    // Before the build: who lacks sudo should not wait for a compiler to learn it.
    let sudo = shell::root_prefix("load programs into the kernel")?;
    let agent = build_release()?;
    let mut exec = match &sudo {
        Some(sudo) => {
            shell::say(
                "root is needed to load programs into the kernel; sudo may ask for your password",
            );
            let mut exec = shell::program(sudo);
            exec.arg("--").arg(&agent);
            exec
        }
        None => shell::program(&agent),
    };
    exec.arg(command).args(arguments);
    Err(exec.exec()).with_context(|| format!("cannot start {}", agent.display()))
}

/// Builds the agent in release and returns its path.
pub(crate) fn build_release() -> Result<std::path::PathBuf> {
    let agent = repository::agent("release");
    if agent.exists() {
        shell::say("bringing the agent up to date (release build)");
    } else {
        shell::say(
            "building the agent in release: its dependencies are compiled once and optimised \
             across crates, which takes a few minutes on two cores; later runs start at once",
        );
    }
    let mut build = shell::cargo();
    build.args(["build", "--release", "--package", "tcptrace"]);
    shell::run(&mut build)?;
    Ok(agent)
}
