//! What is sent again and again: who is followed, what belongs together, how bad it is. The rules
//! that share it (`syn_retransmit`, `synack_retransmit`, `dead_peer`) say what counts and what it
//! means.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::cohort::{Case, Cohort, Ending, Measure, Repetition};
use crate::book::{Draft, Gist, Program, Subject};
use crate::finding::{
    AttemptOutcomes, Cause, Confidence, Evidence, Kind, Owner, Service, Severity,
};
use crate::input::Sending;
use crate::rules::per_second::PerSecond;
use crate::rules::unanswered::Timer;
use crate::rules::{self, Bench, dead_peer, patience, syn_retransmit, synack_retransmit};
use crate::units::MonoNs;

/// Connections followed at once, per kind. Each repeats something; a host with more has one cause.
const FOLLOWED: usize = 65_536;

/// Remotes of one owner told apart; more are one finding.
const REMOTES: usize = 20;

const SAMPLES: usize = 8;
const PROCESSES: usize = 8;

/// After the window without news it is over.
pub(super) const QUIET: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Waiting {
    first: MonoNs,
    last: MonoNs,
    repetition: Repetition,
    subject: Option<Subject>,
}

/// Everything of one kind.
#[derive(Debug)]
pub(crate) struct Attempts {
    kind: Kind,
    cases: BTreeMap<Case, Waiting>,
    groups: BTreeMap<Subject, Cohort>,
    /// What the share is of: handshakes of this direction.
    pub(crate) all: PerSecond,
}

