//! `fin_wait2_stuck`: our FIN is acknowledged, and the peer's does not come.
//!
//! `half_closed`: the descriptor is still open (shutdown for sending, no close), so that no timeout of
//! the kernel applies. A half-close in use is not stuck: the peer still sends. A look at the socket
//! tells when the last segment arrived. `orphan`: the descriptor is closed, and the kernel waits
//! `tcp_fin_timeout`. Each ordinary close passes through that state, and leaves it without an event, so
//! that only a count of the kernel's own table proves that many stay.

use std::collections::{BTreeMap, BTreeSet};

use crate::book::{Draft, Gist, Program, Subject};
use crate::evictions::Evictions;
use crate::finding::{Cause, Confidence, Evidence, FinWait2Evidence, Kind, Owner, Severity};
use crate::input::{Counters, Inspection, SocketKey, SocketRow, Transition};
use crate::request::Request;
use crate::rules::closing::{Parties, Seconds, Services, of, party};
use crate::rules::{Bench, Fact};
use crate::settings::Settings;
use crate::tcp::TcpState;
use crate::units::{MonoNs, NetnsId, SockId};
use crate::world::World;

/// Half-closed connections followed at once.
const FOLLOWED: usize = 65_536;

/// Services with orphans followed at once.
const GROUPS: usize = 1024;

/// Namespaces whose orphans are counted.
const NAMESPACES: usize = 4096;

mod orphans;

use orphans::{Count, Orphans};

/// A look is asked for this long before it is needed.
const LOOK_AHEAD: u64 = 2;

/// What is stuck is looked at again after this long; longer, the longer it has been stuck.
const AGAIN: u64 = 60;

/// A connection in FIN_WAIT2 whose descriptor is open.
#[derive(Debug)]
struct Half {
    key: SocketKey,
    since: MonoNs,
    /// When the last segment had arrived, as of the last look.
    heard: Option<MonoNs>,
    looked: bool,
    due: u64,
    subject: Option<Subject>,
}

#[derive(Debug, Default)]
struct HalfClosed {
    members: BTreeSet<(MonoNs, SockId)>,
    by_process: BTreeMap<crate::units::Pid, (Owner, u64)>,
    /// Members that no look has confirmed.
    unseen: u64,
    open: bool,
}

/// News of a half-closed connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HalfFact {
    /// It is in FIN_WAIT2, and its descriptor is open.
    Began {
        key: SocketKey,
        since: MonoNs,
        heard: Option<MonoNs>,
    },
    /// When the last segment had arrived.
    Heard(MonoNs),
    /// It left the state, or is gone.
    Ended,
}

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct FinWait2Stuck {
    /// Those whose end must be told, known as soon as they begin.
    followed: BTreeSet<SockId>,
    halves: BTreeMap<SockId, Half>,
    due: BTreeSet<(u64, SockId)>,
    groups: BTreeMap<Subject, HalfClosed>,
    orphans: BTreeMap<Subject, Orphans>,
    counts: BTreeMap<NetnsId, Count>,
    /// Findings that a connection left since the last second.
    left: BTreeSet<Subject>,
    evicted: u64,
}

impl FinWait2Stuck {
    /// Returns whether there is something to count.
    pub(super) fn saw_transition(
        &mut self,
        x: &Transition,
        world: &World,
        waiting: &mut Vec<(MonoNs, Fact)>,
        services: &mut Services,
    ) -> bool {
        if x.from == TcpState::FinWait2 {
            self.saw_end(x.key.sock, x.at, waiting);
        }
        if x.to == TcpState::FinWait2 && !x.dead && x.has_socket {
            self.begin(x.key, x.at, None, x.at, waiting);
        }
        if !x.enters_orphan_fin_wait2() {
            return false;
        }
        let Some(socket) = world.socket(x.key.sock) else {
            return false;
        };
        let owner = party(socket, world);
        let program = Program::of(owner.as_ref().map(|o| &*o.process));
        let subject = Subject {
            kind: Kind::FinWait2Stuck,
            cause: Some(Cause::Orphan),
            service: services.roll_up(&program, world.service(socket)),
            owner: program,
        };
        if !self.orphans.contains_key(&subject) && self.orphans.len() >= GROUPS {
            self.evicted += 1;
            return false;
        }
        let group = self.orphans.entry(subject).or_insert_with(|| Orphans {
            netns: x.key.netns,
            entered: Seconds::default(),
            parties: Parties::default(),
            told: None,
            opened: None,
        });
        group.entered.add(of(x.at), 1);
        group.parties.add(owner, socket.key);
        true
    }

    /// A socket that is older than the tracer.
    pub(super) fn saw_row(&mut self, x: &SocketRow, waiting: &mut Vec<(MonoNs, Fact)>) {
        if x.state == TcpState::FinWait2 && !x.dead && x.has_socket {
            let heard = x.at.minus(x.idle.unwrap_or_default());
            self.begin(x.key, heard, x.idle.map(|_| heard), x.at, waiting);
        }
    }

