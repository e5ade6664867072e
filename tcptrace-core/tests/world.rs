//! The world model: owners, states that the kernel does not report, snapshots, ends.

#[expect(dead_code, reason = "scripts of findings use the rest")]
mod script;

use tcptrace_core::engine::{Engine, Outcome};
use tcptrace_core::finding::{Confidence, Provenance};
use tcptrace_core::settings::Settings;
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{Pid, SockId};
use tcptrace_core::world::{CloseCall, Moment, Origin, World};

fn world(text: &str, see: impl Fn(&World)) {
    let (engine, _) = script::play(&script::facts(text), None);
    see(engine.world());
}

fn owner(world: &World, sock: u64) -> Option<(u32, Provenance, Confidence)> {
    let owner = world.socket(SockId(sock))?.owner.as_ref()?;
    Some((owner.process.pid.0, owner.provenance, owner.confidence))
}

const LISTEN: &str = "0ms process 7 web; 0ms listen l port=80 pid=7;";

#[test]
fn a_connection_inherits_its_listeners_owner_until_it_is_accepted() {
    world(&format!("{LISTEN} 1ms child a port=80"), |w| {
        assert_eq!(
            owner(w, 2),
            Some((7, Provenance::Inherited, Confidence::Exact))
        );
        assert_eq!(w.socket(SockId(2)).unwrap().listener, Some(SockId(1)));
        assert_eq!(w.socket(SockId(2)).unwrap().origin, Origin::Passive);
    });
    world(
        &format!("{LISTEN} 1ms child a port=80; 2ms accept a pid=8"),
        |w| {
            assert_eq!(
                owner(w, 2),
                Some((8, Provenance::Accept, Confidence::Exact))
            );
            let last = w.socket(SockId(1)).unwrap().last_accept();
            assert_eq!(last, Some((script::time("2ms"), Pid(8))));
        },
    );
}

#[test]
fn listeners_that_share_a_port_are_told_apart_only_likely() {
    world(
        &format!("{LISTEN} 0ms listen m port=80 pid=8; 1ms child a port=80"),
        |w| {
            assert_eq!(
                owner(w, 3),
                Some((7, Provenance::Inherited, Confidence::Likely))
            );
            assert_eq!(w.socket(SockId(3)).unwrap().listener, None);
        },
    );
}

#[test]
fn the_closer_is_named_and_owns_what_nobody_was_seen_to_accept() {
    world(
        &format!("{LISTEN} 1ms child a port=80; 2ms close a pid=9"),
        |w| {
            let socket = w.socket(SockId(2)).unwrap();
            assert_eq!(socket.closer, Some((Pid(9), CloseCall::Close)));
            assert_eq!(
                owner(w, 2),
                Some((9, Provenance::Holder, Confidence::Exact))
            );
        },
    );
}

#[test]
fn time_wait_is_modelled_for_sixty_seconds() {
    let closing = format!(
        "{LISTEN} 1ms child a port=80; 2ms close a pid=7; 3ms finwait2 a; 4ms closed a peerfin;"
    );
    world(&format!("{closing} 50s tick"), |w| {
        let socket = w.socket(SockId(2)).unwrap();
        assert_eq!(socket.state, TcpState::TimeWait);
        assert_eq!(w.sockets().count(), 2);
        assert_eq!(w.totals().in_state[TcpState::TimeWait as usize], 1);
        // The port is 0 when the kernel reports CLOSE; what was known stays.
        assert_eq!(socket.key.local.port.map(|port| port.0), Some(80));
    });
    world(&format!("{closing} 61s tick"), |w| {
        assert_eq!(w.sockets().count(), 1);
        assert_eq!(w.totals().in_state[TcpState::TimeWait as usize], 0);
        assert!(!w.is_live(SockId(2)));
        assert!(!w.timeline(SockId(2)).is_empty());
    });
    let orphan = format!(
        "{LISTEN} 0ms sysctls; 1ms child a port=80; 2ms close a pid=7; 3ms finwait2 a; \
         4ms closed a dead; 10s tick"
    );
    world(&orphan, |w| {
        assert_eq!(w.socket(SockId(2)).unwrap().state, TcpState::FinWait2);
    });
}

