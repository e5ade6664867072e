//! `--idle-peers`: established connections that are silent and have no keepalive. Each is looked at
//! once per `dead_peer.idle_after`, when it can have been silent so long; a look costs 2 µs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::evictions::Evictions;
use crate::finding::{Kind, Patience};
use crate::input::SocketRow;
use crate::request::Request;
use crate::rules::unanswered::{Attempts, Case, Look, Repetition, Timer};
use crate::rules::{self, Bench, Timers};
use crate::settings::Settings;
use crate::tcp::TcpState;
use crate::units::{MonoNs, SockId};
use crate::world::World;

/// A connection of one exchange is over by then: remembering only those that stay keeps this off
/// the hot path.
const STAYS: Duration = Duration::from_secs(5);

/// Connections looked after; 150 bytes each.
const WATCHED: usize = 262_144;

/// Those whose silence is watched.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    fresh: VecDeque<(MonoNs, SockId)>,
    /// When each is to be looked at.
    due: BTreeMap<SockId, MonoNs>,
    evicted: u64,
}

fn enabled(settings: &Settings) -> bool {
    settings.dead_peer.idle_peers > 0
}

fn stays(settings: &Settings) -> Duration {
    STAYS.min(settings.dead_peer.idle_after / 4)
}

impl Idle {
    pub(crate) fn take_evicted(&mut self, evictions: &mut Evictions) {
        evictions.add(Kind::DeadPeer.name(), std::mem::take(&mut self.evicted));
    }

    pub(crate) fn watches(&self, sock: SockId) -> bool {
        !self.due.is_empty() && self.due.contains_key(&sock)
    }

    pub(crate) fn established(&mut self, sock: SockId, at: MonoNs, settings: &Settings) {
        if enabled(settings) {
            self.fresh.push_back((at, sock));
        }
    }

    /// A connection older than the tracer.
    pub(crate) fn saw_row(&mut self, x: &SocketRow, settings: &Settings, timers: &mut Timers) {
        if enabled(settings)
            && x.state == TcpState::Established
            && !self.due.contains_key(&x.key.sock)
        {
            let heard = x.at.minus(x.idle.unwrap_or_default());
            let due = heard.plus(settings.dead_peer.idle_after).max(x.at);
            self.watch(x.key.sock, due, timers);
        }
    }

    pub(crate) fn promote(
        &mut self,
        clock: MonoNs,
        world: &World,
        settings: &Settings,
        timers: &mut Timers,
    ) {
        while let Some((at, sock)) = self.fresh.front().copied()
            && at.plus(stays(settings)) <= clock
        {
            self.fresh.pop_front();
            let stayed = world
                .socket(sock)
                .is_some_and(|socket| socket.state == TcpState::Established);
            if stayed && world.is_live(sock) {
                self.watch(sock, at.plus(settings.dead_peer.idle_after), timers);
            }
        }
    }

    fn watch(&mut self, sock: SockId, due: MonoNs, timers: &mut Timers) {
        if self.due.len() < WATCHED || self.due.contains_key(&sock) {
            self.due.insert(sock, due);
            timers.set(due, rules::Timer::Unanswered(Timer::Idle(sock)));
        } else {
            self.evicted += 1;
        }
    }

    /// It can have been silent for long enough by now: look.
    pub(crate) fn look(&mut self, sock: SockId, bench: &mut Bench<'_>) {
        if self.due.get(&sock) != Some(&bench.at) {
            return;
        }
        if bench.world.socket(sock).is_none() {
            self.due.remove(&sock);
            return;
        }
        bench.wishes.others.insert(Request::Inspect {
            sock,
            holders: false,
        });
        // Should the answer get lost, it is asked for again.
        let again = bench.at.plus(bench.settings.dead_peer.idle_after);
        self.watch(sock, again, bench.timers);
    }

    pub(crate) fn looked(&mut self, look: &Look, peers: &mut Attempts, bench: &mut Bench<'_>) {
        let x = &look.seen;
        let sock = x.key.sock;
        if !self.watches(sock) {
            return;
        }
        let (Some(sending), Some(silent)) = (x.sending, x.idle) else {
            return;
        };
        let after = bench.settings.dead_peer.idle_after;
        if x.state != TcpState::Established || sending.keepalive || silent < after {
            peers.stirred(Case::of(sock), bench);
            if silent < after {
                let due = x.at.minus(silent).plus(after).max(bench.at);
                self.watch(sock, due, bench.timers);
            }
            return;
        }
        let Some(socket) = bench.world.socket(sock) else {
            return;
        };
        let silence = Repetition {
            case: Case::of(sock),
            key: socket.key,
            state: x.state,
            attempt: 0,
            next: None,
            patience: Patience::default(),
            owner: look.owner.clone(),
            service: look.service,
            cause: None,
            repeated_syns: None,
            inference: None,
        };
        peers.silent(silence, x.at.minus(silent), sending, bench);
    }

    pub(crate) fn left(&mut self, sock: SockId) -> bool {
        self.due.remove(&sock).is_some()
    }
}
