//! The one door: `Engine::apply`.

use std::sync::Arc;
use std::time::Duration;

use crate::finding::{Finding, Owner};
use crate::input::Input;
use crate::request::Request;
use crate::settings::Settings;
use crate::units::MonoNs;
use crate::world::World;

/// The world, the rules, and the findings they keep.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    world: World,
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
    /// The owner of the socket.
    pub process: Option<Owner>,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            world: World::default(),
        }
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
        std::iter::empty()
    }

    /// Findings that resolved within the last five minutes, newest first, at most 50.
    pub fn resolved(&self) -> impl Iterator<Item = &Arc<Finding>> {
        std::iter::empty()
    }

    /// Suspects whose verdict waits only for another look: too early to say.
    pub fn undecided(&self) -> usize {
        0
    }

    /// Takes in one fact. `outcome` is cleared first.
    pub fn apply(&mut self, input: &Input, outcome: &mut Outcome) {
        outcome.annotation = Annotation::default();
        outcome.findings.clear();
        outcome.requests.clear();
        self.world.apply(input, &mut outcome.annotation);
    }

    /// The run ends at `at`: every open finding once more, with its final numbers.
    pub fn finish(&mut self, at: MonoNs) -> Vec<Arc<Finding>> {
        let _ = at;
        Vec::new()
    }
}
