//! `tcptrace check`: one shot. Watches for a moment, prints what is wrong, and says by its exit code
//! whether that is what the caller minds: for CI, cron, health probes and a shell in a container.
//!
//! A leak that is older than the check is judged at once: the kernel remembers when the last segment
//! of a connection arrived.

mod verdict;

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;
use tcptrace_core::finding::{FindingId, Severity};
use tcptrace_core::{Engine, Finding};

use super::filter::FilterArgs;
use super::{EngineArgs, KernelArgs, findings, session};
use crate::failure::Failure;
use crate::pump::{Ended, Flow, Front};
use crate::recording::{Encoder, RecordedFinding, Recorder};
use verdict::{Seen, Verdict, Wanted};

const EXAMPLES: &str = "\
Examples:
  sudo tcptrace check                                         anything that will hurt: exit 10
  sudo tcptrace check --fail-on close_wait_leak -p $PID       does this process leak connections?
  sudo tcptrace check --fail-on critical --format json | jq .verdict

--fail-on takes kinds, kinds with a cause (close_wait_leak/not_watched), and severities, which mean
\"at least\"; any one that matches is enough.

Exit codes: 0 nothing matched, 10 a finding matched, 11 it cannot tell (facts were lost, or the cause
is not provable here), 1 run-time failure, 2 usage, 3 not privileged, 4 this kernel cannot.";

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Findings as paragraphs, and the verdict.
    Text,
    /// One JSON object.
    Json,
}

/// Options of `check`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// How long to watch
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// What makes it fail: KIND, KIND/CAUSE, or at least a severity (info, warning, critical)
    #[arg(
        long,
        value_name = "WHAT",
        value_delimiter = ',',
        default_value = "warning"
    )]
    fail_on: Vec<Wanted>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    kernel: KernelArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Watches, prints, and judges.
pub(super) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let watched = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(watch(args))?;
    let verdict = verdict::judge(&args.fail_on, &watched.seen);
    match print(args, &watched, &verdict) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    Ok(ExitCode::from(verdict.exit_code()))
}

/// What the check found out.
struct Watched {
    seen: Seen,
    findings: Vec<RecordedFinding>,
}

async fn watch(args: &CheckArgs) -> Result<Watched, Failure> {
    let settings = args.engine.settings();
    let mut pump = session::open(None, settings, &args.kernel, args.filter.filter())?;
    let host = pump.host();
    pump.start()?;
    let mut front = Quiet::default();
    let ended = pump.run(&mut front, Some(args.duration)).await?;
    // A verdict may wait for another look, some time apart from the last.
    if ended == Ended::Duration && pump.undecided() > 0 {
        pump.settle().await?;
    }
    let undecided = pump.undecided();
    let finished = pump.finish(session::reason(&Ok(ended)))?;
    for finding in &finished.findings {
        front.take(finding);
    }
    let mut findings: Vec<Finding> = front.last.into_values().collect();
    findings.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.since, f.id));
    let world = finished.engine.world();
    let now = world.now();
    let mut encoder = Encoder::new(host.wall_ahead_ns);
    let recorded = findings
        .iter()
        .map(|finding| encoder.recorded(finding, now))
        .collect();
    let missing = host
        .probes
        .iter()
        .filter(|probe| probe.state != crate::kernel::ProbeState::Attached)
        .map(|probe| probe.name.to_owned())
        .collect();
    Ok(Watched {
        seen: Seen {
            findings: findings
                .iter()
                .map(|f| (f.kind, f.cause, f.severity))
                .collect(),
            losses: world.totals().losses.iter().sum(),
            undecided,
            crowded_out: finished.engine.crowded_out(),
            missing_probes: missing,
            interrupted: ended != Ended::Duration,
        },
        findings: recorded,
    })
}

fn print(args: &CheckArgs, watched: &Watched, verdict: &Verdict) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let asked: Vec<String> = args.fail_on.iter().map(Wanted::to_string).collect();
    if args.format == Format::Json {
        let found: Vec<_> = watched
            .findings
            .iter()
            .zip(&watched.seen.findings)
            .map(|(recorded, seen)| {
                let mut value = json!(recorded);
                value["matched"] = args.fail_on.iter().any(|w| w.matches(*seen)).into();
                value
            })
            .collect();
        let result = json!({
            "verdict": verdict.name(),
            "exit_code": verdict.exit_code(),
            "reasons": verdict.reasons(),
            "fail_on": asked,
            "duration_ns": u64::try_from(args.duration.as_nanos()).unwrap_or(u64::MAX),
            "findings": found,
        });
        writeln!(out, "{result}")?;
    } else {
        for finding in &watched.findings {
            findings::text(finding, &mut out)?;
        }
        writeln!(out, "{verdict} (--fail-on {})", asked.join(","))?;
    }
    out.flush()
}

/// A front that only remembers: each finding as it was last told.
#[derive(Default)]
struct Quiet {
    last: BTreeMap<FindingId, Finding>,
}

impl Quiet {
    fn take(&mut self, finding: &Finding) {
        // One that was worse a moment ago was that bad within the check.
        let worst = self
            .last
            .get(&finding.id)
            .map_or(Severity::Info, |f| f.severity);
        let mut finding = finding.clone();
        finding.severity = finding.severity.max(worst);
        self.last.insert(finding.id, finding);
    }
}

impl Front for Quiet {
    type Event = std::convert::Infallible;

    async fn event(&mut self) -> Self::Event {
        pending().await
    }

    fn handle(&mut self, event: Self::Event, _: &Engine) -> Result<Flow, Failure> {
        match event {}
    }

    fn finding(&mut self, finding: &Finding, _: &Engine) {
        self.take(finding);
    }
    fn warn(&mut self, warning: &dyn fmt::Display) {
        let _ = writeln!(io::stderr(), "tcptrace: {warning}");
    }

    fn refresh(&mut self, _: &Engine, _: Option<&Recorder>) -> Result<(), Failure> {
        Ok(())
    }
}
