//! `tcptrace replay`: the findings of recordings, by the same engine, on any machine.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use bytes::BytesMut;
use clap::{Args, ValueEnum};
use tcptrace_core::engine::Annotation;
use tcptrace_core::units::MonoNs;
use tcptrace_core::{Engine, Finding, Input};

use super::findings;
use super::losses::Losses;
use super::player::{Audience, play};
use crate::failure::Failure;
use crate::recording::{Encoder, Header, RecordedFinding, Shelf};

const EXAMPLES: &str = "\
Examples:
  tcptrace replay incident.ndjson
  tcptrace replay /var/log/tcptrace/                a rotated recording, its segments in order
  tcptrace replay --format ndjson incident.ndjson | jq -r '[.kind, .cause, .process.pid] | @tsv'";

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Each finding once, as it was at the end.
    Text,
    /// Every change of every finding, as `record` writes it.
    Ndjson,
}

/// Options of `replay`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReplayArgs {
    /// Recordings, plain or .zst; a directory stands for those in it
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Skip damaged lines, and say how many
    #[arg(long)]
    lenient: bool,
}

/// Replays recordings and prints their findings.
pub(super) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let shelf = Shelf::open(&args.files)?;
    for note in &shelf.notes {
        eprintln!("tcptrace: {note}");
    }
    let mut printer = Printer::new(args.format, BufWriter::new(io::stdout().lock()));
    let several = shelf.tapes.len() > 1;
    for tape in &shelf.tapes {
        if several && args.format == Format::Text {
            let files: Vec<_> = tape
                .files()
                .map(|file| file.display().to_string())
                .collect();
            let host = tape.header.host.as_deref().unwrap_or("unknown host");
            printer.title(host, &files.join(" "))?;
        }
        let played = play(tape, args.lenient, &mut printer);
        // Findings up to a damaged line are still findings: they are printed before the error.
        match (printer.end_of_tape(), played) {
            (Err(error), _) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            (_, Err(failure)) if failure.is_broken_pipe() => return Ok(()),
            (Err(error), _) => return Err(error.into()),
            (_, Err(failure)) => return Err(failure),
            (Ok(()), Ok(played)) => {
                for note in &played.notes {
                    eprintln!("tcptrace: {note}");
                }
                let losses = std::mem::take(&mut printer.losses);
                if losses.any() {
                    eprintln!(
                        "tcptrace: facts are missing: {losses}; `tcptrace report` says when, and what \
                         that means"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Prints findings as they come, or each once at the end.
struct Printer<W> {
    format: Format,
    out: W,
    encoder: Encoder,
    line: BytesMut,
    /// By the order in which they were first seen.
    last: Vec<RecordedFinding>,
    place: BTreeMap<String, usize>,
    losses: Losses,
}

impl<W: Write> Printer<W> {
    fn new(format: Format, out: W) -> Self {
        Self {
            format,
            out,
            encoder: Encoder::new(0),
            line: BytesMut::new(),
            last: Vec::new(),
            place: BTreeMap::new(),
            losses: Losses::default(),
        }
    }

    fn title(&mut self, host: &str, files: &str) -> Result<(), Failure> {
        let host = crate::printable::printable(host);
        Ok(writeln!(self.out, "== {host}: {files}")?)
    }

    fn take(&mut self, finding: RecordedFinding) -> io::Result<()> {
        match self.format {
            Format::Ndjson => {
                self.line.clear();
                self.encoder.recorded_finding(&finding, &mut self.line);
                self.out.write_all(&self.line)
            }
            Format::Text => {
                match self.place.get(&finding.id) {
                    Some(&place) => self.last[place] = finding,
                    None => {
                        self.place.insert(finding.id.clone(), self.last.len());
                        self.last.push(finding);
                    }
                }
                Ok(())
            }
        }
    }

    fn end_of_tape(&mut self) -> io::Result<()> {
        self.place.clear();
        if self.format == Format::Text {
            if self.last.is_empty() {
                writeln!(self.out, "no findings")?;
            }
            for finding in findings::root_first(std::mem::take(&mut self.last)) {
                findings::text(&finding, &mut self.out)?;
            }
        }
        self.out.flush()
    }
}

impl<W: Write> Audience for Printer<W> {
    fn begin(&mut self, header: &Header) -> Result<(), Failure> {
        self.encoder = Encoder::new(header.clock_offset_ns);
        Ok(())
    }

    fn input(&mut self, _: &Input, _: &Annotation, _: &Engine) {}

    fn finding(
        &mut self,
        recorded: RecordedFinding,
        _: Option<&Finding>,
        _: MonoNs,
    ) -> Result<(), Failure> {
        Ok(self.take(recorded)?)
    }

    fn end(&mut self, engine: &Engine) -> Result<(), Failure> {
        self.losses.add(engine.world().totals());
        Ok(())
    }
}
