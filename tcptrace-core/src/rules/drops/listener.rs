//! What samples and events have told of one listener's queues.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::input::{ListenerSample, Queue, QueueDrop, QueueLevel, SocketKey, SynackRetransmit};
use crate::units::{MonoNs, Pid};

/// Increments of `sk_drops` kept: samples come once a second, attribution looks back two.
const RISES: usize = 8;

/// SYN-ACKs that count as one wave of half-open clients lie within this time.
const WAVE: Duration = Duration::from_secs(60);

/// Client addresses told apart.
const SOURCES: usize = 1024;

/// The accept queue refuses only above its limit: limit + 1 connections fit.
pub(super) fn accept_full(level: QueueLevel) -> bool {
    level.depth > level.limit
}

/// The SYN queue holds limit or limit + 1, by kernel version.
pub(super) fn syn_full(depth: u32, limit: u32) -> bool {
    limit > 0 && depth >= limit
}

/// One listener.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) key: SocketKey,
    /// When a fact last named it.
    pub(crate) heard_of: MonoNs,
    pub(crate) level: QueueLevel,
    pub(crate) syn_depth: u32,
    /// The level when the accept queue was last seen full.
    pub(crate) full_level: Option<QueueLevel>,
    pub(crate) full_syn_depth: Option<u32>,
    /// Since when every look has shown the accept queue full.
    pub(crate) full_since: Option<MonoNs>,
    pub(crate) accept_full_at: Option<MonoNs>,
    pub(crate) syn_full_at: Option<MonoNs>,
    sampled: Option<(MonoNs, u32)>,
    /// (from, to, by how much) `sk_drops` rose.
    rises: VecDeque<(MonoNs, MonoNs, u32)>,
    /// Somebody waits on it, when last looked at.
    pub(crate) watched: Option<bool>,
    pub(crate) last_accept: Option<(MonoNs, Pid)>,
    /// A client that had answered got its SYN-ACK again.
    pub(crate) answered_at: Option<MonoNs>,
    wave: Option<(MonoNs, u64)>,
    pub(crate) unanswered: u64,
    pub(crate) sources: BTreeSet<IpAddr>,
}

impl Listener {
    pub(super) fn new(key: &SocketKey) -> Self {
        Self {
            key: *key,
            heard_of: MonoNs::default(),
            level: QueueLevel::default(),
            syn_depth: 0,
            full_level: None,
            full_syn_depth: None,
            full_since: None,
            accept_full_at: None,
            syn_full_at: None,
            sampled: None,
            rises: VecDeque::new(),
            watched: None,
            last_accept: None,
            answered_at: None,
            wave: None,
            unanswered: 0,
            sources: BTreeSet::new(),
        }
    }

    pub(super) fn is_accept_full(&self) -> bool {
        accept_full(self.level)
    }

    pub(super) fn is_syn_full(&self) -> bool {
        syn_full(self.syn_depth, self.level.limit)
    }

    pub(super) fn sample(&mut self, x: &ListenerSample, last_accept: Option<(MonoNs, Pid)>) {
        // `sk_drops` wraps; a step back is a sample out of order.
        let risen = self
            .sampled
            .map(|(before, drops)| (before, x.drops.wrapping_sub(drops)))
            .filter(|(_, by)| (1..u32::MAX / 2).contains(by));
        if let Some((before, by)) = risen {
            self.rises.push_back((before, x.at, by));
            if self.rises.len() > RISES {
                self.rises.pop_front();
            }
        }
        self.sampled = Some((x.at, x.drops));
        self.last_accept = self.last_accept.max(last_accept);
        if let Some(waiters) = &x.waiters {
            self.watched = Some(!waiters.is_empty());
        }
        self.syn_depth = x.syn_depth;
        self.accept_level(x.at, x.accept);
        if self.is_syn_full() {
            self.syn_full_at = Some(x.at);
            self.full_syn_depth = Some(x.syn_depth);
        }
    }

    fn accept_level(&mut self, at: MonoNs, level: QueueLevel) {
        self.level = level;
        if accept_full(level) {
            self.full_level = Some(level);
            self.full_since.get_or_insert(at);
            self.accept_full_at = Some(at);
        } else {
            self.full_since = None;
        }
    }

    pub(super) fn met_full_queue(&mut self, x: &QueueDrop) {
        match x.queue {
            Queue::Accept => {
                let level = QueueLevel {
                    depth: x.depth,
                    limit: x.limit,
                };
                self.level = level;
                // It was full, whatever the comparison of this kernel is.
                self.full_level = Some(level);
                self.full_since.get_or_insert(x.at);
                self.accept_full_at = Some(x.at);
            }
            Queue::Syn => {
                self.syn_depth = x.depth;
                self.level.limit = x.limit;
                self.syn_full_at = Some(x.at);
                self.full_syn_depth = Some(x.depth);
            }
        }
    }

    /// A SYN-ACK was repeated to a client that has not answered. `births` counts the handshakes
    /// completed so far.
    pub(super) fn unanswered(&mut self, at: MonoNs, x: &SynackRetransmit, births: u64) {
        if self.wave.is_none_or(|(last, _)| at.since(last) > WAVE) {
            self.unanswered = 0;
            self.sources.clear();
            self.wave = Some((at, births));
        }
        let began = self.wave.map_or(births, |(_, births)| births);
        self.wave = Some((at, began));
        self.unanswered += 1;
        if let Some(address) = x.key.peer.address
            && self.sources.len() < SOURCES
        {
            self.sources.insert(address);
        }
    }

    /// By how much `sk_drops` rose in intervals that overlap the window.
    pub(super) fn rose(&self, from: MonoNs, to: MonoNs) -> u64 {
        self.rises
            .iter()
            .filter(|(begin, end, _)| *begin <= to && *end >= from)
            .map(|(_, _, by)| u64::from(*by))
            .sum()
    }

    /// Whether a look in the window, or the last one before it, showed the queue full.
    pub(super) fn was_full(&self, queue: Queue, from: MonoNs) -> bool {
        let at = match queue {
            Queue::Accept => self.accept_full_at,
            Queue::Syn => self.syn_full_at,
        };
        at.is_some_and(|at| at >= from)
    }
}
