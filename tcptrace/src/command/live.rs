//! `tcptrace live`: the terminal user interface on the running kernel.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tcptrace_core::{Engine, Finding};

use super::filter::FilterArgs;
use super::{EngineArgs, KernelArgs, OutputArgs, playback, session};
use crate::failure::Failure;
use crate::pump::{Flow, Front};
use crate::recording::{Recorder, Target};
use crate::tui::terminal::{TerminalError, TerminalGuard};
use crate::tui::{Action, HeaderFacts, Options, Source, Tui};

/// When colour is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    /// Unless NO_COLOR is set.
    Auto,
    Always,
    Never,
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
    /// Draw without box characters
    #[arg(long)]
    ascii: bool,
}

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
    };
    let filter = args.filter.filter();
    if let Some(file) = &args.replay {
        return playback::run(file, args.speed, options, filter);
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
            let recording = args
                .output
                .output
                .as_ref()
                .map(|path| path.display().to_string());
            let header = session::header_facts(&pump.host(), recording);
            pump.start()?;
            match pump.undecided() {
                0 => {}
                1 => say("tcptrace: looking twice at one suspect before the first frame…"),
                n => say(&format!(
                    "tcptrace: looking twice at {n} suspects before the first frame…"
                )),
            }
            pump.settle().await?;
            let mut front = Live::new(Tui::new(options, filter), header)?;
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

/// Says a line on standard error; one that is gone is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
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
pub(super) struct Live {
    tui: Tui,
    header: HeaderFacts,
    guard: TerminalGuard,
    /// Something changed since the last frame.
    dirty: bool,
}

impl Live {
    pub(super) fn new(tui: Tui, header: HeaderFacts) -> Result<Self, Failure> {
        Ok(Self {
            tui,
            header,
            guard: TerminalGuard::enter()?,
            dirty: true,
        })
    }
}

impl Live {
    /// Says how far a recording has been played.
    pub(super) fn at(&mut self, now: String) {
        if let Source::Replay { position, .. } = &mut self.header.source {
            *position = now;
        }
    }
}

impl Front for Live {
    type Event = Result<crossterm::event::Event, TerminalError>;

    async fn event(&mut self) -> Self::Event {
        self.guard.event().await
    }

    fn handle(&mut self, event: Self::Event, engine: &Engine) -> Result<Flow, Failure> {
        match self.tui.handle(event?, engine) {
            Action::Quit => return Ok(Flow::Quit),
            Action::Clear => {
                self.guard.clear()?;
                self.dirty = true;
            }
            Action::Redraw => self.dirty = true,
            Action::None => {}
        }
        Ok(Flow::Continue)
    }

    fn finding(&mut self, _: &Finding, _: &Engine) {
        self.dirty = true;
    }

    fn warn(&mut self, warning: &dyn std::fmt::Display) {
        // The view shows what the recording costs in its header; the words go to the log.
        tracing::warn!("{warning}");
    }

    fn refresh(&mut self, engine: &Engine, _: Option<&Recorder>) -> Result<(), Failure> {
        let Self {
            tui,
            header,
            guard,
            dirty,
        } = self;
        if tui.is_due(engine) || *dirty {
            // A terminal that is still busy with the last frame gets this one at the next turn.
            *dirty = !guard.draw(|frame| tui.draw(frame, engine, header))?;
        }
        Ok(())
    }
}
