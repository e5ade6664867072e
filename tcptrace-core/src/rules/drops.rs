//! Which listener the kernel's drops belong to.
//!
//! A SYN or final ACK that meets a full queue is dropped without an event of its own on most hosts.
//! The kernel counts it, for the whole network namespace; samples of the listeners tell which of
//! them was full, or discarded something, at that time. Where a probe sees each drop
//! ([`QueueDrop`]), that is the truth, and the counters only confirm it: a drop is never counted
//! twice.
//!
//! The two rules that live on this, `accept_queue_overflow` and `syn_queue_overflow`, judge an
//! [`Overflow`]: the drops of one queue of the listeners of one owner and service.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::book::{Draft, Program, Subject};
use crate::evictions::Evictions;
use crate::finding::{Kind, Service, Severity};
use crate::input::{
    Counters, Destroy, DropOutcome, ListenerSample, Queue, QueueDrop, SocketKey, SynackRetransmit,
    Transition,
};
use crate::request::Request;
use crate::rules::{Bench, Timer, accept_queue_overflow, syn_queue_overflow};
use crate::tcp::TcpState;
use crate::units::{MonoNs, NetnsId, Pid, SockId};
use crate::world::World;

mod attribution;
mod listener;
mod overflow;

use attribution::Pending;
pub(crate) use listener::Listener;
pub(crate) use overflow::{Overflow, confidence};

/// Listeners followed; a host with more has its busiest in every sample anyway.
pub(crate) const LISTENERS: usize = 65_536;

/// So many records of listeners are kept without asking whether they still listen.
const ASK_FROM: usize = 1024;

/// No drop and no full queue for so long: it is over.
pub(crate) const QUIET: Duration = Duration::from_secs(60);

/// An open overflow is judged again this often.
const REVIEW: Duration = Duration::from_secs(1);

/// How often the descriptors of an overflowing listener's owner are counted.
const DESCRIPTORS_EVERY: u64 = 5;

/// With syncookies = 2 the kernel sends a cookie for every SYN, full or not.
const COOKIES_ALWAYS: u32 = 2;

/// Client addresses told apart.
const SOURCES: usize = 1024;

/// Seconds of drops kept, for rates: a threshold may ask for at most so many.
pub(crate) const SECONDS: usize = 64;

/// What the kernel counted in a namespace, and how much of it has been seen one by one.
#[derive(Debug, Default)]
struct Counted {
    last: Option<Counters>,
    accept: u64,
    syn: u64,
    /// Drops seen by a probe that no counter has confirmed yet: accept, SYN dropped, SYN cookie.
    seen: [u64; 3],
}

/// What both rules share.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    counted: BTreeMap<NetnsId, Counted>,
    listeners: BTreeMap<SockId, Listener>,
    /// With so many, those that have ended are sought and forgotten.
    ask_at: usize,
    overflows: BTreeMap<Subject, Overflow>,
    pending: BTreeMap<u64, Pending>,
    last_pending: u64,
    /// Listeners that have shown a sign of trouble: from then on their accepts and births count,
    /// until they end. Kept as facts arrive.
    watched: BTreeMap<SockId, u64>,
    evicted: u64,
}

impl Drops {
    pub(crate) fn watches_any(&self) -> bool {
        !self.watched.is_empty()
    }

    pub(crate) fn watches(&self, listener: SockId) -> bool {
        self.watched.contains_key(&listener)
    }

    fn watch(&mut self, listener: SockId) {
        self.watched.entry(listener).or_insert(0);
        if self.watched.len() > LISTENERS && self.watched.pop_first().is_some() {
            self.evicted += 1;
        }
    }

    pub(crate) fn take_evicted(&mut self, evictions: &mut Evictions) {
        evictions.add("listeners", std::mem::take(&mut self.evicted));
    }

    // Facts as they arrive.

    pub(crate) fn saw_transition(&mut self, x: &Transition, world: &World) {
        if self.watched.is_empty() {
            return;
        }
        if x.from == TcpState::Listen && x.to == TcpState::SynRecv {
            let listener = world
                .socket(x.key.sock)
                .and_then(|socket| world.listener_of(socket));
            if let Some(births) = listener.and_then(|(id, _)| self.watched.get_mut(&id)) {
                *births += 1;
            }
        }
    }

