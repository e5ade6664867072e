//! What `tcptrace` wrote, read as anyone would read it: NDJSON, line by line, by the names in
//! `docs/recording.md`. Deliberately untyped.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::witness::host_hides;

/// The full lines of a recording, or of a replay's output.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// One object each.
    pub lines: Vec<Value>,
}

impl Recording {
    /// Reads a file up to its last full line, as a reader after a crash would.
    pub fn read(path: &Path) -> Result<Self> {
        let mut lines = Vec::new();
        each_line(path, |line| {
            let value = serde_json::from_str(line)
                .with_context(|| format!("line {} is not JSON: {line}", lines.len() + 1))?;
            lines.push(value);
            Ok(())
        })?;
        Ok(Self { lines })
    }

    /// Reads what a program printed.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
            .collect::<Result<_>>()?;
        Ok(Self { lines })
    }

    /// The lines of one type, in order.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["type"] == kind)
    }

    /// The last line, which must be a footer.
    pub fn footer(&self) -> Result<&Value> {
        let last = self.lines.last().context("the recording is empty")?;
        ensure!(
            last["type"] == "footer",
            "the last line is no footer: {last}"
        );
        Ok(last)
    }

    /// Whether a program of this name was attached, by the header.
    pub fn attached(&self, program: &str) -> bool {
        let probes = self
            .lines
            .first()
            .and_then(|line| line["probes"].as_array());
        probes.is_some_and(|probes| {
            probes
                .iter()
                .any(|probe| probe["name"] == program && probe["attached"] == true)
        })
    }

    /// Whether every segment that meets a full queue is seen as it happens. It must be where the kernel
    /// is known to allow every kind of probe (TCPTRACE_EXPECT_FUNCTIONS) and one is not forbidden.
    pub fn sees_queue_drops(&self) -> bool {
        let either = |names: [&str; 2]| names.iter().any(|name| self.attached(name));
        let sees = either(["syn_fexit", "syn_kretprobe"])
            && either(["ack4_fentry", "ack4_kprobe"])
            && either(["ack6_fentry", "ack6_kprobe"]);
        let expected = std::env::var_os("TCPTRACE_EXPECT_FUNCTIONS").is_some();
        let forbidden = std::env::var_os("TCPTRACE_TIER").is_some_and(|tier| tier == "tracepoint");
        assert!(
            sees || !expected || forbidden,
            "{:#}",
            self.lines[0]["probes"]
        );
        sees
    }

    /// Facts about sockets lost, all causes together, by the footer and by the `loss` lines: they must
    /// agree. Exits of processes do not count: from Linux 7 on the kernel may preempt the program that
    /// reports one, and skips it for the next that exits on that processor, which every test here does.
    pub fn losses(&self) -> Result<u64> {
        let footer = &self.footer()?["losses"];
        let counted = footer.as_object().context("the footer names no losses")?;
        let in_footer: u64 = counted.values().filter_map(Value::as_u64).sum();
        let in_lines: u64 = self
            .of_type("loss")
            .filter_map(|line| line["count"].as_u64())
            .sum();
        // A line about a loss of lines cannot be guaranteed to be written.
        ensure!(
            in_footer >= in_lines,
            "the footer forgets losses: {footer}, lines say {in_lines}"
        );
        let exits: u64 = self
            .of_type("loss")
            .filter(|line| line["kind"] == "process" && line["cause"] == "recursion")
            .filter_map(|line| line["count"].as_u64())
            .sum();
        // Where the host hides state changes, a life may end unseen; what else is lost is not its doing.
        let unreported = match host_hides()? {
            true => counted.get("unreported").and_then(Value::as_u64),
            false => None,
        };
        Ok(in_footer - exits - unreported.unwrap_or(0))
    }

    /// How many lines there are, by what they tell: a transition by its states.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for line in &self.lines {
            let word = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let told = match word("type").as_str() {
                "transition" => format!("{} to {}", word("from"), word("to")),
                other => other.to_owned(),
            };
            *counts.entry(told).or_default() += 1;
        }
        counts
    }

    /// The last word on each finding, by its id.
    pub fn findings(&self) -> BTreeMap<String, Finding> {
        self.of_type("finding")
            .map(|line| (line["id"].to_string(), Finding(line.clone())))
            .collect()
    }

    /// The last word on each finding about a local port.
    pub fn findings_on(&self, port: u16) -> Vec<Finding> {
        self.findings()
            .into_values()
            .filter(|finding| finding.port() == Some(u64::from(port)))
            .collect()
    }
}

/// Calls `each` with every full line of a file.
pub fn each_line(path: &Path, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        if line.ends_with('\n') {
            each(line.trim_end())?;
        }
        line.clear();
    }
    Ok(())
}

/// A `finding` line.
#[derive(Clone)]
pub struct Finding(pub Value);

impl Finding {
    /// Its kind.
    pub fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or("")
    }

    /// Its cause, empty when it has none.
    pub fn cause(&self) -> &str {
        self.0["cause"].as_str().unwrap_or("")
    }

    /// `kind/cause`, as `tcptrace explain` takes it.
    pub fn name(&self) -> String {
        match self.cause() {
            "" => self.kind().to_owned(),
            cause => format!("{}/{cause}", self.kind()),
        }
    }

    /// The service's port.
    pub fn port(&self) -> Option<u64> {
        self.0["service"]["port"].as_u64()
    }

    /// The largest holder.
    pub fn pid(&self) -> Option<u64> {
        self.0["process"]["pid"].as_u64()
    }

    /// How many sockets or events.
    pub fn count(&self) -> u64 {
        self.0["count"].as_u64().unwrap_or(0)
    }

    /// open, updated or resolved.
    pub fn status(&self) -> &str {
        self.0["status"].as_str().unwrap_or("")
    }

    /// exact, likely or unknown, as it would be without a loss of facts: what is exact but for that
    /// says so in its inference, and a host that hides facts from BPF causes one now and then.
    pub fn confidence(&self) -> &str {
        let told = self.0["confidence"].as_str().unwrap_or("");
        let inference = self.evidence("inference").as_str().unwrap_or("");
        if told == "likely" && inference.starts_with("facts were lost") {
            return "exact";
        }
        told
    }

    /// A member of the evidence.
    pub fn evidence(&self, name: &str) -> &Value {
        &self.0["evidence"][name]
    }

    /// What a replay must agree on: every field, less the line's own number, and the wall clock's
    /// spelling of the instants that it has by the monotonic clock too.
    pub fn verdict(&self) -> Value {
        let mut line = self.0.clone();
        if let Value::Object(fields) = &mut line {
            for name in ["seq", "time", "since"] {
                fields.remove(name);
            }
        }
        line
    }
}

impl fmt::Debug for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}
