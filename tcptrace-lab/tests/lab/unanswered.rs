//! What the peer does not answer: connects, SYN-ACKs, data, closes. The cable is cut on the receiving
//! side's ingress, so that the sender cannot know; beside each, what looks alike and is none.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tcptrace_lab::agent::Agent;
use tcptrace_lab::client::{connect, knock};
use tcptrace_lab::netns::{Netns, TwoHosts};
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::{Finding, Recording};
use tcptrace_lab::sockets::{State, await_count};
use tcptrace_lab::witness::despite_hiding;

const SOON: Duration = Duration::from_secs(40);
/// Longer than the thresholds that the counter-scenarios set.
const LONG_ENOUGH: Duration = Duration::from_secs(5);

fn record(netns: &Netns, more: &str) -> Result<Agent> {
    Agent::record(&format!("--netns {} {more}", netns.inode()))
}

/// What every finding here must say: whose it is and how sure it is.
fn belongs(finding: &Finding, name: &str, pid: u32, confidence: &str) {
    assert_eq!(finding.name(), name, "{finding:?}");
    assert_eq!(finding.pid(), Some(u64::from(pid)), "{finding:?}");
    assert_eq!(finding.confidence(), confidence, "{finding:?}");
}

fn of_kind(recording: &Recording, kind: &str) -> Vec<Finding> {
    let findings = recording.findings().into_values();
    findings.filter(|finding| finding.kind() == kind).collect()
}

#[test]
fn a_connect_that_nobody_answers() -> Result<()> {
    despite_hiding(|| {
        let hosts = TwoHosts::new(1)?;
        hosts.client.sysctl("net.ipv4.tcp_syn_retries", 2)?;
        // Gone on kernels before 6.5.
        let _ = hosts.client.sysctl("net.ipv4.tcp_syn_linear_timeouts", 0);
        hosts
            .server
            .drop_arriving("tcp flags & (syn | ack) == syn")?;
        let agent = record(&hosts.client, "")?;
        // The sysctls of a namespace are read when somebody is seen in it.
        let patient = Patient::start(
            &hosts.client,
            &format!("knock --connections 2 --connect {}", hosts.server_at(81)),
        )?;
        let finding = agent.await_finding("syn_retransmit", SOON, |finding| {
            finding.kind() == "syn_retransmit" && finding.evidence("outcomes")["timed_out"] == 2
        })?;
        belongs(&finding, "syn_retransmit", patient.pid(), "exact");
        assert_eq!(finding.port(), Some(81), "{finding:?}");
        assert_eq!(finding.evidence("attempt"), 2, "{finding:?}");
        assert_eq!(finding.evidence("limit")["value"], 2, "{finding:?}");
        assert_eq!(finding.count(), 2, "{finding:?}");
        let recording = agent.finish()?;
        assert_eq!(recording.findings().len(), 1, "{:#?}", recording.findings());
        Ok(())
    })
}

#[test]
fn a_connect_that_is_refused_is_answered() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = record(&hosts.client, "")?;
    let patient = Patient::start(
        &hosts.client,
        &format!("knock --connections 5 --connect {}", hosts.server_at(81)),
    )?;
    thread::sleep(LONG_ENOUGH);
    patient.finish()?;
    let recording = agent.finish()?;
    assert_eq!(of_kind(&recording, "syn_retransmit").len(), 0);
    Ok(())
}

/// Half-open connections: `side` drops what `rule` matches.
fn no_final_ack(at_client: bool, rule: &str, repeats: impl Fn(u64) -> bool) -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let dropping = if at_client {
        &hosts.client
    } else {
        &hosts.server
    };
    dropping.drop_arriving(rule)?;
    let agent = record(&hosts.server, "")?;
    let patient = Patient::start(
        &hosts.server,
        &format!("not-watched {}", hosts.listen_option()),
    )?;
    let server = hosts.server_at(patient.port());
    let clients = knock(&hosts.client, server, &hosts.sources, 2)?;
    let finding = agent.await_finding("no_final_ack", SOON, |finding| {
        finding.kind() == "synack_retransmit" && finding.count() == 2
    })?;
    belongs(
        &finding,
        "synack_retransmit/no_final_ack",
        patient.pid(),
        "exact",
    );
    assert_eq!(finding.port(), Some(u64::from(patient.port())));
    let repeated = finding.evidence("repeated_syns").as_u64();
    assert!(repeats(repeated.context("not known")?), "{finding:?}");
    // The way is free again: the next repetition completes them.
    dropping.stop_dropping()?;
    agent.await_finding("answered in the end", SOON, |finding| {
        finding.evidence("outcomes")["answered"] == 2
    })?;
    drop(clients);
    agent.finish()?;
    Ok(())
}

