//! `tcp:tcp_receive_reset`, 5.10 on: `(sk)`, a full socket, before `sk_err` is set.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tcptrace_common::record::{Kind, ResetBody, flag};

use crate::emit::{self, About};
use crate::layout::{Memory, Plain, at};
use crate::sock;
use crate::state::Caller;

#[btf_tracepoint(function = "tcp_receive_reset")]
pub(crate) fn receive_reset(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let tp = sock::full(sk);
    if !tp.is_null() {
        full_socket(sk, tp, flag::RECEIVED, ResetBody::NO_REASON);
    }
    0
}

/// Emits a reset of a full socket.
#[inline(always)]
pub(crate) fn full_socket(sk: *const u8, tp: *const u8, flags: u16, reason: u32) {
    let caller = Caller::of(tp);
    let about = About {
        sock: sk as u64,
        flags: flags | sock::life::<Plain>(tp) | caller.flags,
        pid: caller.pid,
        ..About::default()
    };
    let body = ResetBody {
        tid: caller.tid,
        reason,
        state: u32::from(Plain::get::<u8>(tp, at!(skc_state))),
        reserved: 0,
    };
    emit::event::<Plain, _>(Kind::Reset, tp, &sock::identity::<Plain>(tp), about, body);
}
