//! `tcptrace doctor`: whether and how well tcptrace runs on this host, and what is lost by what is
//! missing. Probes are attached and put to work on connections of our own: looking active is not
//! working.

use std::io::Write as _;

use clap::Args;

use super::KernelArgs;
use crate::failure::{Failure, FailureKind};
use crate::kernel::{
    self, Checkup, Kernel, KernelError, KernelOptions, ProbeOptions, ProbeRuns, Purpose,
};

mod report;
mod text;

use report::Report;

const EXAMPLES: &str = "\
Examples:
  sudo tcptrace doctor
  sudo tcptrace doctor --json | jq '.probes[] | select(.served | not)'
  sudo tcptrace doctor --tier kprobe --verifier-log

Exit codes: 0 it runs, in full or with less (which is said), 4 it cannot run here.";

/// Options of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print all that the kernel's verifier says of programs that it refuses
    #[arg(long)]
    verifier_log: bool,
    #[command(flatten)]
    kernel: KernelArgs,
}

/// Examines the host and prints what was found.
pub(super) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let host = Checkup::read();
    let options = KernelOptions {
        probes: ProbeOptions {
            ring_bytes: args.kernel.ring_size,
            accept_syscalls: !args.kernel.no_accept_syscalls,
            tier: args.kernel.tier,
            verifier_log: true,
            statistics: true,
            stacks: args.kernel.stacks,
            ..ProbeOptions::default()
        },
        cmdline: args.kernel.cmdline,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let guard = runtime.enter();
    let report = match Kernel::open(&options) {
        Ok(mut kernel) => {
            let exercise = put_to_work(&mut kernel);
            Report::of(&host, args, &mut kernel, &exercise)
        }
        Err(error) => Report::cannot(&host, args, &error),
    };
    drop(guard);
    print(&report, args)?;
    match report.obstacle() {
        None => Ok(()),
        Some(obstacle) => Err(Failure::new(
            FailureKind::Kernel,
            anyhow::anyhow!("{obstacle}"),
        )),
    }
}

/// What came of the exercise.
#[derive(Debug, Default)]
struct Exercise {
    /// Why it could not be done.
    failed: Option<String>,
    runs: Vec<ProbeRuns>,
}

fn put_to_work(kernel: &mut Kernel) -> Exercise {
    let mut facts = Vec::new();
    let mut failed = Vec::new();
    if let Err(error) = kernel.snapshot(&mut facts) {
        failed.push(error.to_string());
    }
    if let Err(error) = kernel::exercise() {
        failed.push(format!(
            "no connections can be made on the loopback: {error}"
        ));
    }
    while kernel.drain(&mut facts) > 0 {
        facts.clear();
    }
    kernel.poll(&mut facts);
    Exercise {
        failed: (!failed.is_empty()).then(|| failed.join("; ")),
        runs: kernel.runs(),
    }
}

fn print(report: &Report, args: &DoctorArgs) -> Result<(), Failure> {
    let text = if args.json {
        serde_json::to_string_pretty(report)? + "\n"
    } else {
        report.to_string()
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// What was lost, of everything that is lost here: a purpose that no attached program serves, or one
/// served in a way that tells less.
fn lesser(
    purpose: Purpose,
    tiers: &[kernel::Tier],
    programs: &[&str],
    reset_reasons: bool,
) -> Option<&'static str> {
    match purpose {
        Purpose::Resets if !reset_reasons => Some(
            "this kernel gives no reasons (from 6.10 on it does) and does not tell of resets without a \
             socket, such as those of a closed port",
        ),
        Purpose::Accepts if tiers.contains(&kernel::Tier::Syscall) => Some(
            "accepts by io_uring and by the kernel are not seen, and every system call of the host \
             costs a little",
        ),
        Purpose::Accepts if !programs.iter().any(|it| it.starts_with("graft")) => {
            Some("an accept that blocked since before tcptrace started is not seen")
        }
        _ => None,
    }
}

/// Why nothing can be traced, with the remedy.
fn obstacle(error: &KernelError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