    pub(crate) fn saw_destroy(&mut self, x: &Destroy) {
        if !self.watched.is_empty() {
            self.watched.remove(&x.key.sock);
        }
    }

    pub(crate) fn saw_synack(&mut self, x: &SynackRetransmit) {
        if !x.defer_accept {
            self.watch(x.key.sock);
        }
    }

    pub(crate) fn saw_drop(&mut self, x: &QueueDrop) {
        self.watch(x.key.sock);
    }

    pub(crate) fn saw_sample(&mut self, x: &ListenerSample) {
        if listener::accept_full(x.accept) || listener::syn_full(x.syn_depth, x.accept.limit) {
            self.watch(x.key.sock);
        }
    }

    // Facts in order of time.

    pub(crate) fn accepted(&mut self, listener: SockId, pid: Pid, at: MonoNs) {
        if let Some(listener) = self.listeners.get_mut(&listener) {
            listener.last_accept = listener.last_accept.max(Some((at, pid)));
        }
    }

    /// The record of a listener that a fact names.
    fn listener(&mut self, key: &SocketKey, at: MonoNs, world: &World) -> &mut Listener {
        if !self.listeners.contains_key(&key.sock) {
            if self.listeners.len() >= self.ask_at.max(ASK_FROM) {
                self.forget_the_ended(at, world);
            }
            if self.listeners.len() >= LISTENERS && self.listeners.pop_first().is_some() {
                self.evicted += 1;
            }
        }
        let listener = self
            .listeners
            .entry(key.sock)
            .or_insert_with(|| Listener::new(key));
        listener.heard_of = listener.heard_of.max(at);
        listener
    }

    /// Forgets the listeners that have ended and are of no overflow: a program that listens anew for
    /// each task would fill memory with them. Asked at each doubling, it costs little each time.
    fn forget_the_ended(&mut self, at: MonoNs, world: &World) {
        let overflows = &self.overflows;
        self.listeners.retain(|sock, listener| {
            at.since(listener.heard_of) < QUIET
                || world
                    .socket(*sock)
                    .is_some_and(|socket| socket.state == TcpState::Listen)
                || overflows.values().any(|it| it.listeners.contains(sock))
        });
        self.ask_at = self.listeners.len() * 2;
    }

    pub(crate) fn sampled(
        &mut self,
        x: &ListenerSample,
        last_accept: Option<(MonoNs, Pid)>,
        bench: &mut Bench<'_>,
    ) {
        let listener = self.listener(&x.key, bench.at, bench.world);
        listener.sample(x, last_accept);
        let (accept_full, syn_full) = (listener.is_accept_full(), listener.is_syn_full());
        for overflow in self.overflows.values_mut() {
            let full = match overflow.queue {
                Queue::Accept => accept_full,
                Queue::Syn => syn_full,
            };
            // A queue that stays full is trouble, even when clients have stopped knocking.
            if full && overflow.listeners.contains(&x.key.sock) {
                overflow.last = overflow.last.max(bench.at);
            }
        }
    }

    pub(crate) fn dropped(&mut self, x: &QueueDrop, bench: &mut Bench<'_>) {
        let facts = bench.world.netns_facts(x.key.netns);
        let always = facts.and_then(|facts| facts.tcp_syncookies) == Some(COOKIES_ALWAYS);
        if always && x.outcome == DropOutcome::Cookie {
            return;
        }
        let counted = self.counted.entry(x.key.netns).or_default();
        let kind = match (x.queue, x.outcome) {
            (Queue::Accept, _) => 0,
            (Queue::Syn, DropOutcome::Dropped) => 1,
            (Queue::Syn, DropOutcome::Cookie) => 2,
        };
        counted.seen[kind] += 1;
        let cookie = kind == 2;
        self.listener(&x.key, bench.at, bench.world)
            .met_full_queue(x);
        let (dropped, cookies) = (u64::from(!cookie), u64::from(cookie));
        let subject = self.charge(x.queue, &x.key, bench.at, dropped, cookies, None, bench);
        if x.queue == Queue::Syn
            && let (Some(address), Some(overflow)) =
                (x.key.peer.address, self.overflows.get_mut(&subject))
            && overflow.sources.len() < SOURCES
        {
            overflow.sources.insert(address);
        }
    }

