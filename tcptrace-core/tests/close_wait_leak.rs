//! `close_wait_leak`: one scenario per row of the catalogue, and the half-closes that are none.

#[expect(dead_code, reason = "generated scripts are for the properties")]
mod script;

use script::{check, play};
use tcptrace_core::finding::Evidence;
use tcptrace_core::request::Request;
use tcptrace_core::units::{MonoNs, SockId};

/// A server `web` (pid 7) on port 80 and one accepted connection `a`.
const SERVED: &str = "0ms process 7 web; 0ms listen l port=80 pid=7; 10ms child a port=80; \
                      20ms accept a pid=7;";

fn served(rest: &str, expected: &[&str]) -> script::Played {
    check(&format!("{SERVED} {rest}"), expected).1
}

#[test]
fn never_accepted_after_ten_seconds() {
    let (engine, played) = check(
        "0ms process 7 web; 0ms listen l port=80 pid=7; 10ms child a port=80; 1s fin a; \
         10.5s peek a queued torn; 11.2s sample l queue=1/128 unwatched; 20s tick; \
         21s closed a; 22s tick",
        &[
            "11s f1 open close_wait_leak/never_accepted info exact web#7 port 80 x1",
            "21s f1 resolved close_wait_leak/never_accepted info exact web#7 port 80 x1",
        ],
    );
    assert_eq!(engine.findings().count(), 0);
    assert_eq!(engine.resolved().count(), 1);
    let asked = |wanted: Request| played.requests.iter().any(|(_, r)| *r == wanted);
    assert!(asked(Request::Listeners(script::NETNS)));
    assert!(asked(Request::Descriptors(tcptrace_core::units::Pid(7))));
}

#[test]
fn never_accepted_until_it_is_accepted() {
    check(
        "0ms process 7 web; 0ms listen l port=80 pid=7; 10ms child a port=80; 1s fin a; \
         10.5s peek a queued torn; 20s accept a pid=7; 30s tick",
        &[
            "11s f1 open close_wait_leak/never_accepted info exact web#7 port 80 x1",
            "20s f1 resolved close_wait_leak/never_accepted info exact web#7 port 80 x1",
        ],
    );
}

#[test]
fn eof_unread_is_stamped_with_its_deadline() {
    let played = served(
        "1s fin a; 60.5s peek a unread=1 epoll stopped idle=59.5s; 70s tick; 80s close a pid=7; \
         90s tick",
        &[
            "61s f1 open close_wait_leak/eof_unread info exact web#7 port 80 x1",
            "80s f1 resolved close_wait_leak/eof_unread info exact web#7 port 80 x1",
        ],
    );
    insta::assert_snapshot!(played.news[0].summary(MonoNs(61_000_000_000)), @"web (pid 7) has not read the end of 1 connection on port 80; the peer has closed, the oldest 60 s ago; only the end is unread, and the process is stopped");
    insta::assert_snapshot!(played.news[0].advice(), @"the process is stopped: continue it (kill -CONT) or end it");
}

#[test]
fn what_leaves_before_its_deadline_is_fine() {
    served(
        "1s fin a; 60.5s peek a unread=1 epoll idle=59.5s; 60.9s close a pid=7; 90s tick",
        &[],
    );
}

#[test]
fn not_watched_needs_three_looks_over_two_seconds() {
    served(
        "1s fin a; 61s peek a unread=1 idle=60s; 62s peek a unread=1 idle=61s; \
         63s peek a unread=1 idle=62s holders=7; 70s tick",
        &["63s f1 open close_wait_leak/not_watched info likely web#7 port 80 x1"],
    );
    served(
        "1s fin a; 61s peek a unread=1 idle=60s; 61.5s peek a unread=1 idle=60.5s; \
         62s peek a unread=1 idle=61s holders=7; 70s tick",
        &[],
    );
}

#[test]
fn not_watched_waits_for_a_word_on_holders() {
    let looks = |count: u64| -> String {
        (0..count)
            .map(|n| format!("{}s peek a unread=1 idle={}s; ", 61 + n, 60 + n))
            .collect()
    };
    served(&format!("1s fin a; {} 69s tick", looks(7)), &[]);
    // An agent that cannot scan is not waited for.
    served(
        &format!("1s fin a; {} 69s tick", looks(8)),
        &["68s f1 open close_wait_leak/not_watched info likely web#7 port 80 x1"],
    );
}

#[test]
fn a_poll_server_between_two_calls_is_watched() {
    served(
        "1s fin a; 59s peek a unread=1; 60s peek a unread=1; 61s peek a unread=1 polling idle=60s; \
         70s tick",
        &["61s f1 open close_wait_leak/eof_unread info exact web#7 port 80 x1"],
    );
}

