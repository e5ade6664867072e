//! Lives as scripts: each line is a record at an address, each expectation the socket it is about.

use std::fmt::Write;

use tcptrace_core::input::{Context, QueueLevel};
use tcptrace_core::tcp::Shutdown;
use tcptrace_core::units::NetnsId;

use super::*;

/// Runs a script and compares what came out of it. A line of the script is
///
/// ```text
/// TIME ADDRESS FROM>TO|event|synack|destroy|row STATE|understudy FROM>TO [LOCAL PEER]
/// TIME ADDRESS peek STATE [LOCAL PEER], asked for the socket that lived there first
/// snapshot begins | snapshot ends
/// ```
///
/// where `-` is an unknown endpoint and `:0` an unknown port. A line of the outcome is the number of
/// the socket and its tuple; `end N` where the end of another life was noticed; `-` for nothing.
#[track_caller]
fn check(script: &str, expected: &str) -> Identities {
    let mut identities = Identities::default();
    let mut outcome = String::new();
    for line in script.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let said = match line {
            "snapshot begins" => {
                identities.snapshot_begins();
                continue;
            }
            "snapshot ends" => {
                identities.snapshot_ends();
                continue;
            }
            _ => run(&mut identities, line),
        };
        writeln!(outcome, "{said}").unwrap();
    }
    let expected: Vec<_> = expected.lines().map(str::trim).collect();
    let outcome: Vec<_> = outcome.lines().collect();
    assert_eq!(
        outcome,
        expected
            .into_iter()
            .filter(|it| !it.is_empty())
            .collect::<Vec<_>>()
    );
    identities
}

fn run(identities: &mut Identities, line: &str) -> String {
    let mut words = line.split_whitespace();
    let at = MonoNs(words.next().unwrap().parse().unwrap());
    let address = words.next().unwrap();
    let sock = SockAddress(0xffff_8880_0000_0000 | u64::from(address.as_bytes()[0]));
    let what = words.next().unwrap();
    let qualifier = matches!(what, "row" | "understudy" | "peek").then(|| words.next().unwrap());
    let mut endpoint = || words.next().map_or(Endpoint::default(), endpoint);
    let key = RawKey {
        sock,
        netns: NetnsId(1),
        local: endpoint(),
        peer: endpoint(),
    };
    match what {
        "event" => told(identities.event(&key, at, None)),
        "synack" => told(identities.on_listener(&key, at)),
        "destroy" => identities
            .destroy(sock, at)
            .map_or("-".to_owned(), |key| format!("{} destroyed", show(&key))),
        "row" => {
            let state = TcpState::from_name(qualifier.unwrap()).unwrap();
            identities
                .row(&row(key, at, state))
                .map_or("-".to_owned(), |step| {
                    let told = told(Step::Fact {
                        key: step.key,
                        ended: step.ended,
                    });
                    match step.overtaken {
                        Some((state, at)) => format!("{told} {state} since {}", at.0),
                        None => told,
                    }
                })
        }
        "peek" => {
            let state = TcpState::from_name(qualifier.unwrap()).unwrap();
            let mut births = identities.births.iter();
            let first = births.find(|(_, at)| *at == sock).unwrap().0;
            let told = identities.peeked(first, &peek(key, at, state));
            told.map_or("-".to_owned(), |key| show(&key))
        }
        _ => {
            let (from, to) = qualifier.unwrap_or(what).split_once('>').unwrap();
            told(identities.transition(&RawTransition {
                at,
                key,
                from: TcpState::from_name(from).unwrap(),
                to: TcpState::from_name(to).unwrap(),
                context: Context::Interrupt,
                error: None,
                shutdown: Shutdown(0),
                peer_fin: false,
                dead: false,
                has_socket: true,
                file_released: false,
                file_refs: None,
                unread: None,
                unacked: None,
                usage: None,
                listener: None,
                waiter: None,
                understudy: what == "understudy",
            }))
        }
    }
}

