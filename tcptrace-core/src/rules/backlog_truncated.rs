//! `backlog_truncated`: listen asked for a longer queue than `net.core.somaxconn` allows, and got
//! that instead. The kernel keeps the shorter value only, so equality is all that can be seen, and a
//! program that asked for exactly that much looks the same: always `likely`, and told only when
//! the queue has been well used.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::book::{Draft, Gist, Program, Subject};
use crate::finding::{
    BacklogTruncatedEvidence, Confidence, Evidence, Kind, Owner, Service, Severity,
};
use crate::input::{ListenerSample, SocketKey};
use crate::rules::unanswered::Timer;
use crate::rules::{self, Bench};
use crate::settings::Settings;
use crate::units::MonoNs;
use crate::world::World;

/// Not crowded for so long: it is over.
const QUIET: Duration = Duration::from_secs(60);

/// Findings followed; a host with more listeners in trouble has one setting to change.
const FOLLOWED: usize = 4096;

const INFERENCE: &str = "the queue's limit equals net.core.somaxconn, to which listen shortens a \
                         longer backlog";

/// A crowded queue whose limit is somaxconn.
#[derive(Clone, Debug)]
pub(crate) struct Crowded {
    key: SocketKey,
    depth: u32,
    limit: u32,
    owner: Option<Owner>,
}

/// Judges a sample, with what was known then.
pub(crate) fn crowded(x: &ListenerSample, world: &World, settings: &Settings) -> Option<Crowded> {
    let (depth, limit) = (x.accept.depth, x.accept.limit);
    let passed =
        u64::from(depth) * 100 > u64::from(limit) * settings.backlog_truncated.depth_percent;
    if !passed || world.netns_facts(x.key.netns)?.somaxconn != Some(limit) {
        return None;
    }
    let socket = world.socket(x.key.sock);
    Some(Crowded {
        key: socket.map_or(x.key, |socket| socket.key),
        depth,
        limit,
        owner: socket.and_then(|socket| world.owner(socket)),
    })
}

#[derive(Debug)]
struct Open {
    worst: Crowded,
    listeners: BTreeMap<crate::units::SockId, SocketKey>,
    first: MonoNs,
    last: MonoNs,
    next_review: MonoNs,
}

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct BacklogTruncated(BTreeMap<Subject, Open>);

impl BacklogTruncated {
    pub(crate) fn saw(&mut self, x: Crowded, bench: &mut Bench<'_>) {
        let subject = Subject {
            kind: Kind::BacklogTruncated,
            cause: None,
            owner: Program::of(x.owner.as_ref().map(|o| &*o.process)),
            service: x.key.local.port.map_or(Service::Unknown, Service::Local),
        };
        if self.0.len() >= FOLLOWED && !self.0.contains_key(&subject) {
            bench.wishes.evicted.add(Kind::BacklogTruncated.name(), 1);
            return;
        }
        let open = self.0.entry(subject.clone()).or_insert_with(|| {
            let next_review = bench.at.plus(QUIET);
            let timer = Timer::Review(Box::new(subject.clone()));
            bench
                .timers
                .set(next_review, rules::Timer::Unanswered(timer));
            Open {
                worst: x.clone(),
                listeners: BTreeMap::new(),
                first: bench.at,
                last: bench.at,
                next_review,
            }
        });
        open.last = bench.at;
        open.listeners.insert(x.key.sock, x.key);
        if x.depth >= open.worst.depth {
            open.worst = x;
        }
        let gist = gist(open);
        if bench.book.wants(&subject, gist, bench.at) {
            self.redraft(&subject, bench);
        }
    }

    pub(crate) fn review(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let Some(open) = self
            .0
            .get_mut(subject)
            .filter(|o| o.next_review == bench.at)
        else {
            return;
        };
        let over = open.last.plus(QUIET);
        if over <= bench.at {
            self.0.remove(subject);
            bench.book.resolve(subject, over);
            return;
        }
        open.next_review = over;
        let timer = Timer::Review(Box::new(subject.clone()));
        bench.timers.set(over, rules::Timer::Unanswered(timer));
    }

    pub(crate) fn redraft(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let Some(open) = self.0.get(subject) else {
            return;
        };
        let owner = open.worst.owner.clone();
        let count = open.listeners.len() as u64;
        let draft = Draft {
            gist: gist(open),
            processes: owner.iter().map(|owner| (owner.clone(), count)).collect(),
            process: owner,
            since: open.first,
            growth_per_minute: None,
            samples: open.listeners.values().take(8).copied().collect(),
            evidence: Evidence::BacklogTruncated(BacklogTruncatedEvidence {
                listener: open.worst.key,
                depth: open.worst.depth,
                limit: open.worst.limit,
                somaxconn: open.worst.limit,
                inference: INFERENCE,
            }),
        };
        bench.book.enter(subject, bench.at, draft);
    }
}

fn gist(open: &Open) -> Gist {
    Gist {
        count: open.listeners.len() as u64,
        cause: None,
        // Nothing is lost yet: an overflow is told by `accept_queue_overflow`.
        severity: Severity::Info,
        confidence: Confidence::Likely,
        progress: u64::from(open.worst.depth),
    }
}
