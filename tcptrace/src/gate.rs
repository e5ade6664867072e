//! What of the facts reaches the recording and the eye: the part of the filter that the kernel
//! does not apply, because it asks for owners, networks or states.
//!
//! Invariant: what is excluded never enters a file, the names of processes included: a process is
//! written when the first line that names it is.

use rustc_hash::FxHashMap;
use tcptrace_core::engine::Annotation;
use tcptrace_core::filter::Filter;
use tcptrace_core::input::ProcessFact;
use tcptrace_core::units::Pid;
use tcptrace_core::{Engine, Finding, Input};

use crate::recording::Recorder;

/// Processes whose line is held back until somebody needs it.
const HELD_PROCESSES: usize = 65_536;

/// The filter, and what waits behind it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    filter: Filter,
    held: FxHashMap<Pid, Vec<Input>>,
}

impl Gate {
    /// A gate that lets pass what `filter` does.
    pub(crate) fn new(filter: Filter) -> Self {
        Self { filter, held: FxHashMap::default() }
    }

    /// Whether something may be missing from a recording made through this gate.
    pub(crate) fn is_open(&self) -> bool {
        self.filter.is_empty()
    }

    /// Whether a finding is about sockets that pass.
    pub(crate) fn passes_finding(&self, finding: &Finding, engine: &Engine) -> bool {
        self.is_open()
            || finding.processes.iter().any(|(owner, _)| {
                self.filter.pids.contains(&owner.process.pid)
                    || self.filter.names.iter().any(|name| **name == *owner.process.name)
            })
            || finding
                .sample_ids()
                .filter_map(|sock| engine.world().socket(sock))
                .any(|socket| self.filter.passes(socket))
    }

    /// Writes `input` if it passes.
    pub(crate) fn record(
        &mut self,
        input: &Input,
        annotation: &Annotation,
        engine: &Engine,
        recorder: &mut Recorder,
    ) {
        if self.is_open() {
            recorder.input(input, annotation);
            return;
        }
        match input {
            Input::Process(fact) => self.hold(fact, input),
            _ => {
                let passes = match input.key() {
                    None => true,
                    Some(key) => match engine.world().socket(key.sock) {
                        Some(socket) => self.filter.passes(socket),
                        None => self.filter.passes_key(key),
                    },
                };
                if passes {
                    self.introduce(input, annotation, recorder);
                    recorder.input(input, annotation);
                }
            }
        }
    }

    /// Keeps a process's line back.
    fn hold(&mut self, fact: &ProcessFact, input: &Input) {
        if self.held.len() >= HELD_PROCESSES && !self.held.contains_key(&fact.pid()) {
            // A replay then shows a pid without a name; the line itself still carries the name.
            self.held.clear();
        }
        let lines = self.held.entry(fact.pid()).or_default();
        if matches!(fact, ProcessFact::Seen { .. }) {
            lines.clear();
        }
        lines.push(input.clone());
    }

    /// Writes the lines of the processes that `input` names, if they are held back.
    fn introduce(&mut self, input: &Input, annotation: &Annotation, recorder: &mut Recorder) {
        let named = match input {
            Input::Transition(x) => x.context.pid(),
            Input::Reset(x) => x.context.pid(),
            Input::Accept(x) => Some(x.pid),
            Input::Socket(x) => x.holder.as_ref().map(|holder| holder.pid),
            _ => None,
        };
        let owner = annotation.process.as_ref().map(|owner| owner.process.pid);
        let holders = match input {
            Input::Inspection(x) => x.holders.as_ref().map(|scan| scan.holders.as_slice()),
            _ => None,
        };
        let holders = holders.unwrap_or_default().iter().map(|holder| holder.pid);
        for pid in named.into_iter().chain(owner).chain(holders) {
            for line in self.held.remove(&pid).unwrap_or_default() {
                recorder.input(&line, &Annotation::default());
            }
        }
    }
}
