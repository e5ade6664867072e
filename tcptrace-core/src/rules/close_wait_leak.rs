//! `close_wait_leak`: reached CLOSE_WAIT and never left. The peer sent its FIN, our side never did.
//!
//! A socket becomes a suspect when it stays longer than a moment. Looks at it (peeks) come back as
//! inspections; `suspect` says what they prove, `convict` which finding that is, `group` how bad it
//! is, and this file keeps who is suspected and asks for looks.
//!
//! On confidence: of `not_watched` it is exact that nobody waits on the socket (three looks over
//! two seconds), but the finding says that it was forgotten, which is inferred; the finding is
//! `likely`. A finding is no surer than its least sure socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::book::{Program, Subject};
use crate::finding::{Cause, CloseWaitEvidence, Owner, Provenance};
use crate::input::{Context, Inspection, ListenerSample, SnapshotMark, SocketRow, Transition};
use crate::request::Request;
use crate::rules::{Bench, Fact, Timer, Timers};
use crate::settings::Settings;
use crate::tcp::TcpState;
use crate::units::{MonoNs, Pid, SockId};
use crate::world::{Socket, World};

mod convict;
mod evidence;
mod group;
mod suspect;

use group::{AGAIN, Group, MINUTE};
use suspect::{Answer, AtFin, Suspect};

/// Looks per tick: 33 ms of CPU at 2 µs each, and 100,000 sockets in two seconds of ticks.
const LOOKS_PER_TICK: usize = 16_384;

/// A connection that closes properly leaves CLOSE_WAIT within milliseconds; remembering only those
/// that stay keeps the rule off the hot path.
const STAYS: Duration = Duration::from_secs(1);

/// Of a finding so many are looked at again and again: enough to see a change of cause.
const AGAIN_SOCKETS: usize = 64;

/// Looks remembered as evidence for suspects that may be convicted by them.
const LOOKS_REMEMBERED: usize = 4096;

/// A scan of every descriptor costs 75 ms on a host with 100,000: looks within this time share one.
const SCAN_EVERY: Duration = Duration::from_secs(5);

/// Just entered CLOSE_WAIT.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    at: MonoNs,
    sock: SockId,
    at_fin: AtFin,
}

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct CloseWaitLeak {
    fresh: VecDeque<Fresh>,
    suspects: BTreeMap<SockId, Suspect>,
    groups: BTreeMap<Subject, Group>,
    /// Owners whose remotes are told as one.
    rolled_up: BTreeSet<(Option<Cause>, Program)>,
    /// Whether somebody waits on a listener, by its last sample.
    watched: BTreeMap<SockId, bool>,
    last_scan: Option<MonoNs>,
    /// Looks to ask for, each suspect at most once; and whether to tell the holders too.
    wishes: VecDeque<(SockId, bool)>,
    /// What the last look at a suspect saw.
    looks: BTreeMap<SockId, CloseWaitEvidence>,
}

/// What a socket must have stayed, under these settings, to be a suspect.
fn stays(settings: &Settings) -> Duration {
    STAYS.min(settings.close_wait_leak.after / 4)
}

impl CloseWaitLeak {
    pub(crate) fn suspects(&self, sock: SockId) -> bool {
        !self.suspects.is_empty() && self.suspects.contains_key(&sock)
    }

    /// Suspects that wait only for another look: those that are old enough for a verdict, and those
    /// older than the tracer, whose first look tells their age.
    pub(crate) fn undecided(&self, now: MonoNs, settings: &Settings) -> usize {
        let due = |suspect: &&Suspect| {
            suspect.subject.is_none()
                && ((suspect.lower_bound && suspect.peeks == 0)
                    || now.since(suspect.entered) >= settings.close_wait_leak.after)
        };
        self.suspects.values().filter(due).count()
    }

    /// Whether a socket in CLOSE_WAIT is a half-close in use, by its last judgement.
    pub(crate) fn in_use(&self, sock: SockId) -> bool {
        self.suspects.get(&sock).is_some_and(|s| s.in_use)
    }

    // Facts as they arrive: who is suspected.

    pub(crate) fn saw_transition(&mut self, x: &Transition, waiting: &mut Vec<(MonoNs, Fact)>) {
        if x.to == TcpState::CloseWait {
            self.fresh.push_back(Fresh {
                at: x.at,
                sock: x.key.sock,
                at_fin: AtFin {
                    unread: x.unread.filter(|_| x.context == Context::Interrupt),
                    file_refs: x.file_refs,
                    waiter: x.waiter,
                },
            });
        } else if x.from == TcpState::CloseWait && self.suspects(x.key.sock) {
            waiting.push((x.at, Fact::LeftCloseWait(x.key.sock)));
        }
    }

