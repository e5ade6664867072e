//! Recordings in compressed segments: each stands alone, together they are one, and a kill at any
//! moment costs at most the last second.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use tcptrace_lab::agent::{Agent, agent_program};
use tcptrace_lab::client::connect;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::Recording;
use tcptrace_lab::schema;
use tcptrace_lab::sockets::{State, await_count};

fn record(directory: &Path, options: &str) -> Result<Agent> {
    let mut command = Command::new(agent_program()?);
    command
        .args(["record", "-o"])
        .arg(directory.join("web.ndjson.zst"))
        .args(options.split_whitespace());
    Agent::start(command, tempfile::tempdir()?)
}

fn segments(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.to_string_lossy().ends_with(".ndjson.zst"));
    files.sort();
    Ok(files)
}

/// The whole lines of a compressed file, by the tool that everybody has.
fn unpacked(file: &Path) -> Result<Recording> {
    let output = Command::new("zstd")
        .args(["-dcq"])
        .arg(file)
        .output()
        .context("cannot run zstd; install it")?;
    let text = String::from_utf8(output.stdout)?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    Recording::parse(&text[..whole])
}

fn replay(paths: &[&Path]) -> Result<(Recording, String)> {
    let output = Command::new(agent_program()?)
        .arg("replay")
        .args(paths)
        .args(["--format", "ndjson"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "replay failed: {said}");
    Ok((Recording::parse(&String::from_utf8(output.stdout)?)?, said))
}

fn verdicts(recording: &Recording) -> Vec<String> {
    recording
        .findings()
        .into_iter()
        .map(|(id, finding)| format!("{id} {}", finding.verdict()))
        .collect()
}

#[test]
fn segments_together_are_one_recording_and_each_stands_alone() -> Result<()> {
    let netns = Netns::new()?;
    let directory = tempfile::tempdir()?;
    let agent = record(
        directory.path(),
        &format!(
            "--netns {} --close-wait-after 3s --rotate-every 2s",
            netns.inode()
        ),
    )?;
    let patient = Patient::start(&netns, "not-watched --name forgetful")?;
    let clients = connect(&netns, patient.address(), 3)?;
    drop(clients);
    await_count(&netns, patient.port(), State::CloseWait, 3)?;
    // Some segments of nothing but a leak.
    thread::sleep(Duration::from_secs(9));
    let ended = agent.end(Signal::SIGINT)?;
    assert!(ended.status.success(), "{}", ended.stderr);

    let files = segments(directory.path())?;
    assert!(files.len() >= 4, "{files:?}");
    let mut recorded = Recording::default();
    for (number, file) in files.iter().enumerate() {
        let segment = unpacked(file)?;
        schema::holds(&segment)?;
        let header = &segment.lines[0];
        assert_eq!(header["type"], "header");
        assert_eq!(header["segment"], number + 1);
        let last = number + 1 == files.len();
        let ended = if last { "signal" } else { "rotated" };
        assert_eq!(segment.footer()?["ended"], ended, "{}", file.display());
        recorded.lines.extend(segment.lines);
    }
    // Together: the findings are computed again, and are those of the run.
    let (whole, said) = replay(&[directory.path()])?;
    assert_eq!(verdicts(&whole), verdicts(&recorded), "{said}");
    assert_eq!(whole.findings_on(patient.port()).len(), 1, "{whole:#?}");

    // The last one alone: who leaks, and the sockets of which nothing happened in it.
    let last = files.last().context("there are segments")?;
    let alone = unpacked(last)?;
    let carried: Vec<&Value> = alone
        .of_type("carried")
        .filter(|line| line["state"] == "CLOSE_WAIT")
        .collect();
    assert_eq!(carried.len(), 3, "{carried:#?}");
    assert_eq!(carried[0]["owner"]["pid"], patient.pid(), "{carried:#?}");
    let (replayed, said) = replay(&[last])?;
    assert!(said.contains("segments are missing"), "{said}");
    let findings = replayed.findings_on(patient.port());
    assert_eq!(findings[0].cause(), "not_watched", "{findings:#?}");
    assert_eq!(findings[0].pid(), Some(u64::from(patient.pid())));

    let index: Value = serde_json::from_slice(&fs::read(directory.path().join("web.index.json"))?)?;
    let listed = index["segments"].as_array().map(Vec::len);
    assert_eq!(listed, Some(files.len()), "{index:#}");
    Ok(())
}

#[test]
fn only_the_newest_segments_are_kept() -> Result<()> {
    let netns = Netns::new()?;
    let directory = tempfile::tempdir()?;
    let agent = record(
        directory.path(),
        &format!("--netns {} --rotate-every 1s --keep 2", netns.inode()),
    )?;
    thread::sleep(Duration::from_millis(5500));
    let ended = agent.end(Signal::SIGINT)?;
    assert!(ended.status.success(), "{}", ended.stderr);
    let files = segments(directory.path())?;
    assert_eq!(files.len(), 2, "{files:?}");
    let index: Value = serde_json::from_slice(&fs::read(directory.path().join("web.index.json"))?)?;
    assert!(index["deleted"].as_u64() >= Some(2), "{index:#}");
    replay(&[directory.path()])?;
    Ok(())
}

#[test]
fn suspects_alone_are_a_quiet_recording_with_every_finding() -> Result<()> {
    let netns = Netns::new()?;
    let options = format!("--netns {} --close-wait-after 3s", netns.inode());
    let mut kept = Vec::new();
    for events in ["suspects", "none"] {
        let agent = Agent::record(&format!("{options} --events {events}"))?;
        let patient = Patient::start(&netns, "never-accepted")?;
        let load = Patient::start(&netns, "load --connections 200 --clients 1")?;
        load.kill();
        drop(connect(&netns, patient.address(), 2)?);
        agent.await_finding("never_accepted", Duration::from_secs(30), |finding| {
            finding.cause() == "never_accepted" && finding.count() == 2
        })?;
        let recording = agent.finish()?;
        assert_eq!(recording.lines[0]["completeness"], events);
        let transitions = recording.of_type("transition").count();
        assert!(transitions < 20, "{events}: {transitions}");
        kept.push(recording.of_type("inspection").count());
        let findings = recording.findings_on(patient.port());
        assert_eq!(findings.len(), 1, "{findings:#?}");
    }
    assert!(kept[0] > 0 && kept[1] == 0, "{kept:?}");
    Ok(())
}

fn now() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// The longest that this machine has kept a thread waiting lately: the agent too may have waited.
struct Stall(AtomicU64);

impl Stall {
    fn watch(&self, end: &AtomicBool) {
        const NAP: Duration = Duration::from_millis(10);
        while !end.load(Ordering::Relaxed) {
            let before = Instant::now();
            thread::sleep(NAP);
            let late = before.elapsed().saturating_sub(NAP).as_millis() as u64;
            self.0.fetch_max(late, Ordering::Relaxed);
        }
    }
}

/// Kills, and how many agents at a time wait for theirs: most of it is waiting.
const KILLS: u64 = 50;
const LANES: u64 = 3;

#[test]
fn a_kill_at_any_moment_costs_at_most_the_last_second() -> Result<()> {
    let netns = Netns::new()?;
    let listener = netns.inside(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
    let address = listener.local_addr()?;
    let end = AtomicBool::new(false);
    let kills = AtomicU64::new(0);
    let (mut rotated, mut outcome) = (0, Ok(()));
    thread::scope(|scope| {
        scope.spawn(|| {
            for accepted in listener.incoming() {
                drop(accepted);
                if end.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        scope.spawn(|| {
            netns.inside(|| {
                while !end.load(Ordering::Relaxed) {
                    drop(TcpStream::connect(address));
                    thread::sleep(Duration::from_millis(2));
                }
                // The listener's thread looks once more.
                drop(TcpStream::connect(address));
                Ok(())
            })
        });
        let lane = || -> Result<u64> {
            let mut rotated = 0;
            loop {
                let number = kills.fetch_add(1, Ordering::Relaxed);
                if number >= KILLS {
                    return Ok(rotated);
                }
                rotated += u64::from(kill_once(&netns, number)? > 1);
            }
        };
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        for lane in lanes {
            match lane.join().expect("it does not panic") {
                Ok(of_lane) => rotated += of_lane,
                Err(error) => outcome = Err(error),
            }
        }
        end.store(true, Ordering::Relaxed);
    });
    outcome?;
    // Each lane asks for one more than there are.
    assert_eq!(kills.load(Ordering::Relaxed), KILLS + LANES);
    assert!(rotated > KILLS / 4, "{rotated} had begun a second segment");
    Ok(())
}

/// Records, kills, and looks at what is left: the number of its segments.
fn kill_once(netns: &Netns, number: u64) -> Result<usize> {
    let directory = tempfile::tempdir()?;
    let agent = record(
        directory.path(),
        &format!(
            "--netns {} --rotate-every 1s --rotate-size 64KiB",
            netns.inode()
        ),
    )?;
    // As random as a test needs: spread over two segments, and not the same in every run.
    let jitter = u64::from(std::process::id()).wrapping_mul(6_364_136_223_846_793_005);
    let after = 600 + (number.wrapping_mul(0x9e37_79b9) ^ (jitter >> 33)) % 1700;
    let stall = Stall(AtomicU64::new(0));
    let over = AtomicBool::new(false);
    let killed = thread::scope(|scope| -> Result<Duration> {
        scope.spawn(|| stall.watch(&over));
        thread::sleep(Duration::from_millis(after));
        let killed = now();
        over.store(true, Ordering::Relaxed);
        agent.end(Signal::SIGKILL)?;
        killed
    })?;
    let files = segments(directory.path())?;
    let mut last = Duration::ZERO;
    for (at, file) in files.iter().enumerate() {
        let segment = unpacked(file)?;
        if at + 1 < files.len() {
            segment.footer()?;
        }
        schema::holds(&segment)?;
        for (seq, line) in segment.lines.iter().enumerate() {
            ensure!(
                line["seq"] == seq,
                "{}: nothing is missing inside",
                file.display()
            );
        }
        let newest = segment
            .of_type("transition")
            .filter_map(|line| line["mono_ns"].as_u64())
            .max();
        last = last.max(Duration::from_nanos(newest.unwrap_or(0)));
    }
    let waited = Duration::from_millis(stall.0.load(Ordering::Relaxed));
    let lost = killed.saturating_sub(last);
    ensure!(
        lost <= Duration::from_secs(1) + 3 * waited,
        "kill {number}, after {after} ms: the last {lost:?} are missing, in {files:?}; \
         a thread here waited {waited:?}"
    );
    // The index is an old or a new one, never half of one.
    let index = fs::read(directory.path().join("web.index.json"))?;
    serde_json::from_slice::<Value>(&index).context("the index is torn")?;
    // What is left can be judged.
    replay(&[directory.path()])?;
    Ok(files.len())
}
