//! Which finding a convicted socket belongs to: joining, leaving, moving, and what the book is told.
//!
//! Invariant: a suspect has a subject exactly while it is a member of that subject's group.

use crate::book::{Program, Subject};
use crate::finding::{Cause, Evidence, Kind, Owner, Provenance, Service};
use crate::request::Request;
use crate::rules::close_wait_leak::CloseWaitLeak;
use crate::rules::close_wait_leak::group::Group;
use crate::rules::close_wait_leak::suspect::Verdict;
use crate::rules::{Bench, Timer};
use crate::units::SockId;
use crate::world::World;

/// More remotes of one owner than this are told as one finding.
const REMOTES: usize = 20;

impl CloseWaitLeak {
    pub(super) fn convict(&mut self, sock: SockId, verdict: Verdict, bench: &mut Bench<'_>) {
        let (subject, owner) = self.subject_of(sock, verdict.cause, bench.world);
        let Some(suspect) = self.suspects.get(&sock) else {
            return;
        };
        let same_subject = suspect.subject.as_ref() == Some(&subject);
        if same_subject
            && suspect.verdict == Some(verdict)
            && suspect.owner == owner.as_ref().map(|o| o.process.pid)
        {
            return;
        }
        if same_subject {
            // The finding stays open although it may be empty for a moment.
            self.take_out(sock);
        } else {
            self.leave_group(sock, bench);
        }
        self.join(sock, verdict, &subject, owner, bench);
        if let Service::Remote(..) = subject.service {
            self.roll_up(&subject, bench);
        }
        let now = self.suspects.get(&sock).and_then(|s| s.subject.clone());
        if let Some(subject) = now {
            self.tell(&subject, bench);
        }
    }

    fn subject_of(
        &self,
        sock: SockId,
        cause: Option<Cause>,
        world: &World,
    ) -> (Subject, Option<Owner>) {
        let queued = cause == Some(Cause::NeverAccepted);
        let socket = world.socket(sock);
        // Of what sits in an accept queue the listener's owner is to blame, even if somebody has
        // accepted it since.
        let inherited = socket
            .filter(|_| queued)
            .and_then(|socket| world.listener_of(socket))
            .and_then(|(listener, confidence)| {
                let owner = world.owner(world.socket(listener)?)?;
                Some(Owner {
                    provenance: Provenance::Inherited,
                    confidence: confidence.min(owner.confidence),
                    ..owner
                })
            });
        let blamed = || self.suspects.get(&sock)?.blamed.clone();
        let owner = inherited.or_else(blamed);
        let program = Program::of(owner.as_ref().map(|o| &*o.process));
        let mut service = socket.map_or(Service::Unknown, |socket| world.service(socket));
        // What sits in an accept queue was opened passively, whatever else is known of it.
        if queued && let Some(port) = socket.and_then(|s| s.key.local.port) {
            service = Service::Local(port);
        }
        if matches!(service, Service::Remote(..))
            && self.rolled_up.contains(&(cause, program.clone()))
        {
            service = Service::ManyRemotes;
        }
        let subject = Subject {
            kind: Kind::CloseWaitLeak,
            cause,
            owner: program,
            service,
        };
        (subject, owner)
    }

    fn join(
        &mut self,
        sock: SockId,
        verdict: Verdict,
        subject: &Subject,
        owner: Option<Owner>,
        bench: &mut Bench<'_>,
    ) {
        let Some(suspect) = self.suspects.get_mut(&sock) else {
            return;
        };
        let new = !self.groups.contains_key(subject);
        let group = self
            .groups
            .entry(subject.clone())
            .or_insert_with(|| Group::new(bench.at));
        suspect.owner = owner.as_ref().map(|o| o.process.pid);
        suspect.verdict = Some(verdict);
        suspect.subject = Some(subject.clone());
        group.add((suspect.entered, sock), verdict.confidence, owner);
        let oldest = group.members.first().is_some_and(|(_, id)| *id == sock);
        let look = self.looks.remove(&sock);
        if let Some(look) = look.filter(|_| oldest || group.proof.is_none()) {
            group.proof = Some((sock, look));
        }
        if !new {
            if let Some(minute) = group.wake(bench.at) {
                bench
                    .timers
                    .set(minute, Timer::Minute(Box::new(subject.clone())));
            }
            return;
        }
        bench
            .timers
            .set(group.next_minute, Timer::Minute(Box::new(subject.clone())));
        bench
            .timers
            .set(group.next_sample, Timer::Sample(Box::new(subject.clone())));
        if let Some(pid) = suspect.owner {
            bench.wishes.others.insert(Request::Descriptors(pid));
        }
        if subject.cause == Some(Cause::NeverAccepted)
            && let Some(socket) = bench.world.socket(sock)
        {
            let netns = socket.key.netns;
            bench.wishes.others.insert(Request::Listeners(netns));
        }
    }

