//! The JSON Schema of a recording: what a line may hold, for tools that were not written here.
//!
//! Invariant: every field that is written is named here, with its type and unit (a test holds every
//! sample against it). Unknown fields and types are allowed, as the format promises.

mod facts;
mod host;

use serde_json::{Map, Value, json};

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

/// The schema of one line. A line of a type that is not listed is of a newer version.
pub(crate) fn schema() -> Value {
    let mut defs = Map::new();
    let mut choices = Vec::new();
    let mut known = Vec::new();
    for (name, record) in facts::records() {
        let name_of_definition = format!("line_{name}");
        choices.push(json!({
            "if": {"properties": {"type": {"const": name}}},
            "then": {"$ref": format!("#/$defs/{name_of_definition}")},
        }));
        known.push(name);
        defs.insert(name_of_definition, record);
    }
    defs.extend(
        host::definitions()
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
