//! What happened: transitions, accepts, retransmissions, resets, ends, the clock, losses.

use std::time::Duration;

use crate::engine::Annotation;
use crate::evictions::Evictions;
use crate::input::{
    Destroy, Input, Loss, LossCause, ProcessFact, Queue, QueueDrop, QueueLevel, Reset,
    ResetDirection, Retransmit, SocketKey, SynackRetransmit, Tick, Transition,
};
use crate::tcp::TcpState;
use crate::units::{MonoNs, SockId};
use crate::world::slot::{Life, Slot};
use crate::world::tags;
use crate::world::time_wait::TIME_WAIT;
use crate::world::{
    ENDED, HOLDERS, LOSSES, Moment, NAMESPACES, Origin, SOCKETS, Totals, What, World,
};

/// `tcp_fin_timeout` where the namespace's value is not known: the kernel's default.
const FIN_TIMEOUT: Duration = Duration::from_secs(60);

/// No socket behind the fact: a reset or SYN-ACK without one.
const NO_SOCKET: SockId = SockId(0);

impl Slot {
    /// Moves the socket to `state` and keeps the totals right.
    pub(super) fn enter(&mut self, totals: &mut Totals, state: TcpState, at: MonoNs) {
        if self.counted {
            let count = &mut totals.in_state[self.socket.state as usize];
            *count = count.saturating_sub(1);
        }
        // A straggler about a socket that ended must not bring it back into the totals.
        self.counted = self.life != Life::Ended;
        totals.in_state[state as usize] += u64::from(self.counted);
        self.socket.state = state;
        self.socket.since = at;
        self.socket.since_is_lower_bound = false;
    }

