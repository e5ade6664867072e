//! The orphans in FIN_WAIT2: modelled from events, proved by a count of the kernel's own table.

use std::collections::BTreeMap;

use crate::book::{Draft, Gist, Subject};
use crate::finding::{Cause, Confidence, Evidence, FinWait2Evidence, Severity};
use crate::request::Request;
use crate::rules::Bench;
use crate::rules::closing::{Level, Parties, QUIET, Seconds, start};
use crate::rules::fin_wait2_stuck::FinWait2Stuck;
use crate::units::NetnsId;

/// `tcp_fin_timeout` where it is not known, and the longest that is followed.
const FIN_TIMEOUT: u64 = 60;
const LONGEST_TIMEOUT: u64 = 240;

/// How often orphans are counted while many seem to be there, and how long a count holds.
const COUNT_EVERY: u64 = 5;
const COUNT_HOLDS: u64 = 12;

#[derive(Debug)]
pub(super) struct Orphans {
    pub(super) netns: NetnsId,
    pub(super) entered: Seconds,
    pub(super) parties: Parties,
    pub(super) told: Option<u64>,
    pub(super) opened: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) orphans: Level,
    pub(super) asked: u64,
}

impl FinWait2Stuck {
    pub(super) fn second_of_orphans(&mut self, now: u64, bench: &mut Bench<'_>) -> Option<u64> {
        let mut next = None;
        let wanted = bench.settings.fin_wait2_stuck.info_orphans.max(1);
        let subjects: Vec<Subject> = self.orphans.keys().cloned().collect();
        for subject in subjects {
            let Some(group) = self.orphans.get_mut(&subject) else {
                continue;
            };
            let timeout = fin_timeout(group.netns, bench);
            let modelled = group.entered.before(now, timeout);
            if modelled >= wanted {
                let count = self.counts.entry(group.netns).or_default();
                if now >= count.asked + COUNT_EVERY {
                    count.asked = now;
                    bench.wishes.others.insert(Request::Orphans(group.netns));
                }
            }
            let counted = fresh(&self.counts, group.netns, now);
            let worth = modelled >= wanted && counted.is_some_and(|n| n >= wanted);
            if worth {
                group.told = Some(now);
                group.opened.get_or_insert(now);
            } else if let Some(told) = group.told
                && now.saturating_sub(told) >= QUIET
            {
                group.told = None;
                group.opened = None;
                bench.book.resolve(&subject, bench.at);
            }
            let active = group.entered.last().is_some_and(|it| it + timeout >= now);
            if active || group.told.is_some() {
                next = Some(now + 1);
            } else {
                self.orphans.remove(&subject);
            }
            if worth {
                let gist = self.orphan_gist(&subject, now, bench);
                if bench.book.wants(&subject, gist, bench.at) {
                    self.draft_orphans(&subject, gist, now, bench);
                }
            }
        }
        next
    }

    pub(super) fn orphan_gist(&self, subject: &Subject, now: u64, bench: &Bench<'_>) -> Gist {
        let count = self.orphans.get(subject).map_or(0, |group| {
            let modelled = group.entered.before(now, fin_timeout(group.netns, bench));
            fresh(&self.counts, group.netns, now).map_or(modelled, |n| n.min(modelled))
        });
        Gist {
            count,
            cause: Some(Cause::Orphan),
            severity: Severity::Info,
            confidence: Confidence::Exact,
            progress: 0,
        }
    }

    pub(super) fn draft_orphans(
        &self,
        subject: &Subject,
        gist: Gist,
        now: u64,
        bench: &mut Bench<'_>,
    ) {
        let Some(group) = self.orphans.get(subject) else {
            return;
        };
        let processes = group.parties.processes(bench.world);
        let since = start(group.opened.unwrap_or(now));
        let evidence = FinWait2Evidence {
            oldest_age: bench.at.since(since),
            silent: None,
            counted: fresh(&self.counts, group.netns, now),
            fin_timeout: bench
                .world
                .netns_facts(group.netns)
                .and_then(|facts| facts.tcp_fin_timeout),
            inference: (self.orphans.len() > 1).then_some(
                "the kernel's count is of the namespace; which service they belong to is modelled",
            ),
        };
        let draft = Draft {
            gist,
            process: processes.first().map(|(owner, _)| owner.clone()),
            processes,
            since,
            growth_per_minute: None,
            samples: group.parties.samples(),
            evidence: Evidence::FinWait2(evidence),
        };
        bench.book.enter(subject, bench.at, draft);
    }
}

fn fresh(counts: &BTreeMap<NetnsId, Count>, netns: NetnsId, now: u64) -> Option<u64> {
    let (at, orphans) = counts.get(&netns)?.orphans.before(now)?;
    (at + COUNT_HOLDS >= now).then_some(orphans)
}

fn fin_timeout(netns: NetnsId, bench: &Bench<'_>) -> u64 {
    bench
        .world
        .netns_facts(netns)
        .and_then(|facts| facts.tcp_fin_timeout)
        .map_or(FIN_TIMEOUT, |seconds| {
            u64::from(seconds).clamp(1, LONGEST_TIMEOUT)
        })
}
