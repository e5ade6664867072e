//! The loop of a replay: a recording on its way through an engine, at the pace of its making, faster,
//! or up to an instant that the user names.
//!
//! Invariants: a turn applies a bounded number of facts, so that keys are heard while a long file
//! is being run through; time passes by an interval of its own, which no key delays; of a recording
//! that leaves facts out, the recorded findings are shown, as `replay` and `report` show them.

mod told;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tcptrace_core::finding::{Finding, Status};
use tcptrace_core::units::MonoNs;
use tcptrace_core::{Engine, Input, Outcome};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::{Flow, Front};
use crate::failure::Failure;
use crate::recording::{Header, Line, Medium, Reader};
use crate::tui::Play;

/// How often the recording goes on, and frames are drawn.
const STEP: Duration = Duration::from_millis(100);

/// Facts applied before the keys get their turn: some 20 ms.
const BUDGET: usize = 20_000;

/// The slowest and the fastest.
const SPEEDS: (f64, f64) = (1.0 / 16.0, 1024.0);

/// How much of a file's end is searched for its last time.
const TAIL: u64 = 64 << 10;

/// A recording, and how it is played.
pub(crate) struct Tape {
    path: PathBuf,
    header: Header,
    reader: Reader<Medium>,
    engine: Engine,
    outcome: Outcome,
    /// How far it has been played, and how far it is to be.
    now: MonoNs,
    wanted: MonoNs,
    /// When it ends, where that could be found out.
    end: Option<MonoNs>,
    /// Read, and not yet due.
    next: Option<Input>,
    speed: f64,
    playing: bool,
    /// On its way to the next finding.
    searching: bool,
    ended: bool,
}

