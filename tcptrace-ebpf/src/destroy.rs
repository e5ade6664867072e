//! `tcp:tcp_destroy_sock`, 5.10 on: `(sk)`, the last event of every full TCP socket. Its address may
//! be another socket's from then on, so this program is attached before all others.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::BtfTracePointContext;
use tcptrace_common::record::{Gone, Kind};

use crate::emit::{self, Player};
use crate::handled::{self, Event, Places, TASKS, Table};
use crate::layout::Plain;
use crate::{filter, sock};

/// Per CPU, the last ends that [`destroy`] handled. See `destroy_understudy.rs`.
#[map]
static ENDED: PerCpuArray<Places> = PerCpuArray::with_max_entries(1, 0);

/// The same per task.
#[map]
static ENDED_BY_TASK: Array<Places> = Array::with_max_entries(TASKS, 0);

/// Both.
pub(crate) const ENDS: Table = Table {
    by_cpu: &ENDED,
    by_task: &ENDED_BY_TASK,
};

#[btf_tracepoint(function = "tcp_destroy_sock")]
pub(crate) fn destroy(ctx: BtfTracePointContext) -> i32 {
    report(&ctx, Player::First);
    handled::note(ENDS, Event::new(ctx.arg(0), 0));
    0
}

/// Emits the end of the socket in the context.
#[inline(always)]
pub(crate) fn report(ctx: &BtfTracePointContext, player: Player) {
    let sk: *const u8 = ctx.arg(0);
    if filter::active() {
        let tp = sock::full(sk);
        if !tp.is_null() && !filter::passes_at_end(&sock::identity::<Plain>(tp)) {
            return;
        }
    }
    let more = match player {
        Player::First => 0,
        Player::Understudy => Gone::UNDERSTUDY,
    };
    emit::record_as::<Gone>(player, Kind::Destroy, |it| {
        // SAFETY: the ring handed out room for one record.
        unsafe {
            *it = Gone {
                at_ns: bpf_ktime_get_ns(),
                sock: sk as u64,
                kind: Kind::Destroy as u64 | more,
            };
        }
    });
}
