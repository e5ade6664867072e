//! `tcptrace live`: the terminal user interface on the running kernel.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use tcptrace_core::{Engine, Finding};
use tokio::sync::mpsc;

use super::filter::FilterArgs;
use super::{EngineArgs, KernelArgs, OutputArgs, session};
use crate::failure::Failure;
use crate::pump::{Flow, Front};
use crate::recording::Recorder;
use crate::tui::{Action, HeaderFacts, Options, Source, TerminalGuard, Tui};

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
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// Draw without box characters
    #[arg(long)]
    ascii: bool,
}

/// Keys that may wait for the pump; a person does not type faster than it drains them.
const EVENTS: usize = 64;

/// Shows the TUI until the user quits or a signal comes.
pub(super) fn run(args: &LiveArgs) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "live draws on a terminal, and standard input or output is not one; \
             use `tcptrace record` to write NDJSON instead",
        ));
    }
    let target = args.output.output.is_some().then(|| {
        session::target(&args.output, || unreachable!("an output was given"))
    });
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let filter = args.filter.filter();
        let mut pump =
            session::open(target, args.engine.settings(), &args.kernel, filter.clone())?;
        let header = HeaderFacts {
            source: Source::Live,
            recording: args.output.output.as_ref().map(|path| path.display().to_string()),
            ..session::header_facts(&pump)
        };
        pump.start()?;
        pump.settle().await?;
        let options = Options { color: args.color(), ascii: args.ascii };
        let mut front = Live::new(Tui::new(options, filter), header)?;
        let ended = pump.run(&mut front, None).await;
        // The terminal is restored before anything is said.
        drop(front);
        let finished = pump.finish(session::reason(&ended));
        ended?;
        if let Some(summary) = finished?.summary {
            eprintln!("tcptrace: {summary}");
        }
        Ok(())
    })
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
    events: mpsc::Receiver<std::io::Result<crossterm::event::Event>>,
}

impl Live {
    fn new(tui: Tui, header: HeaderFacts) -> Result<Self, Failure> {
        let guard = TerminalGuard::enter()?;
        let (sender, events) = mpsc::channel(EVENTS);
        // Reading a terminal blocks; the thread ends with the channel or with the terminal.
        std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
            loop {
                let event = crossterm::event::read();
                let failed = event.is_err();
                if sender.blocking_send(event).is_err() || failed {
                    break;
                }
            }
        })?;
        Ok(Self { tui, header, guard, events })
    }
}

impl Front for Live {
    type Event = std::io::Result<crossterm::event::Event>;

    async fn event(&mut self) -> Self::Event {
        match self.events.recv().await {
            Some(event) => event,
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn handle(&mut self, event: Self::Event, engine: &Engine) -> Result<Flow, Failure> {
        let event = event.map_err(|error| {
            anyhow::Error::new(error).context("the terminal is gone, so nobody is watching")
        })?;
        match self.tui.handle(event, engine) {
            Action::Quit => return Ok(Flow::Quit),
            Action::Clear => self.guard.clear()?,
            Action::None | Action::Redraw => {}
        }
        Ok(Flow::Continue)
    }

    fn finding(&mut self, finding: &Finding, engine: &Engine) {
        self.tui.on_finding(finding, engine);
    }

    fn warn(&mut self, warning: &dyn std::fmt::Display) {
        self.tui.warn(warning.to_string());
    }

    fn refresh(&mut self, engine: &Engine, _: Option<&Recorder>) -> Result<(), Failure> {
        let Self { tui, header, guard, .. } = self;
        guard.draw(|frame| tui.draw(frame, engine, header))?;
        Ok(())
    }
}
