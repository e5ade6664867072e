//! `reset_burst`: many connections end by a reset.
//!
//! What we send shows twice: as the transition to CLOSE, which says who closed and what was unread (on
//! every kernel), and as `tcp_send_reset`, which from Linux 6.10 on gives a reason and tells of resets
//! without a socket. Resets by a task's own call are judged by their transition, the others by the
//! report of the reset. What we receive is reported once, before the transition.
//!
//! Death by timeout sends resets as well; it is `dead_peer` or `fin_retransmit`, never this.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::book::{Draft, Gist, Program, Subject};
use crate::evictions::Evictions;
use crate::finding::{
    Cause, Confidence, Evidence, Kind, Owner, Provenance, ResetEvidence, Service, Severity, Way,
};
use crate::input::{Context, Reset, ResetDirection, SocketKey, Transition};
use crate::rules::Bench;
use crate::rules::closing::{Parties, Seconds, Services, of, party, start};
use crate::tcp::TcpState;
use crate::units::{NetnsId, Pid, SockId};
use crate::world::World;

/// Groups followed at once.
const GROUPS: usize = 1024;

/// Reasons of the kernel told apart in a group.
const REASONS: usize = 8;

mod verdict;

use verdict::{Verdict, aborted, received, sent};

#[derive(Debug)]
struct Group {
    netns: NetnsId,
    way: Way,
    seen: Seconds,
    total: u64,
    parties: Parties,
    reasons: BTreeMap<Arc<str>, u64>,
    unread: Option<u32>,
    signal: Option<u8>,
    killer: Option<Pid>,
    confidence: Confidence,
    inference: Option<&'static str>,
    told: Option<u64>,
    opened: Option<u64>,
}

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct ResetBurst {
    groups: BTreeMap<Subject, Group>,
    evicted: u64,
}

impl ResetBurst {
    /// Returns whether there is something to count.
    pub(super) fn saw_transition(
        &mut self,
        x: &Transition,
        world: &World,
        services: &mut Services,
    ) -> bool {
        if x.to != TcpState::Close {
            return false;
        }
        let Some(verdict) = aborted(x, world) else {
            return false;
        };
        let owner = match verdict.cause {
            Cause::AdminKill => owner_of(&x.key, world),
            _ => actor(x.context, world).or_else(|| owner_of(&x.key, world)),
        };
        self.count(
            &x.key,
            of(x.at),
            Way::Sent,
            verdict,
            owner,
            None,
            world,
            services,
        );
        true
    }

    /// Returns whether there is something to count.
    pub(super) fn saw_reset(&mut self, x: &Reset, world: &World, services: &mut Services) -> bool {
        let reason = x.reason.clone();
        if x.direction == ResetDirection::Sent && x.context != Context::Interrupt {
            // Its transition tells; this adds the kernel's name for it.
            self.name(x, world, services);
            return false;
        }
        let (way, verdict) = match x.direction {
            ResetDirection::Received => (Way::Received, received(x)),
            ResetDirection::Sent => match sent(x, world) {
                Some(verdict) => (Way::Sent, verdict),
                None => return false,
            },
        };
        let owner = owner_of(&x.key, world);
        self.count(
            &x.key,
            of(x.at),
            way,
            verdict,
            owner,
            reason,
            world,
            services,
        );
        true
    }

    fn name(&mut self, x: &Reset, world: &World, services: &mut Services) {
        let Some(reason) = &x.reason else { return };
        let owner = actor(x.context, world).or_else(|| owner_of(&x.key, world));
        let program = Program::of(owner.as_ref().map(|o| &*o.process));
        let service = services.roll_up(&program, service_of(&x.key, world));
        // The group that its transition was counted in a moment ago.
        let group = self
            .groups
            .iter_mut()
            .filter(|(subject, group)| {
                subject.owner == program
                    && subject.service == service
                    && group.way == Way::Sent
                    && group.seen.last() == Some(of(x.at))
            })
            .map(|(_, group)| group)
            .next();
        if let Some(group) = group {
            group.reason(reason);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each says another thing of one reset"
    )]
    fn count(
        &mut self,
        key: &SocketKey,
        second: u64,
        way: Way,
        verdict: Verdict,
        owner: Option<Owner>,
        reason: Option<Arc<str>>,
        world: &World,
        services: &mut Services,
    ) {
        let program = Program::of(owner.as_ref().map(|o| &*o.process));
        let subject = Subject {
            kind: Kind::ResetBurst,
            cause: Some(verdict.cause),
            service: services.roll_up(&program, service_of(key, world)),
            owner: program,
        };
        if !self.groups.contains_key(&subject) && self.groups.len() >= GROUPS {
            self.evicted += 1;
            return;
        }
        let group = self.groups.entry(subject).or_insert_with(|| Group {
            netns: key.netns,
            way,
            seen: Seconds::default(),
            total: 0,
            parties: Parties::default(),
            reasons: BTreeMap::new(),
            unread: None,
            signal: None,
            killer: None,
            confidence: verdict.confidence,
            inference: verdict.inference,
            told: None,
            opened: None,
        });
        group.seen.add(second, 1);
        group.total += 1;
        if key.sock == SockId(0) {
            // Without a socket each is another sample of the same.
            group.parties.add(owner, *key);
        } else {
            let known = world.socket(key.sock).map_or(*key, |socket| socket.key);
            group.parties.add(owner, known);
        }
        group.unread = group.unread.max(verdict.unread);
        group.signal = verdict.signal.or(group.signal);
        group.killer = verdict.actor.or(group.killer);
        group.confidence = group.confidence.min(verdict.confidence);
        group.inference = verdict.inference.or(group.inference);
        if let Some(reason) = &reason {
            group.reason(reason);
        }
    }

