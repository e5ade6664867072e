//! The drops of one queue that belong together.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::finding::{Cause, Confidence, Owner, Severity};
use crate::input::{Queue, SocketKey};
use crate::units::{MonoNs, NetnsId, SockId};

/// Drops of one queue that belong together, for a rule to judge.
#[derive(Debug)]
pub(crate) struct Overflow {
    pub(crate) queue: Queue,
    pub(crate) netns: NetnsId,
    pub(crate) listeners: BTreeSet<SockId>,
    pub(crate) owner: Option<Owner>,
    /// The listener that dropped last.
    pub(crate) worst: SockId,
    pub(crate) key: SocketKey,
    pub(crate) first: MonoNs,
    /// The last drop, full queue or other sign of trouble.
    pub(crate) last: MonoNs,
    pub(crate) dropped: u64,
    pub(crate) cookies: u64,
    /// What the kernel had counted before the first of these drops.
    pub(super) kernel_before: u64,
    pub(crate) inference: Option<&'static str>,
    /// SYN-ACKs repeated to clients that had answered, and to clients that had not.
    pub(crate) answered: u64,
    pub(crate) unanswered: u64,
    pub(crate) sources: BTreeSet<IpAddr>,
    /// Handshakes completed since the first sign of trouble.
    pub(crate) births_before: u64,
    pub(crate) by_second: VecDeque<(u64, u64)>,
    pub(crate) cause: Option<Cause>,
    pub(crate) severity: Severity,
    pub(super) opened: bool,
    pub(super) reviews: u64,
    pub(super) next_review: MonoNs,
}

impl Overflow {
    /// Drops in the `seconds` before `at`.
    pub(crate) fn dropped_within(&self, at: MonoNs, seconds: u64) -> u64 {
        let now = at.0 / 1_000_000_000;
        self.by_second
            .iter()
            .filter(|(second, _)| now.saturating_sub(*second) < seconds)
            .map(|(_, count)| count)
            .sum()
    }
}

/// The confidence of an overflow whose listener was inferred, or not.
pub(crate) fn confidence(overflow: &Overflow) -> Confidence {
    match (overflow.worst, overflow.inference) {
        (SockId(0), _) => Confidence::Unknown,
        (_, Some(_)) => Confidence::Likely,
        (_, None) => Confidence::Exact,
    }
}
