//! Findings that are one incident: told root first, each with what brought it about.

#[expect(dead_code, reason = "generated scripts are for the properties")]
mod script;

use script::{line, play};
use tcptrace_core::finding::FindingId;

/// A server that leaks until it has no descriptor left: three connections read to the end and kept,
/// then a queue that fills, then clients in it that give up.
const CHAIN: &str = "0ms process 7 web; 0ms sysctls; 0ms listen l port=80 pid=7; \
     10ms child a port=80; 10ms child b port=80; 10ms child c port=80; \
     20ms accept a pid=7; 20ms accept b pid=7; 20ms accept c pid=7; \
     500ms sample l queue=0/4; 1s counters; 1s fin a; 1s fin b; 1s fin c; \
     40s child q port=80; 41s counters overflows=3; 41.01s sample l queue=5/4 drops=3 watched; \
     41.5s fds 7 1024/1024; 42s counters; 42.01s sample l queue=5/4 drops=3; \
     45s fin q; 50s sample l queue=5/4 drops=3; 54.5s peek q queued torn; 56s fds 7 1024/1024; \
     60s sample l queue=5/4 drops=3; \
     61s peek a unread=0 idle=60s; 61s peek b unread=0 idle=60s; 61s peek c unread=0 idle=60s; \
     63s tick; 65s tick";

#[test]
fn a_leak_that_exhausts_descriptors_is_told_first() {
    let (engine, played) = play(&script::facts(CHAIN), None);
    let told: Vec<(String, Option<FindingId>)> = engine
        .findings()
        .map(|finding| (finding.kind.name().to_owned(), finding.caused_by))
        .collect();
    let id = |kind: &str, nth: usize| {
        let of_kind: Vec<_> = engine
            .findings()
            .filter(|finding| finding.kind.name() == kind)
            .collect();
        of_kind[nth].id
    };
    // The effects were noticed before the cause.
    assert_eq!(
        told,
        [
            ("close_wait_leak".to_owned(), None),
            (
                "accept_queue_overflow".to_owned(),
                Some(id("close_wait_leak", 0))
            ),
            (
                "close_wait_leak".to_owned(),
                Some(id("accept_queue_overflow", 0))
            ),
        ],
        "{:#?}",
        played.news.iter().map(|f| line(f)).collect::<Vec<_>>()
    );
    // That the leak is the root is news of the overflow, not only of the screen.
    assert!(played.news.iter().any(|finding| {
        finding.kind.name() == "accept_queue_overflow" && finding.caused_by.is_some()
    }));
}

#[test]
fn another_programs_leak_is_not_the_root() {
    let other = CHAIN
        .replace(
            "listen l port=80 pid=7",
            "listen l port=80 pid=8; 0ms process 8 api",
        )
        .replace("fds 7", "fds 8");
    let (engine, _) = play(&script::facts(&other), None);
    assert!(
        engine
            .findings()
            .filter(|finding| finding.kind.name() == "accept_queue_overflow")
            .all(|finding| finding.caused_by.is_none())
    );
}
