//! Piles of TIME_WAIT, exhausted ports, stuck FIN_WAIT2 and bursts of resets: causes, thresholds,
//! look-alikes, and who began each end.

#[expect(dead_code, reason = "generated scripts are for the properties")]
mod script;

use std::fmt::Write as _;
use std::time::Duration;

use script::{Played, check, facts, play};
use tcptrace_core::Input;
use tcptrace_core::finding::{Finding, Kind};
use tcptrace_core::input::{Frame, LossCause, SocketCall, Stack};
use tcptrace_core::request::Request;
use tcptrace_core::units::{MonoNs, Pid, SockId};
use tcptrace_core::world::{CloseCall, Closer};

const SERVER: &str = "0ms process 7 web; 0ms process 8 api; 0ms listen l port=80 pid=7;";

fn joined(steps: impl IntoIterator<Item = String>) -> String {
    steps.into_iter().collect::<Vec<_>>().join(";")
}

/// `count` connections of the server, `per_second` a second from `from` on, each closed by `close`.
fn served(count: u32, from: u32, per_second: u32, close: impl Fn(u32) -> String) -> String {
    let mut text = String::new();
    for n in 0..count {
        let at = from * 1000 + n * 1000 / per_second;
        write!(
            text,
            "{at}ms child c{n} port=80;{at}ms accept c{n} pid=7;{at}ms close c{n} pid=7 {};\
             {at}ms finwait2 c{n};{at}ms closed c{n} peerfin;",
            close(n)
        )
        .expect("a string takes everything");
    }
    text
}

fn told(played: &Played) -> &Finding {
    played.news.last().expect("news")
}

