//! The command line: raw arguments, then a valid configuration, then the command.

mod check;
mod doctor;
mod explain;
mod filter;
mod findings;
mod live;
mod logging;
mod losses;
mod player;
mod record;
mod replay;
mod report;
mod schema;
mod session;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tcptrace_core::settings::{SetError, Settings};

use crate::failure::Failure;
use crate::kernel::TierChoice;

/// Says which TCP connections of this host are in trouble, who owns them, why, and what to do.
#[derive(Debug, Parser)]
#[command(name = "tcptrace", version, about, long_about = None, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logging: logging::LogArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo tcptrace live                                what is wrong, now, in a terminal
  sudo tcptrace live --close-wait-after 5s          judge CLOSE_WAIT sockets after 5 seconds
  sudo tcptrace record -o incident.ndjson           record until Ctrl-C
  sudo tcptrace record --duration 60s -L 443 -o -   one minute of port 443 to standard output
  sudo tcptrace check --fail-on close_wait_leak     one shot for CI and cron: exit 10 when found
  tcptrace report incident.ndjson --format html -o incident.html
  tcptrace replay incident.ndjson                   the findings of a recording, without privileges
  tcptrace explain close_wait_leak                  what a finding means, and how to fix it

Exit codes: 0 fine, 1 run-time failure, 2 usage, 3 not privileged, 4 this kernel cannot,
10 findings and 11 inconclusive (check).
This is not the pcap analyser of the same name: it reads the running kernel.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch this host in a terminal: findings, connections, listeners
    Live(live::LiveArgs),
    /// Record every transition as NDJSON, for a postmortem
    Record(record::RecordArgs),
    /// Watch for a moment, print the findings, and fail when one of them matters
    Check(check::CheckArgs),
    /// Print the findings of a recording, by the same engine, on any machine
    Replay(replay::ReplayArgs),
    /// Say what a finding means, how it was proved, and how to fix it
    Explain(explain::ExplainArgs),
    /// Tell what a recording shows, as text, JSON, or one page to attach to an incident
    Report(report::ReportArgs),
    /// Say what this host allows: each probe attached, fallen back or missing, and what that costs
    Doctor(doctor::DoctorArgs),
    /// Print the JSON Schema of a recording's lines
    Schema,
}

/// What bears on verdicts.
#[derive(Args, Clone, Debug)]
struct EngineArgs {
    /// Age at which a socket in CLOSE_WAIT becomes suspect (never-accepted ones after at most 10s)
    /// [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    close_wait_after: Option<Duration>,
    /// Look for silent connections without keepalive as well: a dead peer would go unnoticed there
    /// (`dead_peer`, after `dead_peer.idle_after`, an hour by default)
    #[arg(long)]
    idle_peers: bool,
    /// Change a threshold, as in `close_wait_leak.warning_count=50`; may be repeated
    #[arg(long = "set", value_name = "KIND.NAME=VALUE", value_parser = assignment)]
    set: Vec<String>,
}

impl EngineArgs {
    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        for assignment in &self.set {
            settings
                .set(assignment)
                .expect("clap took it only after it had been set once");
        }
        if let Some(after) = self.close_wait_after {
            settings.close_wait_leak.after = after;
        }
        if self.idle_peers {
            settings.dead_peer.idle_peers = 1;
        }
        settings
    }
}

/// An assignment that the thresholds accept.
fn assignment(text: &str) -> Result<String, SetError> {
    Settings::default().set(text).map(|()| text.to_owned())
}

/// How the kernel is watched.
#[derive(Args, Clone, Debug)]
struct KernelArgs {
    /// Size of the ring buffer between kernel and agent, rounded up to a power of two
    #[arg(long, value_name = "BYTES", default_value = "32MiB", value_parser = ring_size)]
    ring_size: u32,
    /// Do not trace the accept system calls where functions cannot be traced: spares every system
    /// call of the host about 45 ns, and leaves acceptors to descriptor scans
    #[arg(long)]
    no_accept_syscalls: bool,
    /// Note where in its program each socket is accepted, connected or closed, and name the functions for the
    /// sockets of findings; they are written into recordings
    #[arg(long)]
    stacks: bool,
    /// Tell processes with their command lines, which may hold secrets; they are written into
    /// recordings
    #[arg(long)]
    cmdline: bool,
    /// Probe functions in this way only, instead of the best that loads; for testing
    #[arg(long, value_enum, value_name = "TIER")]
    tier: Option<TierChoice>,
}

/// Parses a ring size and rounds it up to what the kernel takes.
fn ring_size(text: &str) -> Result<u32, String> {
    let bytes: bytesize::ByteSize = text.parse()?;
    let bytes = u32::try_from(bytes.as_u64())
        .ok()
        .filter(|bytes| (64 << 10..=1 << 30).contains(bytes))
        .ok_or("a ring holds 64KiB to 1GiB")?;
    Ok(bytes.next_power_of_two())
}

/// Where a recording goes.
#[derive(Args, Clone, Debug)]
struct OutputArgs {
    /// Write the recording to FILE, created with mode 0600; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite FILE if it exists
    #[arg(long)]
    force: bool,
}

/// A command whose success has one exit code.
fn done(ran: Result<(), Failure>) -> Result<ExitCode, Failure> {
    ran.map(|()| ExitCode::SUCCESS)
}

/// Runs the command that the user asked for.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let ran = logging::start(&cli.logging).and_then(|()| match cli.command {
        Command::Live(args) => done(live::run(&args)),
        Command::Check(args) => check::run(&args),
        Command::Record(args) => done(record::run(&args)),
        Command::Replay(args) => done(replay::run(&args)),
        Command::Report(args) => done(report::run(&args)),
        Command::Explain(args) => done(explain::run(&args)),
        Command::Doctor(args) => done(doctor::run(&args)),
        Command::Schema => done(schema::run()),
    });
    match ran {
        Ok(code) => code,
        Err(failure) => {
            // Standard error may be gone; the exit code still tells.
            let _ = writeln!(std::io::stderr(), "tcptrace: {failure}");
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ring_sizes_round_up_and_are_bounded() {
        assert_eq!(ring_size("32MiB"), Ok(32 << 20));
        assert_eq!(ring_size("33MiB"), Ok(64 << 20));
        assert!(ring_size("1KiB").is_err());
        assert!(ring_size("8GiB").is_err());
        assert!(ring_size("many").is_err());
    }
}