#[test]
fn the_ended_leave_the_list_and_keep_their_story() {
    world(
        &format!("{LISTEN} 1ms child a port=80; 2ms fin a; 3ms close a pid=7; 4ms closed a"),
        |w| {
            assert_eq!(w.sockets().count(), 1);
            let story = w.timeline(SockId(2));
            assert!(matches!(story.last(), Some((_, Moment::Destroyed))));
            assert_eq!(story.len(), 6);
        },
    );
}

#[test]
fn a_complete_snapshot_removes_what_it_does_not_show() {
    let before = format!("{LISTEN} 1ms child a port=80; 1ms child b port=80;");
    let rows = "1s snapshot begin; 1s row l LISTEN port=80 pid=7; \
                1s row a ESTABLISHED port=80 pid=7;";
    world(&format!("{before} {rows} 2s snapshot complete"), |w| {
        let left: Vec<u64> = w.sockets().map(|s| s.key.sock.0).collect();
        assert_eq!(left, [1, 2]);
    });
    world(&format!("{before} {rows} 2s snapshot partial"), |w| {
        assert_eq!(w.sockets().count(), 3);
    });
    // What has happened since the snapshot began is newer than the snapshot.
    world(
        &format!("{before} {rows} 1.5s fin b; 2s snapshot complete"),
        |w| {
            assert_eq!(w.socket(SockId(3)).unwrap().state, TcpState::CloseWait);
        },
    );
}

#[test]
fn a_row_older_than_an_event_is_dropped() {
    world(
        &format!("{LISTEN} 1ms child a port=80; 2s fin a; 1s row a ESTABLISHED port=80 pid=7"),
        |w| assert_eq!(w.socket(SockId(2)).unwrap().state, TcpState::CloseWait),
    );
}

#[test]
fn rows_may_precede_their_listener() {
    world(
        "1s snapshot begin; 1s process 7 web; 1s row a ESTABLISHED port=80 queued; \
         1s row l LISTEN port=80 pid=7; 1s snapshot complete",
        |w| {
            assert_eq!(
                owner(w, 1),
                Some((7, Provenance::Inherited, Confidence::Exact))
            );
            assert_eq!(w.socket(SockId(1)).unwrap().origin, Origin::Passive);
        },
    );
}

#[test]
fn transitions_are_annotated_with_time_and_owner() {
    let inputs = script::facts(&format!("{LISTEN} 1s child a port=80; 3s fin a"));
    let mut engine = Engine::new(Settings::default());
    let mut outcome = Outcome::default();
    for input in &inputs {
        engine.apply(input, &mut outcome);
    }
    let annotation = &outcome.annotation;
    assert_eq!(annotation.in_state, Some(std::time::Duration::from_secs(2)));
    assert_eq!(annotation.process.as_ref().unwrap().process.pid, Pid(7));
}

#[test]
fn processes_stay_after_their_exit() {
    world(&format!("{LISTEN} 1s exit 7; 2s tick"), |w| {
        let process = w.process(Pid(7)).unwrap();
        assert_eq!(process.exited, Some(script::time("1s")));
        assert_eq!(&*process.info.name, "web");
    });
}

#[test]
fn edges_are_counted_as_the_protocol_draws_them() {
    let life =
        "1ms child a port=80; 2ms accept a pid=7; 3ms fin a; 4ms close a pid=7; 5ms closed a";
    world(&format!("{LISTEN} {life}"), |w| {
        let edges = &w.totals().edges;
        for (from, to) in [
            (TcpState::Listen, TcpState::SynRecv),
            (TcpState::SynRecv, TcpState::Established),
            (TcpState::Established, TcpState::CloseWait),
        ] {
            assert_eq!(edges.count(from, to), 1, "{from} to {to}");
        }
        let events: Vec<_> = w.events().map(|event| event.number).collect();
        assert!(events.len() >= 4 && events.is_sorted());
        assert_eq!(w.process(Pid(7)).unwrap().closes.total(), 1);
    });
}
