//! On the running kernel, as root: what the probes say about connections that the test makes.
//! Other tests run beside these and are traced too, so each looks at its own ports only.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tcptrace_core::decode::{RawAccept, RawQueueDrop, RawReset, RawTransition, SockAddress};
use tcptrace_core::input::{Context, DropOutcome, Queue, ResetDirection};
use tcptrace_core::tcp::{Endpoint, TcpState};
use tcptrace_core::units::Pid;

use super::*;
use crate::kernel::hooks::{Purpose, Tier, TierChoice};
use tcptrace_core::filter::Family;
use tcptrace_core::units::Port;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn open() -> Probes {
    open_with(KernelFilter::default(), 4 << 20)
}

fn open_with(filter: KernelFilter, ring_bytes: u32) -> Probes {
    Probes::open(&ProbeOptions {
        ring_bytes,
        filter,
        ..ProbeOptions::for_tests()
    })
    .expect("tests run as root on a kernel that can be traced")
}

/// Whether this kernel is known to allow every kind of probe.
fn all_is_allowed() -> bool {
    std::env::var_os("TCPTRACE_EXPECT_FUNCTIONS").is_some()
}

impl Probes {
    /// Makes what serves a purpose silent although it counts as attached, as a probe of an inlined
    /// function is.
    pub(in crate::kernel) fn mute(&mut self, purpose: Purpose) {
        for hook in hooks::all().iter().filter(|it| it.purpose == purpose) {
            let attached =
                |it: &ProbeStatus| it.name == hook.program && it.state == ProbeState::Attached;
            if self.status.iter().any(attached) {
                load::unhook(&mut self.ebpf, hook).expect("it is loaded");
            }
        }
    }
}

fn us() -> Pid {
    Pid(std::process::id())
}

/// How much longer everything may take where TCPTRACE_LAB_PATIENCE says so, as in an emulated machine.
fn patience() -> u32 {
    let factor = std::env::var("TCPTRACE_LAB_PATIENCE").ok();
    factor.and_then(|it| it.parse().ok()).unwrap_or(1)
}

/// Everything in the ring when nothing more comes. What is still to happen in softirq may be late on a
/// busy machine, and neighbours may never be quiet: so a second is enough.
fn drained(probes: &mut Probes) -> Vec<Raw> {
    let deadline = std::time::Instant::now() + Duration::from_secs(1) * patience();
    let mut all = Vec::new();
    loop {
        std::thread::sleep(Duration::from_millis(50) * patience());
        let before = all.len();
        while probes.drain(1000, &mut |it| {
            all.push(it.expect("every record is readable"))
        }) > 0
        {}
        if all.len() == before || std::time::Instant::now() > deadline {
            return all;
        }
    }
}

fn transitions(all: &[Raw], ours: impl Fn(&RawTransition) -> bool) -> Vec<RawTransition> {
    all.iter()
        .filter_map(|it| match it {
            Raw::Transition(it) => Some(*it),
            _ => None,
        })
        .filter(|it| ours(it))
        .collect()
}

fn has_port(it: &RawTransition, port: u16) -> bool {
    [it.key.local, it.key.peer]
        .iter()
        .any(|end| end.port == Some(Port(port)))
}

/// The transitions of one connection to `port`, client's and child's apart.
fn by_socket(all: &[Raw], port: u16) -> BTreeMap<SockAddress, Vec<RawTransition>> {
    let mut sockets: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for it in transitions(all, |it| has_port(it, port)) {
        sockets.entry(it.key.sock).or_default().push(it);
    }
    sockets
}

fn path(of: &[RawTransition]) -> Vec<TcpState> {
    of.iter().map(|it| it.to).collect()
}

#[test]
fn every_probe_that_this_kernel_allows_is_attached() {
    let probes = open();
    let only = ProbeOptions::for_tests().tier;
    // Hardened kernels refuse function probes; then the system calls serve.
    assert!(probes.serves(Purpose::Accepts));
    let exact = all_is_allowed() && only != Some(TierChoice::Tracepoint);
    for purpose in Purpose::ALL {
        let may_lack = matches!(purpose, Purpose::Listeners | Purpose::QueueDrops);
        let served = probes.serves(purpose);
        assert!(served || may_lack && !exact, "{:?}", probes.status());
    }
    // What is missing has a stand-in, or is a probe of a function.
    for it in probes.status() {
        let function = matches!(
            it.tier,
            Tier::Fentry | Tier::Fexit | Tier::Kprobe | Tier::Kretprobe
        );
        let descriptors = it.name == "descriptors";
        assert!(
            it.state == ProbeState::Attached || function || descriptors,
            "{it:?}"
        );
        assert!(it.tier.is_admitted(only), "{it:?}");
    }
    let known = probes.functions;
    assert!(
        known.epoll != 0 && known.poll != 0 && known.read != 0,
        "{known:?}"
    );
    assert!(known.accept != 0 && known.data_ready != 0, "{known:?}");
    assert!([100, 250, 300, 1000].contains(&probes.hz()));
}

