//! Facts that are not about one socket: snapshots' ends, namespaces, processes, losses, ticks.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::Error as _;
use tcptrace_core::Input;
use tcptrace_core::input::{
    Counters, Loss, LossCause, NetnsFacts, ProcessFact, ProcessInfo, SnapshotMark, SnapshotPhase,
    SnapshotScope, Tick,
};
use tcptrace_core::units::{MonoNs, NetnsId, Pid, WallNs};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Begin,
    End,
}

#[derive(Deserialize)]
struct SnapshotFields {
    mono_ns: MonoNs,
    phase: Phase,
    complete: Option<bool>,
    scope: Scope,
    netns: Option<NetnsId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    Descriptors,
    Tables,
}

#[derive(Deserialize)]
#[serde(try_from = "SnapshotFields")]
pub(in crate::recording) struct SnapshotLine(SnapshotMark);

impl TryFrom<SnapshotFields> for SnapshotLine {
    type Error = serde::de::value::Error;

    fn try_from(fields: SnapshotFields) -> Result<Self, Self::Error> {
        let scope = match fields.scope {
            Scope::Descriptors => SnapshotScope::Descriptors,
            Scope::Tables => SnapshotScope::Tables(
                fields
                    .netns
                    .ok_or_else(|| Self::Error::missing_field("netns"))?,
            ),
        };
        let phase = match fields.phase {
            Phase::Begin => SnapshotPhase::Begin,
            // Only a complete snapshot may remove sockets: silence is no permission.
            Phase::End => SnapshotPhase::End {
                complete: fields.complete.unwrap_or(false),
            },
        };
        Ok(Self(SnapshotMark {
            at: fields.mono_ns,
            scope,
            phase,
        }))
    }
}

impl From<SnapshotLine> for Input {
    fn from(line: SnapshotLine) -> Self {
        Self::Snapshot(line.0)
    }
}

#[derive(Deserialize)]
pub(in crate::recording) struct CountersLine {
    mono_ns: MonoNs,
    netns: NetnsId,
    tcp_ext: TcpExt,
    tw_sockets: Option<u64>,
    orphan_fin_wait2: Option<u64>,
}

/// The kernel's names. A counter that an older recording lacks reads as 0.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TcpExt {
    listen_overflows: u64,
    listen_drops: u64,
    #[serde(rename = "TCPReqQFullDrop")]
    req_q_full_drop: u64,
    #[serde(rename = "TCPReqQFullDoCookies")]
    req_q_full_do_cookies: u64,
    syncookies_sent: u64,
    #[serde(rename = "TCPBacklogDrop")]
    backlog_drop: u64,
    #[serde(rename = "TCPTimeWaitOverflow")]
    time_wait_overflow: u64,
    #[serde(rename = "TCPAbortOnMemory")]
    abort_on_memory: u64,
}

impl From<CountersLine> for Input {
    fn from(line: CountersLine) -> Self {
        let ext = line.tcp_ext;
        Self::Counters(Counters {
            at: line.mono_ns,
            netns: line.netns,
            listen_overflows: ext.listen_overflows,
            listen_drops: ext.listen_drops,
            req_q_full_drop: ext.req_q_full_drop,
            req_q_full_do_cookies: ext.req_q_full_do_cookies,
            syncookies_sent: ext.syncookies_sent,
            backlog_drop: ext.backlog_drop,
            time_wait_overflow: ext.time_wait_overflow,
            abort_on_memory: ext.abort_on_memory,
            tw_sockets: line.tw_sockets,
            orphan_fin_wait2: line.orphan_fin_wait2,
        })
    }
}

#[derive(Deserialize)]
pub(in crate::recording) struct NetnsLine {
    mono_ns: MonoNs,
    netns: NetnsId,
    sysctls: Sysctls,
}

#[derive(Deserialize)]
struct Sysctls {
    somaxconn: Option<u32>,
    tcp_max_syn_backlog: Option<u32>,
    tcp_syncookies: Option<u32>,
    tcp_synack_retries: Option<u32>,
    tcp_syn_retries: Option<u32>,
    tcp_orphan_retries: Option<u32>,
    tcp_retries2: Option<u32>,
    tcp_fin_timeout: Option<u32>,
    tcp_abort_on_overflow: Option<u32>,
    tcp_max_tw_buckets: Option<u32>,
    tcp_tw_reuse: Option<u32>,
    tcp_timestamps: Option<u32>,
    tcp_max_orphans: Option<u32>,
    local_port_first: Option<u32>,
    local_port_last: Option<u32>,
    local_ports_reserved: Option<u32>,
    tcp_syn_linear_timeouts: Option<u32>,
    tcp_keepalive_time: Option<u32>,
    tcp_keepalive_intvl: Option<u32>,
    tcp_keepalive_probes: Option<u32>,
    tcp_rto_max_ms: Option<u32>,
    tcp_tw_reuse_delay: Option<u32>,
}

