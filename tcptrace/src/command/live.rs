//! `tcptrace live`: the terminal user interface on the running kernel, or on a recording.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use std::{fmt, thread};

use clap::{Args, ValueEnum};
use tcptrace_core::filter::Filter;
use tcptrace_core::request::Request;
use tcptrace_core::units::MonoNs;
use tcptrace_core::{Engine, Finding};

use super::filter::FilterArgs;
use super::{EngineArgs, KernelArgs, OutputArgs, session};
use crate::failure::Failure;
use crate::pump::play::{Tape, play};
use crate::pump::{Flow, Front};
use crate::recording::{Recorder, Target};
use crate::tui::terminal::{TerminalError, TerminalGuard};
use crate::tui::{Action, Export, HeaderFacts, Options, Palette, Source, Tui};

/// When colour is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    /// Unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

/// Which colours, all of them the terminal's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ThemeName {
    /// For a dark background.
    Dark,
    /// For a light one.
    Light,
    /// Without red against green.
    Colorblind,
}

/// Options of `live`.
#[derive(Args, Debug)]
pub(super) struct LiveArgs {
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    kernel: KernelArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Show a recording instead of this host; needs no privileges
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "ring_size", "no_accept_syscalls", "close_wait_after", "set"])]
    replay: Option<PathBuf>,
    /// How fast a recording is played
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "replay", value_parser = speed)]
    speed: f64,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// Which colours; T changes them
    #[arg(long, value_enum, default_value_t = ThemeName::Dark)]
    theme: ThemeName,
    /// Draw without box characters
    #[arg(long)]
    ascii: bool,
}

/// Frames are no closer than this, whatever the user presses.
const FRAME: Duration = Duration::from_millis(100);

/// Turns after which a process that asked to be stopped, and was not, takes its terminal back: a
/// shell without job control never continues what it did not stop.
const STOPS_WITHIN: u8 = 5;

/// How long a line on standard error may take.
const SAYING: Duration = Duration::from_millis(500);

/// Processes whose descriptors are counted a second, of those on the screen.
const COUNTED: usize = 4;

/// The longest text for the clipboard: terminals take about 74,000 bytes after encoding.
const CLIPBOARD: usize = 48 << 10;

/// Shows the TUI until the user quits or a signal comes.
pub(super) fn run(args: &LiveArgs) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "live draws on a terminal, and standard input or output is not one; \
             use `tcptrace record` to write NDJSON instead",
        ));
    }
    let options = Options {
        color: args.color(),
        ascii: args.ascii,
        palette: match args.theme {
            ThemeName::Dark => Palette::Dark,
            ThemeName::Light => Palette::Light,
            ThemeName::Colorblind => Palette::Colorblind,
        },
    };
    let filter = args.filter.filter();
    if let Some(file) = &args.replay {
        return replay(file, args.speed, options, &filter);
    }
    let target = args
        .output
        .output
        .is_some()
        .then(|| session::target(&args.output, Target::Stdout));
    if target == Some(Target::Stdout) {
        return Err(Failure::usage(
            "live draws on standard output, so the recording needs a file; name one with -o FILE",
        ));
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut pump =
                session::open(target, args.engine.settings(), &args.kernel, filter.clone())?;
            pump.record_on_demand(session::opener());
            let header = session::header_facts(&pump.host(), None);
            pump.start()?;
            match pump.undecided() {
                0 => {}
                1 => say("tcptrace: looking twice at one suspect before the first frame…"),
                n => say(&format!(
                    "tcptrace: looking twice at {n} suspects before the first frame…"
                )),
            }
            pump.settle().await?;
            let mut front = Live::new(Tui::new(options, &filter, false), header)?;
            let ended = pump.run(&mut front, None).await;
            // The terminal is restored before anything is said.
            drop(front);
            let finished = pump.finish(session::reason(&ended));
            ended?;
            if let Some(summary) = finished?.summary {
                say(&format!("tcptrace: {summary}"));
            }
            Ok(())
        })
}

/// Plays a recording until the user quits.
fn replay(file: &Path, speed: f64, options: Options, filter: &Filter) -> Result<(), Failure> {
    let tape = Tape::open(file, speed)?;
    let header = tape.header();
    let facts = HeaderFacts {
        host: header.host.clone().unwrap_or_default(),
        kernel: header.kernel.clone().unwrap_or_default(),
        probes: String::new(),
        recording: None,
        late: Duration::ZERO,
        source: Source::Replay {
            file: file
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            position: String::new(),
        },
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut front = Live::new(Tui::new(options, filter, true), facts)?;
            play(tape, &mut front).await
        })
}

/// Says a line on standard error; one that is gone is no reason to fail, and one that stands still,
/// as a terminal may, none to wait for long.
fn say(text: &str) {
    let (done, told) = channel();
    let text = text.to_owned();
    thread::spawn(move || {
        let _ = writeln!(std::io::stderr(), "{text}");
        let _ = done.send(());
    });
    let _ = told.recv_timeout(SAYING);
}

/// Parses the speed of a playback.
fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (0.01..=1000.0).contains(&factor) => Ok(factor),
        _ => Err("a factor from 0.01 to 1000".to_owned()),
    }
}