#[test]
fn each_way_to_probe_functions_is_tried_alone() {
    for tier in [
        TierChoice::Tracepoint,
        TierChoice::Kprobe,
        TierChoice::Fentry,
    ] {
        let probes = Probes::open(&ProbeOptions {
            tier: Some(tier),
            ..ProbeOptions::default()
        })
        .expect("no choice of tier sinks the rest");
        assert!(
            probes
                .status()
                .iter()
                .all(|it| it.tier.is_admitted(Some(tier)))
        );
        if all_is_allowed() {
            assert!(probes.serves(Purpose::Accepts), "{tier:?}");
            let exact = tier != TierChoice::Tracepoint;
            assert_eq!(probes.serves(Purpose::QueueDrops), exact, "{tier:?}");
        }
    }
}

#[test]
fn a_child_names_its_listener() {
    let mut probes = open();
    let listeners = [(); 2].map(|()| TcpListener::bind((LOOPBACK, 0)).expect("a port is free"));
    let ports = [0, 1].map(|at: usize| listeners[at].local_addr().expect("bound").port());
    let sock = |probes: &mut Probes, port| {
        let rows = rows(probes);
        let row = rows
            .iter()
            .find(|it| it.state == TcpState::Listen && it.key.local.port == Some(Port(port)));
        row.expect("it listens").key.sock
    };
    let socks = ports.map(|port| sock(&mut probes, port));
    for listener in &listeners {
        converse(listener, listener.local_addr().expect("bound"));
    }
    let all = drained(&mut probes);
    for (port, sock) in ports.into_iter().zip(socks) {
        let born = transitions(&all, |it| {
            it.from == TcpState::SynRecv && it.key.local.port == Some(Port(port))
        });
        let expected = probes.serves(Purpose::Listeners).then_some(sock);
        let named: Vec<_> = born.iter().map(|it| it.listener).collect();
        assert_eq!(named, [expected]);
    }
}

#[test]
fn each_segment_that_meets_a_full_accept_queue_is_told() {
    for bind in [
        LOOPBACK,
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        let mut probes = open();
        let listener = Listener::on(bind, 0);
        let address = match bind {
            IpAddr::V6(it) if it.is_unspecified() => (LOOPBACK, listener.address.port()).into(),
            _ => listener.address,
        };
        let first = TcpStream::connect(address).expect("one fits");
        let timeout = Duration::from_millis(200);
        TcpStream::connect_timeout(&address, timeout).expect_err("the queue is full");
        let all = drained(&mut probes);
        let told: Vec<_> = all
            .iter()
            .filter_map(|it| match it {
                Raw::QueueDrop(it) => Some(it),
                _ => None,
            })
            .filter(|it| it.key.local == Endpoint::known(address))
            .collect();
        if !probes.serves(Purpose::QueueDrops) {
            assert_eq!(told, Vec::<&RawQueueDrop>::new());
            continue;
        }
        // On a busy machine its timer sends the SYN again before the client gives up.
        let repeated = all.iter().filter(
            |it| matches!(it, Raw::Retransmit(it) if it.syn && it.key.peer == Endpoint::known(address)),
        );
        assert_eq!(told.len(), 1 + repeated.count(), "each SYN: {told:?}");
        let it = told[0];
        assert_eq!(
            (it.queue, it.outcome),
            (Queue::Accept, DropOutcome::Dropped)
        );
        assert_eq!((it.depth, it.limit), (1, 0));
        assert_eq!(it.key.peer.address, Some(address.ip()));
        assert!(it.key.peer.port.is_some() && it.key.sock != SockAddress(0));
        drop(first);
    }
}

