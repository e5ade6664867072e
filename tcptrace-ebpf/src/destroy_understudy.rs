//! The programs on `tcp:tcp_destroy_sock` that are attached after the first: see `understudy.rs`. A
//! duplicate does no harm, as the address is not free before all have run.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::destroy::{ENDS, report};
use crate::emit::Player;
use crate::handled::{Event, Understudy};

#[btf_tracepoint(function = "tcp_destroy_sock")]
pub(crate) fn destroy_understudy(ctx: BtfTracePointContext) -> i32 {
    stand_in(&ctx, Understudy::first())
}

#[btf_tracepoint(function = "tcp_destroy_sock")]
pub(crate) fn destroy_understudy_2(ctx: BtfTracePointContext) -> i32 {
    stand_in(&ctx, Understudy::Early)
}

#[btf_tracepoint(function = "tcp_destroy_sock")]
pub(crate) fn destroy_understudy_3(ctx: BtfTracePointContext) -> i32 {
    stand_in(&ctx, Understudy::Last)
}

#[inline(always)]
fn stand_in(ctx: &BtfTracePointContext, understudy: Understudy) -> i32 {
    let event = Event::new(ctx.arg(0), 0);
    understudy.stand_in(ENDS, event, || report(ctx, Player::Understudy));
    0
}