    /// A SYN-ACK was repeated: to a client that had answered, because the accept queue was full; or
    /// to one that has not.
    pub(crate) fn synack(&mut self, x: &SynackRetransmit, bench: &mut Bench<'_>) {
        if x.acked && !x.defer_accept {
            self.listener(&x.key, bench.at, bench.world).answered_at = Some(bench.at);
            let subject = self.charge(Queue::Accept, &x.key, bench.at, 0, 0, None, bench);
            if let Some(overflow) = self.overflows.get_mut(&subject) {
                overflow.answered += 1;
            }
        } else if !x.acked {
            let births = self.watched.get(&x.key.sock).copied().unwrap_or_default();
            self.listener(&x.key, bench.at, bench.world)
                .unanswered(bench.at, x, births);
        }
    }

    pub(crate) fn descriptors(&mut self, pid: Pid, bench: &mut Bench<'_>) {
        let concerned: Vec<Subject> = self
            .overflows
            .iter()
            .filter(|(_, o)| o.owner.as_ref().is_some_and(|own| own.process.pid == pid))
            .map(|(subject, _)| subject.clone())
            .collect();
        for subject in concerned {
            if self.overflows.get(&subject).is_some_and(|o| o.opened) {
                self.tell(&subject, bench);
            }
        }
    }

