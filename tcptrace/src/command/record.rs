//! `tcptrace record`: every fact as a line of NDJSON.

use std::future::pending;
use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tcptrace_core::{Engine, Finding};

use super::{EngineArgs, KernelArgs, OutputArgs};
use crate::command::filter::FilterArgs;
use crate::command::losses::Losses;
use crate::command::session;
use crate::failure::Failure;
use crate::gate::Events;
use crate::printable::printable;
use crate::pump::{Ended, Finished, Flow, Front};
use crate::recording::{Recorder, Rotation, Target};

const EXAMPLES: &str = "\
Examples:
  sudo tcptrace record -o incident.ndjson
  sudo tcptrace record --duration 60s -L 80,443 -o web.ndjson
  sudo tcptrace record -o web.ndjson.zst --rotate-size 100MB --keep 20
  sudo tcptrace record -o quiet.ndjson --events suspects
  sudo tcptrace record -o - | jq -c 'select(.type == \"finding\")'

A name that ends in .zst is compressed. Ctrl-C ends the recording with a complete footer.";

/// Options of `record`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct RecordArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// Stop after this long
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Go on in another file when this one has BYTES (as in 100MB)
    #[arg(long, value_name = "BYTES", value_parser = segment_size, requires = "output")]
    rotate_size: Option<u64>,
    /// Go on in another file when this one is this old
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "output")]
    rotate_every: Option<Duration>,
    /// Keep the newest N files of this recording, delete older ones
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroU32>,
    /// Which events are kept
    #[arg(long, value_enum, default_value_t = Events::All)]
    events: Events,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    kernel: KernelArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Records until a signal or the end of the duration.
pub(super) fn run(args: &RecordArgs) -> Result<(), Failure> {
    let otherwise = if std::io::stdout().is_terminal() {
        let path = PathBuf::from(format!("tcptrace-{}.ndjson", session::utc_stamp()?));
        Target::File { path, force: false }
    } else {
        Target::Stdout
    };
    let target = session::target(&args.output, otherwise);
    let keep = session::Keep {
        rotation: args.rotation(&target)?,
        events: args.events,
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut pump = session::open_keeping(
                Some(target),
                keep,
                args.engine.settings(),
                &args.kernel,
                args.filter.filter(),
            )?;
            pump.start()?;
            let mut front = Progress::new();
            front.say("tcptrace: ready");
            let ended = pump.run(&mut front, args.duration).await;
            front.clear();
            let finished = pump.finish(session::reason(&ended));
            // The first failure is the one to tell; the second follows from it.
            if ended? == Ended::BrokenPipe {
                return Ok(());
            }
            front.summarize(&finished?);
            Ok(())
        })
}

/// A file smaller than this would be little but its checkpoint.
const SMALLEST: u64 = 64 << 10;

/// Parses the size of a segment.
fn segment_size(text: &str) -> Result<u64, String> {
    let bytes: bytesize::ByteSize = text.parse()?;
    let bytes = bytes.as_u64();
    if bytes < SMALLEST {
        return Err("at least 64KiB".to_owned());
    }
    Ok(bytes)
}

impl RecordArgs {
    fn rotation(&self, target: &Target) -> Result<Rotation, Failure> {
        let rotation = Rotation {
            size: self.rotate_size,
            every: self
                .rotate_every
                .map(|every| every.max(Duration::from_secs(1))),
            keep: self.keep,
        };
        if rotation.is_on() && *target == Target::Stdout {
            return Err(Failure::usage(
                "standard output cannot be rotated; name a file with -o FILE",
            ));
        }
        if rotation.keep.is_some() && !rotation.is_on() {
            return Err(Failure::usage(
                "--keep counts the files of a rotated recording; add --rotate-size or --rotate-every",
            ));
        }
        Ok(rotation)
    }
}

/// A line on standard error that says how the recording goes, on a terminal.
struct Progress {
    terminal: bool,
    shown: bool,
    next: u32,
}

impl Progress {
    fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            shown: false,
            next: 0,
        }
    }

    /// Says a line; a standard error that is gone is no reason to stop recording.
    fn say(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    fn clear(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
            self.shown = false;
        }
    }

    fn summarize(&mut self, finished: &Finished) {
        let world = finished.engine.world();
        let totals = world.totals();
        if let Some(summary) = &finished.summary {
            self.say(&format!("tcptrace: {summary}"));
        }
        self.say(&format!(
            "  events    {} transitions, {} accepts, {} retransmits, {} repeated SYN-ACKs, {} resets",
            totals.transitions,
            totals.accepts,
            totals.retransmits,
            totals.synack_retransmits,
            totals.resets
        ));
        let mut losses = Losses::default();
        losses.add(totals);
        self.say(&format!("  losses    {losses}"));
        self.say(&format!("  findings  {} open", finished.findings.len()));
        let crowded = finished.engine.crowded_out();
        if crowded > 0 {
            self.say(&format!(
                "    and {crowded} times another found no room beside so many"
            ));
        }
        for finding in &finished.findings {
            self.say(&format!(
                "    {:8}  {}",
                finding.severity.name(),
                printable(&finding.summary(world.now()))
            ));
        }
    }
}

impl Front for Progress {
    type Event = std::convert::Infallible;

    async fn event(&mut self) -> Self::Event {
        pending().await
    }

    fn handle(&mut self, event: Self::Event, _: &Engine) -> Result<Flow, Failure> {
        match event {}
    }

    fn finding(&mut self, finding: &Finding, engine: &Engine) {
        if self.terminal {
            self.say(&format!(
                "{} {:8} {}",
                finding.status.name(),
                finding.severity.name(),
                printable(&finding.summary(engine.world().now()))
            ));
        }
    }

    fn warn(&mut self, warning: &dyn std::fmt::Display) {
        self.say(&format!("tcptrace: {warning}"));
    }

    fn refresh(&mut self, engine: &Engine, recorder: Option<&Recorder>) -> Result<(), Failure> {
        if !self.terminal {
            return Ok(());
        }
        // Refreshes come ten times a second; twice is enough for a line of numbers.
        self.next = (self.next + 1) % 5;
        if self.next != 1 {
            return Ok(());
        }
        let written = recorder.map_or(0, Recorder::bytes);
        let line = format!(
            "{} events, {} losses, {} findings open, {} written; Ctrl-C ends",
            engine.world().totals().inputs,
            engine.world().totals().losses.iter().sum::<u64>(),
            engine.findings().count(),
            bytesize::ByteSize(written),
        );
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        self.shown = true;
        Ok(())
    }
}