#[test]
fn a_thousand_for_ten_seconds_is_worth_knowing() {
    let (_, played) = check(
        &format!(
            "{SERVER} 0ms sysctls maxtw=262144; {} 30s tick; 200s tick",
            served(1500, 1, 300, |_| "idle=4ms in=1 out=2".to_owned())
        ),
        &[
            "15s f1 open time_wait_pileup/short_connections info likely web#7 port 80 x1500",
            "62s f1 updated time_wait_pileup/short_connections info likely web#7 port 80 x1200",
            "66s f1 resolved time_wait_pileup/short_connections info likely web#7 port 80 x1200",
        ],
    );
    let finding = &played.news[0];
    insta::assert_snapshot!(finding.summary(MonoNs(16_000_000_000)), @"1500 connections on port 80 in TIME_WAIT, 25 more a second: web (pid 7) closes first; each connection carries one exchange and is closed; net.ipv4.tcp_max_tw_buckets is 262144");
    insta::assert_snapshot!(finding.advice(), @"let connections carry more than one request: HTTP keep-alive on both sides (nginx: keepalive_timeout above 0; towards backends `keepalive` in upstream); on this side TIME_WAIT costs a little memory and no port or descriptor; do not avoid it by SO_LINGER 0, which resets and loses data");
    insta::assert_snapshot!(serde_json::to_string(&finding.evidence).unwrap(), @r#"{"closes_first":"server","per_second":25.0,"max_tw_buckets":262144,"overflows":0,"measured":80,"lifetime_ns":{"p10":0,"median":0,"p90":0},"idle_ns":{"p10":4000000,"median":4000000,"p90":4000000},"exchanges":{"p10":1,"median":1,"p90":1},"tw_reuse":0,"timestamps":1,"inference":"most connections carried one exchange"}"#);
}

#[test]
fn the_habits_tell_the_cause() {
    for (close, cause) in [
        ("idle=5s in=3 out=9", "idle_timeout likely"),
        ("idle=4ms in=100 out=101", "request_limit likely"),
        ("", "unknown unknown"),
    ] {
        let (_, played) = check_any(&format!(
            "{SERVER} 0ms sysctls; {} 30s tick",
            served(1200, 1, 300, |_| close.to_owned())
        ));
        let finding = told(&played);
        assert_eq!(
            format!(
                "{} {}",
                finding.cause.expect("it has causes"),
                finding.confidence.name()
            ),
            cause
        );
        assert!(!finding.advice().is_empty());
    }
}

/// As `check`, without expectations but that the tick rate changes nothing.
fn check_any(text: &str) -> ((), Played) {
    let inputs = facts(text);
    let told = |every| {
        let (_, played) = play(&inputs, every);
        let lines: Vec<String> = played.news.iter().map(|f| script::line(f)).collect();
        (lines, played)
    };
    let (lines, _) = told(None);
    let (again, played) = told(Some(Duration::from_millis(250)));
    assert_eq!(lines, again);
    ((), played)
}

#[test]
fn nine_hundred_are_no_pile() {
    check(
        &format!(
            "{SERVER} 0ms sysctls maxtw=262144; {} 100s tick",
            served(900, 1, 300, |_| "idle=4ms".to_owned())
        ),
        &[],
    );
}

#[test]
fn a_thousand_that_last_less_than_ten_seconds_are_no_pile() {
    // What the kernel counts falls at once: reuse ended them early.
    check(
        &format!(
            "{SERVER} 0ms sysctls maxtw=262144; {} 6s counters tw=10; 100s tick",
            served(1500, 1, 300, |_| "idle=4ms".to_owned())
        ),
        &[],
    );
}

#[test]
fn where_connections_were_closed_stays_said_while_they_pass() {
    let mut inputs = facts(&format!(
        "{SERVER} 0ms sysctls maxtw=262144; {} 70s tick",
        served(3000, 1, 100, |_| "idle=4ms in=1 out=1".to_owned())
    ));
    let ticks = Some(Duration::from_millis(250));
    let (_, before) = play(&inputs, ticks);
    let (first, last) = (&before.news[0], told(&before));
    let sampled = |finding: &Finding| finding.samples.iter().map(|key| key.sock).max();
    assert!(sampled(first) < sampled(last), "{first:?} {last:?}");

    let at = MonoNs(first.at.0 + 500_000_000);
    let frame = Frame {
        function: Some("hang_up".into()),
        ..Frame::default()
    };
    let stack = Input::Stack(Stack {
        at,
        key: first.samples[0],
        call: SocketCall::Close,
        pid: Pid(7),
        frames: [frame].into(),
    });
    let place = inputs.partition_point(|input| input.at() <= at);
    inputs.insert(place, stack);
    let (_, played) = play(&inputs, ticks);
    let last = told(&played);
    assert_eq!(last.samples, told(&before).samples);
    assert_eq!(last.stacks.len(), 1, "{last:?}");
    assert_eq!(last.stacks[0].frames[0].to_string(), "hang_up");
    // It is known already, so nobody is asked again.
    let asked = |played: &Played, from: MonoNs| {
        let stacks = played.requests.iter();
        stacks
            .filter(|(at, request)| *at > from && matches!(request, Request::Stack(_)))
            .count()
    };
    assert_eq!(asked(&played, at), 0);
    assert!(asked(&before, at) > 0);
}

#[test]
fn the_limit_and_its_overflow_are_worse() {
    check(
        &format!(
            "{SERVER} 0ms sysctls maxtw=100; 500ms counters tw=0; {} 20.5s counters twoverflow=7 tw=60; \
             21.5s tick",
            served(60, 1, 30, |_| "idle=4ms in=1 out=1".to_owned())
        ),
        &[
            "13s f1 open time_wait_pileup/short_connections warning likely web#7 port 80 x60",
            "21s f1 updated time_wait_pileup/short_connections critical likely web#7 port 80 x60",
        ],
    );
}

/// `count` connections of a client, open at once.
fn connected(count: u32) -> String {
    (0..count)
        .map(|n| format!("{}ms connect c{n} port=443 pid=8;", 1000 + n))
        .collect()
}

#[test]
fn ports_in_use_are_told_by_their_share() {
    let (_, played) = check(
        &format!(
            "{SERVER} 0ms sysctls ports=100; {} 3s noport x port=443 pid=8; 5s tick",
            connected(75)
        ),
        &[
            "2s f1 open port_exhaustion warning exact api#8 to 10.0.0.9:443 x75",
            "4s f1 updated port_exhaustion critical exact api#8 to 10.0.0.9:443 x75",
        ],
    );
    let finding = told(&played);
    insta::assert_snapshot!(finding.summary(MonoNs(5_000_000_000)), @"api (pid 8) uses 75 of 100 local ports (75 %) to 10.0.0.9:443: 75 live connections and 0 in TIME_WAIT; 1 connect failed with EADDRNOTAVAIL");
    insta::assert_snapshot!(finding.advice(), @"find why so many connections to one endpoint are open at once, and bound the pool; widen net.ipv4.ip_local_port_range (40000 40099), or use more addresses on either side");
    insta::assert_snapshot!(serde_json::to_string(&finding.evidence).unwrap(), @r#"{"source":"10.0.0.1","live":75,"time_wait":0,"time_wait_reusable":false,"used":75,"available":100,"range":[40000,40099],"percent":75,"refused":1,"tw_reuse":0,"timestamps":1}"#);
}

#[test]
fn ports_in_time_wait_count_where_they_cannot_be_used_again() {
    let waiting = |reuse: &str| {
        let closes = joined((0..60).map(|n| {
            format!(
                "1500ms close c{n} pid=8 idle=1ms;1600ms finwait2 c{n};1700ms closed c{n} peerfin"
            )
        }));
        format!(
            "{SERVER} 0ms sysctls ports=100 reuse={reuse}; {}{closes}; 10s tick; 200s tick",
            connected(60)
        )
    };
    check(
        &waiting("0"),
        &[
            "2s f1 open port_exhaustion info exact api#8 to 10.0.0.9:443 x60",
            "121s f1 resolved port_exhaustion info exact api#8 to 10.0.0.9:443 x60",
        ],
    );
    // They are free again after a second, or when the host says.
    for (reuse, until) in [("1", 62), ("1 reusedelay=20000", 81)] {
        let (_, played) = check_any(&waiting(reuse));
        let last = played.news.last().map(|finding| finding.at);
        assert_eq!(last, Some(MonoNs(until * 1_000_000_000)), "{reuse}");
    }
}

#[test]
fn a_host_that_visits_many_remotes_loses_no_route_that_matters() {
    // Room for 8192 routes: the first has the most connections, and none is lost over the others.
    let visit = |n: u32, host| {
        let ms = 2000 + n / 20;
        format!(
            "{ms}ms connect v{host}x{n} host={host} port={} pid=8;",
            n + 1
        )
    };
    let visits: String = (0..17_000).map(|n| visit(n, 1 + n / 8500)).collect();
    let (engine, played) = play(
        &facts(&format!(
            "{SERVER} 0ms sysctls ports=100; {}{visits} 5s tick",
            connected(75)
        )),
        None,
    );
    let news: Vec<_> = played.news.iter().map(|f| script::line(f)).collect();
    assert_eq!(
        news,
        ["2s f1 open port_exhaustion warning exact api#8 to 10.0.0.9:443 x75"]
    );
    assert_eq!(
        engine.world().totals().losses[LossCause::Evicted as usize],
        0
    );
}

#[test]
fn a_route_that_comes_back_counts_no_connection_of_before() {
    // Ten connections to it are too few to stay when 9000 other routes come; their ends are not taken
    // off what is counted afterwards.
    let others: String = (0..9000)
        .map(|n| format!("2s connect v{n} host=1 port={} pid=8;", n + 1))
        .collect();
    let again: String = (0..75)
        .map(|n| format!("3s connect d{n} port=443 pid=8;"))
        .collect();
    let ends = joined((0..10).map(|n| format!("3500ms closed c{n}")));
    check(
        &format!(
            "{SERVER} 0ms sysctls ports=100; {}{others}{again}{ends}; 5s tick",
            connected(10)
        ),
        &["4s f1 open port_exhaustion warning exact api#8 to 10.0.0.9:443 x75"],
    );
}

#[test]
fn a_failed_connect_with_a_port_is_no_exhaustion() {
    check(
        &format!(
            "{SERVER} 0ms sysctls ports=1000; {} 2s closed c1 error=111; 5s tick",
            connected(3)
        ),
        &[],
    );
}

/// `count` connections of the server that are shut down for sending and stay.
fn half_closed(count: u32) -> String {
    (0..count)
        .map(|n| {
            format!(
                "1s child c{n} port=80;1s accept c{n} pid=7;2s shutdown c{n} pid=7;2.5s finwait2 c{n} held;"
            )
        })
        .collect()
}

#[test]
fn a_full_table_is_named_beside_what_it_did_not_take_in() {
    let many = half_closed(65_536 + 100);
    let again = "4s finwait2 c0 held; 4s finwait2 c65600 held";
    let (engine, _) = play(&facts(&format!("{SERVER} {many} {again}; 5s tick")), None);
    let totals = engine.world().totals();
    // One that is followed already is not counted, one that is not is counted each time it comes.
    assert_eq!(totals.evictions.to_string(), "fin_wait2_stuck 101");
    assert_eq!(totals.losses[LossCause::Evicted as usize], 101);
}

#[test]
fn half_closed_for_five_minutes_is_stuck() {
    let peeks = joined((0..10).map(|n| format!("301s peek c{n} idle=298.5s")));
    let (_, played) = check(
        &format!(
            "{SERVER} 0ms sysctls; {}{peeks}; 304s tick",
            half_closed(10)
        ),
        &["303s f1 open fin_wait2_stuck/half_closed warning exact web#7 port 80 x10"],
    );
    let finding = told(&played);
    insta::assert_snapshot!(finding.summary(MonoNs(304_000_000_000)), @"web (pid 7) has shut down 10 connections on port 80 for sending and waits for a peer that does not close, the oldest for 5 min; silent for 5 min");
    insta::assert_snapshot!(finding.advice(), @"no timeout of the kernel applies while the descriptor is open: after shutdown(SHUT_WR) read with a timeout, then close; net.ipv4.tcp_fin_timeout helps only after the close");
    insta::assert_snapshot!(serde_json::to_string(&finding.evidence).unwrap(), @r#"{"oldest_age_ns":300500000000,"silent_ns":300500000000,"fin_timeout":60}"#);
    let asked = played.requests.iter().any(|(_, request)| {
        matches!(
            request,
            Request::Inspect {
                sock: SockId(2..),
                ..
            }
        )
    });
    assert!(asked, "{:?}", played.requests);
}

#[test]
fn a_half_close_in_use_is_not_stuck() {
    let peeks = joined((0..10).map(|n| format!("301s peek c{n} idle=3s")));
    check(
        &format!(
            "{SERVER} 0ms sysctls; {}{peeks}; 400s tick",
            half_closed(10)
        ),
        &[],
    );
}

#[test]
fn half_closed_ones_resolve_when_they_go() {
    let peeks = joined((0..10).map(|n| format!("301s peek c{n} idle=298.5s")));
    let ends = joined((0..10).map(|n| format!("310.5s closed c{n} peerfin")));
    check(
        &format!(
            "{SERVER} 0ms sysctls; {}{peeks};{ends}; 320s tick",
            half_closed(10)
        ),
        &[
            "303s f1 open fin_wait2_stuck/half_closed warning exact web#7 port 80 x10",
            "311s f1 resolved fin_wait2_stuck/half_closed warning exact web#7 port 80 x10",
        ],
    );
}

/// Server closes whose peers acknowledge and have not closed when the socket becomes small.
fn orphaned(count: u32) -> String {
    (0..count)
        .map(|n| {
            format!(
                "1s child c{n} port=80;1s accept c{n} pid=7;2s close c{n} pid=7;\
                 2.5s finwait2 c{n} dead;2.5s closed c{n} dead;"
            )
        })
        .collect()
}

#[test]
fn a_thousand_orphans_that_the_kernel_counts_are_worth_knowing() {
    let (_, played) = check(
        &format!(
            "{SERVER} 0ms sysctls maxtw=1000000; 100ms counters tw=0; {} 3.2s counters orphans=1100 tw=1100; 4.5s tick",
            orphaned(1100)
        ),
        &["4s f1 open fin_wait2_stuck/orphan info exact web#7 port 80 x1100"],
    );
    insta::assert_snapshot!(told(&played).summary(MonoNs(4_000_000_000)), @"1100 connections on port 80 that web (pid 7) has closed wait for the peer's FIN (FIN_WAIT2, no descriptor)");
    insta::assert_snapshot!(told(&played).advice(), @"the peers keep their side open (they sit in CLOSE_WAIT): see what they leave unclosed; the kernel drops ours after 60 s (net.ipv4.tcp_fin_timeout), and no descriptor is held");
}

#[test]
fn orphans_whose_peers_have_closed_are_ordinary() {
    let (_, played) = check_any(&format!(
        "{SERVER} 0ms sysctls maxtw=1000000; 100ms counters tw=0; {} 3.2s counters orphans=3 tw=1100; 8s tick",
        orphaned(1100)
    ));
    assert!(played.news.is_empty(), "{:?}", played.news);
    let asked = played
        .requests
        .iter()
        .any(|(_, request)| matches!(request, Request::Orphans(_)));
    assert!(asked, "{:?}", played.requests);
}

fn resets(count: u32, verb: impl Fn(u32) -> String, rest: &str) -> Played {
    let steps = joined(
        (0..count).map(|n| format!("1s child c{n} port=80;1s accept c{n} pid=7;2s {}", verb(n))),
    );
    check_any(&format!("{SERVER} 0ms sysctls {rest}; {steps}; 5s tick")).1
}

#[test]
fn resets_are_told_by_their_cause() {
    let cases: [(&str, &str, &str); 10] = [
        ("abort {} pid=7 unread=5", "unread_data exact", "x25"),
        ("abort {} pid=7", "linger_zero likely", "x25"),
        (
            "abort {} pid=7 exiting unread=5",
            "process_exit exact",
            "x25",
        ),
        ("abort {} pid=9 error=103", "admin_kill exact", "x25"),
        ("abort {} pid=7 queued", "unknown unknown", "x25"),
        ("reset {} received", "by_peer exact", "x25"),
        ("reset {} reason=TCP_ABORT_ON_MEMORY", "memory exact", "x25"),
        (
            "reset l nosocket reason=NO_SOCKET",
            "no_socket exact",
            "x25",
        ),
        ("reset {} reason=TCP_OLD_ACK", "unknown unknown", "x25"),
        ("reset l reason=INVALID_SYN", "unknown unknown", "x25"),
    ];
    for (verb, cause, count) in cases {
        let played = resets(25, |n| verb.replace("{}", &format!("c{n}")), "");
        assert_eq!(played.news.len(), 1, "{verb}: {:?}", played.news);
        let finding = &played.news[0];
        assert_eq!(
            format!(
                "{} {} x{}",
                finding.cause.expect("a cause"),
                finding.confidence.name(),
                finding.count
            ),
            format!("{cause} {count}"),
            "{verb}"
        );
        assert!(!finding.summary(finding.at).is_empty() && !finding.advice().is_empty());
        assert!(!finding.evidence.rows(finding.at).is_empty());
    }
}

#[test]
fn a_full_accept_queue_that_resets_is_named() {
    let played = resets(25, |_| "reset l reason=INVALID_SYN".to_owned(), "abort=1");
    insta::assert_snapshot!(told(&played).summary(MonoNs(4_000_000_000)), @"25 connections on port 80 reset because the accept queue of web (pid 7) was full; 25 of 25 closes lately");
    insta::assert_snapshot!(told(&played).advice(), @"accept faster or raise the backlog of listen; net.ipv4.tcp_abort_on_overflow (it is 1) turns a late answer into a reset, set it to 0");
}

#[test]
fn refused_connects_are_told_of_the_client() {
    let steps = joined((0..25).map(|n| {
        format!("2s dial d{n} port=443 pid=8; 2.1s reset d{n} received; 2.1s closed d{n} error=111")
    }));
    let (_, played) = check_any(&format!("{SERVER} 0ms sysctls; {steps}; 5s tick"));
    assert_eq!(
        played
            .news
            .iter()
            .map(|f| script::line(f))
            .collect::<Vec<_>>(),
        ["3s f1 open reset_burst/refused warning exact api#8 to 10.0.0.9:443 x25"]
    );
}

#[test]
fn resets_on_many_ports_of_one_program_are_one_burst() {
    let steps = joined((0..100).map(|n| {
        let port = 8000 + n;
        format!("1s child c{n} port={port};1s accept c{n} pid=7;2s reset c{n} received")
    }));
    let (_, played) = check_any(&format!("{SERVER} 0ms sysctls; {steps}; 5s tick"));
    assert_eq!(
        played
            .news
            .iter()
            .map(|f| script::line(f))
            .collect::<Vec<_>>(),
        ["3s f1 open reset_burst/by_peer warning exact web#7 many ports x36"]
    );
}

#[test]
fn few_resets_and_a_small_share_are_no_burst() {
    let few = resets(19, |n| format!("abort c{n} pid=7 unread=5"), "");
    assert!(few.news.is_empty());
    let share = check_any(&format!(
        "{SERVER} 0ms sysctls maxtw=262144; {}{}; 8s tick",
        served(600, 1, 300, |_| String::new()),
        joined((0..25).map(|n| format!(
            "1s child r{n} port=80;1s accept r{n} pid=7;3.5s abort r{n} pid=7 unread=5"
        )))
    ));
    assert!(share.1.news.is_empty(), "{:?}", share.1.news);
}

#[test]
fn death_by_timeout_is_no_reset() {
    let played = resets(25, |n| format!("closed c{n} error=110"), "");
    let burst = played.news.iter().find(|f| f.kind == Kind::ResetBurst);
    assert!(burst.is_none(), "{:?}", played.news);
}

#[test]
fn each_end_names_who_began_it() {
    let text = format!(
        "{SERVER} 0ms sysctls; 1s child a port=80; 1s accept a pid=7; 1s child b port=80; \
         1s accept b pid=7; 1s child c port=80; 1s accept c pid=7; 1s child d port=80; \
         1s accept d pid=7; 1s child e port=80; 1s accept e pid=7; \
         2s close a pid=7; 2s fin b; 2s closed c error=110; 2s closed d error=104; \
         3s exit 7 signal=11; 3s abort e pid=7 exiting unread=3; 4s tick"
    );
    let (engine, _) = play(&facts(&text), None);
    let by = |sock: u64| {
        engine
            .world()
            .socket(SockId(sock))
            .and_then(|s| s.closed_by())
    };
    let process = |call, signal| {
        Some(Closer::Process {
            pid: Pid(7),
            call,
            signal,
        })
    };
    assert_eq!(by(2), process(CloseCall::Close, None));
    assert_eq!(by(3), Some(Closer::PeerFin));
    assert_eq!(by(4), Some(Closer::Timeout));
    assert_eq!(by(5), Some(Closer::PeerReset));
    assert_eq!(by(6), process(CloseCall::Exit, Some(11)));
}
