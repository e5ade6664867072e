//! What of the facts reaches the recording and the eye: the part of the filter that the kernel
//! does not apply, because it asks for owners, networks or states.
//!
//! Invariant: what is excluded never enters a file, the names of processes included: a process is
//! written when the first line that names it is, and the first event of a connecting socket, which
//! has no port yet, when the second one has shown that it passes.

use rustc_hash::FxHashMap;
use tcptrace_core::engine::Annotation;
use tcptrace_core::filter::Filter;
use tcptrace_core::input::{ProcessFact, SocketKey};
use tcptrace_core::units::{Pid, SockId};
use tcptrace_core::{Engine, Finding, Input};

use crate::recording::Recorder;

/// Processes, and sockets, whose lines are held back until somebody needs them. When there are
/// more, all are forgotten: a line still carries its owner's name.
const HELD: usize = 65_536;

/// The filter, and what waits behind it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    filter: Filter,
    /// Whether the kernel's part of the filter is all of it.
    complete: bool,
    processes: FxHashMap<Pid, Vec<Input>>,
    beginnings: FxHashMap<SockId, (Input, Annotation)>,
}

impl Gate {
    /// A gate that lets pass what `filter` does; `complete` when the kernel applies all of it.
    pub(crate) fn new(filter: Filter, complete: bool) -> Self {
        Self {
            filter,
            complete,
            ..Self::default()
        }
    }

    /// Forgets what waits: another file begins.
    pub(crate) fn forget(&mut self) {
        self.processes.clear();
        self.beginnings.clear();
    }

    /// Whether a replay of what passes makes the findings of the run.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The filter, as the header of a recording shows it.
    pub(crate) fn words(&self) -> Vec<String> {
        self.filter.words()
    }

    /// Whether a finding is about sockets that pass.
    pub(crate) fn passes_finding(&self, finding: &Finding, engine: &Engine) -> bool {
        self.complete
            || finding.processes.iter().any(|(owner, _)| {
                self.filter.pids.contains(&owner.process.pid)
                    || self
                        .filter
                        .names
                        .iter()
                        .any(|name| **name == *owner.process.name)
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
        if self.filter.is_empty() {
            recorder.input(input, annotation);
            return;
        }
        if let Input::Process(fact) = input {
            self.hold(fact, input);
            return;
        }
        let Some(key) = input.key() else {
            recorder.input(input, annotation);
            return;
        };
        let beginning = self.beginnings.remove(&key.sock);
        if !self.passes(key, engine) {
            return;
        }
        if self.filter.must_wait_for(key) {
            if beginning.is_none() && matches!(input, Input::Transition(_)) {
                if self.beginnings.len() >= HELD {
                    self.beginnings.clear();
                }
                self.beginnings
                    .insert(key.sock, (input.clone(), annotation.clone()));
            }
            return;
        }
        if let Some((input, annotation)) = beginning {
            self.write(&input, &annotation, recorder);
        }
        self.write(input, annotation, recorder);
    }

    fn passes(&self, key: &SocketKey, engine: &Engine) -> bool {
        match engine.world().socket(key.sock) {
            Some(socket) => self.filter.passes(socket),
            None => self.filter.passes_key(key),
        }
    }

    fn write(&mut self, input: &Input, annotation: &Annotation, recorder: &mut Recorder) {
        self.introduce(input, annotation, recorder);
        recorder.input(input, annotation);
    }

    /// Keeps a process's line back.
    fn hold(&mut self, fact: &ProcessFact, input: &Input) {
        if self.processes.len() >= HELD && !self.processes.contains_key(&fact.pid()) {
            self.processes.clear();
        }
        let lines = self.processes.entry(fact.pid()).or_default();
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
            for line in self.processes.remove(&pid).unwrap_or_default() {
                recorder.input(&line, &Annotation::default());
            }
        }
    }
}
