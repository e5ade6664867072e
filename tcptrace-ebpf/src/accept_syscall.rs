//! `syscalls:sys_exit_accept` and `sys_exit_accept4`: where functions cannot be probed. The result
//! is the new descriptor, which the calling task's descriptor table resolves. An enabled system call
//! tracepoint slows every system call of the host a little, so this is the last resort.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use tcptrace_common::record::{AcceptBody, Kind};

use crate::emit::{self, About};
use crate::layout::{Memory, Probe, at};
use crate::resolve::{self, SockFields};
use crate::sock;
use crate::stack::{self, Call};

#[tracepoint(category = "syscalls", name = "sys_exit_accept")]
pub(crate) fn accept_syscall(ctx: TracePointContext) -> u32 {
    accepted(&ctx)
}

#[tracepoint(category = "syscalls", name = "sys_exit_accept4")]
pub(crate) fn accept4_syscall(ctx: TracePointContext) -> u32 {
    accepted(&ctx)
}

#[inline(always)]
fn accepted(ctx: &TracePointContext) -> u32 {
    let fd = Probe::get::<i64>(ctx.as_ptr().cast::<u8>().cast_const(), at!(sys_exit_ret));
    if fd < 0 {
        return 0;
    }
    let Some(sk) = resolve::descriptor(fd as u64) else {
        return 0;
    };
    let id = bpf_get_current_pid_tgid();
    let about = About {
        sock: sk.address() as u64,
        pid: (id >> 32) as u32,
        ..About::default()
    };
    let body = AcceptBody {
        tid: id as u32,
        fd: fd as i32,
        reserved: [0; 2],
    };
    let identity = sock::identity::<SockFields>(sk.base());
    emit::event::<SockFields, _>(Kind::Accept, sk.base(), &identity, about, body);
    stack::emit(ctx, about.sock, &identity, about.pid, Call::Accepted);
    0
}
