//! `sched:sched_process_exit`, 5.10 on: `(task, …)`, raised by each thread after it left its thread
//! group's count of the living and before its files are closed: the closing transitions follow.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tcptrace_common::record::{Exit, Kind};

use crate::emit;
use crate::layout::{Memory, Plain, at, has};

#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn process_exit(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let signal = Plain::get::<*const u8>(task, at!(task_signal));
    if Plain::get::<u32>(signal, at!(signal_live)) != 0 {
        return 0;
    }
    let leader = Plain::get::<*const u8>(task, at!(task_leader));
    emit::record::<Exit>(Kind::Exit, |it| {
        // SAFETY: the ring handed out room for one record.
        unsafe {
            *it = Exit {
                at_ns: bpf_ktime_get_ns(),
                started_boot_ns: Plain::get(leader, at!(task_start_boottime)),
                kind: Kind::Exit as u16,
                status: if has!(task_exit_code) {
                    Plain::get::<u32>(task, at!(task_exit_code)) as u16
                } else {
                    Exit::NO_STATUS
                },
                pid: Plain::get(task, at!(task_tgid)),
                comm: Plain::get(leader, at!(task_comm)),
            };
        }
    });
    0
}
