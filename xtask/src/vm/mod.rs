//! `cargo xtask vm`: the tests, or any command, on other kernels than the running one, in virtual
//! machines that need nothing but a Debian mirror and qemu.
//!
//! Data flows one way: [`debian`] finds and fetches a kernel, [`programs`] builds what runs on it,
//! [`guest`] packs both (by [`modules`] and [`cpio`]), [`machine`] boots that, and [`verdict`]
//! judges.
//!
//! Invariants: a kernel passes only by exactly one verdict from its guest; tests pass only when some
//! ran; nothing is installed, and nothing outside `target/vm` is written.

mod cpio;
mod debian;
mod guest;
mod machine;
mod modules;
mod programs;
mod verdict;

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use self::debian::{Kernel, Line};
use self::guest::Task;
use self::machine::{Accelerator, Machine};
use self::programs::Program;
use self::verdict::{Mark, Verdict};
use crate::test::Tally;
use crate::{repository, shell};

/// Tests per test binary at a time; the lab mostly waits for the kernel's timers.
const THREADS: &str = "--test-threads=4";

/// By how much an emulated guest may be late. Waits end when what they wait for happens, so this costs
/// nothing where all goes well.
const EMULATED_PATIENCE: u32 = 4;

/// How a test binary is told about colour: its own look at the guest's serial line says nothing
/// about where the output ends up.
fn colour() -> &'static str {
    if std::io::stdout().is_terminal() {
        "--color=always"
    } else {
        "--color=never"
    }
}

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
    /// A shell command to run instead of the tests
    #[arg(long, short = 'c', value_name = "COMMAND", conflicts_with = "filter")]
    command: Option<String>,
    /// One more file for the guest; without a path there it is put on the PATH
    #[arg(long, value_name = "FILE[=PATH]")]
    file: Vec<String>,
    /// Take the agent and the lab as they were built before, with --command
    #[arg(long)]
    no_build: bool,
    /// Stop a guest after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
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

/// The matrix: every line at its best, and the ways that no line is best at on the line where
/// they differ most: 6.1 cannot hook a function of seven arguments by trampoline.
pub(crate) const MATRIX: [(Line, Tier); 6] = [
    (Line::V5_10, Tier::Best),
    (Line::V6_1, Tier::Best),
    (Line::V6_12, Tier::Best),
    (Line::Newest, Tier::Best),
    (Line::V6_1, Tier::Kprobe),
    (Line::V5_10, Tier::Tracepoint),
];

/// Runs the tests or the command on each kernel; fails when one failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (programs, cache) = prepare(args)?;
    if args.matrix {
        return runs(args, &MATRIX, &programs, &cache);
    }
    let all = [Line::V5_10, Line::V6_1, Line::V6_12, Line::Newest];
    let lines = if args.kernel.is_empty() {
        &all[..]
    } else {
        &args.kernel
    };
    let wanted: Vec<_> = lines
        .iter()
        .flat_map(|line| args.tier.iter().map(|tier| (*line, *tier)))
        .collect();
    runs(args, &wanted, &programs, &cache)
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
        programs::build()?
    };
    for file in &args.file {
        programs.push(Program::given(file)?);
    }
    Ok((programs, cache))
}

/// One guest after the other, each with its verdict, and all verdicts once more at the end.
fn runs(args: &Args, wanted: &[(Line, Tier)], programs: &[Program], cache: &Path) -> Result<()> {
    let mut verdicts = Vec::new();
    let mut failed = Vec::new();
    for (line, tier) in wanted {
        let name = match tier.forced() {
            None => line.name().to_owned(),
            Some(tier) => format!("{} by {tier}", line.name()),
        };
        let work = match &args.command {
            Some(command) => Work {
                script: command.clone(),
                tests: false,
            },
            None => Work {
                script: test_script(programs, *tier, &args.filter)?,
                tests: true,
            },
        };
        let verdict = match try_kernel(*line, args, &work, programs, cache) {
            Ok(passed) => passed,
            Err(error) => {
                failed.push(name.clone());
                format!("FAILED: {error:#}")
            }
        };
        println!("vm {name}: {verdict}");
        // The console of a failed guest was shown above.
        let first = verdict.lines().next().unwrap_or_default();
        verdicts.push(format!("vm {name}: {first}"));
    }
    if verdicts.len() > 1 {
        println!("\n{}", verdicts.join("\n"));
    }
    if !failed.is_empty() {
        bail!("failed on {}", failed.join(", "));
    }
    Ok(())
}

