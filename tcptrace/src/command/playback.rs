//! `tcptrace live --replay FILE`: the same view over a recording, at the pace at which it was made.

use std::path::Path;
use std::time::Duration;

use tcptrace_core::filter::Filter;
use tcptrace_core::units::MonoNs;
use tcptrace_core::{Engine, Input, Outcome};

use super::live::Live;
use crate::failure::Failure;
use crate::pump::{Flow, Front as _};
use crate::recording::{Header, Line, Medium, Reader};
use crate::tui::{HeaderFacts, Options, Source, Tui};

/// How often the recording goes on.
const STEP: Duration = Duration::from_millis(100);

/// Plays `file` until the user quits; at its end the last picture stays.
pub(super) fn run(
    file: &Path,
    speed: f64,
    options: Options,
    filter: Filter,
) -> Result<(), Failure> {
    let mut reader = Reader::open(file)?;
    let Some(Line::Header(header)) = reader.next().transpose()? else {
        return Err(Failure::usage(format_args!(
            "{} has no header, so it is no recording",
            file.display()
        )));
    };
    let mut tape = Tape::new(&header, reader);
    let facts = HeaderFacts {
        host: header.host.clone().unwrap_or_default(),
        kernel: header.kernel.clone().unwrap_or_default(),
        probes: String::new(),
        recording: None,
        source: Source::Replay {
            file: file.display().to_string(),
            position: String::new(),
        },
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut front = Live::new(Tui::new(options, filter), facts)?;
            let mut step = tokio::time::interval(STEP);
            step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            tape.advance(Duration::ZERO)?;
            loop {
                // The interval keeps its pace while keys come in between.
                match tokio::time::timeout(STEP, front.event()).await {
                    Ok(event) => {
                        if front.handle(event, &tape.engine)? == Flow::Quit {
                            return Ok(());
                        }
                    }
                    Err(_) => {
                        step.tick().await;
                        tape.advance(STEP.mul_f64(speed))?;
                    }
                }
                front.at(tape.position());
                front.refresh(&tape.engine, None)?;
            }
        })
}

/// A recording on its way through an engine.
struct Tape {
    reader: Reader<Medium>,
    engine: Engine,
    outcome: Outcome,
    begin: MonoNs,
    /// How far it has been played.
    now: MonoNs,
    /// Read, and not yet due.
    next: Option<Input>,
    ended: bool,
}

impl Tape {
    fn new(header: &Header, reader: Reader<Medium>) -> Self {
        Self {
            reader,
            engine: Engine::new((&header.thresholds).into()),
            outcome: Outcome::default(),
            begin: header.at,
            now: header.at,
            next: None,
            ended: false,
        }
    }

    /// Plays on by `by`.
    fn advance(&mut self, by: Duration) -> Result<(), Failure> {
        if self.ended {
            return Ok(());
        }
        self.now = self.now.plus(by);
        loop {
            let input = match self.next.take() {
                Some(input) => input,
                None => match self.reader.next().transpose()? {
                    Some(Line::Input(input)) => input,
                    Some(_) => continue,
                    None => {
                        self.ended = true;
                        return Ok(());
                    }
                },
            };
            // Facts stand in the order in which the engine got them; ticks tell how late it was.
            if matches!(input, Input::Tick(_)) && input.at() > self.now {
                self.next = Some(input);
                return Ok(());
            }
            self.engine.apply(&input, &mut self.outcome);
        }
    }

    /// How far, in words.
    fn position(&self) -> String {
        let seconds = self.now.since(self.begin).as_secs();
        let end = if self.ended { ", at its end" } else { "" };
        format!("{:02}:{:02}{end}", seconds / 60, seconds % 60)
    }
}
