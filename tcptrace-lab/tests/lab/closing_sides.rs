//! Who closes, and what goes wrong there: `time_wait_pileup`, `port_exhaustion`, `fin_wait2_stuck`,
//! `reset_burst`, each cause with what looks like it and is none; and the closer of each connection.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tcptrace_lab::agent::{Agent, run_confined};
use tcptrace_lab::client::{connect, knock};
use tcptrace_lab::netns::{Netns, TwoHosts};
use tcptrace_lab::patience;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::{Finding, Recording};
use tcptrace_lab::sockets::{State, await_count};
use tcptrace_lab::witness::despite_hiding;

const SOON: Duration = Duration::from_secs(40);

/// Enough for a burst, a pile, and a share.
const MANY: usize = 60;

/// Thresholds that a test reaches.
const PILE: &str = "--set time_wait_pileup.info_count=50 --set time_wait_pileup.info_after=2s";

/// From the last event until it has been judged, at a full second.
const TO_JUDGE: Duration = Duration::from_secs(4);

fn ends(hosts: &TwoHosts, options: &str) -> Result<Patient> {
    Patient::start(
        &hosts.server,
        &format!("ends {} {options}", hosts.listen_option()),
    )
}

fn of_kind(recording: &Recording, kind: &str) -> Vec<Finding> {
    recording
        .findings()
        .into_values()
        .filter(|finding| finding.kind() == kind)
        .collect()
}

/// The one finding of a kind: its name, confidence, owner and service are as they should be.
fn only(
    recording: &Recording,
    name: &str,
    confidence: &str,
    pid: Option<u32>,
    port: u16,
) -> Finding {
    let kind = name.split('/').next().unwrap_or(name);
    let findings = of_kind(recording, kind);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let finding = findings.into_iter().next().expect("one");
    assert_eq!(finding.name(), name, "{finding:?}");
    assert_eq!(finding.confidence(), confidence, "{finding:?}");
    assert_eq!(finding.pid(), pid.map(u64::from), "{finding:?}");
    assert_eq!(finding.port(), Some(u64::from(port)), "{finding:?}");
    finding
}

fn exchange(stream: &mut TcpStream, times: usize) -> Result<()> {
    for _ in 0..times {
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])?;
    }
    Ok(())
}

/// `MANY` connections with some exchanges each; the end of each is read.
fn clients(hosts: &TwoHosts, server: SocketAddr, times: impl Fn(usize) -> usize) -> Result<()> {
    let mut streams = connect(&hosts.client, server, MANY)?;
    for (number, stream) in streams.iter_mut().enumerate() {
        exchange(stream, times(number))?;
    }
    for stream in &mut streams {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // Whether it ends by FIN or reset is the server's choice.
        let _ = stream.read(&mut [0]);
    }
    Ok(())
}

/// The ACKs of many a FIN are sent by one timer, and so are hidden together or not at all.
fn pile(options: &str, times: impl Fn(usize) -> usize, cause: &str) -> Result<Finding> {
    despite_hiding(|| pile_up(options, &times, cause))
}

fn pile_up(options: &str, times: impl Fn(usize) -> usize, cause: &str) -> Result<Finding> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("{PILE} --netns {}", hosts.server.inode()))?;
    let patient = ends(&hosts, options)?;
    clients(&hosts, hosts.server_at(patient.port()), times)?;
    agent.await_finding(cause, SOON, |finding| finding.cause() == cause)?;
    let recording = agent.finish()?;
    let name = format!("time_wait_pileup/{cause}");
    let finding = only(
        &recording,
        &name,
        "likely",
        Some(patient.pid()),
        patient.port(),
    );
    assert_eq!(finding.evidence("closes_first"), "server", "{finding:?}");
    assert!(finding.count() >= 50, "{finding:?}");
    Ok(finding)
}

#[test]
fn time_wait_of_a_server_that_closes_after_one_exchange() -> Result<()> {
    let finding = pile("--ending short", |_| 1, "short_connections")?;
    assert_eq!(finding.evidence("exchanges")["median"], 1, "{finding:?}");
    Ok(())
}

