//! Who looks on while facts flow, and what they may ask of the loop.

use std::fmt;
use std::future::Future;

use tcptrace_core::request::Request;
use tcptrace_core::units::MonoNs;
use tcptrace_core::{Engine, Finding};

use crate::failure::Failure;
use crate::recording::Recorder;
use crate::tui::Play;

/// How the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// On.
    Continue,
    /// The user is done.
    Quit,
    /// A recording is to start, or the one that runs is to end.
    Record,
    /// Of a replay.
    Play(Play),
}

/// Who looks on while facts flow: the TUI, or a progress line.
pub(crate) trait Front {
    /// What the user may do.
    type Event;

    /// Waits for the user; never ends where there is none.
    fn event(&mut self) -> impl Future<Output = Self::Event>;

    /// Takes in what the user did.
    fn handle(&mut self, event: Self::Event, engine: &Engine) -> Result<Flow, Failure>;

    /// A finding opened, changed or resolved.
    fn finding(&mut self, finding: &Finding, engine: &Engine);

    /// Something that the user should know while the run goes on.
    fn warn(&mut self, warning: &dyn fmt::Display);

    /// Something that was asked for has happened, or could not.
    fn tell(&mut self, news: &dyn fmt::Display) {
        self.warn(news);
    }

    /// What time it is; called before each refresh of a live run.
    fn clock(&mut self, _: MonoNs) {}

    /// The process was stopped and goes on: the terminal may have been anybody's.
    fn resumed(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// What the user looks at and the engine has not asked for; called once a second.
    fn wishes(&mut self) -> Vec<Request> {
        Vec::new()
    }

    /// A replay has come so far; `anew` when it went back and the engine is another one.
    fn replayed(&mut self, _position: String, _anew: bool) {}

    /// Shows the state of things; called at most ten times a second.
    fn refresh(&mut self, engine: &Engine, recorder: Option<&Recorder>) -> Result<(), Failure>;
}
