//! `cargo xtask ci`: what CI runs, in the order in which it is cheapest to learn of a mistake.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::{build_ebpf, cost, shell, test, vm};

/// What to run.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Install the tools for building eBPF programs when they are missing
    #[arg(long)]
    install: bool,
    /// Then run the tests on the kernels of docs/vm.md as well
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, default_missing_value = "full")]
    kernels: Option<Kernels>,
}

/// How much is tested on other kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kernels {
    /// The probes and a first look: some twenty minutes where guests are emulated
    Brief,
    /// Every scenario that depends on the kernel: an hour and more where they are emulated
    Full,
}

/// Runs every step; the first that fails ends it.
pub(crate) fn run(options: &Options) -> Result<()> {
    step("formatting", || {
        cargo(&["fmt", "--all", "--check"]).context("run `cargo fmt --all`")?;
        let manifest = "tcptrace-ebpf/Cargo.toml";
        cargo(&["fmt", "--manifest-path", manifest, "--check"])
            .with_context(|| format!("run `cargo fmt --manifest-path {manifest}`"))
    })?;
    // The committed object first, then one of this host's own tools: what is tested below was
    // built here, from source.
    step("the committed eBPF object", || {
        build_ebpf::run(&build_ebpf::Options {
            install: options.install,
            check: true,
        })
    })?;
    step("the eBPF object from source", || {
        build_ebpf::run(&build_ebpf::Options::default())
    })?;
    step("lints", || {
        let lints = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ];
        cargo(&lints)
    })?;
    let mut tally = step("tests", || test::run(&test::Options::default()))?;
    step("instructions of the hot path", || {
        cost::run(&cost::Options {
            install: options.install,
            ..cost::Options::default()
        })
    })?;
    step("documentation", || {
        let mut doc = shell::cargo();
        doc.env("RUSTDOCFLAGS", "-D warnings").args([
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ]);
        shell::run(&mut doc)
    })?;
    if let Some(kernels) = options.kernels {
        let brief = kernels == Kernels::Brief;
        tally.add(&step("other kernels", || vm::matrix(brief))?);
    }
    shell::say("everything passed");
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    shell::run(shell::cargo().args(arguments))
}

fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    shell::say(format_args!("== {name}"));
    let start = Instant::now();
    let done = work().with_context(|| format!("{name} failed"))?;
    shell::say(format_args!("== {name}: {} s", start.elapsed().as_secs()));
    Ok(done)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workflow_builds_the_object_first_and_then_does_the_same() {
        let workflow = include_str!("../../.github/workflows/ci.yml");
        let steps: Vec<&str> = workflow
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("- run: "))
            .filter(|step| !step.starts_with("rustup "))
            .collect();
        let expected = [
            "cargo xtask build-ebpf --install",
            ".ci/run",
            "cargo xtask vm --matrix",
        ];
        assert_eq!(steps, expected);
        let run = include_str!("../../.ci/run");
        assert_eq!(
            run.lines().last(),
            Some("cargo xtask ci --install --kernels brief")
        );
    }
}