#[test]
fn time_wait_of_a_server_with_an_idle_timeout() -> Result<()> {
    let finding = pile(
        "--ending idle --idle-ms 2500",
        |number| 1 + number % 7,
        "idle_timeout",
    )?;
    let idle = finding.evidence("idle_ns")["median"].as_u64().unwrap_or(0);
    let late = 3_000_000_000 * u64::from(patience());
    assert!(
        (2_400_000_000..2_500_000_000 + late).contains(&idle),
        "{finding:?}"
    );
    Ok(())
}

#[test]
fn time_wait_of_a_server_with_a_request_limit() -> Result<()> {
    let finding = pile("--ending requests --limit 20", |_| 20, "request_limit")?;
    assert_eq!(finding.evidence("exchanges")["median"], 20, "{finding:?}");
    Ok(())
}

/// After one to seven exchanges, and at once: no habit explains it.
#[test]
fn time_wait_without_a_habit_is_of_unknown_cause() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("{PILE} --netns {}", hosts.server.inode()))?;
    let patient = ends(&hosts, "--ending asked")?;
    let mut streams = connect(&hosts.client, hosts.server_at(patient.port()), MANY)?;
    for (number, stream) in streams.iter_mut().enumerate() {
        exchange(stream, 1 + number % 7)?;
        stream.write_all(b"q")?;
        stream.read_exact(&mut [0]).expect_err("the server closes");
    }
    drop(streams);
    agent.await_finding("unknown", SOON, |finding| {
        finding.kind() == "time_wait_pileup" && finding.count() >= 50
    })?;
    let recording = agent.finish()?;
    only(
        &recording,
        "time_wait_pileup/unknown",
        "unknown",
        Some(patient.pid()),
        patient.port(),
    );
    Ok(())
}

#[test]
fn time_wait_of_a_client_is_the_clients() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("{PILE} --netns {}", hosts.client.inode()))?;
    let server = ends(&hosts, "--ending client-first")?;
    let client = Patient::start(
        &hosts.client,
        &format!(
            "spend --connect {} --connections {MANY}",
            hosts.server_at(server.port())
        ),
    )?;
    agent.await_finding("short_connections", SOON, |finding| {
        finding.cause() == "short_connections"
    })?;
    let recording = agent.finish()?;
    let finding = only(
        &recording,
        "time_wait_pileup/short_connections",
        "likely",
        Some(client.pid()),
        server.port(),
    );
    assert_eq!(finding.evidence("closes_first"), "client", "{finding:?}");
    Ok(())
}

#[test]
fn a_server_whose_clients_close_first_has_no_time_wait() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("{PILE} --netns {}", hosts.server.inode()))?;
    let patient = ends(&hosts, "--ending client-first")?;
    let mut streams = connect(&hosts.client, hosts.server_at(patient.port()), MANY)?;
    for stream in &mut streams {
        exchange(stream, 1)?;
    }
    drop(streams);
    await_count(&hosts.server, patient.port(), State::Established, 0)?;
    thread::sleep(TO_JUDGE);
    let recording = agent.finish()?;
    assert_eq!(recording.findings().len(), 0, "{:#?}", recording.findings());
    let peer_closed = recording
        .of_type("transition")
        .filter(|line| line["closer"]["by"] == "peer_fin");
    assert_eq!(peer_closed.count(), MANY);
    Ok(())
}

fn few_ports(netns: &Netns) -> Result<()> {
    netns.inside(|| {
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40099")
            .context("cannot narrow the range of local ports")
    })
}

