//! Tens of thousands of leaked sockets: proved within seconds, one finding per process and service.
//! Alone in its file, so that no other test runs beside it.
//!
//! `TCPTRACE_LAB_LEAKED=50000` leaks more, in as many processes as their descriptor limits need.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tcptrace_lab::agent::{Agent, replay};
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::{Finding, Recording, each_line};
use tcptrace_lab::wait_for;

/// What one process leaks at most: its limit is 20,000 descriptors.
const PER_PROCESS: usize = 16_700;

/// From "ready" to a verdict on every socket, on a machine that does other things too.
const SECONDS: Duration = Duration::from_secs(60);

/// The last word on each finding, without parsing the facts of a large file.
fn findings(path: &Path) -> Result<BTreeMap<String, Finding>> {
    let mut last = BTreeMap::new();
    each_line(path, |line| {
        if line.starts_with(r#"{"type":"finding","#) {
            let finding = Finding(serde_json::from_str(line)?);
            last.insert(finding.0["id"].to_string(), finding);
        }
        Ok(())
    })?;
    Ok(last)
}

#[test]
fn many_leaked_sockets_are_proved_within_seconds() -> Result<()> {
    let leaked: usize = match env::var("TCPTRACE_LAB_LEAKED") {
        Ok(text) => text.parse().context("TCPTRACE_LAB_LEAKED")?,
        Err(_) => 15_000,
    };
    let netns = Netns::new()?;
    let processes = leaked.div_ceil(PER_PROCESS).max(1);
    let each = leaked / processes;
    let patients = (0..processes)
        .map(|_| Patient::start(&netns, "not-watched --backlog 4096 --descriptors 20000"))
        .collect::<Result<Vec<_>>>()?;
    netns.inside(|| {
        for patient in &patients {
            for _ in 0..each {
                drop(TcpStream::connect(patient.address())?);
            }
        }
        Ok(())
    })?;
    for patient in &patients {
        let fds = format!("/proc/{}/fd", patient.pid());
        wait_for("every connection to be accepted", SECONDS, || {
            thread::sleep(Duration::from_millis(100));
            Ok((fs::read_dir(&fds)?.count() >= each).then_some(()))
        })?;
    }
    // Older than the threshold when the agent comes, as in an incident.
    thread::sleep(Duration::from_millis(2500));
    let options = format!("--close-wait-after 2s --netns {}", netns.inode());
    let agent = Agent::record(&options)?;
    let ready = Instant::now();
    let counted = |findings: &BTreeMap<String, Finding>| -> Vec<u64> {
        let of = |patient: &Patient| {
            let port = u64::from(patient.port());
            let of_port = findings.values().filter(|it| it.port() == Some(port));
            of_port
                .filter(|it| it.cause() == "not_watched")
                .map(Finding::count)
                .sum()
        };
        patients.iter().map(of).collect()
    };
    // A finding is told again when its number has doubled, and else every 10 s.
    wait_for(
        "a verdict on more than half of each process's sockets",
        SECONDS,
        || {
            thread::sleep(Duration::from_millis(200));
            let counts = counted(&findings(&agent.path())?);
            Ok(counts.iter().all(|n| *n > each as u64 / 2).then_some(()))
        },
    )?;
    let proved = ready.elapsed();
    wait_for("a verdict on every socket", SECONDS, || {
        thread::sleep(Duration::from_millis(200));
        let counts = counted(&findings(&agent.path())?);
        Ok(counts.iter().all(|n| *n == each as u64).then_some(()))
    })?;
    let told = ready.elapsed();
    let stat = fs::read_to_string(format!("/proc/{}/stat", agent.pid()))?;
    let ticks: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    eprintln!(
        "{leaked} sockets in {processes} processes: more than half told {proved:?} after ready, all \
         {told:?}, CPU {:.2} s",
        ticks.iter().sum::<u64>() as f64 / 100.0
    );

    let ended = agent.end(Signal::SIGINT)?;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let findings = findings(&ended.path())?;
    assert_eq!(findings.len(), processes, "one for each: {findings:#?}");
    for (finding, patient) in findings.values().flat_map(|finding| {
        let of = |patient: &&Patient| finding.port() == Some(u64::from(patient.port()));
        patients.iter().find(of).map(|patient| (finding, patient))
    }) {
        assert_eq!(finding.name(), "close_wait_leak/not_watched");
        assert_eq!(finding.count(), each as u64);
        assert_eq!(finding.pid(), Some(u64::from(patient.pid())));
    }
    let replayed = Recording::parse(&String::from_utf8(replay(&ended.path(), "ndjson")?.stdout)?)?;
    let verdicts = |of: &BTreeMap<String, Finding>| -> Vec<serde_json::Value> {
        of.values().map(Finding::verdict).collect()
    };
    assert_eq!(verdicts(&replayed.findings()), verdicts(&findings));
    Ok(())
}
