//! `fin_retransmit`: a FIN of ours in FIN_WAIT1, CLOSING or LAST_ACK stays unanswered and is sent
//! again. The peer is gone, or the path drops what we send.
//!
//! A loss probe is not an attempt: it is sent after a fraction of the timeout on healthy paths too.
//! Segments that repeat data before the FIN are counted apart: there the FIN is not what is stuck.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::book::{Draft, Gist, Program, Subject};
use crate::finding::{
    Confidence, Evidence, FinOutcomes, Kind, Owner, Provenance, Service, Severity,
};
use crate::input::{Destroy, Retransmit, RetransmitReason, Transition};
use crate::rules::per_second::PerSecond;
use crate::rules::{Bench, Fact, Timer};
use crate::tcp::TcpState;
use crate::units::{MonoNs, SockId};
use crate::world::{Socket, World};

mod group;

use group::{Group, evidence};

/// After so long without news it is over.
const QUIET: Duration = Duration::from_secs(60);

/// Closing connections followed at once. Each repeats a FIN; a host with more has one cause.
const FOLLOWED: usize = 65_536;

const SAMPLES: usize = 8;
const PROCESSES: usize = 8;

const ETIMEDOUT: u16 = 110;
const ECONNRESET: u16 = 104;
const ECONNREFUSED: u16 = 111;
const EPIPE: u16 = 32;

/// How a closing connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Acknowledged,
    Reset,
    TimedOut,
}

/// One closing connection that repeated something.
#[derive(Debug)]
struct Closing {
    fins: u32,
    /// Attempts before the tracer saw the first.
    before: u32,
    first: MonoNs,
    last: Retransmit,
    data: u64,
    /// Who owned or closed it, as of the last repetition.
    owner: Option<Owner>,
    subject: Option<Subject>,
}

/// What the world knew of a closing connection when it repeated something.
#[derive(Debug)]
pub(crate) struct Seen {
    /// It was closing before the tracer saw it.
    late: bool,
    owner: Option<Owner>,
}

impl Closing {
    fn attempts(&self) -> u32 {
        self.before + self.fins
    }
}

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct FinRetransmit {
    /// Those whose end must be told, known as soon as they repeat.
    followed: BTreeSet<SockId>,
    closing: BTreeMap<SockId, Closing>,
    groups: BTreeMap<Subject, Group>,
    closes: PerSecond,
}

impl FinRetransmit {
    pub(crate) fn saw_retransmit(
        &mut self,
        x: &Retransmit,
        world: &World,
        waiting: &mut Vec<(MonoNs, Fact)>,
    ) {
        self.followed.insert(x.key.sock);
        let socket = world.socket(x.key.sock);
        let seen = Seen {
            late: socket.is_none_or(|socket| socket.since_is_lower_bound),
            owner: socket.and_then(|socket| owner(socket, world)),
        };
        waiting.push((x.at, Fact::Fin(Box::new(*x), seen)));
    }

    pub(crate) fn saw_transition(&mut self, x: &Transition, waiting: &mut Vec<(MonoNs, Fact)>) {
        if x.to == TcpState::Close && x.from != TcpState::Listen {
            self.closes.add(x.at);
        }
        if self.followed.is_empty()
            || !x.from.awaits_fin_ack()
            || x.to.awaits_fin_ack()
            || !self.followed.remove(&x.key.sock)
        {
            return;
        }
        let ending = match x.error {
            Some(ETIMEDOUT) => Ending::TimedOut,
            Some(ECONNRESET | ECONNREFUSED | EPIPE) => Ending::Reset,
            // Unreachable and the like: the kernel gave up.
            Some(_) => Ending::TimedOut,
            None => Ending::Acknowledged,
        };
        waiting.push((x.at, Fact::FinEnded(x.key.sock, ending)));
    }

    pub(crate) fn saw_destroy(&mut self, x: &Destroy, waiting: &mut Vec<(MonoNs, Fact)>) {
        // Its last transition was lost.
        if !self.followed.is_empty() && self.followed.remove(&x.key.sock) {
            waiting.push((x.at, Fact::FinEnded(x.key.sock, Ending::Acknowledged)));
        }
    }

