//! Lines about sockets: what the kernel reported, and what a look saw.

use serde_json::Value;

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
