//! What a first program has handled, for its understudy to compare: a few places per CPU, of which
//! the first is nearly always enough.
//!
//! A softirq may run both programs for another socket between the two of this one. In a single place
//! its event would overwrite ours, and the understudy would report ours again.
//!
//! From Linux 7.0 on tracepoints may be preempted, and a task may go on elsewhere between two
//! programs. There the places are the task's, which takes them along; a softirq uses those of the task
//! that it interrupted. Threads whose numbers are alike share them ([`THREADS`]), at the cost of a
//! duplicate now and then.
//!
//! An event whose understudy is skipped stays behind. It must not vouch for the next socket at that
//! address, where the same happens within milliseconds; so an event names the life of its socket too,
//! and a socket's next event takes the place of what it left.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::maps::{Array, PerCpuArray};
use tcptrace_common::names::{IDLE_TASKS, PLACES, THREADS};

use crate::layout::{Memory, Plain, at};

/// One CPU's or task's events: as many as may be between their two programs at once, a task's, a softirq's, a
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

/// Rows of a table by task. The agent shrinks it to one where it is not used.
pub(crate) const TASKS: u32 = THREADS + IDLE_TASKS;

/// The same events by CPU and by task; the kernel decides which is used.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub(crate) by_cpu: &'static PerCpuArray<Places>,
    pub(crate) by_task: &'static Array<Places>,
}

impl Table {
    /// Those of who is at work.
    #[inline(always)]
    fn places(self) -> Option<*mut Places> {
        if at!(preemptible) != 1 {
            return self.by_cpu.get_ptr_mut(0);
        }
        let thread = bpf_get_current_pid_tgid() as u32;
        let row = if thread == 0 {
            // SAFETY: no preconditions.
            THREADS + (unsafe { bpf_get_smp_processor_id() } & (IDLE_TASKS - 1))
        } else {
            thread & (THREADS - 1)
        };
        self.by_task.get_ptr_mut(row)
    }
}

/// The first program is done with this event.
#[inline(always)]
pub(crate) fn note(table: Table, event: Event) {
    let Some(places) = table.places() else {
        return;
    };
    // SAFETY: the places are this CPU's or task's; a torn event only costs a duplicate.
    let places = unsafe { &mut *places };
    for place in places.iter_mut() {
        if place.sock == 0 || place.sock == event.sock {
            *place = event;
            return;
        }
    }
    // What was left behind falls out in time.
    let mut index = PLACES - 1;
    while index > 0 {
        places[index] = places[index - 1];
        index -= 1;
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
    pub(crate) fn stand_in(self, table: Table, event: Event, report: impl FnOnce()) {
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
    fn finds(self, table: Table, event: Event) -> bool {
        let Some(places) = table.places() else {
            return true;
        };
        // SAFETY: the places are this CPU's or task's.
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