    pub(crate) fn retransmitted(&mut self, x: &Retransmit, seen: Seen, bench: &mut Bench<'_>) {
        let sock = x.key.sock;
        let closing = self.closing.entry(sock).or_insert_with(|| Closing {
            fins: 0,
            before: 0,
            first: x.at,
            last: *x,
            data: 0,
            owner: None,
            subject: None,
        });
        closing.owner = seen.owner.or(closing.owner.take());
        if !x.fin {
            closing.data += 1;
        } else if x.reason != RetransmitReason::LossProbe {
            if closing.fins == 0 && seen.late {
                closing.before = u32::from(x.attempt).saturating_sub(1);
            }
            closing.fins += 1;
            closing.last = *x;
        }
        let info = bench.settings.fin_retransmit.info_attempt;
        let qualifies = u64::from(closing.attempts()) >= info && closing.fins > 0;
        match closing.subject.clone() {
            None if qualifies => self.join(sock, bench),
            None => {}
            Some(subject) => {
                self.progress(sock, &subject, u64::from(!x.fin), bench.at);
                self.tell(&subject, bench);
            }
        }
        if self.closing.len() > FOLLOWED
            && let Some((victim, _)) = self.closing.pop_first()
        {
            self.followed.remove(&victim);
            bench.wishes.evicted.add(Kind::FinRetransmit.name(), 1);
        }
    }

    /// Notes in the group that one of its connections repeated.
    fn progress(&mut self, sock: SockId, subject: &Subject, data: u64, at: MonoNs) {
        if let (Some(group), Some(closing)) =
            (self.groups.get_mut(subject), self.closing.get(&sock))
        {
            group.data += data;
            group.active = at;
            let attempts = closing.attempts();
            let worst = group.worst.map(|(attempts, _)| attempts);
            if worst.is_none_or(|worst| attempts >= worst) {
                group.worst = Some((attempts, closing.last));
            }
        }
    }

    fn join(&mut self, sock: SockId, bench: &mut Bench<'_>) {
        let socket = bench.world.socket(sock);
        let owner = self.closing.get(&sock).and_then(|c| c.owner.clone());
        let subject = Subject {
            kind: Kind::FinRetransmit,
            cause: None,
            owner: Program::of(owner.as_ref().map(|o| &*o.process)),
            service: socket.map_or(Service::Unknown, |socket| bench.world.service(socket)),
        };
        let Some(closing) = self.closing.get_mut(&sock) else {
            return;
        };
        closing.subject = Some(subject.clone());
        let data = closing.data;
        let first = closing.first;
        let group = self.groups.entry(subject.clone()).or_insert_with(|| {
            let next_review = bench.at.plus(QUIET);
            bench
                .timers
                .set(next_review, Timer::Fin(Box::new(subject.clone())));
            Group {
                since: first,
                waiting: BTreeSet::new(),
                samples: BTreeSet::new(),
                by_process: BTreeMap::new(),
                count: 0,
                outcomes: FinOutcomes::default(),
                data: 0,
                recent: VecDeque::new(),
                worst: None,
                warned: false,
                active: bench.at,
                next_review,
            }
        });
        group.since = group.since.min(first);
        group.count += 1;
        group.outcomes.waiting += 1;
        group.waiting.insert(sock);
        if group.samples.len() < SAMPLES {
            group.samples.insert(sock);
        }
        if let Some(owner) = owner {
            let pid = owner.process.pid;
            group.by_process.entry(pid).or_insert((owner, 0)).1 += 1;
        }
        group.recent.push_back(bench.at);
        if group.recent.len() > FOLLOWED {
            group.recent.pop_front();
        }
        self.progress(sock, &subject, data, bench.at);
        self.tell(&subject, bench);
    }