#[test]
fn a_final_ack_that_is_lost() -> Result<()> {
    let rule = "tcp flags & (syn | ack | fin | rst) == ack";
    no_final_ack(false, rule, |repeated| repeated == 0)
}

#[test]
fn a_synack_that_is_lost() -> Result<()> {
    let rule = "tcp flags & (syn | ack) == (syn | ack)";
    no_final_ack(true, rule, |repeated| repeated > 0)
}

#[test]
fn a_final_ack_that_meets_a_full_queue() -> Result<()> {
    let hosts = TwoHosts::new(2)?;
    // Clients of one address stay half-open, while those of the other fill the queue.
    let (slow, quick) = hosts.sources.split_at(1);
    let of_slow = format!(
        "ip saddr {} tcp flags & (syn | ack | fin | rst) == ack",
        slow[0]
    );
    hosts.server.drop_arriving(&of_slow)?;
    let agent = record(&hosts.server, "")?;
    let patient = Patient::start(
        &hosts.server,
        &format!("never-accepted --backlog 4 {}", hosts.listen_option()),
    )?;
    let server = hosts.server_at(patient.port());
    let half_open = knock(&hosts.client, server, slow, 2)?;
    await_count(&hosts.server, patient.port(), State::SynRecv, 2)?;
    let waiting = knock(&hosts.client, server, quick, 8)?;
    // The kernel refuses above the limit only.
    await_count(&hosts.server, patient.port(), State::Established, 5)?;
    hosts.server.stop_dropping()?;
    let finding = agent.await_finding("accept_queue_full", SOON, |finding| {
        finding.cause() == "accept_queue_full" && finding.count() == 2
    })?;
    belongs(
        &finding,
        "synack_retransmit/accept_queue_full",
        patient.pid(),
        "exact",
    );
    assert_eq!(finding.evidence("queue_limit"), 4, "{finding:?}");
    drop((half_open, waiting));
    agent.finish()?;
    Ok(())
}

#[test]
fn a_deferred_accept_is_no_fault() -> Result<()> {
    despite_hiding(|| {
        let netns = Netns::new()?;
        let agent = record(&netns, "--set synack_retransmit.info_attempt=1")?;
        let patient = Patient::start(&netns, "defer-accept --for 3")?;
        let clients = connect(&netns, patient.address(), 2)?;
        let finding = agent.await_finding("defer_accept", SOON, |finding| {
            finding.kind() == "synack_retransmit" && finding.count() == 2
        })?;
        belongs(
            &finding,
            "synack_retransmit/defer_accept",
            patient.pid(),
            "exact",
        );
        drop(clients);
        let recording = agent.finish()?;
        for finding in recording.findings().into_values() {
            assert_eq!(finding.cause(), "defer_accept", "{finding:?}");
            assert_eq!(finding.0["severity"], "info", "{finding:?}");
        }
        Ok(())
    })
}

#[test]
fn data_that_nobody_acknowledges() -> Result<()> {
    despite_hiding(|| {
        let hosts = TwoHosts::new(1)?;
        hosts.server.sysctl("net.ipv4.tcp_retries2", 4)?;
        let agent = record(&hosts.server, "")?;
        let patient = Patient::start(
            &hosts.server,
            &format!("serve --mode talk {}", hosts.listen_option()),
        )?;
        let mut clients = connect(&hosts.client, hosts.server_at(patient.port()), 2)?;
        for client in &mut clients {
            client.read_exact(&mut [0])?;
        }
        hosts.client.drop_arriving("tcp sport != 0")?;
        let finding = agent.await_finding("dead_peer", SOON, |finding| {
            finding.kind() == "dead_peer" && finding.evidence("outcomes")["timed_out"] == 2
        })?;
        belongs(&finding, "dead_peer", patient.pid(), "exact");
        assert_eq!(finding.port(), Some(u64::from(patient.port())));
        assert_eq!(finding.evidence("limit")["value"], 4, "{finding:?}");
        assert!(
            finding.evidence("attempt").as_u64() >= Some(3),
            "{finding:?}"
        );
        agent.finish()?;
        Ok(())
    })
}

