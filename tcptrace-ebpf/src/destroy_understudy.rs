//! The second program on `tcp:tcp_destroy_sock`, attached after the first: see `understudy.rs`. A
//! duplicate does no harm, as the address is not free before both have run.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tcptrace_common::record::Gone;

use crate::destroy::{ENDED, report};

#[btf_tracepoint(function = "tcp_destroy_sock")]
pub(crate) fn destroy_understudy(ctx: BtfTracePointContext) -> i32 {
    let Some(slot) = ENDED.get_ptr_mut(0) else {
        return 0;
    };
    let sk: *const u8 = ctx.arg(0);
    // SAFETY: the slot is this CPU's. It is emptied, so that it vouches for one end only.
    let handled = unsafe {
        let handled = *slot == sk as u64;
        *slot = 0;
        handled
    };
    if !handled {
        report(&ctx, Gone::UNDERSTUDY);
    }
    0
}
