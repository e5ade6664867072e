//! Retransmissions by the thousand: connects whose SYNs are dropped, and sent again after one second,
//! three, seven.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::each_line;
use tcptrace_lab::witness::Witness;

use crate::Options;
use crate::observer::{Mode, Observer};
use crate::sheet::{Column, Sheet, column};

const COLUMNS: [Column; 5] = [
    column("retransmits", 0),
    column("recorded", 0),
    column("hidden by the host", 0),
    column("CPU, s", 2),
    column("CPU, µs per event", 2),
];

/// Long enough for the second repetition.
const LASTS: Duration = Duration::from_millis(3_600);

/// Nobody listens there, and what arrives is dropped.
const PORT: u16 = 9;

pub(crate) fn measure(options: &Options) -> Result<Sheet> {
    let connects = options.scaled(15_000);
    let about = format!("{connects} connects at once to where their SYNs are dropped.");
    let mut sheet = Sheet::new("Retransmit storm", about, &COLUMNS);
    let directory = tempfile::tempdir()?;
    let mode = Mode::Record {
        name: "tcptrace record",
        options: &[],
        compressed: false,
    };
    for round in 0..options.rounds().min(3) {
        eprintln!("bench: round {}, storm", round + 1);
        let netns = Netns::new()?;
        netns.drop_arriving(&format!("tcp dport {PORT}"))?;
        let witness = Witness::new()?;
        let observer = Observer::start(&mode, directory.path())?;
        let before = observer.cpu()?;
        let patient = Patient::start(
            &netns,
            &format!("storm --connect 127.0.0.1:{PORT} --connections {connects}"),
        )?;
        thread::sleep(LASTS);
        patient.kill();
        let repeated = retransmitted(&netns)?;
        let hidden = witness.hidden_retransmits(PORT)?;
        thread::sleep(Duration::from_millis(200));
        let cpu = observer.cpu()? - before;
        let output = observer.output.clone();
        observer.end()?;
        let mut recorded = 0;
        let inode = format!(r#""netns":{},"#, netns.inode());
        each_line(&output, |line| {
            recorded +=
                u64::from(line.starts_with(r#"{"type":"retransmit","#) && line.contains(&inode));
            Ok(())
        })?;
        // Two transitions a connect, its end, and the repetitions.
        let events = recorded as f64 + 3.0 * connects as f64;
        sheet.add(
            mode.name(),
            &[
                ("retransmits", repeated as f64),
                ("recorded", recorded as f64),
                ("hidden by the host", hidden as f64),
                ("CPU, s", cpu),
                ("CPU, µs per event", cpu * 1e6 / events),
            ],
        );
        if recorded > repeated || recorded + hidden < repeated {
            sheet.faults.push(format!(
                "the kernel counts {repeated} retransmitted segments, recorded were {recorded}; the \
                 host hid only {hidden} from BPF"
            ));
        }
    }
    Ok(sheet)
}

/// `RetransSegs` of the namespace.
fn retransmitted(netns: &Netns) -> Result<u64> {
    let text = netns.inside(|| Ok(fs::read_to_string("/proc/thread-self/net/snmp")?))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = lines.next().zip(lines.next()).context("no Tcp: lines")?;
    names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(name, _)| *name == "RetransSegs")
        .and_then(|(_, value)| value.parse().ok())
        .context("no RetransSegs")
}