/// What each guest runs.
struct Work {
    script: String,
    tests: bool,
}

/// Runs one guest; what to print when it passed.
fn try_kernel(
    line: Line,
    args: &Args,
    work: &Work,
    programs: &[Program],
    cache: &Path,
) -> Result<String> {
    let kernel = debian::kernel(line, &args.mirror, cache)?;
    let folder = RunFolder::new(cache, &kernel)?;
    let accelerator = match args.accelerator {
        Some(accelerator) => accelerator,
        None => Accelerator::best(&kernel.image, &folder.path)?,
    };
    let processors = args.cpus.unwrap_or(match (accelerator, line) {
        // Seen: with several processors under emulation this kernel's allocator dies in
        // cmpxchg16b, about one run in ten; not with one.
        (Accelerator::Tcg, Line::V6_12) => 1,
        _ => 2,
    });
    let limit = Duration::from_secs(args.timeout);
    let patience = match accelerator {
        Accelerator::Kvm => 1,
        Accelerator::Tcg => EMULATED_PATIENCE,
    };
    let command = format!("export TCPTRACE_LAB_PATIENCE={patience}\n{}", work.script);
    let mark = Mark::new();
    let task = Task {
        command: &command,
        limit,
        mark: &mark,
    };
    let initramfs = folder.path.join("initramfs.cpio");
    fs::write(
        &initramfs,
        guest::initramfs(&kernel.modules, programs, &task)?,
    )
    .with_context(|| format!("cannot write {}", initramfs.display()))?;
    let machine = Machine {
        accelerator,
        processors,
        image: kernel.image.clone(),
        initramfs,
        console: folder.path.join("console.log"),
        append: args.append.clone(),
    };

    let what = format!(
        "{} ({}), {}, {processors} CPU",
        kernel.release,
        kernel.version,
        accelerator.name()
    );
    shell::say(format_args!("booting {what}"));
    let started = Instant::now();
    let mut tally = Tally::default();
    // The guest's own limit comes first, so that it can still say where it hangs.
    let patience = limit + Duration::from_secs(30);
    let verdict = machine.run(&mark, patience, &mut |line| {
        println!("{line}");
        tally.count(line);
    });
    let seconds = started.elapsed().as_secs();
    let counts = format!("{} passed, {} failed", tally.passed, tally.failed);
    let result = match verdict {
        Err(error) => Err(error),
        Ok(Verdict::Failed(_)) if work.tests => Err(anyhow::anyhow!("{counts}; {what}")),
        Ok(Verdict::Failed(status)) => Err(anyhow::anyhow!("exit status {status}; {what}")),
        Ok(Verdict::Passed) if work.tests && tally.passed == 0 => Err(anyhow::anyhow!(
            "no test ran: {:?} is in no test's name",
            args.filter.join(" ")
        )),
        Ok(Verdict::Passed) if work.tests => Ok(format!("{counts}; {what}, {seconds} s")),
        Ok(Verdict::Passed) => Ok(format!("passed; {what}, {seconds} s")),
    };
    if result.is_err() {
        folder.keep();
    }
    result
}

/// Of the lab, what does not depend on the kernel: how the agent ends, and how it looks in a terminal.
const SAME_EVERYWHERE: &str = "--skip endings:: --skip demo::";

/// Of the lab, what depends on how functions are probed.
const BY_TIER: &str = "queues:: owners:: traps::";

