//! The connections of one finding, and its proof.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::finding::{FinOutcomes, FinRetransmitEvidence, Owner};
use crate::input::Retransmit;
use crate::rules::Bench;
use crate::units::{MonoNs, Pid, SockId};

/// The kernel doubles the timeout up to TCP_RTO_MAX.
const RTO_MAX: Duration = Duration::from_secs(120);

/// `tcp_orphan_retries` of 0 means this many (`tcp_orphan_retries()` in the kernel).
const ORPHAN_RETRIES: u32 = 8;

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
    /// When connections qualified, over the last `WINDOW`.
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
    let limit = if worst.dead {
        facts.and_then(|f| f.tcp_orphan_retries).map(|n| {
            (
                "tcp_orphan_retries",
                if n == 0 { ORPHAN_RETRIES } else { n },
            )
        })
    } else {
        facts
            .and_then(|f| f.tcp_retries2)
            .map(|n| ("tcp_retries2", n))
    };
    FinRetransmitEvidence {
        state: Some(worst.state),
        attempt,
        backoff: u32::from(worst.backoff),
        next_timeout: worst.rto.map(|rto| (rto * 2).min(RTO_MAX)),
        limit,
        orphan: worst.dead,
        outcomes,
        data_retransmits: group.data,
    }
}
