//! The report of a recording of days: its time, and its memory, which must not grow with the events.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tcptrace_lab::agent::agent_program;

use crate::Options;
use crate::replay::{COLUMNS, cost, generate};
use crate::sheet::Sheet;

/// Lines of a connection: five transitions and its end.
const LINES: usize = 6;

pub(crate) fn measure(options: &Options) -> Result<Sheet> {
    let about =
        "`tcptrace report --format html` of compressed recordings made for the purpose; CPU \
                 seconds."
            .to_owned();
    let mut sheet = Sheet::new("Report", about, &COLUMNS);
    let directory = tempfile::tempdir()?;
    let most = options.scaled(10_000_000);
    for events in [most / 10, most] {
        eprintln!("bench: generating a recording of {events} events");
        let recording = directory.path().join("recording.ndjson.zst");
        let events = compressed(&recording, events / LINES)?;
        let bytes = fs::metadata(&recording)?.len();
        eprintln!("bench: report of {events} events, {bytes} bytes");
        let page = directory.path().join("page.html");
        let mut command = Command::new(agent_program()?);
        command.arg("report").arg(&recording);
        command
            .args(["--format", "html", "--force", "-o"])
            .arg(&page);
        cost(&format!("{events} events"), command, events, &mut sheet)?;
        let made = fs::read_to_string(&page)?;
        ensure!(made.ends_with("</html>\n"), "the page is not whole");
        fs::remove_file(&recording)?;
    }
    Ok(sheet)
}

/// Generated on the way through zstd: plain, it would be gigabytes.
fn compressed(path: &Path, connections: usize) -> Result<usize> {
    let mut zstd = Command::new("zstd")
        .args(["-q", "-1", "-o"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run zstd; install it")?;
    let input = zstd.stdin.take().context("zstd has no input")?;
    let events = generate(input, connections, true)?;
    ensure!(zstd.wait()?.success(), "zstd failed");
    Ok(events)
}