    fn begin(
        &mut self,
        key: SocketKey,
        since: MonoNs,
        heard: Option<MonoNs>,
        at: MonoNs,
        waiting: &mut Vec<(MonoNs, Fact)>,
    ) {
        if self.followed.contains(&key.sock) {
            return;
        }
        if self.followed.len() >= FOLLOWED {
            self.evicted += 1;
        } else {
            self.followed.insert(key.sock);
            let fact = HalfFact::Began { key, since, heard };
            waiting.push((at, Fact::HalfClosed(key.sock, fact)));
        }
    }

    /// It left FIN_WAIT2, or is gone.
    pub(super) fn saw_end(&mut self, sock: SockId, at: MonoNs, waiting: &mut Vec<(MonoNs, Fact)>) {
        if !self.followed.is_empty() && self.followed.remove(&sock) {
            waiting.push((at, Fact::HalfClosed(sock, HalfFact::Ended)));
        }
    }

    pub(super) fn saw_inspection(&self, x: &Inspection, waiting: &mut Vec<(MonoNs, Fact)>) {
        if x.state == TcpState::FinWait2
            && let Some(idle) = x.idle
            && self.followed.contains(&x.key.sock)
        {
            let fact = HalfFact::Heard(x.at.minus(idle));
            waiting.push((x.at, Fact::HalfClosed(x.key.sock, fact)));
        }
    }

    pub(super) fn saw_counters(&mut self, x: &Counters) {
        if let Some(orphans) = x.orphan_fin_wait2
            && (self.counts.len() < NAMESPACES || self.counts.contains_key(&x.netns))
        {
            let count = self.counts.entry(x.netns).or_default();
            count.orphans.set(of(x.at), orphans);
        }
    }

    /// News in order of time; returns the second at which there is something to judge.
    pub(super) fn fact(
        &mut self,
        sock: SockId,
        fact: HalfFact,
        bench: &mut Bench<'_>,
    ) -> Option<u64> {
        match fact {
            HalfFact::Began { key, since, heard } => {
                let due = look_at(since, bench.settings).max(of(bench.at) + 1);
                let half = Half {
                    key,
                    since,
                    heard,
                    looked: false,
                    due,
                    subject: None,
                };
                self.halves.insert(sock, half);
                self.due.insert((due, sock));
                Some(due)
            }
            HalfFact::Heard(at) => {
                let half = self.halves.get_mut(&sock)?;
                if let Some(group) = half.subject.as_ref().and_then(|it| self.groups.get_mut(it)) {
                    group.unseen = group.unseen.saturating_sub(u64::from(!half.looked));
                }
                half.heard = half.heard.max(Some(at));
                half.looked = true;
                None
            }
            HalfFact::Ended => {
                let half = self.halves.remove(&sock)?;
                self.due.remove(&(half.due, sock));
                let subject = half.subject?;
                if let Some(group) = self.groups.get_mut(&subject) {
                    group.members.remove(&(half.since, sock));
                    group.unseen = group.unseen.saturating_sub(u64::from(!half.looked));
                }
                self.left.insert(subject);
                Some(of(bench.at) + 1)
            }
        }
    }

    pub(super) fn take_evicted(&mut self, evictions: &mut Evictions) {
        evictions.add(
            Kind::FinWait2Stuck.name(),
            std::mem::take(&mut self.evicted),
        );
    }

    /// Judges at a full second; returns the next that is of interest.
    pub(super) fn second(&mut self, now: u64, bench: &mut Bench<'_>) -> Option<u64> {
        let mut changed = std::mem::take(&mut self.left);
        while let Some((due, sock)) = self.due.first().copied()
            && due <= now
        {
            self.due.remove(&(due, sock));
            changed.extend(self.look(sock, now, bench));
        }
        for subject in changed {
            self.tell_halves(&subject, bench);
        }
        let orphans = self.second_of_orphans(now, bench);
        let next = self.due.first().map(|(due, _)| *due);
        next.into_iter().chain(orphans).min()
    }

