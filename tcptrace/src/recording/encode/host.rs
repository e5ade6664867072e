//! Facts that are not about one socket: snapshots' ends, namespaces, processes, losses.

use tcptrace_core::input::{
    Counters, Loss, NetnsFacts, ProcessFact, ProcessInfo, SnapshotMark, SnapshotPhase,
    SnapshotScope,
};

use crate::recording::json::Object;

pub(super) fn snapshot(line: &mut Object<'_>, mark: &SnapshotMark) {
    let SnapshotMark {
        at: _,
        scope,
        phase,
    } = mark;
    match phase {
        SnapshotPhase::Begin => line.word("phase", "begin"),
        SnapshotPhase::End { complete } => {
            line.word("phase", "end");
            line.flag("complete", *complete);
        }
    }
    match scope {
        SnapshotScope::Descriptors => line.word("scope", "descriptors"),
        SnapshotScope::Tables(netns) => {
            line.word("scope", "tables");
            line.number("netns", netns.0);
        }
    }
}

pub(super) fn counters(line: &mut Object<'_>, counters: &Counters) {
    let Counters {
        at: _,
        netns,
        listen_overflows,
        listen_drops,
        req_q_full_drop,
        req_q_full_do_cookies,
        syncookies_sent,
        backlog_drop,
        time_wait_overflow,
        abort_on_memory,
        tw_sockets,
        orphan_fin_wait2,
    } = counters;
    line.number("netns", netns.0);
    // The kernel's own spelling, as `nstat` shows it.
    line.object("tcp_ext", |ext| {
        ext.number("ListenOverflows", *listen_overflows);
        ext.number("ListenDrops", *listen_drops);
        ext.number("TCPReqQFullDrop", *req_q_full_drop);
        ext.number("TCPReqQFullDoCookies", *req_q_full_do_cookies);
        ext.number("SyncookiesSent", *syncookies_sent);
        ext.number("TCPBacklogDrop", *backlog_drop);
        ext.number("TCPTimeWaitOverflow", *time_wait_overflow);
        ext.number("TCPAbortOnMemory", *abort_on_memory);
    });
    line.known("tw_sockets", *tw_sockets);
    line.known("orphan_fin_wait2", *orphan_fin_wait2);
}

pub(super) fn netns_facts(line: &mut Object<'_>, facts: &NetnsFacts) {
    let NetnsFacts {
        at: _,
        netns,
        somaxconn,
        tcp_max_syn_backlog,
        tcp_syncookies,
        tcp_synack_retries,
        tcp_syn_retries,
        tcp_orphan_retries,
        tcp_retries2,
        tcp_fin_timeout,
        tcp_abort_on_overflow,
        tcp_max_tw_buckets,
        tcp_tw_reuse,
        tcp_timestamps,
        tcp_max_orphans,
        local_port_first,
        local_port_last,
        local_ports_reserved,
        tcp_syn_linear_timeouts,
        tcp_keepalive_time,
        tcp_keepalive_intvl,
        tcp_keepalive_probes,
        tcp_rto_max_ms,
        tcp_tw_reuse_delay,
    } = facts;
    line.number("netns", netns.0);
    line.object("sysctls", |sysctls| {
        sysctls.known("somaxconn", *somaxconn);
        sysctls.known("tcp_max_syn_backlog", *tcp_max_syn_backlog);
        sysctls.known("tcp_syncookies", *tcp_syncookies);
        sysctls.known("tcp_synack_retries", *tcp_synack_retries);
        sysctls.known("tcp_syn_retries", *tcp_syn_retries);
        sysctls.known("tcp_orphan_retries", *tcp_orphan_retries);
        sysctls.known("tcp_retries2", *tcp_retries2);
        sysctls.known("tcp_fin_timeout", *tcp_fin_timeout);
        sysctls.known("tcp_abort_on_overflow", *tcp_abort_on_overflow);
        sysctls.known("tcp_max_tw_buckets", *tcp_max_tw_buckets);
        sysctls.known("tcp_tw_reuse", *tcp_tw_reuse);
        sysctls.known("tcp_timestamps", *tcp_timestamps);
        sysctls.known("tcp_max_orphans", *tcp_max_orphans);
        sysctls.known("local_port_first", *local_port_first);
        sysctls.known("local_port_last", *local_port_last);
        sysctls.known("local_ports_reserved", *local_ports_reserved);
        sysctls.known("tcp_syn_linear_timeouts", *tcp_syn_linear_timeouts);
        sysctls.known("tcp_keepalive_time", *tcp_keepalive_time);
        sysctls.known("tcp_keepalive_intvl", *tcp_keepalive_intvl);
        sysctls.known("tcp_keepalive_probes", *tcp_keepalive_probes);
        sysctls.known("tcp_rto_max_ms", *tcp_rto_max_ms);
        sysctls.known("tcp_tw_reuse_delay", *tcp_tw_reuse_delay);
    });
}

pub(super) fn process(line: &mut Object<'_>, fact: &ProcessFact) {
    match fact {
        ProcessFact::Seen { at: _, info } => {
            line.word("event", "seen");
            line.object("process", |object| process_info(object, info));
        }
        ProcessFact::Descriptors {
            at: _,
            pid,
            open,
            limit,
        } => {
            line.word("event", "descriptors");
            line.object("process", |object| object.number("pid", pid.0));
            line.number("open", *open);
            line.number("limit", *limit);
        }
        ProcessFact::Exit {
            at: _,
            pid,
            name,
            signal,
        } => {
            line.word("event", "exit");
            line.object("process", |object| {
                object.number("pid", pid.0);
                object.text("name", name);
            });
            line.known("signal", *signal);
        }
    }
}

fn process_info(object: &mut Object<'_>, info: &ProcessInfo) {
    let ProcessInfo {
        pid,
        start,
        name,
        exe,
        parent,
        uid,
        ns_pid,
        cgroup,
        container,
        cmdline,
    } = info;
    object.number("pid", pid.0);
    object.text("name", name);
    object.known("start", *start);
    object.known_text("exe", exe.as_deref());
    object.known("parent", parent.map(|pid| pid.0));
    object.known("uid", *uid);
    object.known("ns_pid", ns_pid.map(|pid| pid.0));
    object.known_text("cgroup", cgroup.as_deref());
    object.known_text("container", container.as_deref());
    object.known_text("cmdline", cmdline.as_deref());
}

pub(super) fn loss(line: &mut Object<'_>, loss: &Loss) {
    let Loss {
        cause,
        kind,
        count,
        from,
        to,
    } = loss;
    line.word("cause", cause.name());
    line.known_text("kind", kind.as_deref());
    line.number("count", *count);
    line.number("from_ns", from.0);
    line.number("to_ns", to.0);
}