/// What the kernel's BTF lacks costs what depends on it, and nothing else.
#[test]
fn a_missing_field_costs_the_probes_that_read_it() {
    use tcptrace_common::layout::{FIELDS, Need};
    let whole = open();
    let by_syscall = whole
        .status()
        .iter()
        .any(|it| it.tier == Tier::Syscall && it.state == ProbeState::Attached);
    let descriptors: &[Purpose] = match by_syscall {
        true => &[Purpose::Looks, Purpose::Accepts],
        false => &[Purpose::Looks],
    };
    let register = match cfg!(target_arch = "x86_64") {
        true => "di",
        false => "regs",
    };
    let rows = [
        (
            "request_sock",
            "num_retrans",
            "SYN-ACK retransmits",
            &[Purpose::SynAcks][..],
        ),
        ("sock", "sk_wq", "peek", &[Purpose::Looks]),
        ("fdtable", "max_fds", "accept by system call", descriptors),
    ];
    // These cost no probe, so they may be missing together: each named, and nothing else lost.
    let beside = [
        // Functions are probed by other means.
        ("pt_regs", register, "kprobes"),
        ("sock_common", "skc_v6_daddr", "IPv6"),
        ("socket", "file", "file references"),
        ("file", "f_mapping", "zero-copy receive"),
        ("sock", "sk_drops", "listener drops"),
        ("inet_timewait_sock", "tw_substate", "TIME_WAIT substates"),
        (
            "netns_ipv4",
            "sysctl_tcp_syncookies",
            "queue drops with both queues full",
        ),
        ("epitem", "event", "epoll registrations"),
        ("tcp_sock", "snd_wnd", "what the sending side waits for"),
        ("tcp_sock", "lsndtime", "how a connection was used"),
        (
            "inet_connection_sock",
            "icsk_user_timeout",
            "per-socket timeouts",
        ),
        ("wait_queue_entry", "private", "who waited at a FIN"),
        ("request_sock", "num_timeout", "timeouts of SYN-ACKs"),
        ("task_struct", "exit_code", "signals that end processes"),
    ];
    let check = |layout: Resolved, features: &[&str], lost: &[Purpose]| {
        let missing = layout.missing.clone();
        let mut named: Vec<&str> = missing.iter().map(|it| it.0).collect();
        let mut expected = features.to_vec();
        named.sort_unstable();
        named.dedup();
        expected.sort_unstable();
        assert_eq!(named, expected, "{missing:?}");
        let options = ProbeOptions::for_tests();
        let probes = Probes::open_with(&options, layout).expect("it is optional");
        for purpose in Purpose::ALL {
            let expected = whole.serves(purpose) && !lost.contains(&purpose);
            assert_eq!(
                probes.serves(purpose),
                expected,
                "{features:?}, {purpose:?}: {:?}",
                probes.status()
            );
        }
        let told = probes.status().iter().any(|it| match &it.state {
            ProbeState::Missing(reason) => missing.iter().any(|(_, it)| reason.contains(it)),
            ProbeState::Attached => false,
        });
        // Where functions cannot be probed, nothing is lost that names it.
        let served = lost.iter().any(|purpose| whole.serves(*purpose));
        assert!(told || !served, "{features:?}: {:?}", probes.status());
        assert_eq!(probes.missing(), missing);
    };
    for (of, member, feature, lost) in rows {
        let layout = layout::resolve_without(&[(of, member)]).expect("it is optional");
        check(layout, &[feature], lost);
    }
    let members = beside.map(|(of, member, _)| (of, member));
    let layout = layout::resolve_without(&members).expect("all are optional");
    // Where functions are to be probed by breakpoint only, they cannot be without the registers.
    let functions = [Purpose::Accepts, Purpose::Listeners, Purpose::QueueDrops];
    let lost = match ProbeOptions::for_tests().tier {
        Some(TierChoice::Kprobe) => &functions[..],
        _ => &[],
    };
    check(layout, &beside.map(|it| it.2), lost);
    // What is no member of a structure.
    let mut facts = vec!["queue drops", "accept by function"];
    for feature in facts.clone() {
        let mut layout = layout::resolve().expect("this kernel can be traced");
        for (entry, field) in layout.entries.iter_mut().zip(FIELDS) {
            if matches!(field.need, Need::Optional(it) if it == feature) {
                *entry = tcptrace_common::layout::ABSENT;
            }
        }
        layout.missing = vec![(feature, format!("struct gone.{feature}"))];
        let lost: &[Purpose] = match feature {
            "queue drops" => &[Purpose::QueueDrops],
            // Accept is seen by another function, or by the system calls.
            _ => &[],
        };
        check(layout, &[feature], lost);
    }
    facts.extend(rows.map(|it| it.2));
    facts.extend(beside.map(|it| it.2));
    for field in FIELDS {
        if let Need::Optional(feature) = field.need {
            assert!(facts.contains(&feature), "{feature} is not tried");
        }
    }
}