#[test]
fn a_client_that_does_not_read_is_not_dead() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = record(&hosts.server, "--idle-peers --set dead_peer.idle_after=2s")?;
    // Fills the client's window; and one that keepalive would tell of.
    let talker = Patient::start(
        &hosts.server,
        &format!("serve --mode talk {}", hosts.listen_option()),
    )?;
    let watched = Patient::start(
        &hosts.server,
        &format!("serve --mode keepalive {}", hosts.listen_option()),
    )?;
    let clients = connect(&hosts.client, hosts.server_at(talker.port()), 2)?;
    let others = connect(&hosts.client, hosts.server_at(watched.port()), 2)?;
    thread::sleep(LONG_ENOUGH);
    drop((clients, others));
    let recording = agent.finish()?;
    assert_eq!(recording.findings().len(), 0, "{:#?}", recording.findings());
    Ok(())
}

#[test]
fn keepalive_probes_that_run_out() -> Result<()> {
    despite_hiding(|| {
        let hosts = TwoHosts::new(1)?;
        let agent = record(&hosts.server, "")?;
        let patient = Patient::start(
            &hosts.server,
            &format!("serve --mode keepalive {}", hosts.listen_option()),
        )?;
        let clients = connect(&hosts.client, hosts.server_at(patient.port()), 2)?;
        await_count(&hosts.server, patient.port(), State::Established, 2)?;
        hosts.client.drop_arriving("tcp sport != 0")?;
        let finding = agent.await_finding("dead_peer", SOON, |finding| {
            finding.kind() == "dead_peer" && finding.count() == 2
        })?;
        belongs(&finding, "dead_peer", patient.pid(), "exact");
        assert_eq!(finding.evidence("by_keepalive"), 2, "{finding:?}");
        assert_eq!(finding.evidence("outcomes")["timed_out"], 2, "{finding:?}");
        drop(clients);
        agent.finish()?;
        Ok(())
    })
}

#[test]
fn silent_peers_are_told_on_request() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let patient = Patient::start(
        &hosts.server,
        &format!("serve --mode wait {}", hosts.listen_option()),
    )?;
    // One older than the agent, one younger.
    let older = connect(&hosts.client, hosts.server_at(patient.port()), 1)?;
    await_count(&hosts.server, patient.port(), State::Established, 1)?;
    let agent = record(&hosts.server, "--idle-peers --set dead_peer.idle_after=3s")?;
    let younger = connect(&hosts.client, hosts.server_at(patient.port()), 1)?;
    let finding = agent.await_finding("silent peers", SOON, |finding| {
        finding.kind() == "dead_peer" && finding.count() == 2
    })?;
    belongs(&finding, "dead_peer", patient.pid(), "exact");
    assert_eq!(finding.0["severity"], "info", "{finding:?}");
    assert_eq!(finding.evidence("idle"), 2, "{finding:?}");
    assert_eq!(finding.evidence("keepalive"), false, "{finding:?}");
    let time = finding.evidence("detection")["time_ns"].as_u64();
    assert_eq!(time, Some(7_200_000_000_000), "{finding:?}");
    drop((older, younger));
    agent.finish()?;
    Ok(())
}

#[test]
fn a_close_that_waits_for_room() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = record(&hosts.server, "--set closing_stuck.after=2s")?;
    let patient = Patient::start(
        &hosts.server,
        &format!("serve --mode fill {}", hosts.listen_option()),
    )?;
    let clients = connect(&hosts.client, hosts.server_at(patient.port()), 2)?;
    await_count(&hosts.server, patient.port(), State::FinWait1, 2)?;
    let finding = agent.await_finding("zero_window", SOON, |finding| {
        finding.kind() == "closing_stuck" && finding.count() == 2
    })?;
    belongs(
        &finding,
        "closing_stuck/zero_window",
        patient.pid(),
        "exact",
    );
    assert_eq!(finding.port(), Some(u64::from(patient.port())));
    assert_eq!(finding.evidence("window"), 0, "{finding:?}");
    assert!(finding.evidence("unsent").as_u64() > Some(1), "{finding:?}");
    assert_eq!(finding.evidence("orphan"), true, "{finding:?}");
    // Read at last, they finish.
    for mut client in clients {
        client.read_to_end(&mut Vec::new())?;
    }
    agent.await_finding("resolved", SOON, |finding| {
        finding.kind() == "closing_stuck" && finding.status() == "resolved"
    })?;
    agent.finish()?;
    Ok(())
}

