//! What a first program has handled, for its understudy to compare: a few places per CPU, of which
//! the first is nearly always enough.
//!
//! A softirq may run both programs for another socket between the two of this one. In a single place
//! its event would overwrite ours, and the understudy would report ours again.

use aya_ebpf::maps::PerCpuArray;
use tcptrace_common::names::PLACES;

/// One CPU's events: as many as may be between their two programs at once, a task's, a softirq's, a
/// hard interrupt's, and one that was left behind because its understudy was skipped.
pub(crate) type Places<T> = [T; PLACES];

/// What both programs know of an event. The agent's zeroes are empty places.
pub(crate) trait Event: Copy + PartialEq {
    /// Whether this is a place without an event.
    fn is_empty(&self) -> bool;
    /// Empties a place, by one store: zeroing a structure would call a function.
    fn clear(&mut self);
}

impl Event for u64 {
    #[inline(always)]
    fn is_empty(&self) -> bool {
        *self == 0
    }

    #[inline(always)]
    fn clear(&mut self) {
        *self = 0;
    }
}

/// The first program is done with this event.
#[inline(always)]
pub(crate) fn note<T: Event>(table: &PerCpuArray<Places<T>>, event: T) {
    let Some(places) = table.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the places are this CPU's; a torn event only costs a duplicate.
    let places = unsafe { &mut *places };
    for place in places.iter_mut() {
        if place.is_empty() {
            *place = event;
            return;
        }
    }
    places[0] = event;
}

/// Whether the first program handled this event; the table then forgets it, as it vouches for one
/// event only.
#[inline(always)]
pub(crate) fn take<T: Event>(table: &PerCpuArray<Places<T>>, event: T) -> bool {
    let Some(places) = table.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: the places are this CPU's.
    for place in unsafe { &mut *places } {
        if *place == event {
            place.clear();
            return true;
        }
    }
    false
}
