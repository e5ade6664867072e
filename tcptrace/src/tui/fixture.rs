//! Sockets and engines that the tests of the view look at: real engines, fed with what a host
//! would have reported.

use std::sync::Arc;
use std::time::Duration;

use tcptrace_core::Engine;
use tcptrace_core::engine::Outcome;
use tcptrace_core::finding::{Confidence, Owner, Provenance};
use tcptrace_core::input::{
    Accept, Context, Destroy, Holder, HolderScan, Input, Inspection, ListenerSample, Loss,
    LossCause, ProcessFact, ProcessInfo, QueueLevel, Retransmit, RetransmitReason, SnapshotMark,
    SnapshotPhase, SnapshotScope, SocketKey, SocketRow, Tick, Transition, Waiters,
};
use tcptrace_core::request::Request;
use tcptrace_core::settings::Settings;
use tcptrace_core::tcp::{Endpoint, Shutdown, TcpState};
use tcptrace_core::units::{Fd, MonoNs, NetnsId, Pid, SockId, Tid, WallNs};
use tcptrace_core::world::{Origin, Socket, Tags};

const NETNS: NetnsId = NetnsId(4_026_531_840);

/// 2026-03-01 03:00:00 UTC, when the monotonic clock said 0.
const EPOCH: i64 = 1_772_334_000_000_000_000;

/// An engine that knows nothing.
pub(super) fn empty() -> Engine {
    Engine::new(Settings::default())
}

/// A connection of nginx, pid 7: CLOSE_WAIT, 10.0.0.1:80 from 192.168.7.9:40000.
pub(super) fn connection() -> Socket {
    Socket {
        key: key(1, "10.0.0.1:80", "192.168.7.9:40000"),
        state: TcpState::CloseWait,
        since: MonoNs(0),
        since_is_lower_bound: false,
        first_seen: MonoNs(0),
        origin: Origin::Passive,
        listener: None,
        owner: Some(Owner {
            process: Arc::new(process(7, "nginx")),
            provenance: Provenance::Accept,
            confidence: Confidence::Exact,
        }),
        holders: Vec::new(),
        accepted: true,
        closer: None,
        ends: tcptrace_core::world::Ends::default(),
        retransmits: 0,
        unread: None,
        accept_queue: None,
        syn_depth: None,
        last_accept: None,
        special: Tags::default(),
    }
}

pub(super) fn process(pid: u32, name: &str) -> ProcessInfo {
    ProcessInfo {
        pid: Pid(pid),
        start: Some(u64::from(pid) * 100),
        name: name.into(),
        exe: Some(format!("/usr/sbin/{name}").into()),
        uid: Some(33),
        ..ProcessInfo::default()
    }
}

/// A key; an empty text is an unknown endpoint.
pub(super) fn key(sock: u64, local: &str, peer: &str) -> SocketKey {
    let endpoint = |text: &str| match text.parse() {
        Ok(address) => Endpoint::known(address),
        Err(_) => Endpoint::default(),
    };
    SocketKey {
        sock: SockId(sock),
        netns: NETNS,
        local: endpoint(local),
        peer: endpoint(peer),
    }
}

/// An engine, and the hand that feeds it.
pub(super) struct Story {
    pub(super) engine: Engine,
    outcome: Outcome,
    now: MonoNs,
    /// What an inspection of a socket would see.
    looks: Vec<Inspection>,
}

impl Story {
    /// The monotonic clock says 1000 s.
    pub(super) fn begin() -> Self {
        let mut story = Self {
            engine: empty(),
            outcome: Outcome::default(),
            now: MonoNs(1_000_000_000_000),
            looks: Vec::new(),
        };
        story.tick(0);
        story
    }

    /// Gives one fact to the engine, and answers the inspections that it asks for.
    pub(super) fn give(&mut self, input: &Input) {
        self.engine.apply(input, &mut self.outcome);
        for request in std::mem::take(&mut self.outcome.requests) {
            if let Request::Inspect { sock, .. } = request
                && let Some(look) = self.looks.iter().find(|look| look.key.sock == sock)
            {
                let mut look = look.clone();
                look.at = self.now;
                self.give(&Input::Inspection(look));
            }
        }
    }

    /// Lets `millis` pass.
    pub(super) fn tick(&mut self, millis: u64) {
        self.now = self.now.plus(Duration::from_millis(millis));
        self.give(&Input::Tick(Tick {
            at: self.now,
            wall: WallNs(EPOCH + self.now.0.cast_signed()),
        }));
    }