impl Tape {
    /// Opens a recording.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none.
    pub(crate) fn open(path: &Path, speed: f64) -> Result<Self, Failure> {
        let (reader, header) = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            engine: engine(&header),
            now: header.at,
            wanted: header.at,
            end: last_time(path),
            header,
            reader,
            outcome: Outcome::default(),
            next: None,
            speed,
            playing: true,
            searching: false,
            ended: false,
        })
    }

    /// Its first line.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Whether there is something to apply now.
    fn is_busy(&self) -> bool {
        !self.ended && (self.searching || self.now < self.wanted)
    }

    /// A step of time passes.
    fn step(&mut self) {
        if self.playing && !self.is_busy() && !self.ended {
            self.wanted = self.wanted.plus(STEP.mul_f64(self.speed));
        }
    }

    /// Applies what is due, as much as fits in a turn.
    fn advance(&mut self) -> Result<(), Failure> {
        for _ in 0..BUDGET {
            let input = match self.next.take() {
                Some(input) => input,
                None => match self.reader.next().transpose()? {
                    Some(Line::Input(input)) => input,
                    Some(Line::Finding(recorded)) if as_recorded(&self.header).is_some() => {
                        // One of a kind that only a newer tcptrace knows cannot be shown.
                        let Some(finding) = told::finding(&recorded).map(Arc::new) else {
                            continue;
                        };
                        self.engine.tell(Arc::clone(&finding));
                        if self.is_found(&finding) {
                            return Ok(());
                        }
                        continue;
                    }
                    Some(_) => continue,
                    None => {
                        self.ended = true;
                        self.searching = false;
                        return Ok(());
                    }
                },
            };
            // Facts stand in the order in which the engine got them; ticks tell how late it was.
            if matches!(input, Input::Tick(_)) {
                if !self.searching && input.at() > self.wanted {
                    self.next = Some(input);
                    self.now = self.wanted;
                    return Ok(());
                }
                self.now = self.now.max(input.at());
            }
            self.engine.apply(&input, &mut self.outcome);
            let findings = std::mem::take(&mut self.outcome.findings);
            if findings.iter().any(|finding| self.is_found(finding)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether this is the finding that is looked for; then the recording stands still.
    fn is_found(&mut self, finding: &Finding) -> bool {
        let found = self.searching && finding.status == Status::Open;
        if found {
            self.searching = false;
            self.playing = false;
            self.wanted = self.now;
        }
        found
    }

    /// As [`Tape::advance`]; what cannot be read ends the recording, and is told: what came before
    /// it can still be looked at.
    fn advance_or_end<F: Front>(&mut self, front: &mut F) {
        if let Err(error) = self.advance() {
            self.ended = true;
            self.searching = false;
            front.tell(&format_args!("it is played up to here: {error}"));
        }
    }

    /// Goes to the beginning.
    fn rewind(&mut self) -> Result<(), Failure> {
        let (reader, header) = open(&self.path)?;
        self.reader = reader;
        self.engine = engine(&header);
        self.next = None;
        self.now = header.at;
        self.wanted = header.at;
        self.searching = false;
        self.ended = false;
        Ok(())
    }

    /// Does what the user asks for; answers whether the engine is another one.
    fn obey(&mut self, play: Play) -> Result<bool, Failure> {
        match play {
            Play::Toggle if self.searching => self.searching = false,
            Play::Toggle => self.playing = !self.playing,
            Play::Faster => self.speed = (self.speed * 2.0).min(SPEEDS.1),
            Play::Slower => self.speed = (self.speed / 2.0).max(SPEEDS.0),
            Play::Start => {
                self.rewind()?;
                return Ok(true);
            }
            Play::Seek(seconds) if seconds < 0 => {
                let by = Duration::from_secs(seconds.unsigned_abs().into());
                let to = self.now.minus(by).max(self.header.at);
                self.rewind()?;
                self.wanted = to;
                return Ok(true);
            }
            Play::Seek(seconds) => {
                self.searching = false;
                let by = Duration::from_secs(seconds.unsigned_abs().into());
                self.wanted = self.now.max(self.wanted).plus(by);
            }
            Play::NextFinding => self.searching = true,
        }
        Ok(false)
    }

    /// How far, in words.
    fn position(&self) -> String {
        let clock = |at: MonoNs| {
            let seconds = at.since(self.header.at).as_secs();
            format!("{:02}:{:02}", seconds / 60, seconds % 60)
        };
        let state = match () {
            () if self.ended => "end",
            () if self.searching => "searching",
            () if self.playing => "playing",
            () => "paused",
        };
        let end = self
            .end
            .map_or_else(String::new, |end| format!(" of {}", clock(end)));
        let speed = if self.speed == 1.0 {
            String::new()
        } else {
            format!(" {}x", self.speed)
        };
        format!("{state} {}{end}{speed}", clock(self.now))
    }
}

/// Why the findings are those of the run, if they are not computed again.
fn as_recorded(header: &Header) -> Option<&'static str> {
    // Of several segments one is played, and only the first has the beginning.
    header.incomplete_because(header.segment.is_some_and(|segment| segment > 1))
}

fn engine(header: &Header) -> Engine {
    let settings = (&header.thresholds).into();
    match as_recorded(header) {
        Some(_) => Engine::told(settings),
        None => Engine::new(settings),
    }
}

fn open(path: &Path) -> Result<(Reader<Medium>, Header), Failure> {
    let mut reader = Reader::open(path)?;
    match reader.next().transpose()? {
        Some(Line::Header(header)) => Ok((reader, *header)),
        _ => Err(Failure::usage(format_args!(
            "{} has no header, so it is no recording; name a file that `tcptrace record` wrote",
            path.display()
        ))),
    }
}

/// The time of the last line, where the file's end can be read as text.
fn last_time(path: &Path) -> Option<MonoNs> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
        .ok()?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    let (_, after) = tail.rsplit_once("\"mono_ns\":")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(MonoNs)
}

/// Plays until the user quits or a signal comes; at its end the last picture stays.
///
/// # Errors
///
/// When the recording cannot be begun again, or the front fails.
pub(crate) async fn play<F: Front>(mut tape: Tape, front: &mut F) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut resumed = signal(SignalKind::from_raw(libc::SIGCONT))?;
    let mut interval = tokio::time::interval(STEP);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // The snapshot, so that the first frame shows it.
    tape.advance_or_end(front);
    if let Some(because) = as_recorded(&tape.header) {
        front.tell(&format_args!(
            "{because}, so the findings are those that were recorded"
        ));
    }
    loop {
        let busy = tape.is_busy();
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = resumed.recv() => front.resumed()?,
            _ = interval.tick() => {
                tape.step();
                front.replayed(tape.position(), false);
                front.refresh(&tape.engine, None)?;
            }
            event = front.event() => match front.handle(event, &tape.engine)? {
                Flow::Quit => return Ok(()),
                Flow::Play(play) => {
                    let replaced = tape.obey(play)?;
                    front.replayed(tape.position(), replaced);
                }
                Flow::Continue | Flow::Record => {}
            },
            () = std::future::ready(()), if busy => {}
        }
        if tape.is_busy() {
            tape.advance_or_end(front);
            tokio::task::yield_now().await;
        }
    }
}
