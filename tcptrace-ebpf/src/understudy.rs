//! The second program on `sock:inet_sock_set_state`, attached after the first and so run after it.
//!
//! From Linux 6.1 on the kernel skips a program that interrupts itself on one CPU. The first program
//! leaves each change that it handled in a per-CPU slot; when the slot says something else, it was
//! skipped, and this one reports the change, flagged. An interrupt between the two makes a flagged
//! duplicate, which the agent recognises: the socket is in that state already.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tcptrace_common::record::flag;

use crate::state::{Change, HANDLED, report};

#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn understudy(ctx: BtfTracePointContext) -> i32 {
    let Some(slot) = HANDLED.get_ptr_mut(0) else {
        return 0;
    };
    let change = Change::of(&ctx);
    // SAFETY: the slot is this CPU's. It is emptied, so that it vouches for one change only.
    let handled = unsafe {
        let handled = (*slot).sock == change.sock && (*slot).states == change.states;
        (*slot).sock = 0;
        handled
    };
    if !handled {
        report(&ctx, flag::UNDERSTUDY);
    }
    0
}
