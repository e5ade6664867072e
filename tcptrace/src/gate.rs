//! What of the facts reaches the recording and the eye: the part of the filter that the kernel
//! does not apply, because it asks for owners, networks or states.
//!
//! Invariant: what is excluded never enters a file, the names of processes included: a process is
//! written when the first line that names it is, and the first event of a connecting socket, which
//! has no port yet, when the second one has shown that it passes.

use std::collections::VecDeque;

use clap::ValueEnum;
use rustc_hash::{FxHashMap, FxHashSet};
use tcptrace_core::engine::Annotation;
use tcptrace_core::filter::Filter;
use tcptrace_core::input::{ProcessFact, SocketKey};
use tcptrace_core::units::{MonoNs, Pid, SockId};
use tcptrace_core::{Engine, Finding, Input};

use crate::recording::Recorder;

/// Processes, and sockets, whose lines are held back until somebody needs them. When there are
/// more, all are forgotten: a line still carries its owner's name.
const HELD: usize = 65_536;

/// Sockets in trouble that are followed; the oldest is forgotten first, and its later lines are missing.
const SUSPECTS: usize = 65_536;

/// Which events are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Events {
    /// Every event: a replay judges again
    #[default]
    All,
    /// Events of sockets in trouble, from the first sign of it on
    Suspects,
    /// None: findings, counters and losses only
    None,
}

/// The filter, and what waits behind it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    filter: Filter,
    /// Whether the kernel's part of the filter is all of it.
    complete: bool,
    processes: FxHashMap<Pid, Vec<Input>>,
    beginnings: FxHashMap<SockId, (Input, Annotation)>,
    events: Events,
    suspects: FxHashSet<SockId>,
    oldest: VecDeque<SockId>,
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

    /// Lets pass only such events.
    pub(crate) fn keeping(self, events: Events) -> Self {
        Self { events, ..self }
    }

    /// Which events pass.
    pub(crate) fn events(&self) -> Events {
        self.events
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
    pub(crate) fn passes_finding(&self, finding: &Finding) -> bool {
        self.complete || self.filter.passes_finding(finding)
    }

    /// Writes `input` if it passes.
    pub(crate) fn record(
        &mut self,
        input: &Input,
        annotation: &Annotation,
        engine: &Engine,
        recorder: &mut Recorder,
    ) {
        if self.filter.is_empty() && self.events == Events::All {
            recorder.input(input, annotation);
            return;
        }
        if self.events != Events::All {
            let pass = match input {
                Input::Process(_) => self.events == Events::Suspects,
                Input::Snapshot(_) => false,
                input if input.key().is_none() => true,
                _ if self.events == Events::None => false,
                input => self.follows(input, engine, recorder),
            };
            if !pass {
                return;
            }
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

    /// Whether `input` is about a socket in trouble, or the first sign that it is.
    fn follows(&mut self, input: &Input, engine: &Engine, recorder: &mut Recorder) -> bool {
        let Some(key) = input.key() else { return true };
        if key.sock != SockId(0) && self.suspects.contains(&key.sock) {
            if matches!(input, Input::Destroy(_)) {
                self.suspects.remove(&key.sock);
            }
            return true;
        }
        let sign = match input {
            Input::Transition(x) => x.error.is_some(),
            Input::Retransmit(_)
            | Input::SynackRetransmit(_)
            | Input::Reset(_)
            | Input::QueueDrop(_)
            | Input::Inspection(_)
            | Input::Stack(_) => true,
            // Listeners are few, and their queues tell what happens to the others.
            Input::Listener(_) | Input::Carried(_) => return true,
            _ => false,
        };
        if sign && key.sock != SockId(0) && self.passes(key, engine) {
            while self.oldest.len() >= SUSPECTS
                && let Some(oldest) = self.oldest.pop_front()
            {
                self.suspects.remove(&oldest);
            }
            self.suspects.insert(key.sock);
            self.oldest.push_back(key.sock);
            // What is known of it so far.
            if let Some(carried) = engine.world().carried(key.sock, input.at()) {
                let annotation = owned(engine, key.sock);
                self.write(&Input::Carried(Box::new(carried)), &annotation, recorder);
            }
        }
        sign
    }

    /// Writes what a segment begins with: what the engine knows of what passes.
    pub(crate) fn checkpoint(&mut self, engine: &Engine, at: MonoNs, recorder: &mut Recorder) {
        for input in engine.world().checkpoint(at) {
            let follow = match (&input, self.events) {
                (Input::Carried(_), Events::None) => false,
                (Input::Carried(x), Events::Suspects) => self.suspects.contains(&x.key.sock),
                _ => true,
            };
            if follow {
                let annotation = input
                    .key()
                    .map(|key| owned(engine, key.sock))
                    .unwrap_or_default();
                self.record(&input, &annotation, engine, recorder);
            }
        }
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
            Input::Stack(x) => Some(x.pid),
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

/// The annotation of a line about a socket that something else brought about.
fn owned(engine: &Engine, sock: SockId) -> Annotation {
    Annotation {
        process: engine
            .world()
            .socket(sock)
            .and_then(|socket| socket.owner.clone()),
        ..Annotation::default()
    }
}
