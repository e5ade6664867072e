//! Every connection has the owner that it says it has: a load that knows its own pids writes down
//! which process did what, and the recording must agree, connection by connection.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tcptrace_lab::agent::Agent;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::Recording;
use tcptrace_lab::sockets::{State, await_count};
use tcptrace_lab::witness::despite_hiding;
use tcptrace_lab::{patience, wait_for};

const CLIENTS: usize = 30;

/// `local` and `peer` of a line, spelt as the patients' log spells them.
fn tuple(line: &Value) -> Option<(String, String)> {
    let end = |end: &Value| {
        let address: std::net::IpAddr = end["address"].as_str()?.parse().ok()?;
        let port = u16::try_from(end["port"].as_u64()?).ok()?;
        Some(std::net::SocketAddr::new(address, port).to_string())
    };
    Some((end(&line["local"])?, end(&line["peer"])?))
}

/// The lines of each connection: by the full tuple that some line of its socket carries.
fn connections(recording: &Recording) -> HashMap<(String, String), Vec<&Value>> {
    let mut of_sock: HashMap<&str, Vec<&Value>> = HashMap::new();
    for line in &recording.lines {
        if let Some(sock) = line["sock"].as_str() {
            of_sock.entry(sock).or_default().push(line);
        }
    }
    of_sock
        .into_values()
        .filter_map(|lines| Some((lines.iter().find_map(|line| tuple(line))?, lines)))
        .collect()
}

fn read_log(path: &Path) -> Result<Vec<Value>> {
    fs::read_to_string(path)?
        .lines()
        .map(|line| serde_json::from_str(line).context("the patients' log"))
        .collect()
}

fn check(mode: &str, closer_may_be_acceptor: bool) -> Result<()> {
    despite_hiding(|| short_lives(mode, closer_may_be_acceptor))
}

fn short_lives(mode: &str, closer_may_be_acceptor: bool) -> Result<()> {
    let netns = Netns::new()?;
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("log");
    let agent = Agent::record(&format!("--netns {}", netns.inode()))?;
    let server = Patient::start(
        &netns,
        &format!("owners --mode {mode} --name server --log {}", log.display()),
    )?;
    let clients = Patient::start(
        &netns,
        &format!(
            "short-lived --name blink --connect {} --processes {CLIENTS} --log {}",
            server.address(),
            log.display()
        ),
    )?;
    let said = wait_for("the load to end", Duration::from_secs(20), || {
        let said = read_log(&log)?;
        let closed = said.iter().filter(|entry| entry["did"] == "closed");
        Ok((closed.count() == CLIENTS).then_some(said))
    })?;
    clients.finish()?;
    // They say that they have closed just before they do.
    await_count(&netns, server.port(), State::CloseWait, 0)?;
    std::thread::sleep(Duration::from_millis(300) * patience());
    let recording = agent.finish()?;
    ensure!(recording.losses()? == 0, "facts were lost");
    let connections = connections(&recording);
    let mut acceptors = HashMap::new();
    for entry in &said {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let tuple = (text("local"), text("peer"));
        let lines = connections
            .get(&tuple)
            .with_context(|| format!("no line about {tuple:?}"))?;
        let context = || format!("{mode}: the log says {entry}, the recording {lines:#?}");
        let pid = &entry["pid"];
        match entry["did"].as_str() {
            Some("connected") => {
                let owned = lines.iter().filter(|line| line["type"] == "transition");
                let mut seen = 0;
                for line in owned {
                    seen += 1;
                    assert_eq!(&line["process"]["pid"], pid, "{line} {}", context());
                    assert_eq!(line["process"]["provenance"], "connect", "{line}");
                    assert_eq!(line["process"]["confidence"], "exact", "{line}");
                    assert_eq!(line["process"]["name"], "blink", "{line}");
                }
                assert_eq!(seen, 5, "a client's life: {}", context());
                let closing = lines.iter().find(|line| line["to"] == "FIN_WAIT1");
                let closing = closing.with_context(context)?;
                assert_eq!(closing["task"]["exiting"], true, "{}", context());
            }
            Some("accepted") => {
                acceptors.insert(tuple.clone(), pid);
                let accepted = lines.iter().position(|line| line["type"] == "accept");
                let accepted = accepted.with_context(context)?;
                assert_eq!(&lines[accepted]["pid"], pid, "{}", context());
                assert_eq!(lines[accepted]["tid"], entry["tid"], "{}", context());
                for line in &lines[accepted..] {
                    if line["type"] == "transition" {
                        assert_eq!(&line["process"]["pid"], pid, "{line} {}", context());
                        assert_eq!(line["process"]["provenance"], "accept", "{line}");
                        assert_eq!(line["process"]["name"], "server", "{line}");
                    }
                }
            }
            Some("closed") => {
                let closing = lines.iter().find(|line| line["to"] == "LAST_ACK");
                let closer = &closing.with_context(context)?["task"]["pid"];
                // A copy that is closed a moment later than the child's is the last one.
                let late_copy = closer_may_be_acceptor
                    && acceptors.get(&tuple).is_some_and(|pid| closer == *pid);
                assert!(closer == pid || late_copy, "{}", context());
            }
            _ => {}
        }
    }
    assert_eq!(acceptors.len(), CLIENTS);
    Ok(())
}

#[test]
fn owners_of_fork_per_connection() -> Result<()> {
    check("fork", true)
}

#[test]
fn owners_of_prefork() -> Result<()> {
    check("prefork", false)
}

#[test]
fn owners_with_reuseport() -> Result<()> {
    check("reuseport", false)
}

#[test]
fn owners_of_passed_descriptors() -> Result<()> {
    check("pass", true)
}

#[test]
fn owners_of_threads() -> Result<()> {
    check("threads", false)
}
