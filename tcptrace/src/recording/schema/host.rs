//! Lines that are about no single socket, findings, and what several kinds of lines share.

use serde_json::{Value, json};
use tcptrace_core::finding::{Cause, Confidence, Kind, Severity, Status};
use tcptrace_core::input::LossCause;
use tcptrace_core::tcp::TcpState;

use super::{
    count, flag, line, list, may, must, named, nanoseconds, object, open_words, text, words,
};

pub(super) fn lines() -> Vec<(&'static str, Value)> {
    let numbers =
        || json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}});
    vec![
        (
            "snapshot",
            line(
                "snapshot",
                vec![
                    must("phase", words(&["begin", "end"])),
                    may("complete", flag()),
                    must("scope", words(&["descriptors", "tables"])),
                    may("netns", count()),
                ],
            ),
        ),
        (
            "counters",
            line(
                "counters",
                vec![must("netns", count()), must("tcp_ext", numbers())],
            ),
        ),
        (
            "netns",
            line(
                "netns",
                vec![must("netns", count()), must("sysctls", numbers())],
            ),
        ),
        (
            "process",
            line(
                "process",
                vec![
                    must("event", words(&["seen", "descriptors", "exit"])),
                    must("process", named("process")),
                    may("open", count()),
                    may("limit", count()),
                ],
            ),
        ),
        (
            "loss",
            line(
                "loss",
                vec![
                    must("cause", open_words(&LossCause::ALL.map(LossCause::name))),
                    may("kind", text()),
                    must("count", count()),
                    must("from_ns", nanoseconds("not before, CLOCK_MONOTONIC")),
                    must("to_ns", nanoseconds("not after, CLOCK_MONOTONIC")),
                ],
            ),
        ),
        ("tick", line("tick", vec![])),
    ]
}

pub(super) fn header() -> Value {
    line(
        "header",
        vec![
            must(
                "version",
                json!({"const": crate::recording::header::FORMAT_VERSION}),
            ),
            must("tool_version", text()),
            must("clock_offset_ns", json!({"type": "integer"})),
            must("recording_id", text()),
            may("boot_id", text()),
            may("host", text()),
            may("kernel", text()),
            may("arch", text()),
            may("hz", count()),
            must("command", list(text())),
            must("filters", list(text())),
            must(
                "thresholds",
                json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            ),
            must(
                "probes",
                list(object(vec![
                    must("name", text()),
                    may("hook", text()),
                    may("tier", text()),
                    must("attached", flag()),
                    may("reason", text()),
                ])),
            ),
            must(
                "completeness",
                open_words(&["all", "filtered", "suspects", "none"]),
            ),
            may("segment", json!({"type": "integer", "minimum": 1})),
        ],
    )
}

pub(super) fn footer() -> Value {
    let ended = [
        "signal", "duration", "quit", "disk_low", "failure", "rotated",
    ];
    let numbers =
        || json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}});
    line(
        "footer",
        vec![
            must("ended", open_words(&ended)),
            must("counts", numbers()),
            must("losses", numbers()),
        ],
    )
}

pub(super) fn finding() -> Value {
    let causes = Cause::ALL.map(Cause::name);
    let severities = [Severity::Info, Severity::Warning, Severity::Critical].map(Severity::name);
    let confidences =
        [Confidence::Unknown, Confidence::Likely, Confidence::Exact].map(Confidence::name);
    let statuses = [Status::Open, Status::Updated, Status::Resolved].map(Status::name);
    line(
        "finding",
        vec![
            must("status", words(&statuses)),
            must("id", text()),
            must("kind", open_words(&Kind::ALL.map(Kind::name))),
            may("cause", open_words(&causes)),
            must("severity", words(&severities)),
            must("confidence", words(&confidences)),
            may("process", named("process")),
            may("processes", list(named("process"))),
            may(
                "service",
                object(vec![
                    must("open", words(&["passive", "active"])),
                    may("address", text()),
                    may("port", count()),
                ]),
            ),
            must("count", count()),
            must("since", json!({"type": "string", "format": "date-time"})),
            must("since_mono_ns", nanoseconds("CLOCK_MONOTONIC")),
            may("growth_per_minute", json!({"type": "number"})),
            may("caused_by", text()),
            must(
                "samples",
                list(object(vec![
                    may("sock", named("sock")),
                    may("netns", count()),
                    may("local", named("endpoint")),
                    may("peer", named("endpoint")),
                ])),
            ),
            may(
                "stacks",
                list(object(vec![
                    must("call", open_words(&["accept", "connect", "close"])),
                    must("pid", count()),
                    must("count", count()),
                    must("frames", list(named("frame"))),
                ])),
            ),
            must(
                "evidence",
                json!({"type": "object", "description": "its fields depend on the kind"}),
            ),
            must("summary", text()),
            must("advice", text()),
        ],
    )
}

pub(super) fn definitions() -> Vec<(&'static str, Value)> {
    let owner = vec![
        must("pid", count()),
        must("name", text()),
        must(
            "provenance",
            open_words(&["connect", "listen", "accept", "inherited", "holder"]),
        ),
        must("confidence", words(&["exact", "likely", "unknown"])),
    ];
    let process = vec![
        must("pid", count()),
        may("name", text()),
        may("provenance", text()),
        may("confidence", text()),
        may("count", count()),
        may("start", count()),
        may("exe", text()),
        may("parent", count()),
        may("uid", count()),
        may("ns_pid", count()),
        may("cgroup", text()),
        may("container", text()),
        may("cmdline", text()),
    ];
    let watch = object(vec![
        must("events", count()),
        must("ready", flag()),
        must("waited_on", flag()),
    ]);
    vec![
        ("state", words(&TcpState::ALL.map(TcpState::name))),
        (
            "sock",
            json!({"type": "string", "pattern": "^[0-9a-z]{1,13}$", "description": "one life of one socket, base 36"}),
        ),
        (
            "endpoint",
            object(vec![may("address", text()), may("port", count())]),
        ),
        (
            "frame",
            object(vec![
                may("function", text()),
                may("module", text()),
                may("file", text()),
                may("line", count()),
            ]),
        ),
        ("owner", object(owner)),
        ("process", object(process)),
        (
            "waiters",
            object(vec![
                may("epoll", list(watch)),
                must("polling", count()),
                must("blocked", count()),
                must("others", count()),
            ]),
        ),
        (
            "thread",
            object(vec![
                must("pid", count()),
                must("tid", count()),
                must("state", text()),
                may("wait_channel", text()),
            ]),
        ),
    ]
}