#[test]
fn ports_of_a_client_run_out() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    few_ports(&hosts.client)?;
    let agent = Agent::record(&format!("--netns {}", hosts.client.inode()))?;
    let server = Patient::start(
        &hosts.server,
        &format!("not-watched {}", hosts.listen_option()),
    )?;
    let client = Patient::start(
        &hosts.client,
        &format!(
            "hoard --connect {} --connections 110",
            hosts.server_at(server.port())
        ),
    )?;
    assert_eq!(client.ready()["connections"], 100, "the kernel's own count");
    assert_eq!(client.ready()["no_port"], 10);
    agent.await_finding("EADDRNOTAVAIL", SOON, |finding| {
        finding.kind() == "port_exhaustion" && finding.evidence("refused") == 10
    })?;
    let recording = agent.finish()?;
    let finding = only(
        &recording,
        "port_exhaustion",
        "exact",
        Some(client.pid()),
        server.port(),
    );
    assert_eq!(finding.0["severity"], "critical", "{finding:?}");
    assert_eq!(finding.evidence("used"), 100, "{finding:?}");
    assert_eq!(finding.evidence("available"), 100, "{finding:?}");
    Ok(())
}

#[test]
fn the_same_ports_serve_several_endpoints() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    few_ports(&hosts.client)?;
    let agent = Agent::record(&format!("--netns {}", hosts.client.inode()))?;
    let mut patients = Vec::new();
    for _ in 0..3 {
        let server = Patient::start(
            &hosts.server,
            &format!("not-watched {}", hosts.listen_option()),
        )?;
        let client = Patient::start(
            &hosts.client,
            &format!(
                "hoard --connect {} --connections 40",
                hosts.server_at(server.port())
            ),
        )?;
        assert_eq!(client.ready()["connections"], 40);
        patients.push((server, client));
    }
    thread::sleep(TO_JUDGE);
    let recording = agent.finish()?;
    assert_eq!(recording.findings().len(), 0, "{:#?}", recording.findings());
    Ok(())
}

#[test]
fn half_closed_connections_whose_peer_does_not_close() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!(
        "--set fin_wait2_stuck.half_closed_after=3s --netns {}",
        hosts.server.inode()
    ))?;
    let patient = ends(&hosts, "--ending half-closed")?;
    let mut streams = connect(&hosts.client, hosts.server_at(patient.port()), 12)?;
    for stream in &mut streams {
        exchange(stream, 1)?;
    }
    await_count(&hosts.server, patient.port(), State::FinWait2, 12)?;
    agent.await_finding("half_closed", SOON, |finding| {
        finding.cause() == "half_closed" && finding.count() == 12
    })?;
    let recording = agent.finish()?;
    only(
        &recording,
        "fin_wait2_stuck/half_closed",
        "exact",
        Some(patient.pid()),
        patient.port(),
    );
    let shut_down = recording
        .of_type("transition")
        .filter(|line| line["closer"]["call"] == "shutdown");
    assert_eq!(shut_down.count(), 12);
    drop(streams);
    Ok(())
}

#[test]
fn half_closed_connections_in_use_are_not_stuck() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!(
        "--set fin_wait2_stuck.half_closed_after=3s --netns {}",
        hosts.server.inode()
    ))?;
    let patient = ends(&hosts, "--ending half-closed")?;
    let mut streams = connect(&hosts.client, hosts.server_at(patient.port()), 12)?;
    for stream in &mut streams {
        exchange(stream, 1)?;
    }
    // An upload goes on after the server has said all that it had to say.
    for _ in 0..18 {
        for stream in &mut streams {
            stream.write_all(b"more")?;
        }
        thread::sleep(Duration::from_millis(500));
    }
    let recording = agent.finish()?;
    assert_eq!(recording.findings().len(), 0, "{:#?}", recording.findings());
    Ok(())
}

#[test]
fn orphans_whose_peers_do_not_close() -> Result<()> {
    despite_hiding(orphans_stay)
}

