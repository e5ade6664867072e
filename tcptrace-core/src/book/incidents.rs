//! Findings that are one incident: which brought which about, and the order in which they are told.
//!
//! A leak that exhausts descriptors stops accept, a stopped accept fills the queue, and clients in
//! the queue give up: three findings, one incident, its root first. Somebody who reads the root
//! alone can end all of it.
//!
//! Invariant: a link leads from effect to cause between different kinds or causes, in the direction
//! of the table in [`Book::root`], which has no cycles.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Book, Subject};
use crate::finding::{Cause, Evidence, Finding, FindingId, Kind, Severity};
use crate::units::MonoNs;

/// Links followed from a finding to its root: more than the table can make.
const DEPTH: usize = 8;

impl Book {
    /// The finding that brought this one about, if it is open. Of several the largest.
    pub(super) fn root(
        &self,
        subject: &Subject,
        cause: Option<Cause>,
        evidence: &Evidence,
    ) -> Option<FindingId> {
        let here =
            |other: &Subject| other.owner == subject.owner && other.service == subject.service;
        // A connection in the accept queue holds no descriptor.
        let leaks = |other: &Subject| {
            other.owner == subject.owner
                && other.kind == Kind::CloseWaitLeak
                && other.cause != Some(Cause::NeverAccepted)
        };
        match (subject.kind, cause) {
            (Kind::AcceptQueueOverflow, Some(Cause::FdLimit)) => self.largest(leaks),
            (Kind::CloseWaitLeak, Some(Cause::NeverAccepted)) => self
                .largest(|other| other.kind == Kind::AcceptQueueOverflow && here(other))
                // Few clients do not fill the queue, but without descriptors none is accepted.
                .or_else(|| self.largest(leaks).filter(|_| exhausted(evidence))),
            (Kind::SynackRetransmit, Some(Cause::AcceptQueueFull))
            | (Kind::ResetBurst, Some(Cause::ListenOverflow)) => {
                self.largest(|other| other.kind == Kind::AcceptQueueOverflow && here(other))
            }
            (Kind::SynackRetransmit, Some(Cause::NoFinalAck)) => {
                self.largest(|other| other.kind == Kind::SynQueueOverflow && here(other))
            }
            (Kind::PortExhaustion, _) => {
                self.largest(|other| other.kind == Kind::TimeWaitPileup && here(other))
            }
            _ => None,
        }
    }

    fn largest(&self, wanted: impl Fn(&Subject) -> bool) -> Option<FindingId> {
        self.entries
            .iter()
            .filter(|(subject, entry)| Self::is_open(entry) && wanted(subject))
            .max_by_key(|(_, entry)| (entry.finding.count, Reverse(entry.finding.id)))
            .map(|(_, entry)| entry.finding.id)
    }
}

/// The process has no descriptor left, or one that serves for a log file or a health check.
fn exhausted(evidence: &Evidence) -> bool {
    match evidence {
        Evidence::CloseWait(e) => e.descriptors.is_some_and(|(open, limit)| open + 1 >= limit),
        _ => false,
    }
}

/// The most severe first, then the oldest.
fn rank(finding: &Finding) -> (Reverse<Severity>, MonoNs, FindingId) {
    (Reverse(finding.severity), finding.since, finding.id)
}

/// Orders findings for telling: an incident stands where its most severe finding would, its root
/// first, each effect after its cause.
pub(super) fn arrange(findings: &mut [Arc<Finding>]) {
    let causes: BTreeMap<FindingId, Option<FindingId>> = findings
        .iter()
        .map(|finding| (finding.id, finding.caused_by))
        .collect();
    // The root of a finding, and how far it is. A cause that is not open any more is no root.
    let root = |finding: &Finding| {
        let (mut id, mut depth) = (finding.id, 0);
        while depth < DEPTH
            && let Some(cause) = causes.get(&id).copied().flatten()
            && causes.contains_key(&cause)
        {
            id = cause;
            depth += 1;
        }
        (id, depth)
    };
    let mut worst = BTreeMap::new();
    for finding in findings.iter() {
        let rank = rank(finding);
        let worst = worst.entry(root(finding).0).or_insert(rank);
        *worst = rank.min(*worst);
    }
    findings.sort_by_cached_key(|finding| {
        let (id, depth) = root(finding);
        (worst.get(&id).copied(), id, depth, rank(finding))
    });
}
