//! `cargo xtask vm`: the tests, or any command, on other kernels than the running one, in virtual
//! machines that need nothing but a Debian mirror and qemu.
//!
//! Data flows one way: [`debian`] finds and fetches a kernel, [`programs`] builds what runs on it and
//! [`work`] says how, [`turns`] lets the guests take turns, [`guest`] packs one (by [`modules`] and
//! [`cpio`]), [`machine`] boots that, and [`verdict`] judges.
//!
//! Invariants: a kernel passes only by exactly one verdict from its guest; tests pass only when some
//! ran; nothing is installed, and nothing outside `target/vm` is written.

mod cpio;
mod debian;
mod guest;
mod machine;
mod modules;
mod programs;
mod turns;
mod verdict;
mod work;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

use self::debian::Line;
use self::machine::Accelerator;
use self::programs::{Extent, Program};
use self::turns::{Turn, Turns};
use self::work::Work;
use crate::repository;
use crate::test::Tally;

/// What to run where.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The line of kernels; several may be given, and all are tried when none is
    #[arg(long, value_enum, value_name = "LINE")]
    kernel: Vec<Line>,
    /// How functions are probed there; several may be given, and each is a run of its own
    #[arg(long, value_enum, value_name = "TIER", default_values_t = [Tier::Best])]
    tier: Vec<Tier>,
    /// Every kernel at its best, and the lower tiers where they differ most
    #[arg(long, conflicts_with_all = ["kernel", "tier"])]
    matrix: bool,
    /// Only the probes and the scenarios that a first look needs: three minutes a guest, where it is
    /// emulated, instead of ten and more
    #[arg(long, conflicts_with_all = ["filter", "command"])]
    brief: bool,
    /// Guests at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    jobs: usize,
    /// A shell command to run instead of the tests
    #[arg(long, short = 'c', value_name = "COMMAND", conflicts_with = "filter")]
    command: Option<String>,
    /// One more file for the guest; without a path there it is put on the PATH
    #[arg(long, value_name = "FILE[=PATH]")]
    file: Vec<String>,
    /// Take the agent and the lab as they were built before, with --command
    #[arg(long)]
    no_build: bool,
    /// Stop a guest after this many seconds; all scenarios take ten minutes where they are emulated,
    /// twenty-five on one processor
    #[arg(long, value_name = "SECONDS", default_value_t = 2400)]
    timeout: u64,
    /// Virtual processors
    #[arg(long, value_name = "COUNT")]
    cpus: Option<u32>,
    /// How to run guests, instead of KVM where it works
    #[arg(long, value_enum)]
    accelerator: Option<Accelerator>,
    /// More for the kernel's command line, such as `lockdown=confidentiality`
    #[arg(long, value_name = "TEXT", default_value = "")]
    append: String,
    /// A mirror of Debian, instead of those that this machine's apt uses; a second one for the
    /// security archive
    #[arg(long, value_name = "URI")]
    mirror: Vec<String>,
    /// Only tests whose name contains this
    #[arg(last = true)]
    filter: Vec<String>,
}

/// How the agent may probe functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// The best that loads
    Best,
    Fentry,
    Kprobe,
    Tracepoint,
}

impl Tier {
    /// What the agent's option is called with.
    fn forced(self) -> Option<&'static str> {
        match self {
            Self::Best => None,
            Self::Fentry => Some("fentry"),
            Self::Kprobe => Some("kprobe"),
            Self::Tracepoint => Some("tracepoint"),
        }
    }
}

/// How much of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every scenario.
    Every,
    /// Those that lean on what differs between kernels most.
    Core,
    /// Of these, the ones that a first look needs.
    Brief,
}

/// The matrix: every line at its best, and the ways that no line is best at on the line where
/// they differ most: 6.1 cannot hook a function of seven arguments by trampoline. Every scenario runs on
/// the oldest and on the newest; between them lie the others, which spares a third of the time.
const MATRIX: [(Line, Tier, Scope); 6] = [
    (Line::V5_10, Tier::Best, Scope::Every),
    (Line::V6_1, Tier::Best, Scope::Core),
    (Line::V6_12, Tier::Best, Scope::Core),
    (Line::Newest, Tier::Best, Scope::Every),
    (Line::V6_1, Tier::Kprobe, Scope::Every),
    (Line::V5_10, Tier::Tracepoint, Scope::Every),
];

/// Runs the matrix as `cargo xtask vm --matrix` does, or with `--brief`.
pub(crate) fn matrix(brief: bool) -> Result<Tally> {
    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        args: Args,
    }
    let words = ["vm", "--matrix"]
        .into_iter()
        .chain(brief.then_some("--brief"));
    run(&Words::parse_from(words).args)
}

/// Runs the tests or the command on each kernel; fails when one failed.
pub(crate) fn run(args: &Args) -> Result<Tally> {
    let (programs, cache) = prepare(args)?;
    let all = [Line::V5_10, Line::V6_1, Line::V6_12, Line::Newest];
    let lines = if args.kernel.is_empty() {
        &all[..]
    } else {
        &args.kernel
    };
    let scope = |scope| if args.brief { Scope::Brief } else { scope };
    let wanted: Vec<_> = if args.matrix {
        MATRIX
            .map(|(line, tier, full)| (line, tier, scope(full)))
            .to_vec()
    } else {
        lines
            .iter()
            .flat_map(|line| {
                args.tier
                    .iter()
                    .map(|tier| (*line, *tier, scope(Scope::Every)))
            })
            .collect()
    };
    let wanted = wanted
        .into_iter()
        .map(|(line, tier, scope)| {
            let work = match &args.command {
                Some(command) => Work::command(command),
                None => Work::tests(&programs, tier, scope, &args.filter)?,
            };
            Ok(Turn { line, tier, work })
        })
        .collect::<Result<Vec<_>>>()?;
    Turns::new(args, &programs, &cache, &wanted)?.run(wanted)
}

/// What runs in the guests, and where files are kept.
fn prepare(args: &Args) -> Result<(Vec<Program>, PathBuf)> {
    if cfg!(not(target_arch = "x86_64")) {
        bail!("virtual machines are made for x86_64 only; run this on such a host");
    }
    if args.no_build && args.command.is_none() {
        bail!(
            "--no-build goes with --command: tests are built, so that they are those of the sources"
        );
    }
    guest::require()?;
    let cache = repository::target_dir().join("vm");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let mut programs = if args.no_build {
        programs::built()
    } else {
        programs::build(match args.filter.is_empty() {
            true => Extent::Kernel,
            false => Extent::Everything,
        })?
    };
    for file in &args.file {
        programs.push(Program::given(file)?);
    }
    Ok((programs, cache))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_has_every_line_and_every_tier() {
        for line in Line::value_variants() {
            let best = MATRIX.iter().any(|it| (it.0, it.1) == (*line, Tier::Best));
            assert!(best, "{}", line.name());
        }
        // By trampoline is what is best on each of them.
        for tier in [Tier::Kprobe, Tier::Tracepoint] {
            assert!(MATRIX.iter().any(|it| it.1 == tier), "{tier:?}");
        }
    }
}