fn endpoint(text: &str) -> Endpoint {
    if text == "-" {
        return Endpoint::default();
    }
    let (address, port) = text.rsplit_once(':').unwrap();
    let address = address.trim_matches(['[', ']']);
    Endpoint {
        address: (!address.is_empty()).then(|| address.parse().unwrap()),
        port: Some(port.parse().unwrap())
            .filter(|it| *it != 0)
            .map(tcptrace_core::units::Port),
    }
}

fn row(key: RawKey, at: MonoNs, state: TcpState) -> RawRow {
    RawRow {
        at,
        key,
        state,
        holder: None,
        listener: None,
        has_socket: true,
        dead: false,
        error: None,
        shutdown: Shutdown(0),
        unread: None,
        unacked: None,
        idle: None,
        queue: None,
        syn_depth: None,
        drops: None,
        cut: false,
        orphan_fin_wait2: false,
    }
}

fn peek(key: RawKey, at: MonoNs, state: TcpState) -> RawPeek {
    RawPeek {
        at,
        key,
        state,
        unread: 0,
        unacked: 0,
        bytes_acked: 0,
        has_socket: true,
        dead: false,
        file_refs: None,
        shutdown: Shutdown(0),
        error: None,
        special_reader: false,
        waiters: None,
        idle: None,
        queue: QueueLevel::default(),
        syn_depth: 0,
        drops: 0,
        sending: None,
    }
}

fn told(step: Step) -> String {
    match step {
        Step::Duplicate => "-".to_owned(),
        Step::Fact { key, ended: None } => show(&key),
        Step::Fact {
            key,
            ended: Some(ended),
        } => format!("end {}, {}", ended.sock, show(&key)),
    }
}

fn show(key: &SocketKey) -> String {
    format!("{} {} {}", key.sock, key.local, key.peer)
}

#[test]
fn an_address_is_reused_within_milliseconds() {
    check(
        "1 a CLOSE>SYN_SENT 0.0.0.0:0 9.9.9.9:80
         2 a SYN_SENT>ESTABLISHED 1.1.1.1:5000 9.9.9.9:80
         3 a ESTABLISHED>CLOSE 1.1.1.1:5000 9.9.9.9:80
         4 a destroy
         5 a LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:7000
         6 a destroy
         7 a CLOSE>LISTEN 0.0.0.0:80 -",
        "1 0.0.0.0:* 9.9.9.9:80
         1 1.1.1.1:5000 9.9.9.9:80
         1 1.1.1.1:5000 9.9.9.9:80
         1 1.1.1.1:5000 9.9.9.9:80 destroyed
         2 1.1.1.1:80 2.2.2.2:7000
         2 1.1.1.1:80 2.2.2.2:7000 destroyed
         3 0.0.0.0:80 *:*",
    );
}

#[test]
fn a_life_whose_end_was_lost_ends_when_the_next_begins() {
    check(
        "1 a CLOSE>SYN_SENT 0.0.0.0:0 9.9.9.9:80
         2 a SYN_SENT>ESTABLISHED 1.1.1.1:5000 9.9.9.9:80
         3 a LISTEN>SYN_RECV 0.0.0.0:80 -
         4 b ESTABLISHED>FIN_WAIT1 1.1.1.1:80 2.2.2.2:7000
         5 b event 1.1.1.1:80 3.3.3.3:8000
         6 b ESTABLISHED>FIN_WAIT1 1.1.1.1:80 4.4.4.4:8000
         7 c CLOSE>LISTEN 0.0.0.0:90 -
         8 c ESTABLISHED>FIN_WAIT1 0.0.0.0:90 5.5.5.5:9000",
        "1 0.0.0.0:* 9.9.9.9:80
         1 1.1.1.1:5000 9.9.9.9:80
         end 1, 2 0.0.0.0:80 *:*
         3 1.1.1.1:80 2.2.2.2:7000
         end 3, 4 1.1.1.1:80 3.3.3.3:8000
         end 4, 5 1.1.1.1:80 4.4.4.4:8000
         6 0.0.0.0:90 *:*
         end 6, 7 0.0.0.0:90 5.5.5.5:9000",
    );
}

