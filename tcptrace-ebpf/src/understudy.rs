//! The second program on `sock:inet_sock_set_state`, attached after the first and so run after it.
//!
//! From Linux 6.1 on the kernel skips a program that interrupts itself on one CPU. The first program
//! leaves each change that it handled in a per-CPU table (`handled.rs`); when the table does not name
//! it, it was skipped, and this one reports the change, flagged. At worst an interrupt between the two
//! makes a flagged duplicate, which the agent recognises: the socket is in that state already.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tcptrace_common::record::flag;

use crate::handled;
use crate::state::{Change, HANDLED, report};

#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn understudy(ctx: BtfTracePointContext) -> i32 {
    let change = Change::of(&ctx);
    if !handled::take(&HANDLED, change) {
        report(&ctx, flag::UNDERSTUDY);
    }
    0
}
