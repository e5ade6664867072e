//! `syn_retransmit`, `synack_retransmit`, `dead_peer`, `closing_stuck`, `backlog_truncated`: what
//! opens them, what they say, how they end, and what looks alike and is none.

#[expect(dead_code, reason = "generated scripts are for the properties")]
mod script;

use script::{check, check_with};
use tcptrace_core::finding::Evidence;
use tcptrace_core::units::{MonoNs, SockId};
use tcptrace_core::world::Tag;

const CLIENT: &str = "0ms process 7 app; 0ms sysctls; 100ms knock a port=80 pid=7;";
const SERVER: &str = "0ms process 7 web; 0ms sysctls; 0ms listen l port=80 pid=7;";
const SERVED: &str = "0ms process 7 web; 0ms sysctls; 0ms listen l port=80 pid=7; \
                      10ms child a port=80; 20ms accept a pid=7;";

const SECOND: u64 = 1_000_000_000;

#[test]
fn the_second_syn_is_worth_knowing_and_refused_in_the_end() {
    let (_, played) = check(
        &format!(
            "{CLIENT} 1.1s retransmit a attempt=1; 2.1s retransmit a attempt=2; \
             3s closed a error=111; 4s tick; 70s tick"
        ),
        &[
            "2.1s f1 open syn_retransmit info exact app#7 to 10.0.0.9:80 x1",
            "3s f1 updated syn_retransmit info exact app#7 to 10.0.0.9:80 x1",
            "63s f1 resolved syn_retransmit info exact app#7 to 10.0.0.9:80 x1",
        ],
    );
    let open = &played.news[0];
    insta::assert_snapshot!(open.summary(MonoNs(3 * SECOND)), @"1 connect of app (pid 7) to 10.0.0.9:80 unanswered: up to attempt 2 of 10, the next after 800 ms; 1 still unanswered; lost: our SYN, or its SYN-ACK");
    insta::assert_snapshot!(open.advice(), @"see whether the peer is up and listening, and where SYNs or SYN-ACKs are dropped (firewall, full queue on the peer, conntrack, route back): capture on both ends; the kernel gives up 2 min after the first, by net.ipv4.tcp_syn_retries (6 + tcp_syn_linear_timeouts 4); give connect a timeout of your own");
    let Evidence::SynRetransmit(evidence) = &played.news[1].evidence else {
        panic!("wrong evidence");
    };
    assert_eq!(evidence.repeated.outcomes.reset, 1);
}

#[test]
fn a_syn_lost_once_is_the_weather_and_giving_up_counts() {
    check(
        &format!("{CLIENT} 1.1s retransmit a attempt=1; 1.2s become a ESTABLISHED; 9s tick"),
        &[],
    );
    check(
        &format!("{CLIENT} 1.1s retransmit a attempt=1 syncnt=1; 3s closed a error=110; 4s tick"),
        &[
            "3s f1 open syn_retransmit info exact app#7 to 10.0.0.9:80 x1",
            "3s f1 updated syn_retransmit info exact app#7 to 10.0.0.9:80 x1",
        ],
    );
}

#[test]
fn many_unanswered_connects_are_a_warning_and_many_remotes_one_finding() {
    let mut steps = String::new();
    for n in 0..30 {
        steps += &format!("1s knock a{n} port=80 pid=7 host={};", n + 1);
    }
    for attempt in 1..=2 {
        for n in 0..30 {
            steps += &format!("{}s retransmit a{n} attempt={attempt};", attempt + 1);
        }
    }
    let script = format!("0ms process 7 app; 0ms sysctls; {steps} 9s tick");
    let (inputs, mut told) = (script::facts(&script), Vec::new());
    let (engine, _) = script::play(&inputs, None);
    for finding in engine.findings() {
        told.push((finding.severity, finding.service, finding.count));
    }
    assert_eq!(told.len(), 21, "{told:?}");
    assert!(
        told.iter().any(|(severity, service, count)| {
            severity.name() == "warning" && service.to_string() == "to many remotes" && *count == 10
        }),
        "{told:?}"
    );
}

