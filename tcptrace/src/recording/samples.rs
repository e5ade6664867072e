//! One of every line, for the tests: what `docs/recording.md` must explain and what the recording
//! under `fixtures/` holds.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tcptrace_core::engine::{Annotation, Engine, Outcome};
use tcptrace_core::finding::*;
use tcptrace_core::input::*;
use tcptrace_core::settings::Settings;
use tcptrace_core::tcp::{Endpoint, Shutdown, TcpState};
use tcptrace_core::units::{Fd, MonoNs, NetnsId, Pid, Port, SockId, Tid, WallNs};
use tcptrace_core::world::{CloseCall, Closer, Origin};
use tcptrace_core::{Finding, Input};

use super::encode::Encoder;
use super::header::{Ended, Footer, Header, Probe};

/// 2026-01-02T03:04:05.678901234Z, an hour after boot.
pub(super) const START: MonoNs = MonoNs(3_600_000_000_000);
pub(super) const WALL: WallNs = WallNs(1_767_323_045_678_901_234);

pub(super) fn header() -> Header {
    Header {
        at: START,
        clock_offset_ns: WALL.0 - START.0 as i64,
        tool_version: "0.1.0".to_owned(),
        recording_id: "6f1c2d3e-4b5a-4978-8a6b-0c1d2e3f4a5b".to_owned(),
        boot_id: Some("0a1b2c3d-4e5f-4607-8192-a3b4c5d6e7f8".to_owned()),
        host: Some("web1".to_owned()),
        kernel: Some("6.18.44".to_owned()),
        arch: Some("x86_64".to_owned()),
        hz: Some(250),
        command: ["tcptrace", "record", "-L", "8080", "-o", "out.ndjson"]
            .map(str::to_owned)
            .into(),
        filters: vec!["--local-port 8080".to_owned()],
        probes: vec![
            Probe {
                name: "set_state".to_owned(),
                hook: Some("inet_sock_set_state".to_owned()),
                tier: Some("tracepoint".to_owned()),
                attached: true,
                reason: None,
            },
            Probe {
                name: "accept".to_owned(),
                hook: Some("inet_csk_accept".to_owned()),
                tier: Some("fexit".to_owned()),
                attached: false,
                reason: Some("the kernel refuses fexit".to_owned()),
            },
        ],
        ..Header::default()
    }
}

fn at(ms: u64) -> MonoNs {
    START.plus(Duration::from_millis(ms))
}

fn address(text: &str) -> Endpoint {
    Endpoint::known(text.parse::<SocketAddr>().unwrap())
}

fn listening() -> SocketKey {
    SocketKey {
        sock: SockId(1),
        netns: NetnsId(4_026_531_840),
        local: Endpoint {
            address: None,
            port: Some(Port(8080)),
        },
        peer: Endpoint::default(),
    }
}

fn child() -> SocketKey {
    SocketKey {
        sock: SockId(37),
        local: address("192.0.2.1:8080"),
        peer: address("192.0.2.9:40000"),
        ..listening()
    }
}

fn server() -> Arc<ProcessInfo> {
    Arc::new(ProcessInfo {
        pid: Pid(812),
        start: Some(4711),
        name: "shop \"api\"\u{1b}".into(),
        exe: Some("/usr/bin/shop".into()),
        parent: Some(Pid(1)),
        uid: Some(33),
        ns_pid: Some(Pid(7)),
        cgroup: Some("/system.slice/shop.service".into()),
        container: Some("4f5e6d7c8b9a".into()),
        cmdline: None,
    })
}

fn owner(provenance: Provenance) -> Owner {
    Owner {
        process: server(),
        provenance,
        confidence: Confidence::Exact,
    }
}

fn task() -> Context {
    Context::Process {
        pid: Pid(812),
        tid: Tid(813),
        exiting: false,
    }
}

fn waiters() -> Waiters {
    Waiters {
        epoll: vec![EpollWatch {
            events: 0x8000_2019,
            ready: true,
            waited_on: false,
        }],
        polling: 0,
        blocked: 1,
        others: 0,
    }
}

