//! What is followed, and the connections of one finding.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::finding::{AttemptOutcomes, Cause, Kind, Owner, Patience, Repeated, Service};
use crate::input::{Sending, SocketKey};
use crate::rules::Bench;
use crate::settings::Settings;
use crate::tcp::{Endpoint, TcpState};
use crate::units::{MonoNs, Pid, SockId};

/// What is followed: a socket, or a client of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) sock: SockId,
    /// Of a half-open connection, whose socket is the listener; else nothing.
    pub(crate) client: Endpoint,
}

impl Case {
    pub(crate) fn of(sock: SockId) -> Self {
        Self {
            sock,
            client: Endpoint::default(),
        }
    }

    /// The socket is its own, not its listener's.
    pub(super) fn is_socket(&self) -> bool {
        self.client == Endpoint::default()
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Answered,
    Reset,
    TimedOut,
    Abandoned,
}

/// One repetition, with what was known when it happened.
#[derive(Clone, Debug)]
pub(crate) struct Repetition {
    pub(crate) case: Case,
    pub(crate) key: SocketKey,
    pub(crate) state: TcpState,
    pub(crate) attempt: u32,
    pub(crate) next: Option<Duration>,
    pub(crate) patience: Patience,
    pub(crate) owner: Option<Owner>,
    pub(crate) service: Service,
    pub(crate) cause: Option<Cause>,
    /// Of a SYN-ACK: how many repetitions answered a repeated SYN.
    pub(crate) repeated_syns: Option<u32>,
    pub(crate) inference: Option<&'static str>,
}

/// The connections of one finding.
#[derive(Debug)]
pub(crate) struct Cohort {
    pub(super) since: MonoNs,
    pub(super) waiting: BTreeSet<Case>,
    pub(super) samples: BTreeMap<Case, SocketKey>,
    pub(super) by_process: BTreeMap<Pid, (Owner, u64)>,
    pub(super) count: u64,
    pub(super) outcomes: AttemptOutcomes,
    /// When connections qualified, over the last window.
    pub(super) recent: VecDeque<MonoNs>,
    pub(crate) worst: Option<Repetition>,
    pub(super) warned: bool,
    pub(super) active: MonoNs,
    pub(super) next_review: MonoNs,
    /// Of dead peers: timed out with nothing in flight.
    pub(crate) by_keepalive: u64,
    /// Of dead peers: silent ones without keepalive, and since when.
    pub(crate) idle: BTreeMap<Case, MonoNs>,
    /// What a look told of the settings of one of them.
    pub(crate) sending: Option<Sending>,
}

impl Cohort {
    /// The part of the proof that all kinds share.
    pub(crate) fn repeated(&self, bench: &Bench<'_>) -> Repeated {
        let worst = self.worst.as_ref();
        let lost = bench.world.lost_between(self.since, bench.at);
        Repeated {
            attempt: worst.map_or(0, |w| w.attempt),
            next_timeout: worst.and_then(|w| w.next),
            patience: worst.map_or(Patience::default(), |w| w.patience),
            outcomes: self.outcomes,
            inference: worst
                .and_then(|w| w.inference)
                .or(lost.then_some("facts were lost meanwhile: answers may have gone unseen")),
        }
    }
}

/// What makes one kind tell.
#[derive(Clone, Copy)]
pub(super) struct Measure {
    pub(super) info_attempt: u64,
    /// Connections and share of all in the window; a kind that has none warns by other means.
    pub(super) warning: Option<(u64, u64)>,
    pub(super) window: Duration,
}

impl Measure {
    pub(super) fn of(kind: Kind, settings: &Settings) -> Self {
        match kind {
            Kind::SynRetransmit => {
                let s = &settings.syn_retransmit;
                Self {
                    info_attempt: s.info_attempt,
                    warning: Some((s.warning_count, s.warning_percent)),
                    window: s.window,
                }
            }
            Kind::SynackRetransmit => {
                let s = &settings.synack_retransmit;
                Self {
                    info_attempt: s.info_attempt,
                    warning: Some((s.warning_count, s.warning_percent)),
                    window: s.window,
                }
            }
            _ => Self {
                info_attempt: settings.dead_peer.info_attempt,
                warning: None,
                window: super::attempts::QUIET,
            },
        }
    }
}