fn orphans_stay() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!(
        "--set fin_wait2_stuck.info_orphans=40 --netns {}",
        hosts.server.inode()
    ))?;
    let patient = ends(&hosts, "--ending short")?;
    let mut streams = connect(&hosts.client, hosts.server_at(patient.port()), MANY)?;
    for stream in &mut streams {
        exchange(stream, 1)?;
    }
    agent.await_finding("orphan", SOON, |finding| {
        finding.cause() == "orphan" && finding.count() == MANY as u64
    })?;
    let recording = agent.finish()?;
    let finding = only(
        &recording,
        "fin_wait2_stuck/orphan",
        "exact",
        Some(patient.pid()),
        patient.port(),
    );
    assert_eq!(finding.evidence("counted"), MANY, "{finding:?}");
    drop(streams);
    Ok(())
}

#[test]
fn orphans_whose_peers_close_are_ordinary() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!(
        "--set fin_wait2_stuck.info_orphans=40 --netns {}",
        hosts.server.inode()
    ))?;
    let patient = ends(&hosts, "--ending short")?;
    // Each closes as soon as it has read the end: however slow the machine, few are orphans at a time.
    for mut stream in connect(&hosts.client, hosts.server_at(patient.port()), MANY)? {
        exchange(&mut stream, 1)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let _ = stream.read(&mut [0]);
    }
    thread::sleep(TO_JUDGE);
    let recording = agent.finish()?;
    assert_eq!(recording.findings().len(), 0, "{:#?}", recording.findings());
    Ok(())
}

/// A burst of resets, seen from the server.
fn burst(
    options: &str,
    request: &[u8],
    name: &str,
    confidence: &str,
) -> Result<(Recording, Finding)> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("--netns {}", hosts.server.inode()))?;
    let patient = ends(&hosts, options)?;
    let mut streams = connect(&hosts.client, hosts.server_at(patient.port()), MANY)?;
    for stream in &mut streams {
        stream.write_all(request)?;
    }
    agent.await_finding(name, SOON, |finding| {
        finding.name() == name && finding.count() == MANY as u64
    })?;
    drop(streams);
    let recording = agent.finish()?;
    let finding = only(
        &recording,
        name,
        confidence,
        Some(patient.pid()),
        patient.port(),
    );
    assert_eq!(finding.evidence("direction"), "sent", "{finding:?}");
    Ok((recording, finding))
}

#[test]
fn resets_by_a_close_with_data_unread() -> Result<()> {
    let (_, finding) = burst(
        "--ending unread",
        b"a long question",
        "reset_burst/unread_data",
        "exact",
    )?;
    assert_eq!(finding.evidence("unread"), 14, "{finding:?}");
    Ok(())
}

#[test]
fn resets_by_so_linger() -> Result<()> {
    burst("--ending linger", b"?", "reset_burst/linger_zero", "likely")?;
    Ok(())
}

#[test]
fn resets_by_a_crash_name_the_signal() -> Result<()> {
    let options = format!("--ending crash --limit {MANY}");
    let (recording, finding) = burst(&options, b"question", "reset_burst/process_exit", "exact")?;
    assert_eq!(finding.evidence("signal"), libc::SIGABRT, "{finding:?}");
    let closers: Vec<&Value> = recording
        .of_type("transition")
        .map(|line| &line["closer"])
        .filter(|closer| closer["call"] == "exit")
        .collect();
    assert!(closers.len() >= MANY, "{closers:?}");
    assert!(
        closers
            .iter()
            .all(|closer| closer["signal"] == libc::SIGABRT),
        "{closers:?}"
    );
    Ok(())
}

#[test]
fn resets_by_the_peer_are_the_peers() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("--netns {}", hosts.client.inode()))?;
    let patient = ends(&hosts, "--ending linger")?;
    clients(&hosts, hosts.server_at(patient.port()), |_| 1)?;
    agent.await_finding("by_peer", SOON, |finding| {
        finding.cause() == "by_peer" && finding.count() == MANY as u64
    })?;
    let recording = agent.finish()?;
    let finding = only(
        &recording,
        "reset_burst/by_peer",
        "exact",
        Some(std::process::id()),
        patient.port(),
    );
    assert_eq!(finding.evidence("direction"), "received", "{finding:?}");
    Ok(())
}

