//! `accept_queue_overflow` and `syn_queue_overflow`: who listens, why the queue is full, and how
//! many of the kernel's drops that explains.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use tcptrace_lab::agent::Agent;
use tcptrace_lab::client::knock;
use tcptrace_lab::netns::{Netns, TwoHosts};
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::Finding;

const SOON: Duration = Duration::from_secs(30);
/// Counters are read once a second; until the next reading has been judged.
const TO_NOTICE: Duration = Duration::from_millis(2500);

/// Whether the listener is older than the tracer.
#[derive(Clone, Copy)]
enum Order {
    AgentFirst,
    PatientFirst,
}

impl Order {
    fn start(self, netns: &Netns, patient: &str) -> Result<(Agent, Patient)> {
        let record = || Agent::record(&format!("--netns {}", netns.inode()));
        match self {
            Self::AgentFirst => {
                let agent = record()?;
                let patient = Patient::start(netns, patient)?;
                // The agent reads the counters of a namespace once a second, the first time when
                // it has seen somebody in it.
                thread::sleep(Duration::from_millis(1500));
                Ok((agent, patient))
            }
            Self::PatientFirst => {
                let patient = Patient::start(netns, patient)?;
                Ok((record()?, patient))
            }
        }
    }
}

/// More clients than the queue of a patient has room for; they repeat their SYNs every second.
fn accept_queue(patient: &str, order: Order, cause: &str) -> Result<()> {
    let netns = Netns::new()?;
    // A client that was answered with a cookie takes itself for established and never knocks again,
    // although its last ACK was dropped: too many of those, and the queue drains.
    netns.sysctl("net.ipv4.tcp_syncookies", 0)?;
    let (agent, patient) = order.start(&netns, patient)?;
    let clients = knock(&netns, patient.address(), &[], 40)?;
    agent.await_finding(cause, SOON, |finding| {
        finding.kind() == "accept_queue_overflow" && finding.cause() == cause
    })?;
    drop(clients);
    let earlier = netns.counters()?["ListenOverflows"];
    thread::sleep(TO_NOTICE);
    let recording = agent.finish()?;
    let overflows = netns.counters()?["ListenOverflows"];
    let findings: Vec<Finding> = recording
        .findings_on(patient.port())
        .into_iter()
        .filter(|finding| finding.kind() == "accept_queue_overflow")
        .collect();
    assert_eq!(findings.len(), 1, "one cause: {findings:#?}");
    let finding = &findings[0];
    assert_eq!(finding.cause(), cause, "{finding:?}");
    assert_eq!(finding.pid(), Some(u64::from(patient.pid())), "{finding:?}");
    assert_eq!(finding.evidence("limit"), 2, "{finding:?}");
    let number = |name: &str| finding.evidence(name).as_u64().unwrap_or(0);
    let (mine, kernel) = (number("drops"), number("kernel_drops"));
    assert!(
        (earlier..=overflows).contains(&kernel),
        "ListenOverflows went from {earlier} to {overflows}: {finding:?}"
    );
    assert!(
        (kernel / 2..=kernel).contains(&mine),
        "one listener explains the drops of its namespace: {finding:?}"
    );
    Ok(())
}

#[test]
fn accept_queue_of_a_server_that_does_not_accept() -> Result<()> {
    accept_queue(
        "never-accepted --backlog 2",
        Order::AgentFirst,
        "not_accepting",
    )
}

#[test]
fn accept_queue_of_a_server_without_descriptors() -> Result<()> {
    accept_queue(
        "accept-without-descriptors --backlog 2 --limit 16",
        Order::PatientFirst,
        "fd_limit",
    )
}

#[test]
fn accept_queue_of_a_slow_server() -> Result<()> {
    accept_queue(
        "accept-slowly --backlog 2 --every-ms 300",
        Order::AgentFirst,
        "too_slow",
    )
}

/// Half-open connections from 16 sources: the client's host drops the SYN-ACKs on arrival.
fn syn_queue(cookies: u32, order: Order, counter: &str) -> Result<()> {
    let hosts = TwoHosts::new(16)?;
    hosts.server.sysctl("net.ipv4.tcp_syncookies", cookies)?;
    hosts
        .client
        .drop_arriving("tcp flags & (syn | ack) == (syn | ack)")?;
    let listening = format!("not-watched --backlog 8 {}", hosts.listen_option());
    let (agent, patient) = order.start(&hosts.server, &listening)?;
    let server = hosts.server_at(patient.port());
    let clients = knock(&hosts.client, server, &hosts.sources, 64)?;
    agent.await_finding("syn_flood", SOON, |finding| {
        finding.kind() == "syn_queue_overflow" && finding.cause() == "syn_flood"
    })?;
    drop(clients);
    let earlier = hosts.server.counters()?[counter];
    thread::sleep(TO_NOTICE);
    let recording = agent.finish()?;
    let overflows = hosts.server.counters()?[counter];
    // That the handshakes do not finish is told besides, as what the flood brings about.
    let findings: Vec<Finding> = recording
        .findings_on(patient.port())
        .into_iter()
        .filter(|finding| finding.name() != "synack_retransmit/no_final_ack")
        .collect();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let finding = &findings[0];
    assert_eq!(finding.name(), "syn_queue_overflow/syn_flood");
    assert_eq!(finding.pid(), Some(u64::from(patient.pid())), "{finding:?}");
    assert_eq!(finding.evidence("limit"), 8, "{finding:?}");
    assert_eq!(finding.evidence("syncookies"), cookies, "{finding:?}");
    let kernel = finding.evidence("kernel_drops").as_u64().unwrap_or(0);
    assert!(
        kernel > 0 && (earlier..=overflows).contains(&kernel),
        "{counter} went from {earlier} to {overflows}: {finding:?}"
    );
    let (mine, other) = match cookies {
        0 => ("dropped", "cookies"),
        _ => ("cookies", "dropped"),
    };
    assert!(
        finding.evidence(mine).as_u64().unwrap_or(0) > 0,
        "{finding:?}"
    );
    assert_eq!(
        finding.evidence(other).as_u64().unwrap_or(0),
        0,
        "{finding:?}"
    );
    Ok(())
}

#[test]
fn syn_queue_that_drops() -> Result<()> {
    syn_queue(0, Order::AgentFirst, "TCPReqQFullDrop")
}

#[test]
fn syn_queue_that_answers_with_cookies() -> Result<()> {
    syn_queue(1, Order::PatientFirst, "TCPReqQFullDoCookies")
}
