//! Properties over generated inputs: nothing panics, and the tick rate changes no verdict.

#[expect(dead_code, reason = "each test file uses a part of the script")]
mod script;

use std::time::Duration;

use proptest::prelude::*;
use script::{line, play};

/// Steps that make sense for sockets `a` to `d` of one server, in any order.
fn step() -> impl Strategy<Value = String> {
    let socket = prop::sample::select(vec!["a", "b", "c", "d"]);
    let verb = prop::sample::select(vec![
        "accept {} pid=7",
        "fin {} unread=1",
        "fin {} unread=9",
        "close {} pid=7",
        "shutdown {} pid=8",
        "closed {}",
        "closed {} peerfin",
        "close {} pid=7 idle=5s in=1 out=1",
        "finwait2 {} held",
        "finwait2 {} dead",
        "abort {} pid=7 unread=3",
        "abort {} pid=7 exiting",
        "abort {} pid=9 error=103",
        "reset {} received",
        "reset l nosocket reason=NO_SOCKET",
        "counters tw=5 twoverflow=1 orphans=3",
        "closed {} error=110 dead",
        "closed {} error=104",
        "peek {} unread=0 idle=100s",
        "peek {} unread=0 acked=7 idle=1s",
        "peek {} unread=1 idle=100s",
        "peek {} unread=1 epoll idle=100s",
        "peek {} unread=1 torn",
        "peek {} queued torn",
        "peek {} unread=0 idle=90s holders=7,8",
        "peek {} unread=1 ktls idle=90s",
        "retransmit {} attempt=1",
        "retransmit {} attempt=4",
        "retransmit {} probe",
        "retransmit {} data",
        "row {} CLOSE_WAIT port=80 pid=7 idle=80s unread=1",
        "row {} ESTABLISHED port=80 pid=8",
        "finwait2 {}",
        "sample l queue=5/4 drops=3",
        "sample l queue=0/4 drops=5 watched",
        "sample l queue=2/4 syn=4 drops=9",
        "counters overflows=2",
        "counters syndrops=3 cookies=1",
        "synack l answered",
        "synack l from=3",
        "drop l accept queue=5/4",
        "drop l syn cookie queue=5/4",
        "fds 7 950/1000",
        "fds 7 100/1000",
        "snapshot begin",
        "snapshot complete",
        "loss",
        "exit 7",
    ]);
    (socket, verb).prop_map(|(socket, verb)| verb.replace("{}", socket))
}

fn scenario() -> impl Strategy<Value = String> {
    // Milliseconds between steps; no two facts closer than 1 ms.
    prop::collection::vec((1_u64..20_000, step()), 1..60).prop_map(|steps| {
        let mut text = String::from(
            "0ms process 7 web; 0ms process 8 api; 0ms sysctls; 0ms listen l port=80 pid=7; \
             1ms child a port=80; 1ms child b port=80; 1ms child c port=80; \
             1ms connect d port=443 pid=8;",
        );
        let mut at = 10;
        for (after, step) in steps {
            at += after;
            text += &format!("{at}ms {step};");
        }
        text + &format!("{}ms tick", at + 200_000)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_tick_rate_changes_no_verdict(text in scenario()) {
        // A snapshot of these scripts is complete and shows nothing: it would remove what lives.
        let text = text.replace("snapshot complete", "snapshot partial");
        let inputs = script::possible_facts(&text);
        let told = |every: Option<u64>| {
            let (mut engine, played) = play(&inputs, every.map(Duration::from_millis));
            let end = inputs.last().map(|i| i.at()).unwrap_or_default();
            let mut news: Vec<String> = played.news.iter().map(|f| line(f)).collect();
            news.extend(engine.finish(end).iter().map(|f| line(f)));
            news
        };
        let rarely = told(None);
        prop_assert_eq!(&rarely, &told(Some(250)));
        prop_assert_eq!(&rarely, &told(Some(3_000)));
    }

    /// Facts in any order, with times that go back: nothing panics, totals stay sane.
    #[test]
    fn any_order_is_survived(text in scenario(), shuffle in any::<u64>()) {
        let mut inputs = script::possible_facts(&text);
        let mut random = shuffle | 1;
        for at in (1..inputs.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            inputs.swap(at, (random >> 33) as usize % (at + 1));
        }
        let (mut engine, _) = play(&inputs, None);
        for finding in engine.finish(tcptrace_core::units::MonoNs(1 << 62)) {
            let now = finding.at;
            prop_assert!(!finding.summary(now).is_empty());
            prop_assert!(!finding.advice().is_empty());
            prop_assert!(!finding.evidence.rows(now).is_empty());
            prop_assert!(serde_json::to_string(&finding.evidence).is_ok());
        }
        let live = engine.world().sockets().count() as u64;
        let counted: u64 = engine.world().totals().in_state.iter().sum();
        prop_assert_eq!(live, counted);
        let ids: Vec<_> = engine.world().sockets().map(|s| s.key.sock).collect();
        prop_assert!(ids.is_sorted());
    }
}
