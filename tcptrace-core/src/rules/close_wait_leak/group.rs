//! The sockets of one finding: who holds them, how their number grows, how bad that is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::book::{Draft, Gist};
use crate::finding::{Cause, CloseWaitEvidence, Confidence, Evidence, Owner, Severity};
use crate::rules::Bench;
use crate::settings::Settings;
use crate::units::{MonoNs, Pid, SockId};

/// A severity falls back only well below its threshold, so that a number around it does not flap:
/// the count at half, the share of descriptors five points lower.
const RELAXED_PERCENT: u64 = 5;

/// Named in a finding.
const SAMPLES: usize = 8;
const PROCESSES: usize = 8;

/// Forecasts further ahead are not worth a line: much else changes within a week.
const FORECAST: Duration = Duration::from_secs(7 * 86_400);

/// Minutes remembered, at most, whatever the setting asks for.
const MINUTES: u64 = 1440;

/// How many one-minute windows count as growth.
fn windows(settings: &Settings) -> usize {
    usize::try_from(settings.close_wait_leak.growth_windows.clamp(1, MINUTES)).unwrap_or(1)
}

pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// How often known leaks are looked at again, for evidence that changes.
pub(super) const AGAIN: Duration = Duration::from_secs(10);

/// The sockets of one finding.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) members: BTreeSet<(MonoNs, SockId)>,
    by_process: BTreeMap<Pid, (Owner, u64)>,
    /// Members whose verdict is exact, and likely; the others are unknown.
    exact: u64,
    likely: u64,
    pub(super) proof: Option<(SockId, CloseWaitEvidence)>,
    /// Count at the end of each of the last minutes, the newest last.
    minutes: VecDeque<u64>,
    growing: u32,
    severity: Severity,
    /// The appointments in force; older ones, of a finding that resolved and reopened, are void.
    pub(super) next_minute: MonoNs,
    pub(super) next_sample: MonoNs,
    /// The minutes are not counted while nothing changes.
    asleep: bool,
}

impl Group {
    pub(super) fn new(at: MonoNs) -> Self {
        Self {
            members: BTreeSet::new(),
            by_process: BTreeMap::new(),
            exact: 0,
            likely: 0,
            proof: None,
            minutes: VecDeque::from([1]),
            growing: 0,
            severity: Severity::Info,
            next_minute: at.plus(MINUTE),
            next_sample: at.plus(AGAIN),
            asleep: false,
        }
    }

    pub(super) fn add(
        &mut self,
        member: (MonoNs, SockId),
        confidence: Confidence,
        owner: Option<Owner>,
    ) {
        self.members.insert(member);
        match confidence {
            Confidence::Exact => self.exact += 1,
            Confidence::Likely => self.likely += 1,
            Confidence::Unknown => {}
        }
        if let Some(owner) = owner {
            let pid = owner.process.pid;
            self.by_process.entry(pid).or_insert((owner, 0)).1 += 1;
        }
    }

