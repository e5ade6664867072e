//! `close_wait_leak`: every cause, for sockets that the tracer saw being born and for sockets that
//! are older than it; and what is no leak.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;
use std::{io, thread};

use anyhow::Result;
use tcptrace_lab::agent::Agent;
use tcptrace_lab::client::connect;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patience;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::Finding;
use tcptrace_lab::sockets::{State, await_count, give_time_to_accept};

/// With `--close-wait-after 2s`, three looks over 2 s and a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// What a patient does, and what must be said of it.
#[derive(Clone, Copy)]
struct Case {
    patient: &'static str,
    /// SIGSTOP before the clients close.
    stopped: bool,
    cause: &'static str,
    /// How many of the three connections, by tracer first and by patient first.
    count: (u64, u64),
    /// For sockets whose life was traced.
    confidence: &'static str,
    /// For sockets older than the tracer: cause and confidence.
    older: (&'static str, &'static str),
}

/// Runs a case twice: the tracer first, then the patient first.
fn check(case: Case) -> Result<()> {
    thread::scope(|scope| {
        let traced = scope.spawn(|| run(case, false));
        let older = scope.spawn(|| run(case, true));
        for result in [traced.join(), older.join()] {
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })
}

fn run(case: Case, patient_first: bool) -> Result<()> {
    let netns = Netns::new()?;
    let record = || Agent::record(&format!("--close-wait-after 2s --netns {}", netns.inode()));
    let mut agent = None;
    if !patient_first {
        agent = Some(record()?);
    }
    let patient = Patient::start(&netns, case.patient)?;
    let clients = connect(&netns, patient.address(), 3)?;
    give_time_to_accept(&netns, patient.port())?;
    if case.stopped {
        patient.stop()?;
    }
    drop(clients);
    await_count(&netns, patient.port(), State::CloseWait, 3)?;
    let agent = match agent {
        Some(agent) => agent,
        None => {
            thread::sleep(Duration::from_millis(2500));
            record()?
        }
    };
    let (cause, confidence, count) = match patient_first {
        true => (case.older.0, case.older.1, case.count.1),
        false => (case.cause, case.confidence, case.count.0),
    };
    agent.await_recording("a verdict on each socket", SOON, |recording| {
        let findings = recording.findings_on(patient.port());
        let counted = findings.iter().map(Finding::count).sum::<u64>() == 3;
        (counted && findings.iter().any(|finding| finding.cause() == cause)).then_some(())
    })?;
    let recording = agent.finish()?;
    let findings = recording.findings_on(patient.port());
    let finding = findings
        .iter()
        .find(|finding| finding.cause() == cause)
        .expect("the finding that was awaited stays");
    let context = format!("patient first: {patient_first}, {findings:#?}");
    assert_eq!(finding.kind(), "close_wait_leak", "{context}");
    // Of what nobody holds, and what was accepted before the tracer came, no owner can be known.
    let ownerless = patient_first && cause == "no_holder";
    let pid = (!ownerless).then_some(u64::from(patient.pid()));
    assert_eq!(finding.pid(), pid, "{context}");
    assert_eq!(finding.count(), count, "{context}");
    assert_eq!(finding.confidence(), confidence, "{context}");
    assert_ne!(finding.status(), "resolved", "{context}");
    if !ownerless {
        let name = &finding.0["process"]["name"];
        assert_eq!(name, "tcptrace-patien", "{context}");
    }
    let leaked: u64 = findings.iter().map(Finding::count).sum();
    assert_eq!(leaked, 3, "every socket has one verdict: {context}");
    assert_eq!(recording.losses()?, 0);
    Ok(())
}

#[test]
fn never_accepted() -> Result<()> {
    check(Case {
        patient: "never-accepted",
        stopped: false,
        cause: "never_accepted",
        count: (3, 3),
        confidence: "exact",
        older: ("never_accepted", "exact"),
    })
}

#[test]
fn never_accepted_because_the_server_is_stuck() -> Result<()> {
    check(Case {
        patient: "never-accepted --stuck",
        stopped: false,
        cause: "never_accepted",
        // The third was accepted, and its server hangs.
        count: (2, 2),
        confidence: "exact",
        older: ("never_accepted", "exact"),
    })
}

#[test]
fn not_watched() -> Result<()> {
    check(Case {
        patient: "not-watched",
        stopped: false,
        cause: "not_watched",
        count: (3, 3),
        confidence: "likely",
        older: ("not_watched", "likely"),
    })
}

#[test]
fn eof_unread_by_a_stopped_process() -> Result<()> {
    check(Case {
        patient: "eof-unread --mode serve",
        stopped: true,
        cause: "eof_unread",
        count: (3, 3),
        confidence: "exact",
        older: ("eof_unread", "exact"),
    })
}

#[test]
fn eof_unread_though_signalled_again_and_again() -> Result<()> {
    check(Case {
        patient: "eof-unread --mode ignore",
        stopped: false,
        cause: "eof_unread",
        count: (3, 3),
        confidence: "exact",
        older: ("eof_unread", "exact"),
    })
}

#[test]
fn eof_unread_by_a_deadlocked_worker() -> Result<()> {
    check(Case {
        patient: "eof-unread --mode deadlocked",
        stopped: false,
        cause: "eof_unread",
        count: (3, 3),
        confidence: "exact",
        older: ("eof_unread", "exact"),
    })
}

#[test]
fn eof_read_not_closed() -> Result<()> {
    check(Case {
        patient: "read-not-closed",
        stopped: false,
        cause: "eof_read_not_closed",
        count: (3, 3),
        confidence: "exact",
        older: ("eof_read_not_closed", "likely"),
    })
}

#[test]
fn a_copy_in_the_parent_after_the_child_is_gone() -> Result<()> {
    // The child reads the end, closes and exits before anybody looks. That it was blocked in a read
    // when the FIN came, and does not hold it any more, proves the copy, whatever threads the parent
    // has. For older connections only the parent is left to be seen.
    check(Case {
        patient: "shared-fd",
        stopped: false,
        cause: "shared_fd",
        count: (3, 3),
        confidence: "exact",
        older: ("eof_read_not_closed", "likely"),
    })
}

#[test]
fn shared_fd() -> Result<()> {
    // Of three connections, the first is held by the parent and by the children of the other two,
    // the second by the parent and one child, the third by the parent alone: that its child held it
    // too is known only of a FIN that was seen.
    check(Case {
        patient: "shared-fd --siblings",
        stopped: false,
        cause: "shared_fd",
        count: (3, 2),
        confidence: "exact",
        older: ("shared_fd", "exact"),
    })
}

#[test]
fn no_holder() -> Result<()> {
    check(Case {
        patient: "in-flight",
        stopped: false,
        cause: "no_holder",
        count: (3, 3),
        confidence: "exact",
        older: ("no_holder", "exact"),
    })
}

#[test]
fn a_stuck_child_and_a_parent_that_holds_a_copy_are_no_shared_fd() -> Result<()> {
    // While the end is unread, several holders are only evidence: this is how privilege separation
    // looks. The mistake is the child's, which watches and does not read.
    check(Case {
        patient: "several-holders --mode stuck-child",
        stopped: false,
        cause: "eof_unread",
        count: (3, 3),
        confidence: "exact",
        older: ("eof_unread", "exact"),
    })
}

/// Correct servers of which several processes hold a connection for a while.
fn check_innocent(patient: &str, options: &str) -> Result<()> {
    let netns = Netns::new()?;
    let agent = Agent::record(&format!("--close-wait-after 4s --netns {}", netns.inode()))?;
    let patient = Patient::start(&netns, &format!("{patient} {options}"))?;
    for _ in 0..2 {
        let clients = connect(&netns, patient.address(), 3)?;
        thread::sleep(Duration::from_millis(300));
        drop(clients);
    }
    await_count(&netns, patient.port(), State::CloseWait, 0)?;
    thread::sleep(Duration::from_secs(5));
    let recording = agent.finish()?;
    let findings = recording.findings();
    assert!(findings.is_empty(), "{options}: {findings:#?}");
    Ok(())
}

#[test]
fn privilege_separation_is_no_leak() -> Result<()> {
    check_innocent("several-holders", "--mode privilege-separation")
}

#[test]
fn a_reload_is_no_leak() -> Result<()> {
    check_innocent("several-holders", "--mode reload")
}

#[test]
fn descriptor_passing_is_no_leak() -> Result<()> {
    let netns = Netns::new()?;
    let directory = tempfile::tempdir()?;
    let agent = Agent::record(&format!("--close-wait-after 2s --netns {}", netns.inode()))?;
    let log = directory.path().join("log");
    let options = format!("owners --mode pass --log {}", log.display());
    let patient = Patient::start(&netns, &options)?;
    let clients = connect(&netns, patient.address(), 3)?;
    for mut client in clients {
        io::Write::write_all(&mut client, b"?")?;
        io::Read::read_exact(&mut client, &mut [0])?;
    }
    await_count(&netns, patient.port(), State::CloseWait, 0)?;
    thread::sleep(Duration::from_secs(4));
    let recording = agent.finish()?;
    assert!(
        recording.findings().is_empty(),
        "{:#?}",
        recording.findings()
    );
    Ok(())
}

/// A reader of which the sequence numbers do not tell.
fn cannot_be_told(patient: &str, named: &str) -> Result<()> {
    let netns = Netns::new()?;
    let agent = Agent::record(&format!("--close-wait-after 2s --netns {}", netns.inode()))?;
    let patient = Patient::start(&netns, patient)?;
    let clients = connect(&netns, patient.address(), 3)?;
    give_time_to_accept(&netns, patient.port())?;
    // And to make of each what hides it.
    thread::sleep(Duration::from_millis(300) * patience());
    drop(clients);
    agent.await_finding(named, SOON, |finding| finding.count() == 3)?;
    let recording = agent.finish()?;
    let findings = recording.findings_on(patient.port());
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].name(), "close_wait_leak");
    assert_eq!(findings[0].confidence(), "unknown");
    let reason = findings[0].evidence("inference").to_string();
    assert!(reason.contains(named), "{reason}");
    assert_eq!(findings[0].pid(), Some(u64::from(patient.pid())));
    Ok(())
}

