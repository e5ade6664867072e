//! The loop that every live mode shares: facts in, engine, consumers out.
//!
//! Invariants: facts reach the recording and the engine in one order, so that a replay sees what
//! the live engine saw; a tick is applied only after everything older than it has been drained;
//! nothing here blocks on a terminal, a file or a network.

mod front;
mod on_demand;
pub(crate) mod play;

use std::sync::Arc;
use std::time::Duration;

use tcptrace_core::input::Tick;
use tcptrace_core::request::Request;
use tcptrace_core::units::{MonoNs, WallNs, nanos};
use tcptrace_core::{Engine, Finding, Input, Outcome};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::gate::Gate;
use crate::kernel::{HostFacts, Kernel};
use crate::recording::{self, RecordError, Recorder, Summary};

pub(crate) use front::{Flow, Front};
use on_demand::OnDemand;
pub(crate) use on_demand::Opener;

/// How often the engine hears the clock.
const TICK: Duration = Duration::from_millis(250);

/// How far a tick stays behind the clock it was read from: a record whose time was taken just
/// before the drain may still be on its way into the ring on another CPU.
const TICK_LAG: Duration = Duration::from_millis(50);

/// How often counters, listeners and losses are read.
const POLL: Duration = Duration::from_secs(1);

/// The longest the ring is left alone: its reader is woken only when a quarter of it has filled.
const INTERVAL: Duration = Duration::from_millis(50);

/// How often the front is refreshed.
const REFRESH: Duration = Duration::from_millis(100);

/// Records taken from the ring before they are applied.
const BATCH: usize = 512;

/// Batches taken before the front and the signals get their turn.
const BATCHES_PER_TURN: usize = 256;

/// Facts that a batch keeps room for. A look at the kernel takes in what is reported meanwhile: at
/// saturation as much as some 100,000 facts, whose room is given back.
const ROOM: usize = 8 * BATCH;

/// How often what was reported during a round of catching up is caught up with in its turn.
const CATCH_UP_ROUNDS: usize = 4;

/// How long the start may take to judge what it found, before the first frame.
const FIRST_VERDICTS: Duration = Duration::from_secs(4);

/// Why a run ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// SIGINT, SIGTERM or SIGHUP.
    Signal,
    /// The duration is over.
    Duration,
    /// The user quit.
    Quit,
    /// The reader of standard output is gone.
    BrokenPipe,
    /// The file system is nearly full; the recording ends while a footer still fits.
    DiskLow,
}

/// Facts, the engine, and the recording.
pub(crate) struct Pump {
    kernel: Kernel,
    engine: Engine,
    recorder: Option<Recorder>,
    gate: Gate,
    batch: Vec<Input>,
    outcome: Outcome,
    requests: Vec<Request>,
    changed: Vec<Arc<Finding>>,
    last_tick: MonoNs,
    /// The clock as it was read for the next tick, until everything older has been drained.
    due: Option<MonoNs>,
    last_poll: MonoNs,
    on_demand: OnDemand,
}

/// What a run leaves behind.
pub(crate) struct Finished {
    /// The engine, with its last numbers.
    pub(crate) engine: Engine,
    /// The findings that are still open.
    pub(crate) findings: Vec<Arc<Finding>>,
    /// What was recorded.
    pub(crate) summary: Option<Summary>,
}

impl Pump {
    /// A pump that has not started.
    pub(crate) fn new(
        kernel: Kernel,
        engine: Engine,
        gate: Gate,
        recorder: Option<Recorder>,
    ) -> Self {
        let now = kernel.now();
        Self {
            kernel,
            engine,
            recorder,
            gate,
            batch: Vec::with_capacity(BATCH),
            outcome: Outcome::default(),
            requests: Vec::new(),
            changed: Vec::new(),
            last_tick: now,
            due: None,
            last_poll: MonoNs::default(),
            on_demand: OnDemand::default(),
        }
    }

    /// Suspects whose verdict waits for another look.
    pub(crate) fn undecided(&self) -> usize {
        self.engine.undecided()
    }

    /// The host, and which probes run.
    pub(crate) fn host(&self) -> HostFacts {
        self.kernel.host()
    }

