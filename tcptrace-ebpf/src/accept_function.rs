//! `inet_csk_accept` on return, 5.10 on: `(sk, flags, err, kern)` up to 6.9 and `(sk, arg)` later; the
//! accepted sock follows the arguments. The current task is the acceptor, be it a system call or an
//! io_uring worker; the descriptor is not installed yet.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;
use tcptrace_common::record::{AcceptBody, Kind};

use crate::emit::{self, About};
use crate::layout::Plain;
use crate::sock;

// Two programs, as the compiler would merge both loads into one at a computed offset of the
// context, which the verifier refuses.

/// From 6.10 on.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accept_function(ctx: FExitContext) -> i32 {
    accepted(ctx.arg(2))
}

/// Up to 6.9.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accept_function_4(ctx: FExitContext) -> i32 {
    accepted(ctx.arg(4))
}

#[inline(always)]
fn accepted(sk: *const u8) -> i32 {
    if sk.is_null() {
        return 0;
    }
    let tp = sock::full(sk);
    if tp.is_null() {
        return 0;
    }
    let id = bpf_get_current_pid_tgid();
    let about = About {
        sock: sk as u64,
        pid: (id >> 32) as u32,
        ..About::default()
    };
    let body = AcceptBody {
        tid: id as u32,
        fd: -1,
        reserved: [0; 2],
    };
    emit::event::<Plain, _>(Kind::Accept, tp, &sock::identity::<Plain>(tp), about, body);
    0
}
