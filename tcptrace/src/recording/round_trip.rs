//! The property that carries replay: whatever the Input, its line gives it back.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use tcptrace_core::Input;
use tcptrace_core::engine::Annotation;
use tcptrace_core::finding::{Confidence, Owner, Provenance};
use tcptrace_core::input::*;
use tcptrace_core::tcp::{Endpoint, Shutdown, TcpState};
use tcptrace_core::units::{Fd, MonoNs, NetnsId, Pid, Port, SockId, Tid, WallNs};
use tcptrace_core::world::{CloseCall, Closer, Origin};

use super::decode::{self, Line};
use super::encode::Encoder;
use super::kinds::LineKind;

fn at() -> impl Strategy<Value = MonoNs> {
    any::<u64>().prop_map(MonoNs)
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let mapped = any::<Ipv4Addr>().prop_map(|v4| IpAddr::V6(v4.to_ipv6_mapped()));
    let address = prop_oneof![any::<IpAddr>(), mapped];
    (of(address), of(any::<u16>())).prop_map(|(address, port)| Endpoint {
        address,
        port: port.map(Port),
    })
}

fn key() -> impl Strategy<Value = SocketKey> {
    // 0 is how an Input says unknown, and must come back as 0.
    let netns = prop_oneof![Just(0), any::<u32>()];
    (sock(), netns, endpoint(), endpoint()).prop_map(|(sock, netns, local, peer)| SocketKey {
        sock,
        netns: NetnsId(netns),
        local,
        peer,
    })
}

fn state() -> impl Strategy<Value = TcpState> {
    select(&TcpState::ALL[..])
}

/// Names as a hostile process would choose them, and plain ones.
fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        "[a-z]{0,15}",
        "(?s).{0,20}",
        "[\\x00-\\x1f\"\\\\\u{7f}\u{202e}]{0,9}"
    ]
    .prop_map(Arc::from)
}

fn span() -> impl Strategy<Value = Option<Duration>> {
    of(any::<u64>().prop_map(Duration::from_nanos))
}

fn pid() -> impl Strategy<Value = Pid> {
    any::<u32>().prop_map(Pid)
}

fn tid() -> impl Strategy<Value = Tid> {
    any::<u32>().prop_map(Tid)
}

fn fd() -> impl Strategy<Value = Fd> {
    any::<u32>().prop_map(Fd)
}

fn sock() -> impl Strategy<Value = SockId> {
    prop_oneof![Just(0), any::<u64>()].prop_map(SockId)
}

fn level() -> impl Strategy<Value = QueueLevel> {
    any::<(u32, u32)>().prop_map(|(depth, limit)| QueueLevel { depth, limit })
}

fn holder() -> impl Strategy<Value = Holder> {
    (pid(), fd(), any::<Option<bool>>()).prop_map(|(pid, fd, cloexec)| Holder { pid, fd, cloexec })
}

fn context() -> impl Strategy<Value = Context> {
    prop_oneof![
        Just(Context::Interrupt),
        (pid(), tid(), any::<bool>()).prop_map(|(pid, tid, exiting)| Context::Process {
            pid,
            tid,
            exiting
        }),
    ]
}

fn waiters() -> impl Strategy<Value = Waiters> {
    let watch = any::<(u32, bool, bool)>().prop_map(|(events, ready, waited_on)| EpollWatch {
        events,
        ready,
        waited_on,
    });
    (vec(watch, 0..4), any::<(u32, u32, u32)>()).prop_map(|(epoll, (polling, blocked, others))| {
        Waiters {
            epoll,
            polling,
            blocked,
            others,
        }
    })
}

fn thread() -> impl Strategy<Value = ThreadState> {
    (pid(), tid(), any::<char>(), of(text())).prop_map(|(pid, tid, state, wait_channel)| {
        ThreadState {
            pid,
            tid,
            state,
            wait_channel,
        }
    })
}

fn fin_waiter() -> impl Strategy<Value = FinWaiter> {
    prop_oneof![
        Just(FinWaiter::Nobody),
        Just(FinWaiter::Epoll),
        Just(FinWaiter::Other),
        pid().prop_map(FinWaiter::Blocked),
    ]
}

