//! `tcptrace report`: what remains of an incident, as text, JSON, or a page to attach to it.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tcptrace_core::engine::Annotation;
use tcptrace_core::settings::Settings;
use tcptrace_core::units::MonoNs;
use tcptrace_core::{Engine, Finding, Input};

use super::player::{Audience, play};
use crate::failure::Failure;
use crate::recording::{
    Footer, Header, Play, RecordedFinding, RecordedProcess, RecordedService, Shelf, Tape,
    wall_of_stamp,
};
use crate::report::{self, Collector, Host, HostReport, Probe, Report};

const EXAMPLES: &str = "\
Examples:
  tcptrace report incident.ndjson
  tcptrace report incident.ndjson --format html -o incident.html
  tcptrace report /var/log/tcptrace --format html --redact -o to-share.html
  tcptrace report client.ndjson server.ndjson       both ends: which segment was lost";

/// As what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    /// For other tools
    Json,
    /// One page that needs nothing else
    Html,
}

/// Options of `report`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReportArgs {
    /// Recordings, plain or .zst; a directory stands for those in it. Two of different hosts are
    /// also compared, connection by connection
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// As what
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write to OUT, created with mode 0600, instead of standard output
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Overwrite OUT if it exists
    #[arg(long)]
    force: bool,
    /// Replace addresses and names by pseudonyms, the same by the same
    #[arg(long)]
    redact: bool,
    /// Skip damaged lines, and say how many
    #[arg(long)]
    lenient: bool,
}

/// Reads everything, then writes.
pub(super) fn run(args: &ReportArgs) -> Result<(), Failure> {
    let shelf = Shelf::open(&args.files)?;
    let mut notes = shelf.notes.clone();
    let two_ended = shelf.tapes.len() == 2;
    let bar = progress(shelf.bytes());
    let mut names = BTreeSet::new();
    let mut hosts = Vec::new();
    let mut before = 0;
    for tape in &shelf.tapes {
        let mut reader = Reading {
            tape,
            two_ended,
            collector: None,
            finished: None,
            names: &mut names,
            bar: &bar,
            before,
        };
        let played = play(tape, args.lenient, &mut reader)?;
        let host = tape.header.host.clone().unwrap_or_default();
        notes.extend(
            played
                .notes
                .into_iter()
                .map(|note| format!("{host}: {note}")),
        );
        hosts.extend(reader.finished.take());
        before += tape.bytes();
    }
    bar.finish_and_clear();
    let mut whole = Report::new(env!("CARGO_PKG_VERSION"), hosts, notes);
    if args.redact {
        report::redact(&mut whole, names);
    }
    match write(args, &whole) {
        Err(failure) if failure.is_broken_pipe() => Ok(()),
        other => other,
    }
}

fn write(args: &ReportArgs, whole: &Report) -> Result<(), Failure> {
    match &args.output {
        Some(path) if path != Path::new("-") => {
            let mut options = OpenOptions::new();
            options
                .write(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW);
            if args.force {
                options.create(true).truncate(true);
            } else {
                options.create_new(true);
            }
            let file = options.open(path).with_context(|| {
                format!(
                    "cannot create {}; choose another name, or replace what is there with --force",
                    path.display()
                )
            })?;
            render(args.format, whole, &mut BufWriter::new(file))
        }
        _ => render(args.format, whole, &mut BufWriter::new(io::stdout().lock())),
    }
}

fn render(format: Format, whole: &Report, out: &mut impl Write) -> Result<(), Failure> {
    match format {
        Format::Text => report::text::write(whole, out)?,
        Format::Html => report::html::write(whole, out)?,
        Format::Json => {
            serde_json::to_writer(&mut *out, whole).map_err(io::Error::from)?;
            writeln!(out)?;
            out.flush()?;
        }
    }
    Ok(())
}

/// A bar on a terminal, nothing elsewhere.
fn progress(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(8));
    let style = "reading {bar:30} {bytes} of {total_bytes}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

/// One tape on its way into a picture.
struct Reading<'a> {
    tape: &'a Tape,
    two_ended: bool,
    collector: Option<Collector>,
    finished: Option<HostReport>,
    /// For pseudonyms.
    names: &'a mut BTreeSet<(&'static str, String)>,
    bar: &'a ProgressBar,
    /// Bytes of the tapes before.
    before: u64,
}

impl Reading<'_> {
    fn process(&mut self, process: &RecordedProcess) -> String {
        let mut name = |what, name: &Option<String>| {
            if let Some(name) = name.as_ref().filter(|name| !name.is_empty()) {
                self.names.insert((what, name.clone()));
            }
        };
        name("process", &Some(process.name.clone()));
        name("program", &process.exe);
        name("cgroup", &process.cgroup);
        name("container", &process.container);
        match process.name.as_str() {
            "" => format!("pid {}", process.pid.0),
            name => format!("{name} (pid {})", process.pid.0),
        }
    }
}

impl Reading<'_> {
    /// What stacks name: a program can be told by its functions.
    fn functions(&mut self, recorded: &RecordedFinding) {
        for frame in recorded.stacks.iter().flat_map(|stack| &stack.frames) {
            let paths = [("module", &frame.module), ("source", &frame.file)];
            let last = |path: &String| path.rsplit('/').next().unwrap_or(path).to_owned();
            let parts = paths.map(|(what, path)| Some((what, path.as_ref().map(last)?)));
            let function = frame.function.clone().map(|name| ("function", name));
            for name in parts.into_iter().flatten().chain(function) {
                if self.names.len() < NAMES {
                    self.names.insert(name);
                }
            }
        }
    }
}

