//! Recordings that start and end while the run goes on.
//!
//! Invariant: such a recording stands alone. It begins with the names and the open findings that
//! are known, a fresh snapshot follows, and its header says that it began in the middle of a run
//! (`partial`), so that a replay shows the findings of the run instead of computing others.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tcptrace_core::Input;
use tcptrace_core::engine::Annotation;
use tcptrace_core::input::ProcessFact;
use tcptrace_core::request::Request;
use tcptrace_core::settings::Settings;

use super::{Front, Pump};
use crate::failure::Failure;
use crate::gate::Gate;
use crate::kernel::Kernel;
use crate::recording::{self, RecordError, Recorder, Summary};

/// Opens a new file for a recording of the run under way.
pub(crate) type Opener = Box<dyn FnMut(&Kernel, &Settings, &Gate) -> Result<Recorder, Failure>>;

/// What is needed to record on demand.
#[derive(Default)]
pub(super) struct OnDemand {
    pub(super) opener: Option<Opener>,
    /// The recording that runs was asked for in the middle: its failure does not end the run.
    pub(super) running: bool,
    /// A recording that has ended and is on its way to the disk.
    ending: Option<JoinHandle<Result<Summary, RecordError>>>,
}

impl Pump {
    /// Lets the front start and end recordings, in files that `opener` chooses.
    pub(crate) fn record_on_demand(&mut self, opener: Opener) {
        self.on_demand.opener = Some(opener);
    }

    /// Starts a recording, or ends the one that runs.
    pub(super) fn toggle_recording<F: Front>(&mut self, front: &mut F) {
        if self.recorder.is_some() {
            return self.end_recording();
        }
        let Some(opener) = &mut self.on_demand.opener else {
            return;
        };
        match opener(&self.kernel, self.engine.settings(), &self.gate) {
            Ok(recorder) => {
                self.begin_recording(recorder);
                front.tell(&"recording; R ends it");
            }
            Err(error) => front.tell(&error),
        }
    }

    fn begin_recording(&mut self, mut recorder: Recorder) {
        let now = self.kernel.now();
        self.gate.forget();
        for process in self.engine.world().processes() {
            let seen = Input::Process(ProcessFact::Seen {
                at: now,
                info: Arc::clone(&process.info),
            });
            let nothing = Annotation::default();
            self.gate
                .record(&seen, &nothing, &self.engine, &mut recorder);
        }
        let at = self.engine.world().now();
        for finding in self.engine.findings() {
            if self.gate.passes_finding(finding) {
                recorder.finding(finding, at);
            }
        }
        self.recorder = Some(recorder);
        self.on_demand.running = true;
        self.requests.push(Request::Snapshot);
    }

    /// Ends the recording; a thread of its own waits for the disk.
    pub(super) fn end_recording(&mut self) {
        let Some(recorder) = self.recorder.take() else {
            return;
        };
        self.on_demand.running = false;
        let at = self.engine.world().now();
        let passing = |finding: &&Arc<_>| self.gate.passes_finding(finding);
        let findings: Vec<_> = self.engine.findings().filter(passing).cloned().collect();
        // A second one that ends while the first still writes is rare: it is waited for.
        self.wait_for_recording();
        self.on_demand.ending = Some(thread::spawn(move || {
            recorder.finish(&findings, recording::Ended::Quit, at)
        }));
    }

    /// Tells how a recording that has ended turned out, once that is known.
    pub(super) fn report_recording<F: Front>(&mut self, front: &mut F) {
        if !self
            .on_demand
            .ending
            .as_ref()
            .is_some_and(JoinHandle::is_finished)
        {
            return;
        }
        match self.wait_for_recording() {
            Some(Ok(summary)) => front.tell(&format!("recorded {summary}")),
            Some(Err(error)) => front.tell(&error),
            None => {}
        }
    }

    /// Waits until the recording that has ended is on the disk.
    pub(super) fn wait_for_recording(&mut self) -> Option<Result<Summary, RecordError>> {
        // A thread that panicked has said so.
        self.on_demand.ending.take()?.join().ok()
    }
}
