//! A view as NDJSON: the rows of the list at hand, in its order, with its filter.
//!
//! The pump's thread only clones the rows; making text of them and writing it is another thread's
//! work. Names of fields are the recording's where it has them (docs/recording.md).

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Value, json};
use tcptrace_core::Finding;
use tcptrace_core::finding::{Owner, Service};
use tcptrace_core::input::{ProcessInfo, SocketKey};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{MonoNs, Pid, WallNs, nanos};
use tcptrace_core::world::{Drops, Event, Moment, Process, Socket, What};

/// One row.
#[derive(Debug)]
pub(super) enum Exported {
    Finding(Arc<Finding>),
    Connection(Box<Socket>),
    Listener {
        socket: Box<Socket>,
        drops: Option<Drops>,
    },
    Process {
        pid: Pid,
        known: Option<Process>,
        in_state: Vec<(TcpState, u64)>,
    },
    Event {
        event: Event,
        wall: Option<WallNs>,
    },
}

/// The rows of a view, ready to be written by whoever may wait for a file.
#[derive(Debug)]
pub(crate) struct Export {
    /// What the view is called, for the name of the file.
    pub(crate) name: &'static str,
    pub(super) now: MonoNs,
    pub(super) rows: Vec<Exported>,
}

impl Export {
    /// How many lines it makes.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Writes a line per row.
    ///
    /// # Errors
    ///
    /// When `out` takes no more.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for row in &self.rows {
            let mut value = row.value(self.now);
            // The type stands first, as in a recording, so that a reader can dispatch on the prefix.
            let kind = value
                .as_object_mut()
                .and_then(|fields| fields.remove("type"));
            let rest = value.to_string();
            let kind = kind.unwrap_or_default();
            writeln!(out, "{{\"type\":{kind},{}", rest.get(1..).unwrap_or("}"))?;
        }
        out.flush()
    }
}

impl Exported {
    fn value(&self, now: MonoNs) -> Value {
        let value = match self {
            Self::Finding(finding) => self::finding(finding, now),
            Self::Connection(socket) => {
                merge(json!({"type": "connection"}), [socket_value(socket, now)])
            }
            Self::Listener { socket, drops } => merge(
                json!({"type": "listener"}),
                [
                    socket_value(socket, now),
                    json!({
                        "accept_queue": socket.accept_queue.map(|queue| json!({
                            "depth": queue.depth,
                            "limit": queue.limit,
                        })),
                        "syn_depth": socket.syn_depth,
                        "drops": drops.map(|drops| drops.total),
                        "drops_per_second": drops.map(|drops| drops.per_second),
                        "last_accept_ns": socket.last_accept().map(|(at, _)| nanos(now.since(at))),
                        "last_acceptor": socket.last_accept().map(|(_, by)| by.0),
                    }),
                ],
            ),
            Self::Process {
                pid,
                known,
                in_state,
            } => process(*pid, known.as_ref(), in_state),
            Self::Event { event, wall } => self::event(event, *wall),
        };
        without_nulls(value)
    }
}

/// Unknown is absent.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        other => other,
    }
}

fn merge<const N: usize>(mut base: Value, more: [Value; N]) -> Value {
    if let Value::Object(base) = &mut base {
        for value in more {
            if let Value::Object(fields) = value {
                base.extend(fields);
            }
        }
    }
    base
}

fn key(key: &SocketKey) -> Value {
    json!({
        "sock": key.sock.to_string(),
        "netns": key.netns.0,
        "local": key.local,
        "peer": key.peer,
    })
}

fn info(info: &ProcessInfo) -> Value {
    json!({
        "pid": info.pid.0,
        "name": &*info.name,
        "exe": info.exe.as_deref(),
        "container": info.container.as_deref(),
    })
}

fn owner(owner: &Owner) -> Value {
    merge(
        info(&owner.process),
        [json!({
            "provenance": owner.provenance.name(),
            "confidence": owner.confidence.name(),
        })],
    )
}