#[test]
fn a_socket_that_connects_again_begins_another_life() {
    check(
        "1 a CLOSE>SYN_SENT 0.0.0.0:0 9.9.9.9:80
         2 a SYN_SENT>CLOSE 1.1.1.1:5000 9.9.9.9:80
         3 a CLOSE>SYN_SENT 1.1.1.1:0 9.9.9.9:80
         4 a SYN_SENT>ESTABLISHED 1.1.1.1:5001 9.9.9.9:80",
        "1 0.0.0.0:* 9.9.9.9:80
         1 1.1.1.1:5000 9.9.9.9:80
         end 1, 2 1.1.1.1:* 9.9.9.9:80
         2 1.1.1.1:5001 9.9.9.9:80",
    );
}

#[test]
fn a_child_learns_its_tuple_after_its_birth() {
    // Up to Linux 6.14 the child is born with its listener's end, which a transparent proxy's
    // connection does not keep.
    check(
        "1 a LISTEN>SYN_RECV 0.0.0.0:80 -
         2 a SYN_RECV>ESTABLISHED 1.1.1.1:81 2.2.2.2:7000
         3 a ESTABLISHED>CLOSE_WAIT 1.1.1.1:0 2.2.2.2:7000
         4 a CLOSE_WAIT>CLOSE 0.0.0.0:0 -
         5 a destroy",
        "1 0.0.0.0:80 *:*
         1 1.1.1.1:81 2.2.2.2:7000
         1 1.1.1.1:81 2.2.2.2:7000
         1 1.1.1.1:81 2.2.2.2:7000
         1 1.1.1.1:81 2.2.2.2:7000 destroyed",
    );
}

#[test]
fn both_families_are_kept() {
    check(
        "1 a CLOSE>SYN_SENT [::]:0 [fd00::9]:80
         2 a SYN_SENT>ESTABLISHED [fd00::1]:5000 [fd00::9]:80
         3 b CLOSE>SYN_SENT [::]:0 9.9.9.9:80
         4 b SYN_SENT>ESTABLISHED 1.1.1.1:5000 9.9.9.9:80",
        "1 [::]:* [fd00::9]:80
         1 [fd00::1]:5000 [fd00::9]:80
         2 [::]:* 9.9.9.9:80
         2 1.1.1.1:5000 9.9.9.9:80",
    );
}

#[test]
fn what_program_and_understudy_both_report_counts_once() {
    check(
        "1 a LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:7000
         2 a understudy LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:7000
         3 a understudy SYN_RECV>ESTABLISHED 1.1.1.1:80 2.2.2.2:7000
         4 a SYN_RECV>ESTABLISHED 1.1.1.1:80 2.2.2.2:7000
         5 a understudy ESTABLISHED>CLOSE_WAIT 1.1.1.1:80 2.2.2.2:7000
         6 a CLOSE_WAIT>LAST_ACK 1.1.1.1:80 2.2.2.2:7000",
        "1 1.1.1.1:80 2.2.2.2:7000
         -
         1 1.1.1.1:80 2.2.2.2:7000
         -
         1 1.1.1.1:80 2.2.2.2:7000
         1 1.1.1.1:80 2.2.2.2:7000",
    );
}

#[test]
fn a_change_that_went_missing_shows_in_the_next_one() {
    let lives = check(
        "1 a LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:7000
         2 a SYN_RECV>ESTABLISHED 1.1.1.1:80 2.2.2.2:7000
         4 a CLOSE_WAIT>LAST_ACK 1.1.1.1:80 2.2.2.2:7000
         5 a LAST_ACK>CLOSE 1.1.1.1:80 2.2.2.2:7000
         6 a destroy
         6 b FIN_WAIT1>FIN_WAIT2 1.1.1.1:80 2.2.2.2:7001",
        "1 1.1.1.1:80 2.2.2.2:7000
         1 1.1.1.1:80 2.2.2.2:7000
         1 1.1.1.1:80 2.2.2.2:7000
         1 1.1.1.1:80 2.2.2.2:7000
         1 1.1.1.1:80 2.2.2.2:7000 destroyed
         2 1.1.1.1:80 2.2.2.2:7001",
    );
    // Of the second life nothing was known, so nothing shows that something is missing.
    assert_eq!(lives.gaps(), 1);
}