/// Connects to a port where nobody listens, seen from `seen`.
fn closed_port(client_side: bool, name: &str) -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let seen = if client_side {
        &hosts.client
    } else {
        &hosts.server
    };
    let agent = Agent::record(&format!("--netns {}", seen.inode()))?;
    let client = Patient::start(
        &hosts.client,
        &format!(
            "hoard --connect {} --connections {MANY}",
            hosts.server_at(1)
        ),
    )?;
    assert_eq!(client.ready()["refused"], MANY);
    agent.await_finding(name, SOON, |finding| {
        finding.name() == name && finding.count() == MANY as u64
    })?;
    let recording = agent.finish()?;
    only(
        &recording,
        name,
        "exact",
        client_side.then(|| client.pid()),
        1,
    );
    Ok(())
}

#[test]
fn resets_of_connects_that_are_refused() -> Result<()> {
    closed_port(true, "reset_burst/refused")
}

/// The kernel gives its reason for a reset from 6.10 on, and tells of those without a socket since then.
fn resets_have_reasons() -> Result<bool> {
    let types = fs::read("/sys/kernel/btf/vmlinux")?;
    let name = b"\0sk_rst_reason\0";
    Ok(types.windows(name.len()).any(|it| it == name))
}

#[test]
fn resets_for_want_of_a_socket() -> Result<()> {
    if resets_have_reasons()? {
        return closed_port(false, "reset_burst/no_socket");
    }
    // Nothing is told, so nothing is said; doctor says that it would not be.
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("--netns {}", hosts.server.inode()))?;
    let words = format!(
        "hoard --connect {} --connections {MANY}",
        hosts.server_at(1)
    );
    let client = Patient::start(&hosts.client, &words)?;
    assert_eq!(client.ready()["refused"], MANY);
    thread::sleep(TO_JUDGE);
    let recording = agent.finish()?;
    assert_eq!(recording.of_type("reset").count(), 0);
    assert_eq!(recording.findings().len(), 0, "{:#?}", recording.findings());
    let doctor = run_confined("doctor --json", |_| {})?;
    let said = String::from_utf8(doctor.stdout)?;
    assert!(said.contains("resets without a socket"), "{said}");
    Ok(())
}

#[test]
fn resets_of_a_full_accept_queue() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    hosts.server.sysctl("net.ipv4.tcp_abort_on_overflow", 1)?;
    hosts.server.sysctl("net.ipv4.tcp_syncookies", 0)?;
    let agent = Agent::record(&format!("--netns {}", hosts.server.inode()))?;
    let patient = Patient::start(
        &hosts.server,
        &format!("never-accepted --backlog 24 {}", hosts.listen_option()),
    )?;
    let server = hosts.server_at(patient.port());
    // One place is left, which lets SYNs in; then all of them complete at once.
    let waiting = connect(&hosts.client, server, 24)?;
    hosts
        .client
        .drop_arriving("tcp flags & (syn | ack) == (syn | ack)")?;
    let knocking = knock(&hosts.client, server, &[], 24)?;
    await_count(&hosts.server, patient.port(), State::SynRecv, 24)?;
    hosts.client.stop_dropping()?;
    agent.await_finding("listen_overflow", SOON, |finding| {
        finding.cause() == "listen_overflow"
    })?;
    drop((waiting, knocking));
    let recording = agent.finish()?;
    only(
        &recording,
        "reset_burst/listen_overflow",
        "likely",
        Some(patient.pid()),
        patient.port(),
    );
    Ok(())
}

#[test]
fn resets_by_a_listener_that_closes_are_of_unknown_cause() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("--netns {}", hosts.server.inode()))?;
    let patient = Patient::start(
        &hosts.server,
        &format!(
            "never-accepted --gives-up-at {MANY} {}",
            hosts.listen_option()
        ),
    )?;
    let clients = connect(&hosts.client, hosts.server_at(patient.port()), MANY)?;
    agent.await_finding("unknown", SOON, |finding| {
        finding.name() == "reset_burst/unknown" && finding.count() == MANY as u64
    })?;
    drop(clients);
    let recording = agent.finish()?;
    let finding = only(
        &recording,
        "reset_burst/unknown",
        "unknown",
        Some(patient.pid()),
        patient.port(),
    );
    let reason = finding.evidence("inference").to_string();
    assert!(reason.contains("accept queue"), "{finding:?}");
    Ok(())
}

