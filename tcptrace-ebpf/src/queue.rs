//! Run on demand, attached to nothing: walks a listener's accept queue and gives the addresses of
//! the children in it. Arguments: the listener, and the request to go on with (0: from the head).
//!
//! The list may change under the walk. Each step gives the listener that its request names, and the
//! agent starts again when that is another one.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use tcptrace_common::record::{AcceptQueue, CHILDREN, Child};

use crate::answer;
use crate::layout::{Memory, Probe, at};

#[raw_tracepoint]
pub(crate) fn queue(ctx: RawTracePointContext) -> i32 {
    let listener: u64 = ctx.arg(0);
    let from: u64 = ctx.arg(1);
    let Some(mut answer) = answer::reserve::<AcceptQueue>() else {
        return -1;
    };
    let answer_ptr = answer.as_mut_ptr();
    let mut request = from as *const u8;
    if from == 0 {
        request = Probe::get(listener as *const u8, at!(icsk_accept_head));
    }
    // SAFETY: the ring handed out room for one answer, and the index stays below CHILDREN.
    unsafe {
        let first = (&raw mut (*answer_ptr).children).cast::<Child>();
        let mut index = 0;
        while index < CHILDREN {
            *first.add(index) = Child {
                sock: Probe::get(request, at!(req_sk)),
                listener: Probe::get(request, at!(skc_listener)),
            };
            request = Probe::get(request, at!(req_dl_next));
            index += 1;
        }
        (*answer_ptr).next = request as u64;
    }
    answer.submit(0);
    0
}