    pub(super) fn take_evicted(&mut self, evictions: &mut Evictions) {
        evictions.add(Kind::ResetBurst.name(), std::mem::take(&mut self.evicted));
    }

    /// Judges at a full second; returns the next that is of interest.
    pub(super) fn second(&mut self, now: u64, closes: u64, bench: &mut Bench<'_>) -> Option<u64> {
        let thresholds = bench.settings.reset_burst;
        let window = thresholds.window.as_secs().max(1);
        let mut next = None;
        let subjects: Vec<Subject> = self.groups.keys().cloned().collect();
        for subject in subjects {
            let Some(group) = self.groups.get_mut(&subject) else {
                continue;
            };
            let recent = group.seen.before(now, window);
            // Resets without a socket close nothing.
            let of_closes = closes.max(recent);
            let worth = recent >= thresholds.warning_count.max(1)
                && recent * 100 >= of_closes * thresholds.warning_percent;
            if worth {
                group.told = Some(now);
                group.opened.get_or_insert(now);
                let gist = gist(&subject, group);
                if bench.book.wants(&subject, gist, bench.at) {
                    self.draft(&subject, gist, now, closes, bench);
                }
            } else if let Some(told) = group.told
                && now.saturating_sub(told) >= window
            {
                group.told = None;
                group.opened = None;
                bench.book.resolve(&subject, bench.at);
            }
            let Some(group) = self.groups.get(&subject) else {
                continue;
            };
            if recent > 0 || group.told.is_some() || group.seen.last() >= Some(now) {
                next = Some(now + 1);
            } else {
                self.groups.remove(&subject);
            }
        }
        next
    }

    pub(super) fn redraft(
        &mut self,
        subject: &Subject,
        now: u64,
        closes: u64,
        bench: &mut Bench<'_>,
    ) {
        if let Some(group) = self.groups.get(subject) {
            let gist = gist(subject, group);
            self.draft(subject, gist, now, closes, bench);
        }
    }

    fn draft(&self, subject: &Subject, gist: Gist, now: u64, closes: u64, bench: &mut Bench<'_>) {
        let Some(group) = self.groups.get(subject) else {
            return;
        };
        let window = bench.settings.reset_burst.window.as_secs().max(1);
        let facts = bench.world.netns_facts(group.netns);
        let processes = group.parties.processes(bench.world);
        let mut reasons: Vec<(Arc<str>, u64)> = group
            .reasons
            .iter()
            .map(|(name, count)| (name.clone(), *count))
            .collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let recent = group.seen.before(now, window);
        let evidence = ResetEvidence {
            direction: group.way,
            recent,
            closes: closes.max(recent),
            reasons,
            unread: group.unread,
            signal: group.signal,
            killer: group.killer.map(|pid| pid.0),
            abort_on_overflow: facts.and_then(|facts| facts.tcp_abort_on_overflow),
            max_orphans: facts
                .and_then(|facts| facts.tcp_max_orphans)
                .filter(|_| subject.cause == Some(Cause::Memory)),
            inference: group.inference,
        };
        let draft = Draft {
            gist,
            process: processes.first().map(|(owner, _)| owner.clone()),
            processes,
            since: start(group.opened.unwrap_or(now).saturating_sub(window)),
            growth_per_minute: None,
            samples: group.parties.samples(),
            evidence: Evidence::Resets(evidence),
        };
        bench.book.enter(subject, bench.at, draft);
    }
}

impl Group {
    fn reason(&mut self, reason: &Arc<str>) {
        if self.reasons.len() < REASONS || self.reasons.contains_key(reason) {
            *self.reasons.entry(reason.clone()).or_insert(0) += 1;
        }
    }
}

fn gist(subject: &Subject, group: &Group) -> Gist {
    Gist {
        count: group.total,
        cause: subject.cause,
        severity: Severity::Warning,
        confidence: group.confidence,
        progress: 0,
    }
}

fn actor(context: Context, world: &World) -> Option<Owner> {
    Some(Owner {
        process: world.process(context.pid()?)?.info.clone(),
        provenance: Provenance::Holder,
        confidence: Confidence::Exact,
    })
}

fn owner_of(key: &SocketKey, world: &World) -> Option<Owner> {
    party(world.socket(key.sock)?, world)
}

/// The service; without a socket, the port that the segment came to. A client whose TIME_WAITs find
/// no room resets the server's last FINs from thousands of ports, and so does a host that is scanned.
fn service_of(key: &SocketKey, world: &World) -> Service {
    match (world.socket(key.sock), key.local.port) {
        (Some(socket), _) => world.service(socket),
        (None, Some(port)) => Service::Local(port),
        (None, None) => Service::Unknown,
    }
}