#[test]
fn what_a_sockmap_reads_cannot_be_told() -> Result<()> {
    cannot_be_told("sockmap", "sockmap")
}

#[test]
fn what_is_mapped_cannot_be_told() -> Result<()> {
    cannot_be_told("zero-copy", "zero-copy receive")
}

/// Of the guests, whose kernels have `CONFIG_TLS`.
#[cfg(feature = "guest")]
#[test]
fn what_ktls_reads_cannot_be_told() -> Result<()> {
    cannot_be_told("ktls", "kTLS")
}

#[test]
fn the_proof_names_descriptors_flags_and_threads() -> Result<()> {
    let netns = Netns::new()?;
    let agent = Agent::record(&format!("--close-wait-after 2s --netns {}", netns.inode()))?;
    let patient = Patient::start(&netns, "eof-unread --mode deadlocked")?;
    let clients = connect(&netns, patient.address(), 3)?;
    thread::sleep(Duration::from_millis(300));
    drop(clients);
    let finding = agent.await_finding("a proof with descriptors", SOON, |finding| {
        finding.cause() == "eof_unread" && finding.evidence("descriptors").is_object()
    })?;
    let holder = &finding.evidence("holders")[0];
    assert_eq!(holder["pid"], patient.pid(), "{finding:?}");
    assert!(holder["fd"].is_u64(), "{finding:?}");
    assert_eq!(holder["cloexec"], true, "{finding:?}");
    assert_eq!(finding.evidence("holders_complete"), true, "{finding:?}");
    let watch = &finding.evidence("epoll")[0];
    assert_eq!(
        watch["events"].as_u64().unwrap_or(0) & 1,
        1,
        "EPOLLIN: {finding:?}"
    );
    assert_eq!(watch["ready"], true, "{finding:?}");
    assert_eq!(watch["waited_on"], false, "{finding:?}");
    let threads = finding
        .evidence("threads")
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(
        threads.iter().any(|thread| thread["state"] == "S"),
        "{finding:?}"
    );
    // Some kernels hide it: then no thread has one.
    let told = std::fs::read_to_string(format!("/proc/{}/wchan", patient.pid()))?;
    if told != "0" {
        let somewhere = threads
            .iter()
            .any(|thread| thread["wait_channel"].is_string());
        assert!(somewhere, "{told}: {finding:?}");
    }
    assert!(finding.evidence("descriptors")["limit"].as_u64() > Some(0));
    agent.finish()?;
    Ok(())
}

