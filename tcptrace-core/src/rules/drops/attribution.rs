//! From a namespace's counters to a listener.

use std::time::Duration;

use crate::input::{Counters, Queue, SocketKey};
use crate::request::Request;
use crate::rules::drops::{COOKIES_ALWAYS, Drops, Listener};
use crate::rules::{Bench, Timer};
use crate::units::{MonoNs, NetnsId, SockId};

/// Samples of the listeners follow the counters within one poll.
const SAMPLES_WITHIN: Duration = Duration::from_millis(300);

/// With no candidate by then, the samples that were asked for get this long.
const LATE_SAMPLES_WITHIN: Duration = Duration::from_secs(2);

/// A sample this long before the counters moved still tells of them: samples come once a second.
const SAMPLED_BEFORE: Duration = Duration::from_millis(1_200);

/// Drops that the kernel counted and nobody has been charged with yet.
#[derive(Debug)]
pub(super) struct Pending {
    netns: NetnsId,
    from: MonoNs,
    to: MonoNs,
    queue: Queue,
    dropped: u64,
    cookies: u64,
    late: bool,
}

impl Drops {
    pub(crate) fn counted(&mut self, x: &Counters, bench: &mut Bench<'_>) {
        let counted = self.counted.entry(x.netns).or_default();
        let Some(last) = counted.last.replace(*x) else {
            return;
        };
        let always = bench
            .world
            .netns_facts(x.netns)
            .and_then(|facts| facts.tcp_syncookies)
            == Some(COOKIES_ALWAYS);
        let mut grown = [
            x.listen_overflows.saturating_sub(last.listen_overflows),
            x.req_q_full_drop.saturating_sub(last.req_q_full_drop),
            x.req_q_full_do_cookies
                .saturating_sub(last.req_q_full_do_cookies),
        ];
        if always {
            grown[2] = 0;
        }
        counted.accept += grown[0];
        counted.syn += grown[1] + grown[2];
        // What a probe has seen one by one is charged already.
        for (grown, seen) in grown.iter_mut().zip(&mut counted.seen) {
            let known = (*grown).min(*seen);
            *grown -= known;
            *seen -= known;
        }
        let [accept, dropped, cookies] = grown;
        for (queue, dropped, cookies) in
            [(Queue::Accept, accept, 0), (Queue::Syn, dropped, cookies)]
        {
            if dropped + cookies == 0 {
                continue;
            }
            bench.wishes.others.insert(Request::Listeners(x.netns));
            self.last_pending += 1;
            self.pending.insert(
                self.last_pending,
                Pending {
                    netns: x.netns,
                    from: last.at,
                    to: x.at,
                    queue,
                    dropped,
                    cookies,
                    late: false,
                },
            );
            bench.timers.set(
                x.at.plus(SAMPLES_WITHIN),
                Timer::Attribute(self.last_pending),
            );
        }
    }

    /// Charges the listeners that can have dropped.
    pub(crate) fn attribute(&mut self, number: u64, bench: &mut Bench<'_>) {
        let Some(mut pending) = self.pending.remove(&number) else {
            return;
        };
        self.confirm(&mut pending);
        if pending.dropped + pending.cookies == 0 {
            return;
        }
        let (candidates, inference) = self.candidates(&pending, bench.at);
        if candidates.is_empty() && !pending.late {
            pending.late = true;
            let to = pending.to;
            self.pending.insert(number, pending);
            bench
                .timers
                .set(to.plus(LATE_SAMPLES_WITHIN), Timer::Attribute(number));
            return;
        }
        let inference = inference.or(pending
            .late
            .then_some("the listener was sampled only after the drops"));
        if candidates.is_empty() {
            let nobody = SocketKey {
                netns: pending.netns,
                ..SocketKey::default()
            };
            self.charge(
                pending.queue,
                &nobody,
                pending.from,
                pending.dropped,
                pending.cookies,
                Some("no sampled listener was full: which one dropped is not known"),
                bench,
            );
            return;
        }
        let weight: u64 = candidates.iter().map(|(_, w)| *w).sum::<u64>().max(1);
        let mut left = (pending.dropped, pending.cookies);
        let last = candidates.len() - 1;
        for (at, (key, share)) in candidates.into_iter().enumerate() {
            let part = |whole: u64, left: u64| {
                let part = u128::from(whole) * u128::from(share) / u128::from(weight);
                if at == last {
                    left
                } else {
                    u64::try_from(part).unwrap_or(left).min(left)
                }
            };
            let (dropped, cookies) = (part(pending.dropped, left.0), part(pending.cookies, left.1));
            left = (left.0 - dropped, left.1 - cookies);
            if dropped + cookies > 0 {
                self.charge(
                    pending.queue,
                    &key,
                    pending.from,
                    dropped,
                    cookies,
                    inference,
                    bench,
                );
            }
        }
    }

    /// Takes off what a probe told of after the counters had been read: the kernel counts before the
    /// probe of the function's return runs.
    fn confirm(&mut self, pending: &mut Pending) {
        let Some(counted) = self.counted.get_mut(&pending.netns) else {
            return;
        };
        let seen = match pending.queue {
            Queue::Accept => [(0, &mut pending.dropped), (2, &mut 0)],
            Queue::Syn => [(1, &mut pending.dropped), (2, &mut pending.cookies)],
        };
        for (kind, left) in seen {
            let known = (*left).min(counted.seen[kind]);
            *left -= known;
            counted.seen[kind] -= known;
        }
    }

    /// Who can have dropped, with weights, and what had to be inferred.
    fn candidates(
        &self,
        pending: &Pending,
        now: MonoNs,
    ) -> (Vec<(SocketKey, u64)>, Option<&'static str>) {
        let from = pending.from.minus(SAMPLED_BEFORE);
        let here = |listener: &&Listener| {
            listener.key.netns == pending.netns && listener.key.sock != SockId(0)
        };
        let rose = |listener: &Listener| listener.rose(pending.from, now);
        // A cookie is sent instead of a drop: `sk_drops` does not tell of it.
        let tells = pending.dropped > 0;
        let keyed = |listener: &Listener| (listener.key, rose(listener).max(1));
        let full: Vec<&Listener> = self
            .listeners
            .values()
            .filter(here)
            .filter(|l| {
                l.was_full(pending.queue, from)
                    || (pending.queue == Queue::Accept
                        && l.answered_at.is_some_and(|at| at >= from))
            })
            .collect();
        let both: Vec<_> = full
            .iter()
            .filter(|l| tells && rose(l) > 0)
            .map(|l| keyed(l))
            .collect();
        let several = |n: usize, otherwise| match n {
            0 | 1 => otherwise,
            _ => Some("several listeners of the namespace were full at that time"),
        };
        if !both.is_empty() {
            let inference = several(both.len(), None);
            return (both, inference);
        }
        if !full.is_empty() {
            let inference = several(full.len(), None);
            return (full.into_iter().map(keyed).collect(), inference);
        }
        let risen: Vec<_> = self
            .listeners
            .values()
            .filter(here)
            .filter(|l| tells && rose(l) > 0)
            .map(keyed)
            .collect();
        let inference = several(
            risen.len(),
            Some("it discarded segments at that time, but no sample shows its queue full"),
        );
        (risen, inference)
    }
}
