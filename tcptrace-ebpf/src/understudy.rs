//! The programs on `sock:inet_sock_set_state` that are attached after the first and so run after it.
//!
//! From Linux 6.1 on the kernel skips a program that interrupts itself on one CPU. The first program
//! leaves each change that it handled in a table (`handled.rs`); when the table does not name
//! it, it was skipped, and the understudy reports the change, flagged. At worst an interrupt between
//! the two makes a flagged duplicate, which the agent recognises: the socket is in that state already.
//!
//! One is enough where only softirqs interrupt. From Linux 7.0 on a task may be preempted within a
//! program, which is then skipped on that CPU until the task goes on, for milliseconds; what is
//! preempted meanwhile within the understudy skips that too. So two more follow there.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::emit::Player;
use crate::handled::Understudy;
use crate::state::{CHANGES, change, report};

#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn understudy(ctx: BtfTracePointContext) -> i32 {
    stand_in(&ctx, Understudy::first())
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn understudy_2(ctx: BtfTracePointContext) -> i32 {
    stand_in(&ctx, Understudy::Early)
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn understudy_3(ctx: BtfTracePointContext) -> i32 {
    stand_in(&ctx, Understudy::Last)
}

#[inline(always)]
fn stand_in(ctx: &BtfTracePointContext, understudy: Understudy) -> i32 {
    understudy.stand_in(CHANGES, change(ctx), || report(ctx, Player::Understudy));
    0
}
