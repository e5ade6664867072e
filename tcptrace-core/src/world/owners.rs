//! Who owns a socket: connect, listen, accept, inherited from the listener, or who closed it.
//!
//! Invariant: never the task that a softirq happened to interrupt.

use crate::finding::{Confidence, Owner, Provenance};
use crate::input::{Accept, Context, Holder, Transition};
use crate::tcp::TcpState;
use crate::units::{Pid, SockId};
use crate::world::{CloseCall, Moment, Origin, World};

impl World {
    pub(super) fn connected(&mut self, x: &Transition) {
        let owner = self.task(x.context, Provenance::Connect);
        if let Some(slot) = self.table.get_mut(x.key.sock) {
            slot.socket.origin = Origin::Active;
            slot.socket.accepted = true;
            slot.socket.owner = owner.or(slot.socket.owner.take());
        }
    }

    pub(super) fn listened(&mut self, x: &Transition) {
        let owner = self.task(x.context, Provenance::Listen);
        if let Some(slot) = self.table.get_mut(x.key.sock) {
            slot.socket.origin = Origin::Listener;
            slot.socket.owner = owner.or(slot.socket.owner.take());
            let key = slot.socket.key;
            self.listeners.insert(key.sock, key.netns, key.local);
        }
    }

    pub(super) fn born(&mut self, x: &Transition) {
        if let Some(slot) = self.table.get_mut(x.key.sock) {
            slot.socket.origin = Origin::Passive;
            slot.socket.since_is_lower_bound = false;
        }
        self.inherit(x.key.sock);
    }

    /// Gives a connection that nobody has accepted its listener and the listener's owner.
    pub(super) fn inherit(&mut self, id: SockId) {
        let Some(slot) = self.table.get(id) else {
            return;
        };
        let socket = &slot.socket;
        if socket.origin != Origin::Passive || socket.accepted {
            return;
        }
        let Some((listener, confidence)) = self.listener_of(socket) else {
            return;
        };
        let owner = self
            .table
            .get(listener)
            .and_then(|slot| slot.socket.owner.as_ref())
            .map(|owner| Owner {
                process: owner.process.clone(),
                provenance: Provenance::Inherited,
                confidence: confidence.min(owner.confidence),
            });
        if let Some(slot) = self.table.get_mut(id) {
            if confidence == Confidence::Exact {
                slot.socket.listener = Some(listener);
            }
            slot.socket.owner = owner.or(slot.socket.owner.take());
        }
    }

    /// The task at work as an owner: never the one that a softirq interrupted.
    fn task(&mut self, context: Context, provenance: Provenance) -> Option<Owner> {
        Some(Owner {
            process: self.processes.info(context.pid()?),
            provenance,
            confidence: Confidence::Exact,
        })
    }

    /// Names who closed our side, from the transition alone (KERNEL.md 1.5).
    pub(super) fn closed_by(&mut self, x: &Transition) -> Option<(Pid, CloseCall)> {
        let Context::Process { pid, exiting, .. } = x.context else {
            return None;
        };
        if x.error.is_some()
            || !matches!(
                x.to,
                TcpState::FinWait1 | TcpState::LastAck | TcpState::Close
            )
        {
            return None;
        }
        let orphaned_in_queue = x.to == TcpState::Close && !x.has_socket && !x.dead;
        let call = if x.file_released || orphaned_in_queue {
            if exiting {
                CloseCall::Exit
            } else {
                CloseCall::Close
            }
        } else if x.shutdown.send() && x.to != TcpState::Close {
            CloseCall::Shutdown
        } else {
            return None;
        };
        let slot = self.table.get_mut(x.key.sock)?;
        if slot.socket.closer.is_none() {
            slot.socket.closer = Some((pid, call));
            self.processes.closed(pid, call);
        }
        let slot = self.table.get_mut(x.key.sock)?;
        // Where accepts are not seen, the closer is the best witness of who held it.
        let guessed = slot
            .socket
            .owner
            .as_ref()
            .is_none_or(|owner| owner.provenance == Provenance::Inherited);
        if guessed && x.has_socket {
            let owner = self.task(x.context, Provenance::Holder);
            if let Some(slot) = self.table.get_mut(x.key.sock) {
                slot.socket.owner = owner;
            }
        }
        Some((pid, call))
    }

    pub(super) fn accept(&mut self, x: &Accept) {
        self.totals.accepts += 1;
        let process = self.processes.info(x.pid);
        let Some(slot) = self.seen(&x.key, TcpState::Established, x.at) else {
            return;
        };
        slot.timeline.push(x.at, Moment::Accepted { by: x.pid });
        if let Some(fd) = x.fd {
            slot.add_holder(Holder {
                pid: x.pid,
                fd,
                cloexec: None,
            });
        }
        let socket = &mut slot.socket;
        socket.accepted = true;
        if socket.origin == Origin::Unknown {
            socket.origin = Origin::Passive;
        }
        socket.owner = Some(Owner {
            process,
            provenance: Provenance::Accept,
            confidence: Confidence::Exact,
        });
        let from = slot.socket.listener.or_else(|| {
            self.listeners
                .of(x.key.netns, self.table.get(x.key.sock)?.socket.key.local)
                .map(|(id, _)| id)
        });
        if let Some(listener) = from.and_then(|id| self.table.get_mut(id)) {
            match &mut listener.socket.last_accept {
                Some(last) => **last = (x.at, x.pid),
                none => *none = Some(Box::new((x.at, x.pid))),
            }
        }
    }
}
