//! What a look saw: snapshots, inspections, samples of listeners. A look tells how things are, not
//! what happened; an event that is newer than the look is right.

use crate::finding::{Confidence, Owner, Provenance};
use crate::input::{
    Inspection, ListenerSample, SnapshotMark, SnapshotPhase, SnapshotScope, SocketRow,
};
use crate::tcp::TcpState;
use crate::units::SockId;
use crate::world::slot::{Life, Slot};
use crate::world::{Moment, Origin, World};

/// Snapshots under way at once: one of descriptors and some of namespaces.
const SNAPSHOTS: usize = 64;

impl World {
    pub(super) fn row(&mut self, x: &SocketRow) {
        if self
            .table
            .get(x.key.sock)
            .is_some_and(|slot| slot.last_event > x.at || slot.life != Life::Live)
        {
            return;
        }
        let known = self.table.get(x.key.sock).is_some();
        let snapshot = self.snapshot;
        let before = self.table.get(x.key.sock).map(|slot| slot.last_event);
        if self.seen(&x.key, x.state, x.at).is_none() {
            return;
        }
        let Some(slot) = self.table.get_mut(x.key.sock) else {
            return;
        };
        // A look is no event.
        slot.last_event = before.unwrap_or_default();
        slot.snapshot = snapshot;
        let listening = x.state == TcpState::Listen;
        if !known || slot.socket.state != x.state {
            slot.enter(&mut self.totals, x.state, x.at);
            slot.socket.since_is_lower_bound = true;
            if let Some(idle) = x.idle.filter(|_| !listening) {
                // The segment that moved it into this state came no later than the last one.
                slot.socket.since = x.at.minus(idle);
            }
            slot.timeline.push(x.at, Moment::Found { state: x.state });
        }
        slot.socket.unread = x.unread.or(slot.socket.unread);
        slot.socket.accepted |= x.has_socket;
        slot.socket.listener = x.listener.or(slot.socket.listener);
        if let Some(holder) = &x.holder {
            slot.add_holder(holder.clone());
        }
        if listening {
            slot.socket.origin = Origin::Listener;
            slot.socket.accept_queue = x.queue.or(slot.socket.accept_queue);
            let key = slot.socket.key;
            self.listeners.insert(key.sock, key.netns, key.local);
        } else if !x.has_socket && !x.dead || x.listener.is_some() {
            slot.socket.origin = Origin::Passive;
        }
        self.held(x.key.sock, false);
        self.inherit(x.key.sock);
    }

    /// Names the owner of a socket after the descriptors that were seen.
    fn held(&mut self, id: SockId, complete: bool) {
        let Some(slot) = self.table.get(id) else {
            return;
        };
        let holders = &slot.socket.holders;
        let Some(first) = holders.first() else { return };
        let keep = match &slot.socket.owner {
            None => false,
            Some(owner) if owner.provenance == Provenance::Holder => false,
            Some(owner) if owner.provenance == Provenance::Inherited => false,
            // It told us itself; only a complete scan without it says that it let go.
            Some(owner) => !complete || holders.iter().any(|h| h.pid == owner.process.pid),
        };
        if keep {
            return;
        }
        let sole = holders.iter().all(|h| h.pid == first.pid);
        let process = self.processes.info(first.pid);
        if let Some(slot) = self.table.get_mut(id) {
            slot.socket.owner = Some(Owner {
                process,
                provenance: Provenance::Holder,
                confidence: if sole {
                    Confidence::Exact
                } else {
                    Confidence::Likely
                },
            });
        }
    }

    pub(super) fn snapshot_mark(&mut self, x: &SnapshotMark) {
        match x.phase {
            SnapshotPhase::Begin => {
                self.snapshot += 1;
                self.snapshots.retain(|(mark, _)| mark.scope != x.scope);
                if self.snapshots.len() >= SNAPSHOTS {
                    self.snapshots.remove(0);
                }
                self.snapshots.push((*x, self.snapshot));
            }
            SnapshotPhase::End { complete } => {
                let Some(at) = self
                    .snapshots
                    .iter()
                    .position(|(mark, _)| mark.scope == x.scope)
                else {
                    return;
                };
                let (begin, number) = self.snapshots.remove(at);
                if complete {
                    self.remove_unseen(begin, number);
                }
                self.adopt();
            }
        }
    }

    /// A complete snapshot removes what it should have shown and did not, unless an event is newer.
    fn remove_unseen(&mut self, begin: SnapshotMark, number: u32) {
        let covered = |slot: &Slot| match begin.scope {
            // Orphans, and what is still in a handshake or closing, have no descriptor.
            SnapshotScope::Descriptors => matches!(
                slot.socket.state,
                TcpState::Listen | TcpState::Established | TcpState::CloseWait | TcpState::SynSent
            ),
            SnapshotScope::Tables(netns) => slot.socket.key.netns == netns,
        };
        let gone: Vec<SockId> = self
            .table
            .iter()
            .filter(|slot| {
                slot.life == Life::Live
                    && slot.snapshot < number
                    && slot.last_event < begin.at
                    && covered(slot)
            })
            .map(|slot| slot.socket.key.sock)
            .collect();
        for id in gone {
            // No tombstone: should an event tell that it lives after all, it is a new find.
            self.forget(id);
        }
    }

    /// Rows come in any order: a connection may precede its listener. Now both are known.
    fn adopt(&mut self) {
        let orphans: Vec<SockId> = self
            .table
            .iter()
            .filter(|slot| {
                let socket = &slot.socket;
                slot.life == Life::Live
                    && (socket.origin == Origin::Unknown
                        || (socket.owner.is_none() && !socket.accepted))
            })
            .map(|slot| slot.socket.key.sock)
            .collect();
        for id in orphans {
            let Some(slot) = self.table.get(id) else {
                continue;
            };
            let key = slot.socket.key;
            if self.listeners.of(key.netns, key.local).is_some()
                && let Some(slot) = self.table.get_mut(id)
            {
                slot.socket.origin = Origin::Passive;
            }
            self.inherit(id);
        }
    }

    pub(super) fn inspection(&mut self, x: &Inspection) {
        self.totals.inspections += 1;
        let Some(slot) = self.table.get_mut(x.key.sock) else {
            return;
        };
        slot.socket.key.local.learn(x.key.local);
        slot.socket.key.peer.learn(x.key.peer);
        let unread = x.unread;
        let known = slot
            .timeline
            .moments()
            .last()
            .is_some_and(|(_, m)| *m == Moment::Inspected { unread });
        if !known {
            slot.timeline.push(x.at, Moment::Inspected { unread });
        }
        slot.socket.unread = Some(unread);
        slot.socket.accepted |= x.has_socket;
        slot.socket.listener = slot.socket.listener.or(x.listener);
        let mut complete = false;
        if let Some(scan) = &x.holders {
            complete = scan.complete;
            if complete {
                slot.socket.holders.clear();
            }
            for holder in &scan.holders {
                slot.add_holder(holder.clone());
            }
        }
        if x.holders.is_some() {
            self.held(x.key.sock, complete);
        }
        if x.listener.is_some() {
            self.inherit(x.key.sock);
        }
    }

    pub(super) fn listener_sample(&mut self, x: &ListenerSample) {
        if let Some(slot) = self.listener_slot(&x.key, x.at) {
            slot.socket.accept_queue = Some(x.accept);
            slot.socket.syn_depth = Some(x.syn_depth);
            if slot.life == Life::Live {
                self.queues.sample(x.key.sock, x.at, x.drops);
            }
        }
    }
}
