//! The world handed on from one segment of a recording to the next.

use std::net::SocketAddr;
use std::time::Duration;

use tcptrace_core::input::{
    Accept, Context, ProcessFact, ProcessInfo, SocketKey, Tick, Transition,
};
use tcptrace_core::settings::Settings;
use tcptrace_core::tcp::{Endpoint, Shutdown, TcpState};
use tcptrace_core::units::{Fd, MonoNs, NetnsId, Pid, SockId, Tid, WallNs};
use tcptrace_core::{Engine, Input, Outcome};

fn at(ms: u64) -> MonoNs {
    MonoNs(0).plus(Duration::from_millis(ms))
}

fn key(sock: u64, peer: &str) -> SocketKey {
    let end =
        |text: &str| Endpoint::known(text.parse::<SocketAddr>().expect("an address and a port"));
    SocketKey {
        sock: SockId(sock),
        netns: NetnsId(7),
        local: end("10.0.0.1:80"),
        peer: end(peer),
    }
}

fn moved(ms: u64, sock: u64, from: TcpState, to: TcpState) -> Input {
    Input::Transition(Transition {
        at: at(ms),
        key: key(sock, "10.0.0.2:4000"),
        from,
        to,
        context: Context::Interrupt,
        error: None,
        shutdown: Shutdown(0),
        peer_fin: matches!(from, TcpState::FinWait2),
        dead: false,
        has_socket: true,
        file_released: false,
        file_refs: None,
        unread: Some(1),
        unacked: Some(0),
        usage: None,
        listener: None,
        waiter: None,
    })
}

/// A leak, a connection in TIME_WAIT, and one that has ended.
fn history() -> Vec<Input> {
    use TcpState::*;
    let tick = |ms: u64| {
        Input::Tick(Tick {
            at: at(ms),
            wall: WallNs(0),
        })
    };
    vec![
        Input::Process(ProcessFact::Seen {
            at: at(1),
            info: ProcessInfo {
                pid: Pid(9),
                name: "shop".into(),
                ..ProcessInfo::default()
            }
            .into(),
        }),
        moved(10, 1, Listen, SynRecv),
        moved(10, 1, SynRecv, Established),
        Input::Accept(Accept {
            at: at(11),
            key: key(1, "10.0.0.2:4000"),
            pid: Pid(9),
            tid: Tid(9),
            fd: Some(Fd(4)),
        }),
        moved(20, 1, Established, CloseWait),
        moved(30, 2, Established, FinWait1),
        moved(31, 2, FinWait1, FinWait2),
        moved(32, 2, FinWait2, Close),
        moved(40, 3, Established, CloseWait),
        moved(41, 3, CloseWait, LastAck),
        moved(42, 3, LastAck, Close),
        Input::Destroy(tcptrace_core::input::Destroy {
            at: at(43),
            key: key(3, "10.0.0.2:4000"),
        }),
        tick(1000),
    ]
}

fn play(engine: &mut Engine, inputs: impl IntoIterator<Item = Input>) {
    let mut outcome = Outcome::default();
    for input in inputs {
        engine.apply(&input, &mut outcome);
    }
}

/// What is known of every live socket, less its timeline.
fn known(engine: &Engine) -> Vec<String> {
    let sockets = engine.world().sockets();
    sockets.map(|socket| format!("{socket:?}")).collect()
}

#[test]
fn a_new_engine_knows_by_a_checkpoint_what_the_old_one_knew() {
    let mut old = Engine::new(Settings::default());
    play(&mut old, history());
    assert_eq!(known(&old).len(), 2, "{:#?}", known(&old));
    let checkpoint: Vec<Input> = old.world().checkpoint(at(1000)).collect();

    let mut new = Engine::new(Settings::default());
    play(&mut new, checkpoint.clone());
    assert_eq!(known(&new), known(&old));
    let in_state = |engine: &Engine| engine.world().totals().in_state;
    assert_eq!(in_state(&new), in_state(&old));

    // One's own checkpoint is no news.
    let before = (known(&old), in_state(&old));
    play(&mut old, checkpoint);
    assert_eq!((known(&old), in_state(&old)), before);

    // The modelled TIME_WAIT ends at its time in both.
    for engine in [&mut old, &mut new] {
        let tick = Tick {
            at: at(61_000),
            wall: WallNs(0),
        };
        play(engine, [Input::Tick(tick)]);
        assert_eq!(
            engine.world().totals().in_state[TcpState::TimeWait as usize],
            0
        );
    }
}