fn transition() -> impl Strategy<Value = Input> {
    let bits = any::<(Option<u16>, u8, bool, bool, bool, bool)>();
    let usage = any::<(u64, u32, u32)>().prop_map(|(idle, segments_in, segments_out)| Usage {
        idle: Duration::from_nanos(idle),
        segments_in,
        segments_out,
    });
    let amounts = any::<(Option<u32>, Option<u32>, Option<u32>)>();
    let more = (amounts, of(usage), of(sock()), of(fin_waiter()));
    (at(), key(), state(), state(), context(), bits, more).prop_map(
        |(at, key, from, to, context, bits, (amounts, usage, listener, waiter))| {
            let (file_refs, unread, unacked) = amounts;
            let (error, shutdown, peer_fin, dead, has_socket, file_released) = bits;
            Input::Transition(Transition {
                at,
                key,
                from,
                to,
                context,
                error,
                shutdown: Shutdown(shutdown),
                peer_fin,
                dead,
                has_socket,
                file_released,
                file_refs,
                unread,
                unacked,
                usage,
                listener,
                waiter,
            })
        },
    )
}

fn accept() -> impl Strategy<Value = Input> {
    (at(), key(), pid(), tid(), of(fd())).prop_map(|(at, key, pid, tid, fd)| {
        Input::Accept(Accept {
            at,
            key,
            pid,
            tid,
            fd,
        })
    })
}

fn retransmit() -> impl Strategy<Value = Input> {
    let reason = select(vec![
        RetransmitReason::Timeout,
        RetransmitReason::LossProbe,
        RetransmitReason::Recovery,
    ]);
    let rest = any::<(bool, bool, u8, u8, bool, Option<u8>)>();
    (at(), key(), state(), reason, (span(), span()), rest).prop_map(
        |(at, key, state, reason, spans, (syn, fin, attempt, backoff, dead, syn_retries))| {
            let (rto, user_timeout) = spans;
            Input::Retransmit(Retransmit {
                at,
                key,
                state,
                syn,
                fin,
                reason,
                attempt,
                backoff,
                rto,
                dead,
                user_timeout,
                syn_retries,
            })
        },
    )
}

fn synack_retransmit() -> impl Strategy<Value = Input> {
    (
        at(),
        key(),
        any::<(u8, bool, bool, Option<u8>, Option<u8>)>(),
    )
        .prop_map(
            |(at, key, (attempt, acked, defer_accept, timeouts, retries))| {
                Input::SynackRetransmit(SynackRetransmit {
                    at,
                    key,
                    attempt,
                    acked,
                    defer_accept,
                    timeouts,
                    retries,
                })
            },
        )
}

fn reset() -> impl Strategy<Value = Input> {
    let direction = select(vec![ResetDirection::Sent, ResetDirection::Received]);
    (at(), key(), direction, of(state()), of(text()), context()).prop_map(
        |(at, key, direction, state, reason, context)| {
            Input::Reset(Reset {
                at,
                key,
                direction,
                state,
                reason,
                context,
            })
        },
    )
}

fn queue_drop() -> impl Strategy<Value = Input> {
    let queue = select(vec![Queue::Syn, Queue::Accept]);
    let outcome = select(vec![DropOutcome::Dropped, DropOutcome::Cookie]);
    (at(), key(), queue, outcome, level()).prop_map(|(at, key, queue, outcome, level)| {
        Input::QueueDrop(QueueDrop {
            at,
            key,
            queue,
            outcome,
            depth: level.depth,
            limit: level.limit,
        })
    })
}

fn destroy() -> impl Strategy<Value = Input> {
    (at(), key()).prop_map(|(at, key)| Input::Destroy(Destroy { at, key }))
}

