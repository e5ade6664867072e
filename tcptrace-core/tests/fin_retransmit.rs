//! `fin_retransmit`: attempts, outcomes, owners, thresholds.

#[expect(dead_code, reason = "generated scripts are for the properties")]
mod script;

use script::check;
use tcptrace_core::finding::Evidence;
use tcptrace_core::units::MonoNs;

const CLOSED: &str = "0ms process 7 web; 0ms sysctls; 0ms listen l port=80 pid=7; \
                      10ms child a port=80; 20ms accept a pid=7; 1s close a pid=7;";

fn closed(rest: &str, expected: &[&str]) -> script::Played {
    check(&format!("{CLOSED} {rest}"), expected).1
}

#[test]
fn the_third_attempt_is_worth_knowing() {
    let played = closed(
        "1.2s retransmit a probe; 1.4s retransmit a attempt=1; 1.8s retransmit a attempt=2; \
         2.6s retransmit a attempt=3; 3s tick",
        &["2.6s f1 open fin_retransmit info exact web#7 port 80 x1"],
    );
    let Evidence::FinRetransmit(evidence) = &played.news[0].evidence else {
        panic!("wrong evidence");
    };
    assert_eq!(evidence.attempt, 3);
    assert_eq!(evidence.patience.limit, Some(("tcp_orphan_retries", 8)));
    assert!(evidence.orphan);
    insta::assert_snapshot!(played.news[0].summary(MonoNs(3_000_000_000)), @"the peer does not acknowledge our FIN on 1 connection on port 80 of web (pid 7): up to 3 attempts in FIN_WAIT1, the next after 3 s; 1 still waiting; lost: our FIN, or its ACK");
    insta::assert_snapshot!(played.news[0].advice(), @"see whether the peer is alive and a firewall or load balancer drops what belongs to connections it has forgotten; the kernel gives up 102 s after the first, by net.ipv4.tcp_orphan_retries (8), no descriptor is held, only kernel memory");
    insta::assert_snapshot!(serde_json::to_string(&played.news[0].evidence).unwrap(), @r#"{"state":"FIN_WAIT1","attempt":3,"backoff":2,"next_timeout_ns":3200000000,"limit":{"sysctl":"tcp_orphan_retries","value":8},"gives_up_after_ns":102200000000,"orphan":true,"outcomes":{"waiting":1,"acknowledged":0,"reset":0,"timed_out":0},"data_retransmits":0,"lost":"our FIN, or its ACK"}"#);
}

#[test]
fn loss_probes_and_data_are_not_attempts() {
    closed(
        "1.2s retransmit a probe; 1.3s retransmit a probe; 1.4s retransmit a probe; \
         1.5s retransmit a data attempt=1; 1.6s retransmit a data attempt=2; \
         1.7s retransmit a data attempt=3; 3s tick",
        &[],
    );
}

#[test]
fn giving_up_counts_with_fewer_attempts() {
    closed(
        "1.4s retransmit a attempt=1; 9s closed a error=110 dead; 10s tick; 80s tick",
        &[
            "9s f1 open fin_retransmit info exact web#7 port 80 x1",
            "9s f1 updated fin_retransmit info exact web#7 port 80 x1",
            "69s f1 resolved fin_retransmit info exact web#7 port 80 x1",
        ],
    );
}

#[test]
fn outcomes_are_told() {
    let played = closed(
        "1.4s retransmit a attempt=1; 1.8s retransmit a attempt=2; 2.6s retransmit a attempt=3; \
         5s finwait2 a; 6s tick; 66s tick",
        &[
            "2.6s f1 open fin_retransmit info exact web#7 port 80 x1",
            "5s f1 updated fin_retransmit info exact web#7 port 80 x1",
            "65s f1 resolved fin_retransmit info exact web#7 port 80 x1",
        ],
    );
    let Evidence::FinRetransmit(evidence) = &played.news[1].evidence else {
        panic!("wrong evidence");
    };
    assert_eq!(evidence.outcomes.acknowledged, 1);
    assert_eq!(evidence.outcomes.waiting, 0);
}

#[test]
fn what_waits_keeps_it_open() {
    closed(
        "1.4s retransmit a attempt=1; 1.8s retransmit a attempt=2; 2.6s retransmit a attempt=3; \
         200s tick",
        &["2.6s f1 open fin_retransmit info exact web#7 port 80 x1"],
    );
}

#[test]
fn ten_connections_and_one_percent_are_a_warning() {
    let mut steps = Vec::new();
    for n in 0..10 {
        steps.push(format!(
            "1s child a{n} port=80; 1s accept a{n} pid=7; 1s close a{n} pid=7;"
        ));
    }
    for attempt in 1..=3 {
        for n in 0..10 {
            steps.push(format!(
                "{}s retransmit a{n} attempt={attempt};",
                attempt + 1
            ));
        }
    }
    let script = format!(
        "0ms process 7 web; 0ms sysctls; 0ms listen l port=80 pid=7; {} 5s tick",
        steps.concat()
    );
    let (engine, _) = check(
        &script,
        &[
            "4s f1 open fin_retransmit info exact web#7 port 80 x1",
            "4s f1 updated fin_retransmit info exact web#7 port 80 x2",
            "4s f1 updated fin_retransmit info exact web#7 port 80 x4",
            "4s f1 updated fin_retransmit info exact web#7 port 80 x8",
            "4s f1 updated fin_retransmit warning exact web#7 port 80 x10",
        ],
    );
    assert_eq!(engine.findings().count(), 1);
}

#[test]
fn who_holds_a_descriptor_waits_by_another_limit() {
    let limit = |more: &str| {
        let played = closed(
            &format!(
                "1.4s retransmit a attempt=1 held {more}; 1.8s retransmit a attempt=2 held {more}; \
                 2.6s retransmit a attempt=3 held {more}; 3s tick"
            ),
            &["2.6s f1 open fin_retransmit info exact web#7 port 80 x1"],
        );
        let Evidence::FinRetransmit(evidence) = played.news[0].evidence.clone() else {
            panic!("wrong evidence");
        };
        assert!(!evidence.orphan);
        evidence.patience
    };
    let by_sysctl = limit("");
    assert_eq!(by_sysctl.limit, Some(("tcp_retries2", 15)));
    assert_eq!(by_sysctl.gives_up_after.map(|it| it.as_secs()), Some(924));
    let by_socket = limit("user_timeout=5s");
    assert_eq!(by_socket.limit, None);
    assert_eq!(by_socket.gives_up_after.map(|it| it.as_secs()), Some(5));
}
