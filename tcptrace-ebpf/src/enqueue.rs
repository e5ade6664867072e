//! A child enters the accept queue: `inet_csk_complete_hashdance`, `(listener, child, …)`, and
//! `inet_csk_reqsk_queue_add`, `(listener, request, child)`, the same on every kernel since 5.10. The
//! former calls the latter, which compilers inline there (seen on 6.1, 6.12 and 7.2); the latter alone is called for
//! a child born of a cookie or by TCP Fast Open. So both are hooked, and may tell the same twice.
//!
//! There is no pointer from a child to its listener, so this is where the two are seen together.
//! Nothing is emitted here: the child becomes ESTABLISHED next, on the same CPU and in the same
//! softirq, and that record carries the listener (see `state.rs`).
//!
//! With TCP Fast Open the child becomes ESTABLISHED much later, and a child whose lock somebody holds
//! at that instant does on another CPU: their records name no listener.

use aya_ebpf::macros::{fentry, kprobe, map};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::{FEntryContext, ProbeContext};

use crate::registers::argument;

/// A child and the listener in whose queue it lies.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Enqueued {
    pub(crate) child: u64,
    pub(crate) listener: u64,
}

/// Per CPU, the child that was put into a queue last.
#[map]
pub(crate) static ENQUEUED: PerCpuArray<Enqueued> = PerCpuArray::with_max_entries(1, 0);

#[fentry(function = "inet_csk_reqsk_queue_add")]
pub(crate) fn enqueue_fentry(ctx: FEntryContext) -> i32 {
    enqueued(ctx.arg(0), ctx.arg(2))
}

#[kprobe]
pub(crate) fn enqueue_kprobe(ctx: ProbeContext) -> u32 {
    enqueued(argument!(&ctx, 0), argument!(&ctx, 2)) as u32
}

#[fentry(function = "inet_csk_complete_hashdance")]
pub(crate) fn hashdance_fentry(ctx: FEntryContext) -> i32 {
    enqueued(ctx.arg(0), ctx.arg(1))
}

#[kprobe]
pub(crate) fn hashdance_kprobe(ctx: ProbeContext) -> u32 {
    enqueued(argument!(&ctx, 0), argument!(&ctx, 1)) as u32
}

#[inline(always)]
fn enqueued(listener: u64, child: u64) -> i32 {
    if let Some(slot) = ENQUEUED.get_ptr_mut(0) {
        // SAFETY: the slot is this CPU's.
        unsafe { *slot = Enqueued { child, listener } };
    }
    0
}

/// The listener of a child that was just put into its queue on this CPU. Asked once: the address may
/// be another socket's later.
#[inline(always)]
pub(crate) fn listener_of(child: u64) -> Option<u64> {
    let slot = ENQUEUED.get_ptr_mut(0)?;
    // SAFETY: the slot is this CPU's.
    unsafe {
        if (*slot).child != child {
            return None;
        }
        (*slot).child = 0;
        Some((*slot).listener)
    }
}
