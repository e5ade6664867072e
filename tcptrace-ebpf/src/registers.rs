//! The arguments and the result of a probed function, in the registers that a kprobe saved. Where
//! `struct pt_regs` keeps them differs by architecture, so that the agent tells the offsets and one
//! object serves all. The verifier refuses a plain load at an offset of the context that is no
//! constant of the program (up to Linux 6.12), so they are read like any other kernel memory.

use aya_ebpf::EbpfContext;

use crate::layout::{Memory as _, Probe, at};

/// An argument of the function at whose entry `ctx` stands, by its number.
macro_rules! argument {
    ($ctx:expr, 0) => {
        $crate::registers::saved($ctx, $crate::layout::at!(pt_regs_arg0))
    };
    ($ctx:expr, 1) => {
        $crate::registers::saved($ctx, $crate::layout::at!(pt_regs_arg1))
    };
    ($ctx:expr, 2) => {
        $crate::registers::saved($ctx, $crate::layout::at!(pt_regs_arg2))
    };
    ($ctx:expr, 3) => {
        $crate::registers::saved($ctx, $crate::layout::at!(pt_regs_arg3))
    };
    ($ctx:expr, 4) => {
        $crate::registers::saved($ctx, $crate::layout::at!(pt_regs_arg4))
    };
}
pub(crate) use argument;

/// The result of the function that has just returned.
#[inline(always)]
pub(crate) fn result(ctx: &impl EbpfContext) -> u64 {
    saved(ctx, at!(pt_regs_ret))
}

#[inline(always)]
pub(crate) fn saved(ctx: &impl EbpfContext, offset: usize) -> u64 {
    Probe::get(ctx.as_ptr().cast::<u8>().cast_const(), offset)
}
