//! Work to be counted: writes transitions as lines, as often as asked. `cargo xtask cost` runs it
//! under callgrind and holds the instructions per line against a budget. The recording is compiled
//! into this program, because the agent is no library. `cost_recording serialize COUNT`

#[path = "../src/recording/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "of the recording only the encoder is at work here"
)]
mod recording;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tcptrace_core::Input;
use tcptrace_core::engine::Annotation;
use tcptrace_core::finding::{Confidence, Owner, Provenance};
use tcptrace_core::input::{Context, ProcessInfo, SocketKey, Transition};
use tcptrace_core::tcp::{Endpoint, Shutdown, TcpState};
use tcptrace_core::units::{MonoNs, NetnsId, Pid, Port, SockId, Tid};

fn main() {
    let words: Vec<_> = std::env::args().collect();
    let count = words.get(2).and_then(|word| word.parse().ok());
    match (words.get(1).map(String::as_str), count) {
        (Some("serialize"), Some(count)) => serialize(count),
        _ => eprintln!("usage: cost_recording serialize COUNT"),
    }
}

fn serialize(count: u64) {
    let owners: Vec<_> = [Provenance::Connect, Provenance::Accept]
        .into_iter()
        .map(|provenance| Owner {
            process: Arc::new(ProcessInfo {
                pid: Pid(12_345),
                name: "nginx".into(),
                ..ProcessInfo::default()
            }),
            provenance,
            confidence: Confidence::Exact,
        })
        .collect();
    let mut encoder = recording::Encoder::new(1_767_319_445_678_901_234);
    let mut out = BytesMut::with_capacity(1 << 20);
    for number in 0..count {
        let input = transition(number);
        let annotation = Annotation {
            in_state: Some(Duration::from_nanos(50_000 + number)),
            process: Some(owners[(number % 2) as usize].clone()),
            ..Annotation::default()
        };
        encoder.input(black_box(&input), &annotation, &mut out);
        if out.len() > 1 << 19 {
            out.clear();
        }
    }
    black_box(&out);
}

fn transition(number: u64) -> Input {
    let end = |port| Endpoint {
        address: Some(IpAddr::V4(Ipv4Addr::new(192, 168, 17, 3))),
        port: Some(Port(port)),
    };
    let by_task = number.is_multiple_of(2);
    let context = if by_task {
        Context::Process {
            pid: Pid(12_345),
            tid: Tid(12_346),
            exiting: false,
        }
    } else {
        Context::Interrupt
    };
    Input::Transition(Transition {
        at: MonoNs(13_317_982_512_684 + number * 3_000),
        key: SocketKey {
            sock: SockId(350_000 + number),
            netns: NetnsId(4_026_531_840),
            local: end(443),
            peer: end(1024 + (number % 60_000) as u16),
        },
        from: TcpState::Established,
        to: TcpState::CloseWait,
        context,
        error: None,
        shutdown: Shutdown(1),
        peer_fin: true,
        dead: false,
        has_socket: true,
        file_released: false,
        file_refs: Some(1),
        unread: Some(1),
        unacked: Some(0),
        usage: None,
        listener: None,
        waiter: None,
    })
}
