//! A tape on its way through an engine, for every command that reads recordings.
//!
//! Of a complete tape the findings are computed again; of one that leaves facts out, the recorded
//! ones are shown, because an engine that has not seen everything would judge otherwise.

use tcptrace_core::engine::Annotation;
use tcptrace_core::units::MonoNs;
use tcptrace_core::{Engine, Finding, Input, Outcome};

use crate::failure::Failure;
use crate::recording::{Encoder, Footer, Header, Line, Play, RecordedFinding, Tape};

/// Who looks on while a tape is played.
pub(super) trait Audience {
    /// A recording begins.
    fn begin(&mut self, header: &Header) -> Result<(), Failure>;

    /// A fact, after the engine took it in.
    fn input(&mut self, input: &Input, annotation: &Annotation, engine: &Engine);

    /// A finding opened, changed or resolved; computed, or as it was recorded. `now` is the engine's.
    fn finding(
        &mut self,
        recorded: RecordedFinding,
        computed: Option<&Finding>,
        now: MonoNs,
    ) -> Result<(), Failure>;

    /// A segment ended in good order.
    fn footer(&mut self, _: &Footer) {}

    /// Some more lines were read.
    fn progress(&mut self, _: &Play<'_>) {}

    /// The recording ends.
    fn end(&mut self, _: &Engine) -> Result<(), Failure> {
        Ok(())
    }
}

/// What was wrong with a tape that could be read all the same.
#[derive(Debug, Default)]
pub(super) struct Played {
    /// In words.
    pub(super) notes: Vec<String>,
}

/// Lines between two looks at the progress.
const STRIDE: u64 = 16_384;

/// Plays `tape` to its end. Findings up to a damaged line are told before the error.
pub(super) fn play(
    tape: &Tape,
    lenient: bool,
    audience: &mut impl Audience,
) -> Result<Played, Failure> {
    let mut play = tape.play(lenient);
    let mut run: Option<Run> = None;
    let mut lines = 0_u64;
    let failed = loop {
        let line = match play.next() {
            Ok(Some(line)) => line,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        lines += 1;
        if lines.is_multiple_of(STRIDE) {
            audience.progress(&play);
        }
        match (line, &mut run) {
            (Line::Header(header), before) => {
                if let Some(before) = before {
                    before.end(audience)?;
                }
                audience.begin(&header)?;
                run = Some(Run::new(&header, tape.is_complete()));
            }
            (Line::Input(input), Some(run)) => run.apply(&input, audience)?,
            (Line::Finding(finding), Some(run)) if !run.complete => {
                let now = finding.at;
                audience.finding(*finding, None, now)?;
            }
            (Line::Footer(footer), _) => audience.footer(&footer),
            _ => {}
        }
    };
    if let Some(run) = &mut run {
        run.end(audience)?;
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    let mut played = Played { notes: Vec::new() };
    if let Some(because) = tape.incomplete_because() {
        played.notes.push(format!(
            "{because}, so the findings are those that were recorded"
        ));
    }
    if play.skipped > 0 {
        let last = play.last_damage.unwrap_or_default();
        played.notes.push(format!(
            "{}; the last: {last}",
            match play.skipped {
                1 => "1 damaged line was skipped".to_owned(),
                n => format!("{n} damaged lines were skipped"),
            }
        ));
    }
    if let Some((path, line)) = play.cut_off {
        played.notes.push(format!(
            "{}: it was cut off after line {line}, and is used up to there",
            path.display()
        ));
    }
    Ok(played)
}

/// One recording and its engine.
struct Run {
    engine: Engine,
    outcome: Outcome,
    encoder: Encoder,
    /// Every fact was kept: findings are recomputed.
    complete: bool,
}

impl Run {
    fn new(header: &Header, complete: bool) -> Self {
        Self {
            engine: Engine::new((&header.thresholds).into()),
            outcome: Outcome::default(),
            encoder: Encoder::new(header.clock_offset_ns),
            complete,
        }
    }

    fn apply(&mut self, input: &Input, audience: &mut impl Audience) -> Result<(), Failure> {
        self.encoder.observe(input);
        self.engine.apply(input, &mut self.outcome);
        audience.input(input, &self.outcome.annotation, &self.engine);
        let now = self.engine.world().now();
        for finding in self.outcome.findings.drain(..) {
            if self.complete {
                let recorded = self.encoder.recorded(&finding, now);
                audience.finding(recorded, Some(&finding), now)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, audience: &mut impl Audience) -> Result<(), Failure> {
        let now = self.engine.world().now();
        for finding in self.engine.finish(now) {
            if self.complete {
                let recorded = self.encoder.recorded(&finding, now);
                audience.finding(recorded, Some(&finding), now)?;
            }
        }
        audience.end(&self.engine)
    }
}