    /// Makes suspects of those who stayed.
    pub(crate) fn promote(
        &mut self,
        clock: MonoNs,
        world: &World,
        settings: &Settings,
        timers: &mut Timers,
    ) {
        while let Some(fresh) = self.fresh.front().copied()
            && fresh.at.plus(stays(settings)) <= clock
        {
            self.fresh.pop_front();
            let stayed = world.socket(fresh.sock).filter(|socket| {
                socket.state == TcpState::CloseWait
                    && socket.since == fresh.at
                    && world.is_live(fresh.sock)
            });
            if let Some(socket) = stayed
                && !self.suspects.contains_key(&fresh.sock)
            {
                let look = fresh.at.plus(stays(settings));
                self.suspect(
                    socket,
                    Suspect::new(fresh.at, false, fresh.at_fin),
                    look,
                    timers,
                );
            }
        }
    }

    fn suspect(
        &mut self,
        socket: &Socket,
        mut suspect: Suspect,
        look: MonoNs,
        timers: &mut Timers,
    ) {
        let sock = socket.key.sock;
        suspect.acceptor = socket
            .owner
            .as_ref()
            .filter(|owner| owner.provenance == Provenance::Accept)
            .map(|owner| owner.process.pid);
        suspect.next = look;
        timers.set(look, Timer::Suspect(sock));
        self.suspects.insert(sock, suspect);
    }

    /// A snapshot's row in CLOSE_WAIT has been there for a while.
    pub(crate) fn saw_row(&mut self, x: &SocketRow, world: &World, timers: &mut Timers) {
        if x.state != TcpState::CloseWait || self.suspects.contains_key(&x.key.sock) {
            return;
        }
        let Some(socket) = world.socket(x.key.sock) else {
            return;
        };
        if socket.state == TcpState::CloseWait && socket.since_is_lower_bound {
            let mut suspect = Suspect::new(socket.since, true, AtFin::default());
            if !x.has_socket && !x.dead {
                suspect.found_queued(x.at, x.unread.unwrap_or_default());
            }
            self.suspect(socket, suspect, x.at, timers);
        }
    }

    /// A look that nobody asked for, at a socket that has only just entered.
    pub(crate) fn saw_inspection(
        &mut self,
        x: &Inspection,
        world: &World,
        settings: &Settings,
        timers: &mut Timers,
    ) {
        if x.state != TcpState::CloseWait || self.suspects.contains_key(&x.key.sock) {
            return;
        }
        let Some(socket) = world
            .socket(x.key.sock)
            .filter(|socket| socket.state == TcpState::CloseWait)
        else {
            return;
        };
        let fresh = self.fresh.iter().rev().find(|f| f.sock == x.key.sock);
        let at_fin = fresh.map(|f| f.at_fin).unwrap_or_default();
        let suspect = Suspect::new(socket.since, socket.since_is_lower_bound, at_fin);
        let look = socket.since.plus(stays(settings)).max(x.at);
        self.suspect(socket, suspect, look, timers);
    }

    /// A complete snapshot may have removed sockets whose end was lost.
    pub(crate) fn saw_snapshot(
        &self,
        x: &SnapshotMark,
        world: &World,
        waiting: &mut Vec<(MonoNs, Fact)>,
    ) {
        for sock in self.suspects.keys() {
            if !world.is_live(*sock) {
                waiting.push((x.at, Fact::LeftCloseWait(*sock)));
            }
        }
    }

    // Facts in order of time: what becomes of them.

    /// The appointment with a suspect: judge what is known, or look.
    pub(crate) fn look(&mut self, sock: SockId, bench: &mut Bench<'_>) {
        let Some(suspect) = self.suspects.get(&sock) else {
            return;
        };
        if suspect.next != bench.at || suspect.subject.is_some() {
            return;
        }
        // Evicted from a full world: nothing more will be heard of it.
        if !bench.world.is_live(sock) && bench.world.socket(sock).is_none() {
            self.left(sock, bench);
            return;
        }
        self.judge(sock, bench);
        let Some(suspect) = self.suspects.get_mut(&sock) else {
            return;
        };
        if suspect.subject.is_none() {
            suspect.unanswered = suspect.unanswered.saturating_add(1);
            let holders = suspect.wants_holders();
            self.wish(sock, holders, bench.at);
        }
    }

    fn wish(&mut self, sock: SockId, holders: bool, at: MonoNs) {
        let Some(suspect) = self.suspects.get_mut(&sock) else {
            return;
        };
        // It waits for its turn already; asking twice would only delay the others.
        if std::mem::replace(&mut suspect.asked, true) {
            return;
        }
        let scan = holders
            && self
                .last_scan
                .is_none_or(|last| last == at || at.since(last) >= SCAN_EVERY);
        if scan {
            self.last_scan = Some(at);
        }
        self.wishes.push_back((sock, scan));
    }

    /// Hands out looks, a portion per tick.
    pub(crate) fn hand_out(&mut self, requests: &mut Vec<Request>) {
        let mut left = LOOKS_PER_TICK;
        // One whose holders are not known yet.
        let mut unheld = None;
        while left > 0
            && let Some((sock, holders)) = self.wishes.pop_front()
        {
            // Some have left in the meantime.
            if let Some(suspect) = self.suspects.get_mut(&sock) {
                suspect.asked = false;
                if suspect.wants_holders() {
                    unheld = Some(requests.len());
                }
                requests.push(Request::Inspect { sock, holders });
                left -= 1;
            }
        }
        // A scan takes as long for one as for all of them. A crowd would wait five seconds for each
        // portion, and be looked at in vain meanwhile.
        if left == 0
            && let Some(unheld) = unheld
            && let Request::Inspect { holders, .. } = &mut requests[unheld]
        {
            *holders = true;
        }
    }

