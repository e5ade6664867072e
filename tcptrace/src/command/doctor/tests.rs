//! The doctor on this host, as root, and what it makes of a verifier's words.

use clap::Parser as _;

use super::report::{Verdict, summarize};
use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: DoctorArgs,
}

fn args(words: &[&str]) -> DoctorArgs {
    Line::parse_from([&["doctor"], words].concat()).args
}

#[test]
fn the_verifiers_last_words_are_told() {
    let words = "the BPF_PROG_LOAD syscall returned Permission denied (os error 13). Verifier output: \
                 func#0 @0\n0: R1=ctx() R10=fp0\n5: (79) r7 = *(u64 *)(r1 +0)\n\
                 dereference of modified ctx ptr R1 off=32 disallowed\n\
                 verification time 60 usec\nprocessed 6 insns (limit 1000000)\n";
    let (summary, log) = summarize(words);
    assert_eq!(
        summary,
        "the BPF_PROG_LOAD syscall returned Permission denied (os error 13): dereference of \
         modified ctx ptr R1 off=32 disallowed"
    );
    assert!(log.is_some_and(|log| log.starts_with("func#0")));
    assert_eq!(
        summarize("no such function"),
        ("no such function".to_owned(), None)
    );
}

#[test]
fn what_is_missing_is_said_in_text_and_json() {
    let args = args(&["--tier", "tracepoint"]);
    let options = KernelOptions {
        probes: ProbeOptions {
            tier: args.kernel.tier,
            statistics: true,
            verifier_log: true,
            ..ProbeOptions::default()
        },
        ..KernelOptions::default()
    };
    let mut kernel = Kernel::open(&options).expect("tests run as root");
    let exercise = put_to_work(&mut kernel);
    assert_eq!(exercise.failed, None);
    let report = Report::of(&Checkup::read(), &args, &mut kernel, &exercise);
    assert_eq!((report.verdict, report.obstacle()), (Verdict::Less, None));
    let text = report.to_string();
    for words in [
        "tcptrace runs here with less",
        "accept_queue_overflow",
        "their listener is inferred",
        "CAP_BPF",
        "sock:inet_sock_set_state",
    ] {
        assert!(text.contains(words), "{words} is missing:\n{text}");
    }
    // Everything else was put to work, and ran.
    assert!(!text.contains("did not run when"), "{text}");
    let json = serde_json::to_value(&report).expect("it is JSON");
    assert_eq!(json["verdict"], "less");
    let probes = json["probes"].as_array().expect("a list");
    assert_eq!(probes.len(), Purpose::ALL.len());
    let states = &probes[0]["programs"][0];
    assert_eq!(states["attached"], true);
    assert!(states["runs"].as_u64() > Some(0) && states["mean_ns"].as_u64() > Some(0));
}
