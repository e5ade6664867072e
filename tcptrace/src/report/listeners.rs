//! Listeners and how full their queues were.

use std::collections::BTreeMap;

use serde::Serialize;
use tcptrace_core::finding::Owner;
use tcptrace_core::input::{ListenerSample, QueueLevel, SocketKey};
use tcptrace_core::units::SockId;

/// Listeners that are told apart; a host has some hundred.
const LISTENERS: usize = 4096;

/// One listener.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Listener {
    pub(crate) local: String,
    pub(crate) netns: u32,
    pub(crate) process: Option<String>,
    pub(crate) deepest: u32,
    pub(crate) limit: u32,
    pub(crate) half_open: u32,
    /// `sk_drops`, from the first sample to the last.
    pub(crate) drops: u32,
    #[serde(skip)]
    first_drops: Option<u32>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners {
    by_sock: BTreeMap<SockId, Listener>,
}

impl Listeners {
    pub(super) fn level(&mut self, key: &SocketKey, owner: Option<&Owner>, level: QueueLevel) {
        if let Some(listener) = self.of(key, owner) {
            listener.deepest = listener.deepest.max(level.depth);
            listener.limit = level.limit;
        }
    }

    pub(super) fn sample(&mut self, x: &ListenerSample, owner: Option<&Owner>) {
        self.level(&x.key, owner, x.accept);
        if let Some(listener) = self.of(&x.key, owner) {
            listener.half_open = listener.half_open.max(x.syn_depth);
            let first = *listener.first_drops.get_or_insert(x.drops);
            listener.drops = x.drops.saturating_sub(first);
        }
    }

    fn of(&mut self, key: &SocketKey, owner: Option<&Owner>) -> Option<&mut Listener> {
        if self.by_sock.len() >= LISTENERS && !self.by_sock.contains_key(&key.sock) {
            return None;
        }
        let listener = self.by_sock.entry(key.sock).or_default();
        listener.local = key.local.to_string();
        listener.netns = key.netns.0;
        if let Some(owner) = owner {
            listener.process = Some(super::gather::label(owner));
        }
        Some(listener)
    }

    /// The fullest first.
    pub(super) fn lines(self) -> Vec<Listener> {
        let mut lines: Vec<Listener> = self.by_sock.into_values().collect();
        let share = |l: &Listener| u64::from(l.deepest) * 1000 / u64::from(l.limit.max(1));
        lines.sort_by_key(|l| (std::cmp::Reverse((l.drops, share(l))), l.local.clone()));
        lines.truncate(50);
        lines
    }
}
