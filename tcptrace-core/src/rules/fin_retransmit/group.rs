//! The connections of one finding, and its proof.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::finding::{FinOutcomes, FinRetransmitEvidence, Owner};
use crate::input::Retransmit;
use crate::rules::{Bench, patience};
use crate::tcp::TcpState;
use crate::units::{MonoNs, Pid, SockId};

/// The connections of one finding.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) since: MonoNs,
    pub(super) waiting: BTreeSet<SockId>,
    pub(super) samples: BTreeSet<SockId>,
    pub(super) by_process: BTreeMap<Pid, (Owner, u64)>,
    pub(super) count: u64,
    pub(super) outcomes: FinOutcomes,
    pub(super) data: u64,
    /// When connections qualified, over the last window.
    pub(super) recent: VecDeque<MonoNs>,
    pub(super) worst: Option<(u32, Retransmit)>,
    pub(super) warned: bool,
    pub(super) active: MonoNs,
    pub(super) next_review: MonoNs,
}

pub(super) fn evidence(group: &Group, bench: &Bench<'_>) -> FinRetransmitEvidence {
    let outcomes = group.outcomes;
    let Some((attempt, worst)) = group.worst else {
        return FinRetransmitEvidence {
            outcomes,
            data_retransmits: group.data,
            ..FinRetransmitEvidence::default()
        };
    };
    let facts = bench.world.netns_facts(worst.key.netns);
    let patience = patience::of_connection(facts, worst.dead, worst.user_timeout);
    FinRetransmitEvidence {
        state: Some(worst.state),
        attempt,
        backoff: u32::from(worst.backoff),
        next_timeout: patience::next_timeout(facts, &worst, None),
        patience,
        orphan: worst.dead,
        outcomes,
        data_retransmits: group.data,
        lost: lost(worst.state),
    }
}

/// Which segment of the close was lost, as far as this host can know: ACKs are never repeated, so a
/// lost one looks like the loss of what it acknowledges.
fn lost(state: TcpState) -> &'static str {
    match state {
        TcpState::FinWait1 => "our FIN, or its ACK",
        TcpState::Closing => "our FIN, or its ACK; the peer's FIN, which crossed it, arrived",
        _ => "our FIN, or the peer's last ACK",
    }
}
