//! The user stack of the thread at work, when the agent asks for stacks: a record of its own behind
//! that of the accept, connect or first close, by `bpf_get_stack`, 4.18 on. It follows frame pointers through what
//! of the thread's memory is resident. Unless asked for, the verifier folds all of it away.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_F_USER_STACK;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_get_stack;
use tcptrace_common::record::{Calls, FRAMES, Kind};

use crate::emit;
use crate::filter;
use crate::sock::Identity;

/// Not 0: the agent wants stacks.
#[unsafe(no_mangle)]
static STACKS_WANTED: u32 = 0;

/// By which call the connection came to its program, or ended.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Call {
    Accepted = 0,
    Connected = 1,
    Closed = 2,
}

/// Whether stacks are wanted: a constant to the verifier.
#[inline(always)]
pub(crate) fn wanted() -> bool {
    // SAFETY: a static is readable; volatile, as the agent changes it in the object.
    unsafe { (&raw const STACKS_WANTED).read_volatile() != 0 }
}

/// Emits the stack of the current thread, of process `pid`, if it is wanted and the socket passes.
#[inline(always)]
pub(crate) fn emit<C: EbpfContext>(ctx: &C, sock: u64, identity: &Identity, pid: u32, call: Call) {
    if !wanted() || !filter::passes(identity) {
        return;
    }
    emit::record::<Calls>(Kind::Stack, |it| {
        // SAFETY: the ring handed out room for one record; the helper fills all of `frames`, with
        // zeroes where there is no stack.
        unsafe {
            (*it).at_ns = bpf_ktime_get_ns();
            (*it).sock = sock;
            (*it).kind = Kind::Stack as u16;
            (*it).call = call as u16;
            (*it).pid = pid;
            bpf_get_stack(
                ctx.as_ptr(),
                (&raw mut (*it).frames).cast(),
                (FRAMES * size_of::<u64>()) as u32,
                u64::from(BPF_F_USER_STACK),
            );
        }
    });
}
