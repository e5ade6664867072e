//! The one door: `Engine::apply`.

use std::sync::Arc;
use std::time::Duration;

use crate::finding::{Finding, Owner};
use crate::input::Input;
use crate::request::Request;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::units::{MonoNs, SockId};
use crate::world::{Closer, Tags, World};

/// The world, the rules, and the findings they keep.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    world: World,
    rules: Rules,
    /// Judges nothing, and shows the findings that it is told.
    told: bool,
}

/// What one Input brought about. Reused from call to call, so that the hot path allocates nothing.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What the engine adds to the recorded line.
    pub annotation: Annotation,
    /// Findings that opened, changed or resolved.
    pub findings: Vec<Arc<Finding>>,
    /// What the engine would like to know.
    pub requests: Vec<Request>,
}

/// Derived knowledge that a recorded line carries beside the raw fact; replay recomputes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotation {
    /// Of a transition: how long the socket was in the state it left; absent when unknown.
    pub in_state: Option<Duration>,
    /// Of a transition that is a step of an end: who caused it.
    pub closer: Option<Closer>,
    /// The owner of the socket.
    pub process: Option<Owner>,
    /// What this fact showed to be out of the ordinary about the connection.
    pub tags: Tags,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            world: World::default(),
            rules: Rules::default(),
            told: false,
        }
    }

    /// An engine for facts that are not all there: it judges nothing, and shows the findings that
    /// somebody who saw everything concluded ([`Engine::tell`]).
    pub fn told(settings: Settings) -> Self {
        Self {
            told: true,
            ..Self::new(settings)
        }
    }

    /// Shows a finding as it was concluded elsewhere, until it is told again or has resolved.
    pub fn tell(&mut self, finding: Arc<Finding>) {
        self.rules.book_mut().tell(finding);
    }

    /// The thresholds in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is known.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Open findings, the most severe first, then the oldest.
    pub fn findings(&self) -> impl Iterator<Item = &Arc<Finding>> {
        self.rules.book().open().iter()
    }

    /// Findings that resolved within the last five minutes, newest first, at most 50.
    pub fn resolved(&self) -> impl Iterator<Item = &Arc<Finding>> {
        self.rules.book().resolved()
    }

    /// How often a finding could not open because 200 others were open.
    pub fn crowded_out(&self) -> u64 {
        self.rules.book().crowded_out()
    }

    /// Whether a socket has been in CLOSE_WAIT for long and is no leak: its application goes on
    /// sending, a half-close in use.
    pub fn half_close_in_use(&self, sock: SockId) -> bool {
        self.rules.half_close_in_use(sock)
    }

    /// Suspects whose verdict waits only for another look: too early to say.
    pub fn undecided(&self) -> usize {
        self.rules.undecided(self.world.now(), &self.settings)
    }

    /// Takes in one fact. `outcome` is cleared first.
    pub fn apply(&mut self, input: &Input, outcome: &mut Outcome) {
        outcome.annotation = Annotation::default();
        outcome.findings.clear();
        outcome.requests.clear();
        self.world.apply(input, &mut outcome.annotation);
        if self.told {
            if let Input::Tick(tick) = input {
                self.rules.book_mut().forget_before(tick.at);
            }
            return;
        }
        self.rules
            .apply(input, &self.world, &self.settings, &mut outcome.requests);
        self.rules.book_mut().take_news(&mut outcome.findings);
        self.rules.book().ask_for_stacks(outcome);
        if matches!(input, Input::Tick(_)) {
            let evicted = self.rules.take_evicted();
            self.world.evicted(evicted);
        }
    }

    /// The run ends at `at`: every open finding once more, with its final numbers.
    pub fn finish(&mut self, at: MonoNs) -> Vec<Arc<Finding>> {
        self.rules.finish(at, &self.world, &self.settings);
        let mut findings = Vec::new();
        self.rules.book_mut().take_news(&mut findings);
        findings
    }
}