    pub(crate) fn peeked(&mut self, x: &Inspection, owner: Option<Owner>, bench: &mut Bench<'_>) {
        let Some(suspect) = self.suspects.get_mut(&x.key.sock) else {
            return;
        };
        // The transition that says so is on its way.
        if x.state != TcpState::CloseWait {
            return;
        }
        suspect.learn(x);
        suspect.blamed = owner;
        self.remember(x, bench);
        self.judge(x.key.sock, bench);
    }

    pub(crate) fn accepted(&mut self, sock: SockId, by: Pid, bench: &mut Bench<'_>) {
        let Some(suspect) = self.suspects.get_mut(&sock) else {
            return;
        };
        suspect.acceptor = Some(by);
        if suspect.queued() {
            suspect.unsettle();
            self.leave_group(sock, bench);
            self.meet(sock, bench.at, bench);
        }
    }

    pub(crate) fn sent(&mut self, sock: SockId, at: MonoNs) {
        if let Some(suspect) = self.suspects.get_mut(&sock) {
            suspect.sent(at);
        }
    }

    pub(crate) fn left(&mut self, sock: SockId, bench: &mut Bench<'_>) {
        self.leave_group(sock, bench);
        self.suspects.remove(&sock);
        self.looks.remove(&sock);
    }

    pub(crate) fn sampled(&mut self, x: &ListenerSample) {
        if let Some(waiters) = &x.waiters {
            self.watched.insert(x.key.sock, !waiters.is_empty());
            // Listeners come and go; only those asked about lately matter.
            if self.watched.len() > crate::rules::drops::LISTENERS {
                self.watched.pop_first();
            }
        }
    }

    pub(crate) fn descriptors(&mut self, pid: Pid, bench: &mut Bench<'_>) {
        let concerned: Vec<Subject> = self
            .groups
            .iter()
            .filter(|(_, group)| {
                group
                    .largest()
                    .is_some_and(|(owner, _)| owner.process.pid == pid)
            })
            .map(|(subject, _)| subject.clone())
            .collect();
        for subject in concerned {
            self.tell(&subject, bench);
        }
    }

    fn judge(&mut self, sock: SockId, bench: &mut Bench<'_>) {
        let Some(suspect) = self.suspects.get_mut(&sock) else {
            return;
        };
        let lost = bench.world.lost_between(suspect.entered, bench.at);
        let answer = suspect.judge(bench.at, bench.settings, lost);
        suspect.in_use = matches!(answer, Answer::InUse { .. });
        match answer {
            Answer::Guilty(verdict) => self.convict(sock, verdict, bench),
            Answer::InUse { until } => {
                self.leave_group(sock, bench);
                self.meet(
                    sock,
                    until.max(bench.at.plus(Duration::from_millis(1))),
                    bench,
                );
            }
            Answer::TooEarly => {
                if suspect.subject.is_none() {
                    let at = suspect.appointment(bench.at, bench.settings);
                    self.meet(sock, at, bench);
                }
            }
        }
    }

    fn meet(&mut self, sock: SockId, at: MonoNs, bench: &mut Bench<'_>) {
        if let Some(suspect) = self.suspects.get_mut(&sock)
            && suspect.next != at
        {
            suspect.next = at;
            bench.timers.set(at, Timer::Suspect(sock));
        }
    }

    pub(crate) fn minute(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        if let Some(group) = self.groups.get_mut(subject) {
            if group.next_minute != bench.at {
                return;
            }
            group.minute(bench.settings);
            // A group that has long stopped growing sleeps until somebody joins.
            if !group.doze(bench.settings) {
                group.next_minute = bench.at.plus(MINUTE);
                bench
                    .timers
                    .set(group.next_minute, Timer::Minute(Box::new(subject.clone())));
            }
            self.tell(subject, bench);
        }
    }

    /// Looks again at some of a finding, and at the descriptors of its largest holder.
    pub(crate) fn sample(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let Some(group) = self
            .groups
            .get_mut(subject)
            .filter(|group| group.next_sample == bench.at)
        else {
            return;
        };
        // What is past cannot be looked at any more: a late clock skips it.
        group.next_sample = bench.at.plus(AGAIN).max(bench.clock);
        bench
            .timers
            .set(group.next_sample, Timer::Sample(Box::new(subject.clone())));
        let socks: Vec<SockId> = group
            .members
            .iter()
            .take(AGAIN_SOCKETS)
            .map(|(_, sock)| *sock)
            .collect();
        if let Some((owner, _)) = group.largest() {
            let pid = owner.process.pid;
            bench.wishes.others.insert(Request::Descriptors(pid));
        }
        for (at, sock) in socks.into_iter().enumerate() {
            let unknown = self.suspects.get(&sock).is_some_and(Suspect::wants_holders);
            // The first one's holders are shown; they may change.
            self.wish(sock, unknown || at == 0, bench.at);
        }
    }
}