fn carried() -> impl Strategy<Value = Input> {
    let origin = select(vec![
        Origin::Unknown,
        Origin::Active,
        Origin::Passive,
        Origin::Listener,
    ]);
    let call = select(vec![CloseCall::Close, CloseCall::Shutdown, CloseCall::Exit]);
    let owner = (pid(), text()).prop_map(|(pid, name)| CarriedOwner {
        pid,
        name,
        provenance: Provenance::Accept,
        confidence: Confidence::Likely,
    });
    let times = (at(), at(), at());
    let links = (
        of(sock()),
        of(owner),
        vec(holder(), 0..3),
        of((pid(), call)),
    );
    let levels = (of(level()), of(any::<u32>()), of((at(), pid())));
    let rest = any::<(bool, bool, bool, u32, Option<u32>)>();
    ((times, key(), state(), origin), links, levels, rest).prop_map(
        |((times, key, state, origin), (listener, owner, holders, closer), levels, rest)| {
            let (at, since, first_seen) = times;
            let (queue, syn_depth, last_accept) = levels;
            let (since_is_lower_bound, accepted, modelled, retransmits, unread) = rest;
            Input::Carried(Box::new(Carried {
                at,
                key,
                state,
                since,
                since_is_lower_bound,
                first_seen,
                origin,
                listener,
                owner,
                holders,
                accepted,
                modelled,
                closer,
                retransmits,
                unread,
                queue,
                syn_depth,
                last_accept,
            }))
        },
    )
}

fn socket() -> impl Strategy<Value = Input> {
    let rest = any::<(bool, bool, Option<u32>, Option<u32>)>();
    let links = (of(holder()), of(sock()), of(level()));
    (at(), key(), state(), links, span(), rest).prop_map(
        |(at, key, state, (holder, listener, queue), idle, rest)| {
            let (has_socket, dead, unread, unacked) = rest;
            Input::Socket(SocketRow {
                at,
                key,
                state,
                holder,
                listener,
                has_socket,
                dead,
                unread,
                unacked,
                idle,
                queue,
            })
        },
    )
}

fn snapshot() -> impl Strategy<Value = Input> {
    let scope = prop_oneof![
        Just(SnapshotScope::Descriptors),
        any::<u32>().prop_map(|netns| SnapshotScope::Tables(NetnsId(netns))),
    ];
    let phase = prop_oneof![
        Just(SnapshotPhase::Begin),
        any::<bool>().prop_map(|complete| SnapshotPhase::End { complete }),
    ];
    (at(), scope, phase)
        .prop_map(|(at, scope, phase)| Input::Snapshot(SnapshotMark { at, scope, phase }))
}

fn inspection() -> impl Strategy<Value = Input> {
    let numbers = any::<(u32, u32, u64, Option<u32>, u8)>();
    let bits = any::<(bool, bool, bool)>();
    let scan = (any::<bool>(), vec(holder(), 0..4))
        .prop_map(|(complete, holders)| HolderScan { complete, holders });
    let seen = (
        of(waiters()),
        span(),
        of(scan),
        of(sock()),
        vec(thread(), 0..4),
        of(sending()),
    );
    (at(), key(), state(), numbers, bits, seen).prop_map(|(at, key, state, numbers, bits, seen)| {
        let (unread, unacked, bytes_acked, file_refs, shutdown) = numbers;
        let (has_socket, dead, special_reader) = bits;
        let (waiters, idle, holders, listener, threads, sending) = seen;
        Input::Inspection(Inspection {
            at,
            key,
            state,
            unread,
            unacked,
            bytes_acked,
            has_socket,
            dead,
            file_refs,
            shutdown: Shutdown(shutdown),
            special_reader,
            waiters,
            idle,
            holders,
            listener,
            threads,
            sending,
        })
    })
}

fn sending() -> impl Strategy<Value = Sending> {
    let numbers = any::<(u32, u32, u8, u8, u8, bool, Option<u8>)>();
    (numbers, span(), span(), span()).prop_map(|(numbers, user_timeout, time, interval)| {
        let (window, unsent, retransmits, backoff, probes_out, keepalive, probes) = numbers;
        Sending {
            window,
            unsent,
            retransmits,
            backoff,
            probes_out,
            user_timeout,
            keepalive,
            keepalive_time: time,
            keepalive_interval: interval,
            keepalive_probes: probes,
        }
    })
}

fn stack() -> impl Strategy<Value = Input> {
    let frame = (of(text()), of(text()), of(text()), any::<Option<u32>>()).prop_map(
        |(function, module, file, line)| Frame {
            function,
            module,
            file,
            line,
        },
    );
    let call = select(SocketCall::ALL.to_vec());
    (at(), key(), call, pid(), vec(frame, 0..4)).prop_map(|(at, key, call, pid, frames)| {
        Input::Stack(Stack {
            at,
            key,
            call,
            pid,
            frames: frames.into(),
        })
    })
}

