//! Lines about sockets: what the kernel reported, and what a look saw.

use serde_json::Value;
use tcptrace_core::world::Tag;

use super::{
    about_socket, count, flag, holder, level, list, may, must, named, nanoseconds, object,
    open_words, task, text, words,
};

/// The kinds of lines, by the name of their type.
pub(super) fn records() -> Vec<(&'static str, Value)> {
    let state = || named("state");
    let mut records = vec![
        (
            "transition",
            about_socket(
                "transition",
                vec![
                    must("from", state()),
                    must("to", state()),
                    may("enters", state()),
                    may("in_state_ns", nanoseconds("how long it was in `from`")),
                    may("task", task()),
                    may("error", count()),
                    must("shutdown", count()),
                    must("peer_fin", flag()),
                    must("dead", flag()),
                    must("has_socket", flag()),
                    must("file_released", flag()),
                    may("file_refs", count()),
                    may("unread", count()),
                    may("unacked", count()),
                    may("tags", tags()),
                    may(
                        "closer",
                        object(vec![
                            must("by", text()),
                            may("pid", count()),
                            may("call", text()),
                            may("signal", count()),
                        ]),
                    ),
                    may(
                        "usage",
                        object(vec![
                            must("idle_ns", nanoseconds("since data last went either way")),
                            must("segments_in", count()),
                            must("segments_out", count()),
                        ]),
                    ),
                    may("listener", named("sock")),
                    may("waiter", open_words(&["nobody", "epoll", "other"])),
                    may("waiter_pid", count()),
                ],
            ),
        ),
        (
            "accept",
            about_socket(
                "accept",
                vec![
                    must("pid", count()),
                    must("tid", count()),
                    may("fd", count()),
                ],
            ),
        ),
        (
            "retransmit",
            about_socket(
                "retransmit",
                vec![
                    must("flags", list(words(&["SYN", "FIN"]))),
                    must("state", state()),
                    must("attempt", count()),
                    must("reason", words(&["timeout", "loss_probe", "recovery"])),
                    must("backoff", count()),
                    may("rto_ns", nanoseconds("the timeout that fired")),
                    must("dead", flag()),
                    may("user_timeout_ns", nanoseconds("TCP_USER_TIMEOUT")),
                    may("syn_retries", count()),
                ],
            ),
        ),
        (
            "synack_retransmit",
            about_socket(
                "synack_retransmit",
                vec![
                    must("attempt", count()),
                    must("acked", flag()),
                    must("defer_accept", flag()),
                    may("retries", count()),
                    may("timeouts", count()),
                ],
            ),
        ),
        (
            "reset",
            about_socket(
                "reset",
                vec![
                    must("direction", words(&["sent", "received"])),
                    may("state", state()),
                    may("reason", text()),
                    may("task", task()),
                    may("tags", tags()),
                ],
            ),
        ),
        (
            "queue_drop",
            about_socket(
                "queue_drop",
                vec![
                    must("queue", words(&["syn", "accept"])),
                    must("outcome", words(&["dropped", "cookie"])),
                    must("depth", count()),
                    must("limit", count()),
                ],
            ),
        ),
        ("destroy", about_socket("destroy", vec![])),
    ];
    records.extend(looks());
    records.extend(super::host::lines());
    records.push(("header", super::host::header()));
    records.push(("footer", super::host::footer()));
    records.push(("finding", super::host::finding()));
    records
}

/// What was out of the ordinary about a connection.
fn tags() -> Value {
    let names = Tag::ALL.map(Tag::name);
    list(open_words(&names))
}

/// What the sending side waits for.
fn sending() -> Value {
    object(vec![
        must("window", count()),
        must("unsent", count()),
        must("retransmits", count()),
        must("backoff", count()),
        must("probes_out", count()),
        may("user_timeout_ns", nanoseconds("TCP_USER_TIMEOUT")),
        must("keepalive", flag()),
        may("keepalive_time_ns", nanoseconds("TCP_KEEPIDLE")),
        may("keepalive_interval_ns", nanoseconds("TCP_KEEPINTVL")),
        may("keepalive_probes", count()),
    ])
}

pub(super) fn looks() -> Vec<(&'static str, Value)> {
    let state = || named("state");
    vec![
        (
            "socket",
            about_socket(
                "socket",
                vec![
                    must("state", state()),
                    may("holder", holder()),
                    may("listener", named("sock")),
                    must("has_socket", flag()),
                    must("dead", flag()),
                    may("unread", count()),
                    may("unacked", count()),
                    may("idle_ns", nanoseconds("since the last segment arrived")),
                    may("accept_queue", level()),
                ],
            ),
        ),
        (
            "carried",
            about_socket(
                "carried",
                vec![
                    must("state", state()),
                    must("since_mono_ns", nanoseconds("when it entered the state")),
                    must("since_is_lower_bound", flag()),
                    must("first_seen_mono_ns", nanoseconds("when it was first seen")),
                    must(
                        "origin",
                        open_words(&["unknown", "active", "passive", "listener"]),
                    ),
                    may("listener", named("sock")),
                    may("owner", named("owner")),
                    may("holders", list(holder())),
                    must("accepted", flag()),
                    must("modelled", flag()),
                    may(
                        "closer",
                        object(vec![must("pid", count()), must("call", text())]),
                    ),
                    must("retransmits", count()),
                    may("unread", count()),
                    may("accept_queue", level()),
                    may("syn_depth", count()),
                    may(
                        "last_accept_mono_ns",
                        nanoseconds("when somebody last accepted from it"),
                    ),
                    may("last_acceptor", count()),
                ],
            ),
        ),
        (
            "inspection",
            about_socket(
                "inspection",
                vec![
                    must("state", state()),
                    must("unread", count()),
                    must("unacked", count()),
                    must("bytes_acked", count()),
                    must("has_socket", flag()),
                    must("dead", flag()),
                    may("file_refs", count()),
                    must("shutdown", count()),
                    must("special_reader", flag()),
                    may("waiters", named("waiters")),
                    may("idle_ns", nanoseconds("since the last segment arrived")),
                    may(
                        "holder_scan",
                        object(vec![
                            must("complete", flag()),
                            must("holders", list(holder())),
                        ]),
                    ),
                    may("listener", named("sock")),
                    may("threads", list(named("thread"))),
                    may("sending", sending()),
                ],
            ),
        ),
        (
            "stack",
            about_socket(
                "stack",
                vec![
                    must("call", open_words(&["accept", "connect", "close"])),
                    must("pid", count()),
                    must("frames", list(named("frame"))),
                ],
            ),
        ),
        (
            "listener",
            about_socket(
                "listener",
                vec![
                    must("depth", count()),
                    must("limit", count()),
                    must("syn_depth", count()),
                    must("drops", count()),
                    may("waiters", named("waiters")),
                ],
            ),
        ),
    ]
}
