//! Which queue a handshake segment met full, seen exactly: `tcp_conn_request` for a SYN, and
//! `tcp_v4_syn_recv_sock` and `tcp_v6_syn_recv_sock` for the ACK that completes a handshake (with a
//! request or a cookie). The prototypes are the same since 5.10 as far as they are read here.
//!
//! **A SYN.** `tcp_conn_request(ops, af_ops, listener, skb)` returns 0 whatever it did. It checks the
//! SYN queue, then the accept queue, and only then calls `inet_reqsk_alloc(ops, listener, attach)`,
//! without attaching when it will answer with a cookie; `tcp_make_synack(sk, dst, req, foc, type,
//! syn)` answers. All that happens in one softirq, so a per-CPU slot remembers what was called. When
//! neither was, a queue was full: the accept queue if it is, else the SYN queue. When both are, the
//! kernel has charged the SYN queue if it may not send cookies. Whether a SYN queue with exactly as
//! many entries as its limit is full differs between kernels of one version: with the accept queue
//! full as well, that SYN is taken for the accept queue's.
//!
//! **An ACK.** `tcp_v*_syn_recv_sock(listener, skb, …)` begins with the check of the accept queue. The
//! programs make the same comparison an instant earlier; a connection that another CPU takes out of
//! the queue between the two would be reported as dropped.

use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, map};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use tcptrace_common::record::{Event, Kind, QueueDropBody, V4, V6, flag};

use crate::emit::{self, About};
use crate::filter;
use crate::layout::{Memory as _, Probe, at, has};
use crate::registers::argument;
use crate::segment::Segment;
use crate::sock;

/// A SYN that is being handled.
#[derive(Clone, Copy)]
#[repr(C)]
struct Syn {
    /// 0 between two SYNs.
    listener: u64,
    skb: u64,
    /// [`ALLOCATED`] and the like.
    called: u64,
}

/// A request was allocated: both queues had room.
const ALLOCATED: u64 = 1;
/// A SYN-ACK was made.
const ANSWERED: u64 = 2;
/// It is, or was to be, a cookie.
const COOKIE: u64 = 4;

/// Per CPU: SYNs are handled in softirq, where nothing migrates and no two interleave.
#[map]
static SYN: PerCpuArray<Syn> = PerCpuArray::with_max_entries(1, 0);

#[fentry(function = "tcp_conn_request")]
pub(crate) fn syn_fentry(ctx: FEntryContext) -> i32 {
    begin(ctx.arg(2), ctx.arg(3))
}

#[kprobe]
pub(crate) fn syn_kprobe(ctx: ProbeContext) -> u32 {
    begin(argument!(&ctx, 2), argument!(&ctx, 3)) as u32
}

#[fentry(function = "inet_reqsk_alloc")]
pub(crate) fn request_fentry(ctx: FEntryContext) -> i32 {
    allocated(ctx.arg(1), ctx.arg::<u64>(2))
}

#[kprobe]
pub(crate) fn request_kprobe(ctx: ProbeContext) -> u32 {
    allocated(argument!(&ctx, 1), argument!(&ctx, 2)) as u32
}

#[fentry(function = "tcp_make_synack")]
pub(crate) fn synack_fentry(ctx: FEntryContext) -> i32 {
    answered(ctx.arg(0), ctx.arg::<u64>(4))
}

#[kprobe]
pub(crate) fn synack_kprobe(ctx: ProbeContext) -> u32 {
    answered(argument!(&ctx, 0), argument!(&ctx, 4)) as u32
}

#[fexit(function = "tcp_conn_request")]
pub(crate) fn syn_fexit(_ctx: FExitContext) -> i32 {
    end()
}

#[kretprobe]
pub(crate) fn syn_kretprobe(_ctx: RetProbeContext) -> u32 {
    end() as u32
}

#[fentry(function = "tcp_v4_syn_recv_sock")]
pub(crate) fn ack4_fentry(ctx: FEntryContext) -> i32 {
    completes(ctx.arg(0), ctx.arg(1), false)
}

#[fentry(function = "tcp_v6_syn_recv_sock")]
pub(crate) fn ack6_fentry(ctx: FEntryContext) -> i32 {
    completes(ctx.arg(0), ctx.arg(1), true)
}

#[kprobe]
pub(crate) fn ack4_kprobe(ctx: ProbeContext) -> u32 {
    completes(argument!(&ctx, 0), argument!(&ctx, 1), false) as u32
}

#[kprobe]
pub(crate) fn ack6_kprobe(ctx: ProbeContext) -> u32 {
    completes(argument!(&ctx, 0), argument!(&ctx, 1), true) as u32
}

#[inline(always)]
fn begin(listener: u64, skb: u64) -> i32 {
    if let Some(slot) = SYN.get_ptr_mut(0) {
        // SAFETY: the slot is this CPU's.
        unsafe {
            *slot = Syn {
                listener,
                skb,
                called: 0,
            };
        }
    }
    0
}

