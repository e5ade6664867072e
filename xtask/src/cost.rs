//! `cargo xtask cost`: instructions of the hot path, counted by callgrind, against a budget that is
//! checked in. Instructions are the same on a busy machine as on a quiet one, so a regression of a
//! twentieth shows here, where a benchmark by the clock sees noise.
//!
//! Invariant: what is counted is the difference between a long and a short run, so that starting up
//! counts nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{install, repository, shell};

/// Pieces of work in the short run, and in the long one.
const RUNS: [u64; 2] = [2_000, 12_000];

/// Another compiler arranges things a little differently; an allocation a piece, some hundred
/// instructions, is more than this of each.
const SLACK_PERCENT: u64 = 5;

/// What is counted: its name, and the example that does it.
const PARTS: [(&str, &str); 3] = [
    ("decode", "cost_engine"),
    ("apply", "cost_engine"),
    ("serialize", "cost_recording"),
];

/// What to do with the counts.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Write what was counted into the budget, xtask/cost.txt: after a change that is worth it
    #[arg(long)]
    pub(crate) update: bool,
    /// Install valgrind when it is missing
    #[arg(long)]
    pub(crate) install: bool,
}

/// Counts, and fails when something costs more than its budget allows.
pub(crate) fn run(options: &Options) -> Result<()> {
    let valgrind = valgrind(options.install)?;
    let mut build = shell::cargo();
    build.args(["build", "--release", "--package", "tcptrace-core"]);
    build.args(["--package", "tcptrace", "--example", "cost_engine"]);
    shell::run(build.args(["--example", "cost_recording"]))?;
    let path = repository::root().join("xtask").join("cost.txt");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let budget = parse(&text);
    let mut counted = Vec::new();
    let mut failed = Vec::new();
    for (part, example) in PARTS {
        let count = instructions(&valgrind, example, part)?;
        let allowed = budget.iter().find(|(name, _)| name == part);
        let verdict = judge(count, allowed.map(|(_, allowed)| *allowed));
        println!("{part:10} {count:6} instructions, {verdict}");
        if verdict.starts_with("more") {
            failed.push(part);
        }
        counted.push(format!("{part} {count}\n"));
    }
    if options.update {
        let lines: String = counted.concat();
        return fs::write(&path, format!("{HEAD}{lines}"))
            .with_context(|| format!("cannot write {}", path.display()));
    }
    if !failed.is_empty() {
        bail!(
            "{} cost more than {} allows; make them cheaper, or raise the budget with \
             `cargo xtask cost --update` and say why in the commit",
            failed.join(", "),
            path.display()
        );
    }
    Ok(())
}

const HEAD: &str = "\
# Instructions per record decoded, fact applied and line written, as callgrind counts them on x86-64
# in release. `cargo xtask cost` fails when one grows by a twentieth; `--update` writes this file.
";

fn judge(count: u64, budget: Option<u64>) -> String {
    match budget {
        None => "more than the budget, which does not name it".to_owned(),
        Some(budget) if count > budget + budget * SLACK_PERCENT / 100 => {
            format!("more than the budget of {budget} allows")
        }
        Some(budget) if count + budget * SLACK_PERCENT / 100 < budget => {
            format!("well below the budget of {budget}: lower it with --update")
        }
        Some(budget) => format!("budget {budget}"),
    }
}

fn parse(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        })
        .collect()
}

fn valgrind(may_install: bool) -> Result<PathBuf> {
    if let Some(valgrind) = shell::find("valgrind") {
        return Ok(valgrind);
    }
    if !may_install {
        bail!(
            "instructions are counted by valgrind, which is not installed; install it with `{}`",
            install::by_hand(&["valgrind"])
        );
    }
    install::update()?;
    install::install(&["valgrind"])?;
    shell::find("valgrind").context("valgrind was installed and is not on the PATH")
}

/// Per piece of work.
fn instructions(valgrind: &Path, example: &str, part: &str) -> Result<u64> {
    let program = repository::target_dir()
        .join("release")
        .join("examples")
        .join(example);
    let mut counts = Vec::new();
    for pieces in RUNS {
        let mut command: Command = shell::program(valgrind);
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&program)
            .args([part, &pieces.to_string()]);
        let output = command
            .output()
            .with_context(|| format!("cannot start {}", shell::display(&command)))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("`{}` failed: {said}", shell::display(&command));
        }
        counts
            .push(collected(&said).with_context(|| format!("callgrind counted nothing: {said}"))?);
    }
    Ok((counts[1] - counts[0]) / (RUNS[1] - RUNS[0]))
}

/// `==1234== Collected : 5678`
fn collected(said: &str) -> Option<u64> {
    said.lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twentieth_more_is_too_much() {
        assert_eq!(judge(1_050, Some(1_000)), "budget 1000");
        assert!(judge(1_051, Some(1_000)).starts_with("more"));
        assert!(judge(949, Some(1_000)).contains("--update"));
        assert!(judge(1, None).starts_with("more"));
    }

    #[test]
    fn counts_and_budgets_are_read() {
        let said = "==7== Events    : Ir\n==7== Collected : 8123456\n==7==\n";
        assert_eq!(collected(said), Some(8_123_456));
        let budget = parse(&format!("{HEAD}decode 12\napply 34\n"));
        assert_eq!(
            budget,
            [("decode".to_owned(), 12), ("apply".to_owned(), 34)]
        );
    }
}