    pub(super) fn remove(
        &mut self,
        member: (MonoNs, SockId),
        confidence: Confidence,
        owner: Option<Pid>,
    ) {
        self.members.remove(&member);
        match confidence {
            Confidence::Exact => self.exact -= 1,
            Confidence::Likely => self.likely -= 1,
            Confidence::Unknown => {}
        }
        if let Some(pid) = owner
            && let Some(entry) = self.by_process.get_mut(&pid)
        {
            entry.1 -= 1;
            if entry.1 == 0 {
                self.by_process.remove(&pid);
            }
        }
        if self.proof.as_ref().is_some_and(|(of, _)| *of == member.1) {
            self.proof = None;
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.members.len() as u64
    }

    /// A minute is over.
    pub(super) fn minute(&mut self, settings: &Settings) {
        let count = self.count();
        let grew = self.minutes.back().is_some_and(|before| count > *before);
        self.growing = if grew { self.growing + 1 } else { 0 };
        self.minutes.push_back(count);
        while self.minutes.len() > windows(settings) + 1 {
            self.minutes.pop_front();
        }
    }

    /// Falls asleep when the last minutes were all alike; returns whether it sleeps.
    pub(super) fn doze(&mut self, settings: &Settings) -> bool {
        self.asleep = self.minutes.len() > windows(settings)
            && self.minutes.iter().all(|count| *count == self.count());
        self.asleep
    }

    /// The next full minute after `at`, when the windows were asleep.
    pub(super) fn wake(&mut self, at: MonoNs) -> Option<MonoNs> {
        if !std::mem::take(&mut self.asleep) {
            return None;
        }
        let asleep = at.since(self.next_minute).as_secs() / MINUTE.as_secs() + 1;
        let minutes = u32::try_from(asleep).unwrap_or(u32::MAX);
        self.next_minute = self.next_minute.plus(MINUTE.saturating_mul(minutes));
        Some(self.next_minute)
    }

    /// Sockets per minute over the last full minutes, when it grows.
    fn growth(&self) -> Option<f64> {
        let windows = self.minutes.len().checked_sub(1).filter(|n| *n > 0)?;
        let (first, last) = (*self.minutes.front()?, *self.minutes.back()?);
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of sockets are far below 2^52"
        )]
        (last > first).then(|| (last - first) as f64 / windows as f64)
    }

    /// The holder of the most sockets; of equals the one with the lowest pid.
    pub(super) fn largest(&self) -> Option<&(Owner, u64)> {
        self.by_process
            .values()
            .rev()
            .max_by_key(|(_, count)| *count)
    }

    pub(super) fn descriptors(&self, bench: &Bench<'_>) -> Option<(u64, u64)> {
        let (owner, _) = self.largest()?;
        bench.descriptors.get(&owner.process.pid).copied()
    }

    fn judge_severity(&mut self, cause: Option<Cause>, bench: &Bench<'_>) -> Severity {
        let limits = &bench.settings.close_wait_leak;
        let count = self.count();
        let was = self.severity;
        let warning = count >= limits.warning_count
            || (was >= Severity::Warning && count >= limits.warning_count / 2)
            || self.grows(bench.settings);
        // A connection in the accept queue has no descriptor yet.
        let critical = cause != Some(Cause::NeverAccepted)
            && self.descriptors(bench).is_some_and(|(open, limit)| {
                let percent = match was {
                    Severity::Critical => limits.critical_percent.saturating_sub(RELAXED_PERCENT),
                    _ => limits.critical_percent,
                };
                open.saturating_mul(100) >= limit.saturating_mul(percent)
                    || (self.grows(bench.settings)
                        && self
                            .exhausted_in(open, limit)
                            .is_some_and(|left| left <= limits.critical_forecast))
            });
        self.severity = match (critical, warning) {
            (true, _) => Severity::Critical,
            (_, true) => Severity::Warning,
            _ => Severity::Info,
        };
        self.severity
    }

    /// It grew in as many windows in a row as make a leak, however small.
    fn grows(&self, settings: &Settings) -> bool {
        u64::from(self.growing) >= settings.close_wait_leak.growth_windows.max(1)
    }

    /// When the largest holder will have no descriptor left, if its share of the growth goes on.
    #[expect(
        clippy::cast_precision_loss,
        reason = "descriptor counts are far below 2^52"
    )]
    fn exhausted_in(&self, open: u64, limit: u64) -> Option<Duration> {
        let (_, held) = self.largest()?;
        let share = *held as f64 / self.count().max(1) as f64;
        let per_second = self.growth()? * share / MINUTE.as_secs_f64();
        let left = limit.saturating_sub(open) as f64;
        // A limit that is practically infinite is not reached in any time worth telling.
        Duration::try_from_secs_f64(left / per_second)
            .ok()
            .filter(|left| *left <= FORECAST)
    }

    /// What the finding amounts to now.
    pub(super) fn gist(&mut self, cause: Option<Cause>, bench: &Bench<'_>) -> Gist {
        Gist {
            count: self.count(),
            progress: 0,
            cause,
            severity: self.judge_severity(cause, bench),
            // No stronger than its weakest member.
            confidence: match (self.count() - self.exact - self.likely, self.likely) {
                (0, 0) => Confidence::Exact,
                (0, _) => Confidence::Likely,
                _ => Confidence::Unknown,
            },
        }
    }

    pub(super) fn draft(&mut self, cause: Option<Cause>, bench: &Bench<'_>) -> Draft {
        let gist = self.gist(cause, bench);
        let oldest = self.members.first().map_or(bench.at, |(since, _)| *since);
        let mut proof = self
            .proof
            .as_ref()
            .map(|(_, proof)| proof.clone())
            .unwrap_or_default();
        proof.oldest_age = bench.at.since(oldest);
        proof.descriptors = self.descriptors(bench);
        proof.exhausted_in = proof
            .descriptors
            .filter(|_| cause != Some(Cause::NeverAccepted))
            .and_then(|(open, limit)| self.exhausted_in(open, limit));
        let mut processes: Vec<(Owner, u64)> = self.by_process.values().cloned().collect();
        // Stable: equals stay in the order of pids.
        processes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        processes.truncate(PROCESSES);
        let mut samples: Vec<_> = self
            .members
            .iter()
            .take(SAMPLES)
            .filter_map(|(_, sock)| bench.world.socket(*sock))
            .map(|socket| socket.key)
            .collect();
        samples.sort_by_key(|key| key.sock);
        Draft {
            gist,
            process: processes.first().map(|(owner, _)| owner.clone()),
            processes,
            since: oldest,
            growth_per_minute: self.growth(),
            samples,
            evidence: Evidence::CloseWait(proof),
        }
    }
}
