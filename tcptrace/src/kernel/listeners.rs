//! The regular look at the queues of those who listen.
//!
//! A sample is told when it differs from the one before, and always, with who waits on the listener,
//! while its queue is more than half full or its namespace's counters have moved: that is when a
//! finding needs to know who should be accepting.

use rustc_hash::FxHashMap;
use tcptrace_core::decode::{RawPeek, SockAddress};
use tcptrace_core::input::{Input, ListenerSample, QueueLevel};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{NetnsId, SockId};

use super::{Kernel, clock};

/// Listeners that one poll looks at, 2 µs each; more take turns.
const LISTENERS_PER_POLL: usize = 1024;

/// Samples remembered before it pays to look for those whose listener has gone.
const FORGET_FROM: usize = 256;

/// What was told last, and whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct ListenerWatch {
    told: FxHashMap<SockId, (QueueLevel, u32, u32)>,
    /// The last one that had its turn.
    turn: SockId,
    /// That not all are looked at every time was said.
    warned: bool,
}

impl ListenerWatch {
    /// Connections that waited in accept queues when these were looked at last.
    pub(super) fn queued(&self) -> u64 {
        let levels = self.told.values();
        levels.map(|(level, ..)| u64::from(level.depth)).sum()
    }
}

impl Kernel {
    /// Samples those whose turn it is. `moved` are the namespaces whose counters have moved.
    pub(super) fn sample_listeners(&mut self, moved: &[NetnsId], sink: &mut Vec<Input>) {
        let whose = self.next_listeners();
        for (key_netns, sample) in self.look_at(&whose, sink) {
            let crowded = sample.accept.depth > sample.accept.limit / 2;
            let wanted = crowded || moved.contains(&key_netns);
            self.tell_sample(sample, wanted, sink);
        }
        let identities = &self.edge.identities;
        if self.listeners.told.len() > FORGET_FROM + 2 * identities.listening() {
            self.listeners
                .told
                .retain(|sock, _| identities.address(*sock).is_some());
        }
    }

    /// Samples every listener of a namespace, with who waits on it.
    pub(super) fn sample_listeners_of(&mut self, netns: NetnsId, sink: &mut Vec<Input>) {
        let identities = &self.edge.identities;
        let whose: Vec<_> = identities
            .listeners_after(SockId(0))
            .filter(|(_, address)| {
                identities
                    .key(*address)
                    .is_some_and(|key| key.netns == netns)
            })
            .take(LISTENERS_PER_POLL)
            .collect();
        for (_, sample) in self.look_at(&whose, sink) {
            self.tell_sample(sample, true, sink);
        }
    }

    fn next_listeners(&mut self) -> Vec<(SockId, SockAddress)> {
        let identities = &self.edge.identities;
        let after = self.listeners.turn;
        let mut whose: Vec<_> = identities
            .listeners_after(after)
            .take(LISTENERS_PER_POLL)
            .collect();
        let room = LISTENERS_PER_POLL - whose.len();
        whose.extend(
            identities
                .listeners_after(SockId(0))
                .take(room)
                .take_while(|(sock, _)| *sock <= after),
        );
        self.listeners.turn = whose.last().map_or(SockId(0), |(sock, _)| *sock);
        if whose.len() == LISTENERS_PER_POLL && !self.listeners.warned {
            self.listeners.warned = true;
            tracing::warn!(
                "more than {LISTENERS_PER_POLL} listeners: their queues are sampled in turns, less than once a second each"
            );
        }
        whose
    }

    /// Peeks at listeners; those that stopped meanwhile are left out.
    fn look_at(
        &mut self,
        whose: &[(SockId, SockAddress)],
        sink: &mut Vec<Input>,
    ) -> Vec<(NetnsId, ListenerSample)> {
        if whose.is_empty() {
            return Vec::new();
        }
        let addresses: Vec<_> = whose.iter().map(|(_, address)| address.0).collect();
        let mut answers: Vec<RawPeek> = Vec::with_capacity(whose.len());
        if let Err(error) = self
            .probes
            .peek(&addresses, &mut |answer| answers.push(answer))
        {
            tracing::warn!("{error}");
        }
        self.drain_to(clock::now(), sink);
        let socks: FxHashMap<_, _> = whose
            .iter()
            .map(|(sock, address)| (*address, *sock))
            .collect();
        let mut samples: Vec<_> = answers
            .into_iter()
            .filter(|answer| answer.state == TcpState::Listen)
            .filter_map(|answer| {
                let sock = *socks.get(&answer.key.sock)?;
                let key = self.edge.identities.peeked(sock, &answer)?;
                let sample = ListenerSample {
                    at: answer.at,
                    key,
                    accept: answer.queue,
                    syn_depth: answer.syn_depth,
                    drops: answer.drops,
                    waiters: answer.waiters,
                };
                Some((key.netns, sample))
            })
            .collect();
        samples.sort_by_key(|(_, sample)| sample.key.sock);
        samples
    }

    fn tell_sample(&mut self, sample: ListenerSample, waiters: bool, sink: &mut Vec<Input>) {
        let levels = (sample.accept, sample.syn_depth, sample.drops);
        let before = self.listeners.told.insert(sample.key.sock, levels);
        if waiters || before != Some(levels) {
            sink.push(Input::Listener(ListenerSample {
                waiters: sample.waiters.filter(|_| waiters),
                ..sample
            }));
        }
    }
}
