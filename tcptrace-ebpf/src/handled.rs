//! What a first program has handled, for its understudy to compare: a few places per CPU, of which
//! the first is nearly always enough.
//!
//! A softirq may run both programs for another socket between the two of this one. In a single place
//! its event would overwrite ours, and the understudy would report ours again.
//!
//! An event whose understudy is skipped stays behind, as does one whose task moves to another CPU
//! between the programs (from Linux 7.0 on tracepoints may be preempted). It must not vouch for the
//! next socket at that address, where the same happens within milliseconds; so an event names the
//! life of its socket too, and a socket's next event takes the place of what it left.

use aya_ebpf::maps::PerCpuArray;
use tcptrace_common::names::PLACES;

use crate::layout::{Memory, Plain, at};

/// One CPU's events: as many as may be between their two programs at once, a task's, a softirq's, a
/// hard interrupt's, and one that was left behind.
pub(crate) type Places = [Event; PLACES];

/// An event, as both programs know it. The agent's zeroes are empty places.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Event {
    sock: u64,
    /// The hash that the kernel chose for the flow, at random for each connection, below what
    /// happened.
    what: u64,
}

impl Event {
    /// `what` tells the events of one life apart.
    #[inline(always)]
    pub(crate) fn new(sk: *const u8, what: u32) -> Self {
        Self {
            sock: sk as u64,
            what: u64::from(what) << 32 | u64::from(Plain::get::<u32>(sk, at!(sk_txhash))),
        }
    }
}

/// The first program is done with this event.
#[inline(always)]
pub(crate) fn note(table: &PerCpuArray<Places>, event: Event) {
    let Some(places) = table.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the places are this CPU's; a torn event only costs a duplicate.
    let places = unsafe { &mut *places };
    for place in places.iter_mut() {
        if place.sock == 0 || place.sock == event.sock {
            *place = event;
            return;
        }
    }
    places[0] = event;
}

/// Who stands in for a program that was skipped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Understudy {
    /// Another comes after this one.
    Early,
    /// After this one the table forgets the event: it vouches for one event only.
    Last,
}

impl Understudy {
    /// The first understudy: the only one, but where programs may be preempted.
    #[inline(always)]
    pub(crate) fn first() -> Self {
        if at!(preemptible) == 1 {
            Self::Early
        } else {
            Self::Last
        }
    }

    /// Reports an event that no program before this one handled.
    #[inline(always)]
    pub(crate) fn stand_in(self, table: &PerCpuArray<Places>, event: Event, report: impl FnOnce()) {
        if self.finds(table, event) {
            return;
        }
        report();
        if self == Self::Early {
            note(table, event);
        }
    }

    /// Whether a program before this one handled the event.
    #[inline(always)]
    fn finds(self, table: &PerCpuArray<Places>, event: Event) -> bool {
        let Some(places) = table.get_ptr_mut(0) else {
            return true;
        };
        // SAFETY: the places are this CPU's.
        for place in unsafe { &mut *places } {
            if *place == event {
                if self == Self::Last {
                    place.sock = 0;
                }
                return true;
            }
        }
        false
    }
}
