//! `cargo xtask captures`: the pictures in README.md and docs/tui.md, made anew from the real view
//! in a real terminal. What it shows is the lab's (`tcptrace_lab::captures`).

use anyhow::Result;

use crate::{repository, run_agent, shell};

/// The documents with pictures.
const DOCUMENTS: [&str; 2] = ["README.md", "docs/tui.md"];

/// Builds the agent and the servers, and captures, as root.
pub(crate) fn run() -> Result<()> {
    let sudo = shell::root_prefix("load programs into the kernel")?;
    run_agent::build_release()?;
    let mut build = shell::cargo();
    build.args(["build", "--release", "--package", "tcptrace-lab", "--bins"]);
    shell::run(&mut build)?;
    let captures = repository::target_dir()
        .join("release")
        .join("tcptrace-captures");
    let mut command = match &sudo {
        Some(sudo) => {
            let mut command = shell::program(sudo);
            command.arg("--").arg(&captures);
            command
        }
        None => shell::program(&captures),
    };
    command.args(DOCUMENTS.map(|name| repository::root().join(name)));
    shell::run(&mut command)
}
