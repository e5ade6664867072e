//! The world handed on from one segment of a recording to the next, so that each stands alone.
//!
//! Invariant: taking in what one's own checkpoint says changes nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::finding::Owner;
use crate::input::{Carried, CarriedOwner, Input, ProcessFact, ProcessInfo, SocketRow};
use crate::tcp::TcpState;
use crate::units::MonoNs;
use crate::world::slot::{Life, Slot};
use crate::world::time_wait::TIME_WAIT;
use crate::world::{Moment, Origin, World};

impl World {
    /// What an engine that begins at `at` has to be told to know what this one knows: settings of
    /// namespaces, processes that live, sockets in ascending order of id.
    pub fn checkpoint(&self, at: MonoNs) -> impl Iterator<Item = Input> {
        let netns = self.netns.values().map(|facts| Input::Netns(*facts));
        let processes = self
            .processes
            .iter()
            .filter(|process| process.exited.is_none() && !process.info.name.is_empty())
            .map(move |process| {
                let info = process.info.clone();
                Input::Process(ProcessFact::Seen { at, info })
            });
        let sockets = self
            .table
            .iter()
            .filter(|slot| slot.life != Life::Ended)
            .map(move |slot| Input::Carried(Box::new(carry(slot, at))));
        netns.chain(processes).chain(sockets)
    }

    /// One socket, as [`World::checkpoint`] gives it.
    pub fn carried(&self, id: crate::units::SockId, at: MonoNs) -> Option<Carried> {
        self.table.get(id).map(|slot| carry(slot, at))
    }

    /// Takes a socket over, unless it is known.
    pub(super) fn take_over(&mut self, x: &Carried) {
        if self.table.get(x.key.sock).is_some() || x.key.sock.0 == 0 {
            return;
        }
        let owner = x.owner.as_ref().map(|owner| {
            let known = self.processes.info(owner.pid);
            let process = if known.name.is_empty() {
                Arc::new(ProcessInfo {
                    pid: owner.pid,
                    name: owner.name.clone(),
                    ..ProcessInfo::default()
                })
            } else {
                known
            };
            Owner {
                process,
                provenance: owner.provenance,
                confidence: owner.confidence,
            }
        });
        if self.seen(&x.key, x.state, x.at).is_none() {
            return;
        }
        let Some(slot) = self.table.get_mut(x.key.sock) else {
            return;
        };
        slot.enter(&mut self.totals, x.state, x.since);
        let socket = &mut slot.socket;
        socket.since_is_lower_bound = x.since_is_lower_bound;
        socket.first_seen = x.first_seen;
        socket.origin = x.origin;
        socket.listener = x.listener;
        socket.owner = owner;
        socket.holders.clone_from(&x.holders);
        socket.accepted = x.accepted;
        socket.closer = x.closer;
        socket.retransmits = x.retransmits;
        socket.unread = x.unread;
        socket.accept_queue = x.queue;
        socket.syn_depth = x.syn_depth;
        socket.last_accept = x.last_accept.map(Box::new);
        slot.timeline.push(x.at, Moment::Found { state: x.state });
        if x.modelled {
            let lasts = match x.state {
                TcpState::TimeWait => TIME_WAIT,
                _ => self.fin_timeout(x.key.netns),
            };
            let listed = self
                .modelled
                .insert(x.key.sock, x.state, x.since.plus(lasts));
            if let Some(slot) = self.table.get_mut(x.key.sock) {
                if listed {
                    slot.life = Life::Modelled;
                } else {
                    // Counted until its expiry by the model.
                    slot.counted = false;
                }
            }
        }
        if x.origin == Origin::Listener {
            self.listeners.insert(x.key.sock, x.key.netns, x.key.local);
        }
    }
}

impl Carried {
    /// The same as a row of a snapshot, for rules that judge those.
    pub(crate) fn row(&self) -> SocketRow {
        SocketRow {
            at: self.at,
            key: self.key,
            state: self.state,
            holder: self.holders.first().cloned(),
            listener: self.listener,
            has_socket: self.accepted,
            dead: false,
            unread: self.unread,
            unacked: None,
            idle: Some(self.age()),
            queue: self.queue,
        }
    }

    /// How long it has been in its state.
    pub fn age(&self) -> Duration {
        self.at.since(self.since)
    }
}

fn carry(slot: &Slot, at: MonoNs) -> Carried {
    let socket = &slot.socket;
    Carried {
        at,
        key: socket.key,
        state: socket.state,
        since: socket.since,
        since_is_lower_bound: socket.since_is_lower_bound,
        first_seen: socket.first_seen,
        origin: socket.origin,
        listener: socket.listener,
        owner: socket.owner.as_ref().map(|owner| CarriedOwner {
            pid: owner.process.pid,
            name: owner.process.name.clone(),
            provenance: owner.provenance,
            confidence: owner.confidence,
        }),
        holders: socket.holders.clone(),
        accepted: socket.accepted,
        modelled: slot.life == Life::Modelled,
        closer: socket.closer,
        retransmits: socket.retransmits,
        unread: socket.unread,
        queue: socket.accept_queue,
        syn_depth: socket.syn_depth,
        last_accept: socket.last_accept(),
    }
}
