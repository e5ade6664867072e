//! What a check concludes. Three answers, as everywhere: matched, fine, and cannot tell.

use std::fmt;
use std::str::FromStr;

use tcptrace_core::finding::{Cause, Kind, Severity};

/// One thing that the caller minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A kind, or one cause of it.
    Kind(Kind, Option<Cause>),
    /// Anything at least this bad.
    Severity(Severity),
}

/// What of a finding matters here.
pub(super) type Gist = (Kind, Option<Cause>, Severity);

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) findings: Vec<Gist>,
    /// Facts lost, all causes.
    pub(super) losses: u64,
    /// Suspects without a verdict yet.
    pub(super) undecided: usize,
    /// Findings that did not fit among the open ones.
    pub(super) crowded_out: u64,
    /// Probes that do not run on this host.
    pub(super) missing_probes: Vec<String>,
    /// It ended before its time.
    pub(super) interrupted: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// So many findings match.
    Matched(usize),
    /// None does, and one would have been seen.
    Fine,
    /// None does, and one might have been missed.
    Inconclusive(Vec<String>),
}

/// Without this probe, these kinds go unseen. A probe that another one stands in for is not here.
const NEEDS: [(&str, &[Kind]); 5] = [
    (
        "retransmit",
        &[
            Kind::FinRetransmit,
            Kind::ClosingStuck,
            Kind::SynRetransmit,
            Kind::DeadPeer,
        ],
    ),
    ("synack", &[Kind::SynackRetransmit]),
    ("send_reset", &[Kind::ResetBurst]),
    ("receive_reset", &[Kind::ResetBurst]),
    ("peek", &[Kind::CloseWaitLeak]),
];

impl Wanted {
    /// Whether a finding is what the caller minds.
    pub(super) fn matches(self, (kind, cause, severity): Gist) -> bool {
        match self {
            Self::Kind(wanted, None) => wanted == kind,
            Self::Kind(wanted, because) => wanted == kind && because == cause,
            Self::Severity(least) => severity >= least,
        }
    }

    /// Whether a finding might be what the caller minds, had its cause been proved.
    fn might_match(self, (kind, cause, _): Gist) -> bool {
        matches!(self, Self::Kind(wanted, Some(_)) if wanted == kind)
            && cause.is_none_or(|cause| cause == Cause::Unknown)
    }

    fn needs(self, probe: &str) -> bool {
        NEEDS
            .iter()
            .filter(|(name, _)| *name == probe)
            .any(|(_, kinds)| match self {
                Self::Kind(kind, _) => kinds.contains(&kind),
                Self::Severity(_) => true,
            })
    }
}

/// Compares what the caller minds with what was seen.
pub(super) fn judge(wanted: &[Wanted], seen: &Seen) -> Verdict {
    let any = |test: &dyn Fn(Wanted) -> bool| wanted.iter().copied().any(test);
    let matched = seen
        .findings
        .iter()
        .filter(|gist| any(&|w| w.matches(**gist)))
        .count();
    if matched > 0 {
        return Verdict::Matched(matched);
    }
    let mut reasons = Vec::new();
    if seen.losses > 0 {
        reasons.push(format!("{} facts were lost", seen.losses));
    }
    if seen.undecided > 0 {
        reasons.push(format!(
            "{} suspects wait for another look: watch longer",
            seen.undecided
        ));
    }
    if seen.crowded_out > 0 {
        reasons.push(format!(
            "{} findings did not fit: narrow it down by a filter",
            seen.crowded_out
        ));
    }
    if seen.interrupted {
        reasons.push("it was interrupted".to_owned());
    }
    for gist in &seen.findings {
        if any(&|w| w.might_match(*gist)) {
            reasons.push(format!("the cause of a {} is not provable here", gist.0));
        }
    }
    for probe in &seen.missing_probes {
        if any(&|w| w.needs(probe)) {
            reasons.push(format!(
                "the probe {probe} does not run on this host: see the header of a recording"
            ));
        }
    }
    if reasons.is_empty() {
        Verdict::Fine
    } else {
        Verdict::Inconclusive(reasons)
    }
}

impl Verdict {
    /// Public contract.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Matched(_) => 10,
            Self::Inconclusive(_) => 11,
        }
    }

    /// As written in JSON.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Matched(_) => "matched",
            Self::Inconclusive(_) => "inconclusive",
        }
    }

    /// Why it cannot tell.
    pub(super) fn reasons(&self) -> &[String] {
        match self {
            Self::Inconclusive(reasons) => reasons,
            _ => &[],
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fine => f.write_str("fine: nothing matches"),
            Self::Matched(1) => f.write_str("failed: 1 finding matches"),
            Self::Matched(n) => write!(f, "failed: {n} findings match"),
            Self::Inconclusive(reasons) => write!(f, "cannot tell: {}", reasons.join("; ")),
        }
    }
}

