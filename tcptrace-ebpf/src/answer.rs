//! The ring of the programs that the agent runs on demand (`BPF_PROG_TEST_RUN`), and their arguments.
//! The agent empties it after each run, so it needs room for one answer only.

use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use aya_ebpf::programs::RawTracePointContext;
use tcptrace_common::names::ARGUMENTS;

#[map]
static ANSWERS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

#[inline(always)]
pub(crate) fn reserve<T: 'static>() -> Option<RingBufEntry<T>> {
    ANSWERS.reserve::<T>(0)
}

/// All arguments. The verifier wants each at a constant offset of the context.
#[inline(always)]
pub(crate) fn arguments(ctx: &RawTracePointContext) -> [u64; ARGUMENTS] {
    [
        ctx.arg(0),
        ctx.arg(1),
        ctx.arg(2),
        ctx.arg(3),
        ctx.arg(4),
        ctx.arg(5),
        ctx.arg(6),
        ctx.arg(7),
        ctx.arg(8),
        ctx.arg(9),
        ctx.arg(10),
        ctx.arg(11),
    ]
}
