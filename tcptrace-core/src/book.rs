//! The findings book: ids, the life of a finding, and when its news are worth telling.
//!
//! Rules say what a group of sockets looks like now; the book decides what that is: a new finding,
//! news of an open one, or nothing worth a line yet.
//!
//! Invariants: an id is never given twice; at most [`OPEN`] findings are open; a finding is stamped
//! with the instant that made it true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::finding::{
    Cause, Confidence, Evidence, Finding, FindingId, Kind, Owner, Service, Severity, Status,
};
use crate::input::{ProcessInfo, SocketKey};
use crate::units::{MonoNs, Pid};

mod incidents;
mod stacks;

use stacks::Stacks;

/// Open findings. More than anybody reads; the rest are counted.
pub(crate) const OPEN: usize = 200;

/// Numbers change all the time; a line per change would drown the file.
pub(crate) const UPDATE_EVERY: Duration = Duration::from_secs(10);

/// A finding that comes back within this time is the same incident.
pub(crate) const REOPEN_WITHIN: Duration = Duration::from_secs(300);

/// Resolved findings shown, and remembered at most for their ids.
const SHOWN: usize = 50;
const REMEMBERED: usize = 4096;

/// Who is to blame: the program in its cgroup, so that the workers of a pool are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Executable(Arc<str>, Option<Arc<str>>),
    Name(Arc<str>, Option<Arc<str>>),
    Pid(Pid),
    Unknown,
}

impl Program {
    pub(crate) fn of(process: Option<&ProcessInfo>) -> Self {
        match process {
            None => Self::Unknown,
            Some(info) => match &info.exe {
                Some(exe) => Self::Executable(exe.clone(), info.cgroup.clone()),
                None if !info.name.is_empty() => Self::Name(info.name.clone(), info.cgroup.clone()),
                None => Self::Pid(info.pid),
            },
        }
    }
}

/// What makes two findings the same: kind, cause, owner, service. A kind whose cause becomes clear
/// only in time (an overflow) has none here, and one finding whose cause is refined.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) cause: Option<Cause>,
    pub(crate) owner: Program,
    pub(crate) service: Service,
}

/// What of a finding is worth telling at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gist {
    pub(crate) count: u64,
    pub(crate) cause: Option<Cause>,
    pub(crate) severity: Severity,
    pub(crate) confidence: Confidence,
    /// Grows with whatever else is worth telling in time: attempts, outcomes, drops.
    pub(crate) progress: u64,
}

/// A finding before it has an id and a status.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) gist: Gist,
    pub(crate) process: Option<Owner>,
    pub(crate) processes: Vec<(Owner, u64)>,
    pub(crate) since: MonoNs,
    pub(crate) growth_per_minute: Option<f64>,
    pub(crate) samples: Vec<SocketKey>,
    pub(crate) evidence: Evidence,
}

#[derive(Debug)]
struct Entry {
    finding: Arc<Finding>,
    /// The progress that it told.
    progress: u64,
    /// When its owner wants to be asked for fresh numbers.
    due: Option<MonoNs>,
}

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: BTreeMap<Subject, Entry>,
    due: BTreeSet<(MonoNs, Subject)>,
    /// Resolved subjects in order of time: their ids are kept for [`REOPEN_WITHIN`].
    resolved: VecDeque<(MonoNs, Subject)>,
    /// In the order of telling: see [`incidents`].
    open: Vec<Arc<Finding>>,
    shown: VecDeque<Arc<Finding>>,
    news: Vec<Arc<Finding>>,
    stacks: Stacks,
    last_id: u32,
    /// What is entered now is for the screen, not news.
    quiet: bool,
    crowded_out: u64,
}

impl Book {
    /// Open findings: the most severe incident first, then the oldest; within one the root first.
    pub(crate) fn open(&self) -> &[Arc<Finding>] {
        &self.open
    }

