//! `tcp:tcp_send_reset`, 5.10 on: `(sk, skb)`, and a reason from 6.10 on. Up to 6.9 it is raised for
//! full sockets only; later `sk` may be null, half-open or in TIME_WAIT, and `skb` (the segment that
//! is answered) null for a reset that we send on our own.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tcptrace_common::record::{Event, Kind, ResetBody, V4, V6, flag};

use crate::emit::{self, About};
use crate::filter;
use crate::layout::{Memory, Plain, at};
use crate::receive_reset::full_socket;
use crate::segment::Segment;
use crate::sock;

#[btf_tracepoint(function = "tcp_send_reset")]
pub(crate) fn send_reset(ctx: BtfTracePointContext) -> i32 {
    let reason = if at!(reset_has_reason) == 1 {
        ctx.arg::<u32>(2)
    } else {
        ResetBody::NO_REASON
    };
    let sk: *const u8 = ctx.arg(0);
    if !sk.is_null() {
        let tp = sock::full(sk);
        if !tp.is_null() {
            full_socket(sk, tp, 0, reason);
            return 0;
        }
    }
    let skb: *const u8 = ctx.arg(1);
    if !skb.is_null() {
        answered(skb, reason);
    }
    0
}

/// A segment that no full socket wanted: its headers say who was reset. Its sender is our peer.
#[inline(always)]
fn answered(skb: *const u8, reason: u32) {
    let dev = Plain::get::<*const u8>(skb, at!(skb_dev));
    let net = Plain::get::<*const u8>(dev, at!(dev_net));
    let netns = Plain::get::<u32>(net, at!(net_inum));
    let segment = Segment::of(skb, netns);
    let identity = segment.identity;
    if !filter::passes(&identity) {
        return;
    }
    let body = ResetBody {
        tid: 0,
        reason,
        state: 0,
        reserved: 0,
    };
    if identity.v6 {
        emit::record::<Event<ResetBody, V6>>(Kind::Reset, |it| {
            // SAFETY: the ring handed out room for one record.
            unsafe {
                let about = About::default();
                emit::head(&raw mut (*it).head, Kind::Reset, &identity, about, flag::V6);
                (*it).body = body;
                (*it).addresses = segment.v6();
            }
        });
    } else {
        emit::record::<Event<ResetBody, V4>>(Kind::Reset, |it| {
            // SAFETY: the ring handed out room for one record.
            unsafe {
                emit::head(
                    &raw mut (*it).head,
                    Kind::Reset,
                    &identity,
                    About::default(),
                    0,
                );
                (*it).body = body;
                (*it).addresses = segment.v4();
            }
        });
    }
}
