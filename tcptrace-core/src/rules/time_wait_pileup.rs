//! `time_wait_pileup`: our side closes first, often, and each close leaves a TIME_WAIT of 60 s.
//!
//! Why it closes first is told from how the connections were used until then, which the kernel says
//! with each close: one exchange each, a constant time of silence, or a constant number of exchanges.
//! An orphan in FIN_WAIT2 counts as well: the kernel keeps it in the same small object, and it becomes
//! a TIME_WAIT without another event as soon as the peer's FIN arrives.

use std::collections::BTreeMap;

use crate::book::{Draft, Gist, Program, Subject};
use crate::evictions::Evictions;
use crate::finding::{
    Cause, Confidence, Evidence, Kind, Service, Severity, Side, TimeWaitEvidence,
};
use crate::input::{Counters, Transition};
use crate::rules::Bench;
use crate::rules::closing::{
    Level, Parties, QUIET, Seconds, Services, is_remote, of, party, start,
};
use crate::tcp::TcpState;
use crate::units::NetnsId;
use crate::world::{Moment, World};

mod habit;

use habit::{Habit, Habits};

/// TCP_TIMEWAIT_LEN.
const TIME_WAIT: u64 = 60;

/// Groups followed at once; a host with more services that close first is told of these.
const GROUPS: usize = 1024;

/// Namespaces whose totals are kept.
const NAMESPACES: usize = 4096;

/// Of a namespace near its limit, the services that hold a tenth of it are to blame.
const BLAMED_PERCENT: u64 = 10;

/// The model may be this much above the kernel's count before it is corrected: the two are not of the
/// same instant.
const SLACK: u64 = 64;

#[derive(Debug, Default)]
struct Host {
    entered: Seconds,
    /// The kernel's count.
    sockets: Level,
    overflow: Option<u64>,
    overflows: Seconds,
}

#[derive(Debug)]
struct Group {
    netns: NetnsId,
    entered: Seconds,
    habits: Habits,
    parties: Parties,
    /// Since when it has been above the threshold in each second.
    above: Option<u64>,
    /// When it last was worth telling.
    told: Option<u64>,
    opened: Option<u64>,
}

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct TimeWaitPileup {
    groups: BTreeMap<Subject, Group>,
    hosts: BTreeMap<NetnsId, Host>,
    evicted: u64,
}

impl TimeWaitPileup {
    /// Returns whether there is something to count.
    pub(super) fn saw_transition(
        &mut self,
        x: &Transition,
        world: &World,
        services: &mut Services,
    ) -> bool {
        let closing = x.usage.is_some() && x.to == TcpState::FinWait1;
        let enters = x.enters_time_wait() || x.enters_orphan_fin_wait2();
        if !closing && !enters {
            return false;
        }
        let Some(socket) = world.socket(x.key.sock) else {
            return false;
        };
        let owner = party(socket, world);
        let program = Program::of(owner.as_ref().map(|o| &*o.process));
        let subject = Subject {
            kind: Kind::TimeWaitPileup,
            cause: None,
            service: services.roll_up(&program, world.service(socket)),
            owner: program,
        };
        let second = of(x.at);
        if !self.groups.contains_key(&subject) && self.groups.len() >= GROUPS {
            self.evicted += 1;
            return false;
        }
        let group = self.groups.entry(subject).or_insert_with(|| Group {
            netns: x.key.netns,
            entered: Seconds::default(),
            habits: Habits::default(),
            parties: Parties::default(),
            above: None,
            told: None,
            opened: None,
        });
        if let Some(usage) = x.usage.filter(|_| closing) {
            let established = world.timeline(x.key.sock).iter().find_map(|(at, moment)| {
                matches!(
                    moment,
                    Moment::Transition {
                        to: TcpState::Established,
                        ..
                    }
                )
                .then_some(*at)
            });
            group.habits.add(
                second,
                Habit::new(&usage, established.map(|at| x.at.since(at))),
            );
        }
        if enters {
            group.netns = x.key.netns;
            group.entered.add(second, 1);
            group.parties.add(owner, socket.key);
            if self.hosts.len() < NAMESPACES || self.hosts.contains_key(&x.key.netns) {
                let host = self.hosts.entry(x.key.netns).or_default();
                host.entered.add(second, 1);
            }
        }
        true
    }

    /// Returns whether the kernel could not keep a TIME_WAIT.
    pub(super) fn saw_counters(&mut self, x: &Counters) -> bool {
        if self.hosts.len() >= NAMESPACES && !self.hosts.contains_key(&x.netns) {
            return false;
        }
        let host = self.hosts.entry(x.netns).or_default();
        if let Some(sockets) = x.tw_sockets {
            host.sockets.set(of(x.at), sockets);
        }
        let before = host.overflow.replace(x.time_wait_overflow);
        let risen = before.map_or(0, |before| x.time_wait_overflow.saturating_sub(before));
        if risen > 0 {
            host.overflows.add(of(x.at), risen);
        }
        risen > 0
    }

    pub(super) fn take_evicted(&mut self, evictions: &mut Evictions) {
        evictions.add(
            Kind::TimeWaitPileup.name(),
            std::mem::take(&mut self.evicted),
        );
    }

