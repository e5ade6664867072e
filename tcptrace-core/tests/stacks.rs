//! Where in their programs the sockets of a finding were opened: asked for with the finding, told
//! with it as soon as it is known, whatever the ticks.

#[expect(dead_code, reason = "generated scripts are for the properties")]
mod script;

use std::time::Duration;

use script::{facts, play, tick, time};
use tcptrace_core::Input;
use tcptrace_core::finding::Status;
use tcptrace_core::input::{Frame, SocketCall, Stack};
use tcptrace_core::request::Request;

/// Two connections, read to the end and kept.
const LEAK: &str = "0ms process 7 web; 0ms listen l port=80 pid=7; 10ms child a port=80; \
     10ms child b port=80; 20ms accept a pid=7; 20ms accept b pid=7; 1s fin a; 1s fin b; \
     61s peek a unread=0 idle=60s; 61s peek b unread=0 idle=60s; 63s tick";

fn frame(function: &str) -> Frame {
    Frame {
        function: Some(function.into()),
        ..Frame::default()
    }
}

/// The leak, and at 64 s where each connection was accepted: in these functions.
fn told(functions: [&str; 2]) -> Vec<Input> {
    let mut inputs = facts(LEAK);
    let accepted: Vec<_> = inputs
        .iter()
        .filter_map(|input| match input {
            Input::Accept(x) => Some((x.key, x.pid)),
            _ => None,
        })
        .collect();
    for ((key, pid), function) in accepted.into_iter().zip(functions) {
        inputs.push(Input::Stack(Stack {
            at: time("64s"),
            key,
            call: SocketCall::Accept,
            pid,
            frames: [frame("accept4"), frame(function)].into(),
        }));
    }
    inputs.push(tick(time("65s")));
    inputs
}

#[test]
fn a_finding_asks_for_its_stacks_and_is_told_again_with_them() {
    for every in [None, Some(Duration::from_millis(250))] {
        let (engine, played) = play(&told(["serve", "serve"]), every);
        let asked = |request: &Request| matches!(request, Request::Stack(_));
        assert!(played.requests.iter().any(|(_, request)| asked(request)));
        let last = played.news.last().expect("there is a leak");
        assert_eq!(
            (last.status, last.at, last.stacks.len()),
            (Status::Updated, time("64s"), 1),
            "{last:?}"
        );
        assert_eq!(last.stacks[0].count, 2);
        let row = last.rows(last.at).pop().expect("a stack is a row");
        assert_eq!(row.0, "accepted in");
        assert_eq!(row.1, "accept4 < serve; 2 of 2 samples");
        let before = &played.news[played.news.len() - 2];
        assert!(before.stacks.is_empty(), "{before:?}");
        assert!(engine.findings().all(|finding| finding.stacks.len() == 1));
    }
}

#[test]
fn different_places_are_told_apart() {
    let (_, played) = play(&told(["serve", "retry"]), None);
    let last = played.news.last().expect("there is a leak");
    let functions: Vec<String> = last
        .stacks
        .iter()
        .map(|stack| stack.frames[1].to_string())
        .collect();
    assert_eq!(functions, ["serve", "retry"]);
}