    /// Findings resolved lately, newest first.
    pub(crate) fn resolved(&self) -> impl Iterator<Item = &Arc<Finding>> {
        self.shown.iter().rev()
    }

    /// How often a finding could not open because [`OPEN`] others were.
    pub(crate) fn crowded_out(&self) -> u64 {
        self.crowded_out
    }

    /// Moves what opened, changed or resolved since the last call to `news`.
    pub(crate) fn take_news(&mut self, news: &mut Vec<Arc<Finding>>) {
        news.append(&mut self.news);
    }

    /// When an open finding next wants fresh numbers.
    pub(crate) fn next_due(&self) -> Option<MonoNs> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The open finding whose numbers are due by `at`.
    pub(crate) fn pop_due(&mut self, at: MonoNs) -> Option<Subject> {
        if self.next_due()? > at {
            return None;
        }
        let (_, subject) = self.due.pop_first()?;
        if let Some(entry) = self.entries.get_mut(&subject) {
            entry.due = None;
        }
        Some(subject)
    }

    fn is_open(entry: &Entry) -> bool {
        entry.finding.status != Status::Resolved
    }

    /// Open findings whose numbers have changed since they were told.
    pub(crate) fn changed(&self) -> Vec<Subject> {
        self.due
            .iter()
            .map(|(_, subject)| subject.clone())
            .collect()
    }

    /// Whether entries only refresh what a screen shows of open findings, and tell nothing.
    pub(crate) fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Every open subject.
    pub(crate) fn open_subjects(&self) -> Vec<Subject> {
        self.entries
            .iter()
            .filter(|(_, entry)| Self::is_open(entry))
            .map(|(subject, _)| subject.clone())
            .collect()
    }

    /// Whether a finding with this gist should be drafted now. If not, the book asks for it later.
    pub(crate) fn wants(&mut self, subject: &Subject, gist: Gist, at: MonoNs) -> bool {
        let Some(entry) = self.entries.get_mut(subject) else {
            return true;
        };
        let last = &entry.finding;
        if !Self::is_open(entry)
            || gist.severity != last.severity
            || gist.cause != last.cause
            || gist.confidence != last.confidence
            || (gist.count > last.count && gist.count >= last.count.saturating_mul(2))
        {
            return true;
        }
        if gist.count == last.count && gist.progress == entry.progress {
            return false;
        }
        if last.at.plus(UPDATE_EVERY) <= at {
            return true;
        }
        if entry.due.is_none() {
            let due = last.at.plus(UPDATE_EVERY);
            entry.due = Some(due);
            self.due.insert((due, subject.clone()));
        }
        false
    }

    /// Enters what a rule found.
    pub(crate) fn enter(&mut self, subject: &Subject, at: MonoNs, draft: Draft) {
        let known = self.entries.get(subject);
        let open = known.is_some_and(Self::is_open);
        if !open && self.quiet {
            return;
        }
        if !open && self.open.len() >= OPEN {
            self.crowded_out += 1;
            return;
        }
        let reopened = known.is_some_and(|e| at.since(e.finding.at) <= REOPEN_WITHIN);
        let id = match known {
            Some(entry) if open || reopened => entry.finding.id,
            _ => {
                self.last_id += 1;
                FindingId(self.last_id)
            }
        };
        let caused_by = self.root(subject, draft.gist.cause, &draft.evidence);
        let finding = Arc::new(Finding {
            id,
            status: if open { Status::Updated } else { Status::Open },
            kind: subject.kind,
            cause: draft.gist.cause,
            severity: draft.gist.severity,
            confidence: draft.gist.confidence,
            process: draft.process,
            processes: draft.processes,
            service: subject.service,
            count: draft.gist.count,
            since: draft.since,
            at,
            growth_per_minute: draft.growth_per_minute,
            stacks: self.stacks.again(
                subject.kind,
                &draft.samples,
                known.filter(|_| open).map(|entry| &*entry.finding),
            ),
            samples: draft.samples,
            evidence: draft.evidence,
            caused_by,
        });
        if self.quiet {
            self.show(finding);
            return;
        }
        let opens = finding.status == Status::Open;
        self.store(subject, finding, draft.gist.progress);
        if opens {
            self.tell_consequences(subject, at);
        }
    }