    /// Takes a socket out of its finding, which may be empty then.
    fn take_out(&mut self, sock: SockId) -> Option<Subject> {
        let suspect = self.suspects.get_mut(&sock)?;
        let subject = suspect.subject.take()?;
        let verdict = suspect.verdict.take()?;
        let owner = suspect.owner.take();
        let member = (suspect.entered, sock);
        if let Some(group) = self.groups.get_mut(&subject) {
            group.remove(member, verdict.confidence, owner);
        }
        Some(subject)
    }

    pub(super) fn leave_group(&mut self, sock: SockId, bench: &mut Bench<'_>) {
        let Some(subject) = self.take_out(sock) else {
            return;
        };
        if self
            .groups
            .get(&subject)
            .is_some_and(|group| group.members.is_empty())
        {
            self.groups.remove(&subject);
            bench.book.resolve(&subject, bench.at);
        } else {
            self.tell(&subject, bench);
        }
    }

    /// Too many remotes of one owner: they become one finding.
    fn roll_up(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let alike = |other: &Subject| {
            other.cause == subject.cause
                && other.owner == subject.owner
                && matches!(other.service, Service::Remote(..))
        };
        let remotes: Vec<Subject> = self.groups.keys().filter(|s| alike(s)).cloned().collect();
        if remotes.len() <= REMOTES {
            return;
        }
        self.rolled_up
            .insert((subject.cause, subject.owner.clone()));
        for remote in remotes {
            let members: Vec<SockId> = self
                .groups
                .get(&remote)
                .map(|group| group.members.iter().map(|(_, sock)| *sock).collect())
                .unwrap_or_default();
            for sock in members {
                if let Some(verdict) = self.suspects.get(&sock).and_then(|s| s.verdict) {
                    let (subject, owner) = self.subject_of(sock, verdict.cause, bench.world);
                    self.leave_group(sock, bench);
                    self.join(sock, verdict, &subject, owner, bench);
                }
            }
        }
    }

    /// Tells the book, which decides whether it is news.
    pub(super) fn tell(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        if let Some(group) = self.groups.get_mut(subject) {
            let gist = group.gist(subject.cause, bench);
            if bench.book.wants(subject, gist, bench.at) {
                self.redraft(subject, bench);
            }
        }
    }

    /// Enters the finding with its numbers and evidence as they are now.
    pub(crate) fn redraft(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let Some(group) = self.groups.get_mut(subject) else {
            return;
        };
        let mut draft = group.draft(subject.cause, bench);
        let oldest = group.members.first().map(|(_, sock)| *sock);
        let proved_by = group.proof.as_ref().map(|(sock, _)| *sock).or(oldest);
        if let Evidence::CloseWait(evidence) = &mut draft.evidence {
            if let Some(suspect) = proved_by.and_then(|sock| self.suspects.get(&sock)) {
                evidence.unread = evidence.unread.or(suspect.unread());
                evidence.unread_at_fin = suspect.at_fin.unread;
                evidence.peeks = suspect.peeks;
                evidence.inference = suspect.verdict.and_then(|v| v.inference);
            }
            evidence.age_is_lower_bound = oldest
                .and_then(|sock| self.suspects.get(&sock))
                .is_some_and(|suspect| suspect.lower_bound);
            if subject.cause == Some(Cause::NeverAccepted) {
                let listener = oldest
                    .and_then(|sock| bench.world.socket(sock))
                    .and_then(|socket| bench.world.listener_of(socket))
                    .map(|(listener, _)| listener);
                evidence.listener_watched = listener.and_then(|l| self.watched.get(&l)).copied();
                let last = listener
                    .and_then(|l| bench.world.socket(l))
                    .and_then(crate::world::Socket::last_accept)
                    .filter(|(at, _)| *at <= bench.at);
                evidence.last_accept = last.map(|(at, _)| at);
                evidence.last_acceptor = last.map(|(_, pid)| pid);
                evidence.acceptor_lives = last
                    .and_then(|(_, pid)| bench.world.process(pid))
                    .map(|process| process.exited.is_none_or(|at| at > bench.at));
            }
        }
        bench.book.enter(subject, bench.at, draft);
    }
}
