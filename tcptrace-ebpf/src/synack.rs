//! `tcp:tcp_retransmit_synack`, 5.10 on: `(sk, req)`. `sk` is the listener (or a fast-open child),
//! `req` the half-open connection, whose `num_retrans` is not yet raised.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_skc_to_tcp_request_sock;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tcptrace_common::record::{Kind, SynackBody, flag};

use crate::emit::{self, About};
use crate::layout::{Memory, Plain, at, has};
use crate::sock::{self, Identity};

#[btf_tracepoint(function = "tcp_retransmit_synack")]
pub(crate) fn synack(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    let req: *const u8 = ctx.arg(1);
    let tp = sock::full(sk);
    // SAFETY: the verifier checks that `req` begins with a sock_common.
    let req = unsafe { bpf_skc_to_tcp_request_sock(req.cast_mut().cast::<c_void>()) }
        .cast::<u8>()
        .cast_const();
    if tp.is_null() || req.is_null() {
        return 0;
    }
    // A request keeps its local port where a full socket keeps `skc_num`.
    let identity = Identity {
        netns: sock::netns::<Plain>(tp),
        v6: sock::is_v6::<Plain>(req),
        local_port: Plain::get(req, at!(skc_num)),
        peer_port: u16::from_be(Plain::get(req, at!(skc_dport))),
    };
    let acked = Plain::get::<u8>(req, at!(ireq_acked)) >> at!(ireq_acked_shift) & 1;
    let defer = Plain::get::<u8>(tp, at!(icsk_defer_accept)) != 0;
    let about = About {
        sock: sk as u64,
        flags: u16::from(acked) * flag::ACKED | u16::from(defer) * flag::DEFER_ACCEPT,
        ..About::default()
    };
    let body = SynackBody {
        num_retrans: u32::from(Plain::get::<u8>(req, at!(req_num_retrans))),
        num_timeout: if has!(req_num_timeout) {
            let bits = Plain::get::<u8>(req, at!(req_num_timeout));
            u32::from(bits >> at!(req_num_timeout_shift) & NUM_TIMEOUT)
        } else {
            SynackBody::UNKNOWN
        },
        retries: if has!(icsk_syn_retries) {
            u64::from(Plain::get::<u8>(tp, at!(icsk_syn_retries)))
        } else {
            0
        },
    };
    emit::event::<Plain, _>(Kind::SynackRetransmit, req, &identity, about, body);
    0
}

/// `num_timeout` has seven bits.
const NUM_TIMEOUT: u8 = 127;
