//! The model of what the kernel reports as CLOSE and keeps as a small separate object: TIME_WAIT,
//! and the FIN_WAIT2 of an orphan.
//!
//! Invariant: at most [`LISTED`] are listed one by one; the rest are only counted, by second.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::tcp::TcpState;
use crate::units::{MonoNs, SockId};

/// TCP_TIMEWAIT_LEN: fixed in the kernel's source, not tunable.
pub(super) const TIME_WAIT: Duration = Duration::from_secs(60);

/// A busy proxy has hundreds of thousands; nobody reads them one by one.
const LISTED: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Modelled {
    listed: BTreeSet<(MonoNs, SockId)>,
    /// (end of the second in which they expire, state, how many), by state in order of time.
    counted: VecDeque<(MonoNs, TcpState, u64)>,
}

impl Modelled {
    /// Whether the socket is listed; otherwise it is counted until `expiry`.
    pub(super) fn insert(&mut self, id: SockId, state: TcpState, expiry: MonoNs) -> bool {
        if self.listed.len() < LISTED {
            self.listed.insert((expiry, id));
            return true;
        }
        let second = MonoNs(expiry.0.next_multiple_of(1_000_000_000));
        let at = self
            .counted
            .partition_point(|entry| (entry.0, entry.1) < (second, state));
        match self.counted.get_mut(at) {
            Some(entry) if (entry.0, entry.1) == (second, state) => entry.2 += 1,
            _ => self.counted.insert(at, (second, state, 1)),
        }
        false
    }

    /// The next listed one that expired by `now`.
    pub(super) fn expired(&mut self, now: MonoNs) -> Option<SockId> {
        let first = *self.listed.first()?;
        (first.0 <= now).then(|| {
            self.listed.remove(&first);
            first.1
        })
    }

    /// The next group of counted ones that expired by `now`.
    pub(super) fn expired_counted(&mut self, now: MonoNs) -> Option<(TcpState, u64)> {
        let (second, state, count) = *self.counted.front()?;
        (second <= now).then(|| {
            self.counted.pop_front();
            (state, count)
        })
    }
}