/// Serves one exchange to each of `count` clients on every address of the loopback, then closes.
fn serve_then_close(
    netns: &Netns,
    count: usize,
) -> Result<(u16, thread::JoinHandle<io::Result<Vec<TcpStream>>>)> {
    let server = netns.inside(|| Ok(TcpListener::bind("0.0.0.0:0")?))?;
    let port = server.local_addr()?.port();
    let serving = thread::spawn(move || {
        (0..count)
            .map(|_| {
                let (mut stream, _) = server.accept()?;
                io::Read::read_exact(&mut stream, &mut [0])?;
                io::Write::write_all(&mut stream, b"!")?;
                Ok(stream)
            })
            .collect()
    });
    Ok((port, serving))
}

#[test]
fn a_pool_of_many_remotes_is_one_finding() -> Result<()> {
    let netns = Netns::new()?;
    let (port, serving) = serve_then_close(&netns, 25)?;
    let agent = Agent::record(&format!("--close-wait-after 2s --netns {}", netns.inode()))?;
    let pool = format!("pool --connect 127.0.0.1:{port} --connections 25 --remotes 25");
    let patient = Patient::start(&netns, &pool)?;
    drop(serving.join().expect("the server has not panicked")?);
    agent.await_finding("all remotes", SOON, |finding| finding.count() == 25)?;
    let recording = agent.finish()?;
    let open: Vec<Finding> = recording
        .findings()
        .into_values()
        .filter(|finding| finding.status() != "resolved")
        .collect();
    assert_eq!(open.len(), 1, "{open:#?}");
    assert_eq!(open[0].name(), "close_wait_leak/not_watched");
    assert_eq!(open[0].confidence(), "likely");
    assert_eq!(open[0].pid(), Some(u64::from(patient.pid())));
    assert_eq!(open[0].0["service"]["open"], "active");
    assert!(open[0].port().is_none(), "{open:#?}");
    Ok(())
}

