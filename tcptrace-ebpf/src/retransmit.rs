//! `tcp:tcp_retransmit_skb`, 5.10 on: `(sk, skb)`, and `err` from 6.17 on, where it is raised for
//! failures too. The segment's flags stand in its control block and are those that were sent; they
//! are one byte up to 6.14 and two later, and the low byte has FIN and SYN in both.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tcptrace_common::record::{Kind, RetransmitBody};

use crate::emit::{self, About};
use crate::layout::{Memory, Plain, at, has};
use crate::sock;

#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub(crate) fn retransmit(ctx: BtfTracePointContext) -> i32 {
    if at!(retransmit_has_err) == 1 && ctx.arg::<i32>(2) != 0 {
        return 0;
    }
    let sk: *const u8 = ctx.arg(0);
    let skb: *const u8 = ctx.arg(1);
    let tp = sock::full(sk);
    if tp.is_null() {
        return 0;
    }
    let byte = |offset| Plain::get::<u8>(tp, offset);
    let body = RetransmitBody {
        rto_jiffies: Plain::get(tp, at!(icsk_rto)),
        state: byte(at!(skc_state)),
        tcp_flags: Plain::get(skb, at!(skb_cb) + at!(cb_tcp_flags)),
        attempt: byte(at!(icsk_retransmits)),
        backoff: byte(at!(icsk_backoff)),
        pending: byte(at!(icsk_pending)),
        ca_state: byte(at!(icsk_ca_state)) >> at!(icsk_ca_state_shift) & CA_STATE,
        syn_retries: if has!(icsk_syn_retries) {
            u16::from(byte(at!(icsk_syn_retries)))
        } else {
            0
        },
        user_timeout_ms: if has!(icsk_user_timeout) {
            Plain::get(tp, at!(icsk_user_timeout))
        } else {
            0
        },
    };
    let about = About {
        sock: sk as u64,
        flags: sock::life::<Plain>(tp),
        ..About::default()
    };
    emit::event::<Plain, _>(
        Kind::Retransmit,
        tp,
        &sock::identity::<Plain>(tp),
        about,
        body,
    );
    0
}

/// `icsk_ca_state` has five bits.
const CA_STATE: u8 = 31;