#[test]
fn resets_by_an_administrator() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("--netns {}", hosts.server.inode()))?;
    let patient = ends(&hosts, "--ending client-first")?;
    let mut streams = connect(&hosts.client, hosts.server_at(patient.port()), MANY)?;
    for stream in &mut streams {
        exchange(stream, 1)?;
    }
    let killed = hosts
        .server
        .command("ss")
        .args(["-K", "state", "established", "sport"])
        .arg(format!("= :{}", patient.port()))
        .output()?;
    assert!(killed.status.success(), "{killed:?}");
    agent.await_finding("admin_kill", SOON, |finding| {
        finding.cause() == "admin_kill" && finding.count() == MANY as u64
    })?;
    let recording = agent.finish()?;
    only(
        &recording,
        "reset_burst/admin_kill",
        "exact",
        Some(patient.pid()),
        patient.port(),
    );
    let by_admin = recording
        .of_type("transition")
        .filter(|line| line["closer"]["by"] == "admin");
    assert_eq!(by_admin.count(), MANY);
    Ok(())
}

#[test]
fn orderly_closes_and_a_few_resets_are_no_burst() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("--netns {}", hosts.server.inode()))?;
    let drains = ends(&hosts, "--ending drain")?;
    let resets = ends(&hosts, "--ending linger")?;
    let mut streams = connect(&hosts.client, hosts.server_at(drains.port()), MANY)?;
    for stream in &mut streams {
        exchange(stream, 1)?;
        // More than it read, and read all the same before it closes.
        stream.write_all(b"and more")?;
        stream.shutdown(Shutdown::Write)?;
        let _ = stream.read(&mut [0]);
    }
    let mut few = connect(&hosts.client, hosts.server_at(resets.port()), 10)?;
    for stream in &mut few {
        exchange(stream, 1)?;
    }
    thread::sleep(TO_JUDGE);
    let recording = agent.finish()?;
    assert_eq!(recording.findings().len(), 0, "{:#?}", recording.findings());
    Ok(())
}

/// A process that crashes sends a FIN from the kernel; a host that crashes sends nothing.
#[test]
fn a_crashed_process_is_told_from_a_silent_host() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    // The server's side gives up after two repetitions, in about a second.
    hosts.server.sysctl("net.ipv4.tcp_orphan_retries", 2)?;
    let agent = Agent::record(&format!("--netns {}", hosts.server.inode()))?;
    let crashes = ends(&hosts, "--ending client-first")?;
    let closes = ends(&hosts, "--ending short")?;
    let mut kept = connect(&hosts.client, hosts.server_at(crashes.port()), 1)?;
    exchange(&mut kept[0], 1)?;
    crashes.kill();
    let seen = kept[0].read(&mut [0])?;
    assert_eq!(seen, 0, "the kernel of the crashed process sent a FIN");
    let mut silent = connect(&hosts.client, hosts.server_at(closes.port()), 1)?;
    // From now on the client's host is as good as dead.
    hosts.client.drop_arriving("tcp sport 1-65535")?;
    silent[0].write_all(b"?")?;
    let closer = |recording: &Recording, by: &str| {
        recording
            .of_type("transition")
            .find(|line| line["closer"]["by"] == by)
            .map(|line| line["closer"].clone())
    };
    agent.await_recording("a timeout", SOON, |recording| closer(recording, "timeout"))?;
    let recording = agent.finish()?;
    let crash = closer(&recording, "process").context("nobody closed")?;
    assert_eq!(crash["call"], "exit", "{crash}");
    assert_eq!(crash["signal"], libc::SIGKILL, "{crash}");
    Ok(())
}