/// It names nothing that can be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadWanted {
    /// Neither a kind nor a severity.
    #[error("`{0}` is no kind, KIND/CAUSE or severity; one of info, warning, critical, {kinds}", kinds = kinds())]
    Word(String),
    /// A check that waits for what cannot be would always be fine.
    #[error("`{cause}` is no cause of {kind}, so it would never match; {choices}", choices = causes(*kind))]
    Cause { kind: Kind, cause: String },
}

fn kinds() -> String {
    Kind::ALL.map(Kind::name).join(", ")
}

fn causes(kind: Kind) -> String {
    let names: Vec<&str> = kind.causes().iter().map(|cause| cause.name()).collect();
    if names.is_empty() {
        format!("{kind} has no causes: leave it out")
    } else {
        format!("one of {}", names.join(", "))
    }
}

impl FromStr for Wanted {
    type Err = BadWanted;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let severities = [Severity::Info, Severity::Warning, Severity::Critical];
        if let Some(severity) = severities.into_iter().find(|s| s.name() == text) {
            return Ok(Self::Severity(severity));
        }
        let (kind, cause) = match text.split_once('/') {
            None => (text, None),
            Some((kind, cause)) => (kind, Some(cause)),
        };
        let kind = Kind::ALL
            .into_iter()
            .find(|k| k.name() == kind)
            .ok_or_else(|| BadWanted::Word(text.to_owned()))?;
        let cause = cause
            .map(|name| {
                let known = kind.causes().iter().find(|c| c.name() == name);
                known.copied().ok_or_else(|| BadWanted::Cause {
                    kind,
                    cause: name.to_owned(),
                })
            })
            .transpose()?;
        Ok(Self::Kind(kind, cause))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind, None) => f.write_str(kind.name()),
            Self::Kind(kind, Some(cause)) => write!(f, "{kind}/{cause}"),
            Self::Severity(severity) => f.write_str(severity.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAK: Gist = (
        Kind::CloseWaitLeak,
        Some(Cause::NotWatched),
        Severity::Warning,
    );
    const UNPROVED: Gist = (Kind::CloseWaitLeak, None, Severity::Info);

    #[track_caller]
    fn check(wanted: &str, seen: &Seen, code: u8) {
        let wanted: Vec<Wanted> = wanted.split(',').map(|w| w.parse().unwrap()).collect();
        let verdict = judge(&wanted, seen);
        assert_eq!(verdict.exit_code(), code, "{verdict}");
    }

    fn found(gist: Gist) -> Seen {
        Seen {
            findings: vec![gist],
            ..Seen::default()
        }
    }

    #[test]
    fn what_matches_fails() {
        check("close_wait_leak", &found(LEAK), 10);
        check("close_wait_leak/not_watched", &found(LEAK), 10);
        check("info", &found(LEAK), 10);
        check("warning", &found(LEAK), 10);
        check("reset_burst,warning", &found(LEAK), 10);
        check("critical", &found(LEAK), 0);
        check("close_wait_leak/shared_fd", &found(LEAK), 0);
        check("fin_retransmit", &Seen::default(), 0);
    }

    #[test]
    fn what_might_have_been_missed_is_said() {
        check("close_wait_leak/shared_fd", &found(UNPROVED), 11);
        let lossy = Seen {
            losses: 3,
            ..Seen::default()
        };
        check("close_wait_leak", &lossy, 11);
        let lossy_and_matched = Seen {
            losses: 3,
            ..found(LEAK)
        };
        check("close_wait_leak", &lossy_and_matched, 10);
        let blind = Seen {
            missing_probes: vec!["synack".to_owned()],
            ..Seen::default()
        };
        check("synack_retransmit", &blind, 11);
        check("close_wait_leak", &blind, 0);
    }

    #[test]
    fn words_are_checked() {
        for word in ["close_wait_leak", "reset_burst/by_peer", "critical"] {
            let wanted: Wanted = word.parse().unwrap();
            assert_eq!(wanted.to_string(), word);
        }
        let error = "leaks".parse::<Wanted>().unwrap_err().to_string();
        assert!(error.contains("close_wait_leak"), "{error}");
        for (word, remedy) in [
            ("close_wait_leak/", "not_watched"),
            ("close_wait_leak/refused", "not_watched"),
            ("dead_peer/refused", "has no causes"),
        ] {
            let error = word.parse::<Wanted>().unwrap_err().to_string();
            assert!(error.contains(remedy), "{error}");
        }
    }
}