#[test]
fn a_snapshot_row_yields_to_what_happened_since() {
    check(
        "1 a LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:1
         1 b LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:2
         1 c LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:3
         snapshot begins
         6 a ESTABLISHED>CLOSE_WAIT 1.1.1.1:80 2.2.2.2:1
         6 b destroy
         6 c destroy
         7 c LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:4
         6 d destroy
         6 e LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:5
         5 a row ESTABLISHED 1.1.1.1:80 2.2.2.2:1
         8 a row ESTABLISHED 1.1.1.1:80 2.2.2.2:1
         5 b row ESTABLISHED 1.1.1.1:80 2.2.2.2:2
         5 c row ESTABLISHED 1.1.1.1:80 2.2.2.2:3
         5 d row ESTABLISHED 1.1.1.1:80 2.2.2.2:9
         5 e row ESTABLISHED 1.1.1.1:80 2.2.2.2:8
         5 f row ESTABLISHED 1.1.1.1:80 2.2.2.2:6
         8 b row ESTABLISHED 1.1.1.1:80 2.2.2.2:7
         snapshot ends
         9 f CLOSE_WAIT>LAST_ACK 1.1.1.1:0 2.2.2.2:6",
        "1 1.1.1.1:80 2.2.2.2:1
         2 1.1.1.1:80 2.2.2.2:2
         3 1.1.1.1:80 2.2.2.2:3
         1 1.1.1.1:80 2.2.2.2:1
         2 1.1.1.1:80 2.2.2.2:2 destroyed
         3 1.1.1.1:80 2.2.2.2:3 destroyed
         4 1.1.1.1:80 2.2.2.2:4
         -
         5 1.1.1.1:80 2.2.2.2:5
         1 1.1.1.1:80 2.2.2.2:1 CLOSE_WAIT since 6
         1 1.1.1.1:80 2.2.2.2:1 CLOSE_WAIT since 6
         -
         -
         -
         -
         6 1.1.1.1:80 2.2.2.2:6
         7 1.1.1.1:80 2.2.2.2:7
         6 1.1.1.1:80 2.2.2.2:6",
    );
}

#[test]
fn a_snapshot_corrects_what_was_lost() {
    check(
        "1 a LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:1
         snapshot begins
         5 a row ESTABLISHED 1.1.1.1:80 2.2.2.2:2
         snapshot ends",
        "1 1.1.1.1:80 2.2.2.2:1
         end 1, 2 1.1.1.1:80 2.2.2.2:2",
    );
}

#[test]
fn unused_and_small_sockets_have_no_number() {
    let identities = check(
        "snapshot begins
         1 a row CLOSE 0.0.0.0:0 -
         1 b row TIME_WAIT 1.1.1.1:80 2.2.2.2:1
         1 c row NEW_SYN_RECV 1.1.1.1:80 2.2.2.2:2
         2 d destroy
         snapshot ends
         3 e destroy",
        "-
         -
         -
         -
         -",
    );
    assert!(identities.lives.is_empty());
}

#[test]
fn a_listener_is_not_its_clients() {
    let identities = check(
        "1 a CLOSE>LISTEN 0.0.0.0:80 -
         2 a synack 1.1.1.1:80 2.2.2.2:1
         3 a synack 1.1.1.1:80 2.2.2.2:2
         4 b synack 1.1.1.1:81 2.2.2.2:1
         5 a LISTEN>CLOSE 0.0.0.0:80 -
         6 c LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:3
         7 c synack 1.1.1.1:80 2.2.2.2:3",
        "1 0.0.0.0:80 *:*
         1 1.1.1.1:80 2.2.2.2:1
         1 1.1.1.1:80 2.2.2.2:2
         2 1.1.1.1:81 2.2.2.2:1
         1 0.0.0.0:80 *:*
         3 1.1.1.1:80 2.2.2.2:3
         3 1.1.1.1:80 2.2.2.2:3",
    );
    let listening: Vec<_> = identities.listeners_after(SockId(0)).collect();
    assert_eq!(
        listening.len(),
        1,
        "the first has stopped, the last repeats its own SYN-ACK"
    );
    assert_eq!(listening[0].0, SockId(2));
}

