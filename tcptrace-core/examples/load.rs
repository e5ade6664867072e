//! Prints what the engine costs: nanoseconds per transition of short connections, and memory with
//! a million tracked sockets. `cargo run --release -p tcptrace-core --example load`

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use tcptrace_core::engine::{Engine, Outcome};
use tcptrace_core::input::{
    Accept, Context, Destroy, Input, Inspection, SocketKey, Tick, Transition, Waiters,
};
use tcptrace_core::request::Request;
use tcptrace_core::settings::Settings;
use tcptrace_core::tcp::{Endpoint, Shutdown, TcpState};
use tcptrace_core::units::{MonoNs, NetnsId, Pid, Port, SockId, Tid, WallNs};

fn key(sock: u64) -> SocketKey {
    let end = |last, port| Endpoint {
        address: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))),
        port: Some(Port(port)),
    };
    SocketKey {
        sock: SockId(sock),
        netns: NetnsId(1),
        local: end(1, 80),
        peer: end(2, 1024 + (sock % 60_000) as u16),
    }
}

fn change(at: u64, sock: u64, from: TcpState, to: TcpState) -> Input {
    let context = match to {
        TcpState::LastAck | TcpState::Listen => Context::Process {
            pid: Pid(7),
            tid: Tid(7),
            exiting: false,
        },
        _ => Context::Interrupt,
    };
    Input::Transition(Transition {
        at: MonoNs(at),
        key: key(sock),
        from,
        to,
        context,
        error: None,
        shutdown: Shutdown(3),
        peer_fin: true,
        dead: false,
        has_socket: to == TcpState::CloseWait,
        file_released: to == TcpState::LastAck,
        file_refs: None,
        unread: Some(1),
        unacked: Some(0),
        usage: None,
        listener: None,
        waiter: None,
    })
}

fn tick(at: u64) -> Input {
    Input::Tick(Tick {
        at: MonoNs(at),
        wall: WallNs(0),
    })
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or_default()
        * 1024
}

fn main() {
    use TcpState::{Close, CloseWait, Established, LastAck, Listen, SynRecv};
    let mut engine = Engine::new(Settings::default());
    let mut outcome = Outcome::default();
    engine.apply(&change(0, 1, Close, Listen), &mut outcome);
    let (mut at, mut next, mut transitions) = (1_u64, 2_u64, 0_u64);
    let begin = Instant::now();
    for _ in 0..400_000 {
        let sock = next;
        next += 1;
        for (from, to) in [(Listen, SynRecv), (SynRecv, Established)] {
            engine.apply(&change(at, sock, from, to), &mut outcome);
            at += 3_000;
        }
        engine.apply(
            &Input::Accept(Accept {
                at: MonoNs(at),
                key: key(sock),
                pid: Pid(7),
                tid: Tid(7),
                fd: None,
            }),
            &mut outcome,
        );
        for (from, to) in [
            (Established, CloseWait),
            (CloseWait, LastAck),
            (LastAck, Close),
        ] {
            engine.apply(&change(at, sock, from, to), &mut outcome);
            at += 3_000;
        }
        let end = Destroy {
            at: MonoNs(at),
            key: key(sock),
        };
        engine.apply(&Input::Destroy(end), &mut outcome);
        transitions += 5;
        if sock.is_multiple_of(10_000) {
            engine.apply(&tick(at), &mut outcome);
        }
    }
    let spent = begin.elapsed();
    println!(
        "{} ns per transition of a short connection, its accept, destroy and ticks included",
        spent.as_nanos() / u128::from(transitions)
    );

    let before = resident();
    let first = next;
    for _ in 0..1_000_000 {
        for (from, to) in [(Listen, SynRecv), (SynRecv, Established)] {
            engine.apply(&change(at, next, from, to), &mut outcome);
        }
        next += 1;
    }
    let used = resident().saturating_sub(before);
    println!(
        "{} bytes per tracked socket, of a million",
        used / 1_000_000
    );

    // 100,000 of them leak: how long until they are judged?
    for sock in first..first + 100_000 {
        engine.apply(&change(at, sock, Established, CloseWait), &mut outcome);
    }
    let begin = Instant::now();
    let deadline = at + 61_000_000_000;
    let mut looks = 0;
    while at < deadline + 10_000_000_000 {
        at += 250_000_000;
        engine.apply(&tick(at), &mut outcome);
        let requests = std::mem::take(&mut outcome.requests);
        for request in requests {
            if let Request::Inspect { sock, .. } = request {
                looks += 1;
                engine.apply(&look(at, sock), &mut outcome);
            }
        }
    }
    let judged: u64 = engine.findings().map(|finding| finding.count).sum();
    println!(
        "{judged} of 100,000 leaks judged with {looks} looks, {} ms of CPU",
        begin.elapsed().as_millis()
    );
}

fn look(at: u64, sock: SockId) -> Input {
    Input::Inspection(Inspection {
        at: MonoNs(at + 1),
        key: key(sock.0),
        state: TcpState::CloseWait,
        unread: 1,
        unacked: 0,
        bytes_acked: 0,
        has_socket: true,
        dead: false,
        file_refs: Some(1),
        shutdown: Shutdown(1),
        special_reader: false,
        waiters: Some(Waiters::default()),
        idle: None,
        holders: None,
        listener: None,
        threads: Vec::new(),
        sending: None,
    })
}
