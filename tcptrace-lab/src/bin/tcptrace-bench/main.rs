//! `tcptrace-bench`: what tcptrace costs, beside what its peers cost, on the machine at hand. The
//! program behind `cargo xtask bench`; it expects `tcptrace` and `tcptrace-patient` beside it.
//!
//! Invariants: modes take turns within a round, so that a noisy minute hits all of them; what counts
//! is the ratio to the untraced run of the same round; no absolute time is judged. What must be
//! exact, the number of recorded transitions, is judged, and fails the run.

mod churn;
mod cost;
mod machine;
mod observer;
mod replay;
mod report;
mod sheet;
mod standing;
mod storm;
mod syscalls;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use serde_json::json;

use crate::sheet::Sheet;

/// Measures tcptrace and its installed peers under several loads.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// A few small rounds: to see that it works, not to quote
    #[arg(long)]
    quick: bool,
    /// How often each mode is measured
    #[arg(long)]
    rounds: Option<usize>,
    /// Connections of one saturating load
    #[arg(long)]
    connections: Option<usize>,
    /// Only these loads
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Load>,
}

/// What is measured.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// Short connections without pause
    Churn,
    /// The programs in the kernel, under short connections
    Ebpf,
    /// The same with `--stacks`
    Stacks,
    /// A process that does nothing but system calls
    Syscalls,
    /// Idle connections
    Idle,
    /// Listeners
    Listeners,
    /// Connections in CLOSE_WAIT
    CloseWait,
    /// Retransmissions by the thousand
    Storm,
    /// Replay of generated recordings: speed, and memory
    Replay,
    /// Reports of generated recordings: the same
    Report,
}

const LOADS: [Load; 10] = [
    Load::Churn,
    Load::Ebpf,
    Load::Stacks,
    Load::Syscalls,
    Load::Idle,
    Load::Listeners,
    Load::CloseWait,
    Load::Storm,
    Load::Replay,
    Load::Report,
];

impl Options {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 7 })
    }

    fn connections(&self) -> usize {
        self.connections
            .unwrap_or(if self.quick { 20_000 } else { 120_000 })
    }

    /// `full`, or a tenth of it.
    fn scaled(&self, full: usize) -> usize {
        if self.quick { full / 10 } else { full }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was recorded that had to be.
fn run(options: &Options) -> Result<bool> {
    let machine = machine::Machine::describe()?;
    eprintln!("bench: {machine}");
    let wanted = |load: &Load| options.only.is_empty() || options.only.contains(load);
    let mut sheets = Vec::new();
    for load in LOADS.into_iter().filter(wanted) {
        let sheet: Sheet = match load {
            Load::Churn => churn::measure(options)?,
            Load::Ebpf => cost::measure(options, "eBPF programs", &[])?,
            Load::Stacks => cost::measure(options, "eBPF programs with --stacks", &["--stacks"])?,
            Load::Syscalls => syscalls::measure(options)?,
            Load::Idle => standing::measure(standing::Crowd::Idle, options)?,
            Load::Listeners => standing::measure(standing::Crowd::Listeners, options)?,
            Load::CloseWait => standing::measure(standing::Crowd::CloseWait, options)?,
            Load::Storm => storm::measure(options)?,
            Load::Replay => replay::measure(options)?,
            Load::Report => report::measure(options)?,
        };
        if !options.json {
            if sheets.is_empty() {
                println!("{machine}");
            }
            println!("\n{sheet}");
        }
        sheets.push(sheet);
    }
    if options.json {
        let sheets: Vec<_> = sheets.iter().map(Sheet::json).collect();
        let all = json!({
            "machine": machine.json(), "rounds": options.rounds(), "quick": options.quick,
            "loads": sheets,
        });
        println!("{all:#}");
    }
    let faults: Vec<_> = sheets.iter().flat_map(|sheet| &sheet.faults).collect();
    for fault in &faults {
        eprintln!("bench: {fault}");
    }
    Ok(faults.is_empty())
}