#[test]
fn a_torn_wait_queue_is_too_early() {
    served(
        "1s fin a; 61s peek a unread=1 torn idle=60s; 62s peek a unread=1 torn idle=61s; \
         63s peek a unread=1 torn idle=62s; 64s tick",
        &[],
    );
}

#[test]
fn the_end_was_read_and_the_socket_kept() {
    served(
        "1s fin a unread=1; 61s peek a unread=0 idle=60s; 65s tick",
        &["61s f1 open close_wait_leak/eof_read_not_closed info exact web#7 port 80 x1"],
    );
    // The read that took the last data took the FIN with it.
    served(
        "1s fin a unread=6; 61s peek a unread=0 idle=60s; 65s tick",
        &["61s f1 open close_wait_leak/eof_read_not_closed info likely web#7 port 80 x1"],
    );
}

#[test]
fn two_processes_hold_what_was_read_to_the_end() {
    served(
        "1s fin a; 61s peek a unread=0 idle=60s holders=7,8; 65s tick",
        &["61s f1 open close_wait_leak/shared_fd info exact web#7 port 80 x1"],
    );
    // The forked child closed its copy while the parent was looked at.
    served(
        "1s fin a; 2s peek a unread=0 refs=2; 61s peek a unread=0 refs=1 idle=60s; 65s tick",
        &["61s f1 open close_wait_leak/shared_fd info likely web#7 port 80 x1"],
    );
}

#[test]
fn a_forked_child_read_the_end_and_closed_its_copy() {
    // The child was blocked in a read when the FIN came; now only the parent, of any number of
    // threads, holds it.
    served(
        "1s fin a refs=2 waiter=8; 61s peek a unread=0 refs=1 idle=60s holders=7 threads=3; 65s tick",
        &["61s f1 open close_wait_leak/shared_fd info exact web#7 port 80 x1"],
    );
    // It waited by epoll, or was busy: no call held a reference, so a copy is gone.
    for waiter in ["epoll", "nobody"] {
        served(
            &format!(
                "1s fin a refs=2 waiter={waiter}; \
                 61s peek a unread=0 refs=1 idle=60s holders=7 threads=3; 65s tick"
            ),
            &["61s f1 open close_wait_leak/shared_fd info likely web#7 port 80 x1"],
        );
    }
}

#[test]
fn a_thread_that_read_the_end_and_forgot_it_is_no_copy() {
    // Thread per connection: the blocked read itself held the second reference.
    served(
        "1s fin a refs=2 waiter=7; 61s peek a unread=0 refs=1 idle=60s holders=7 threads=3; 65s tick",
        &["61s f1 open close_wait_leak/eof_read_not_closed info exact web#7 port 80 x1"],
    );
    served(
        "1s fin a refs=2 waiter=other; 61s peek a unread=0 refs=1 idle=60s holders=7 threads=3; \
         65s tick",
        &["61s f1 open close_wait_leak/eof_read_not_closed info exact web#7 port 80 x1"],
    );
}

#[test]
fn several_holders_of_what_is_unread_are_only_evidence() {
    // Privilege separation, descriptor passing, a reload: the worker is stuck, whoever else holds it.
    served(
        "1s fin a; 61s peek a unread=1 epoll idle=60s holders=7,8; 65s tick",
        &["61s f1 open close_wait_leak/eof_unread info exact web#7 port 80 x1"],
    );
}

#[test]
fn exhaustion_is_foretold_from_growth() {
    let mut steps = vec![
        (0, "0ms process 7 web".to_owned()),
        (0, "0ms listen l port=80 pid=7".to_owned()),
    ];
    for n in 0..5 {
        let at = n * 60 + 1;
        for text in ["child a{n} port=80", "accept a{n} pid=7", "fin a{n}"] {
            steps.push((at, format!("{at}s {}", text.replace("{n}", &n.to_string()))));
        }
        let at = at + 60;
        steps.push((at, format!("{at}s peek a{n} unread=0 idle=60s")));
    }
    steps.push((243, "243s fds 7 990/1010".to_owned()));
    steps.push((310, "310s tick".to_owned()));
    steps.sort_by_key(|(at, _)| *at);
    let text: Vec<String> = steps.into_iter().map(|(_, text)| text).collect();
    let (engine, _) = play(&script::facts(&text.join("; ")), None);
    let finding = engine.findings().next().expect("a leak");
    let Evidence::CloseWait(evidence) = &finding.evidence else {
        panic!("wrong evidence");
    };
    // 20 left, one a minute: within the 30 minutes that make it critical.
    assert_eq!(evidence.exhausted_in.map(|left| left.as_secs()), Some(1200));
    assert_eq!(finding.severity.name(), "critical");
    insta::assert_snapshot!(finding.advice(), @"close the socket when read returns 0, on error paths too; a pool must drop a connection that the server has closed; 990 of 1010 descriptors are open, and at this rate none is left in 20 min");
}