impl Attempts {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            cases: BTreeMap::new(),
            groups: BTreeMap::new(),
            all: PerSecond::default(),
        }
    }

    fn subject(&self, x: &Repetition) -> Subject {
        let mut subject = Subject {
            kind: self.kind,
            cause: x.cause,
            owner: Program::of(x.owner.as_ref().map(|o| &*o.process)),
            service: x.service,
        };
        let remotes = || {
            let same = |other: &&Subject| {
                other.owner == subject.owner
                    && other.cause == subject.cause
                    && matches!(other.service, Service::Remote(..))
            };
            self.groups.keys().filter(same).count()
        };
        if matches!(subject.service, Service::Remote(..))
            && !self.groups.contains_key(&subject)
            && remotes() >= REMOTES
        {
            subject.service = Service::ManyRemotes;
        }
        subject
    }

    pub(crate) fn repeated(&mut self, mut x: Repetition, bench: &mut Bench<'_>) {
        let case = x.case;
        if let (Some(syns), Some(waiting)) = (x.repeated_syns, self.cases.get(&case)) {
            let longest = patience::rto_max(bench.world.netns_facts(x.key.netns));
            let early = synack_retransmit::is_early(&x, bench.at.since(waiting.last), longest);
            x.repeated_syns = Some(syns + u32::from(early));
        }
        // Another cause is another finding: the one before has come to its end.
        let moved = self.cases.get(&case).is_some_and(|waiting| {
            waiting.repetition.cause != x.cause && waiting.subject.is_some()
        });
        if moved {
            self.ended(case, Ending::Answered, bench);
        }
        let measure = Measure::of(self.kind, bench.settings);
        let waiting = self.cases.entry(case).or_insert_with(|| Waiting {
            first: bench.at,
            last: bench.at,
            repetition: x.clone(),
            subject: None,
        });
        waiting.last = bench.at;
        let owner = x.owner.clone().or(waiting.repetition.owner.take());
        waiting.repetition = Repetition { owner, ..x };
        let qualifies = u64::from(waiting.repetition.attempt) >= measure.info_attempt;
        match waiting.subject.clone() {
            None if qualifies => self.join(case, bench),
            None => {}
            Some(subject) => {
                self.progress(case, &subject, bench.at);
                self.tell(&subject, bench);
            }
        }
        if self.cases.len() > FOLLOWED && self.cases.pop_first().is_some() {
            bench.wishes.evicted.add(self.kind.name(), 1);
        }
    }

    fn progress(&mut self, case: Case, subject: &Subject, at: MonoNs) {
        if let (Some(group), Some(waiting)) = (self.groups.get_mut(subject), self.cases.get(&case))
        {
            group.active = at;
            let worst = group.worst.as_ref().map(|worst| worst.attempt);
            if worst.is_none_or(|worst| waiting.repetition.attempt >= worst) {
                group.worst = Some(waiting.repetition.clone());
            }
        }
    }

    /// The finding that a repetition belongs to, new or old.
    fn group(&mut self, x: &Repetition, first: MonoNs, bench: &mut Bench<'_>) -> Subject {
        let subject = self.subject(x);
        let group = self.groups.entry(subject.clone()).or_insert_with(|| {
            let next_review = bench.at.plus(QUIET);
            let timer = Timer::Review(Box::new(subject.clone()));
            bench
                .timers
                .set(next_review, rules::Timer::Unanswered(timer));
            Cohort {
                since: first,
                waiting: BTreeSet::new(),
                samples: BTreeMap::new(),
                by_process: BTreeMap::new(),
                count: 0,
                outcomes: AttemptOutcomes::default(),
                recent: VecDeque::new(),
                worst: None,
                warned: false,
                active: bench.at,
                next_review,
                by_keepalive: 0,
                idle: BTreeMap::new(),
                sending: None,
            }
        });
        group.since = group.since.min(first);
        group.active = bench.at;
        if group.samples.len() < SAMPLES {
            group.samples.insert(x.case, x.key);
        }
        if let Some(owner) = &x.owner {
            let pid = owner.process.pid;
            if group.by_process.len() < FOLLOWED || group.by_process.contains_key(&pid) {
                group.by_process.entry(pid).or_insert((owner.clone(), 0)).1 += 1;
            }
        }
        subject
    }

    fn join(&mut self, case: Case, bench: &mut Bench<'_>) {
        let Some(waiting) = self.cases.get(&case) else {
            return;
        };
        let (first, repetition) = (waiting.first, waiting.repetition.clone());
        let subject = self.group(&repetition, first, bench);
        if let Some(waiting) = self.cases.get_mut(&case) {
            waiting.subject = Some(subject.clone());
        }
        if let Some(group) = self.groups.get_mut(&subject) {
            group.count += 1;
            group.outcomes.waiting += 1;
            group.waiting.insert(case);
            group.recent.push_back(bench.at);
            if group.recent.len() > FOLLOWED {
                group.recent.pop_front();
            }
        }
        self.progress(case, &subject, bench.at);
        self.tell(&subject, bench);
    }

    /// The kernel gave a peer up. If it was not seen repeating, `x` says what is known of it.
    pub(crate) fn died(&mut self, x: Repetition, by_keepalive: bool, bench: &mut Bench<'_>) {
        if self.cases.contains_key(&x.case) {
            self.ended(x.case, Ending::TimedOut, bench);
            return;
        }
        let subject = self.group(&x, bench.at, bench);
        if let Some(group) = self.groups.get_mut(&subject) {
            group.count += 1;
            group.outcomes.timed_out += 1;
            group.by_keepalive += u64::from(by_keepalive);
            group.worst.get_or_insert(x);
        }
        self.redraft(&subject, bench);
    }

    /// A silent connection without keepalive.
    pub(crate) fn silent(
        &mut self,
        x: Repetition,
        since: MonoNs,
        sending: Sending,
        bench: &mut Bench<'_>,
    ) {
        let case = x.case;
        let subject = self.subject(&x);
        if self
            .groups
            .get(&subject)
            .is_some_and(|g| g.idle.contains_key(&case))
        {
            return;
        }
        let subject = self.group(&x, since, bench);
        if let Some(group) = self.groups.get_mut(&subject) {
            group.idle.insert(case, since);
            group.sending.get_or_insert(sending);
        }
        self.tell(&subject, bench);
    }

    /// It is silent no more, or gone.
    pub(crate) fn stirred(&mut self, case: Case, bench: &mut Bench<'_>) {
        let concerned: Vec<Subject> = self
            .groups
            .iter()
            .filter(|(_, group)| group.idle.contains_key(&case))
            .map(|(subject, _)| subject.clone())
            .collect();
        for subject in concerned {
            if let Some(group) = self.groups.get_mut(&subject) {
                group.idle.remove(&case);
                group.active = bench.at;
                let over = group.waiting.is_empty() && group.idle.is_empty() && group.count == 0;
                if over {
                    self.groups.remove(&subject);
                    bench.book.resolve(&subject, bench.at);
                } else {
                    self.tell(&subject, bench);
                }
            }
        }
    }

    /// What a look told of the settings of one that repeats.
    pub(crate) fn looked(&mut self, case: Case, sending: Sending) {
        let subject = self.cases.get(&case).and_then(|w| w.subject.clone());
        if let Some(group) = subject.and_then(|subject| self.groups.get_mut(&subject)) {
            group.sending = Some(sending);
        }
    }

    /// The next repetition was due by now, and has not come: it is no longer needed.
    pub(crate) fn overdue(&mut self, case: Case, last: MonoNs, bench: &mut Bench<'_>) {
        let Some(waiting) = self.cases.get(&case).filter(|w| w.last == last) else {
            return;
        };
        let exhausted = waiting
            .repetition
            .patience
            .attempts()
            .is_some_and(|limit| waiting.repetition.attempt >= limit);
        let ending = match self.kind {
            Kind::SynackRetransmit if exhausted => Ending::TimedOut,
            // The kernel does not report how a half-open connection ends.
            Kind::SynackRetransmit => Ending::Abandoned,
            _ => Ending::Answered,
        };
        self.ended(case, ending, bench);
    }

    pub(crate) fn ended(&mut self, case: Case, ending: Ending, bench: &mut Bench<'_>) {
        let gave_up = self
            .cases
            .get(&case)
            .is_some_and(|w| w.subject.is_none() && ending == Ending::TimedOut);
        if gave_up {
            // Few attempts allowed: it counts all the same.
            self.join(case, bench);
        }
        let Some(subject) = self.cases.remove(&case).and_then(|w| w.subject) else {
            return;
        };
        if let Some(group) = self.groups.get_mut(&subject)
            && group.waiting.remove(&case)
        {
            group.active = bench.at;
            group.outcomes.waiting -= 1;
            match ending {
                Ending::Answered => group.outcomes.answered += 1,
                Ending::Reset => group.outcomes.reset += 1,
                Ending::TimedOut => group.outcomes.timed_out += 1,
                Ending::Abandoned => group.outcomes.abandoned += 1,
            }
            if group.waiting.is_empty() {
                set_review(group, bench.at.plus(QUIET), &subject, bench);
            }
            self.redraft(&subject, bench);
        }
    }

    /// Does anything still wait?
    pub(crate) fn review(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let Some(group) = self
            .groups
            .get_mut(subject)
            .filter(|group| group.next_review == bench.at)
        else {
            return;
        };
        // Sockets that a snapshot removed, or that were evicted.
        let gone: Vec<Case> = group
            .waiting
            .iter()
            .filter(|case| {
                bench.world.socket(case.sock).is_none()
                    || (case.is_socket() && !self.cases.contains_key(case))
            })
            .copied()
            .collect();
        for case in gone {
            group.waiting.remove(&case);
            group.outcomes.waiting -= 1;
            self.cases.remove(&case);
        }
        group.idle.retain(|case, _| bench.world.is_live(case.sock));
        let quiet_at = group.active.plus(QUIET);
        if group.waiting.is_empty() && group.idle.is_empty() && quiet_at <= bench.at {
            self.groups.remove(subject);
            bench.book.resolve(subject, bench.at);
            return;
        }
        let next = if quiet_at > bench.at {
            quiet_at
        } else {
            // Something waits and is silent: timeouts double, and so do these looks.
            bench.at.plus(QUIET.max(bench.at.since(group.active)))
        };
        set_review(group, next, subject, bench);
        self.tell(subject, bench);
    }

    fn gist(&mut self, subject: &Subject, bench: &Bench<'_>) -> Option<Gist> {
        let measure = Measure::of(self.kind, bench.settings);
        let all = self.all.within(bench.at, measure.window);
        let group = self.groups.get_mut(subject)?;
        while group
            .recent
            .front()
            .is_some_and(|first| bench.at.since(*first) > measure.window)
        {
            group.recent.pop_front();
        }
        let recent = group.recent.len() as u64;
        group.warned |= match measure.warning {
            // TCP_DEFER_ACCEPT asks for it: no fault.
            Some(_) if subject.cause == Some(Cause::DeferAccept) => false,
            Some((count, percent)) => recent >= count && recent * 100 >= all * percent,
            // A peer that is given up is a connection lost.
            None => group.outcomes.timed_out > 0,
        };
        let idle = group.idle.len() as u64;
        Some(Gist {
            count: group.count + idle,
            progress: u64::from(group.worst.as_ref().map_or(0, |worst| worst.attempt))
                + (group.count - group.outcomes.waiting),
            cause: subject.cause,
            severity: if group.warned {
                Severity::Warning
            } else {
                Severity::Info
            },
            confidence: match group.repeated(bench).inference {
                Some(_) => Confidence::Likely,
                None => Confidence::Exact,
            },
        })
    }

    fn tell(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        if let Some(gist) = self.gist(subject, bench)
            && bench.book.wants(subject, gist, bench.at)
        {
            self.redraft(subject, bench);
        }
    }

    pub(crate) fn redraft(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let Some(gist) = self.gist(subject, bench) else {
            return;
        };
        let Some(group) = self.groups.get(subject) else {
            return;
        };
        let evidence: Evidence = match self.kind {
            Kind::SynRetransmit => syn_retransmit::evidence(group, bench),
            Kind::SynackRetransmit => synack_retransmit::evidence(group, subject.cause, bench),
            _ => dead_peer::evidence(group, bench),
        };
        let mut processes: Vec<(Owner, u64)> = group.by_process.values().cloned().collect();
        processes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        processes.truncate(PROCESSES);
        let draft = Draft {
            gist,
            process: processes.first().map(|(owner, _)| owner.clone()),
            processes,
            since: group.since,
            growth_per_minute: None,
            samples: group.samples.values().copied().collect(),
            evidence,
        };
        bench.book.enter(subject, bench.at, draft);
    }
}

fn set_review(group: &mut Cohort, at: MonoNs, subject: &Subject, bench: &mut Bench<'_>) {
    group.next_review = at;
    let timer = rules::Timer::Unanswered(Timer::Review(Box::new(subject.clone())));
    bench.timers.set(at, timer);
}