    /// What is due about one connection; returns the finding that changed.
    fn look(&mut self, sock: SockId, now: u64, bench: &mut Bench<'_>) -> Option<Subject> {
        let half = self.halves.get_mut(&sock)?;
        let after = bench.settings.fin_wait2_stuck.half_closed_after;
        // Quiet since: whatever came last, its own beginning or a segment.
        let quiet = half.heard.map_or(half.since, |heard| heard.max(half.since));
        let ripe = quiet.plus(after);
        if ripe > bench.at {
            // Something has arrived since: a half-close in use.
            let was = half.subject.take();
            let next = if now + LOOK_AHEAD > of(ripe) {
                bench.wishes.others.insert(Request::Inspect {
                    sock,
                    holders: false,
                });
                of(ripe) + 1
            } else {
                look_at(quiet, bench.settings).max(now + 1)
            };
            let since = half.since;
            half.due = next;
            let looked = half.looked;
            self.due.insert((next, sock));
            if let Some(group) = was.as_ref().and_then(|it| self.groups.get_mut(it)) {
                group.members.remove(&(since, sock));
                group.unseen = group.unseen.saturating_sub(u64::from(!looked));
            }
            return was;
        }
        // Looks again, the later the longer it has been stuck.
        let stuck = bench.at.since(quiet).as_secs();
        half.due = now + AGAIN.max(stuck);
        self.due.insert((half.due, sock));
        bench.wishes.others.insert(Request::Inspect {
            sock,
            holders: false,
        });
        if half.subject.is_some() {
            return half.subject.clone();
        }
        let socket = bench.world.socket(sock)?;
        let owner = party(socket, bench.world);
        let subject = Subject {
            kind: Kind::FinWait2Stuck,
            cause: Some(Cause::HalfClosed),
            owner: Program::of(owner.as_ref().map(|o| &*o.process)),
            service: bench.world.service(socket),
        };
        half.subject = Some(subject.clone());
        half.key = socket.key;
        let group = self.groups.entry(subject.clone()).or_default();
        group.members.insert((half.since, sock));
        group.unseen += u64::from(!half.looked);
        if let Some(owner) = owner {
            let pid = owner.process.pid;
            group.by_process.entry(pid).or_insert((owner, 0)).1 += 1;
        }
        Some(subject)
    }

    fn tell_halves(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let Some(group) = self.groups.get_mut(subject) else {
            return;
        };
        let count = group.members.len() as u64;
        let wanted = bench.settings.fin_wait2_stuck.warning_count.max(1);
        // Falls back at half, so that a count around the threshold does not flap.
        if count >= wanted {
            group.open = true;
        } else if group.open && count * 2 <= wanted {
            group.open = false;
            bench.book.resolve(subject, bench.at);
        }
        if group.open {
            let gist = half_gist(group);
            if bench.book.wants(subject, gist, bench.at) {
                self.draft_halves(subject, gist, bench);
            }
        } else if count == 0 {
            self.groups.remove(subject);
        }
    }

    fn draft_halves(&self, subject: &Subject, gist: Gist, bench: &mut Bench<'_>) {
        let Some(group) = self.groups.get(subject) else {
            return;
        };
        let Some((since, _)) = group.members.first() else {
            return;
        };
        let mut processes: Vec<(Owner, u64)> = group.by_process.values().cloned().collect();
        processes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        processes.truncate(8);
        let mut samples: Vec<SocketKey> = group
            .members
            .iter()
            .take(8)
            .filter_map(|(_, sock)| self.halves.get(sock))
            .map(|half| half.key)
            .collect();
        samples.sort_by_key(|key| key.sock);
        let heard = group
            .members
            .iter()
            .filter_map(|(_, sock)| self.halves.get(sock)?.heard)
            .max();
        let netns = samples.first().map(|key| key.netns);
        let evidence = FinWait2Evidence {
            oldest_age: bench.at.since(*since),
            silent: heard.map(|heard| bench.at.since(heard)),
            counted: None,
            fin_timeout: netns
                .and_then(|netns| bench.world.netns_facts(netns))
                .and_then(|facts| facts.tcp_fin_timeout),
            inference: (group.unseen > 0)
                .then_some("no look has told whether the peer still sends on some of them"),
        };
        let draft = Draft {
            gist,
            process: processes.first().map(|(owner, _)| owner.clone()),
            processes,
            since: *since,
            growth_per_minute: None,
            samples,
            evidence: Evidence::FinWait2(evidence),
        };
        bench.book.enter(subject, bench.at, draft);
    }

    pub(super) fn redraft(&mut self, subject: &Subject, now: u64, bench: &mut Bench<'_>) {
        if subject.cause == Some(Cause::Orphan) {
            let gist = self.orphan_gist(subject, now, bench);
            self.draft_orphans(subject, gist, now, bench);
        } else if let Some(group) = self.groups.get(subject) {
            let gist = half_gist(group);
            self.draft_halves(subject, gist, bench);
        }
    }
}

/// A little before it may be stuck.
fn look_at(since: MonoNs, settings: &Settings) -> u64 {
    let ripe = of(since.plus(settings.fin_wait2_stuck.half_closed_after)) + 1;
    ripe.saturating_sub(LOOK_AHEAD).max(of(since) + 1)
}

fn half_gist(group: &HalfClosed) -> Gist {
    Gist {
        count: group.members.len() as u64,
        cause: Some(Cause::HalfClosed),
        severity: Severity::Warning,
        confidence: if group.unseen > 0 {
            Confidence::Likely
        } else {
            Confidence::Exact
        },
        progress: 0,
    }
}
