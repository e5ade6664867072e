//! Run on demand, attached to nothing: looks at up to twelve socks by address, and at who waits on
//! them. An address may be stale: everything is read by probe, and the agent compares the identity.
//!
//! All but free of branches on what was read: one for each read would cost the verifier a million
//! instructions. An entry of the wait queue is therefore read as if it were an epoll registration,
//! and the agent looks at the function to see whether it is one.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use tcptrace_common::names::ARGUMENTS;
use tcptrace_common::record::{Peek, WAITERS, Waiter};

use crate::answer;
use crate::layout::{Memory, Probe, at, has};
use crate::row::{self, Holder};
use crate::sock::{self, File};

#[raw_tracepoint]
pub(crate) fn peek(ctx: RawTracePointContext) -> i32 {
    let addresses = answer::arguments(&ctx);
    let Some(mut answer) = answer::reserve::<[Peek; ARGUMENTS]>() else {
        return -1;
    };
    let first = answer.as_mut_ptr().cast::<Peek>();
    let mut index = 0;
    while index < ARGUMENTS {
        // SAFETY: the ring handed out room for ARGUMENTS answers, and so many arguments there are.
        unsafe { look(first.add(index), *addresses.get_unchecked(index)) };
        index += 1;
    }
    answer.submit(0);
    0
}

#[inline(always)]
unsafe fn look(peek: *mut Peek, address: u64) {
    let sk = address as *const u8;
    let identity = sock::identity::<Probe>(sk);
    let file = File::of::<Probe>(sk);
    // SAFETY: the caller gives room for an answer; the helper has no preconditions.
    unsafe {
        row::fill::<Probe>(
            &raw mut (*peek).row,
            address,
            sk,
            &identity,
            file,
            Holder::NOBODY,
        );
        (*peek).bytes_acked = Probe::get(sk, at!(tcp_bytes_acked));
        (*peek).data_ready = Probe::get(sk, at!(sk_data_ready));
        (*peek).file_refs = file.raw;
        (*peek).family = Probe::get(sk, at!(skc_family));
        (*peek).protocol = Probe::get(sk, at!(sk_protocol));
        sending(peek, sk);
        (*peek).mapped = mapped(sk);
        (*peek).jiffies = bpf_jiffies64();
        let queue = Probe::get::<*const u8>(sk, at!(sk_wq));
        let head = queue.wrapping_add(at!(wq_wait_head));
        (*peek).wait_head = head as u64;
        (*peek).wait_last = Probe::get(head, at!(list_prev));
        let first = (&raw mut (*peek).waiters).cast::<Waiter>();
        let mut node = Probe::get::<*const u8>(head, at!(list_next));
        let mut index = 0;
        while index < WAITERS {
            *first.add(index) = waiter(node);
            // The one branch on what was read: most wait queues are short. Both ways meet again at
            // once, so that the verifier does not multiply them.
            if node == head {
                break;
            }
            node = Probe::get(node, at!(list_next));
            index += 1;
        }
    }
}

/// `sk_flags` bit SOCK_KEEPOPEN (`enum sock_flags` in include/net/sock.h): SO_KEEPALIVE.
const KEEPOPEN: u8 = 3;

/// What the sending side waits for, and how long it would.
///
/// # Safety
///
/// `peek` points to room for an answer.
#[inline(always)]
unsafe fn sending(peek: *mut Peek, sk: *const u8) {
    let word = |offset| Probe::get::<u32>(sk, offset);
    let byte = |offset| Probe::get::<u8>(sk, offset);
    // SAFETY: the caller's promise.
    unsafe {
        // Where a field is missing what is read means nothing, and `sending` says so: zeroing the
        // fields instead would become a call of `memset`.
        (*peek).window = word(at!(tcp_snd_wnd));
        (*peek).unsent = word(at!(tcp_write_seq)).wrapping_sub(word(at!(tcp_snd_nxt)));
        (*peek).keepalive_time_jiffies = word(at!(tcp_keepalive_time));
        (*peek).keepalive_intvl_jiffies = word(at!(tcp_keepalive_intvl));
        (*peek).keepalive_probes = u16::from(byte(at!(tcp_keepalive_probes)));
        (*peek).keepalive = byte(at!(skc_flags)) >> KEEPOPEN & 1;
        (*peek).retransmits = byte(at!(icsk_retransmits));
        (*peek).backoff = byte(at!(icsk_backoff));
        (*peek).probes_out = byte(at!(icsk_probes_out));
        (*peek).sending = u8::from(
            has!(tcp_snd_wnd)
                && has!(tcp_snd_nxt)
                && has!(icsk_probes_out)
                && has!(tcp_keepalive_time)
                && has!(tcp_keepalive_intvl)
                && has!(tcp_keepalive_probes),
        );
        (*peek).user_timeout_ms = if has!(icsk_user_timeout) {
            word(at!(icsk_user_timeout))
        } else {
            0
        };
    }
}

/// Not 0 when some process has mapped the socket's file: its inode then has a tree of mappings.
#[inline(always)]
fn mapped(sk: *const u8) -> u8 {
    if !has!(file_mapping) || !has!(mapping_tree) || !has!(socket_file) {
        return 0;
    }
    let socket = Probe::get::<*const u8>(sk, at!(sk_socket));
    let file = Probe::get::<*const u8>(socket, at!(socket_file));
    let mapping = Probe::get::<*const u8>(file, at!(file_mapping));
    u8::from(Probe::get::<u64>(mapping, at!(mapping_tree)) != 0)
}

/// Reads one entry. The last one read is the list's head, where the agent stops too.
#[inline(always)]
fn waiter(node: *const u8) -> Waiter {
    let entry = node.wrapping_sub(at!(wait_entry));
    let mut seen = Waiter {
        node: node as u64,
        prev: Probe::get(node, at!(list_prev)),
        func: Probe::get(entry, at!(wait_func)),
        ready: 0,
        waited_on: 0,
        events: 0,
        reserved: 0,
    };
    if has!(eppoll_base) {
        let registration = entry.wrapping_sub(at!(eppoll_wait));
        let item = Probe::get::<*const u8>(registration, at!(eppoll_base));
        let epoll = Probe::get::<*const u8>(item, at!(epitem_ep));
        seen.events = Probe::get(item, at!(epitem_events));
        seen.ready = linked(item.wrapping_add(at!(epitem_rdllink)));
        seen.waited_on = linked(epoll.wrapping_add(at!(eventpoll_wq) + at!(wait_head)))
            | linked(epoll.wrapping_add(at!(eventpoll_poll_wait) + at!(wait_head)));
    }
    seen
}

/// Not 0 when a list is not empty: its head then points elsewhere than to itself.
#[inline(always)]
fn linked(list: *const u8) -> u64 {
    Probe::get::<u64>(list, at!(list_next)) ^ list as u64
}