#[test]
fn thresholds_come_from_the_settings() {
    let mut settings = tcptrace_core::settings::Settings::default();
    settings
        .set("close_wait_leak.warning_count=1")
        .expect("known");
    let facts = script::facts(&format!(
        "{SERVED} 1s fin a; 61s peek a unread=0 idle=60s; 65s tick"
    ));
    let (engine, _) = script::play_with(&facts, None, settings);
    let severities: Vec<_> = engine.findings().map(|f| f.severity.name()).collect();
    assert_eq!(severities, ["warning"]);
}

#[test]
fn an_unwatched_socket_whose_only_holder_did_not_accept_it() {
    served(
        "30s process 8 child; 1s fin a; 61s peek a unread=1 idle=60s; 62s peek a unread=1 idle=61s; \
         63s peek a unread=1 idle=62s holders=8; 70s tick",
        &["63s f1 open close_wait_leak/shared_fd info likely child#8 port 80 x1"],
    );
}

#[test]
fn nobody_holds_it() {
    served(
        "1s fin a; 61s peek a unread=1 idle=60s holders=none; 65s tick",
        &["61s f1 open close_wait_leak/no_holder info exact web#7 port 80 x1"],
    );
}

#[test]
fn a_special_reader_hides_the_cause() {
    served(
        "1s fin a; 61s peek a unread=1 ktls idle=60s; 65s tick",
        &["61s f1 open close_wait_leak info unknown web#7 port 80 x1"],
    );
}

#[test]
fn a_half_close_in_use_is_not_flagged() {
    // It still sends: bytes acknowledged move between looks.
    served(
        "1s fin a; 2s peek a unread=0 acked=100; 31s peek a unread=0 acked=900; \
         61s peek a unread=0 acked=1700 idle=200ms; 70s tick",
        &[],
    );
    let facts = script::facts(&format!(
        "{SERVED} 1s fin a; 2s peek a unread=0 acked=100; 61s peek a unread=0 acked=1700 idle=200ms; \
         61.5s tick"
    ));
    let (engine, _) = play(&facts, None);
    assert!(engine.half_close_in_use(SockId(2)), "and shown as such");
    // It stopped sending at 31 s, and has been quiet for the whole window at 91 s.
    served(
        "1s fin a; 2s peek a unread=0 acked=100; 31s peek a unread=0 acked=900; \
         61s peek a unread=0 acked=900 idle=31s; 91s peek a unread=0 acked=900 idle=61s; 95s tick",
        &["91s f1 open close_wait_leak/eof_read_not_closed info exact web#7 port 80 x1"],
    );
}

#[test]
fn the_client_side_counts_as_well() {
    check(
        "0ms process 9 pool; 1s connect a port=443 pid=9; 2s fin a; \
         62s peek a unread=0 idle=60s; 65s tick",
        &["62s f1 open close_wait_leak/eof_read_not_closed info exact pool#9 to 10.0.0.9:443 x1"],
    );
}

#[test]
fn sockets_older_than_the_tracer_are_judged_at_once() {
    let (_, played) = check(
        "1000s snapshot begin; 1000s process 7 web; 1000s row l LISTEN port=80 pid=7; \
         1000s row q CLOSE_WAIT port=80 queued unread=1 idle=300s listener=l; \
         1000s row w CLOSE_WAIT port=80 pid=7 unread=1 idle=300s; 1000s snapshot complete; \
         1000.2s peek w unread=1 epoll idle=300.2s; 1001s tick",
        &[
            "1000s f1 open close_wait_leak/never_accepted info exact web#7 port 80 x1",
            "1000.2s f2 open close_wait_leak/eof_unread info exact web#7 port 80 x1",
        ],
    );
    let Evidence::CloseWait(evidence) = &played.news[1].evidence else {
        panic!("wrong evidence");
    };
    assert!(evidence.age_is_lower_bound);
    assert_eq!(evidence.oldest_age.as_secs(), 300);
}

#[test]
fn a_loss_makes_the_proof_likely_and_asks_for_a_snapshot() {
    let played = served(
        "1s fin a; 30s loss; 61s peek a unread=0 idle=60s; 65s tick",
        &["61s f1 open close_wait_leak/eof_read_not_closed info likely web#7 port 80 x1"],
    );
    assert!(played.requests.iter().any(|(_, r)| *r == Request::Snapshot));
}

