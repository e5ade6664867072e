//! What the kernel's trace events get wrong if one believes them: ports that are gone at CLOSE,
//! TIME_WAIT that is reported as CLOSE, addresses of sockets that are used again within
//! milliseconds, children without a tuple; and families and namespaces that look alike.

use std::collections::{HashMap, HashSet};
use std::net::Shutdown;
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context, Result};
use serde_json::Value;
use tcptrace_lab::agent::Agent;
use tcptrace_lab::client::connect;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patience;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::Recording;
use tcptrace_lab::sockets::{State, await_count};
use tcptrace_lab::witness::despite_hiding;

/// A few hundred short connections, one after the other on each of two lanes.
fn short_connections(address: &str, count: usize) -> Result<(Recording, HashSet<u64>)> {
    let netns = Netns::new()?;
    let agent = Agent::record(&format!("--netns {}", netns.inode()))?;
    let load = Patient::start(
        &netns,
        &format!("load --clients 2 --connections {count} --address {address}"),
    )?;
    let ports = load.ready()["ports"].as_array().context("no ports")?;
    let ports = ports.iter().filter_map(Value::as_u64).collect();
    load.finish()?;
    // For the last FINs.
    thread::sleep(Duration::from_millis(500) * patience());
    let recording = agent.finish()?;
    assert_eq!(recording.losses()?, 0);
    Ok((recording, ports))
}

/// The transitions of each socket, without listeners.
fn lives(recording: &Recording) -> HashMap<&str, Vec<&Value>> {
    let mut lives: HashMap<&str, Vec<&Value>> = HashMap::new();
    for line in recording.of_type("transition") {
        let listener =
            line["to"] == "LISTEN" || (line["from"] == "LISTEN" && line["to"] == "CLOSE");
        if let Some(sock) = line["sock"].as_str()
            && !listener
        {
            lives.entry(sock).or_default().push(line);
        }
    }
    lives
}

fn tuples_and_lives(address: &str) -> Result<()> {
    const COUNT: usize = 300;
    let (recording, ports) = short_connections(address, COUNT)?;
    let lives = lives(&recording);
    assert_eq!(
        lives.len(),
        2 * COUNT,
        "a socket id for each end of each connection"
    );
    let mut clients = 0;
    for life in lives.values() {
        let last = life.last().context("an empty life")?;
        assert_eq!(last["to"], "CLOSE", "{life:#?}");
        for end in ["local", "peer"] {
            assert_eq!(last[end]["address"], address, "{last}");
            assert!(last[end]["port"].as_u64() > Some(0), "{last}");
        }
        let port = |line: &Value, end: &str| line[end]["port"].as_u64().unwrap_or(0);
        if life[0]["to"] == "SYN_SENT" {
            clients += 1;
            assert!(ports.contains(&port(life[0], "peer")), "{}", life[0]);
            // The port was not chosen yet: unknown is absent, never 0.
            assert!(life[0]["local"]["port"].is_null(), "{}", life[0]);
            assert_eq!(life.len(), 5, "{life:#?}");
        } else {
            assert_eq!(life[0]["to"], "SYN_RECV", "{life:#?}");
            assert_eq!(life[1]["to"], "ESTABLISHED", "{life:#?}");
            assert!(ports.contains(&port(life[1], "local")), "{}", life[1]);
            assert!(port(life[1], "peer") > 0, "a child's tuple: {}", life[1]);
            assert_eq!(life.len(), 5, "{life:#?}");
        }
    }
    assert_eq!(clients, COUNT);
    Ok(())
}

#[test]
fn tuples_and_lives_over_ipv4() -> Result<()> {
    despite_hiding(|| tuples_and_lives("127.0.0.1"))
}

#[test]
fn tuples_and_lives_over_ipv6() -> Result<()> {
    despite_hiding(|| tuples_and_lives("::1"))
}

#[test]
fn time_wait_is_not_shown_as_close() -> Result<()> {
    let netns = Netns::new()?;
    let agent = Agent::record(&format!("--netns {}", netns.inode()))?;
    let patient = Patient::start(&netns, "eof-unread --mode serve")?;
    let mut clients = connect(&netns, patient.address(), 2)?;
    // One only ends its sending: it keeps its descriptor until the server's FIN has come.
    let mut half = clients.remove(0);
    half.shutdown(Shutdown::Write)?;
    assert_eq!(io::Read::read(&mut half, &mut [0])?, 0);
    let half = half.local_addr()?.port();
    // The other closes while the server is stopped: an orphan waits for the server's FIN.
    let orphan = clients[0].local_addr()?.port();
    patient.stop()?;
    drop(clients);
    await_count(&netns, orphan, State::FinWait2, 1)?;
    patient.go_on()?;
    for port in [half, orphan] {
        await_count(&netns, port, State::TimeWait, 1)?;
    }
    thread::sleep(Duration::from_millis(300));
    let recording = agent.finish()?;
    for (port, entered) in [(half, "TIME_WAIT"), (orphan, "FIN_WAIT2")] {
        let closing: Vec<_> = recording
            .of_type("transition")
            .filter(|line| line["local"]["port"] == port && line["to"] == "CLOSE")
            .collect();
        assert_eq!(closing.len(), 1, "{closing:#?}");
        assert_eq!(closing[0]["from"], "FIN_WAIT2", "{}", closing[0]);
        assert_eq!(closing[0]["enters"], entered, "{}", closing[0]);
    }
    Ok(())
}

#[test]
fn namespaces_and_families_are_told_apart() -> Result<()> {
    // The same address and port three times; the causes differ, so that none can stand for another.
    let (here, there) = (Netns::new()?, Netns::new()?);
    let agent = Agent::record("--close-wait-after 2s -L 7777")?;
    let patients = [
        (&here, "127.0.0.1:7777", "not-watched", "not_watched"),
        (
            &there,
            "127.0.0.1:7777",
            "read-not-closed",
            "eof_read_not_closed",
        ),
        (&there, "[::1]:7777", "never-accepted", "never_accepted"),
    ]
    .into_iter()
    .map(|(netns, listen, mistake, cause)| {
        let patient = Patient::start(netns, &format!("{mistake} --listen {listen}"))?;
        let clients = connect(netns, patient.address(), 2)?;
        thread::sleep(Duration::from_millis(200));
        drop(clients);
        Ok((netns, listen, patient, cause))
    })
    .collect::<Result<Vec<_>>>()?;
    for (netns, listen, patient, cause) in &patients {
        let finding = agent.await_finding(cause, Duration::from_secs(30), |finding| {
            finding.cause() == *cause && finding.count() == 2
        })?;
        assert_eq!(finding.pid(), Some(u64::from(patient.pid())), "{finding:?}");
        assert_eq!(finding.port(), Some(7777), "{finding:?}");
        for sample in finding.0["samples"].as_array().context("no samples")? {
            assert_eq!(sample["netns"], netns.inode(), "{finding:?}");
            let address = sample["local"]["address"].as_str().unwrap_or("?");
            assert!(listen.contains(address), "{finding:?}");
        }
    }
    let recording = agent.finish()?;
    assert_eq!(recording.findings().len(), 3, "{:#?}", recording.findings());
    Ok(())
}
