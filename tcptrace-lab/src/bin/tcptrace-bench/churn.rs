//! Short connections without pause, by several clients at a time, so that the processors are busy:
//! a single client leaves them idle between its packets, and runs faster when it is watched.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::each_line;
use tcptrace_lab::sockets::{State, table};
use tcptrace_lab::wait_for;
use tcptrace_lab::witness::Witness;

use crate::Options;
use crate::observer::{Mode, Observer};
use crate::sheet::{Column, Sheet, column};

const COLUMNS: [Column; 5] = [
    column("connections/s", 0),
    column("CPU, µs per transition", 2),
    column("recorded", 0),
    column("missing", 0),
    column("MB written", 0),
];

/// Both ends of each connection make five.
pub(crate) const TRANSITIONS: usize = 10;

/// What is left in the kernel's table when all is over.
const OVER: [State; 3] = [State::Listen, State::TimeWait, State::FinWait2];
const END: Duration = Duration::from_secs(60);

/// A run of the load.
pub(crate) struct Run {
    pub(crate) netns: Netns,
    pub(crate) per_second: f64,
}

/// Makes the connections, and waits until the last one is over.
pub(crate) fn load(connections: usize) -> Result<Run> {
    let netns = Netns::new()?;
    let load = Patient::start(
        &netns,
        &format!("load --clients 4 --connections {connections}"),
    )?;
    let per_second = load.ready()["per_second"]
        .as_f64()
        .context("the load does not say how fast it was")?;
    wait_for("the last connection to end", END, || {
        let open = table(&netns)?
            .into_iter()
            .any(|row| !OVER.map(|state| state as u8).contains(&row.state));
        Ok((!open).then_some(()))
    })?;
    Ok(Run { netns, per_second })
}

/// Every mode in turn, round by round, and a last run with a witness.
pub(crate) fn measure(options: &Options) -> Result<Sheet> {
    let connections = options.connections();
    let about = format!(
        "{connections} short connections by 4 clients on the loopback of a namespace, as fast as \
         they go; medians of {} rounds.",
        options.rounds()
    );
    let mut sheet = Sheet::new("Saturating connect and close", about, &COLUMNS);
    sheet.ratio = Some("connections/s");
    let modes = Mode::all()?;
    let directory = tempfile::tempdir()?;
    for round in 0..options.rounds() {
        // Another one begins each time, so that none is always the one after a heavy one. The
        // table's order is that of the first round.
        for turn in 0..modes.len() {
            let mode = &modes[(turn + round) % modes.len()];
            eprintln!("bench: round {}, {}", round + 1, mode.name());
            sample(mode, connections, directory.path(), &mut sheet)
                .with_context(|| format!("{} failed", mode.name()))?;
        }
    }
    verify(connections, directory.path(), &mut sheet)?;
    Ok(sheet)
}

fn sample(mode: &Mode, connections: usize, directory: &Path, sheet: &mut Sheet) -> Result<()> {
    let observer = Observer::start(mode, directory)?;
    let before = observer.cpu()?;
    let run = load(connections)?;
    // What lies in the ring is drained, and written, within this time.
    std::thread::sleep(Duration::from_millis(700));
    let cpu = observer.cpu()? - before;
    let output = observer.output.clone();
    observer.end()?;
    let made = connections * TRANSITIONS;
    let mut values = vec![("connections/s", run.per_second)];
    if *mode != Mode::Untraced {
        values.push(("CPU, µs per transition", cpu * 1e6 / made as f64));
    }
    let recorded = match mode {
        Mode::Record {
            compressed: false, ..
        } => Some(transitions_in(&output, run.netns.inode())?),
        Mode::Peer { .. } => Some(lines_about(&output)?),
        _ => None,
    };
    if let Some(recorded) = recorded {
        values.push(("recorded", recorded as f64));
        // tcplife says one line per socket.
        let expected = if mode.name().contains("tcplife") {
            2 * connections
        } else {
            made
        };
        values.push(("missing", expected as f64 - recorded as f64));
    }
    if let Ok(found) = output.metadata()
        && *mode != Mode::Untraced
    {
        values.push(("MB written", found.len() as f64 / 1e6));
    }
    sheet.add(mode.name(), &values);
    let _ = std::fs::remove_file(&output);
    Ok(())
}

/// One more run of the default mode, with the kernel's own event buffer as a witness of what the
/// host hides from BPF: nothing else may be missing.
fn verify(connections: usize, directory: &Path, sheet: &mut Sheet) -> Result<()> {
    eprintln!("bench: a run with a witness");
    let mode = Mode::Record {
        name: "tcptrace record",
        options: &[],
        compressed: false,
    };
    let witness = Witness::new()?;
    let observer = Observer::start(&mode, directory)?;
    let run = load(connections)?;
    let hidden = witness.hidden()?.len();
    let output = observer.output.clone();
    observer.end()?;
    let recorded = transitions_in(&output, run.netns.inode())?;
    let made = connections * TRANSITIONS;
    let mut footer = String::new();
    each_line(&output, |line| {
        if line.starts_with(r#"{"type":"footer","#) {
            line.clone_into(&mut footer);
        }
        Ok(())
    })?;
    let footer: serde_json::Value = serde_json::from_str(&footer).context("no footer")?;
    let lost: u64 = footer["losses"]
        .as_object()
        .context("the footer names no losses")?
        .iter()
        .filter(|(cause, _)| *cause != "unreported")
        .filter_map(|(_, count)| count.as_u64())
        .sum();
    sheet.remarks.push(format!(
        "With a witness (the kernel's event buffer): {recorded} of {made} transitions recorded, \
         {hidden} hidden from BPF by the host, {lost} counted as lost."
    ));
    if lost > 0 {
        sheet
            .faults
            .push(format!("{lost} facts were lost under saturation"));
    }
    if recorded > made || recorded + hidden < made {
        sheet.faults.push(format!(
            "{recorded} transitions were recorded of the {made} that the load made; the host hid \
             only {hidden}"
        ));
    }
    Ok(())
}

/// Transitions of connections in one namespace.
pub(crate) fn transitions_in(path: &Path, netns: u64) -> Result<usize> {
    let netns = format!(r#""netns":{netns},"#);
    let mut count = 0;
    each_line(path, |line| {
        count += usize::from(
            line.starts_with(r#"{"type":"transition","#)
                && line.contains(&netns)
                // A listener begins, or ends.
                && !line.contains(r#""to":"LISTEN""#)
                && !line.contains(r#""from":"LISTEN","to":"CLOSE""#),
        );
        Ok(())
    })?;
    Ok(count)
}

/// Lines that name an address of the loopback, or begin with a port: a peer's output without its
/// headings.
fn lines_about(path: &Path) -> Result<usize> {
    let mut count = 0;
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        count += usize::from(
            text.contains("127.0.0.1") || text.starts_with(|first: char| first.is_ascii_digit()),
        );
    }
    Ok(count)
}
