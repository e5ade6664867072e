//! Which listeners a connection may have come from.
//!
//! There is no pointer from a child to its listener (KERNEL.md 1.6), so the tuple decides. Several
//! sockets that share a port by SO_REUSEPORT cannot be told apart by it: then the answer is likely.

use std::collections::BTreeMap;

use crate::finding::Confidence;
use crate::tcp::Endpoint;
use crate::units::{NetnsId, Port, SockId};

#[derive(Debug, Default)]
pub(super) struct Listeners {
    by_port: BTreeMap<(NetnsId, Port), Vec<(SockId, Endpoint)>>,
}

impl Listeners {
    pub(super) fn insert(&mut self, id: SockId, netns: NetnsId, local: Endpoint) {
        let Some(port) = local.port else { return };
        let listeners = self.by_port.entry((netns, port)).or_default();
        match listeners.binary_search_by_key(&id, |entry| entry.0) {
            Ok(at) => listeners[at].1.learn(local),
            Err(at) => listeners.insert(at, (id, local)),
        }
    }

    pub(super) fn remove(&mut self, id: SockId, netns: NetnsId, local: Endpoint) {
        let Some(port) = local.port else { return };
        if let Some(listeners) = self.by_port.get_mut(&(netns, port)) {
            listeners.retain(|entry| entry.0 != id);
            if listeners.is_empty() {
                self.by_port.remove(&(netns, port));
            }
        }
    }

    /// The listener of a connection to `local`: the one bound to the address before one bound to
    /// all. Up to Linux 6.14 a child is born with its listener's address.
    pub(super) fn of(&self, netns: NetnsId, local: Endpoint) -> Option<(SockId, Confidence)> {
        let listeners = self.by_port.get(&(netns, local.port?))?;
        let wild = |bound: &Endpoint| bound.address.is_none_or(|a| a.is_unspecified());
        let mut best: Option<(SockId, bool)> = None;
        let mut others = 0;
        for (id, bound) in listeners {
            let exact = !wild(bound) && bound.address == local.address;
            if !exact && !wild(bound) && local.address.is_some() && !wild(&local) {
                continue;
            }
            match best {
                Some((_, was_exact)) if was_exact == exact => others += 1,
                Some((_, true)) => {}
                _ => {
                    best = Some((*id, exact));
                    others = 0;
                }
            }
        }
        best.map(|(id, _)| match others {
            0 => (id, Confidence::Exact),
            _ => (id, Confidence::Likely),
        })
    }

    /// Every listener of a namespace, ascending by port, then id.
    pub(super) fn in_netns(&self, netns: NetnsId) -> impl Iterator<Item = SockId> {
        self.by_port
            .range((netns, Port(0))..=(netns, Port(u16::MAX)))
            .flat_map(|(_, listeners)| listeners.iter().map(|entry| entry.0))
    }
}
