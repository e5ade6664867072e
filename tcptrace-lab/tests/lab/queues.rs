//! `accept_queue_overflow` and `syn_queue_overflow`: who listens, why the queue is full, and how
//! many of the kernel's drops that explains.

use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tcptrace_lab::agent::{Agent, replay};
use tcptrace_lab::client::{connect, knock};
use tcptrace_lab::netns::{Netns, TwoHosts};
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::{Finding, Recording};

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
    exact(&recording, finding, "accept", mine, earlier..=overflows);
    Ok(())
}

/// Where each drop is seen as it happens, they are as many as the kernel counted, no more and no
/// less; elsewhere the finding says how sure it is.
fn exact(
    recording: &Recording,
    finding: &Finding,
    queue: &str,
    mine: u64,
    kernel: RangeInclusive<u64>,
) {
    let seen = recording
        .of_type("queue_drop")
        .filter(|line| line["queue"] == queue)
        .count() as u64;
    if recording.sees_queue_drops() {
        assert!(kernel.contains(&mine), "{mine} of {kernel:?}: {finding:?}");
        assert_eq!(seen, mine, "{finding:?}");
        assert_eq!(finding.0["confidence"], "exact", "{finding:?}");
    } else {
        assert_eq!(seen, 0, "{finding:?}");
    }
}

/// Inferred where drops are not seen as they happen; never unknown.
fn is_sure(finding: &Finding) {
    let confidence = finding.confidence();
    assert!(["exact", "likely"].contains(&confidence), "{finding:?}");
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
    let mine = finding.evidence(mine).as_u64().unwrap_or(0);
    exact(&recording, finding, "syn", mine, earlier..=overflows);
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

#[test]
fn syn_queue_of_a_burst() -> Result<()> {
    let hosts = TwoHosts::new(16)?;
    hosts.server.sysctl("net.ipv4.tcp_syncookies", 0)?;
    let synacks = "tcp flags & (syn | ack) == (syn | ack)";
    hosts.client.drop_arriving(synacks)?;
    let listening = format!("not-watched --backlog 8 {}", hosts.listen_option());
    let (agent, patient) = Order::AgentFirst.start(&hosts.server, &listening)?;
    let server = hosts.server_at(patient.port());
    let clients = knock(&hosts.client, server, &hosts.sources, 64)?;
    // More arrive at once than the queue holds; then all of them complete.
    thread::sleep(Duration::from_millis(300));
    hosts.client.stop_dropping()?;
    agent.await_finding("burst", SOON, |finding| {
        finding.kind() == "syn_queue_overflow" && finding.cause() == "burst"
    })?;
    drop(clients);
    let recording = agent.finish()?;
    let findings = recording.findings_on(patient.port());
    let finding = findings
        .iter()
        .find(|finding| finding.kind() == "syn_queue_overflow")
        .expect("the finding that was awaited stays");
    assert_eq!(finding.cause(), "burst", "{findings:#?}");
    assert_eq!(finding.pid(), Some(u64::from(patient.pid())), "{finding:?}");
    is_sure(finding);
    assert_eq!(finding.0["severity"], "warning", "{finding:?}");
    assert!(
        finding.evidence("dropped").as_u64() > Some(0),
        "{finding:?}"
    );
    Ok(())
}

#[test]
fn as_many_clients_as_the_backlog_holds_overflow_nothing() -> Result<()> {
    let netns = Netns::new()?;
    let (agent, patient) = Order::AgentFirst.start(&netns, "not-watched --backlog 64")?;
    let clients = knock(&netns, patient.address(), &[], 48)?;
    thread::sleep(TO_NOTICE * 2);
    let recording = agent.finish()?;
    let findings = recording.findings();
    assert!(findings.is_empty(), "{findings:#?}");
    drop(clients);
    Ok(())
}

#[test]
fn accept_queue_that_resets() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    hosts.server.sysctl("net.ipv4.tcp_abort_on_overflow", 1)?;
    hosts.server.sysctl("net.ipv4.tcp_syncookies", 0)?;
    let listening = format!("never-accepted --backlog 4 {}", hosts.listen_option());
    let (agent, patient) = Order::AgentFirst.start(&hosts.server, &listening)?;
    let server = hosts.server_at(patient.port());
    let waiting = connect(&hosts.client, server, 4)?;
    // The last ACKs of four more are held back: there is room for one.
    hosts
        .server
        .drop_arriving("tcp flags & (syn | ack) == ack")?;
    let reset = knock(&hosts.client, server, &[], 4)?;
    thread::sleep(Duration::from_millis(300));
    hosts.server.stop_dropping()?;
    let finding = agent.await_finding("resets", SOON, |finding| {
        finding.kind() == "accept_queue_overflow" && finding.cause() == "not_accepting"
    })?;
    assert_eq!(finding.pid(), Some(u64::from(patient.pid())), "{finding:?}");
    is_sure(&finding);
    assert_eq!(finding.evidence("abort_on_overflow"), true, "{finding:?}");
    assert!(finding.evidence("drops").as_u64() > Some(0), "{finding:?}");
    let advice = finding.0["advice"].as_str().unwrap_or("").to_owned();
    assert!(advice.contains("tcp_abort_on_overflow"), "{advice}");
    let recording = agent.finish()?;
    let sent = |line: &&serde_json::Value| line["direction"] == "sent";
    assert!(recording.of_type("reset").filter(sent).count() > 0);
    drop((waiting, reset));
    Ok(())
}