/// Names that are remembered for pseudonyms.
const NAMES: usize = 100_000;

impl Audience for Reading<'_> {
    fn begin(&mut self, header: &Header) -> Result<(), Failure> {
        let host = host(header, self.tape);
        if !host.name.is_empty() {
            self.names.insert(("host", host.name.clone()));
        }
        self.collector = Some(Collector::new(
            host,
            header.at,
            header.clock_offset_ns,
            self.two_ended,
        ));
        Ok(())
    }

    fn input(&mut self, input: &Input, annotation: &Annotation, engine: &Engine) {
        if let Some(collector) = &mut self.collector {
            collector.input(input, annotation, engine);
        }
        if let Some(owner) = &annotation.process
            && self.names.len() < NAMES
            && !owner.process.name.is_empty()
            && matches!(input, Input::Transition(_))
        {
            let named = ("process", owner.process.name.to_string());
            if !self.names.contains(&named) {
                self.names.insert(named);
            }
        }
    }

    fn finding(
        &mut self,
        recorded: RecordedFinding,
        computed: Option<&Finding>,
        now: MonoNs,
    ) -> Result<(), Failure> {
        let evidence = match computed {
            Some(finding) => finding
                .rows(now)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            None => {
                let stacks = recorded
                    .stack_rows()
                    .map(|(name, text)| (name.to_owned(), text));
                let mut rows = report::rows(&recorded.evidence);
                rows.extend(stacks);
                rows
            }
        };
        self.functions(&recorded);
        let process = recorded.process.as_ref().map(|p| self.process(p));
        let processes = recorded
            .processes
            .iter()
            .map(|p| (self.process(p), p.count))
            .collect();
        let finding = report::Finding {
            id: recorded.id,
            kind: recorded.kind,
            cause: recorded.cause,
            severity: recorded.severity,
            confidence: recorded.confidence,
            status: recorded.status,
            process,
            processes,
            service: recorded.service.as_ref().map(service),
            count: recorded.count,
            growth_per_minute: recorded.growth_per_minute,
            since_wall_ns: wall_of_stamp(&recorded.since).map_or(0, |wall| wall.0),
            at_mono_ns: recorded.at,
            summary: recorded.summary,
            advice: recorded.advice,
            caused_by: recorded.caused_by,
            evidence,
            samples: recorded
                .samples
                .iter()
                .map(|s| (s.local.to_string(), s.peer.to_string()))
                .collect(),
            history: Vec::new(),
        };
        if let Some(collector) = &mut self.collector {
            collector.finding(finding);
        }
        Ok(())
    }

    fn footer(&mut self, footer: &Footer) {
        if let Some(collector) = &mut self.collector {
            let why = serde_json::to_value(footer.ended)
                .ok()
                .and_then(|word| word.as_str().map(str::to_owned))
                .unwrap_or_default();
            collector.ended(&why, footer.at);
        }
    }

    fn progress(&mut self, play: &Play<'_>) {
        self.bar.set_position(self.before + play.bytes());
    }

    fn end(&mut self, engine: &Engine) -> Result<(), Failure> {
        if let Some(collector) = self.collector.take() {
            self.finished = Some(collector.finish(engine));
        }
        Ok(())
    }
}

fn service(service: &RecordedService) -> String {
    match service {
        RecordedService::Passive { port: Some(port) } => format!("port {}", port.0),
        RecordedService::Passive { port: None } => "many ports".to_owned(),
        RecordedService::Active {
            address: Some(address),
            port: Some(port),
        } => format!("to {}", std::net::SocketAddr::new(*address, port.0)),
        RecordedService::Active { .. } => "to many remotes".to_owned(),
    }
}

fn host(header: &Header, tape: &Tape) -> Host {
    let known = |text: &Option<String>| text.clone().unwrap_or_default();
    let usual = Settings::default();
    let settings = Settings::from(&header.thresholds);
    let thresholds = settings
        .all()
        .into_iter()
        .zip(usual.all())
        .filter(|(now, usual)| now.value != usual.value)
        .map(|(now, _)| (now.name.to_owned(), now.value.to_string()))
        .collect();
    let completeness = match tape.incomplete_because() {
        None => "every event".to_owned(),
        Some(because) => format!("not everything: {because}"),
    };
    Host {
        name: match known(&header.host) {
            name if name.is_empty() => "unnamed host".to_owned(),
            name => name,
        },
        kernel: known(&header.kernel),
        arch: known(&header.arch),
        hz: header.hz,
        boot_id: known(&header.boot_id),
        recording_id: header.recording_id.clone(),
        tool_version: header.tool_version.clone(),
        command: header.command.clone(),
        filters: header.filters.clone(),
        completeness,
        files: tape
            .files()
            .map(|file| file.display().to_string())
            .collect(),
        thresholds,
        probes: header
            .probes
            .iter()
            .map(|probe| Probe {
                name: probe.name.clone(),
                tier: known(&probe.tier),
                attached: probe.attached,
                reason: known(&probe.reason),
            })
            .collect(),
        sysctls: Vec::new(),
    }
}