/// One connection: the client writes, both read, the client closes first.
fn converse(listener: &TcpListener, address: SocketAddr) -> (SocketAddr, SocketAddr) {
    let mut client = TcpStream::connect(address).expect("the listener listens");
    let (mut server, _) = listener.accept().expect("the client connected");
    let ends = (
        client.local_addr().expect("connected"),
        server.local_addr().expect("connected"),
    );
    client.write_all(b"hello").expect("the peer is there");
    server.read_exact(&mut [0; 5]).expect("five bytes came");
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("the FIN came"), 0);
    drop(server);
    ends
}

fn a_connection_is_seen_whole(bind: IpAddr, connect: IpAddr) {
    let mut probes = open();
    // A server that is late, as on a busy machine, acknowledges the end before it sends its own: the
    // client is an orphan then, whose small object gets the FIN.
    let whole = (0..10).any(|_| is_seen_whole(&mut probes, bind, connect));
    assert!(
        whole,
        "the FIN never came with the acknowledgement, or the ends were never ours alone"
    );
}

/// Whether the client was told of the peer's FIN at its CLOSE, and nobody held or closed an end but us.
fn is_seen_whole(probes: &mut Probes, bind: IpAddr, connect: IpAddr) -> bool {
    use TcpState::{Close, CloseWait, Established, FinWait1, FinWait2, LastAck, SynRecv, SynSent};
    let listener = TcpListener::bind((bind, 0)).expect("a port is free");
    let port = listener.local_addr().expect("bound").port();
    let (client, _) = converse(&listener, (connect, port).into());
    let all = drained(probes);
    let sockets = by_socket(&all, port);
    let find = |first: TcpState| {
        sockets
            .values()
            .find(|it| it.iter().any(|it| it.to == first))
            .unwrap_or_else(|| panic!("no socket entered {first}: {sockets:?}"))
    };

    let active = find(SynSent);
    assert_eq!(
        path(active),
        [SynSent, Established, FinWait1, FinWait2, Close]
    );
    let end = |ip, port| Endpoint::known(SocketAddr::new(ip, port));
    let (first, close) = (&active[0], &active[4]);
    // The port of a connecting socket is chosen after SYN_SENT is reported.
    assert_eq!(first.key.local.port, None);
    assert_eq!(first.key.peer, end(connect, port));
    assert!(matches!(first.context, Context::Process { pid, exiting: false, .. } if pid == us()));
    assert_eq!((first.unread, first.unacked), (None, None));
    // skc_num is 0 at CLOSE already.
    assert_eq!(close.key.local, end(connect, client.port()));
    assert_eq!(close.key.peer, end(connect, port));
    assert!(close.dead && close.error.is_none());
    let told_of_fin = close.peer_fin;
    // A child that another test starts may hold a copy until it calls exec, and so close last.
    let closed_by_us = matches!(active[2].context, Context::Process { pid, .. } if pid == us());
    assert!(active[2].file_released && active[2].has_socket);
    assert_eq!(active[2].unacked, Some(0));

    let passive = find(CloseWait);
    assert_eq!(
        path(passive),
        [SynRecv, Established, CloseWait, LastAck, Close][5 - passive.len()..]
    );
    let established = passive.iter().find(|it| it.to == Established);
    let established = established.expect("it was established");
    assert!(!established.has_socket && established.context == Context::Interrupt);
    let eof = passive
        .iter()
        .find(|it| it.to == CloseWait)
        .expect("it was closed");
    assert!(eof.peer_fin && eof.has_socket && !eof.file_released);
    assert_eq!(eof.unread, Some(1));
    let held_by_us_alone = eof.file_refs == Some(1);
    let close = passive.last().expect("not empty");
    assert_eq!(close.key.local, end(connect, port));
    assert_eq!(close.key.peer, end(connect, client.port()));

    let accepted: Vec<RawAccept> = all
        .iter()
        .filter_map(|it| match it {
            Raw::Accept(it) if it.key.peer.port == Some(Port(client.port())) => Some(*it),
            _ => None,
        })
        // Clients of other tests may have the same port.
        .filter(|it| it.key.local.port == Some(Port(port)))
        .collect();
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    assert_eq!(accepted[0].key.sock, close.key.sock);
    assert_eq!(accepted[0].key.local, end(connect, port));
    assert_eq!(accepted[0].pid, us());

    for sock in [active[0].key.sock, close.key.sock] {
        let last = all.iter().rposition(|it| match it {
            Raw::Transition(it) => it.key.sock == sock && has_port(it, port),
            _ => false,
        });
        let gone = all[last.expect("seen")..]
            .iter()
            .any(|it| matches!(it, Raw::Destroy(it) if it.sock == sock));
        assert!(gone, "a socket ends after its last transition");
    }
    told_of_fin && closed_by_us && held_by_us_alone
}