#[test]
fn a_leak_until_no_descriptor_is_left_is_one_incident() -> Result<()> {
    let netns = Netns::new()?;
    netns.sysctl("net.ipv4.tcp_syncookies", 0)?;
    let options = format!("--close-wait-after 5s --netns {}", netns.inode());
    let agent = Agent::record(&options)?;
    let patient = Patient::start(&netns, "leak-until-exhausted --backlog 2 --limit 24")?;
    thread::sleep(Duration::from_millis(1500));
    // It reads each to its end and keeps it.
    let clients = connect(&netns, patient.address(), 8)?;
    thread::sleep(Duration::from_millis(300));
    drop(clients);
    // More than it has descriptors left for; in the end they give up.
    let clients = knock(&netns, patient.address(), &[], 40)?;
    agent.await_finding("fd_limit", SOON, |finding| finding.cause() == "fd_limit")?;
    drop(clients);
    let linked = |finding: &Finding| finding.0["caused_by"].is_string();
    agent.await_recording("the whole incident", SOON, |recording| {
        let findings = recording.findings();
        let overflow = findings
            .values()
            .find(|it| it.kind() == "accept_queue_overflow" && linked(it))?;
        let queued = findings
            .values()
            .find(|it| it.cause() == "never_accepted" && linked(it))?;
        (overflow.cause() == "fd_limit" && queued.0["caused_by"] == overflow.0["id"]).then_some(())
    })?;
    let ended = agent.end(nix::sys::signal::Signal::SIGINT)?;
    let recording = ended.recording()?;
    ended.replay_agrees(&recording)?;
    let findings = recording.findings_on(patient.port());
    let of = |cause: &str| {
        let mut found = findings.iter().filter(|finding| finding.cause() == cause);
        found
            .next()
            .unwrap_or_else(|| panic!("no {cause}: {findings:#?}"))
    };
    let (leak, overflow, queued) = (
        of("eof_read_not_closed"),
        of("fd_limit"),
        of("never_accepted"),
    );
    assert!(!linked(leak), "the root: {leak:?}");
    assert_eq!(overflow.0["caused_by"], leak.0["id"]);
    assert_eq!(queued.0["caused_by"], overflow.0["id"]);
    for finding in [leak, overflow, queued] {
        assert_eq!(finding.pid(), Some(u64::from(patient.pid())), "{finding:?}");
    }
    assert_eq!(leak.confidence(), "exact", "{leak:?}");
    assert_eq!(queued.confidence(), "exact", "{queued:?}");
    is_sure(overflow);
    assert_eq!(leak.0["severity"], "critical", "{leak:?}");
    // Told root first.
    let text = String::from_utf8(replay(&ended.path(), "text")?.stdout)?;
    let place = |name: &str| {
        text.find(name)
            .unwrap_or_else(|| panic!("no {name}: {text}"))
    };
    assert!(
        place("eof_read_not_closed") < place("accept_queue_overflow/fd_limit"),
        "{text}"
    );
    assert!(
        place("accept_queue_overflow/fd_limit") < place("/never_accepted"),
        "{text}"
    );
    assert!(text.contains("because"), "{text}");
    Ok(())
}
