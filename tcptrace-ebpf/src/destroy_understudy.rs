//! The second program on `tcp:tcp_destroy_sock`, attached after the first: see `understudy.rs`. A
//! duplicate does no harm, as the address is not free before both have run.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::destroy::{ENDED, report};
use crate::emit::Player;
use crate::handled;

#[btf_tracepoint(function = "tcp_destroy_sock")]
pub(crate) fn destroy_understudy(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    if !handled::take(&ENDED, sk as u64) {
        report(&ctx, Player::Understudy);
    }
    0
}