/// A script that runs the test binaries, and fails when one fails.
fn test_script(programs: &[Program], tier: Tier, filter: &[String]) -> Result<String> {
    let path = |program: &Program| quote(&program.guest.to_string_lossy());
    let agent = programs
        .iter()
        .find(|program| program.command.as_deref() == Some("tcptrace"))
        .context("the agent was not built")?;
    let mut script = format!("status=0\nexport TCPTRACE_BIN={}\n", path(agent));
    // Debian's kernels allow every kind of probe, so one that is missing there is a defect.
    script += "export TCPTRACE_EXPECT_FUNCTIONS=1\n";
    if let Some(tier) = tier.forced() {
        script += &format!("export TCPTRACE_TIER={tier}\n");
    }
    for test in programs.iter().filter(|program| program.test) {
        // Of the agent's own tests only those that touch the kernel depend on it; of the lab's, the
        // scenarios: its own parts and the saturating load are the host's matter.
        let words: Vec<String> = match (filter, test.package.as_str(), test.name.as_str()) {
            ([], "tcptrace", _) => vec!["kernel::".to_owned()],
            ([], _, "lab") if tier == Tier::Best => vec![SAME_EVERYWHERE.to_owned()],
            ([], _, "lab") => vec![BY_TIER.to_owned()],
            ([], ..) => continue,
            (words, ..) => words.iter().map(|word| quote(word)).collect(),
        };
        let folder = repository::root().join(&test.package);
        let folder = quote(&folder.to_string_lossy());
        script += &format!(
            "mkdir -p {folder}; cd {folder}; {} {THREADS} {} {} || status=1\n",
            path(test),
            colour(),
            words.join(" ")
        );
    }
    script += "exit $status\n";
    Ok(script)
}

/// A word for the guest's shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Where one run has its files; they go with it, but for the console of a failed one.
struct RunFolder {
    path: PathBuf,
    keep: std::cell::Cell<bool>,
}

impl RunFolder {
    fn new(cache: &Path, kernel: &Kernel) -> Result<Self> {
        let name = format!("{}-{}", kernel.release, std::process::id());
        let path = cache.join("runs").join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self {
            path,
            keep: false.into(),
        })
    }

    fn keep(&self) {
        self.keep.set(true);
        let console = self.path.join("console.log");
        shell::say(format_args!(
            "the guest's whole console: {}",
            console.display()
        ));
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if self.keep.get() {
            let _ = fs::remove_file(self.path.join("initramfs.cpio"));
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_of(package: &str, name: &str) -> Program {
        Program {
            name: name.to_owned(),
            file: "/x".into(),
            guest: "/t/it's".into(),
            command: None,
            package: package.to_owned(),
            test: true,
        }
    }

    #[test]
    fn the_agents_tests_are_those_of_the_kernel_unless_others_are_asked_for() {
        let agent = Program {
            guest: "/t/tcptrace".into(),
            command: Some("tcptrace".to_owned()),
            test: false,
            ..test_of("tcptrace", "tcptrace")
        };
        let programs = [
            agent,
            test_of("tcptrace", "tcptrace"),
            test_of("tcptrace-lab", "lab"),
            test_of("tcptrace-lab", "load"),
        ];
        let check = |tier, filter: &[&str], expected: &[&str]| {
            let filter: Vec<String> = filter.iter().map(|word| (*word).to_owned()).collect();
            let script = test_script(&programs, tier, &filter).unwrap();
            assert_eq!(script.contains("TCPTRACE_TIER"), tier != Tier::Best);
            let runs: Vec<&str> = script
                .lines()
                .filter_map(|line| line.split_once(r"'/t/it'\''s' --test-threads=4"))
                .map(|(_, rest)| rest.trim().trim_start_matches(colour()).trim())
                .collect();
            assert_eq!(runs, expected);
        };
        let all = "--skip endings:: --skip demo:: || status=1";
        check(Tier::Best, &[], &["kernel:: || status=1", all]);
        let some = "queues:: owners:: traps:: || status=1";
        check(Tier::Kprobe, &[], &["kernel:: || status=1", some]);
        check(Tier::Best, &["fin"], &["'fin' || status=1"; 3]);
        assert!(test_script(&programs[1..], Tier::Best, &[]).is_err());
    }
}