/// One Input of every variant, with every field known somewhere that the first recordings had: what
/// the fixture holds.
pub(super) fn inputs() -> Vec<(Input, Annotation)> {
    let plain = Annotation::default;
    let owned = |provenance| Annotation {
        process: Some(owner(provenance)),
        ..Annotation::default()
    };
    let holder = Holder {
        pid: Pid(812),
        fd: Fd(9),
        cloexec: None,
    };
    vec![
        (
            Input::Netns(NetnsFacts {
                at: at(0),
                netns: listening().netns,
                somaxconn: Some(4096),
                tcp_max_syn_backlog: Some(2048),
                tcp_syncookies: Some(1),
                tcp_synack_retries: Some(5),
                tcp_syn_retries: Some(6),
                tcp_orphan_retries: Some(0),
                tcp_retries2: Some(15),
                tcp_fin_timeout: Some(60),
                tcp_abort_on_overflow: Some(0),
                tcp_max_tw_buckets: Some(262_144),
                tcp_tw_reuse: Some(2),
                tcp_timestamps: Some(1),
                tcp_max_orphans: Some(65_536),
                local_port_first: Some(32_768),
                local_port_last: Some(60_999),
                local_ports_reserved: Some(3),
                tcp_syn_linear_timeouts: Some(4),
                tcp_keepalive_time: Some(7200),
                tcp_keepalive_intvl: Some(75),
                tcp_keepalive_probes: Some(9),
                tcp_rto_max_ms: Some(120_000),
                tcp_tw_reuse_delay: Some(1000),
            }),
            plain(),
        ),
        (
            Input::Snapshot(SnapshotMark {
                at: at(1),
                scope: SnapshotScope::Descriptors,
                phase: SnapshotPhase::Begin,
            }),
            plain(),
        ),
        (
            Input::Process(ProcessFact::Seen {
                at: at(1),
                info: server(),
            }),
            plain(),
        ),
        (
            Input::Socket(SocketRow {
                at: at(1),
                key: listening(),
                state: TcpState::Listen,
                holder: Some(Holder {
                    pid: Pid(812),
                    fd: Fd(4),
                    cloexec: None,
                }),
                listener: None,
                has_socket: true,
                dead: false,
                unread: None,
                unacked: None,
                idle: None,
                queue: Some(QueueLevel {
                    depth: 0,
                    limit: 128,
                }),
            }),
            owned(Provenance::Holder),
        ),
        (
            Input::Socket(SocketRow {
                at: at(1),
                key: child(),
                state: TcpState::Established,
                holder: None,
                listener: Some(SockId(1)),
                has_socket: false,
                dead: false,
                unread: Some(0),
                unacked: Some(0),
                idle: Some(Duration::from_millis(1500)),
                queue: None,
            }),
            owned(Provenance::Inherited),
        ),
        (
            Input::Snapshot(SnapshotMark {
                at: at(2),
                scope: SnapshotScope::Descriptors,
                phase: SnapshotPhase::End { complete: true },
            }),
            plain(),
        ),
        (
            Input::Snapshot(SnapshotMark {
                at: at(2),
                scope: SnapshotScope::Tables(listening().netns),
                phase: SnapshotPhase::Begin,
            }),
            plain(),
        ),
        (
            Input::Accept(Accept {
                at: at(3),
                key: child(),
                pid: Pid(812),
                tid: Tid(813),
                fd: Some(Fd(9)),
            }),
            owned(Provenance::Accept),
        ),
        (
            Input::Transition(Transition {
                at: at(10),
                key: child(),
                from: TcpState::Established,
                to: TcpState::CloseWait,
                context: Context::Interrupt,
                error: None,
                shutdown: Shutdown(1),
                peer_fin: true,
                dead: false,
                has_socket: true,
                file_released: false,
                file_refs: None,
                unread: Some(1),
                unacked: Some(0),
                usage: None,
                listener: None,
                waiter: None,
            }),
            Annotation {
                in_state: Some(Duration::from_millis(7)),
                closer: Some(Closer::PeerFin),
                process: Some(owner(Provenance::Accept)),
                ..Annotation::default()
            },
        ),
        (
            Input::Inspection(Inspection {
                at: at(5000),
                key: child(),
                state: TcpState::CloseWait,
                unread: 1,
                unacked: 0,
                bytes_acked: 4096,
                has_socket: true,
                dead: false,
                file_refs: Some(2),
                shutdown: Shutdown(1),
                special_reader: false,
                waiters: Some(waiters()),
                idle: Some(Duration::from_millis(4990)),
                holders: Some(HolderScan {
                    complete: true,
                    holders: vec![holder],
                }),
                listener: Some(SockId(1)),
                threads: vec![ThreadState {
                    pid: Pid(812),
                    tid: Tid(813),
                    state: 'T',
                    wait_channel: Some("do_signal_stop".into()),
                }],
                sending: None,
            }),
            owned(Provenance::Accept),
        ),
        (
            Input::Transition(Transition {
                at: at(6000),
                key: child(),
                from: TcpState::CloseWait,
                to: TcpState::LastAck,
                context: task(),
                error: Some(104),
                shutdown: Shutdown(3),
                peer_fin: true,
                dead: true,
                has_socket: true,
                file_released: true,
                file_refs: None,
                unread: Some(0),
                unacked: Some(1),
                usage: Some(Usage {
                    idle: Duration::from_secs(5),
                    segments_in: 3,
                    segments_out: 4,
                }),
                listener: Some(SockId(1)),
                waiter: None,
            }),
            Annotation {
                in_state: Some(Duration::from_millis(5990)),
                closer: Some(Closer::Process {
                    pid: Pid(812),
                    call: CloseCall::Exit,
                    signal: Some(11),
                }),
                process: Some(owner(Provenance::Accept)),
                ..Annotation::default()
            },
        ),
        (
            Input::Retransmit(Retransmit {
                at: at(6200),
                key: child(),
                state: TcpState::LastAck,
                syn: false,
                fin: true,
                reason: RetransmitReason::Timeout,
                attempt: 1,
                backoff: 1,
                rto: Some(Duration::from_millis(200)),
                dead: true,
                user_timeout: None,
                syn_retries: None,
            }),
            owned(Provenance::Accept),
        ),
        (
            Input::SynackRetransmit(SynackRetransmit {
                at: at(6300),
                key: SocketKey {
                    peer: address("[2001:db8::9]:40001"),
                    ..listening()
                },
                attempt: 1,
                acked: true,
                defer_accept: false,
                timeouts: None,
                retries: None,
            }),
            owned(Provenance::Listen),
        ),
        (
            Input::QueueDrop(QueueDrop {
                at: at(6400),
                key: SocketKey {
                    peer: address("[2001:db8::9]:40002"),
                    ..listening()
                },
                queue: Queue::Accept,
                outcome: DropOutcome::Dropped,
                depth: 129,
                limit: 128,
            }),
            owned(Provenance::Listen),
        ),
        (
            Input::Listener(ListenerSample {
                at: at(6500),
                key: listening(),
                accept: QueueLevel {
                    depth: 129,
                    limit: 128,
                },
                syn_depth: 3,
                drops: 12,
                waiters: Some(Waiters::default()),
            }),
            owned(Provenance::Listen),
        ),
        (
            Input::Reset(Reset {
                at: at(6600),
                key: child(),
                direction: ResetDirection::Received,
                state: Some(TcpState::LastAck),
                reason: Some("TCP_FLAGS".into()),
                context: task(),
            }),
            owned(Provenance::Accept),
        ),
        (
            Input::Reset(Reset {
                at: at(6601),
                key: SocketKey {
                    sock: SockId(0),
                    ..child()
                },
                direction: ResetDirection::Sent,
                state: None,
                reason: None,
                context: Context::Interrupt,
            }),
            plain(),
        ),
        (
            Input::Destroy(Destroy {
                at: at(6700),
                key: child(),
            }),
            owned(Provenance::Accept),
        ),
        (
            Input::Counters(Counters {
                at: at(7000),
                netns: listening().netns,
                listen_overflows: 11,
                listen_drops: 12,
                req_q_full_drop: 13,
                req_q_full_do_cookies: 14,
                syncookies_sent: 15,
                backlog_drop: 16,
                time_wait_overflow: 17,
                abort_on_memory: 18,
                tw_sockets: None,
                orphan_fin_wait2: None,
            }),
            plain(),
        ),
        (
            Input::Process(ProcessFact::Descriptors {
                at: at(7100),
                pid: Pid(812),
                open: 900,
                limit: 1024,
            }),
            plain(),
        ),
        (
            Input::Process(ProcessFact::Exit {
                at: at(7200),
                pid: Pid(812),
                name: "shop".into(),
                signal: None,
            }),
            plain(),
        ),
        (
            Input::Loss(Loss {
                cause: LossCause::Ring,
                kind: Some("transition".into()),
                count: 3,
                from: at(7000),
                to: at(7300),
            }),
            plain(),
        ),
        (
            Input::Tick(Tick {
                at: at(7400),
                // The wall clock was set forward by a second since the header.
                wall: WallNs(WALL.0 + 8_400_000_000),
            }),
            plain(),
        ),
    ]
}