#[test]
fn a_pool_that_drops_what_the_server_closes_is_no_leak() -> Result<()> {
    let netns = Netns::new()?;
    let (port, serving) = serve_then_close(&netns, 3)?;
    let agent = Agent::record(&format!("--close-wait-after 2s --netns {}", netns.inode()))?;
    let patient = Patient::start(&netns, &format!("pool --connect 127.0.0.1:{port} --drops"))?;
    drop(serving.join().expect("the server has not panicked")?);
    thread::sleep(Duration::from_secs(4));
    let recording = agent.finish()?;
    assert!(
        recording.findings().is_empty(),
        "{:#?}",
        recording.findings()
    );
    patient.finish()
}

/// A server that serves three clients and closes, and of a client's pool what it keeps.
fn leak_of_a_pool(options: &str) -> Result<(Finding, u64)> {
    let netns = Netns::new()?;
    let (port, serving) = serve_then_close(&netns, 3)?;
    let agent = Agent::record(&format!("--close-wait-after 2s --netns {}", netns.inode()))?;
    let pool = format!("pool --connect 127.0.0.1:{port} {options}");
    let patient = Patient::start(&netns, &pool)?;
    drop(serving.join().expect("the server has not panicked")?);
    agent.await_finding("the pool", SOON, |finding| {
        finding.port() == Some(u64::from(port)) && finding.count() == 3
    })?;
    let recording = agent.finish()?;
    let mut findings = recording.findings_on(port);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    Ok((findings.remove(0), u64::from(patient.pid())))
}

#[test]
fn a_pool_of_a_client_is_found_by_the_remote() -> Result<()> {
    let (finding, pid) = leak_of_a_pool("")?;
    assert_eq!(finding.name(), "close_wait_leak/not_watched");
    assert_eq!(finding.confidence(), "likely");
    assert_eq!(finding.pid(), Some(pid));
    assert_eq!(finding.0["service"]["address"], "127.0.0.1");
    Ok(())
}

#[test]
fn what_multipath_tcp_reads_cannot_be_told() -> Result<()> {
    let (finding, pid) = leak_of_a_pool("--multipath")?;
    assert_eq!(finding.name(), "close_wait_leak");
    assert_eq!(finding.confidence(), "unknown");
    let reason = finding.evidence("inference").to_string();
    assert!(reason.contains("MPTCP"), "{reason}");
    assert_eq!(finding.pid(), Some(pid));
    Ok(())
}

#[test]
fn a_half_close_in_use_is_no_leak() -> Result<()> {
    let netns = Netns::new()?;
    let after = 3 * patience();
    let agent = Agent::record(&format!(
        "--close-wait-after {after}s --netns {}",
        netns.inode()
    ))?;
    let patient = Patient::start(&netns, "half-close")?;
    let mut client = connect(&netns, patient.address(), 1)?.remove(0);
    client.shutdown(Shutdown::Write)?;
    client.set_read_timeout(Some(SOON))?;
    await_count(&netns, patient.port(), State::CloseWait, 1)?;
    // A piece each 100 ms: three times the threshold.
    for _ in 0..30 * after {
        io::Read::read_exact(&mut client, &mut [0; 11])?;
    }
    let recording = agent.finish()?;
    let findings = recording.findings();
    assert!(findings.is_empty(), "{findings:#?}");
    let transitions = recording.of_type("transition");
    assert!(
        transitions
            .filter(|line| line["to"] == "CLOSE_WAIT")
            .count()
            == 1,
        "the half-close itself is recorded"
    );
    Ok(())
}

#[test]
fn going_on_resolves() -> Result<()> {
    let netns = Netns::new()?;
    let agent = Agent::record(&format!("--close-wait-after 1s --netns {}", netns.inode()))?;
    let patient = Patient::start(&netns, "eof-unread --mode serve")?;
    let clients = connect(&netns, patient.address(), 3)?;
    give_time_to_accept(&netns, patient.port())?;
    patient.stop()?;
    drop(clients);
    agent.await_finding("eof_unread of a stopped thread", SOON, |finding| {
        let threads = finding.evidence("threads").to_string();
        finding.cause() == "eof_unread" && finding.count() == 3 && threads.contains("\"T\"")
    })?;
    patient.go_on()?;
    await_count(&netns, patient.port(), State::CloseWait, 0)?;
    agent.await_finding("its resolution", SOON, |finding| {
        finding.cause() == "eof_unread" && finding.status() == "resolved"
    })?;
    let recording = agent.finish()?;
    let findings = recording.findings_on(patient.port());
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].status(), "resolved");
    Ok(())
}