#[test]
fn an_ipv4_connection_is_seen_whole() {
    a_connection_is_seen_whole(LOOPBACK, LOOPBACK);
}

#[test]
fn an_ipv6_connection_is_seen_whole() {
    let loopback = IpAddr::V6(Ipv6Addr::LOCALHOST);
    a_connection_is_seen_whole(loopback, loopback);
}

#[test]
fn an_ipv4_connection_to_an_ipv6_listener_is_ipv4() {
    a_connection_is_seen_whole(IpAddr::V6(Ipv6Addr::UNSPECIFIED), LOOPBACK);
}

#[test]
fn a_refused_connection_shows_both_resets() {
    let mut probes = open();
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port is free");
    let address = listener.local_addr().expect("bound");
    // For every copy: a child that another test starts holds one until it calls exec.
    // SAFETY: the descriptor is open, and ours.
    unsafe { libc::shutdown(std::os::fd::AsRawFd::as_raw_fd(&listener), libc::SHUT_RDWR) };
    drop(listener);
    TcpStream::connect(address).expect_err("nobody listens");
    let all = drained(&mut probes);
    let resets: Vec<&RawReset> = all
        .iter()
        .filter_map(|it| match it {
            Raw::Reset(it) => Some(it),
            _ => None,
        })
        .filter(|it| [it.key.local, it.key.peer].contains(&Endpoint::known(address)))
        .collect();
    let received = resets
        .iter()
        .find(|it| it.direction == ResetDirection::Received)
        .unwrap_or_else(|| panic!("no RST was received: {resets:?}"));
    assert_eq!(received.state, Some(TcpState::SynSent));
    let sent = resets
        .iter()
        .find(|it| it.direction == ResetDirection::Sent);
    // Before it gave reasons (6.10), the kernel told only of resets of a full socket.
    let told = probes.reset_reason(1).is_some();
    assert_eq!(sent.is_some(), told, "{resets:?}");
    if let Some(sent) = sent {
        assert_eq!(sent.key.local, Endpoint::known(address));
        assert_eq!((sent.key.sock, sent.state), (SockAddress(0), None));
        let reason = sent.reason.and_then(|it| probes.reset_reason(it));
        assert_eq!(reason, Some("NO_SOCKET"));
        assert_eq!(received.key.local, sent.key.peer);
        assert_eq!(received.key.netns, sent.key.netns);
    }
    let closed = transitions(&all, |it| has_port(it, address.port()));
    let last = closed.last().expect("it was reported");
    assert_eq!((last.to, last.error), (TcpState::Close, Some(111)));
}

/// A host may exempt some of its tasks from BPF; a timer that interrupts one of them goes unseen.
fn in_some_try(mut seen: impl FnMut() -> bool) -> bool {
    (0..3).any(|_| seen())
}

#[test]
fn a_full_listener_makes_the_client_repeat_its_syn() {
    let mut probes = open();
    let seen = in_some_try(|| a_syn_is_repeated(&mut probes));
    assert!(seen, "the SYN is repeated after a second");
}

/// Whether the first repetition was told.
fn a_syn_is_repeated(probes: &mut Probes) -> bool {
    let listener = Listener::with_backlog(0);
    let first = TcpStream::connect(listener.address).expect("one fits");
    // The timer is late when the machine is busy, and then it is repeated once more.
    let timeout = Duration::from_secs(4);
    TcpStream::connect_timeout(&listener.address, timeout).expect_err("the queue is full");
    let repeated = drained(probes).into_iter().find_map(|it| match it {
        Raw::Retransmit(it) if it.key.peer.port == Some(Port(listener.address.port())) => Some(it),
        _ => None,
    });
    drop(first);
    let Some(repeated) = repeated.filter(|it| it.attempt == 1) else {
        return false;
    };
    assert!(repeated.syn && !repeated.fin);
    assert_eq!(repeated.state, TcpState::SynSent);
    assert_eq!(repeated.rto, Some(Duration::from_secs(1)));
    true
}