#[test]
fn a_final_ack_that_does_not_come() {
    let (_, played) = check(
        &format!(
            "{SERVER} 1s synack l attempt=1 timeouts=0; 3s synack l attempt=2 timeouts=1; \
             3.5s completes l; 4s tick; 70s tick"
        ),
        &[
            "3s f1 open synack_retransmit/no_final_ack info exact web#7 port 80 x1",
            "3.5s f1 updated synack_retransmit/no_final_ack info exact web#7 port 80 x1",
            "63.5s f1 resolved synack_retransmit/no_final_ack info exact web#7 port 80 x1",
        ],
    );
    let Evidence::SynackRetransmit(evidence) = &played.news[1].evidence else {
        panic!("wrong evidence");
    };
    assert_eq!(evidence.repeated.outcomes.answered, 1);
    assert_eq!(evidence.repeated_syns, Some(0));
    assert!(
        evidence.lost.starts_with("the final ACK"),
        "{}",
        evidence.lost
    );
}

#[test]
fn a_client_that_repeats_its_syn_did_not_get_our_answer() {
    let (_, played) = check(
        &format!(
            "{SERVER} 1s synack l attempt=1 timeouts=0; 2s synack l attempt=2 timeouts=0; 3s tick; \
             20s tick"
        ),
        &[
            "2s f1 open synack_retransmit/no_final_ack info exact web#7 port 80 x1",
            // Due after 2 s more, half as much again, and a second.
            "6s f1 updated synack_retransmit/no_final_ack info exact web#7 port 80 x1",
        ],
    );
    let Evidence::SynackRetransmit(evidence) = &played.news[1].evidence else {
        panic!("wrong evidence");
    };
    assert_eq!(evidence.repeated_syns, Some(1));
    assert!(
        evidence.lost.starts_with("our SYN-ACK"),
        "{}",
        evidence.lost
    );
    assert_eq!(evidence.repeated.outcomes.abandoned, 1);
}

#[test]
fn a_repetition_before_its_time_answers_a_syn() {
    let (_, played) = check(
        &format!(
            "{SERVER} 1s synack l attempt=1 timeouts=0; 1.03s synack l attempt=2 timeouts=1; 2s tick"
        ),
        &["1.03s f1 open synack_retransmit/no_final_ack info exact web#7 port 80 x1"],
    );
    let Evidence::SynackRetransmit(evidence) = &played.news[0].evidence else {
        panic!("wrong evidence");
    };
    assert_eq!(evidence.repeated_syns, Some(1));
}

#[test]
fn a_full_accept_queue_is_told_apart_from_a_deferred_accept() {
    let (engine, _) = check(
        &format!(
            "{SERVER} 1s synack l answered attempt=1; 3s synack l answered attempt=2; 3.05s tick"
        ),
        &[
            "2.1s f1 open accept_queue_overflow/not_accepting warning likely web#7 port 80 x1",
            "3s f2 open synack_retransmit/accept_queue_full info exact web#7 port 80 x1",
        ],
    );
    assert_eq!(engine.findings().count(), 2);
    let deferred = format!(
        "{SERVER} 1s synack l answered deferred attempt=1; \
         2s synack l answered deferred attempt=2; 3s tick"
    );
    let (_, played) = check(
        &deferred,
        &["2s f1 open synack_retransmit/defer_accept info exact web#7 port 80 x1"],
    );
    insta::assert_snapshot!(played.news[0].summary(MonoNs(3 * SECOND)), @"1 handshake complete, but waiting for the client's data (TCP_DEFER_ACCEPT) on port 80 of web (pid 7): SYN-ACK attempt 2 of 5, the next after 4 s; 1 still unanswered; lost: nothing: the client's data is waited for");
}

