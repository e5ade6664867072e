//! Work to be counted: decodes records, or applies facts, as often as asked. `cargo xtask cost` runs
//! it under callgrind and holds the instructions per piece against a budget, which a noisy machine
//! cannot disturb. `cost_engine decode|apply COUNT`

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use tcptrace_common::record::{Kind, flag};
use tcptrace_core::decode::{self, Hz};
use tcptrace_core::engine::{Engine, Outcome};
use tcptrace_core::input::{Context, Destroy, Input, SocketKey, Tick, Transition};
use tcptrace_core::settings::Settings;
use tcptrace_core::tcp::{Endpoint, Shutdown, TcpState};
use tcptrace_core::units::{MonoNs, NetnsId, Pid, Port, SockId, Tid, WallNs};

fn main() {
    let words: Vec<_> = std::env::args().collect();
    let count = words.get(2).and_then(|word| word.parse().ok());
    match (words.get(1).map(String::as_str), count) {
        (Some("decode"), Some(count)) => decode(count),
        (Some("apply"), Some(count)) => apply(count),
        _ => eprintln!("usage: cost_engine decode|apply COUNT"),
    }
}

/// A state change of an IPv4 socket as the program in the kernel writes it: head, body, addresses.
fn record(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((3_600_000_000_000 + number).to_le_bytes());
    bytes.extend((0xffff_8880_0000_0000 + number * 4096).to_le_bytes());
    // One reference to the file.
    bytes.extend([Kind::Transition as u8, 1]);
    bytes.extend((flag::OWNED | flag::HAS_SOCKET | flag::HAS_FILE | flag::SEQUENCES).to_le_bytes());
    bytes.extend(4_026_531_840_u32.to_le_bytes());
    bytes.extend(40_000_u16.to_le_bytes());
    bytes.extend(443_u16.to_le_bytes());
    bytes.extend(1234_u32.to_le_bytes());
    bytes.extend(1234_u32.to_le_bytes());
    bytes.extend([0; 8]);
    // From ESTABLISHED (1) to FIN_WAIT1 (4).
    bytes.extend([0x14, 0, 0, 0]);
    bytes.extend([127, 0, 0, 1, 127, 0, 0, 1]);
    bytes
}

fn decode(count: u64) {
    let records: Vec<_> = (0..64).map(record).collect();
    let hz = Hz(250);
    for number in 0..count {
        let record = &records[(number % 64) as usize];
        let decoded = decode::event(black_box(record), hz);
        assert!(black_box(decoded).is_ok(), "the record is a transition");
    }
}

/// Both ends of short connections; `count` is of transitions, ten for each connection.
fn apply(count: u64) {
    use TcpState::{
        Close, CloseWait, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent,
    };
    const STEPS: [(u64, TcpState, TcpState); 10] = [
        (0, Close, SynSent),
        (0, SynSent, Established),
        (1, Listen, SynRecv),
        (1, SynRecv, Established),
        (0, Established, FinWait1),
        (1, Established, CloseWait),
        (1, CloseWait, LastAck),
        (0, FinWait1, FinWait2),
        (0, FinWait2, Close),
        (1, LastAck, Close),
    ];
    let mut engine = Engine::new(Settings::default());
    let mut outcome = Outcome::default();
    engine.apply(&transition(1, 1, Close, Listen), &mut outcome);
    let mut at = 1;
    for number in 0..count / STEPS.len() as u64 {
        let first = 2 + number * 2;
        for (end, from, to) in STEPS {
            at += 3_000;
            engine.apply(&transition(at, first + end, from, to), &mut outcome);
        }
        for sock in [first, first + 1] {
            let (at, key) = (MonoNs(at), key(sock));
            engine.apply(&Input::Destroy(Destroy { at, key }), &mut outcome);
        }
        if number.is_multiple_of(1_000) {
            let (at, wall) = (MonoNs(at), WallNs(0));
            engine.apply(&Input::Tick(Tick { at, wall }), &mut outcome);
        }
    }
    black_box(engine.world().totals());
}

fn key(sock: u64) -> SocketKey {
    let end = |port| Endpoint {
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: Some(Port(port)),
    };
    let (server, client) = (end(80), end(1024 + (sock / 2 % 60_000) as u16));
    let (local, peer) = if sock % 2 == 1 {
        (server, client)
    } else {
        (client, server)
    };
    SocketKey {
        sock: SockId(sock),
        netns: NetnsId(1),
        local,
        peer,
    }
}

fn transition(at: u64, sock: u64, from: TcpState, to: TcpState) -> Input {
    let by_task = matches!(
        to,
        TcpState::SynSent | TcpState::Listen | TcpState::FinWait1 | TcpState::LastAck
    );
    let context = if by_task {
        Context::Process {
            pid: Pid(7),
            tid: Tid(7),
            exiting: false,
        }
    } else {
        Context::Interrupt
    };
    Input::Transition(Transition {
        at: MonoNs(at),
        key: key(sock),
        from,
        to,
        context,
        error: None,
        shutdown: Shutdown(3),
        peer_fin: matches!(to, TcpState::CloseWait | TcpState::Close),
        dead: false,
        has_socket: by_task,
        file_released: by_task,
        file_refs: by_task.then_some(0),
        unread: Some(0),
        unacked: Some(0),
        usage: None,
        listener: None,
        waiter: None,
    })
}
