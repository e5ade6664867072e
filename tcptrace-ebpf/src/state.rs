//! `sock:inet_sock_set_state`, 5.10 on: `(sk, oldstate, newstate)`, raised before the state is
//! stored. Also raised by MPTCP, SCTP and DCCP: only full TCP sockets pass `bpf_skc_to_tcp_sock`.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_jiffies64};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::BtfTracePointContext;
use tcptrace_common::record::{ClosingBody, Kind, TransitionBody, flag};

use crate::emit::{self, About, Player};
use crate::enqueue;
use crate::handled::{self, Event, Places, TASKS, Table};
use crate::layout::{Memory, Plain, Probe, at, has};
use crate::sock::{self, File};
use crate::stack::{self, Call};

/// `enum` of include/net/tcp_states.h.
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const FIN_WAIT1: i32 = 4;
const CLOSE: i32 = 7;

/// Per CPU, the last changes that [`state`] handled. See `understudy.rs`.
#[map]
static HANDLED: PerCpuArray<Places> = PerCpuArray::with_max_entries(1, 0);

/// The same per task.
#[map]
static HANDLED_BY_TASK: Array<Places> = Array::with_max_entries(TASKS, 0);

/// Both.
pub(crate) const CHANGES: Table = Table {
    by_cpu: &HANDLED,
    by_task: &HANDLED_BY_TASK,
};

/// The change in the context, as the two programs compare it.
#[inline(always)]
pub(crate) fn change(ctx: &BtfTracePointContext) -> Event {
    let (from, to): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    Event::new(ctx.arg(0), (from as u32) << 8 | to as u32)
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn state(ctx: BtfTracePointContext) -> i32 {
    report(&ctx, Player::First);
    handled::note(CHANGES, change(&ctx));
    0
}

/// Emits the change that the context describes.
#[inline(always)]
pub(crate) fn report(ctx: &BtfTracePointContext, player: Player) {
    let sk: *const u8 = ctx.arg(0);
    let (from, to): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let tp = sock::full(sk);
    if tp.is_null() {
        return;
    }
    let identity = sock::identity::<Plain>(tp);
    let file = File::of::<Plain>(tp);
    let caller = Caller::of(tp);
    let word = |offset| Plain::get::<u32>(tp, offset);
    // At this birth nothing is unread or unacknowledged: the room serves the listener's address.
    let listener = if (from, to) == (SYN_RECV, ESTABLISHED) {
        enqueue::listener_of(sk as u64)
    } else {
        None
    };
    let (unread, unacked) = match listener {
        Some(address) => (address as u32, (address >> 32) as u32),
        None => (
            word(at!(tcp_rcv_nxt)).wrapping_sub(word(at!(tcp_copied_seq))),
            word(at!(tcp_write_seq)).wrapping_sub(word(at!(tcp_snd_una))),
        ),
    };
    let mut caller = caller;
    if to == CLOSE_WAIT
        && caller.flags == 0
        && at!(may_probe) == 1
        && has!(sk_wq)
        && has!(wait_private)
    {
        caller = Caller::waiting(tp);
    }
    let about = About {
        sock: sk as u64,
        file_refs: file.references(),
        flags: player.flag()
            | file.flags
            | sock::life::<Plain>(tp)
            | caller.flags
            | if listener.is_some() {
                flag::LISTENER
            } else {
                flag::SEQUENCES
            },
        pid: caller.pid,
        player,
    };
    let body = TransitionBody {
        tid: caller.tid,
        unread,
        unacked,
        states: (from as u8) << 4 | to as u8 & 15,
        shutdown: Plain::get::<u8>(tp, at!(sk_shutdown)),
        error: word(at!(sk_err)) as u16,
    };
    if has!(tcp_lsndtime)
        && has!(icsk_lrcvtime)
        && has!(tcp_data_segs_in)
        && has!(tcp_data_segs_out)
        && (from, to) == (ESTABLISHED, FIN_WAIT1)
    {
        // SAFETY: no preconditions.
        let now = unsafe { bpf_jiffies64() } as u32;
        let closing = ClosingBody {
            transition: body,
            since_sent_jiffies: now.wrapping_sub(word(at!(tcp_lsndtime))),
            since_received_jiffies: now.wrapping_sub(word(at!(icsk_lrcvtime))),
            segments_in: word(at!(tcp_data_segs_in)),
            segments_out: word(at!(tcp_data_segs_out)),
        };
        emit::event::<Plain, _>(Kind::Transition, tp, &identity, about, closing);
    } else {
        emit::event::<Plain, _>(Kind::Transition, tp, &identity, about, body);
    }
    // In softirq the current thread is not the one that calls; one that exits has no map any more.
    if stack::wanted() && about.flags & (flag::OWNED | flag::EXITING) == flag::OWNED {
        let call = match (from, to) {
            (CLOSE, SYN_SENT) => Call::Connected,
            (ESTABLISHED, FIN_WAIT1 | CLOSE) => Call::Closed,
            _ => return,
        };
        stack::emit(ctx, about.sock, &identity, about.pid, call);
    }
}

/// The task that holds the socket, if one does.
#[derive(Clone, Copy, Default)]
pub(crate) struct Caller {
    pub(crate) flags: u16,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
}

/// The peer's FIN has arrived.
const CLOSE_WAIT: i32 = 8;

const PF_EXITING: u32 = 4;

impl Caller {
    /// In softirq nobody is at work, but who waits on the socket when its FIN arrives tells later
    /// whether that process still holds it. The first entry is enough: a second blocked process is
    /// a second holder.
    #[inline(always)]
    fn waiting(tp: *const u8) -> Self {
        let queue = Probe::get::<*const u8>(tp, at!(sk_wq));
        let head = queue.wrapping_add(at!(wq_wait_head));
        let node = Probe::get::<*const u8>(head, at!(list_next));
        let mut waiter = Self {
            flags: flag::WAITER,
            pid: 0,
            tid: 0,
        };
        if node != head {
            let entry = node.wrapping_sub(at!(wait_entry));
            let task = Probe::get::<*const u8>(entry, at!(wait_private));
            waiter.tid = Probe::get::<u64>(entry, at!(wait_func)) as u32;
            waiter.pid = Probe::get::<u32>(task, at!(task_tgid));
        }
        waiter
    }

    /// `sk_lock.owned` is set while a task holds the socket: then the current task is at work. Else a
    /// softirq or timer is, and whoever it interrupted has nothing to do with it.
    #[inline(always)]
    pub(crate) fn of(tp: *const u8) -> Self {
        if Plain::get::<u32>(tp, at!(sk_lock_owned)) == 0 {
            return Self::default();
        }
        let id = bpf_get_current_pid_tgid();
        // SAFETY: no preconditions; on a kernel without the first helper the branch is folded away.
        let task_flags = unsafe {
            if at!(has_task_btf) == 1 {
                Plain::get::<u32>(bpf_get_current_task_btf() as *const u8, at!(task_flags))
            } else {
                Probe::get::<u32>(bpf_get_current_task() as *const u8, at!(task_flags))
            }
        };
        Self {
            flags: flag::OWNED
                | (task_flags & PF_EXITING) as u16 / PF_EXITING as u16 * flag::EXITING,
            pid: (id >> 32) as u32,
            tid: id as u32,
        }
    }
}