    /// Takes the socket out of the totals.
    pub(super) fn uncount(&mut self, totals: &mut Totals) {
        if std::mem::take(&mut self.counted) {
            let count = &mut totals.in_state[self.socket.state as usize];
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn add_holder(&mut self, holder: crate::input::Holder) {
        let holders = &mut self.socket.holders;
        match holders.binary_search_by_key(&(holder.pid, holder.fd), |it| (it.pid, it.fd)) {
            // A look knows of CLOEXEC, an event does not.
            Ok(at) => holders[at].cloexec = holder.cloexec.or(holders[at].cloexec),
            Err(at) if holders.len() < HOLDERS => {
                holders.reserve_exact(1);
                holders.insert(at, holder);
            }
            Err(_) => {}
        }
    }
}

impl World {
    /// Takes in one fact.
    pub(crate) fn apply(&mut self, input: &Input, annotation: &mut Annotation) {
        self.totals.inputs += 1;
        match input {
            Input::Transition(x) => self.transition(x, annotation),
            Input::Accept(x) => self.accept(x),
            Input::Retransmit(x) => self.retransmit(x),
            Input::SynackRetransmit(x) => self.synack_retransmit(x),
            Input::Reset(x) => self.reset(x, annotation),
            Input::QueueDrop(x) => self.queue_drop(x),
            Input::Destroy(x) => self.destroy(x),
            Input::Socket(x) => self.row(x),
            Input::Carried(x) => self.take_over(x),
            Input::Snapshot(x) => self.snapshot_mark(x),
            Input::Inspection(x) => self.inspection(x),
            Input::Listener(x) => self.listener_sample(x),
            // Of no consequence for what is known of the socket.
            Input::Stack(_) | Input::Counters(_) => {}
            Input::Netns(x) => {
                self.netns.insert(x.netns, *x);
                if self.netns.len() > NAMESPACES {
                    self.netns.pop_first();
                    self.evicted_from("namespaces", 1);
                }
            }
            Input::Process(x) => self.process_fact(x),
            Input::Loss(x) => self.loss(x),
            Input::Tick(x) => self.tick(x),
        }
        if let Some(key) = input.key()
            && let Some(slot) = self.table.get(key.sock)
        {
            annotation.process.clone_from(&slot.socket.owner);
        }
        if let Some(what) = What::of(input) {
            let key = input.key().copied().unwrap_or_default();
            let owner = annotation.process.as_ref().map(|owner| owner.process.pid);
            self.journal.add(input.at(), key, owner, what);
        }
    }

    /// The slot of a socket that an event names; created when it was not known. `state` is the one
    /// before the event.
    pub(super) fn seen(
        &mut self,
        key: &SocketKey,
        state: TcpState,
        at: MonoNs,
    ) -> Option<&mut Slot> {
        if key.sock == NO_SOCKET {
            return None;
        }
        if self.table.len() >= SOCKETS && self.table.get(key.sock).is_none() {
            self.evict();
        }
        let (slot, new) = self.table.entry(key.sock);
        if new {
            slot.socket.key = *key;
            slot.socket.first_seen = at;
            slot.enter(&mut self.totals, state, at);
            slot.socket.since_is_lower_bound = true;
            slot.snapshot = self.snapshot;
        } else {
            slot.socket.key.local.learn(key.local);
            slot.socket.key.peer.learn(key.peer);
        }
        slot.last_event = slot.last_event.max(at);
        Some(slot)
    }

    /// Makes room: the ended go first, then the oldest that is not a listener.
    fn evict(&mut self) {
        let victim = self.ended.pop_front().or_else(|| {
            self.table
                .first_where(|s| s.socket.origin != Origin::Listener)
        });
        if let Some(id) = victim {
            self.forget(id);
            self.evicted_from("sockets", 1);
        }
    }

    /// Removes a socket without a trace.
    pub(super) fn forget(&mut self, id: SockId) {
        if let Some(slot) = self.table.get_mut(id) {
            slot.uncount(&mut self.totals);
            if slot.socket.origin == Origin::Listener {
                let key = slot.socket.key;
                self.listeners.remove(id, key.netns, key.local);
                self.queues.forget(id);
            }
            self.table.remove(id);
        }
    }

    fn transition(&mut self, x: &Transition, annotation: &mut Annotation) {
        self.totals.transitions += 1;
        let Some(slot) = self.seen(&x.key, x.from, x.at) else {
            return;
        };
        let socket = &slot.socket;
        if socket.state == x.from && !socket.since_is_lower_bound {
            annotation.in_state = Some(x.at.since(socket.since));
        }
        let id = x.key.sock;
        let since =
            (socket.state == x.from && !socket.since_is_lower_bound).then_some(socket.since);
        let ends = (socket.key.local, socket.key.peer);
        let before = socket.special;
        tags::of_transition(&mut slot.socket.special, x, ends, since);
        annotation.tags = slot.socket.special.news(before);
        slot.socket.unread = x.unread.or(slot.socket.unread);
        slot.socket.listener = x.listener.or(slot.socket.listener);
        slot.timeline.push(
            x.at,
            Moment::Transition {
                from: x.from,
                to: x.to,
                by: x.context,
            },
        );
        // What follows needs other tables than the slot's.
        match (x.from, x.to) {
            (TcpState::Close, TcpState::SynSent) => self.connected(x),
            (TcpState::Close, TcpState::Listen) => self.listened(x),
            (TcpState::Listen, TcpState::SynRecv) => self.born(x),
            (TcpState::Listen, TcpState::Close) => {
                self.listeners.remove(id, x.key.netns, x.key.local);
                if let Some(slot) = self.table.get(id) {
                    let key = slot.socket.key;
                    self.listeners.remove(id, key.netns, key.local);
                }
            }
            (TcpState::SynRecv, TcpState::Established) => self.inherit(id),
            _ => {}
        }
        let call = self.closed_by(x);
        self.name_closer(x, call, annotation);
        self.enter_state(x);
    }

    /// How long the kernel keeps an orphan in FIN_WAIT2.
    pub(super) fn fin_timeout(&self, netns: crate::units::NetnsId) -> Duration {
        self.netns_facts(netns)
            .and_then(|facts| facts.tcp_fin_timeout)
            .map_or(FIN_TIMEOUT, |s| Duration::from_secs(s.into()))
    }

    fn enter_state(&mut self, x: &Transition) {
        let id = x.key.sock;
        let modelled = if x.enters_time_wait() {
            Some((TcpState::TimeWait, x.at.plus(TIME_WAIT)))
        } else if x.enters_orphan_fin_wait2() {
            let timeout = self.fin_timeout(x.key.netns);
            Some((TcpState::FinWait2, x.at.plus(timeout)))
        } else {
            None
        };
        match modelled {
            None => self.totals.edges.add(x.from, x.to, 1),
            Some((TcpState::TimeWait, _)) => self.totals.edges.add(x.from, TcpState::TimeWait, 1),
            // It stays in FIN_WAIT2, only elsewhere.
            Some(_) => {}
        }
        let Some(slot) = self.table.get_mut(id) else {
            return;
        };
        if x.has_socket {
            slot.socket.accepted = true;
        }
        // A straggler about a socket that ended must not bring it back.
        match modelled.filter(|_| slot.life != Life::Ended) {
            None => slot.enter(&mut self.totals, x.to, x.at),
            Some((state, expiry)) => {
                let orphan_fin_wait2 = state == TcpState::FinWait2;
                slot.timeline
                    .push(x.at, Moment::TimeWait { orphan_fin_wait2 });
                slot.enter(&mut self.totals, state, x.at);
                if self.modelled.insert(id, state, expiry) {
                    slot.life = Life::Modelled;
                } else {
                    // Counted until its expiry by the model; the slot may go.
                    slot.counted = false;
                }
            }
        }
    }

    fn retransmit(&mut self, x: &Retransmit) {
        self.totals.retransmits += 1;
        if let Some(slot) = self.seen(&x.key, x.state, x.at) {
            slot.socket.retransmits = slot.socket.retransmits.saturating_add(1);
            slot.timeline.push(
                x.at,
                Moment::Retransmitted {
                    fin: x.fin,
                    syn: x.syn,
                    attempt: x.attempt,
                },
            );
        }
    }

    fn synack_retransmit(&mut self, x: &SynackRetransmit) {
        self.totals.synack_retransmits += 1;
        if let Some(slot) = self.listener_slot(&x.key, x.at) {
            slot.timeline.push(
                x.at,
                Moment::SynackRetransmitted {
                    attempt: x.attempt,
                    acked: x.acked,
                },
            );
        }
    }

    fn queue_drop(&mut self, x: &QueueDrop) {
        if let Some(slot) = self.listener_slot(&x.key, x.at) {
            match x.queue {
                Queue::Syn => slot.socket.syn_depth = Some(x.depth),
                Queue::Accept => {
                    slot.socket.accept_queue = Some(QueueLevel {
                        depth: x.depth,
                        limit: x.limit,
                    });
                }
            }
        }
    }

    /// The listener that a fact names; the peer of its key is a client, not the listener's.
    pub(super) fn listener_slot(&mut self, key: &SocketKey, at: MonoNs) -> Option<&mut Slot> {
        let key = SocketKey {
            peer: crate::tcp::Endpoint::default(),
            ..*key
        };
        let known = self.table.get(key.sock).is_some();
        self.seen(&key, TcpState::Listen, at)?;
        if !known {
            self.listeners.insert(key.sock, key.netns, key.local);
        }
        let slot = self.table.get_mut(key.sock)?;
        if !known {
            slot.socket.origin = Origin::Listener;
        }
        Some(slot)
    }

    fn reset(&mut self, x: &Reset, annotation: &mut Annotation) {
        self.totals.resets += 1;
        if let Some(slot) = self.table.get_mut(x.key.sock) {
            let before = slot.socket.special;
            tags::of_reset(&mut slot.socket.special, x);
            annotation.tags = slot.socket.special.news(before);
            let sent = x.direction == ResetDirection::Sent;
            slot.timeline.push(x.at, Moment::Reset { sent });
        }
    }

    fn destroy(&mut self, x: &Destroy) {
        self.totals.destroys += 1;
        let Some(slot) = self.table.get_mut(x.key.sock) else {
            return;
        };
        slot.last_event = slot.last_event.max(x.at);
        slot.timeline.push(x.at, Moment::Destroyed);
        if slot.life == Life::Live {
            self.end(x.key.sock);
        }
    }

    /// The socket is gone; its details stay a little.
    pub(super) fn end(&mut self, id: SockId) {
        let Some(slot) = self.table.get_mut(id) else {
            return;
        };
        slot.uncount(&mut self.totals);
        if slot.life == Life::Ended {
            return;
        }
        slot.life = Life::Ended;
        slot.socket.state = match slot.socket.state {
            // The model counts on: it was TIME_WAIT when last seen.
            TcpState::TimeWait => TcpState::TimeWait,
            _ => TcpState::Close,
        };
        if slot.socket.origin == Origin::Listener {
            let key = slot.socket.key;
            self.listeners.remove(id, key.netns, key.local);
            self.queues.forget(id);
        }
        self.ended.push_back(id);
        if self.ended.len() > ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.forget(oldest);
        }
    }

    fn process_fact(&mut self, x: &ProcessFact) {
        let evicted = self.processes.apply(x);
        self.evicted_from("processes", evicted);
    }

    fn loss(&mut self, x: &Loss) {
        if x.cause == LossCause::Evicted {
            self.evicted_from(Evictions::table_of(x.kind.as_deref()), x.count);
        } else {
            self.totals.losses[x.cause as usize] += x.count;
        }
        // What the file's writer lost, the engine still saw.
        if x.cause != LossCause::Writer {
            self.lost.push_back((x.from, x.to));
            if self.lost.len() > LOSSES
                && let Some(oldest) = self.lost.pop_front()
                && let Some(next) = self.lost.front_mut()
            {
                *next = (oldest.0.min(next.0), oldest.1.max(next.1));
            }
        }
    }

    fn tick(&mut self, x: &Tick) {
        self.now = self.now.max(x.at);
        self.clock = Some(*x);
        while let Some(id) = self.modelled.expired(x.at) {
            if let Some(slot) = self.table.get(id)
                && slot.life == Life::Modelled
            {
                let state = slot.socket.state;
                self.totals.edges.add(state, TcpState::Close, 1);
                self.end(id);
            }
        }
        while let Some((state, count)) = self.modelled.expired_counted(x.at) {
            let total = &mut self.totals.in_state[state as usize];
            *total = total.saturating_sub(count);
            self.totals.edges.add(state, TcpState::Close, count);
        }
    }
}