fn socket_value(socket: &Socket, now: MonoNs) -> Value {
    merge(
        key(&socket.key),
        [json!({
            "state": socket.state.name(),
            "in_state_ns": nanos(now.since(socket.since)),
            "in_state_is_lower_bound": socket.since_is_lower_bound.then_some(true),
            "process": socket.owner.as_ref().map(owner),
            "holders": socket.holders.iter().map(|holder| json!({
                "pid": holder.pid.0,
                "fd": holder.fd.0,
            })).collect::<Vec<_>>(),
            "unread": socket.unread,
            "retransmits": socket.retransmits,
            "closer": socket.closer.map(|(by, _)| by.0),
        })],
    )
}

fn finding(finding: &Finding, now: MonoNs) -> Value {
    let service = match finding.service {
        Service::Local(port) => json!({"open": "passive", "port": port.0}),
        Service::Remote(address, port) => {
            json!({"open": "active", "address": address.to_string(), "port": port.0})
        }
        Service::ManyRemotes | Service::ManyPorts | Service::Unknown => Value::Null,
    };
    let evidence: Vec<_> = finding
        .rows(now)
        .into_iter()
        .map(|(name, value)| json!([name, value]))
        .collect();
    json!({
        "type": "finding",
        "status": finding.status.name(),
        "id": finding.id.to_string(),
        "kind": finding.kind.name(),
        "cause": finding.cause.map(|cause| cause.name()),
        "severity": finding.severity.name(),
        "confidence": finding.confidence.name(),
        "process": finding.process.as_ref().map(owner),
        "service": service,
        "count": finding.count,
        "age_ns": nanos(finding.age(now)),
        "samples": finding.samples.iter().map(key).collect::<Vec<_>>(),
        "evidence": evidence,
        "summary": finding.summary(now),
        "advice": finding.advice(),
        "commands": finding.commands(),
    })
}

fn process(pid: Pid, known: Option<&Process>, in_state: &[(TcpState, u64)]) -> Value {
    let states: serde_json::Map<_, _> = in_state
        .iter()
        .map(|(state, count)| (state.name().to_owned(), json!(count)))
        .collect();
    let base = match known {
        Some(known) => info(&known.info),
        None => json!({"pid": pid.0}),
    };
    merge(
        json!({"type": "process"}),
        [
            base,
            json!({
                "sockets": states,
                "exited": known.and_then(|known| known.exited).map(|_| true),
                "descriptors": known.and_then(|known| known.descriptors).map(|(open, limit)| {
                    json!({"open": open, "limit": limit})
                }),
                "closes": known.map(|known| json!({
                    "close": known.closes.close,
                    "shutdown": known.closes.shutdown,
                    "exit": known.closes.exit,
                })),
            }),
        ],
    )
}

fn event(event: &Event, wall: Option<WallNs>) -> Value {
    let what = match &event.what {
        What::Socket(Moment::Transition { from, to, by }) => json!({
            "type": "transition",
            "from": from.name(),
            "to": to.name(),
            "by": by.pid().map(|pid| pid.0),
        }),
        What::Socket(Moment::Accepted { by }) => json!({"type": "accept", "by": by.0}),
        What::Socket(Moment::Retransmitted { fin, syn, attempt }) => json!({
            "type": "retransmit", "fin": fin, "syn": syn, "attempt": attempt,
        }),
        What::Socket(Moment::SynackRetransmitted { attempt, acked }) => json!({
            "type": "synack_retransmit", "attempt": attempt, "acked": acked,
        }),
        What::Socket(Moment::Reset { sent }) => json!({
            "type": "reset", "direction": if *sent { "sent" } else { "received" },
        }),
        What::Socket(_) => json!({"type": "destroy"}),
        What::QueueDrop { depth, limit, .. } => json!({
            "type": "queue_drop", "depth": depth, "limit": limit,
        }),
        What::Loss { cause, count } => json!({
            "type": "loss", "cause": cause.name(), "count": count,
        }),
        What::Exit { pid } => json!({"type": "exit", "pid": pid.0}),
    };
    let about = match event.what {
        What::Loss { .. } | What::Exit { .. } => Value::Null,
        _ => key(&event.key),
    };
    merge(
        what,
        [
            json!({
                "mono_ns": event.at.0,
                "unix_ns": wall.map(|wall| wall.0),
                "owner": event.owner.map(|pid| pid.0),
            }),
            about,
        ],
    )
}