fn listener() -> impl Strategy<Value = Input> {
    (at(), key(), level(), any::<(u32, u32)>(), of(waiters())).prop_map(
        |(at, key, accept, (syn_depth, drops), waiters)| {
            Input::Listener(ListenerSample {
                at,
                key,
                accept,
                syn_depth,
                drops,
                waiters,
            })
        },
    )
}

fn counters() -> impl Strategy<Value = Input> {
    (at(), any::<(u32, [u64; 8], Option<u64>, Option<u64>)>()).prop_map(
        |(at, (netns, n, tw_sockets, orphan_fin_wait2))| {
            Input::Counters(Counters {
                at,
                netns: NetnsId(netns),
                listen_overflows: n[0],
                listen_drops: n[1],
                req_q_full_drop: n[2],
                req_q_full_do_cookies: n[3],
                syncookies_sent: n[4],
                backlog_drop: n[5],
                time_wait_overflow: n[6],
                abort_on_memory: n[7],
                tw_sockets,
                orphan_fin_wait2,
            })
        },
    )
}

fn netns() -> impl Strategy<Value = Input> {
    (at(), any::<(u32, [Option<u32>; 22])>()).prop_map(|(at, (netns, n))| {
        Input::Netns(NetnsFacts {
            at,
            netns: NetnsId(netns),
            somaxconn: n[0],
            tcp_max_syn_backlog: n[1],
            tcp_syncookies: n[2],
            tcp_synack_retries: n[3],
            tcp_syn_retries: n[4],
            tcp_orphan_retries: n[5],
            tcp_retries2: n[6],
            tcp_fin_timeout: n[7],
            tcp_abort_on_overflow: n[8],
            tcp_max_tw_buckets: n[9],
            tcp_tw_reuse: n[10],
            tcp_timestamps: n[11],
            tcp_max_orphans: n[12],
            local_port_first: n[13],
            local_port_last: n[14],
            local_ports_reserved: n[15],
            tcp_syn_linear_timeouts: n[16],
            tcp_keepalive_time: n[17],
            tcp_keepalive_intvl: n[18],
            tcp_keepalive_probes: n[19],
            tcp_rto_max_ms: n[20],
            tcp_tw_reuse_delay: n[21],
        })
    })
}

fn process_info() -> impl Strategy<Value = ProcessInfo> {
    let texts = (text(), of(text()), of(text()), of(text()), of(text()));
    let numbers = (any::<Option<u64>>(), of(pid()), any::<Option<u32>>());
    (pid(), texts, numbers, of(pid())).prop_map(|(pid, texts, numbers, ns_pid)| {
        let (name, exe, cgroup, container, cmdline) = texts;
        let (start, parent, uid) = numbers;
        ProcessInfo {
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
        }
    })
}

fn process() -> impl Strategy<Value = Input> {
    prop_oneof![
        (at(), process_info()).prop_map(|(at, info)| ProcessFact::Seen {
            at,
            info: info.into()
        }),
        (at(), pid(), any::<(u64, u64)>()).prop_map(|(at, pid, (open, limit))| {
            ProcessFact::Descriptors {
                at,
                pid,
                open,
                limit,
            }
        }),
        (at(), pid(), text(), of(any::<u8>())).prop_map(|(at, pid, name, signal)| {
            ProcessFact::Exit {
                at,
                pid,
                name,
                signal,
            }
        }),
    ]
    .prop_map(Input::Process)
}

fn loss() -> impl Strategy<Value = Input> {
    let cause = select(&LossCause::ALL[..]);
    (cause, of(text()), any::<u64>(), at(), at()).prop_map(|(cause, kind, count, from, to)| {
        Input::Loss(Loss {
            cause,
            kind,
            count,
            from,
            to,
        })
    })
}

fn tick() -> impl Strategy<Value = Input> {
    (at(), any::<i64>()).prop_map(|(at, wall)| {
        Input::Tick(Tick {
            at,
            wall: WallNs(wall),
        })
    })
}