impl LiveArgs {
    fn color(&self) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            // https://no-color.org: any value that is not empty.
            Color::Auto => std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

/// The TUI as a front of the pump.
struct Live {
    tui: Tui,
    header: HeaderFacts,
    guard: TerminalGuard,
    /// Something changed since the last frame.
    dirty: bool,
    /// The clock, where there is one, and when the last frame was drawn by it.
    now: Option<MonoNs>,
    drawn: MonoNs,
    /// What to say in the next frame.
    news: Option<String>,
    /// How many turns ago the terminal was given back, to be stopped.
    suspended: Option<u8>,
    /// Where the next count of descriptors begins, in the rows of the screen.
    counted: usize,
    /// How exports turned out.
    exports: (Sender<String>, Receiver<String>),
}

impl Live {
    fn new(tui: Tui, header: HeaderFacts) -> Result<Self, Failure> {
        Ok(Self {
            tui,
            header,
            guard: TerminalGuard::enter()?,
            dirty: true,
            now: None,
            drawn: MonoNs::default(),
            news: None,
            suspended: None,
            counted: 0,
            exports: channel(),
        })
    }

    fn copy(&mut self, text: &str) -> Result<String, TerminalError> {
        if text.len() > CLIPBOARD {
            return Ok("too long for a clipboard; e writes it to a file".to_owned());
        }
        self.guard.copy(text)?;
        let lines = match text.lines().count() {
            1 => "1 line".to_owned(),
            n => format!("{n} lines"),
        };
        Ok(format!(
            "copied {lines}, if your terminal lets programs write its clipboard (OSC 52)"
        ))
    }

    /// Writes rows to a new file, on a thread of its own.
    fn export(&mut self, export: Export) -> Result<String, Failure> {
        let name = format!("tcptrace-{}-{}.ndjson", export.name, session::utc_stamp()?);
        let lines = export.len();
        let done = self.exports.0.clone();
        thread::spawn(move || {
            let target = Target::File {
                path: PathBuf::from(&name),
                force: false,
            };
            let outcome = target
                .create()
                .map_err(|error| error.to_string())
                .and_then(|file| {
                    export
                        .write(&mut std::io::BufWriter::new(file))
                        .map_err(|error| format!("cannot write {name}: {error}; free some space"))
                });
            // Nobody listens when the view has ended: the file speaks for itself.
            let _ = done.send(match outcome {
                Ok(()) => format!("{lines} lines in {name}"),
                Err(error) => error,
            });
        });
        Ok(format!("writing {lines} lines"))
    }
}

impl Front for Live {
    type Event = Result<crossterm::event::Event, TerminalError>;

    async fn event(&mut self) -> Self::Event {
        self.guard.event().await
    }

    fn handle(&mut self, event: Self::Event, engine: &Engine) -> Result<Flow, Failure> {
        let event = event?;
        if self.suspended.is_some() {
            self.resumed()?;
        }
        match self.tui.handle(event, engine) {
            Action::None => return Ok(Flow::Continue),
            Action::Redraw => {}
            Action::Quit => return Ok(Flow::Quit),
            Action::Record => return Ok(Flow::Record),
            Action::Play(play) => return Ok(Flow::Play(play)),
            Action::Clear => self.guard.clear()?,
            Action::Suspend => {
                self.suspended = Some(0);
                self.guard.suspend()?;
                return Ok(Flow::Continue);
            }
            Action::Mouse(on) => self.guard.mouse(on)?,
            Action::Copy(text) => self.news = Some(self.copy(&text)?),
            Action::Export(export) => self.news = Some(self.export(export)?),
        }
        self.dirty = true;
        Ok(Flow::Continue)
    }

    fn finding(&mut self, _: &Finding, _: &Engine) {
        self.dirty = true;
    }

    fn warn(&mut self, warning: &dyn fmt::Display) {
        tracing::warn!("{warning}");
        self.tell(warning);
    }

    fn tell(&mut self, news: &dyn fmt::Display) {
        self.news = Some(news.to_string());
        self.dirty = true;
    }

    fn clock(&mut self, now: MonoNs) {
        self.now = Some(now);
    }

    fn resumed(&mut self) -> Result<(), Failure> {
        self.suspended = None;
        self.guard.resume()?;
        self.dirty = true;
        Ok(())
    }

    fn wishes(&mut self) -> Vec<Request> {
        let pids = self.tui.wants_descriptors();
        let from = self.counted.checked_rem(pids.len()).unwrap_or(0);
        self.counted = from + COUNTED;
        let around = pids.iter().cycle().skip(from).take(COUNTED.min(pids.len()));
        around.map(|pid| Request::Descriptors(*pid)).collect()
    }

    fn replayed(&mut self, now: String, anew: bool) {
        if anew {
            self.tui.forget();
        }
        if let Source::Replay { position, .. } = &mut self.header.source
            && *position != now
        {
            *position = now;
            self.dirty = true;
        }
    }

    fn refresh(&mut self, engine: &Engine, recorder: Option<&Recorder>) -> Result<(), Failure> {
        if let Some(turns) = &mut self.suspended {
            *turns += 1;
            if *turns < STOPS_WITHIN {
                return Ok(());
            }
            self.resumed()?;
        }
        if let Ok(news) = self.exports.1.try_recv() {
            self.tell(&news);
        }
        if let Some(now) = self.now {
            if now.since(self.drawn) < FRAME {
                return Ok(());
            }
            // Before the first tick there is nothing to be late with.
            let at = engine.world().now();
            self.header.late = if at == MonoNs::default() {
                Duration::ZERO
            } else {
                now.since(at)
            };
        }
        self.header.recording = recorder.map(|recorder| {
            let size = bytesize::ByteSize(recorder.bytes());
            format!("{size} {}", recorder.name())
        });
        if let Some(news) = self.news.take() {
            self.tui.tell(&news, engine);
        }
        let Self {
            tui,
            header,
            guard,
            dirty,
            ..
        } = self;
        if tui.is_due(engine) || *dirty {
            // A terminal that is still busy with the last frame gets this one at the next turn.
            *dirty = !guard.draw(|frame| tui.draw(frame, engine, header))?;
            self.drawn = self.now.unwrap_or_default();
        }
        Ok(())
    }
}
