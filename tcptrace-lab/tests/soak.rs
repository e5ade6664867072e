//! A long run at saturation: memory stays flat, and nothing is lost. Alone in its file, so that no
//! other test runs beside it.
//!
//! `TCPTRACE_LAB_SOAK=1800` makes it half an hour.

use std::env;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tcptrace_lab::agent::{Agent, agent_program};
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;

/// Connections between two looks at the memory.
const PORTION: usize = 20_000;

/// Portions until every table has its size: ended sockets are kept, 4096 of them, and the kernel's
/// TIME_WAITs are modelled for a minute.
const WARM_UP: Duration = Duration::from_secs(65);

/// By how much what is usual in the last third may exceed what is usual in the first: the allocator's
/// slack, tables of processes and ports that fill, and 60 s of TIME_WAITs at a rate that varies.
const SLACK_MB: f64 = 16.0;

/// What a burst may take for a moment: the facts of a ring that a late reader finds full.
const BURST_MB: f64 = 64.0;

fn resident_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .context("no VmRSS")?
        .trim()
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// What is started from here on leaves the processors to whoever else needs them: the load takes what
/// is left, and half an hour of it disturbs nobody. The agent, started before, competes as usual.
fn yield_to_others() {
    // SAFETY: the call has no preconditions; where it fails, the load only runs as it is.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 15) };
}

#[test]
fn memory_stays_flat_and_nothing_is_lost_at_saturation() -> Result<()> {
    let seconds: u64 = match env::var("TCPTRACE_LAB_SOAK") {
        Ok(text) => text.parse().context("TCPTRACE_LAB_SOAK")?,
        Err(_) => 10,
    };
    let lasts = Duration::from_secs(seconds);
    let mut command = Command::new(agent_program()?);
    // At 100 MB/s no disk holds half an hour; the lines are made all the same.
    command.args(["record", "--force", "-o", "/dev/null"]);
    let agent = Agent::start(command, tempfile::tempdir()?)?;
    let netns = Netns::new()?;
    yield_to_others();
    let begun = Instant::now();
    let mut portions = 0;
    // Since the warm-up.
    let mut resident = Vec::new();
    while begun.elapsed() < lasts {
        Patient::start(&netns, &format!("load --clients 4 --connections {PORTION}"))?.finish()?;
        portions += 1;
        let now = resident_mb(agent.pid())?;
        if begun.elapsed() >= WARM_UP.min(lasts / 2) {
            resident.push(now);
        }
        eprintln!(
            "soak: {} s, {} connections, {now:.1} MB",
            begun.elapsed().as_secs(),
            portions * PORTION
        );
    }
    let ended = agent.end(Signal::SIGINT)?;
    assert!(ended.status.success(), "{}", ended.stderr);
    let said = |name: &str| {
        ended
            .stderr
            .lines()
            .find_map(|line| line.trim().strip_prefix(name))
            .map(str::trim)
            .with_context(|| format!("no `{name}` in {}", ended.stderr))
    };
    let transitions: usize = said("events")?
        .split_whitespace()
        .next()
        .context("no number")?
        .parse()?;
    let made = portions * PORTION * 10;
    let losses = said("losses")?;
    for loss in losses.split(", ").filter(|loss| *loss != "none") {
        let (count, cause) = loss.split_once(' ').context("no cause")?;
        let count: usize = count.parse()?;
        match cause {
            // What the host hides from BPF is no loss of ours; see `witness`.
            "(unreported)" => {}
            // The kernel skips a program that interrupts itself, and where that happens within its
            // understudy as well, the event is lost, and counted. It is that rare:
            "(recursion)" => assert!(count <= 1 + made / 500_000, "{losses} of {made}"),
            _ => panic!("{losses}"),
        }
    }
    // A few in a million are hidden by a host that exempts processes from BPF.
    assert!(
        transitions + made / 10_000 >= made,
        "{transitions} of {made}"
    );
    let thirds: Vec<f64> = resident
        .chunks(resident.len().div_ceil(3).max(1))
        .map(median)
        .collect();
    let (first, last) = thirds.first().zip(thirds.last()).context("no portion")?;
    let most = resident.iter().copied().fold(0.0, f64::max);
    eprintln!("soak: usually {thirds:.1?} MB, by thirds; at most {most:.1} MB");
    assert!(
        *last <= first + SLACK_MB && most <= first + BURST_MB,
        "memory grew: usually {thirds:.1?} MB, by thirds; at most {most:.1} MB"
    );
    Ok(())
}

fn median(of: &[f64]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