#[test]
fn a_close_whose_data_is_not_acknowledged() -> Result<()> {
    despite_hiding(|| {
        let hosts = TwoHosts::new(1)?;
        let agent = record(&hosts.server, "--set closing_stuck.after=3s")?;
        let patient = Patient::start(
            &hosts.server,
            &format!("serve --mode answer {}", hosts.listen_option()),
        )?;
        // Large segments are lost, as on a path with a smaller MTU; small ones are not.
        hosts.client.drop_arriving("meta length > 400")?;
        let mut clients = connect(&hosts.client, hosts.server_at(patient.port()), 2)?;
        for client in &mut clients {
            client.write_all(b"?")?;
        }
        let finding = agent.await_finding("unacked_data", SOON, |finding| {
            finding.kind() == "closing_stuck" && finding.count() == 2
        })?;
        belongs(
            &finding,
            "closing_stuck/unacked_data",
            patient.pid(),
            "exact",
        );
        assert_eq!(finding.port(), Some(u64::from(patient.port())));
        assert!(
            finding.evidence("data_retransmits").as_u64() > Some(1),
            "{finding:?}"
        );
        drop(clients);
        let recording = agent.finish()?;
        assert_eq!(
            of_kind(&recording, "fin_retransmit").len(),
            0,
            "data is not the FIN: {:#?}",
            recording.findings()
        );
        Ok(())
    })
}

#[test]
fn a_fin_that_is_repeated_is_not_stuck() -> Result<()> {
    despite_hiding(|| {
        let hosts = TwoHosts::new(1)?;
        hosts.client.drop_arriving("tcp flags & fin == fin")?;
        hosts.server.sysctl("net.ipv4.tcp_orphan_retries", 3)?;
        let agent = record(&hosts.server, "--set closing_stuck.after=1s")?;
        let patient = Patient::start(
            &hosts.server,
            &format!("accept-slowly --every-ms 1 {}", hosts.listen_option()),
        )?;
        let clients = connect(&hosts.client, hosts.server_at(patient.port()), 2)?;
        let finding = agent.await_finding("given up", SOON, |finding| {
            finding.kind() == "fin_retransmit" && finding.evidence("outcomes")["timed_out"] == 2
        })?;
        belongs(&finding, "fin_retransmit", patient.pid(), "exact");
        assert_eq!(finding.evidence("limit")["value"], 3, "{finding:?}");
        assert_eq!(finding.evidence("orphan"), true, "{finding:?}");
        drop(clients);
        let recording = agent.finish()?;
        assert_eq!(recording.findings().len(), 1, "{:#?}", recording.findings());
        Ok(())
    })
}

/// A listener with this backlog and `knocks` clients waiting, somaxconn being 8.
fn backlog(backlog: u32, knocks: usize) -> Result<(Agent, Patient, Vec<impl Sized>)> {
    let netns = Netns::new()?;
    netns.sysctl("net.core.somaxconn", 8)?;
    let agent = record(&netns, "")?;
    let patient = Patient::start(&netns, &format!("never-accepted --backlog {backlog}"))?;
    let clients = connect(&netns, patient.address(), knocks)?;
    Ok((agent, patient, clients))
}

#[test]
fn a_backlog_that_somaxconn_cuts() -> Result<()> {
    let (agent, patient, clients) = backlog(64, 6)?;
    let finding = agent.await_finding("backlog_truncated", SOON, |finding| {
        finding.kind() == "backlog_truncated"
    })?;
    belongs(&finding, "backlog_truncated", patient.pid(), "likely");
    assert_eq!(finding.port(), Some(u64::from(patient.port())));
    assert_eq!(finding.evidence("limit"), 8, "{finding:?}");
    assert!(finding.evidence("depth").as_u64() >= Some(5), "{finding:?}");
    drop(clients);
    agent.finish()?;
    Ok(())
}

#[test]
fn a_backlog_that_is_not_cut_or_not_used() -> Result<()> {
    for (length, knocks) in [(7, 6), (64, 4)] {
        let (agent, _patient, clients) = backlog(length, knocks)?;
        thread::sleep(LONG_ENOUGH);
        drop(clients);
        let recording = agent.finish()?;
        assert_eq!(of_kind(&recording, "backlog_truncated").len(), 0);
    }
    Ok(())
}
