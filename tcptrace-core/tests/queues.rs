//! `accept_queue_overflow` and `syn_queue_overflow`: attribution, causes, no double counting.

#[expect(dead_code, reason = "generated scripts are for the properties")]
mod script;

use script::check;
use tcptrace_core::finding::{Evidence, Finding};
use tcptrace_core::units::MonoNs;

const LISTENING: &str = "0ms process 7 web; 0ms sysctls; 0ms listen l port=80 pid=7; \
                         500ms sample l queue=0/4; 1s counters;";

fn listening(rest: &str, expected: &[&str]) -> script::Played {
    check(&format!("{LISTENING} {rest}"), expected).1
}

fn drops(finding: &Finding) -> (u64, u64) {
    match &finding.evidence {
        Evidence::AcceptQueue(e) => (e.drops, e.kernel_drops),
        Evidence::SynQueue(e) => (e.dropped + e.cookies, e.kernel_drops),
        other => panic!("wrong evidence {other:?}"),
    }
}

#[test]
fn the_full_listener_is_charged_with_the_counters() {
    let played = listening(
        "2s counters overflows=6; 2.01s sample l queue=5/4 drops=6 unwatched; \
         3s counters; 3.01s sample l queue=5/4 drops=6; 4s tick; \
         5s sample l queue=5/4 drops=6; 10s sample l queue=5/4 drops=6; 15s tick; \
         20s sample l queue=0/4 drops=6; 90s tick",
        &[
            "3.4s f1 open accept_queue_overflow/not_accepting warning exact web#7 port 80 x6",
            "12.4s f1 updated accept_queue_overflow/not_accepting critical exact web#7 port 80 x6",
            "70s f1 resolved accept_queue_overflow/not_accepting critical exact web#7 port 80 x6",
        ],
    );
    assert_eq!(drops(&played.news[0]), (6, 6));
    insta::assert_snapshot!(played.news[0].summary(MonoNs(3_500_000_000)), @"the accept queue on port 80 is full (5 waiting, limit 4): web (pid 7) does not accept; this explains 6 of 6 drops the kernel counted");
    insta::assert_snapshot!(played.news[0].advice(), @"nobody waits on the listener: register it with the event loop, or call accept in a loop; a longer queue would only hide it");
}

#[test]
fn a_server_that_accepts_is_too_slow() {
    listening(
        "1.2s child a port=80; 2s counters overflows=1; 2.01s sample l queue=5/4 drops=2; \
         2.5s accept a pid=7; 3s sample l queue=5/4 drops=2; 3.2s accept a pid=7; 4s tick",
        &["3.4s f1 open accept_queue_overflow/too_slow warning exact web#7 port 80 x1"],
    );
}

#[test]
fn out_of_descriptors() {
    listening(
        "2s counters overflows=3; 2.01s sample l queue=5/4 drops=3; 2.5s fds 7 1024/1024; \
         3s sample l queue=5/4 drops=3; 4s tick",
        &["3.4s f1 open accept_queue_overflow/fd_limit warning exact web#7 port 80 x3"],
    );
}

#[test]
fn drops_seen_one_by_one_are_not_counted_twice() {
    let played = listening(
        "1.1s drop l accept queue=5/4; 1.2s drop l accept queue=5/4; 2s counters overflows=2; \
         2.01s sample l queue=5/4 drops=2 unwatched; 3s tick; 4s tick",
        &["2.2s f1 open accept_queue_overflow/not_accepting warning exact web#7 port 80 x2"],
    );
    assert_eq!(drops(&played.news[0]), (2, 2));
}

/// The kernel counts a drop before the probe of the function's return tells of it, and the counters
/// may be read in between.
#[test]
fn a_drop_told_just_after_the_counters_is_not_counted_twice() {
    let played = listening(
        "2s counters overflows=1; 2.001s drop l accept queue=5/4; \
         2.01s sample l queue=5/4 drops=1 unwatched; 3s counters; 4s tick",
        &["3.101s f1 open accept_queue_overflow/not_accepting warning exact web#7 port 80 x1"],
    );
    assert_eq!(drops(&played.news[0]), (1, 1));
}

#[test]
fn a_client_that_had_answered_proves_a_full_queue() {
    listening(
        "1.5s synack l answered; 3s tick",
        &["2.6s f1 open accept_queue_overflow/not_accepting warning likely web#7 port 80 x1"],
    );
    listening("1.5s synack l answered deferred; 3s tick", &[]);
}

