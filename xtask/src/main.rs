//! `cargo xtask`: what a contributor does with this repository, one command per file.
//!
//! `.ci/run` calls the same commands, so what CI does anyone can do. Nothing here is part of the
//! product.

mod bench;
mod build_ebpf;
mod captures;
mod ci;
mod cost;
mod demo;
mod examples;
mod install;
mod repository;
mod run_agent;
mod shell;
mod test;
#[cfg(test)]
mod tidy;
mod vm;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, runs and tests tcptrace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the agent and watch this host's connections (`tcptrace live`)
    #[command(disable_help_flag = true)]
    Live(AgentArguments),
    /// Build the agent and record this host's connections (`tcptrace record`)
    #[command(disable_help_flag = true)]
    Record(AgentArguments),
    /// Three servers leak in three ways; thirty seconds later you know which, and why
    Demo,
    /// Make the pictures in the documents anew, from the real view in a real terminal (needs root)
    Captures,
    /// Try every example of docs/recording.md with jq, DuckDB and ClickHouse (needs root, and PyPI)
    Examples(examples::Options),
    /// Run every test: unit, property, tidy, and the lab on the running kernel (needs root)
    Test(test::Options),
    /// Measure what tcptrace costs, beside its peers, under loads of its own (needs root)
    Bench(bench::Options),
    /// Count the instructions of the hot path, and hold them against their budget
    Cost(cost::Options),
    /// Compile the eBPF programs that the agent embeds
    BuildEbpf(build_ebpf::Options),
    /// What CI runs: formatting, lints, the eBPF object from source, every test, the documents
    Ci(ci::Options),
    /// Run the lab, or any command, on other kernels, in virtual machines
    Vm(vm::Args),
}

#[derive(clap::Args)]
struct AgentArguments {
    /// Passed on to the agent, `--help` too; a leading `--` may be left out
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    if build_ebpf::wrapper::is_called() {
        return report(build_ebpf::wrapper::become_rustc());
    }
    report(match Arguments::parse().command {
        Command::Live(agent) => run_agent::run("live", &agent.arguments),
        Command::Record(agent) => run_agent::run("record", &agent.arguments),
        Command::Demo => demo::run(),
        Command::Captures => captures::run(),
        Command::Examples(options) => examples::run(&options),
        Command::Test(options) => test::run(&options).map(drop),
        Command::Bench(options) => bench::run(&options),
        Command::Cost(options) => cost::run(&options),
        Command::BuildEbpf(options) => build_ebpf::run(&options),
        Command::Ci(options) => ci::run(&options),
        Command::Vm(args) => vm::run(&args).map(drop),
    })
}

fn report(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