/// Inputs that came after the first recordings: the fixture does not have them.
pub(super) fn later_inputs() -> Vec<(Input, Annotation)> {
    vec![
        (
            Input::Carried(Box::new(Carried {
                at: at(7500),
                key: child(),
                state: TcpState::CloseWait,
                since: at(10),
                since_is_lower_bound: false,
                first_seen: at(1),
                origin: Origin::Passive,
                listener: Some(SockId(1)),
                owner: Some(CarriedOwner {
                    pid: Pid(812),
                    name: server().name.clone(),
                    provenance: Provenance::Accept,
                    confidence: Confidence::Exact,
                }),
                holders: vec![Holder {
                    pid: Pid(812),
                    fd: Fd(9),
                    cloexec: Some(true),
                }],
                accepted: true,
                modelled: false,
                closer: Some((Pid(812), CloseCall::Shutdown)),
                retransmits: 2,
                unread: Some(1),
                queue: Some(QueueLevel {
                    depth: 0,
                    limit: 128,
                }),
                syn_depth: Some(3),
                last_accept: Some((at(3), Pid(812))),
            })),
            Annotation {
                process: Some(owner(Provenance::Accept)),
                ..Annotation::default()
            },
        ),
        (
            Input::Stack(Stack {
                at: at(7501),
                key: child(),
                call: SocketCall::Accept,
                pid: Pid(812),
                frames: frames(),
            }),
            Annotation {
                process: Some(owner(Provenance::Accept)),
                ..Annotation::default()
            },
        ),
    ]
}