    /// A finding has opened that may be the root of others: they are told again, to name it.
    fn tell_consequences(&mut self, root: &Subject, at: MonoNs) {
        let Some(id) = self.entries.get(root).map(|entry| entry.finding.id) else {
            return;
        };
        let consequences: Vec<Subject> = self
            .entries
            .iter()
            .filter(|(_, entry)| Self::is_open(entry) && entry.finding.caused_by.is_none())
            .filter(|(subject, entry)| {
                self.root(subject, entry.finding.cause, &entry.finding.evidence) == Some(id)
            })
            .map(|(subject, _)| subject.clone())
            .collect();
        for subject in consequences {
            let Some(entry) = self.entries.get_mut(&subject) else {
                continue;
            };
            if let Some(due) = entry.due.replace(at) {
                self.due.remove(&(due, subject.clone()));
            }
            self.due.insert((at, subject));
        }
    }

    /// Shows a finding that somebody else concluded.
    pub(crate) fn tell(&mut self, finding: Arc<Finding>) {
        self.shown.retain(|other| other.id != finding.id);
        if finding.status != Status::Resolved {
            return self.show(finding);
        }
        self.open.retain(|other| other.id != finding.id);
        self.show_resolved(finding);
    }

    fn show_resolved(&mut self, finding: Arc<Finding>) {
        self.shown.push_back(finding);
        if self.shown.len() > SHOWN {
            self.shown.pop_front();
        }
    }

    /// The sockets of `subject` are gone, or it has been quiet.
    pub(crate) fn resolve(&mut self, subject: &Subject, at: MonoNs) {
        let Some(entry) = self.entries.get(subject).filter(|e| Self::is_open(e)) else {
            return;
        };
        let mut finding = Finding::clone(&entry.finding);
        finding.status = Status::Resolved;
        finding.at = at;
        let finding = Arc::new(finding);
        self.store(subject, finding.clone(), 0);
        self.show_resolved(finding);
        self.resolved.push_back((at, subject.clone()));
    }

    /// Puts an open finding in its place.
    fn show(&mut self, finding: Arc<Finding>) {
        self.open.retain(|other| other.id != finding.id);
        self.open.push(finding);
        incidents::arrange(&mut self.open);
    }

    fn store(&mut self, subject: &Subject, finding: Arc<Finding>, progress: u64) {
        if finding.status == Status::Resolved {
            self.open.retain(|other| other.id != finding.id);
        } else {
            self.show(finding.clone());
            self.shown.retain(|other| other.id != finding.id);
        }
        self.news.push(finding.clone());
        let entry = Entry {
            finding,
            progress,
            due: None,
        };
        if let Some(before) = self.entries.insert(subject.clone(), entry)
            && let Some(due) = before.due
        {
            self.due.remove(&(due, subject.clone()));
        }
    }

    /// Forgets what was resolved too long ago to come back.
    pub(crate) fn forget_before(&mut self, now: MonoNs) {
        while let Some((at, _)) = self.resolved.front()
            && (now.since(*at) > REOPEN_WITHIN || self.resolved.len() > REMEMBERED)
        {
            let Some((at, subject)) = self.resolved.pop_front() else {
                break;
            };
            if self
                .entries
                .get(&subject)
                .is_some_and(|e| !Self::is_open(e) && e.finding.at == at)
            {
                self.entries.remove(&subject);
            }
        }
        while let Some(finding) = self.shown.front()
            && now.since(finding.at) > REOPEN_WITHIN
        {
            self.shown.pop_front();
        }
    }
}
