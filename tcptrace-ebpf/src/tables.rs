//! `iter/tcp`, 5.9 on: the hash tables of the network namespace of whoever creates the iterator.
//! Full sockets with all facts; half-open ones and those in TIME_WAIT with their state and tuple.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_skc_to_tcp_timewait_sock;
use tcptrace_common::record::{Head, Row, flag};

use crate::descriptors::{Meta, write};
use crate::filter;
use crate::layout::{Memory, Plain, at, has};
use crate::row::{self, Holder};
use crate::sock::{self, File, Identity};

/// `struct bpf_iter__tcp`, whose layout is the context's ABI.
#[repr(C)]
struct Tcp {
    meta: *const Meta,
    sk_common: *const u8,
    uid: u32,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
extern "C" fn tables(ctx: *const Tcp) -> i32 {
    // SAFETY: the verifier knows the context; the sock is null at the end of the iteration.
    let (meta, sk) = unsafe { ((*ctx).meta, (*ctx).sk_common) };
    if sk.is_null() {
        return 0;
    }
    let mut row = MaybeUninit::<Row>::uninit();
    let tp = sock::full(sk);
    let row = if tp.is_null() {
        let identity = Identity {
            netns: sock::netns::<Plain>(sk),
            v6: sock::is_v6::<Plain>(sk),
            local_port: Plain::get(sk, at!(skc_num)),
            peer_port: u16::from_be(Plain::get(sk, at!(skc_dport))),
        };
        if !filter::passes(&identity) {
            return 0;
        }
        // SAFETY: there is room for a row, and `small` writes all of it.
        unsafe {
            small(row.as_mut_ptr(), sk, &identity);
            row.assume_init_ref()
        }
    } else {
        let identity = sock::identity::<Plain>(tp);
        if !filter::passes(&identity) {
            return 0;
        }
        // SAFETY: there is room for a row, and `fill` writes all of it.
        unsafe {
            let file = File::of::<Plain>(tp);
            row::fill::<Plain>(
                row.as_mut_ptr(),
                sk as u64,
                tp,
                &identity,
                file,
                Holder::NOBODY,
            );
            row.assume_init_ref()
        }
    };
    write(meta, row);
    0
}

/// A zero that the compiler does not know, so that it makes no `memset` of many.
static ZERO: u64 = 0;

/// Of one in TIME_WAIT, what it waits for; `nothing` of others, and where the kernel does not tell.
#[inline(always)]
fn substate(sk: *const u8, nothing: u32) -> u32 {
    if !has!(tw_substate) {
        return nothing;
    }
    // SAFETY: the verifier checks that `sk` points to a sock_common.
    let tw = unsafe { bpf_skc_to_tcp_timewait_sock(sk.cast_mut().cast::<c_void>()) }.cast::<u8>();
    if tw.is_null() {
        return nothing;
    }
    // A tcp_timewait_sock begins with its inet_timewait_sock.
    u32::from(Plain::get::<u8>(tw.cast_const(), at!(tw_substate)))
}

/// A half-open connection or one in TIME_WAIT: no `struct sock`, only what both have in common.
#[inline(always)]
unsafe fn small(row: *mut Row, sk: *const u8, identity: &Identity) {
    // SAFETY: the caller gives room for a row; the helper has no preconditions.
    unsafe {
        let zero = (&raw const ZERO).read_volatile();
        (*row).head = Head {
            at_ns: bpf_ktime_get_ns(),
            sock: sk as u64,
            kind: zero as u8,
            file_refs: zero as u8,
            flags: u16::from(identity.v6) * flag::V6,
            netns: identity.netns,
            local_port: identity.local_port,
            peer_port: identity.peer_port,
            pid: Holder::NOBODY.pid,
        };
        (*row).listener = zero;
        (*row).fd = Holder::NOBODY.fd;
        (*row).unread = zero as u32;
        (*row).unacked = zero as u32;
        (*row).idle_jiffies = zero as u32;
        (*row).accept_depth = zero as u32;
        (*row).accept_limit = zero as u32;
        (*row).syn_depth = zero as u32;
        (*row).drops = zero as u32;
        (*row).state = Plain::get(sk, at!(skc_state));
        (*row).shutdown = zero as u8;
        (*row).error = zero as u16;
        (*row).substate = substate(sk, zero as u32);
        row::addresses::<Plain>(row, sk, identity.v6);
    }
}