    /// Lets `seconds` pass, tick by tick.
    pub(super) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds * 4 {
            self.tick(250);
        }
    }

    pub(super) fn process(&mut self, info: ProcessInfo) {
        self.give(&Input::Process(ProcessFact::Seen {
            at: self.now,
            info: Arc::new(info),
        }));
    }

    pub(super) fn snapshot(&mut self, rows: Vec<SocketRow>) {
        let mark = |at, phase| {
            Input::Snapshot(SnapshotMark {
                at,
                scope: SnapshotScope::Descriptors,
                phase,
            })
        };
        self.give(&mark(self.now, SnapshotPhase::Begin));
        for row in rows {
            self.give(&Input::Socket(row));
        }
        self.give(&mark(self.now, SnapshotPhase::End { complete: true }));
    }

    /// A row of a snapshot, held as descriptor 10 of `pid`; nobody's when that is 0.
    pub(super) fn row(&self, key: SocketKey, state: TcpState, pid: u32) -> SocketRow {
        SocketRow {
            at: self.now,
            key,
            state,
            holder: (pid != 0).then_some(Holder {
                pid: Pid(pid),
                fd: Fd(10),
                cloexec: None,
            }),
            listener: None,
            has_socket: pid != 0,
            dead: false,
            unread: Some(u32::from(state == TcpState::CloseWait)),
            unacked: Some(0),
            idle: Some(Duration::from_secs(300)),
            queue: None,
        }
    }

    pub(super) fn transition(&mut self, key: SocketKey, from: TcpState, to: TcpState, by: u32) {
        let context = match by {
            0 => Context::Interrupt,
            pid => Context::Process {
                pid: Pid(pid),
                tid: Tid(pid),
                exiting: false,
            },
        };
        self.give(&Input::Transition(Transition {
            at: self.now,
            key,
            from,
            to,
            context,
            error: None,
            shutdown: Shutdown::default(),
            peer_fin: to == TcpState::CloseWait,
            dead: false,
            has_socket: from != TcpState::Listen && to != TcpState::SynRecv,
            file_released: by != 0 && to == TcpState::FinWait1,
            file_refs: None,
            unread: None,
            unacked: None,
            usage: None,
            listener: None,
            waiter: None,
        }));
    }

    pub(super) fn accept(&mut self, key: SocketKey, pid: u32) {
        self.give(&Input::Accept(Accept {
            at: self.now,
            key,
            pid: Pid(pid),
            tid: Tid(pid),
            fd: Some(Fd(12)),
        }));
    }

    pub(super) fn destroy(&mut self, key: SocketKey) {
        self.give(&Input::Destroy(Destroy { at: self.now, key }));
    }

    pub(super) fn retransmit_fin(&mut self, key: SocketKey, attempt: u8) {
        self.give(&Input::Retransmit(Retransmit {
            at: self.now,
            key,
            state: TcpState::FinWait1,
            syn: false,
            fin: true,
            reason: RetransmitReason::Timeout,
            attempt,
            backoff: attempt - 1,
            rto: Some(Duration::from_millis(200 << (attempt - 1))),
            dead: true,
            user_timeout: None,
            syn_retries: None,
        }));
    }

    pub(super) fn listener(&mut self, key: SocketKey, depth: u32, limit: u32, half_open: u32) {
        self.give(&Input::Listener(ListenerSample {
            at: self.now,
            key,
            accept: QueueLevel { depth, limit },
            syn_depth: half_open,
            drops: 0,
            waiters: Some(Waiters::default()),
        }));
    }

    pub(super) fn lose(&mut self, cause: LossCause, count: u64) {
        self.give(&Input::Loss(Loss {
            cause,
            kind: (cause == LossCause::Evicted).then(|| "socket".into()),
            count,
            from: self.now,
            to: self.now,
        }));
    }

    /// What looking at a connection would show that nobody accepted from `listener`.
    fn never_accepted(&self, key: SocketKey, listener: u64) -> Inspection {
        Inspection {
            at: self.now,
            key,
            state: TcpState::CloseWait,
            unread: 1,
            unacked: 0,
            bytes_acked: 0,
            has_socket: false,
            dead: false,
            file_refs: None,
            shutdown: Shutdown(1),
            special_reader: false,
            waiters: Some(Waiters::default()),
            idle: Some(Duration::from_secs(300)),
            holders: Some(HolderScan {
                complete: true,
                holders: Vec::new(),
            }),
            listener: Some(SockId(listener)),
            threads: Vec::new(),
            sending: None,
        }
    }
}

/// An ordinary host with three troubles: connections that `stuck` never accepts, its queue full,
/// and a FIN of nginx that nobody acknowledges.
pub(super) fn incident() -> Story {
    let mut story = Story::begin();
    for (pid, name) in [(812, "nginx"), (4242, "stuck"), (977, "billing")] {
        story.process(process(pid, name));
    }
    let web = key(1, "0.0.0.0:80", "");
    let stuck = key(2, "127.0.0.1:9000", "");
    let secure = key(3, "[::]:443", "");
    let mut rows = vec![
        story.row(web, TcpState::Listen, 812),
        story.row(stuck, TcpState::Listen, 4242),
        story.row(secure, TcpState::Listen, 812),
        story.row(
            key(
                4,
                "[2001:db8:10:20:30:40:50:60]:51234",
                "[2001:db8:ffff::5432]:5432",
            ),
            TcpState::Established,
            977,
        ),
    ];
    for (i, sock) in (10..13).enumerate() {
        let key = key(sock, "127.0.0.1:9000", &format!("127.0.0.1:{}", 40_001 + i));
        let mut row = story.row(key, TcpState::CloseWait, 0);
        row.listener = Some(SockId(2));
        rows.push(row);
        let look = story.never_accepted(key, 2);
        story.looks.push(look);
    }
    story.snapshot(rows);
    story.tick(250);
    story.listener(web, 12, 128, 3);
    story.listener(stuck, 5, 4, 0);
    story.listener(secure, 0, 511, 0);

    let fin = key(20, "10.0.0.1:80", "192.0.2.7:51515");
    story.transition(fin, TcpState::Listen, TcpState::SynRecv, 0);
    story.tick(40);
    story.transition(fin, TcpState::SynRecv, TcpState::Established, 0);
    story.tick(1);
    story.accept(fin, 812);
    story.tick(1200);
    story.transition(fin, TcpState::Established, TcpState::FinWait1, 812);
    for attempt in 1..=5 {
        story.tick(200 << (attempt - 1));
        story.retransmit_fin(fin, attempt);
    }
    for (sock, port) in (30..36).zip(52_000..) {
        let busy = key(sock, "10.0.0.1:80", &format!("198.51.100.9:{port}"));
        story.transition(busy, TcpState::Listen, TcpState::SynRecv, 0);
        story.transition(busy, TcpState::SynRecv, TcpState::Established, 0);
        story.accept(busy, 812);
        story.tick(250);
    }
    story.wait(5);
    story
}
