//! `tcptrace replay`: the findings of a recording, by the same engine, on any machine.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use bytes::BytesMut;
use clap::{Args, ValueEnum};
use tcptrace_core::{Engine, Outcome};

use super::findings;
use crate::failure::Failure;
use crate::recording::{Completeness, Encoder, Header, Line, Reader, RecordedFinding};

const EXAMPLES: &str = "\
Examples:
  tcptrace replay incident.ndjson
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
    /// A recording
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Replays one recording and prints its findings.
pub(super) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let reader = Reader::open(&args.file)?;
    let mut printer = Printer::new(args.format, BufWriter::new(io::stdout().lock()));
    let played = play(reader, &mut printer);
    // Findings up to a damaged line are still findings: they are printed before the error.
    match played.and_then(|()| Ok(printer.end()?)) {
        Err(failure) if failure.is_broken_pipe() => Ok(()),
        other => other,
    }
}

/// Gives every line of `reader` to an engine, and what comes of it to `printer`.
fn play<R: io::Read>(
    mut reader: Reader<R>,
    printer: &mut Printer<impl Write>,
) -> Result<(), Failure> {
    let mut run: Option<Run> = None;
    loop {
        let line = match reader.next() {
            Some(Ok(line)) => line,
            Some(Err(error)) => {
                if let Some(run) = &mut run {
                    run.end(printer)?;
                }
                printer.end()?;
                return Err(error.into());
            }
            None => break,
        };
        match (line, &mut run) {
            (Line::Header(header), _) => {
                printer.encoder = Encoder::new(header.clock_offset_ns);
                run = Some(Run::new(&header));
            }
            (Line::Input(input), Some(run)) => run.apply(&input, printer)?,
            (Line::Finding(finding), Some(run)) if !run.complete => printer.take(*finding)?,
            _ => {}
        }
    }
    if let Some(run) = &mut run {
        run.end(printer)?;
    }
    if let Some(line) = reader.cut_off() {
        eprintln!(
            "tcptrace: line {line} is incomplete: the recording was cut off there, and is used up to that line"
        );
    }
    Ok(())
}

/// One recording on its way through an engine.
struct Run {
    engine: Engine,
    outcome: Outcome,
    encoder: Encoder,
    /// Every fact was kept: findings are recomputed. Otherwise the recorded ones are shown.
    complete: bool,
}

impl Run {
    fn new(header: &Header) -> Self {
        Self {
            engine: Engine::new((&header.thresholds).into()),
            outcome: Outcome::default(),
            encoder: Encoder::new(header.clock_offset_ns),
            complete: header.completeness == Completeness::All,
        }
    }

    fn apply(
        &mut self,
        input: &tcptrace_core::Input,
        printer: &mut Printer<impl Write>,
    ) -> io::Result<()> {
        if !self.complete {
            return Ok(());
        }
        self.encoder.observe(input);
        self.engine.apply(input, &mut self.outcome);
        let now = self.engine.world().now();
        for finding in self.outcome.findings.drain(..) {
            printer.take(self.encoder.recorded(&finding, now))?;
        }
        Ok(())
    }

    fn end(&mut self, printer: &mut Printer<impl Write>) -> io::Result<()> {
        let now = self.engine.world().now();
        for finding in self.engine.finish(now) {
            printer.take(self.encoder.recorded(&finding, now))?;
        }
        Ok(())
    }
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
        }
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

    fn end(&mut self) -> io::Result<()> {
        if self.format == Format::Text {
            if self.last.is_empty() {
                writeln!(self.out, "no findings")?;
            }
            for finding in self.last.drain(..) {
                findings::text(&finding, &mut self.out)?;
            }
        }
        self.out.flush()
    }
}
