//! Crowds that stand still: how long until all of them are known, what that takes, and what it takes
//! to keep watching them. Beside it `ss -tanp`, which answers the same question once.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::each_line;

use crate::Options;
use crate::observer::{Mode, Observer, find};
use crate::sheet::{Column, Sheet, column};

const COLUMNS: [Column; 5] = [
    column("seconds to ready", 3),
    column("CPU, s", 2),
    column("sockets known", 0),
    column("MB resident", 0),
    column("CPU then, %", 1),
];

/// How long it is watched afterwards.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Of what the crowd consists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowd {
    Idle,
    Listeners,
    CloseWait,
}

impl Crowd {
    fn of(self) -> (&'static str, &'static str, usize) {
        match self {
            Self::Idle => ("Idle connections", "open", 100_000),
            Self::Listeners => ("Listeners", "listener", 10_000),
            Self::CloseWait => ("A crowd in CLOSE_WAIT", "close-wait", 100_000),
        }
    }
}

/// Starts tcptrace, and then `ss`, beside the crowd.
pub(crate) fn measure(crowd: Crowd, options: &Options) -> Result<Sheet> {
    let (name, of, full) = crowd.of();
    let sockets = options.scaled(full);
    let about = format!("{sockets} sockets stand still in a namespace, held by several processes.");
    let mut sheet = Sheet::new(name, about, &COLUMNS);
    let netns = Netns::new()?;
    eprintln!("bench: gathering {sockets} sockets ({of})");
    let patient = Patient::start(&netns, &format!("crowd --sockets {sockets} --of {of}"))?;
    let directory = tempfile::tempdir()?;
    let mode = match crowd {
        Crowd::CloseWait => Mode::Record {
            name: "tcptrace record",
            options: &["--close-wait-after", "2s"],
            compressed: false,
        },
        _ => Mode::Record {
            name: "tcptrace record",
            options: &[],
            compressed: false,
        },
    };
    let rounds = options.rounds().min(3);
    for round in 0..rounds {
        eprintln!("bench: round {}, {}", round + 1, mode.name());
        let observer = Observer::start(&mode, directory.path())?;
        let at_ready = observer.cpu()?;
        thread::sleep(AFTERWARDS);
        let then = (observer.cpu()? - at_ready) / AFTERWARDS.as_secs_f64() * 100.0;
        let resident = observer.resident()?;
        let (output, start) = (observer.output.clone(), observer.start);
        if crowd == Crowd::CloseWait {
            // Verdicts take looks some time apart.
            thread::sleep(AFTERWARDS);
        }
        let cpu = observer.cpu()?;
        observer.end()?;
        let mut values = vec![
            ("seconds to ready", start.as_secs_f64()),
            (
                "CPU, s",
                if crowd == Crowd::CloseWait {
                    cpu
                } else {
                    at_ready
                },
            ),
            ("MB resident", resident),
            ("CPU then, %", then),
        ];
        let (known, judged) = known_and_judged(&output, netns.inode())?;
        values.push(("sockets known", known as f64));
        sheet.add(mode.name(), &values);
        if known < sockets {
            sheet
                .faults
                .push(format!("only {known} of {sockets} sockets were found"));
        }
        if crowd == Crowd::CloseWait && judged < sockets as u64 {
            sheet
                .faults
                .push(format!("only {judged} of {sockets} leaks were judged"));
        }
    }
    if crowd == Crowd::CloseWait {
        sheet.remarks.push(
            "CPU is that of the whole run, from the start to every verdict and ten seconds on."
                .to_owned(),
        );
    }
    ss(&netns, &mut sheet)?;
    patient.kill();
    Ok(sheet)
}

/// Sockets of the namespace in the snapshot, and what the findings count at the end.
fn known_and_judged(path: &std::path::Path, netns: u64) -> Result<(usize, u64)> {
    let netns = format!(r#""netns":{netns},"#);
    let mut known = std::collections::BTreeSet::new();
    let mut findings = std::collections::BTreeMap::new();
    each_line(path, |line| {
        if line.starts_with(r#"{"type":"socket","#) && line.contains(&netns) {
            let sock = line
                .split_once(r#""sock":""#)
                .and_then(|(_, rest)| rest.split('"').next());
            known.extend(sock.map(str::to_owned));
        } else if line.starts_with(r#"{"type":"finding","#) {
            let finding: serde_json::Value = serde_json::from_str(line)?;
            if finding["kind"] == "close_wait_leak" {
                let count = finding["count"].as_u64().unwrap_or(0);
                findings.insert(finding["id"].to_string(), count);
            }
        }
        Ok(())
    })?;
    Ok((known.len(), findings.values().sum()))
}

fn ss(netns: &Netns, sheet: &mut Sheet) -> Result<()> {
    let Some(program) = find("ss") else {
        eprintln!("bench: ss is not installed, so it is left out");
        return Ok(());
    };
    eprintln!("bench: ss -tanp");
    let mut command: Command = netns.command(program);
    command
        .arg("-tanp")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let begun = Instant::now();
    let output = command.output().context("cannot run ss")?;
    let spent = begun.elapsed();
    ensure!(output.status.success(), "ss failed");
    let lines = output.stdout.iter().filter(|&&byte| byte == b'\n').count();
    sheet.add(
        "ss -tanp, once",
        &[
            ("seconds to ready", spent.as_secs_f64()),
            ("sockets known", lines.saturating_sub(1) as f64),
        ],
    );
    Ok(())
}
