//! What rules ask for: appointments with themselves, and facts they would like to have.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::request::Request;
use crate::rules::Timer;
use crate::units::MonoNs;

/// Appointments, the earliest first.
#[derive(Debug, Default)]
pub(crate) struct Timers(pub(super) BinaryHeap<Reverse<(MonoNs, Timer)>>);

impl Timers {
    pub(crate) fn set(&mut self, at: MonoNs, timer: Timer) {
        self.0.push(Reverse((at, timer)));
    }
}

/// What the rules would like to know, in the order of asking.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) others: BTreeSet<Request>,
    pub(crate) evicted: u64,
}