#[test]
fn several_full_listeners_are_likely() {
    check(
        "0ms process 7 web; 0ms process 8 api; 0ms listen l port=80 pid=7; \
         0ms listen m port=81 pid=8; 500ms sample l queue=0/4; 500ms sample m queue=0/4; \
         1s counters; 2s counters overflows=4; 2.01s sample l queue=5/4 drops=6 unwatched; \
         2.01s sample m queue=5/4 drops=2 unwatched; 4s tick",
        &[
            "3.4s f1 open accept_queue_overflow/not_accepting warning likely api#8 port 81 x1",
            "3.4s f2 open accept_queue_overflow/not_accepting warning likely web#7 port 80 x3",
        ],
    );
}

#[test]
fn drops_of_nobody_are_said_to_be_so() {
    listening(
        "2s counters overflows=4; 2.01s sample l queue=0/4 drops=0; 6s tick",
        &["5.1s f1 open accept_queue_overflow/too_slow warning unknown nobody unknown service x4"],
    );
}

#[test]
fn half_open_clients_that_never_complete_are_a_flood() {
    let mut text = String::from("2s counters cookies=50; 2.01s sample l queue=0/16 syn=16;");
    for n in 0..20 {
        text += &format!("3s synack l from={n};");
    }
    text += "4s tick; 6s tick; 70s tick";
    let played = listening(
        &text,
        &[
            "5.8s f1 open syn_queue_overflow/syn_flood info exact web#7 port 80 x50",
            "62.3s f1 resolved syn_queue_overflow/syn_flood info exact web#7 port 80 x50",
        ],
    );
    assert_eq!(drops(&played.news[0]), (50, 50));
    insta::assert_snapshot!(played.news[0].summary(MonoNs(6_000_000_000)), @"the SYN queue on port 80 of web (pid 7) is full (16 half-open, limit 16): clients do not complete (20 SYN-ACKs repeated unanswered, from 20 addresses); 50 SYNs were answered with a cookie, 50 of 50 the kernel counted");
    insta::assert_snapshot!(played.news[0].advice(), @"lower net.ipv4.tcp_synack_retries, and filter the sources upstream; a longer queue (backlog 16) only buys time; net.ipv4.tcp_max_syn_backlog is 1024");
}

#[test]
fn a_queue_that_no_look_showed_full_is_not_called_full() {
    let played = listening(
        "1.2s child a port=80; 2s counters overflows=4; 2.01s sample l queue=0/4 drops=8; \
         2.5s accept a pid=7; 3s sample l queue=0/4 drops=8; 6s tick",
        &["3.4s f1 open accept_queue_overflow/too_slow warning likely web#7 port 80 x4"],
    );
    insta::assert_snapshot!(played.news[0].summary(MonoNs(3_500_000_000)), @"the accept queue on port 80 overflowed (0 waiting when looked at, limit 4): web (pid 7) accepts more slowly than clients arrive; this explains 4 of 4 drops the kernel counted");
}

#[test]
fn thresholds_of_queues_come_from_the_settings() {
    let mut settings = tcptrace_core::settings::Settings::default();
    for assignment in [
        "accept_queue_overflow.critical_after=2s",
        "syn_queue_overflow.critical_after=2s",
        "syn_queue_overflow.critical_per_second=3",
    ] {
        settings.set(assignment).expect("known");
    }
    let facts = script::facts(&format!(
        "{LISTENING} 2s counters overflows=6 syndrops=9; \
         2.01s sample l queue=5/4 syn=5 drops=15 unwatched; 3s counters; \
         3.01s sample l queue=5/4 syn=5 drops=15; 4s counters syndrops=9; \
         4.01s sample l queue=5/4 syn=5 drops=24; 5s tick; 6s tick; 7s tick"
    ));
    let (engine, _) = script::play_with(&facts, None, settings);
    let severities: Vec<_> = engine
        .findings()
        .map(|f| (f.kind.name(), f.severity.name()))
        .collect();
    assert_eq!(
        severities,
        [
            ("accept_queue_overflow", "critical"),
            ("syn_queue_overflow", "critical")
        ]
    );
}

#[test]
fn many_at_once_are_a_burst_and_drops_a_warning() {
    listening(
        "2s counters syndrops=9; 2.01s sample l queue=3/4 syn=5 drops=9; 2.5s child a port=80; \
         8s tick",
        &["5.8s f1 open syn_queue_overflow/burst warning exact web#7 port 80 x9"],
    );
}
