//! `cargo xtask bench`: what tcptrace costs, beside its peers, on this machine. What measures is the
//! lab's (`tcptrace-bench`), because it starts the lab's loads and asks the lab's witness; this
//! builds both in release and becomes it.

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::{repository, run_agent, shell};

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench                         everything; half an hour on two processors
  cargo xtask bench --quick                 a look at whether it works; not to be quoted
  cargo xtask bench --only churn,ebpf       the saturating load, and the programs under it
  cargo xtask bench --json > bench.json     every sample, medians and ratios

Loads: churn, ebpf, stacks, syscalls, idle, listeners, close-wait, storm, replay, report.
Modes take turns in each round, and ratios are taken within a round; still, a machine that does
something else gives worse numbers. Peers (libbpf-tools tcpstates and tcplife, bpftrace, ss) are
measured where they are installed: `apt install libbpf-tools bpftrace iproute2`.
Exit code 1 when something was not recorded that had to be; no time is judged.";

/// What to measure.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// A few small rounds: to see that it works, not to quote
    #[arg(long)]
    quick: bool,
    /// How often each mode is measured [default: 7]
    #[arg(long)]
    rounds: Option<usize>,
    /// Connections of one saturating load [default: 120000]
    #[arg(long)]
    connections: Option<usize>,
    /// Only these loads, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "LOAD")]
    only: Vec<String>,
}

impl Options {
    /// As `tcptrace-bench` takes them.
    fn arguments(&self) -> Vec<String> {
        let Self {
            json,
            quick,
            rounds,
            connections,
            only,
        } = self;
        let mut arguments = Vec::new();
        for (name, given) in [("--json", *json), ("--quick", *quick)] {
            if given {
                arguments.push(name.to_owned());
            }
        }
        for (name, number) in [("--rounds", rounds), ("--connections", connections)] {
            if let Some(number) = number {
                arguments.extend([name.to_owned(), number.to_string()]);
            }
        }
        if !only.is_empty() {
            arguments.extend(["--only".to_owned(), only.join(",")]);
        }
        arguments
    }
}

/// Builds everything in release, and measures as root.
pub(crate) fn run(options: &Options) -> Result<()> {
    let sudo = shell::root_prefix("load programs into the kernel")?;
    run_agent::build_release()?;
    let mut build = shell::cargo();
    build.args(["build", "--release", "--package", "tcptrace-lab", "--bins"]);
    shell::run(&mut build)?;
    let bench = repository::target_dir()
        .join("release")
        .join("tcptrace-bench");
    let mut exec = match &sudo {
        Some(sudo) => {
            let mut exec = shell::program(sudo);
            exec.arg("--").arg(&bench);
            exec
        }
        None => shell::program(&bench),
    };
    exec.args(options.arguments());
    Err(exec.exec()).with_context(|| format!("cannot start {}", bench.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_passed_on() {
        let options = Options {
            json: true,
            quick: false,
            rounds: Some(3),
            connections: None,
            only: vec!["churn".to_owned(), "ebpf".to_owned()],
        };
        let expected = ["--json", "--rounds", "3", "--only", "churn,ebpf"];
        assert_eq!(options.arguments(), expected);
    }
}