#[inline(always)]
fn mark(listener: u64, what: u64) -> i32 {
    if let Some(slot) = SYN.get_ptr_mut(0) {
        // SAFETY: the slot is this CPU's.
        unsafe {
            if (*slot).listener == listener {
                (*slot).called |= what;
            }
        }
    }
    0
}

#[inline(always)]
fn allocated(listener: u64, attach: u64) -> i32 {
    // A bool: the rest of the register is not defined.
    let cookie = if attach & 0xff == 0 { COOKIE } else { 0 };
    mark(listener, ALLOCATED | cookie)
}

#[inline(always)]
fn answered(listener: u64, kind: u64) -> i32 {
    let cookie = if u64::from(kind as u32) == at!(synack_cookie) as u64 {
        COOKIE
    } else {
        0
    };
    mark(listener, ANSWERED | cookie)
}

#[inline(always)]
fn end() -> i32 {
    let Some(slot) = SYN.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the slot is this CPU's.
    let syn = unsafe {
        let syn = *slot;
        (*slot).listener = 0;
        syn
    };
    if syn.listener == 0 {
        return 0; // Its entry was not seen: the probes were just being attached.
    }
    let listener = syn.listener as *const u8;
    if syn.called & COOKIE != 0 {
        report(
            listener,
            syn.skb,
            QueueDropBody::SYN,
            QueueDropBody::COOKIE,
            None,
        );
    } else if syn.called == 0 {
        let queue = if accept_queue_is_full(listener) && !syn_queue_was_charged(listener) {
            QueueDropBody::ACCEPT
        } else {
            QueueDropBody::SYN
        };
        report(listener, syn.skb, queue, QueueDropBody::DROPPED, None);
    }
    0
}

/// `sk_acceptq_is_full`, the same in every kernel since 5.10.
#[inline(always)]
fn accept_queue_is_full(listener: *const u8) -> bool {
    Probe::get::<u32>(listener, at!(sk_ack_backlog))
        > Probe::get::<u32>(listener, at!(sk_max_ack_backlog))
}

/// Whether a SYN that met both queues full was charged to the SYN queue, which is checked first:
/// where cookies may be sent, it goes on to the other check.
#[inline(always)]
fn syn_queue_was_charged(listener: *const u8) -> bool {
    if !has!(net_syncookies) {
        return false;
    }
    let net = Probe::get::<*const u8>(listener, at!(skc_net));
    Probe::get::<u8>(net, at!(net_syncookies)) == 0
        && Probe::get::<u32>(listener, at!(icsk_qlen))
            > Probe::get::<u32>(listener, at!(sk_max_ack_backlog))
}

/// `v6`: told by the function for IPv6, which hands IPv4 segments on to the other.
#[inline(always)]
fn completes(listener: u64, skb: u64, v6: bool) -> i32 {
    let sk = listener as *const u8;
    if accept_queue_is_full(sk) {
        report(
            sk,
            skb,
            QueueDropBody::ACCEPT,
            QueueDropBody::DROPPED,
            Some(v6),
        );
    }
    0
}

#[inline(always)]
fn report(listener: *const u8, skb: u64, queue: u8, outcome: u8, only: Option<bool>) {
    let segment = Segment::of(skb as *const u8, sock::netns::<Probe>(listener));
    let identity = segment.identity;
    if only.is_some_and(|v6| v6 != identity.v6) || !filter::passes(&identity) {
        return;
    }
    let depth = if queue == QueueDropBody::ACCEPT {
        at!(sk_ack_backlog)
    } else {
        at!(icsk_qlen)
    };
    let body = QueueDropBody {
        depth: Probe::get(listener, depth),
        limit: Probe::get(listener, at!(sk_max_ack_backlog)),
        queue,
        outcome,
        reserved: 0,
        reserved_more: 0,
    };
    let about = About {
        sock: listener as u64,
        ..About::default()
    };
    if identity.v6 {
        emit::record::<Event<QueueDropBody, V6>>(Kind::QueueDrop, |it| {
            // SAFETY: the ring handed out room for one record.
            unsafe {
                let kind = Kind::QueueDrop;
                emit::head(&raw mut (*it).head, kind, &identity, about, flag::V6);
                (*it).body = body;
                (*it).addresses = segment.v6();
            }
        });
    } else {
        emit::record::<Event<QueueDropBody, V4>>(Kind::QueueDrop, |it| {
            // SAFETY: the ring handed out room for one record.
            unsafe {
                emit::head(&raw mut (*it).head, Kind::QueueDrop, &identity, about, 0);
                (*it).body = body;
                (*it).addresses = segment.v4();
            }
        });
    }
}
