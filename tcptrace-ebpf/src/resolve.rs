//! From a descriptor of the current task to its TCP sock; and, on demand, for up to twelve
//! descriptors of the agent itself, which is how it finds the addresses of its own sockets.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_jiffies64};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use aya_log_ebpf::debug;
use tcptrace_common::names::ARGUMENTS;
use tcptrace_common::record::OwnSock;

use crate::answer;
use crate::layout::{Beginning, Memory, Near, Plain, Probe, at};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u16 = 6;

/// Words of a `struct file` fetched at once: inode and private data, on kernels since 6.12.
const FILE: usize = 8;
type FileFields = Near<FILE>;

/// Words of a `struct sock` fetched at once: family, ports, namespace and addresses.
const SOCK: usize = 11;
pub(crate) type SockFields = Near<SOCK>;

/// The TCP sock behind a descriptor of the current task, with its first fields.
#[inline(always)]
pub(crate) fn descriptor(fd: u64) -> Option<Beginning<SOCK>> {
    in_table(table()?, fd)
}

#[inline(always)]
fn in_table((slots, count): (*const u8, u32), fd: u64) -> Option<Beginning<SOCK>> {
    if fd >= u64::from(count) {
        return None;
    }
    of_file(Probe::get::<*const u8>(
        slots,
        fd as usize * size_of::<u64>(),
    ))
}

/// The descriptor table of the current task: its slots, and how many there are.
#[inline(always)]
fn table() -> Option<(*const u8, u32)> {
    if at!(has_task_btf) == 1 {
        // SAFETY: no preconditions; on a kernel without the helper the branch is folded away.
        let task = unsafe { bpf_get_current_task_btf() } as *const u8;
        let files = Plain::get::<*const u8>(task, at!(task_files));
        if files.is_null() {
            return None;
        }
        let table = Plain::get::<*const u8>(files, at!(files_fdt));
        if table.is_null() {
            return None;
        }
        return Some((
            Plain::get(table, at!(fdt_fd)),
            Plain::get(table, at!(fdt_max)),
        ));
    }
    Some(table_by_probe())
}

/// The same. Where it is looked up often in one program: the kernel needs a millisecond to verify that
/// what a plain load leads to can be trusted, as it looks for a type by its name.
#[inline(always)]
fn table_by_probe() -> (*const u8, u32) {
    // SAFETY: no preconditions.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let files = Probe::get::<*const u8>(task, at!(task_files));
    let table = Probe::get::<*const u8>(files, at!(files_fdt));
    (
        Probe::get(table, at!(fdt_fd)),
        Probe::get(table, at!(fdt_max)),
    )
}

/// The TCP sock behind a file, with its first fields.
#[inline(always)]
pub(crate) fn of_file(file: *const u8) -> Option<Beginning<SOCK>> {
    let file = Beginning::<FILE>::of(file);
    let inode = FileFields::get::<*const u8>(file.base(), at!(file_inode));
    if Probe::get::<u16>(inode, at!(inode_mode)) & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket = FileFields::get::<*const u8>(file.base(), at!(file_private));
    let sk = Beginning::<SOCK>::of(Probe::get::<*const u8>(socket, at!(socket_sk)));
    is_tcp::<SockFields>(sk.base()).then_some(sk)
}

/// Whether a sock is TCP's: not MPTCP's, and not a raw socket that receives TCP segments.
#[inline(always)]
pub(crate) fn is_tcp<M: Memory>(sk: *const u8) -> bool {
    let family = M::get::<u16>(sk, at!(skc_family));
    // `sk_protocol` has 8 bits on some kernels before 5.6 and 16 later.
    (family == AF_INET || family == AF_INET6)
        && M::get::<u16>(sk, at!(sk_protocol)) == IPPROTO_TCP
        && M::get::<u16>(sk, at!(sk_type)) == SOCK_STREAM
}

#[raw_tracepoint]
pub(crate) fn resolve(ctx: RawTracePointContext) -> i32 {
    let fds = answer::arguments(&ctx);
    let Some(mut answer) = answer::reserve::<[OwnSock; ARGUMENTS]>() else {
        return -1;
    };
    let first = answer.as_mut_ptr().cast::<OwnSock>();
    let mut found = 0_u32;
    for (index, fd) in fds.into_iter().enumerate() {
        let sk = in_table(table_by_probe(), fd).map_or(core::ptr::null(), |sk| sk.address());
        found += u32::from(!sk.is_null());
        // SAFETY: the ring handed out room for ARGUMENTS answers; the helper has no preconditions.
        unsafe {
            *first.add(index) = OwnSock {
                fd,
                sock: sk as u64,
                jiffies: bpf_jiffies64(),
                at_ns: bpf_ktime_get_ns(),
            };
        }
    }
    answer.submit(0);
    if found == 0 {
        debug!(&ctx, "no descriptor of the agent leads to a TCP socket");
    }
    0
}
