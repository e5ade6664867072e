//! What every program reads of a socket: who it is, and what its file and flags say.
//!
//! Everything is read relative to a `struct tcp_sock`, which begins with its `struct sock`.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;
use tcptrace_common::record::flag;

use crate::layout::{Memory, at, has};

const AF_INET6: u16 = 10;

/// Namespace, family and ports: what the filter looks at.
#[derive(Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) netns: u32,
    /// IPv6, and not an IPv4-mapped address.
    pub(crate) v6: bool,
    pub(crate) local_port: u16,
    pub(crate) peer_port: u16,
}

/// The full TCP socket behind a sock, or null.
#[inline(always)]
pub(crate) fn full(sk: *const u8) -> *const u8 {
    // SAFETY: the verifier checks that `sk` points to a sock_common.
    unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast::<c_void>()) }
        .cast::<u8>()
        .cast_const()
}

/// The second and third word of an address, as `::ffff:a.b.c.d` has them.
const MAPPED: u64 = 0xffff_0000;

/// Whether the socket's addresses are IPv6 ones. A mapped address is the IPv4 address that it is,
/// and the kernel keeps that in `skc_daddr` and `skc_rcv_saddr` too.
#[inline(always)]
pub(crate) fn is_v6<M: Memory>(sk: *const u8) -> bool {
    if !has!(skc_v6_daddr) || M::get::<u16>(sk, at!(skc_family)) != AF_INET6 {
        return false;
    }
    let mapped = |offset: usize| {
        M::get::<u64>(sk, offset) == 0 && M::get::<u32>(sk, offset + 8) as u64 == MAPPED
    };
    !(mapped(at!(skc_v6_rcv_saddr)) || mapped(at!(skc_v6_daddr)))
}

/// Reads the identity of a full TCP socket. The local port is `inet_sport`: `skc_num` is 0 already
/// when CLOSE is reported.
#[inline(always)]
pub(crate) fn identity<M: Memory>(tp: *const u8) -> Identity {
    Identity {
        netns: netns::<M>(tp),
        v6: is_v6::<M>(tp),
        local_port: u16::from_be(M::get::<u16>(tp, at!(inet_sport))),
        peer_port: u16::from_be(M::get::<u16>(tp, at!(skc_dport))),
    }
}

/// The inode number of the socket's network namespace.
#[inline(always)]
pub(crate) fn netns<M: Memory>(sk: *const u8) -> u32 {
    let net = M::get::<*const u8>(sk, at!(skc_net));
    M::Behind::get::<u32>(net, at!(net_inum))
}

/// SOCK_DEAD and SOCK_DONE, as record flags.
#[inline(always)]
pub(crate) fn life<M: Memory>(tp: *const u8) -> u16 {
    // enum sock_flags: SOCK_DEAD is bit 0, SOCK_DONE bit 1 (include/net/sock.h).
    let flags = M::get::<u8>(tp, at!(skc_flags));
    const _: () = assert!(flag::DONE << 1 == flag::DEAD);
    u16::from(flags & 1) * flag::DEAD | u16::from(flags >> 1 & 1) * flag::DONE
}

/// Whether there is a `struct socket`, a file, and how many references that has.
#[derive(Clone, Copy)]
pub(crate) struct File {
    /// `HAS_SOCKET` and `HAS_FILE`.
    pub(crate) flags: u16,
    /// As stored by the kernel.
    pub(crate) raw: u64,
}

impl File {
    /// Reads without a branch on what was read, but where NULL matters.
    #[inline(always)]
    pub(crate) fn of<M: Memory>(tp: *const u8) -> Self {
        let socket = M::get::<*const u8>(tp, at!(sk_socket));
        let mut file = core::ptr::null();
        let mut raw = 0;
        if has!(socket_file) && !(M::MINDS_NULL && socket.is_null()) {
            file = M::get::<*const u8>(socket, at!(socket_file));
            if M::MINDS_NULL && file.is_null() {
                // Counted as no file below.
            } else if has!(file_ref) {
                raw = M::get::<u64>(file, at!(file_ref));
            } else if has!(file_count) {
                raw = M::get::<u64>(file, at!(file_count));
            }
        }
        Self {
            flags: u16::from(!socket.is_null()) * flag::HAS_SOCKET
                | u16::from(!file.is_null()) * flag::HAS_FILE,
            raw,
        }
    }

    /// The references, at most 255; 0 once the last is being released. `f_ref` stores one less, and
    /// its dead values have the top bit set.
    #[inline(always)]
    pub(crate) fn references(self) -> u8 {
        let count = self.raw.wrapping_add(u64::from(has!(file_ref)));
        if count >> 63 != 0 {
            0
        } else if count > 255 {
            255
        } else {
            count as u8
        }
    }
}
