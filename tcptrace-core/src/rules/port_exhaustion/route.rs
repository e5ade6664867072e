//! What shares the local ports, and how much of them it uses.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::book::Subject;
use crate::input::SocketKey;
use crate::rules::closing::{Parties, Seconds};
use crate::units::{NetnsId, Port};

/// What shares the local ports: one source address towards one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    pub(super) netns: NetnsId,
    pub(super) source: Option<IpAddr>,
    pub(super) address: IpAddr,
    pub(super) port: Port,
}

impl Route {
    pub(super) fn of(key: &SocketKey) -> Option<Self> {
        Some(Self {
            netns: key.netns,
            source: key.local.address.filter(|it| !it.is_unspecified()),
            address: key.peer.address?,
            port: key.peer.port?,
        })
    }
}

/// The use of one route.
#[derive(Debug, Default)]
pub(super) struct Use {
    /// Tells it from earlier uses of the same route.
    pub(super) id: u64,
    /// Live connections before the seconds of `changes`.
    pub(super) live: i64,
    pub(super) changes: VecDeque<(u64, i64)>,
    pub(super) waiting: Seconds,
    pub(super) refused: Seconds,
    pub(super) parties: Parties,
    pub(super) history: VecDeque<(u64, u64)>,
    pub(super) last: u64,
    pub(super) told: Option<u64>,
    pub(super) opened: Option<u64>,
    pub(super) subject: Option<Subject>,
}

impl Use {
    pub(super) fn change(&mut self, second: u64, by: i64) {
        self.last = self.last.max(second);
        let after = self.changes.iter().rev().take_while(|(s, _)| *s > second);
        let at = self.changes.len() - after.count();
        match at.checked_sub(1).and_then(|it| self.changes.get_mut(it)) {
            Some((s, change)) if *s == second => *change += by,
            _ => self.changes.insert(at, (second, by)),
        }
    }

    /// Live connections at the beginning of a second.
    pub(super) fn live_at(&mut self, second: u64) -> u64 {
        while let Some((s, by)) = self.changes.front().copied()
            && s < second
        {
            self.live += by;
            self.changes.pop_front();
        }
        u64::try_from(self.live).unwrap_or(0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live == 0 && self.changes.iter().all(|(_, by)| *by == 0)
    }
}
