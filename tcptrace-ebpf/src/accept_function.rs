//! Who accepts, by functions. Best is `security_sock_graft(sk, socket)`, which accept calls at its end
//! in every kernel with CONFIG_SECURITY_NETWORK: it does not block. A call of a function that blocks
//! is seen on return only if it began after the program was attached, and a trampoline forgets the
//! calls in progress whenever another tracer comes or goes (seen on 6.1).
//!
//! Else `inet_csk_accept` on return, 5.10 on: `(sk, flags, err, kern)` up to 6.9 and `(sk, arg)` later; the
//! accepted sock follows the arguments. The current task is the acceptor, be it a system call or an
//! io_uring worker; the descriptor is not installed yet. By kretprobe where fexit is not to be had.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use tcptrace_common::record::{AcceptBody, Kind};

use crate::emit::{self, About};
use crate::layout::{Memory, Plain, Probe};
use crate::registers::argument;
use crate::stack::{self, Call};
use crate::{registers, resolve, sock};

#[fentry(function = "security_sock_graft")]
pub(crate) fn graft_fentry(ctx: FEntryContext) -> i32 {
    accepted(&ctx, ctx.arg(0))
}

#[kprobe]
pub(crate) fn graft_kprobe(ctx: ProbeContext) -> u32 {
    untyped(&ctx, argument!(&ctx, 0))
}

// Two programs, as the compiler would merge both loads into one at a computed offset of the
// context, which the verifier refuses.

/// From 6.10 on.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accept_function(ctx: FExitContext) -> i32 {
    accepted(&ctx, ctx.arg(2))
}

/// Up to 6.9.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accept_function_4(ctx: FExitContext) -> i32 {
    accepted(&ctx, ctx.arg(4))
}

#[kretprobe]
pub(crate) fn accept_kretprobe(ctx: RetProbeContext) -> u32 {
    untyped(&ctx, registers::result(&ctx))
}

/// A register says nothing of the sock's type, so it is read by probe.
#[inline(always)]
fn untyped<C: EbpfContext>(ctx: &C, sk: u64) -> u32 {
    let sk = sk as *const u8;
    if !sk.is_null() && resolve::is_tcp::<Probe>(sk) {
        emit::<Probe, C>(ctx, sk, sk);
    }
    0
}

#[inline(always)]
fn accepted<C: EbpfContext>(ctx: &C, sk: *const u8) -> i32 {
    if sk.is_null() {
        return 0;
    }
    let tp = sock::full(sk);
    if !tp.is_null() {
        emit::<Plain, C>(ctx, sk, tp);
    }
    0
}

#[inline(always)]
fn emit<M: Memory, C: EbpfContext>(ctx: &C, sk: *const u8, tp: *const u8) {
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
    let identity = sock::identity::<M>(tp);
    emit::event::<M, _>(Kind::Accept, tp, &identity, about, body);
    stack::emit(ctx, about.sock, &identity, about.pid, Call::Accepted);
}
