//! A finding as the report shows it: words and rows, whatever its kind. A kind that only a newer
//! tcptrace knows is shown like any other.

use serde::Serialize;
use serde_json::Value;
use tcptrace_core::units::MonoNs;

/// Changes of one finding that are kept; the last always is.
const HISTORY: usize = 64;

/// One finding, as it was last told, and how it came there.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Finding {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) cause: Option<String>,
    pub(crate) severity: String,
    pub(crate) confidence: String,
    pub(crate) status: String,
    /// `shop (pid 812)`.
    pub(crate) process: Option<String>,
    /// The largest holders and their sockets.
    pub(crate) processes: Vec<(String, Option<u64>)>,
    /// `port 8080`, `to 192.0.2.1:443`.
    pub(crate) service: Option<String>,
    pub(crate) count: u64,
    pub(crate) growth_per_minute: Option<f64>,
    pub(crate) since_wall_ns: i64,
    pub(crate) at_mono_ns: MonoNs,
    pub(crate) summary: String,
    pub(crate) advice: String,
    pub(crate) caused_by: Option<String>,
    /// Name and value.
    pub(crate) evidence: Vec<(String, String)>,
    /// Both ends.
    pub(crate) samples: Vec<(String, String)>,
    pub(crate) history: Vec<Point>,
}

/// One change of a finding.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) mono_ns: MonoNs,
    pub(crate) status: String,
    pub(crate) severity: String,
    pub(crate) count: u64,
}

impl Finding {
    /// 3 is critical.
    pub(super) fn weight(&self) -> u8 {
        weight(&self.severity)
    }

    /// The worst that it has been.
    pub(super) fn worst(&self) -> u8 {
        let past = self.history.iter().map(|point| weight(&point.severity));
        past.max().unwrap_or(0).max(self.weight())
    }

    /// In which order findings are told: the worst first, of those the ones that are still there, and
    /// a root before what it brought about.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        (
            std::cmp::Reverse(self.worst()),
            self.caused_by.is_some(),
            self.status == "resolved",
        )
    }

    /// When it was first told.
    pub(super) fn opened(&self) -> MonoNs {
        self.history.first().map_or(self.at_mono_ns, |p| p.mono_ns)
    }

    /// `close_wait_leak/not_watched`.
    pub(super) fn name(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{}/{cause}", self.kind),
            None => self.kind.clone(),
        }
    }

    /// Takes over what was told of it before.
    pub(super) fn after(&mut self, before: Option<Self>) {
        let mut history = Vec::new();
        if let Some(before) = before {
            // A root that has resolved was the root all the same.
            self.caused_by = self.caused_by.take().or(before.caused_by);
            history = before.history;
        }
        if history.len() >= HISTORY {
            // The first says when it opened, the last what it is now.
            history.remove(HISTORY / 2);
        }
        history.push(Point {
            mono_ns: self.at_mono_ns,
            status: self.status.clone(),
            severity: self.severity.clone(),
            count: self.count,
        });
        self.history = history;
    }
}

/// 3 is critical.
pub(super) fn weight(severity: &str) -> u8 {
    match severity {
        "critical" => 3,
        "warning" => 2,
        _ => 1,
    }
}

/// Evidence as rows, for a finding that was read and not computed.
pub(crate) fn rows(evidence: &Value) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    if let Value::Object(members) = evidence {
        for (name, value) in members {
            row(name, value, &mut rows);
        }
    }
    rows
}

fn row(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let label = |name: &str| name.trim_end_matches("_ns").replace('_', " ");
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| row(name, item, rows)),
        Value::Object(members) => {
            let text: Vec<String> = members
                .iter()
                .map(|(key, member)| format!("{} {}", label(key), plain(key, member)))
                .collect();
            rows.push((label(name), text.join(", ")));
        }
        value => rows.push((label(name), plain(name, value))),
    }
}

fn plain(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => match number.as_u64() {
            Some(ns) if name.ends_with("_ns") && !name.ends_with("mono_ns") => {
                super::units::span(std::time::Duration::from_nanos(ns))
            }
            _ => number.to_string(),
        },
        Value::Object(members) => members
            .values()
            .map(|member| plain("", member))
            .collect::<Vec<_>>()
            .join(":"),
        Value::Array(items) => items
            .iter()
            .map(|item| plain("", item))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Null => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_of_an_unknown_kind_becomes_rows() {
        let evidence = serde_json::json!({
            "oldest_age_ns": 5_000_000_000_u64,
            "orphan": true,
            "descriptors": {"open": 9, "limit": 16},
            "holders": [{"pid": 7, "fd": 3}, {"pid": 8, "fd": 4}],
        });
        let rows = rows(&evidence);
        let find = |name: &str| {
            let of = |(n, v): &(String, String)| (n == name).then(|| v.clone());
            rows.iter().filter_map(of).collect::<Vec<_>>()
        };
        assert_eq!(find("oldest age"), ["5 s"]);
        assert_eq!(find("orphan"), ["yes"]);
        assert_eq!(find("descriptors"), ["limit 16, open 9"]);
        assert_eq!(find("holders").len(), 2);
    }
}