/// Where in its program a connection was accepted.
fn frames() -> Arc<[Frame]> {
    Arc::from([
        Frame {
            function: Some("accept4".into()),
            module: Some("/usr/lib/x86_64-linux-gnu/libc.so.6".into()),
            ..Frame::default()
        },
        Frame {
            function: Some("shop::serve".into()),
            module: Some("/usr/bin/shop".into()),
            file: Some("/src/shop/serve.rs".into()),
            line: Some(42),
        },
    ])
}

fn with_cmdline(info: &ProcessInfo) -> Arc<ProcessInfo> {
    Arc::new(ProcessInfo {
        cmdline: Some("/usr/bin/shop --listen 8080".into()),
        ..info.clone()
    })
}

/// One of every line that is written today, as text.
pub(super) fn every_line() -> String {
    let mut out = BytesMut::new();
    let mut encoder = Encoder::new(0);
    let header = Header {
        segment: Some(2),
        ..header()
    };
    encoder.header(&header, &mut out);
    for (input, annotation) in inputs()
        .into_iter()
        .chain(later_inputs())
        .chain(newer_inputs())
    {
        encoder.input(&input, &annotation, &mut out);
    }
    for evidence in evidence() {
        let finding = Finding {
            evidence,
            process: Some(Owner {
                process: with_cmdline(&server()),
                ..owner(Provenance::Accept)
            }),
            stacks: vec![CallSite {
                call: SocketCall::Accept,
                pid: Pid(812),
                count: 1,
                frames: frames(),
            }],
            ..finding()
        };
        encoder.finding(&finding, START, &mut out);
    }
    let footer = Footer {
        at: at(8000),
        ended: Ended::Rotated,
        counts: std::collections::BTreeMap::from([("tick".to_owned(), 1)]),
        losses: std::collections::BTreeMap::from([("ring".to_owned(), 3)]),
    };
    encoder.footer(&footer, &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

/// A finding with every field known.
pub(super) fn finding() -> Finding {
    Finding {
        id: FindingId(1),
        status: Status::Open,
        kind: Kind::CloseWaitLeak,
        cause: Some(Cause::EofUnread),
        severity: Severity::Warning,
        confidence: Confidence::Exact,
        process: Some(owner(Provenance::Accept)),
        processes: vec![(owner(Provenance::Accept), 12)],
        service: Service::Local(Port(8080)),
        count: 12,
        since: at(10),
        at: at(5010),
        growth_per_minute: Some(2.0 / 3.0),
        samples: vec![child()],
        stacks: Vec::new(),
        evidence: evidence().remove(0),
        caused_by: Some(FindingId(2)),
    }
}

/// The proof of every kind, with every field known.
fn evidence() -> Vec<Evidence> {
    let inference = Some("inferred from the queue's length");
    vec![
        Evidence::CloseWait(CloseWaitEvidence {
            inference: Some("every peek found the same"),
            unread: Some(1),
            unread_at_fin: Some(1),
            epoll: waiters().epoll,
            polling: 0,
            blocked: 0,
            peeks: 3,
            holders: vec![Holder {
                pid: Pid(812),
                fd: Fd(9),
                cloexec: None,
            }],
            holders_complete: true,
            threads: vec![ThreadState {
                pid: Pid(812),
                tid: Tid(813),
                state: 'T',
                wait_channel: Some("do_signal_stop".into()),
            }],
            listener_watched: Some(true),
            last_accept: Some(at(3)),
            oldest_age: Duration::from_secs(5),
            age_is_lower_bound: false,
            last_acceptor: Some(Pid(812)),
            acceptor_lives: Some(true),
            descriptors: Some((900, 1024)),
            exhausted_in: Some(Duration::from_secs(1800)),
        }),
        Evidence::AcceptQueue(AcceptQueueEvidence {
            listener: listening(),
            seen_full: true,
            depth: 129,
            limit: 128,
            somaxconn: Some(4096),
            drops: 40,
            kernel_drops: 41,
            last_accept: Some(at(3)),
            last_acceptor: Some(Pid(812)),
            watched: Some(false),
            abort_on_overflow: Some(false),
            descriptors: Some((900, 1024)),
            synacks_to_answered_clients: 7,
            inference,
        }),
        Evidence::SynQueue(SynQueueEvidence {
            listener: listening(),
            seen_full: true,
            depth: 129,
            limit: 128,
            dropped: 40,
            cookies: 2,
            kernel_drops: 42,
            syncookies: Some(1),
            max_syn_backlog: Some(2048),
            unanswered_synacks: 99,
            sources: 33,
            inference,
        }),
        Evidence::FinRetransmit(FinRetransmitEvidence {
            state: Some(TcpState::LastAck),
            attempt: 3,
            backoff: 3,
            next_timeout: Some(Duration::from_millis(1600)),
            patience: patience(),
            orphan: true,
            outcomes: FinOutcomes {
                waiting: 1,
                acknowledged: 2,
                reset: 3,
                timed_out: 4,
            },
            data_retransmits: 5,
            lost: "our FIN",
        }),
        Evidence::SynRetransmit(SynRetransmitEvidence {
            state: Some(TcpState::SynSent),
            repeated: repeated(),
            lost: "our SYN",
        }),
        Evidence::SynackRetransmit(SynackRetransmitEvidence {
            listener: listening(),
            repeated: repeated(),
            repeated_syns: Some(1),
            depth: Some(129),
            queue_limit: Some(128),
            lost: "our SYN-ACK",
        }),
        Evidence::DeadPeer(DeadPeerEvidence {
            state: Some(TcpState::Established),
            repeated: repeated(),
            by_keepalive: 1,
            idle: 2,
            longest_idle: Some(Duration::from_secs(7200)),
            keepalive: Some(false),
            detection: Some(Detection {
                time: Duration::from_secs(7200),
                interval: Duration::from_secs(75),
                probes: 9,
                per_socket: false,
                total: Duration::from_secs(7875),
            }),
        }),
        Evidence::ClosingStuck(ClosingStuckEvidence {
            state: Some(TcpState::FinWait1),
            oldest_age: Duration::from_secs(61),
            age_is_lower_bound: true,
            window: Some(0),
            unsent: Some(2),
            unacked: Some(3),
            probes_out: Some(4),
            backoff: Some(5),
            data_retransmits: 6,
            orphan: true,
            patience: patience(),
        }),
        Evidence::BacklogTruncated(BacklogTruncatedEvidence {
            listener: listening(),
            depth: 100,
            limit: 128,
            somaxconn: 128,
            inference: "the limit equals net.core.somaxconn",
        }),
        Evidence::TimeWait(TimeWaitEvidence {
            closes_first: Side::Server,
            per_second: 25.5,
            namespace_sockets: Some(1600),
            max_tw_buckets: Some(262_144),
            overflows: 3,
            measured: 80,
            lifetime: Some(spread()),
            idle: Some(spread()),
            exchanges: Some(spread()),
            tw_reuse: Some(2),
            timestamps: Some(1),
            inference,
        }),
        Evidence::Ports(PortEvidence {
            source: Some([192, 0, 2, 1].into()),
            live: 10,
            time_wait: 20,
            time_wait_reusable: false,
            used: 30,
            available: Some(100),
            range: Some((32_768, 60_999)),
            reserved: Some(3),
            percent: Some(30),
            refused: 1,
            exhausted_in: Some(Duration::from_secs(600)),
            tw_reuse: Some(2),
            timestamps: Some(1),
            inference,
        }),
        Evidence::FinWait2(FinWait2Evidence {
            oldest_age: Duration::from_secs(300),
            silent: Some(Duration::from_secs(300)),
            counted: Some(1000),
            fin_timeout: Some(60),
            inference,
        }),
        Evidence::Resets(ResetEvidence {
            direction: Way::Sent,
            recent: 25,
            closes: 100,
            reasons: vec![("TCP_ABORT_ON_CLOSE".into(), 25)],
            unread: Some(14),
            signal: Some(11),
            killer: Some(99),
            abort_on_overflow: Some(1),
            max_orphans: Some(131_072),
            inference,
        }),
    ]
}

fn spread() -> Spread {
    Spread {
        p10: 1,
        median: 2,
        p90: 3,
    }
}

fn patience() -> Patience {
    Patience {
        limit: Some(("tcp_orphan_retries", 8)),
        linear: Some(4),
        user_timeout: Some(Duration::from_secs(30)),
        gives_up_after: Some(Duration::from_millis(102_200)),
    }
}

fn repeated() -> Repeated {
    Repeated {
        attempt: 3,
        next_timeout: Some(Duration::from_secs(8)),
        patience: patience(),
        outcomes: AttemptOutcomes {
            waiting: 1,
            answered: 2,
            reset: 3,
            timed_out: 4,
            abandoned: 5,
        },
        inference: Some("facts were lost meanwhile"),
    }
}

fn sending() -> Sending {
    Sending {
        window: 65_536,
        unsent: 1,
        retransmits: 2,
        backoff: 3,
        probes_out: 4,
        user_timeout: Some(Duration::from_secs(30)),
        keepalive: true,
        keepalive_time: Some(Duration::from_secs(600)),
        keepalive_interval: Some(Duration::from_secs(10)),
        keepalive_probes: Some(5),
    }
}

/// The facts of [`inputs`] with every field that came after the fixture was written.
fn newer_inputs() -> Vec<(Input, Annotation)> {
    let mut tags = Engine::new(Settings::default());
    let mut outcome = Outcome::default();
    let mut newer = inputs();
    for (input, _) in &mut newer {
        match input {
            Input::Netns(x) => {
                x.tcp_syn_linear_timeouts = Some(4);
                x.tcp_keepalive_time = Some(7200);
                x.tcp_keepalive_intvl = Some(75);
                x.tcp_keepalive_probes = Some(9);
            }
            Input::Inspection(x) => x.sending = Some(sending()),
            Input::Process(ProcessFact::Seen { info, .. }) => *info = with_cmdline(info),
            Input::Retransmit(x) => {
                x.user_timeout = Some(Duration::from_secs(30));
                x.syn_retries = Some(3);
            }
            Input::SynackRetransmit(x) => {
                x.timeouts = Some(0);
                x.retries = Some(2);
            }
            Input::Transition(x) => {
                // Both ends closed at once: the annotation says so.
                (x.from, x.to) = (TcpState::FinWait1, TcpState::Closing);
            }
            _ => {}
        }
    }
    newer
        .into_iter()
        .map(|(input, annotation)| {
            tags.apply(&input, &mut outcome);
            let tags = outcome.annotation.tags;
            (input, Annotation { tags, ..annotation })
        })
        .collect()
}

/// Every key of every line, at any depth.
fn keys(value: &serde_json::Value, into: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, member) in members {
                into.insert(key.clone());
                keys(member, into);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, into)),
        _ => {}
    }
}

#[test]
fn the_documentation_names_every_type_and_field() {
    let page = include_str!("../../../docs/recording.md");
    let fixture = include_str!("fixtures/v1.ndjson");
    let now = every_line();
    for line in page.lines().filter(|line| line.starts_with("{\"type\"")) {
        assert!(fixture.contains(line), "not a line of the fixture: {line}");
    }
    let mut found = BTreeSet::new();
    for line in fixture.lines().chain(now.lines()) {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let kind = line["type"].as_str().unwrap();
        let section = format!("## {kind}: ");
        assert!(page.contains(&section), "no section for {kind}");
        if kind == "footer" {
            // Their keys are names of types and of causes.
            line["counts"].take();
            line["losses"].take();
        }
        keys(&line, &mut found);
    }
    let told =
        |key: &String| page.contains(&format!("`{key}`")) || page.contains(&format!("{{\"{key}\""));
    found.retain(|key| !told(key));
    assert!(found.is_empty(), "not explained: {found:?}");
}