#[test]
fn a_deferred_accept_makes_the_listener_repeat_its_synack() {
    let mut probes = open();
    let seen = in_some_try(|| a_synack_is_repeated(&mut probes));
    assert!(seen, "the SYN-ACK is repeated after a second");
}

/// Whether the first repetition was told.
fn a_synack_is_repeated(probes: &mut Probes) -> bool {
    let listener = Listener::with_backlog(8);
    listener.set(libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 1);
    let client = TcpStream::connect(listener.address).expect("the listener listens");
    std::thread::sleep(Duration::from_millis(1500));
    let repeated = drained(probes).into_iter().find_map(|it| match it {
        Raw::SynackRetransmit(it) if it.key.local.port == Some(Port(listener.address.port())) => {
            Some(it)
        }
        _ => None,
    });
    let Some(repeated) = repeated.filter(|it| it.attempt == 1) else {
        return false;
    };
    assert!(repeated.defer_accept && repeated.acked);
    let peer = client.local_addr().expect("connected");
    assert_eq!(repeated.key.peer, Endpoint::known(peer));
    true
}

#[test]
fn the_end_of_a_process_is_seen_with_its_name() {
    let mut probes = open();
    let mut child = std::process::Command::new("/bin/true")
        .spawn()
        .expect("true exists");
    let pid = Pid(child.id());
    child.wait().expect("it ends");
    let exit = drained(&mut probes).into_iter().find_map(|it| match it {
        Raw::Exit(it) if it.pid == pid => Some(it),
        _ => None,
    });
    let exit = exit.expect("the exit is reported");
    assert_eq!(exit.name(), "true");
    assert!(exit.started_boot_ns > 0);
}

#[test]
fn the_filter_works_in_the_kernel() {
    let wanted = TcpListener::bind((LOOPBACK, 0)).expect("a port is free");
    let other = TcpListener::bind((LOOPBACK, 0)).expect("a port is free");
    let wanted_at = wanted.local_addr().expect("bound");
    let filter = KernelFilter {
        family: Some(Family::V4),
        local_ports: vec![Port(1), Port(wanted_at.port())],
        ..KernelFilter::default()
    };
    let mut probes = open_with(filter, 1 << 20);
    converse(&other, other.local_addr().expect("bound"));
    converse(&wanted, wanted_at);
    let all = drained(&mut probes);
    let ports: BTreeSet<_> = transitions(&all, |_| true)
        .iter()
        .filter_map(|it| it.key.local.port)
        .collect();
    assert_eq!(ports, BTreeSet::from([Port(wanted_at.port())]));
    let rows = rows(&mut probes);
    assert!(
        rows.iter()
            .all(|it| it.key.local.port == Some(Port(wanted_at.port())))
    );
    assert!(!rows.is_empty());
}

#[test]
fn the_reader_is_woken_at_a_quarter_and_not_before() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port is free");
    let address = listener.local_addr().expect("bound");
    // The filter keeps the neighbours' records out of this ring, but for the ends of their
    // sockets, of which far fewer come than fill a quarter.
    let filter = KernelFilter {
        local_ports: vec![Port(address.port())],
        ..KernelFilter::default()
    };
    let mut probes = open_with(filter, 1 << 19);
    let woken = |probes: &mut Probes, within: Duration| {
        runtime.block_on(async { tokio::time::timeout(within, probes.ready()).await.is_ok() })
    };
    drained(&mut probes);
    woken(&mut probes, Duration::from_millis(10));
    converse(&listener, address);
    assert!(!woken(&mut probes, Duration::from_millis(100)));
    for _ in 0..300 {
        converse(&listener, address);
    }
    assert!(woken(&mut probes, Duration::from_secs(2)));
    assert_eq!(probes.drain(3, &mut |_| ()), 3);
    assert!(woken(&mut probes, Duration::ZERO), "more is there");
}

#[test]
fn without_privilege_it_says_so() {
    // Thread by thread, unlike the C library's function.
    let refused = std::thread::spawn(|| {
        // SAFETY: the call concerns this thread only, which ends after it.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(changed, 0);
        Probes::open(&ProbeOptions::default()).err()
    });
    let error = refused.join().expect("it does not panic");
    assert!(
        matches!(error, Some(KernelError::NotPrivileged { .. })),
        "{error:?}"
    );
}

