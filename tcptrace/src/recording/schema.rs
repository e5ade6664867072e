//! The JSON Schema of a recording: what a line may hold, for tools that were not written here.
//!
//! Invariant: every field that is written is named here, with its type and unit (a test holds every
//! sample against it). Unknown fields and types are allowed, as the format promises.

use serde_json::{Map, Value, json};
use tcptrace_core::finding::{Cause, Confidence, Kind, Severity, Status};
use tcptrace_core::input::LossCause;
use tcptrace_core::tcp::TcpState;

/// A field: name, type, and whether every line has it.
type Field = (&'static str, Value, bool);

fn must(name: &'static str, kind: Value) -> Field {
    (name, kind, true)
}

fn may(name: &'static str, kind: Value) -> Field {
    (name, kind, false)
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn nanoseconds(what: &str) -> Value {
    json!({"type": "integer", "minimum": 0, "description": what})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn named(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

fn words(words: &[&str]) -> Value {
    json!({"enum": words})
}

/// A word that newer versions may add to.
fn open_words(words: &[&str]) -> Value {
    json!({"type": "string", "examples": words})
}

fn object(fields: Vec<Field>) -> Value {
    let required: Vec<&str> = fields.iter().filter(|f| f.2).map(|f| f.0).collect();
    let properties: Map<String, Value> = fields
        .into_iter()
        .map(|(name, kind, _)| (name.to_owned(), kind))
        .collect();
    json!({"type": "object", "properties": properties, "required": required})
}

/// What every line has.
fn line(kind: &str, fields: Vec<Field>) -> Value {
    let mut all = vec![
        must("type", json!({"const": kind})),
        must("seq", count()),
        must("time", json!({"type": "string", "format": "date-time"})),
        must("mono_ns", nanoseconds("CLOCK_MONOTONIC")),
    ];
    all.extend(fields);
    object(all)
}

/// What every line about a socket has.
fn about_socket(kind: &str, fields: Vec<Field>) -> Value {
    let mut all = vec![
        may("sock", named("sock")),
        may("netns", count()),
        may("local", named("endpoint")),
        may("peer", named("endpoint")),
        may("process", named("owner")),
    ];
    all.extend(fields);
    line(kind, all)
}

fn task() -> Value {
    object(vec![
        must("pid", count()),
        must("tid", count()),
        must("exiting", flag()),
    ])
}

fn holder() -> Value {
    object(vec![must("pid", count()), must("fd", count())])
}

fn level() -> Value {
    object(vec![must("depth", count()), must("limit", count())])
}

/// The kinds of lines, by the name of their type.
fn records() -> Vec<(&'static str, Value)> {
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
    records.extend(host());
    records.push(("header", header()));
    records.push(("footer", footer()));
    records.push(("finding", finding()));
    records
}

fn looks() -> Vec<(&'static str, Value)> {
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

fn host() -> Vec<(&'static str, Value)> {
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

fn header() -> Value {
    line(
        "header",
        vec![
            must("version", json!({"const": super::header::FORMAT_VERSION})),
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

fn footer() -> Value {
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

fn finding() -> Value {
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
            must(
                "evidence",
                json!({"type": "object", "description": "its fields depend on the kind"}),
            ),
            must("summary", text()),
            must("advice", text()),
        ],
    )
}

fn definitions() -> Vec<(&'static str, Value)> {
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

/// The schema of one line. A line of a type that is not listed is of a newer version.
pub(crate) fn schema() -> Value {
    let mut defs = Map::new();
    let mut choices = Vec::new();
    let mut known = Vec::new();
    for (name, record) in records() {
        let name_of_definition = format!("line_{name}");
        choices.push(json!({
            "if": {"properties": {"type": {"const": name}}},
            "then": {"$ref": format!("#/$defs/{name_of_definition}")},
        }));
        known.push(name);
        defs.insert(name_of_definition, record);
    }
    defs.extend(
        definitions()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of a tcptrace recording, format version 1",
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string", "examples": known}},
        "allOf": choices,
        "$defs": defs,
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    /// Every field of `value` that `schema` does not name.
    fn unnamed(schema: &Value, root: &Value, value: &Value, path: &str, into: &mut Vec<String>) {
        let schema = match schema["$ref"].as_str() {
            Some(reference) => &root["$defs"][reference.trim_start_matches("#/$defs/")],
            None => schema,
        };
        match value {
            Value::Object(members) => {
                let Some(properties) = schema["properties"].as_object() else {
                    return;
                };
                for (name, member) in members {
                    match properties.get(name) {
                        Some(known) => {
                            unnamed(known, root, member, &format!("{path}.{name}"), into)
                        }
                        None => into.push(format!("{path}.{name}")),
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    unnamed(&schema["items"], root, item, path, into);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn the_schema_names_every_type_and_field() {
        let schema = schema();
        let mut missing = Vec::new();
        for line in samples::every_line().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let kind = line["type"].as_str().unwrap();
            let record = &schema["$defs"][format!("line_{kind}")];
            assert!(record.is_object(), "{kind}");
            unnamed(record, &schema, &line, kind, &mut missing);
            for required in record["required"].as_array().unwrap() {
                assert!(
                    line.get(required.as_str().unwrap()).is_some(),
                    "{kind}: {required}"
                );
            }
        }
        missing.sort();
        missing.dedup();
        assert!(missing.is_empty(), "not in the schema: {missing:?}");
    }
}
