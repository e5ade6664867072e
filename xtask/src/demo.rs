//! `cargo xtask demo`: the product, shown in forty seconds. What it shows is the lab's
//! (`tcptrace_lab::demo`); this builds it and becomes it.

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::{repository, run_agent, shell};

/// Builds the agent, the servers that leak, and the demonstration, and runs it as root.
pub(crate) fn run() -> Result<()> {
    let sudo = shell::root_prefix("load programs into the kernel")?;
    // The demonstration finds both programs beside itself.
    run_agent::build_release()?;
    let mut build = shell::cargo();
    build.args(["build", "--release", "--package", "tcptrace-lab", "--bins"]);
    shell::run(&mut build)?;
    let demo = repository::target_dir()
        .join("release")
        .join("tcptrace-demo");
    let mut exec = match &sudo {
        Some(sudo) => {
            let mut exec = shell::program(sudo);
            exec.arg("--").arg(&demo);
            exec
        }
        None => shell::program(&demo),
    };
    Err(exec.exec()).with_context(|| format!("cannot start {}", demo.display()))
}