#[test]
fn what_does_not_fit_is_counted() {
    let mut probes = open_with(KernelFilter::default(), 1);
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port is free");
    let address = listener.local_addr().expect("bound");
    for _ in 0..300 {
        converse(&listener, address);
    }
    let lost = probes.losses().ring;
    assert!(
        lost.iter().any(|it| it.0 == Kind::Transition && it.1 > 500),
        "{lost:?}"
    );
}

#[test]
fn the_understudy_runs_second_and_seldom_speaks() {
    let mut probes = open();
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port is free");
    let address = listener.local_addr().expect("bound");
    for _ in 0..500 {
        converse(&listener, address);
    }
    let all = drained(&mut probes);
    let seen = transitions(&all, |it| has_port(it, address.port()));
    let flagged = seen.iter().filter(|it| it.understudy).count();
    // Were it run first, every transition would be flagged.
    assert!(flagged * 20 < seen.len(), "{flagged} of {}", seen.len());
    let plain = seen.len() - flagged;
    assert!(plain >= 500 * 9 - flagged, "{plain} and {flagged}");
}

#[test]
fn what_the_first_program_misses_the_understudy_reports() {
    use aya::programs::BtfTracePoint;
    let mut probes = open();
    // As if the kernel skipped it each time.
    let state: &mut BtfTracePoint = probes
        .ebpf
        .program_mut("state")
        .expect("it is in the object")
        .try_into()
        .expect("it is of that kind");
    state.unload().expect("it was loaded");
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port is free");
    let address = listener.local_addr().expect("bound");
    converse(&listener, address);
    let all = drained(&mut probes);
    let seen = transitions(&all, |it| has_port(it, address.port()));
    assert!(
        seen.len() >= 9 && seen.iter().all(|it| it.understudy),
        "{seen:?}"
    );
}

fn rows(probes: &mut Probes) -> Vec<RawRow> {
    let mut rows = Vec::new();
    let end = probes
        .descriptors(&mut |row| rows.push(row))
        .expect("descriptors can be iterated");
    assert!(end.complete);
    assert_eq!(end.rows, rows.len() as u64);
    rows
}

#[test]
fn every_descriptor_has_a_row_and_every_queued_connection_one() {
    let start = std::time::Instant::now();
    let listener = Listener::with_backlog(300);
    let port = Port(listener.address.port());
    let mut queued: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(listener.address).expect("there is room"))
        .collect();
    queued[0].write_all(b"hello").expect("the peer is there");
    let copy = queued[0].try_clone().expect("a descriptor is free");
    let mut probes = open();
    let rows = rows(&mut probes);

    let client = queued[0].local_addr().expect("connected");
    let fds: BTreeSet<_> = rows
        .iter()
        .filter(|it| it.key.local == Endpoint::known(client) && it.key.peer.port == Some(port))
        .map(|it| it.holder.clone().map(|it| (it.pid, it.fd.0)))
        // A child that another test starts holds copies until it calls exec.
        .filter(|it| it.is_none_or(|(pid, _)| pid == us()))
        .collect();
    use std::os::fd::AsRawFd as _;
    let expected = [&queued[0], &copy].map(|it| Some((us(), it.as_raw_fd().unsigned_abs())));
    assert_eq!(fds, BTreeSet::from(expected));

    let listening: Vec<_> = rows
        .iter()
        .filter(|it| it.state == TcpState::Listen && it.key.local.port == Some(port))
        .filter(|it| it.holder.as_ref().is_none_or(|it| it.pid == us()))
        .collect();
    assert_eq!(listening.len(), 1);
    assert_eq!(listening[0].key.peer, Endpoint::default());
    let level = listening[0].queue.expect("a listener has a queue");
    assert_eq!((level.depth, level.limit), (200, 300));

    let waiting: Vec<_> = rows
        .iter()
        .filter(|it| it.listener == Some(listening[0].key.sock))
        .collect();
    assert_eq!(waiting.len(), 200);
    assert!(
        waiting
            .iter()
            .all(|it| !it.has_socket && it.state == TcpState::Established)
    );
    let unread = waiting
        .iter()
        .find(|it| it.key.peer == Endpoint::known(client))
        .expect("each client's other end is there");
    assert_eq!(unread.unread, Some(5));
    // A tick is up to 10 ms, and the idle time a difference of two.
    let most = start.elapsed() + Duration::from_millis(20);
    assert!(unread.idle.is_some_and(|it| it <= most), "{unread:?}");

    let mut tables = Vec::new();
    let netns = std::fs::File::open("/proc/self/ns/net").expect("/proc is mounted");
    probes
        .tables(netns.as_fd(), &mut |row| tables.push(row))
        .expect("the tables can be iterated");
    let addresses: BTreeSet<_> = tables.iter().map(|it| it.key.sock).collect();
    assert!(waiting.iter().all(|it| addresses.contains(&it.key.sock)));
    assert!(addresses.contains(&listening[0].key.sock));
}

