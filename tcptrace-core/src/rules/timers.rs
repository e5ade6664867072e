//! What waits for the clock: facts, and appointments of the rules with themselves. And what rules
//! would like to know.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::fin_retransmit::{Ending, Seen};
use super::fin_wait2_stuck::HalfFact;
use super::unanswered;
use crate::book::Subject;
use crate::evictions::Evictions;
use crate::finding::Owner;
use crate::input::{
    Counters, Inspection, ListenerSample, QueueDrop, Retransmit, Stack, SynackRetransmit,
};
use crate::request::Request;
use crate::units::{MonoNs, Pid, SockId};

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
    pub(crate) evicted: Evictions,
}

/// A fact that waits for the clock.
#[derive(Debug)]
pub(crate) enum Fact {
    /// A look, and the owner as it was known then.
    Peek(Box<Inspection>, Option<Owner>),
    LeftCloseWait(SockId),
    Accepted(SockId, Pid),
    Sent(SockId),
    /// A repeated segment of a closing connection, and what was known of it then.
    Fin(Box<Retransmit>, Seen),
    FinEnded(SockId, Ending),
    Sample(Box<ListenerSample>, Option<(MonoNs, Pid)>),
    Counters(Box<Counters>),
    QueueDrop(Box<QueueDrop>),
    Synack(Box<SynackRetransmit>),
    AcceptedFrom(SockId, Pid),
    Descriptors(Pid, (u64, u64)),
    /// News of a connection in FIN_WAIT2 whose descriptor is open.
    HalfClosed(SockId, HalfFact),
    Unanswered(unanswered::Fact),
    Stack(Box<Stack>),
}

/// A rule's appointment with itself. Of a crowd there are hundreds of thousands, which move about in
/// the heap: what is large is behind a pointer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Suspect(SockId),
    Minute(Box<Subject>),
    Sample(Box<Subject>),
    Fin(Box<Subject>),
    Queue(Box<Subject>),
    Attribute(u64),
    /// A full second, of the rules about closing connections.
    Second,
    Unanswered(unanswered::Timer),
}

const _: () = assert!(size_of::<Timer>() <= 24);