    /// Adds drops to the overflow of a listener; a new one is judged when its rule can tell more
    /// than that something was dropped.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call says what was dropped, where, when and how surely"
    )]
    fn charge(
        &mut self,
        queue: Queue,
        key: &SocketKey,
        since: MonoNs,
        dropped: u64,
        cookies: u64,
        inference: Option<&'static str>,
        bench: &mut Bench<'_>,
    ) -> Subject {
        let socket = bench.world.socket(key.sock);
        let owner = socket.and_then(|socket| bench.world.owner(socket));
        let port = socket.map_or(key.local.port, |socket| socket.key.local.port);
        let subject = Subject {
            kind: match queue {
                Queue::Accept => Kind::AcceptQueueOverflow,
                Queue::Syn => Kind::SynQueueOverflow,
            },
            cause: None,
            owner: Program::of(owner.as_ref().map(|o| &*o.process)),
            service: port.map_or(Service::Unknown, Service::Local),
        };
        let decide = match queue {
            Queue::Accept => accept_queue_overflow::decide_after(bench.settings),
            Queue::Syn => syn_queue_overflow::DECIDE_AFTER,
        };
        let counted = self.counted.entry(key.netns).or_default();
        let kernel = match queue {
            Queue::Accept => counted.accept,
            Queue::Syn => counted.syn,
        };
        let births_before = self.watched.get(&key.sock).copied().unwrap_or_default();
        let overflow = self.overflows.entry(subject.clone()).or_insert_with(|| {
            let next_review = bench.at.plus(decide);
            bench
                .timers
                .set(next_review, Timer::Queue(Box::new(subject.clone())));
            if let Some(owner) = &owner {
                let pid = owner.process.pid;
                bench.wishes.others.insert(Request::Descriptors(pid));
            }
            bench.wishes.others.insert(Request::Listeners(key.netns));
            Overflow {
                queue,
                netns: key.netns,
                listeners: BTreeSet::new(),
                owner: None,
                worst: key.sock,
                key: *key,
                first: since,
                last: bench.at,
                dropped: 0,
                cookies: 0,
                // A drop that counters told of is in `kernel` already.
                kernel_before: kernel.saturating_sub(if since < bench.at {
                    dropped + cookies
                } else {
                    0
                }),
                inference: None,
                answered: 0,
                unanswered: 0,
                sources: BTreeSet::new(),
                births_before,
                by_second: VecDeque::new(),
                cause: None,
                severity: Severity::Info,
                opened: false,
                reviews: 0,
                next_review,
            }
        });
        if owner.is_some() {
            overflow.owner = owner;
        }
        overflow.listeners.insert(key.sock);
        overflow.worst = key.sock;
        overflow.key = SocketKey {
            peer: crate::tcp::Endpoint::default(),
            ..socket.map_or(*key, |socket| socket.key)
        };
        overflow.last = overflow.last.max(bench.at);
        overflow.dropped += dropped;
        overflow.cookies += cookies;
        overflow.inference = inference.or(overflow.inference);
        let second = bench.at.0 / 1_000_000_000;
        match overflow.by_second.back_mut() {
            Some(last) if last.0 == second => last.1 += dropped,
            _ => overflow.by_second.push_back((second, dropped)),
        }
        if overflow.by_second.len() > SECONDS {
            overflow.by_second.pop_front();
        }
        if overflow.opened {
            self.tell(&subject, bench);
        }
        subject
    }

    /// Judges an overflow again, or ends it.
    pub(crate) fn review(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        let Some(overflow) = self
            .overflows
            .get_mut(subject)
            .filter(|overflow| overflow.next_review == bench.at)
        else {
            return;
        };
        let over = overflow.last.plus(QUIET);
        if over <= bench.at {
            self.overflows.remove(subject);
            bench.book.resolve(subject, over);
            return;
        }
        overflow.opened = true;
        overflow.reviews += 1;
        overflow.next_review = bench.at.plus(REVIEW).min(over);
        bench.timers.set(
            overflow.next_review,
            Timer::Queue(Box::new(subject.clone())),
        );
        if overflow.reviews.is_multiple_of(DESCRIPTORS_EVERY)
            && let Some(owner) = &overflow.owner
        {
            let pid = owner.process.pid;
            bench.wishes.others.insert(Request::Descriptors(pid));
        }
        self.tell(subject, bench);
    }

    fn tell(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        if let Some(draft) = self.draft(subject, bench) {
            let news = bench.book.wants(subject, draft.gist, bench.at);
            bench.book.set_quiet(!news);
            bench.book.enter(subject, bench.at, draft);
            bench.book.set_quiet(false);
        }
    }

    pub(crate) fn redraft(&mut self, subject: &Subject, bench: &mut Bench<'_>) {
        if let Some(draft) = self.draft(subject, bench) {
            bench.book.enter(subject, bench.at, draft);
        }
    }

    fn draft(&mut self, subject: &Subject, bench: &Bench<'_>) -> Option<Draft> {
        let overflow = self.overflows.get_mut(subject)?;
        let counted = self.counted.get(&overflow.netns);
        let listener = self.listeners.get(&overflow.worst);
        let kernel_now = counted.map_or(0, |counted| match overflow.queue {
            Queue::Accept => counted.accept,
            Queue::Syn => counted.syn,
        });
        let kernel = kernel_now.saturating_sub(overflow.kernel_before);
        let (gist, evidence) = match overflow.queue {
            Queue::Accept => accept_queue_overflow::judge(overflow, listener, kernel, bench),
            Queue::Syn => {
                let births = self.watched.get(&overflow.worst).copied();
                syn_queue_overflow::judge(overflow, listener, kernel, births, bench)
            }
        };
        Some(Draft {
            gist,
            process: overflow.owner.clone(),
            processes: overflow
                .owner
                .iter()
                .map(|owner| (owner.clone(), overflow.listeners.len() as u64))
                .collect(),
            since: overflow.first,
            growth_per_minute: None,
            samples: vec![overflow.key],
            evidence,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_listeners_end_with_them() {
        let mut drops = Drops::default();
        let world = World::default();
        let key = |sock| SocketKey {
            sock: SockId(sock),
            ..SocketKey::default()
        };
        // One each second, and none of them is known to listen any more.
        for second in 1..=10_000 {
            let at = MonoNs(second * 1_000_000_000);
            drops.listener(&key(second), at, &world);
        }
        assert!(
            drops.listeners.len() <= ASK_FROM,
            "{}",
            drops.listeners.len()
        );
        assert!(drops.listeners.contains_key(&SockId(10_000)));
    }
}