#[test]
fn a_peek_counts_while_nothing_has_overtaken_it() {
    check(
        "1 a LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:1
         5 a SYN_RECV>ESTABLISHED 1.1.1.1:80 2.2.2.2:1
         6 a peek ESTABLISHED 1.1.1.1:80 2.2.2.2:1
         4 a peek ESTABLISHED 1.1.1.1:80 2.2.2.2:1
         6 a peek SYN_RECV 1.1.1.1:80 2.2.2.2:1
         99000000 a peek CLOSE_WAIT 1.1.1.1:80 2.2.2.2:1
         99000001 a peek CLOSE_WAIT 1.1.1.1:80 2.2.2.2:9
         99000002 a destroy
         99000003 a LISTEN>SYN_RECV 1.1.1.1:80 2.2.2.2:1
         99000004 a peek SYN_RECV 1.1.1.1:80 2.2.2.2:1",
        // Not yet stored; an event was lost; another socket lies there; the first one has ended.
        "1 1.1.1.1:80 2.2.2.2:1
         1 1.1.1.1:80 2.2.2.2:1
         1 1.1.1.1:80 2.2.2.2:1
         -
         -
         1 1.1.1.1:80 2.2.2.2:1
         -
         1 1.1.1.1:80 2.2.2.2:1 destroyed
         2 1.1.1.1:80 2.2.2.2:1
         -",
    );
}

#[test]
fn no_socket_is_number_0() {
    let key = RawKey {
        sock: SockAddress(0),
        netns: NetnsId(1),
        local: endpoint("1.1.1.1:80"),
        peer: endpoint("2.2.2.2:1"),
    };
    let mut identities = Identities::default();
    assert_eq!(
        told(identities.event(&key, MonoNs(1), None)),
        "0 1.1.1.1:80 2.2.2.2:1"
    );
    assert!(identities.lives.is_empty());
}

#[test]
fn numbers_lead_back_to_living_sockets_only() {
    let mut identities = Identities::default();
    for number in 0..10_000_u64 {
        let line = format!("{number} a LISTEN>SYN_RECV 1.1.1.1:80 -");
        run(&mut identities, &line);
        run(&mut identities, &format!("{number} a destroy"));
    }
    run(&mut identities, "10000 b LISTEN>SYN_RECV 1.1.1.1:80 -");
    let last = identities.last;
    let address = identities.address(last).unwrap();
    assert_eq!(identities.living(address), Some(last));
    assert_eq!(identities.address(SockId(1)), None);
    assert_eq!(identities.address(SockId(last.0 - 1)), None);
    assert!(identities.births.len() < 3000, "ended lives are swept out");
}

#[test]
fn a_full_table_forgets_the_silent_and_says_so() {
    let mut identities = Identities {
        capacity: 128,
        ..Identities::default()
    };
    for number in 0..200_u64 {
        let key = RawKey {
            sock: SockAddress(0x1000 + number),
            netns: NetnsId(1),
            local: Endpoint::default(),
            peer: Endpoint::default(),
        };
        identities.event(&key, MonoNs(number), None);
        // The first is busy all the time.
        let first = RawKey {
            sock: SockAddress(0x1000),
            ..key
        };
        identities.event(&first, MonoNs(number), None);
    }
    assert!(identities.lives.len() <= 128);
    assert_eq!(identities.lives.len() as u64 + identities.evicted(), 200);
    assert!(identities.address(SockId(1)).is_some());
    assert!(identities.address(SockId(2)).is_none());
}