impl From<NetnsLine> for Input {
    fn from(line: NetnsLine) -> Self {
        let sysctls = line.sysctls;
        Self::Netns(NetnsFacts {
            at: line.mono_ns,
            netns: line.netns,
            somaxconn: sysctls.somaxconn,
            tcp_max_syn_backlog: sysctls.tcp_max_syn_backlog,
            tcp_syncookies: sysctls.tcp_syncookies,
            tcp_synack_retries: sysctls.tcp_synack_retries,
            tcp_syn_retries: sysctls.tcp_syn_retries,
            tcp_orphan_retries: sysctls.tcp_orphan_retries,
            tcp_retries2: sysctls.tcp_retries2,
            tcp_fin_timeout: sysctls.tcp_fin_timeout,
            tcp_abort_on_overflow: sysctls.tcp_abort_on_overflow,
            tcp_max_tw_buckets: sysctls.tcp_max_tw_buckets,
            tcp_tw_reuse: sysctls.tcp_tw_reuse,
            tcp_timestamps: sysctls.tcp_timestamps,
            tcp_max_orphans: sysctls.tcp_max_orphans,
            local_port_first: sysctls.local_port_first,
            local_port_last: sysctls.local_port_last,
            local_ports_reserved: sysctls.local_ports_reserved,
            tcp_syn_linear_timeouts: sysctls.tcp_syn_linear_timeouts,
            tcp_keepalive_time: sysctls.tcp_keepalive_time,
            tcp_keepalive_intvl: sysctls.tcp_keepalive_intvl,
            tcp_keepalive_probes: sysctls.tcp_keepalive_probes,
            tcp_rto_max_ms: sysctls.tcp_rto_max_ms,
            tcp_tw_reuse_delay: sysctls.tcp_tw_reuse_delay,
        })
    }
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum ProcessFields {
    Seen {
        mono_ns: MonoNs,
        process: InfoFields,
    },
    Descriptors {
        mono_ns: MonoNs,
        process: PidFields,
        open: u64,
        limit: u64,
    },
    Exit {
        mono_ns: MonoNs,
        process: NameFields,
        signal: Option<u8>,
    },
}

#[derive(Deserialize)]
struct PidFields {
    pid: Pid,
}

#[derive(Deserialize)]
struct NameFields {
    pid: Pid,
    name: String,
}

#[derive(Deserialize)]
struct InfoFields {
    pid: Pid,
    name: String,
    start: Option<u64>,
    exe: Option<String>,
    parent: Option<Pid>,
    uid: Option<u32>,
    ns_pid: Option<Pid>,
    cgroup: Option<String>,
    container: Option<String>,
    cmdline: Option<String>,
}

#[derive(Deserialize)]
#[serde(transparent)]
pub(in crate::recording) struct ProcessLine(ProcessFields);

impl From<ProcessLine> for Input {
    fn from(line: ProcessLine) -> Self {
        Self::Process(match line.0 {
            ProcessFields::Seen { mono_ns, process } => ProcessFact::Seen {
                at: mono_ns,
                info: Arc::new(ProcessInfo {
                    pid: process.pid,
                    start: process.start,
                    name: process.name.into(),
                    exe: process.exe.map(Arc::from),
                    parent: process.parent,
                    uid: process.uid,
                    ns_pid: process.ns_pid,
                    cgroup: process.cgroup.map(Arc::from),
                    container: process.container.map(Arc::from),
                    cmdline: process.cmdline.map(Arc::from),
                }),
            },
            ProcessFields::Descriptors {
                mono_ns,
                process,
                open,
                limit,
            } => ProcessFact::Descriptors {
                at: mono_ns,
                pid: process.pid,
                open,
                limit,
            },
            ProcessFields::Exit {
                mono_ns,
                process,
                signal,
            } => ProcessFact::Exit {
                at: mono_ns,
                pid: process.pid,
                name: process.name.into(),
                signal,
            },
        })
    }
}

#[derive(Deserialize)]
pub(in crate::recording) struct LossLine {
    #[serde(with = "CauseName")]
    cause: LossCause,
    kind: Option<String>,
    count: u64,
    from_ns: MonoNs,
    to_ns: MonoNs,
}

#[derive(Deserialize)]
#[serde(remote = "LossCause", rename_all = "snake_case")]
enum CauseName {
    Ring,
    Recursion,
    Unreported,
    Decode,
    Writer,
    Evicted,
}

impl From<LossLine> for Input {
    fn from(line: LossLine) -> Self {
        Self::Loss(Loss {
            cause: line.cause,
            kind: line.kind.map(Arc::from),
            count: line.count,
            from: line.from_ns,
            to: line.to_ns,
        })
    }
}

#[derive(Deserialize)]
pub(in crate::recording) struct TickLine {
    mono_ns: MonoNs,
    #[serde(deserialize_with = "super::wall")]
    time: WallNs,
}

impl From<TickLine> for Input {
    fn from(line: TickLine) -> Self {
        Self::Tick(Tick {
            at: line.mono_ns,
            wall: line.time,
        })
    }
}
