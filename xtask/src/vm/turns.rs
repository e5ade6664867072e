//! The guests' turns: several at a time where asked for, each with its verdict, and all verdicts once
//! more at the end.
//!
//! Invariants: a failed test fails its kernel, at once and for good. Only a run that the emulator lost
//! is begun again, once and out loud: qemu died, or the guest did before it came as far as the tests, or by
//! a breakpoint that only emulation leaves behind.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::debian::{self, Kernel, Line};
use super::guest::{self, Task};
use super::machine::{Accelerator, Lost, Machine};
use super::programs::Program;
use super::verdict::{Mark, Verdict};
use super::work::Work;
use super::{Args, Tier};
use crate::shell;
use crate::test::Tally;

/// By how much an emulated guest may be late. Waits end when what they wait for happens, so this costs
/// nothing where all goes well.
const EMULATED_PATIENCE: u32 = 4;

/// One guest to run.
pub(super) struct Turn {
    pub(super) line: Line,
    pub(super) tier: Tier,
    pub(super) work: Work,
}

impl Turn {
    /// `6.1`, `6.1 by kprobe`.
    fn name(&self) -> String {
        match self.tier.forced() {
            None => self.line.name().to_owned(),
            Some(tier) => format!("{} by {tier}", self.line.name()),
        }
    }
}

/// What became of one.
struct Outcome {
    /// For the summary.
    said: String,
    passed: bool,
    tally: Tally,
}

/// What all turns share.
pub(super) struct Turns<'a> {
    args: &'a Args,
    programs: &'a [Program],
    cache: &'a Path,
    kernels: Vec<(Line, Result<Kernel>)>,
    /// Lines of output are marked with the guest's name.
    marked: bool,
}

impl<'a> Turns<'a> {
    /// Fetches the kernels, so that guests that run at once do not do so at once.
    pub(super) fn new(
        args: &'a Args,
        programs: &'a [Program],
        cache: &'a Path,
        wanted: &[Turn],
    ) -> Result<Self> {
        if args.jobs == 0 {
            bail!("--jobs 0 would run no guest");
        }
        let mut kernels: Vec<(Line, Result<Kernel>)> = Vec::new();
        for turn in wanted {
            if kernels.iter().all(|(line, _)| *line != turn.line) {
                kernels.push((turn.line, debian::kernel(turn.line, &args.mirror, cache)));
            }
        }
        Ok(Self {
            args,
            programs,
            cache,
            kernels,
            marked: args.jobs > 1 && wanted.len() > 1,
        })
    }