#[test]
fn looks_are_asked_for_in_time() {
    let inputs = script::facts(&format!("{SERVED} 1s fin a; 70s tick"));
    let (_, played) = play(&inputs, Some(std::time::Duration::from_millis(250)));
    let looks: Vec<u64> = played
        .requests
        .iter()
        .filter(|(_, r)| {
            matches!(
                r,
                Request::Inspect {
                    sock: SockId(2),
                    ..
                }
            )
        })
        .map(|(at, _)| at.0 / 1_000_000)
        .collect();
    // Unanswered, it is asked for again every second.
    assert_eq!(looks[..4], [2000, 10_500, 11_000, 31_000]);
    assert!(
        looks[4..7].iter().all(|at| (60_000..63_500).contains(at)),
        "{looks:?}"
    );
}

#[test]
fn ten_sockets_are_a_warning_and_full_descriptors_critical() {
    let mut text = String::from("0ms process 7 web; 0ms listen l port=80 pid=7;");
    for n in 0..10 {
        text += &format!("10ms child a{n} port=80; 20ms accept a{n} pid=7; 1s fin a{n};");
    }
    for n in 0..10 {
        text += &format!("61s peek a{n} unread=0 idle=60s;");
    }
    text += "62s fds 7 900/1000; 63s tick";
    check(
        &text,
        &[
            "61s f1 open close_wait_leak/eof_read_not_closed info exact web#7 port 80 x1",
            "61s f1 updated close_wait_leak/eof_read_not_closed info exact web#7 port 80 x2",
            "61s f1 updated close_wait_leak/eof_read_not_closed info exact web#7 port 80 x4",
            "61s f1 updated close_wait_leak/eof_read_not_closed info exact web#7 port 80 x8",
            "61s f1 updated close_wait_leak/eof_read_not_closed warning exact web#7 port 80 x10",
            "62s f1 updated close_wait_leak/eof_read_not_closed critical exact web#7 port 80 x10",
        ],
    );
}

#[test]
fn growth_in_three_minutes_is_a_warning() {
    let mut text = String::from("0ms process 7 web; 0ms listen l port=80 pid=7;");
    for n in 0..4 {
        let t = n * 60;
        text += &format!(
            "{}s child a{n} port=80; {}s accept a{n} pid=7; {}s fin a{n};",
            t + 1,
            t + 1,
            t + 2
        );
    }
    // Interleave the looks in order of time.
    let mut looks: Vec<(u64, String)> = Vec::new();
    for n in 0..4 {
        let at = n * 60 + 62;
        looks.push((at, format!("{at}s peek a{n} unread=0 idle=60s;")));
    }
    looks.sort();
    let mut steps: Vec<(MonoNs, String)> = text
        .split(';')
        .chain(looks.iter().map(|(_, l)| l.trim_end_matches(';')))
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(|l| (script::time(l.split(' ').next().unwrap()), l.to_owned()))
        .collect();
    steps.sort_by_key(|(at, _)| *at);
    let mut text: String = steps.into_iter().map(|(_, l)| l + ";").collect();
    text += "245s tick";
    check(
        &text,
        &[
            "62s f1 open close_wait_leak/eof_read_not_closed info exact web#7 port 80 x1",
            "122s f1 updated close_wait_leak/eof_read_not_closed info exact web#7 port 80 x2",
            "182s f1 updated close_wait_leak/eof_read_not_closed info exact web#7 port 80 x3",
            "242s f1 updated close_wait_leak/eof_read_not_closed info exact web#7 port 80 x4",
            "242s f1 updated close_wait_leak/eof_read_not_closed warning exact web#7 port 80 x4",
        ],
    );
}

#[test]
fn a_finding_that_comes_back_soon_keeps_its_id() {
    served(
        "1s fin a; 61s peek a unread=0 idle=60s; 70s close a pid=7; 80s child b port=80; \
         80s accept b pid=7; 81s fin b; 141s peek b unread=0 idle=60s; 150s tick",
        &[
            "61s f1 open close_wait_leak/eof_read_not_closed info exact web#7 port 80 x1",
            "70s f1 resolved close_wait_leak/eof_read_not_closed info exact web#7 port 80 x1",
            "141s f1 open close_wait_leak/eof_read_not_closed info exact web#7 port 80 x1",
        ],
    );
}

#[test]
fn many_remotes_of_one_owner_roll_up() {
    let mut text = String::from("0ms process 9 pool;");
    for n in 0..21 {
        text += &format!(
            "1s connect a{n} port=443 host={} pid=9; 2s fin a{n};",
            n + 10
        );
    }
    for n in 0..21 {
        text += &format!("62s peek a{n} unread=0 idle=60s;");
    }
    text += "63s tick";
    let (engine, _) = play(&script::facts(&text), None);
    let open: Vec<String> = engine.findings().map(|f| script::line(f)).collect();
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(open[0].contains("to many remotes"), "{open:?}");
    assert!(engine.findings().all(|f| f.samples.len() == 8));
}
