//! Replay of generated recordings: events a second on one core, and memory with a million sockets
//! open at once. The lines are those that a run under the same load would hold.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tcptrace_lab::agent::agent_program;

use crate::Options;
use crate::sheet::{Column, Sheet, column};

pub(crate) const COLUMNS: [Column; 4] = [
    column("events", 0),
    column("seconds", 2),
    column("events/s", 0),
    column("MB at most", 0),
];

/// When the recordings begin.
const MONO: u64 = 3_600_000_000_000;

pub(crate) fn measure(options: &Options) -> Result<Sheet> {
    let about = "`tcptrace replay` of recordings made for the purpose; CPU seconds.".to_owned();
    let mut sheet = Sheet::new("Replay", about, &COLUMNS);
    let directory = tempfile::tempdir()?;
    let connections = options.scaled(100_000);
    let sockets = options.scaled(1_000_000);
    let short = directory.path().join("short.ndjson");
    let standing = directory.path().join("standing.ndjson");
    eprintln!("bench: generating recordings");
    let events = generate(File::create(&short)?, connections, true)?;
    let stood = generate(File::create(&standing)?, sockets, false)?;
    for round in 0..options.rounds().min(3) {
        eprintln!("bench: round {}, replay", round + 1);
        let name = format!("{connections} short connections");
        sample(&name, &short, events, &mut sheet)?;
        let name = format!("{sockets} sockets open at once");
        sample(&name, &standing, stood, &mut sheet)?;
    }
    Ok(sheet)
}

fn sample(mode: &str, path: &Path, events: usize, sheet: &mut Sheet) -> Result<()> {
    let mut command = Command::new(agent_program()?);
    command.arg("replay").arg(path);
    cost(mode, command, events, sheet)
}

/// Runs a command that reads `events`, and adds what it took.
pub(crate) fn cost(
    mode: &str,
    mut command: Command,
    events: usize,
    sheet: &mut Sheet,
) -> Result<()> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let mut status = 0;
    let pid = i32::try_from(child.id())?;
    // SAFETY: the child is ours and not yet waited for, and both places outlive the call.
    let (waited, usage) = unsafe {
        let waited = libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr());
        (waited, usage.assume_init())
    };
    ensure!(waited == pid && status == 0, "{command:?} failed: {status}");
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    sheet.add(
        mode,
        &[
            ("events", events as f64),
            ("seconds", cpu),
            ("events/s", events as f64 / cpu),
            ("MB at most", usage.ru_maxrss as f64 * 1024.0 / 1e6),
        ],
    );
    Ok(())
}

/// Numbers lines as the recorder does.
struct Writer<W: Write> {
    out: BufWriter<W>,
    seq: usize,
    mono: u64,
}

impl<W: Write> Writer<W> {
    /// `{"type":T,"seq":N,"time":…,"mono_ns":N` + `rest` + `}`
    fn line(&mut self, kind: &str, rest: std::fmt::Arguments<'_>) -> Result<()> {
        let (seq, mono) = (self.seq, self.mono);
        let (second, nanos) = (mono / 1_000_000_000 % 60, mono % 1_000_000_000);
        let minute = mono / 60_000_000_000 % 60;
        writeln!(
            self.out,
            r#"{{"type":"{kind}","seq":{seq},"time":"2026-01-02T03:{minute:02}:{second:02}.{nanos:09}Z","mono_ns":{mono}{rest}}}"#
        )?;
        self.seq += 1;
        self.mono += 3_000;
        Ok(())
    }
}

const FLAGS: &str = r#""peer_fin":false,"dead":false,"has_socket":false,"file_released":false,"unread":0,"unacked":0"#;

/// Server ends of connections: short ones, or ones that stay. Returns the number of events.
pub(crate) fn generate(out: impl Write, count: usize, short: bool) -> Result<usize> {
    const SERVER: [(&str, &str); 5] = [
        ("LISTEN", "SYN_RECV"),
        ("SYN_RECV", "ESTABLISHED"),
        ("ESTABLISHED", "CLOSE_WAIT"),
        ("CLOSE_WAIT", "LAST_ACK"),
        ("LAST_ACK", "CLOSE"),
    ];
    let steps = if short { &SERVER[..] } else { &SERVER[..2] };
    let mut out = Writer {
        out: BufWriter::with_capacity(1 << 20, out),
        seq: 0,
        mono: MONO,
    };
    out.line(
        "header",
        format_args!(
            r#","version":1,"tool_version":"0.1.0","recording_id":"6f1c2d3e-4b5a-4978-8a6b-0c1d2e3f4a5b","clock_offset_ns":0,"command":[],"filters":[],"thresholds":{{}},"probes":[],"completeness":"all""#
        ),
    )?;
    out.line(
        "transition",
        format_args!(
            r#","sock":"1","netns":1,"local":{{"address":"10.0.0.1","port":80}},"from":"CLOSE","to":"LISTEN","task":{{"pid":7,"tid":7,"exiting":false}},"shutdown":0,{FLAGS}"#
        ),
    )?;
    for number in 0..count {
        let sock = base36(number as u64 + 2);
        let (host, port) = (number / 60_000, 1024 + number % 60_000);
        for (from, to) in steps {
            out.line(
                "transition",
                format_args!(
                    r#","sock":"{sock}","netns":1,"local":{{"address":"10.0.0.1","port":80}},"peer":{{"address":"10.0.1.{host}","port":{port}}},"process":{{"pid":7,"name":"server","provenance":"inherited","confidence":"exact"}},"from":"{from}","to":"{to}","in_state_ns":3000,"shutdown":0,{FLAGS}"#
                ),
            )?;
        }
        if short {
            out.line(
                "destroy",
                format_args!(
                    r#","sock":"{sock}","netns":1,"local":{{"address":"10.0.0.1","port":80}},"peer":{{"address":"10.0.1.{host}","port":{port}}}"#
                ),
            )?;
        }
        if number % 10_000 == 0 {
            out.line("tick", format_args!(""))?;
        }
    }
    out.out.flush()?;
    Ok(out.seq)
}

fn base36(number: u64) -> String {
    let mut digits = Vec::new();
    let mut rest = number;
    while rest > 0 {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize]);
        rest /= 36;
    }
    digits.reverse();
    String::from_utf8_lossy(&digits).into_owned()
}