    /// How many tests passed; fails when one did not.
    pub(super) fn run(&self, wanted: Vec<Turn>) -> Result<Tally> {
        let count = wanted.len();
        let queue = Mutex::new(wanted.into_iter().enumerate().collect::<VecDeque<_>>());
        let outcomes = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..self.args.jobs.min(count) {
                scope.spawn(|| {
                    while let Some((at, turn)) = locked(&queue).pop_front() {
                        let outcome = self.turn(&turn);
                        let name = turn.name();
                        println!("vm {name}: {}", outcome.said);
                        locked(&outcomes).push((at, name, outcome));
                    }
                });
            }
        });
        let mut outcomes = outcomes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        outcomes.sort_by_key(|(at, ..)| *at);
        if outcomes.len() > 1 {
            println!();
            for (_, name, outcome) in &outcomes {
                // The console of a failed guest was shown above.
                let first = outcome.said.lines().next().unwrap_or_default();
                println!("vm {name}: {first}");
            }
        }
        let mut tally = Tally::default();
        for (.., outcome) in &outcomes {
            tally.add(&outcome.tally);
            // A guest that failed as a whole counts as one test.
            tally.failed += u64::from(!outcome.passed && outcome.tally.failed == 0);
        }
        if outcomes.len() > 1 && tally != Tally::default() {
            println!("{} passed, {} failed", tally.passed, tally.failed);
        }
        let failed: Vec<&str> = outcomes
            .iter()
            .filter(|(.., outcome)| !outcome.passed)
            .map(|(_, name, _)| name.as_str())
            .collect();
        if !failed.is_empty() {
            bail!("failed on {}", failed.join(", "));
        }
        Ok(tally)
    }

    /// Runs one guest, and once more when the emulator lost it.
    fn turn(&self, turn: &Turn) -> Outcome {
        let mut again = false;
        loop {
            let mut tally = Tally::default();
            let result = self.guest(turn, &mut tally);
            return match result {
                Err(lost) if lost.of_the_machine && !again => {
                    again = true;
                    shell::say(format_args!(
                        "{}: the emulator lost this guest, it is booted once more: {:#}",
                        turn.name(),
                        lost.why
                    ));
                    continue;
                }
                Err(lost) => Outcome {
                    said: format!("FAILED: {:#}", lost.why),
                    passed: false,
                    tally,
                },
                Ok(said) if again => Outcome {
                    said: format!("{said}, booted twice"),
                    passed: true,
                    tally,
                },
                Ok(said) => Outcome {
                    said,
                    passed: true,
                    tally,
                },
            };
        }
    }

    /// Runs one guest; what to print when it passed.
    fn guest(&self, turn: &Turn, tally: &mut Tally) -> Result<String, Lost> {
        let args = self.args;
        let kernel = match self.kernels.iter().find(|(line, _)| *line == turn.line) {
            Some((_, Ok(kernel))) => kernel,
            Some((_, Err(error))) => return Err(anyhow!("{error:#}").into()),
            None => return Err(anyhow!("this kernel was not fetched").into()),
        };
        let folder = RunFolder::new(self.cache, kernel, turn.tier)?;
        let accelerator = match args.accelerator {
            Some(accelerator) => accelerator,
            None => Accelerator::best(&kernel.image, &folder.path)?,
        };
        let processors = args.cpus.unwrap_or(match (accelerator, turn.line) {
            // Seen: with several processors under emulation this kernel's allocator dies in
            // cmpxchg16b, about one run in ten; not with one.
            (Accelerator::Tcg, Line::V6_12) => 1,
            // Seen in two runs of four: one of several emulated processors is late to see that a
            // breakpoint is gone from a function that is attached to (`Machine::patched_late`).
            (Accelerator::Tcg, Line::Newest) => 1,
            _ => 2,
        });
        let patience = match accelerator {
            Accelerator::Kvm => 1,
            Accelerator::Tcg => EMULATED_PATIENCE,
        };
        let limit = Duration::from_secs(args.timeout);
        let command = format!(
            "export TCPTRACE_LAB_PATIENCE={patience}\n{}",
            turn.work.script
        );
        let mark = Mark::new();
        let task = Task {
            command: &command,
            limit,
            mark: &mark,
        };
        let initramfs = folder.path.join("initramfs.cpio");
        let packed = guest::initramfs(&kernel.modules, self.programs, &task)?;
        fs::write(&initramfs, packed)
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
        let name = turn.name();
        // The guest's own limit comes first, so that it can still say where it hangs.
        let patience = limit + Duration::from_secs(30);
        let verdict = machine.run(&mark, patience, &mut |line| {
            match self.marked {
                true => println!("{name} | {line}"),
                false => println!("{line}"),
            }
            tally.count(line);
        });
        let seconds = started.elapsed().as_secs();
        let tests = turn.work.tests;
        let counts = format!("{} passed, {} failed", tally.passed, tally.failed);
        let result = match verdict {
            Err(lost) => Err(lost),
            Ok(Verdict::Failed(_)) if tests => Err(anyhow!("{counts}; {what}").into()),
            Ok(Verdict::Failed(status)) => Err(anyhow!("exit status {status}; {what}").into()),
            Ok(Verdict::Passed) if tests && tally.passed == 0 => Err(anyhow!(
                "no test ran: {:?} is in no test's name",
                args.filter.join(" ")
            )
            .into()),
            Ok(Verdict::Passed) if tests => Ok(format!("{counts}; {what}, {seconds} s")),
            Ok(Verdict::Passed) => Ok(format!("passed; {what}, {seconds} s")),
        };
        if result.is_err() {
            folder.keep();
        }
        result
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where one run has its files; they go with it, but for the console of a failed one.
struct RunFolder {
    path: PathBuf,
    keep: std::cell::Cell<bool>,
}

impl RunFolder {
    fn new(cache: &Path, kernel: &Kernel, tier: Tier) -> Result<Self> {
        let tier = tier.forced().unwrap_or("best");
        let name = format!("{}-{tier}-{}", kernel.release, std::process::id());
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
