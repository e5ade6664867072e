//! `cargo xtask test`: every test there is, by plain `cargo test`, and one line that sums it up.
//!
//! Invariants: a run in which no test ran has failed; a test that needs root gets it or fails,
//! never a skip; nothing is installed without being named.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{install, repository, shell};

/// What the lab calls on, and the Debian package it comes in.
const LAB_TOOLS: [(&str, &str); 11] = [
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("nft", "nftables"),
    ("tmux", "tmux"),
    ("nginx", "nginx"),
    ("wrk", "wrk"),
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("zstd", "zstd"),
    ("jq", "jq"),
    ("chromium", "chromium"),
];

/// The lab's scenarios mostly wait, for timers of the kernel; more at a time would only blur the
/// time limits of those that measure.
const LAB_THREADS: &str = "--test-threads=4";

/// What a test binary may still know when sudo starts it.
const KEPT: [&str; 11] = [
    "TCPTRACE_BIN",
    "TCPTRACE_TIER",
    "TCPTRACE_LAB_CONNECTIONS",
    "TCPTRACE_LAB_CLEAN_SECONDS",
    "TCPTRACE_LAB_LEAKED",
    "TCPTRACE_LAB_SOAK",
    "CARGO_MANIFEST_DIR",
    "CI",
    "INSTA_UPDATE",
    "PROPTEST_CASES",
    "RUST_BACKTRACE",
];

/// What to test.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Do not install the Debian packages that the lab needs; fail, naming them
    #[arg(long)]
    pub(crate) no_install: bool,
    /// Only tests whose name contains this; a leading `--` may be left out
    #[arg(trailing_var_arg = true)]
    pub(crate) filter: Vec<String>,
}

/// Runs the tests; fails when one failed, and when none ran.
pub(crate) fn run(options: &Options) -> Result<Tally> {
    let sudo = shell::root_prefix("test on the running kernel")?;
    lab_tools(options)?;

    shell::say(
        "building the agent and the tests; the first time, dependencies are compiled as well, \
         which takes a few minutes on two cores",
    );
    let mut build = shell::cargo();
    shell::run(build.args(["build", "--package", "tcptrace"]))?;
    let agent = repository::agent("debug");

    let mut tally = Tally::default();
    let mut passed = true;
    for group in GROUPS {
        let mut cargo = shell::cargo();
        cargo.args(["test", "--no-fail-fast"]);
        cargo.args(group.packages.iter().flat_map(|p| ["--package", p]));
        cargo.env("TCPTRACE_BIN", &agent);
        if let (true, Some(sudo)) = (group.as_root, &sudo) {
            let (name, value) = runner(sudo)?;
            cargo.env(name, value);
        }
        cargo.args(&options.filter).args(["--", group.threads]);
        if std::io::stdout().is_terminal() {
            cargo
                .env("CARGO_TERM_COLOR", "always")
                .arg("--color=always");
        }
        passed &= watch(&mut cargo, &mut tally)?;
    }

    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.ignored > 0 {
        bail!(
            "{} tests were ignored; a test runs or is deleted",
            tally.ignored
        );
    }
    if !passed && tally.failed == 0 {
        bail!("some tests could not be built or started, so the count above is not the whole");
    }
    if tally.passed + tally.failed == 0 {
        bail!(
            "no test ran: {:?} is in no test's name",
            options.filter.join(" ")
        );
    }
    if tally.failed > 0 {
        bail!("tests failed; `cargo xtask test -- NAME` runs one again");
    }
    Ok(tally)
}

/// Packages that are tested alike.
struct Group {
    packages: &'static [&'static str],
    as_root: bool,
    threads: &'static str,
}

const GROUPS: [Group; 3] = [
    Group {
        packages: &["tcptrace-common", "tcptrace-core", "xtask"],
        as_root: false,
        threads: "--test-threads=4",
    },
    // Loading programs needs root.
    Group {
        packages: &["tcptrace"],
        as_root: true,
        threads: "--test-threads=4",
    },
    Group {
        packages: &["tcptrace-lab"],
        as_root: true,
        threads: LAB_THREADS,
    },
];

/// Makes sure that the programs the lab calls are there.
fn lab_tools(options: &Options) -> Result<()> {
    let mut packages: Vec<&str> = LAB_TOOLS
        .iter()
        .filter(|(program, _)| shell::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let missing = format!(
        "the lab needs programs that are not installed: {}",
        packages.join(", ")
    );
    if options.no_install || !install::has_apt() || !shell::is_root() {
        bail!(
            "{missing}; install them with `{}`",
            install::by_hand(&packages)
        );
    }
    shell::say(format_args!("{missing} (--no-install leaves that to you)"));
    install::update()?;
    install::install(&packages)
}

/// The setting by which cargo starts test binaries through sudo.
fn runner(sudo: &std::path::Path) -> Result<(String, String)> {
    let verbose = shell::output(shell::program("rustc").arg("-vV")).context("cannot run rustc")?;
    let host = verbose
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc does not name its host")?;
    let host = host.replace(['-', '.'], "_").to_uppercase();
    let keep = format!("--preserve-env={}", KEPT.join(","));
    Ok((
        format!("CARGO_TARGET_{host}_RUNNER"),
        format!("{} {keep} --", sudo.display()),
    ))
}

/// Passes the tests' output on while counting; whether cargo was content.
fn watch(cargo: &mut Command, tally: &mut Tally) -> Result<bool> {
    shell::say(format_args!("$ {}", shell::display(cargo)));
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut terminal = std::io::stdout().lock();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        terminal.write_all(&line)?;
        terminal.write_all(b"\n")?;
        tally.count(&String::from_utf8_lossy(&line));
    }
    Ok(child.wait()?.success())
}

/// What the summaries of all test binaries add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Tally {
    /// Adds what others counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }

    /// Adds a line like `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; …`.
    pub(crate) fn count(&mut self, line: &str) {
        let Some((_, summary)) = line.split_once("test result: ") else {
            return;
        };
        let number = |what: &str| -> u64 {
            summary
                .split_once(what)
                .and_then(|(before, _)| before.split_whitespace().last())
                .and_then(|number| number.parse().ok())
                .unwrap_or_default()
        };
        self.passed += number(" passed;");
        self.failed += number(" failed;");
        self.ignored += number(" ignored;");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summaries_of_all_binaries_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a_test_that_says_5_passed ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: \u{1b}[31mFAILED\u{1b}(B\u{1b}[m. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            tally.count(line);
        }
        let expected = Tally {
            passed: 15,
            failed: 2,
            ignored: 1,
        };
        assert_eq!(tally, expected);
    }
}