    /// Judges at a full second; returns the next that is of interest.
    pub(super) fn second(&mut self, now: u64, bench: &mut Bench<'_>) -> Option<u64> {
        let mut next = None;
        let mut idle = Vec::new();
        let subjects: Vec<Subject> = self.groups.keys().cloned().collect();
        for subject in subjects {
            let Some(level) = self.level(&subject, now, bench) else {
                continue;
            };
            let Some(group) = self.groups.get_mut(&subject) else {
                continue;
            };
            let sustained = bench.settings.time_wait_pileup.info_after.as_secs();
            let above = level.many || level.share || level.overflow;
            group.above = above.then(|| group.above.unwrap_or(now));
            let lasts = group.above.is_some_and(|since| now - since >= sustained);
            let worth = level.overflow || (above && (lasts || group.opened.is_some()));
            if worth {
                group.told = Some(now);
                group.opened.get_or_insert(now);
                self.tell(&subject, now, bench);
            } else if let Some(told) = group.told
                && (level.count == 0 || now.saturating_sub(told) >= QUIET)
            {
                group.told = None;
                group.opened = None;
                bench.book.resolve(&subject, bench.at);
            }
            let Some(group) = self.groups.get(&subject) else {
                continue;
            };
            let active = group.entered.last().max(group.habits.last());
            if group.told.is_some() || active.is_some_and(|last| last + TIME_WAIT >= now) {
                next = Some(now + 1);
            } else {
                idle.push(subject);
            }
        }
        for subject in idle {
            self.groups.remove(&subject);
        }
        next
    }

    fn level(&self, subject: &Subject, now: u64, bench: &Bench<'_>) -> Option<Pile> {
        let group = self.groups.get(subject)?;
        let host = self.hosts.get(&group.netns);
        let mine = group.entered.before(now, TIME_WAIT);
        let all = host.map_or(mine, |host| host.entered.before(now, TIME_WAIT));
        // Reuse ends a TIME_WAIT early, which no event tells: the kernel's count is right.
        let counted = host
            .and_then(|host| host.sockets.before(now))
            .map(|(_, sockets)| sockets);
        let real = match counted {
            Some(counted) if all > counted + SLACK + counted / 10 => counted,
            _ => all,
        };
        let count = (mine * real).checked_div(all).unwrap_or(0);
        let blamed = count > 0 && mine * 100 >= all * BLAMED_PERCENT;
        let thresholds = &bench.settings.time_wait_pileup;
        let max = bench
            .world
            .netns_facts(group.netns)
            .and_then(|facts| facts.tcp_max_tw_buckets);
        let overflows = host.map_or(0, |host| host.overflows.before(now, QUIET));
        let since = group.opened.unwrap_or(now).saturating_sub(QUIET);
        Some(Pile {
            count,
            all: counted,
            max,
            many: count >= thresholds.info_count,
            share: blamed
                && max.is_some_and(|max| {
                    real.max(1) * 100 >= u64::from(max) * thresholds.warning_percent
                }),
            overflow: blamed && overflows > 0,
            overflows: host.map_or(0, |host| host.overflows.before(now, now - since)),
        })
    }

    fn gist(&self, subject: &Subject, level: &Pile, now: u64) -> Gist {
        let verdict = self
            .groups
            .get(subject)
            .map(|group| group.habits.verdict(now));
        let (cause, _) = verdict.unwrap_or((Cause::Unknown, ""));
        Gist {
            count: level.count,
            cause: Some(cause),
            severity: if level.overflow {
                Severity::Critical
            } else if level.share {
                Severity::Warning
            } else {
                Severity::Info
            },
            confidence: match cause {
                Cause::Unknown => Confidence::Unknown,
                _ => Confidence::Likely,
            },
            progress: level.overflows,
        }
    }

    fn tell(&mut self, subject: &Subject, now: u64, bench: &mut Bench<'_>) {
        if let Some(level) = self.level(subject, now, bench) {
            let gist = self.gist(subject, &level, now);
            if bench.book.wants(subject, gist, bench.at) {
                self.draft(subject, &level, gist, now, bench);
            }
        }
    }

    pub(super) fn redraft(&mut self, subject: &Subject, now: u64, bench: &mut Bench<'_>) {
        if let Some(level) = self.level(subject, now, bench) {
            let gist = self.gist(subject, &level, now);
            self.draft(subject, &level, gist, now, bench);
        }
    }

    fn draft(&self, subject: &Subject, level: &Pile, gist: Gist, now: u64, bench: &mut Bench<'_>) {
        let Some(group) = self.groups.get(subject) else {
            return;
        };
        let facts = bench.world.netns_facts(group.netns);
        let processes = group.parties.processes(bench.world);
        let measured = group.habits.measured(now);
        let (_, inference) = group.habits.verdict(now);
        let evidence = TimeWaitEvidence {
            closes_first: match subject.service {
                Service::Local(_) => Side::Server,
                service if is_remote(service) => Side::Client,
                _ => Side::Unknown,
            },
            per_second: group.entered.before(now, TIME_WAIT) as f64 / TIME_WAIT as f64,
            namespace_sockets: level.all,
            max_tw_buckets: level.max,
            overflows: level.overflows,
            measured: measured.count,
            lifetime: measured.lifetime,
            idle: measured.idle,
            exchanges: measured.exchanges,
            tw_reuse: facts.and_then(|facts| facts.tcp_tw_reuse),
            timestamps: facts.and_then(|facts| facts.tcp_timestamps),
            inference: Some(inference),
        };
        let draft = Draft {
            gist,
            process: processes.first().map(|(owner, _)| owner.clone()),
            processes,
            since: start(group.above.or(group.opened).unwrap_or(now)),
            growth_per_minute: None,
            samples: group.parties.samples(),
            evidence: Evidence::TimeWait(evidence),
        };
        bench.book.enter(subject, bench.at, draft);
    }
}

/// How many there are, and what that exceeds.
struct Pile {
    count: u64,
    all: Option<u64>,
    max: Option<u32>,
    many: bool,
    share: bool,
    overflow: bool,
    overflows: u64,
}