    /// Finds the sockets that are older than the probes, and judges the suspects among them.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the snapshot.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        self.kernel.snapshot(&mut self.batch)?;
        self.feed();
        self.kernel.first_look(&mut self.batch);
        self.last_poll = self.kernel.now();
        self.feed();
        self.turn()
    }

    /// Runs until the suspects of the snapshot have their verdicts, or for a bounded time: some
    /// proofs need several looks some time apart.
    pub(crate) async fn settle(&mut self) -> Result<(), Failure> {
        self.tick(self.kernel.now().minus(TICK_LAG));
        let until = self.kernel.now().plus(FIRST_VERDICTS);
        while self.engine.undecided() > 0 && self.kernel.now() < until {
            self.wait().await;
            self.turn()?;
        }
        Ok(())
    }

    /// Runs until a signal, the user, or the end of `duration`.
    ///
    /// # Errors
    ///
    /// When the recording or the front fails.
    pub(crate) async fn run<F: Front>(
        &mut self,
        front: &mut F,
        duration: Option<Duration>,
    ) -> Result<Ended, Failure> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let until = duration.map(|duration| self.kernel.now().plus(duration));
        let mut resumed = signal(SignalKind::from_raw(libc::SIGCONT))?;
        let mut next_refresh = MonoNs::default();
        let mut next_wishes = MonoNs::default();
        loop {
            let handled = tokio::select! {
                biased;
                _ = interrupt.recv() => return Ok(Ended::Signal),
                _ = terminate.recv() => return Ok(Ended::Signal),
                _ = hangup.recv() => return Ok(Ended::Signal),
                _ = resumed.recv() => {
                    front.resumed()?;
                    None
                }
                event = front.event() => Some(event),
                () = self.kernel.ready() => None,
                () = tokio::time::sleep(INTERVAL) => None,
            };
            if let Some(event) = handled {
                match front.handle(event, &self.engine)? {
                    Flow::Quit => return Ok(Ended::Quit),
                    Flow::Record => self.toggle_recording(front),
                    Flow::Continue | Flow::Play(_) => {}
                }
                next_refresh = MonoNs::default();
            }
            self.turn()?;
            for finding in self.changed.drain(..) {
                front.finding(&finding, &self.engine);
            }
            self.report_recording(front);
            if let Some(recorder) = &mut self.recorder {
                match recorder.failure() {
                    None => {}
                    Some(error) if self.on_demand.running => {
                        front.tell(&error);
                        self.end_recording();
                    }
                    Some(RecordError::BrokenPipe) => return Ok(Ended::BrokenPipe),
                    Some(error @ RecordError::LowSpace { .. }) => {
                        front.warn(&error);
                        return Ok(Ended::DiskLow);
                    }
                    Some(error) => return Err(error.into()),
                }
            }
            let now = self.kernel.now();
            if let Some(warning) = self.recorder.as_mut().and_then(|r| r.warning(now)) {
                front.warn(&warning);
            }
            for silent in self.kernel.silent() {
                front.warn(&silent);
            }
            if now >= next_wishes {
                self.requests.extend(front.wishes());
                next_wishes = now.plus(POLL);
            }
            if now >= next_refresh {
                front.clock(now);
                front.refresh(&self.engine, self.recorder.as_ref())?;
                next_refresh = now.plus(REFRESH);
            }
            if until.is_some_and(|until| now >= until) {
                return Ok(Ended::Duration);
            }
        }
    }

    /// Takes in what is left, ends the recording with its footer, and lets go of the kernel.
    ///
    /// # Errors
    ///
    /// When the last facts cannot be written.
    pub(crate) fn finish(mut self, ended: recording::Ended) -> Result<Finished, Failure> {
        while self.kernel.drain(&mut self.batch) > 0 {
            self.feed();
        }
        // A skipped probe is judged at the second look, when the ring holds nothing that makes up for it.
        self.kernel.poll(&mut self.batch);
        self.kernel.poll(&mut self.batch);
        self.feed();
        // Nothing follows, so this tick needs no distance from the clock.
        self.tick(self.kernel.now());
        // The requests of the last tick go unanswered: nobody would see the answer's verdict.
        let at = self.engine.world().now();
        let mut findings = self.engine.finish(at);
        findings.retain(|finding| self.gate.passes_finding(finding));
        let before = self.wait_for_recording().transpose()?;
        let summary = self
            .recorder
            .map(|recorder| recorder.finish(&findings, ended, at))
            .transpose()?
            .or(before);
        Ok(Finished {
            engine: self.engine,
            findings,
            summary,
        })
    }

    /// Waits for the ring, or for the interval.
    async fn wait(&mut self) {
        tokio::select! {
            () = self.kernel.ready() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }

    /// Drains the ring; then, when their time has come, tells the time, polls, and answers.
    fn turn(&mut self) -> Result<(), Failure> {
        // Read before the drain: whatever is older than this is in the ring by now.
        let before = self.kernel.now();
        if self.due.is_none() && before.since(self.last_tick) >= TICK {
            self.due = Some(before);
        }
        for _ in 0..BATCHES_PER_TURN {
            let count = self.kernel.drain(&mut self.batch);
            self.feed();
            // Under saturation the ring is never empty, and time must go on all the same.
            let drained_to = self.kernel.drained_to();
            if let Some(due) = self.due.take_if(|due| count == 0 || drained_to >= *due) {
                self.tick(due.minus(TICK_LAG));
                self.last_tick = due;
            }
            if count == 0 {
                break;
            }
        }
        if before.since(self.last_poll) >= POLL {
            self.last_poll = before;
            self.catch_up();
            self.kernel.poll(&mut self.batch);
            // What the recording could not take is a fact like any other.
            let lost = self.recorder.as_mut().and_then(Recorder::lost);
            self.batch.extend(lost.map(Input::Loss));
            self.feed();
        }
        if !self.requests.is_empty() {
            let requests = std::mem::take(&mut self.requests);
            self.catch_up();
            self.kernel.answer(&requests, &mut self.batch);
            self.feed();
        }
        if let Some(recorder) = &mut self.recorder {
            let now = self.kernel.now();
            recorder.flush_if_due(now);
            if recorder.rotation_due(now) {
                self.next_segment(now);
            }
        }
        Ok(())
    }

    /// Takes in what was reported until now. A look at the kernel drains the ring before it tells
    /// anything: of a full ring that would be as many facts in memory at once. What is reported
    /// meanwhile is less each round, unless nobody could keep up with it.
    fn catch_up(&mut self) {
        for _ in 0..CATCH_UP_ROUNDS {
            let until = self.kernel.now();
            while self.kernel.drained_to() < until && self.kernel.drain(&mut self.batch) > 0 {
                self.feed();
            }
        }
    }

    /// Lets the recording go on in another file, which begins with what the engine knows.
    fn next_segment(&mut self, now: MonoNs) {
        let Self {
            engine,
            recorder: Some(recorder),
            gate,
            ..
        } = self
        else {
            return;
        };
        let open = |finding: &&Arc<Finding>| gate.passes_finding(finding);
        let findings: Vec<_> = engine.findings().filter(open).cloned().collect();
        if !recorder.next_segment(findings.len(), now) {
            return;
        }
        let at = engine.world().now();
        for finding in &findings {
            recorder.open_finding(finding, at);
        }
        gate.checkpoint(engine, now, recorder);
        recorder.began_segment();
    }

    /// Tells the engine the time.
    fn tick(&mut self, at: MonoNs) {
        let ago = i64::try_from(nanos(self.kernel.now().since(at))).unwrap_or(0);
        let wall = WallNs(self.kernel.wall().0 - ago);
        self.batch.push(Input::Tick(Tick { at, wall }));
        self.feed();
    }

    /// Gives the batch to the engine, and to the recording what the filter lets pass.
    fn feed(&mut self) {
        let Self {
            engine,
            batch,
            outcome,
            recorder,
            gate,
            requests,
            changed,
            ..
        } = self;
        for input in batch.drain(..) {
            engine.apply(&input, outcome);
            requests.append(&mut outcome.requests);
            if let Some(recorder) = recorder {
                gate.record(&input, &outcome.annotation, engine, recorder);
            }
            if outcome.findings.is_empty() {
                continue;
            }
            let now = engine.world().now();
            for finding in outcome.findings.drain(..) {
                if !gate.passes_finding(&finding) {
                    continue;
                }
                if let Some(recorder) = recorder {
                    recorder.finding(&finding, now);
                }
                changed.push(finding);
            }
        }
        batch.shrink_to(ROOM);
    }
}