    pub(crate) fn ended(&mut self, sock: SockId, ending: Ending, bench: &mut Bench<'_>) {
        let gave_up = self
            .closing
            .get(&sock)
            .is_some_and(|c| c.subject.is_none() && c.fins > 0 && ending == Ending::TimedOut);
        if gave_up {
            // Few attempts, long timeouts: it counts all the same.
            self.join(sock, bench);
        }
        let Some(subject) = self.closing.remove(&sock).and_then(|c| c.subject) else {
            return;
        };
        if let Some(group) = self.groups.get_mut(&subject)
            && group.waiting.remove(&sock)
        {
            group.active = bench.at;
            group.outcomes.waiting -= 1;
            match ending {
                Ending::Acknowledged => group.outcomes.acknowledged += 1,
                Ending::Reset => group.outcomes.reset += 1,
                Ending::TimedOut => group.outcomes.timed_out += 1,
            }
            if group.waiting.is_empty() {
                group.next_review = bench.at.plus(QUIET);
                bench
                    .timers
                    .set(group.next_review, Timer::Fin(Box::new(subject.clone())));
            }
            self.redraft(&subject, bench);
        }
    }

    /// Once a minute: does anything still wait?
    pub(crate) fn review(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let Some(group) = self
            .groups
            .get_mut(subject)
            .filter(|group| group.next_review == bench.at)
        else {
            return;
        };
        // Sockets that a snapshot removed, or that were evicted.
        let gone: Vec<SockId> = group
            .waiting
            .iter()
            .filter(|sock| !bench.world.is_live(**sock))
            .copied()
            .collect();
        for sock in gone {
            group.waiting.remove(&sock);
            group.outcomes.waiting -= 1;
            self.closing.remove(&sock);
            self.followed.remove(&sock);
        }
        let quiet_at = group.active.plus(QUIET);
        if group.waiting.is_empty() && quiet_at <= bench.at {
            self.groups.remove(subject);
            bench.book.resolve(subject, bench.at);
            return;
        }
        group.next_review = if quiet_at > bench.at {
            quiet_at
        } else {
            // Something waits and is silent: timeouts double, and so do these looks.
            bench.at.plus(QUIET.max(bench.at.since(group.active)))
        };
        bench
            .timers
            .set(group.next_review, Timer::Fin(Box::new(subject.clone())));
        self.tell(subject, bench);
    }

    fn gist(&mut self, subject: &Subject, bench: &Bench<'_>) -> Option<Gist> {
        let (at, limits) = (bench.at, &bench.settings.fin_retransmit);
        let closes = self.closes.within(at, limits.window);
        let group = self.groups.get_mut(subject)?;
        while group
            .recent
            .front()
            .is_some_and(|first| at.since(*first) > limits.window)
        {
            group.recent.pop_front();
        }
        let recent = group.recent.len() as u64;
        group.warned |=
            recent >= limits.warning_count && recent * 100 >= closes * limits.warning_percent;
        Some(Gist {
            count: group.count,
            progress: u64::from(group.worst.map_or(0, |(attempts, _)| attempts))
                + (group.count - group.outcomes.waiting),
            cause: None,
            severity: if group.warned {
                Severity::Warning
            } else {
                Severity::Info
            },
            confidence: Confidence::Exact,
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
        let mut processes: Vec<(Owner, u64)> = group.by_process.values().cloned().collect();
        processes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        processes.truncate(PROCESSES);
        let samples = group
            .samples
            .iter()
            .filter_map(|sock| bench.world.socket(*sock))
            .map(|socket| socket.key)
            .collect();
        let draft = Draft {
            gist,
            process: processes.first().map(|(owner, _)| owner.clone()),
            processes,
            since: group.since,
            growth_per_minute: None,
            samples,
            evidence: Evidence::FinRetransmit(evidence(group, bench)),
        };
        bench.book.enter(subject, bench.at, draft);
    }
}

/// Whose connection it is: an orphan's owner is who closed it.
pub(crate) fn owner(socket: &Socket, world: &World) -> Option<Owner> {
    world.owner(socket).or_else(|| {
        let (pid, _) = socket.closer?;
        Some(Owner {
            process: world.process(pid)?.info.clone(),
            provenance: Provenance::Holder,
            confidence: Confidence::Exact,
        })
    })
}