/// What the peek says about the accepted end of a connection, once it is in CLOSE_WAIT and nobody
/// holds it but us: a child that another test starts holds copies of both ends until it calls exec.
fn peeked(probes: &mut Probes, port: u16) -> RawPeek {
    for _ in 0..200 {
        let row = rows(probes)
            .into_iter()
            .find(|it| it.state == TcpState::CloseWait && it.key.local.port == Some(Port(port)));
        let mut seen = Vec::new();
        if let Some(row) = row {
            probes
                .peek(&[row.key.sock.0], &mut |it| seen.push(it))
                .expect("peeking works");
            assert_eq!(seen.len(), 1);
            assert_eq!(seen[0].key, row.key);
            assert_eq!(seen[0].state, TcpState::CloseWait);
        }
        match seen.pop() {
            Some(it) if it.file_refs.is_none_or(|it| it == 1) => return it,
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    panic!("the peer never closed, or the socket was never ours alone");
}

#[test]
fn the_peek_tells_the_four_mistakes_apart() {
    let mut probes = open();

    let never = Listener::with_backlog(8);
    drop(TcpStream::connect(never.address).expect("there is room"));
    let it = peeked(&mut probes, never.address.port());
    assert!(!it.has_socket && !it.dead);
    assert_eq!((it.unread, it.file_refs), (1, None));

    let accepted = || {
        let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port is free");
        let address = listener.local_addr().expect("bound");
        drop(TcpStream::connect(address).expect("the listener listens"));
        let (server, _) = listener.accept().expect("the client connected");
        (server, address.port())
    };

    let (unwatched, port) = accepted();
    let it = peeked(&mut probes, port);
    assert!(it.has_socket && !it.special_reader);
    assert_eq!((it.unread, it.file_refs), (1, Some(1)));
    assert!(it.waiters.expect("not torn").is_empty());
    assert!(
        it.idle
            .is_some_and(|it| it < Duration::from_secs(5) * patience())
    );
    drop(unwatched);

    let (watched, port) = accepted();
    let interest = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
    let _epoll = learn::Epoll::watch(std::os::fd::AsRawFd::as_raw_fd(&watched), interest)
        .expect("epoll works");
    let it = peeked(&mut probes, port);
    assert_eq!(it.unread, 1);
    let waiters = it.waiters.expect("not torn");
    assert_eq!(waiters.epoll.len(), 1);
    assert_eq!(waiters.epoll[0].events & interest, interest);
    assert!(waiters.epoll[0].ready && !waiters.epoll[0].waited_on);

    let (mut read, port) = accepted();
    assert_eq!(read.read(&mut [0]).expect("the FIN came"), 0);
    let it = peeked(&mut probes, port);
    assert_eq!((it.unread, it.file_refs), (0, Some(1)));
}

#[test]
fn stale_addresses_give_no_answer() {
    let mut probes = open();
    let mut answers = 0;
    let addresses = [0, 8, 0xdead_beef, u64::MAX, 0xffff_8000_0000_0000];
    probes
        .peek(&addresses, &mut |_| answers += 1)
        .expect("peeking works");
    assert_eq!(answers, 0);
}

/// A listener with a backlog of our choice.
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    fn with_backlog(backlog: i32) -> Self {
        Self::on(LOOPBACK, backlog)
    }

    fn on(address: IpAddr, backlog: i32) -> Self {
        let socket = TcpListener::bind((address, 0)).expect("a port is free");
        // SAFETY: the descriptor is a socket. A second listen changes the backlog.
        let changed = unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&socket), backlog) };
        assert_eq!(changed, 0);
        let address = socket.local_addr().expect("bound");
        Self { socket, address }
    }

    fn set(&self, level: i32, option: i32, value: i32) {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.socket);
        let size = size_of::<i32>() as libc::socklen_t;
        // SAFETY: the value outlives the call and has the size given.
        let set = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), size) };
        assert_eq!(set, 0);
    }
}