fn any_input() -> impl Strategy<Value = Input> {
    // Boxed: as one type they would not fit on the stack of a test.
    proptest::strategy::Union::new([
        transition().boxed(),
        accept().boxed(),
        retransmit().boxed(),
        synack_retransmit().boxed(),
        reset().boxed(),
        queue_drop().boxed(),
        destroy().boxed(),
        socket().boxed(),
        carried().boxed(),
        snapshot().boxed(),
        inspection().boxed(),
        stack().boxed(),
        listener().boxed(),
        counters().boxed(),
        netns().boxed(),
        process().boxed(),
        loss().boxed(),
        tick().boxed(),
    ])
}

fn annotation() -> impl Strategy<Value = Annotation> {
    let provenance = select(vec![
        Provenance::Connect,
        Provenance::Listen,
        Provenance::Accept,
        Provenance::Inherited,
        Provenance::Holder,
    ]);
    let confidence = select(vec![
        Confidence::Unknown,
        Confidence::Likely,
        Confidence::Exact,
    ]);
    let owner =
        (process_info(), provenance, confidence).prop_map(|(info, provenance, confidence)| Owner {
            process: info.into(),
            provenance,
            confidence,
        });
    let process = (
        pid(),
        select(vec![CloseCall::Close, CloseCall::Shutdown, CloseCall::Exit]),
        of(any::<u8>()),
    )
        .prop_map(|(pid, call, signal)| Closer::Process { pid, call, signal });
    let closer = prop_oneof![
        process,
        of(pid()).prop_map(|pid| Closer::Admin { pid }),
        Just(Closer::PeerFin),
        Just(Closer::PeerReset),
        Just(Closer::Timeout),
    ];
    (span(), of(closer), of(owner)).prop_map(|(in_state, closer, process)| Annotation {
        in_state,
        closer,
        process,
        ..Annotation::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_input_survives_its_line(input in any_input(), annotation in annotation()) {
        let mut out = BytesMut::new();
        Encoder::new(1_700_000_000_000_000_000).input(&input, &annotation, &mut out);
        let text = std::str::from_utf8(&out).unwrap();
        prop_assert!(text.ends_with("}\n") && !text[..text.len() - 1].contains('\n'), "{}", text);

        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        prop_assert_eq!(&json["type"], LineKind::of(&input).name());
        prop_assert_eq!(&json["mono_ns"], input.at().0);
        if let Some(owner) = annotation.process.filter(|_| input.key().is_some()) {
            prop_assert_eq!(&json["process"]["name"], &*owner.process.name);
        }

        let line = text.trim_ascii_end().as_bytes();
        let expected = Ok(Line::Input(input));
        for read in [decode::line(line), decode::thorough(line)] {
            prop_assert_eq!(&read.map_err(|refusal| format!("{refusal:?}")), &expected);
        }
    }

    /// The quick reader never reads what the thorough one would refuse or read otherwise.
    #[test]
    fn a_damaged_line_is_read_the_same_by_both_readers(
        input in prop_oneof![transition(), accept(), destroy()],
        annotation in annotation(),
        place: prop::sample::Index,
        byte: u8,
        cut: bool,
    ) {
        let mut out = BytesMut::new();
        Encoder::new(0).input(&input, &annotation, &mut out);
        let mut line = out.trim_ascii_end().to_vec();
        let place = place.index(line.len());
        if cut {
            line.remove(place);
        } else {
            line[place] = byte;
        }
        if decode::is_quick(&line) {
            prop_assert_eq!(decode::line(&line).ok(), decode::thorough(&line).ok());
        }
    }
}

#[test]
fn plain_lines_of_a_busy_host_take_the_quick_way() {
    let mut encoder = Encoder::new(0);
    for (input, mut annotation) in super::samples::inputs() {
        let hot = matches!(
            input,
            Input::Transition(_) | Input::Accept(_) | Input::Destroy(_)
        );
        if let Some(owner) = &mut annotation.process {
            owner.process = Arc::new(ProcessInfo {
                name: "nginx: worker".into(),
                ..(*owner.process).clone()
            });
        }
        let mut out = BytesMut::new();
        encoder.input(&input, &annotation, &mut out);
        assert_eq!(decode::is_quick(out.trim_ascii_end()), hot, "{input:?}");
    }
}