#[test]
fn data_that_nobody_acknowledges_ends_in_a_timeout() {
    let (_, played) = check(
        &format!(
            "{SERVED} 1s retransmit a held attempt=1; 1.4s retransmit a held attempt=2; \
             2.2s retransmit a held attempt=3; 3s closed a error=110 unacked=9; 4s tick"
        ),
        &[
            "2.2s f1 open dead_peer info exact web#7 port 80 x1",
            "3s f1 updated dead_peer warning exact web#7 port 80 x1",
        ],
    );
    insta::assert_snapshot!(played.news[0].summary(MonoNs(3 * SECOND)), @"the peer of 1 connection on port 80 of web (pid 7) does not answer: data repeated up to 3 times, the next after 3 s; 1 still unanswered");
    insta::assert_snapshot!(played.news[0].advice(), @"see whether the peer or the path is down; the kernel gives up 15 min after the first, by net.ipv4.tcp_retries2 (15); set TCP_USER_TIMEOUT or an application timeout to notice sooner; keepalive notices a dead peer after 2 h (2 h + 75 s x 9 by the sysctls), and only on an idle connection");
}

#[test]
fn data_that_is_repeated_no_more_was_acknowledged() {
    let (_, played) = check(
        &format!(
            "{SERVED} 1s retransmit a held attempt=1; 1.4s retransmit a held attempt=2; \
             2.2s retransmit a held attempt=3; 30s tick; 80s tick"
        ),
        &[
            "2.2s f1 open dead_peer info exact web#7 port 80 x1",
            // The next was due after 3.2 s; half as much again, and a second.
            "8s f1 updated dead_peer info exact web#7 port 80 x1",
            "68s f1 resolved dead_peer info exact web#7 port 80 x1",
        ],
    );
    let Evidence::DeadPeer(evidence) = &played.news[1].evidence else {
        panic!("wrong evidence");
    };
    assert_eq!(evidence.repeated.outcomes.answered, 1);
}

#[test]
fn keepalive_tells_at_its_end_only() {
    let (_, played) = check(
        &format!("{SERVED} 9s closed a error=110 unacked=0; 10s tick; 70s tick"),
        &[
            "9s f1 open dead_peer warning exact web#7 port 80 x1",
            "69s f1 resolved dead_peer warning exact web#7 port 80 x1",
        ],
    );
    let Evidence::DeadPeer(evidence) = &played.news[0].evidence else {
        panic!("wrong evidence");
    };
    assert_eq!(evidence.by_keepalive, 1);
    assert_eq!(evidence.detection.map(|it| it.total.as_secs()), Some(7875));
    // A reset is no timeout, and neither is an application that closes.
    check(&format!("{SERVED} 9s closed a error=104; 10s tick"), &[]);
}

#[test]
fn idle_peers_are_told_on_request() {
    let quiet = "9s tick; 3600.2s peek a unread=0 window=9 idle=3600s; 3601s tick";
    check(&format!("{SERVED} {quiet}"), &[]);
    let on = &["dead_peer.idle_peers=1"];
    let (_, played) = check_with(
        on,
        &format!("{SERVED} {quiet} ; 4000s fin a; 4001s tick"),
        &[
            "3600.2s f1 open dead_peer info exact web#7 port 80 x1",
            "4000s f1 resolved dead_peer info exact web#7 port 80 x1",
        ],
    );
    assert!(
        played.requests.iter().any(|(at, _)| at.0 >= 3600 * SECOND),
        "it is looked at"
    );
    insta::assert_snapshot!(played.news[0].summary(MonoNs(3601 * SECOND)), @"1 connection on port 80 of web (pid 7) silent and without keepalive, the longest for 60 min: a dead peer would go unnoticed");
    for look in [
        "3600.2s peek a unread=0 window=9 idle=3600s keepalive",
        "3600.2s peek a unread=0 window=9 idle=30s",
    ] {
        check_with(on, &format!("{SERVED} 9s tick; {look}; 3601s tick"), &[]);
    }
}

