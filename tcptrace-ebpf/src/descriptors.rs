//! `iter/task_file`, 5.8 on: every descriptor of every thread group leader, all network namespaces.
//! One row per descriptor that is a TCP socket. Two programs: one with plain loads, which needs
//! `bpf_sock_from_file` (5.11 on), and one with probe reads for older kernels.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_seq_write, bpf_sock_from_file};
use tcptrace_common::record::Row;

use crate::layout::{Memory, Plain, Probe, at};
use crate::row::{self, Holder};
use crate::sock::{self, File};
use crate::{filter, resolve};

/// `struct bpf_iter__task_file`, whose layout is the context's ABI.
#[repr(C)]
struct TaskFile {
    meta: *const Meta,
    task: *const u8,
    fd: u32,
    file: *const u8,
}

/// `struct bpf_iter_meta`.
#[repr(C)]
pub(crate) struct Meta {
    pub(crate) seq: *mut u8,
    session_id: u64,
    seq_num: u64,
}

/// Appends one row to the iterator's output.
#[inline(always)]
pub(crate) fn write(meta: *const Meta, row: &Row) {
    // SAFETY: the verifier knows `meta` from the context; the row is initialised.
    unsafe {
        bpf_seq_write(
            (*meta).seq.cast(),
            (&raw const *row).cast_mut().cast::<c_void>(),
            size_of::<Row>() as u32,
        );
    }
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn descriptors(ctx: *const TaskFile) -> i32 {
    // SAFETY: the verifier knows the context; task and file are null at the end of the iteration.
    let (meta, task, fd, file) = unsafe { ((*ctx).meta, (*ctx).task, (*ctx).fd, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    // SAFETY: the verifier checks that `file` is a file.
    let socket = unsafe { bpf_sock_from_file(file.cast_mut().cast()) }.cast::<u8>();
    if socket.is_null() {
        return 0;
    }
    let sk = Plain::get::<*const u8>(socket, at!(socket_sk));
    if sk.is_null() {
        return 0;
    }
    let tp = sock::full(sk);
    if tp.is_null() {
        return 0;
    }
    emit::<Plain>(meta, sk, tp, Plain::get(task, at!(task_tgid)), fd);
    0
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn descriptors_probe(ctx: *const TaskFile) -> i32 {
    // SAFETY: as above.
    let (meta, task, fd, file) = unsafe { ((*ctx).meta, (*ctx).task, (*ctx).fd, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    let sk = resolve::of_file(file).map_or(core::ptr::null(), |sk| sk.address());
    if sk.is_null() {
        return 0;
    }
    emit::<Probe>(meta, sk, sk, Plain::get(task, at!(task_tgid)), fd);
    0
}

#[inline(always)]
fn emit<M: Memory>(meta: *const Meta, sk: *const u8, tp: *const u8, pid: u32, fd: u32) {
    let identity = sock::identity::<M>(tp);
    if !filter::passes(&identity) {
        return;
    }
    let holder = Holder { pid, fd: fd as i32 };
    let mut row = MaybeUninit::<Row>::uninit();
    // SAFETY: there is room for a row, and `fill` writes all of it.
    let row = unsafe {
        row::fill::<M>(
            row.as_mut_ptr(),
            sk as u64,
            tp,
            &identity,
            File::of::<M>(tp),
            holder,
        );
        row.assume_init_ref()
    };
    write(meta, row);
}
