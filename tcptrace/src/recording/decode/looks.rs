//! What the agent saw when it looked: snapshots, inspections, samples of listeners.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tcptrace_core::Input;
use tcptrace_core::input::{
    EpollWatch, Frame, Holder, HolderScan, Inspection, ListenerSample, QueueLevel, Sending,
    SocketCall, SocketRow, Stack, ThreadState, Waiters,
};
use tcptrace_core::tcp::{Shutdown, TcpState};
use tcptrace_core::units::{Fd, Pid, Tid};

use super::SockText;
use super::events::socket_line;

socket_line!(SocketLine {
    state: TcpState,
    holder: Option<HolderFields>,
    listener: Option<SockText>,
    has_socket: bool,
    dead: bool,
    unread: Option<u32>,
    unacked: Option<u32>,
    idle_ns: Option<u64>,
    accept_queue: Option<LevelFields>,
});

socket_line!(InspectionLine {
    state: TcpState,
    unread: u32,
    unacked: u32,
    bytes_acked: u64,
    has_socket: bool,
    dead: bool,
    file_refs: Option<u32>,
    shutdown: Shutdown,
    special_reader: bool,
    waiters: Option<WaitersFields>,
    idle_ns: Option<u64>,
    holder_scan: Option<ScanFields>,
    listener: Option<SockText>,
    #[serde(default)]
    threads: Vec<ThreadFields>,
    sending: Option<SendingFields>,
});

socket_line!(StackLine {
    call: Call,
    pid: Pid,
    frames: Vec<FrameFields>,
});

socket_line!(ListenerLine {
    depth: u32,
    limit: u32,
    syn_depth: u32,
    drops: u32,
    waiters: Option<WaitersFields>,
});

/// [`SocketCall`].
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Call {
    Accept,
    Connect,
    Close,
}

#[derive(Deserialize)]
struct FrameFields {
    function: Option<String>,
    module: Option<String>,
    file: Option<String>,
    line: Option<u32>,
}

impl From<FrameFields> for Frame {
    fn from(fields: FrameFields) -> Self {
        Self {
            function: fields.function.map(Arc::from),
            module: fields.module.map(Arc::from),
            file: fields.file.map(Arc::from),
            line: fields.line,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct HolderFields {
    pid: Pid,
    fd: Fd,
    cloexec: Option<bool>,
}

impl From<HolderFields> for Holder {
    fn from(fields: HolderFields) -> Self {
        let HolderFields { pid, fd, cloexec } = fields;
        Self { pid, fd, cloexec }
    }
}

#[derive(Deserialize)]
struct ScanFields {
    complete: bool,
    holders: Vec<HolderFields>,
}

#[derive(Deserialize)]
struct LevelFields {
    depth: u32,
    limit: u32,
}

#[derive(Deserialize)]
struct WaitersFields {
    #[serde(default)]
    epoll: Vec<EpollFields>,
    polling: u32,
    blocked: u32,
    others: u32,
}

#[derive(Deserialize)]
struct EpollFields {
    events: u32,
    ready: bool,
    waited_on: bool,
}

impl From<WaitersFields> for Waiters {
    fn from(fields: WaitersFields) -> Self {
        let watch = |watch: EpollFields| EpollWatch {
            events: watch.events,
            ready: watch.ready,
            waited_on: watch.waited_on,
        };
        Self {
            epoll: fields.epoll.into_iter().map(watch).collect(),
            polling: fields.polling,
            blocked: fields.blocked,
            others: fields.others,
        }
    }
}

#[derive(Deserialize)]
struct SendingFields {
    window: u32,
    unsent: u32,
    retransmits: u8,
    backoff: u8,
    probes_out: u8,
    user_timeout_ns: Option<u64>,
    keepalive: bool,
    keepalive_time_ns: Option<u64>,
    keepalive_interval_ns: Option<u64>,
    keepalive_probes: Option<u8>,
}

impl From<SendingFields> for Sending {
    fn from(fields: SendingFields) -> Self {
        Self {
            window: fields.window,
            unsent: fields.unsent,
            retransmits: fields.retransmits,
            backoff: fields.backoff,
            probes_out: fields.probes_out,
            user_timeout: fields.user_timeout_ns.map(Duration::from_nanos),
            keepalive: fields.keepalive,
            keepalive_time: fields.keepalive_time_ns.map(Duration::from_nanos),
            keepalive_interval: fields.keepalive_interval_ns.map(Duration::from_nanos),
            keepalive_probes: fields.keepalive_probes,
        }
    }
}

#[derive(Deserialize)]
struct ThreadFields {
    pid: Pid,
    tid: Tid,
    state: char,
    wait_channel: Option<String>,
}

impl From<ThreadFields> for ThreadState {
    fn from(fields: ThreadFields) -> Self {
        Self {
            pid: fields.pid,
            tid: fields.tid,
            state: fields.state,
            wait_channel: fields.wait_channel.map(Arc::from),
        }
    }
}

impl From<SocketLine> for Input {
    fn from(line: SocketLine) -> Self {
        Self::Socket(SocketRow {
            at: line.mono_ns,
            key: line.key(),
            state: line.state,
            holder: line.holder.map(Holder::from),
            listener: line.listener.map(|text| text.0),
            has_socket: line.has_socket,
            dead: line.dead,
            unread: line.unread,
            unacked: line.unacked,
            idle: line.idle_ns.map(Duration::from_nanos),
            queue: line
                .accept_queue
                .map(|LevelFields { depth, limit }| QueueLevel { depth, limit }),
        })
    }
}

impl From<InspectionLine> for Input {
    fn from(line: InspectionLine) -> Self {
        Self::Inspection(Inspection {
            at: line.mono_ns,
            key: line.key(),
            state: line.state,
            unread: line.unread,
            unacked: line.unacked,
            bytes_acked: line.bytes_acked,
            has_socket: line.has_socket,
            dead: line.dead,
            file_refs: line.file_refs,
            shutdown: line.shutdown,
            special_reader: line.special_reader,
            idle: line.idle_ns.map(Duration::from_nanos),
            listener: line.listener.map(|text| text.0),
            threads: line.threads.into_iter().map(ThreadState::from).collect(),
            sending: line.sending.map(Sending::from),
            waiters: line.waiters.map(Waiters::from),
            holders: line.holder_scan.map(|scan| HolderScan {
                complete: scan.complete,
                holders: scan.holders.into_iter().map(Holder::from).collect(),
            }),
        })
    }
}

impl From<StackLine> for Input {
    fn from(line: StackLine) -> Self {
        Self::Stack(Stack {
            at: line.mono_ns,
            key: line.key(),
            call: match line.call {
                Call::Accept => SocketCall::Accept,
                Call::Connect => SocketCall::Connect,
                Call::Close => SocketCall::Close,
            },
            pid: line.pid,
            frames: line.frames.into_iter().map(Frame::from).collect(),
        })
    }
}

impl From<ListenerLine> for Input {
    fn from(line: ListenerLine) -> Self {
        Self::Listener(ListenerSample {
            at: line.mono_ns,
            key: line.key(),
            accept: QueueLevel {
                depth: line.depth,
                limit: line.limit,
            },
            syn_depth: line.syn_depth,
            drops: line.drops,
            waiters: line.waiters.map(Waiters::from),
        })
    }
}