#[test]
fn a_close_that_waits_for_room() {
    let (_, played) = check(
        &format!(
            "{SERVED} 1s close a pid=7; 31s peek a window=0 unsent=5 unacked=5 probes=0; \
             62s tick; 70s finwait2 a; 71s tick"
        ),
        &[
            "61s f1 open closing_stuck/zero_window info exact web#7 port 80 x1",
            "70s f1 resolved closing_stuck/zero_window info exact web#7 port 80 x1",
        ],
    );
    insta::assert_snapshot!(played.news[0].summary(MonoNs(61 * SECOND)), @"web (pid 7) closed 1 connection on port 80 and cannot finish in FIN_WAIT1, the oldest for 60 s: the peer has no room (window 0), and 5 bytes were never sent, the FIN among them");
    // Read slowly, but read: something moves between the looks.
    check(
        &format!(
            "{SERVED} 1s close a pid=7; 31s peek a window=0 unsent=5 unacked=5 acked=100; \
             60.9s peek a window=0 unsent=5 unacked=5 acked=200; 70s tick"
        ),
        &[],
    );
}

#[test]
fn data_before_the_fin_is_not_the_fin() {
    let mut repeats = String::new();
    for attempt in 1..=8 {
        repeats += &format!(
            "{}s retransmit a data attempt={attempt};",
            1 + (1 << attempt) / 2
        );
    }
    check(
        &format!(
            "{SERVED} 1s close a pid=7; {repeats} 140s tick; 141s closed a error=110 dead; 142s tick"
        ),
        &[
            "61s f1 open closing_stuck/unacked_data info exact web#7 port 80 x1",
            "121s f1 updated closing_stuck/unacked_data info exact web#7 port 80 x1",
            "141s f1 resolved closing_stuck/unacked_data info exact web#7 port 80 x1",
        ],
    );
}

#[test]
fn a_backlog_cut_to_somaxconn_is_told_when_the_queue_fills() {
    check(
        &format!("{SERVER} 1s sample l queue=2048/4096; 2s sample l queue=3000/4095; 3s tick"),
        &[],
    );
    let (_, played) = check(
        &format!("{SERVER} 1s sample l queue=2049/4096; 2s tick; 70s tick"),
        &[
            "1s f1 open backlog_truncated info likely web#7 port 80 x1",
            "61s f1 resolved backlog_truncated info likely web#7 port 80 x1",
        ],
    );
    insta::assert_snapshot!(played.news[0].advice(), @"raise net.core.somaxconn above 4096, then restart the service: the limit is taken when listen is called; a longer queue helps against bursts, not against slow accepting");
}

#[test]
fn special_openings_and_closings_are_tagged() {
    let tags = |script: &str, sock: u64| -> Vec<Tag> {
        let (engine, _) = check(script, &[]);
        let socket = engine.world().socket(SockId(sock)).expect("it is known");
        socket.tags().iter().collect()
    };
    assert_eq!(
        tags(
            &format!("{CLIENT} 200ms become a SYN_RECV; 210ms become a ESTABLISHED; 1s tick"),
            1
        ),
        [Tag::SimultaneousOpen]
    );
    assert_eq!(
        tags(
            &format!("{CLIENT} 200ms reset a sent; 300ms become a ESTABLISHED; 1s tick"),
            1
        ),
        [Tag::OldDuplicateSyn]
    );
    // The same reset from an established socket is an ordinary one.
    assert_eq!(
        tags(
            &format!("{CLIENT} 200ms become a ESTABLISHED; 300ms reset a sent; 1s tick"),
            1
        ),
        []
    );
    let closing = |rest: &str| tags(&format!("{SERVED} 1s close a pid=7; {rest}; 2s tick"), 2);
    assert_eq!(closing("1.1s become a CLOSING"), [Tag::SimultaneousClose]);
    assert_eq!(
        closing("1.1s finwait2 a; 1.10001s closed a peerfin"),
        [Tag::FinWithAck]
    );
    assert_eq!(closing("1.1s finwait2 a; 1.2s closed a peerfin"), []);
    let queued = format!("{SERVER} 10ms child a port=80; 1s tick");
    assert_eq!(tags(&queued, 2), [Tag::NotAccepted]);
    assert_eq!(tags(SERVED, 2), []);
}
