//! The facts of one socket, for rows and answers. Free of branches on what was read, so that the
//! verifier walks one path.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_jiffies64;
use tcptrace_common::record::{Head, Row, V6, flag};

use crate::layout::{Memory, at, has};
use crate::sock::{self, File, Identity};

/// Whose descriptor led to the socket.
#[derive(Clone, Copy)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) fd: i32,
}

impl Holder {
    /// None did.
    pub(crate) const NOBODY: Self = Self { pid: 0, fd: -1 };
}

/// Fills a row about the full TCP socket `tp`; `sock` is what identifies it.
///
/// # Safety
///
/// `row` points to room for a row.
#[inline(always)]
pub(crate) unsafe fn fill<M: Memory>(
    row: *mut Row,
    sock: u64,
    tp: *const u8,
    identity: &Identity,
    file: File,
    holder: Holder,
) {
    let word = |offset| M::get::<u32>(tp, offset);
    // SAFETY: the caller's promise; the helpers have no preconditions.
    unsafe {
        (*row).head = Head {
            at_ns: bpf_ktime_get_ns(),
            sock,
            kind: 0,
            file_refs: 0,
            flags: flag::SEQUENCES
                | file.flags
                | sock::life::<M>(tp)
                | u16::from(identity.v6) * flag::V6,
            netns: identity.netns,
            local_port: identity.local_port,
            peer_port: identity.peer_port,
            pid: holder.pid,
        };
        (*row).listener = 0;
        (*row).fd = holder.fd;
        (*row).unread = word(at!(tcp_rcv_nxt)).wrapping_sub(word(at!(tcp_copied_seq)));
        (*row).unacked = word(at!(tcp_write_seq)).wrapping_sub(word(at!(tcp_snd_una)));
        (*row).idle_jiffies = (bpf_jiffies64() as u32).wrapping_sub(word(at!(tcp_rcv_tstamp)));
        (*row).accept_depth = word(at!(sk_ack_backlog));
        (*row).accept_limit = word(at!(sk_max_ack_backlog));
        (*row).syn_depth = word(at!(icsk_qlen));
        (*row).drops = if has!(sk_drops) {
            word(at!(sk_drops))
        } else {
            0
        };
        (*row).state = M::get(tp, at!(skc_state));
        (*row).shutdown = M::get(tp, at!(sk_shutdown));
        (*row).error = word(at!(sk_err)) as u16;
        (*row).substate = 0;
        addresses::<M>(row, tp, identity.v6);
    }
}

/// Fills the addresses; IPv4 ones take the first four bytes.
///
/// # Safety
///
/// `row` points to room for a row.
#[inline(always)]
pub(crate) unsafe fn addresses<M: Memory>(row: *mut Row, sk: *const u8, v6: bool) {
    let pair = if v6 {
        V6 {
            local: M::get(sk, at!(skc_v6_rcv_saddr)),
            peer: M::get(sk, at!(skc_v6_daddr)),
        }
    } else {
        let narrow = |offset| [u64::from(M::get::<u32>(sk, offset)), 0];
        V6 {
            local: narrow(at!(skc_rcv_saddr)),
            peer: narrow(at!(skc_daddr)),
        }
    };
    // SAFETY: the caller's promise.
    unsafe { (*row).addresses = pair };
}
