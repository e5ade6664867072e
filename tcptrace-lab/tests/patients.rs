//! Every patient really makes its mistake, by the kernel's own tables and counters. No tracer runs
//! here: when a test of the lab fails and these pass, the tracer is wrong.

use std::io::Read;
use std::net::{Shutdown, TcpListener};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result};
use serde_json::Value;
use tcptrace_lab::client::{connect, knock};
use tcptrace_lab::netns::{Netns, TwoHosts};
use tcptrace_lab::patient::Patient;
use tcptrace_lab::sockets::{Row, State, await_count, give_time_to_accept, on_port};
use tcptrace_lab::wait_for;

/// Three clients connect, send `request` bytes each, and close; the rows of the server's sockets.
fn leak(netns: &Netns, patient: &Patient) -> Result<Vec<Row>> {
    let clients = connect(netns, patient.address(), 3)?;
    give_time_to_accept(netns, patient.port())?;
    drop(clients);
    await_count(netns, patient.port(), State::CloseWait, 3)
}

/// Processes that hold the socket, from /proc.
fn holders(row: &Row) -> Result<Vec<u32>> {
    let link = format!("socket:[{}]", row.inode);
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let fds = fs::read_dir(entry.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        if fds
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|target| target.as_os_str() == link.as_str())
        {
            pids.push(pid);
        }
    }
    Ok(pids)
}

#[test]
fn never_accepted_stays_in_the_queue() -> Result<()> {
    for (option, in_queue) in [("", 3), ("--stuck", 2)] {
        let netns = Netns::new()?;
        let patient = Patient::start(&netns, &format!("never-accepted {option}"))?;
        let rows = leak(&netns, &patient)?;
        assert!(rows.iter().all(|row| row.receive_queue == 1), "{rows:?}");
        let unaccepted = rows.iter().filter(|row| row.inode == 0).count();
        assert_eq!(unaccepted, in_queue);
    }
    Ok(())
}

#[test]
fn unread_ends_stay_unread() -> Result<()> {
    for patient in [
        "not-watched",
        "eof-unread --mode ignore",
        "eof-unread --mode deadlocked",
    ] {
        let netns = Netns::new()?;
        let patient = Patient::start(&netns, patient)?;
        for row in leak(&netns, &patient)? {
            assert_eq!(row.receive_queue, 1);
            assert_eq!(holders(&row)?, [patient.pid()]);
        }
    }
    Ok(())
}

#[test]
fn a_oneshot_registration_fires_once() -> Result<()> {
    let netns = Netns::new()?;
    let patient = Patient::start(&netns, "eof-unread --mode oneshot")?;
    let clients = connect(&netns, patient.address(), 1)?;
    std::io::Write::write_all(&mut &clients[0], b"request")?;
    give_time_to_accept(&netns, patient.port())?;
    drop(clients);
    let rows = await_count(&netns, patient.port(), State::CloseWait, 1)?;
    assert_eq!(
        rows[0].receive_queue, 1,
        "the request was read, the end was not"
    );
    Ok(())
}

#[test]
fn a_stopped_server_resumes() -> Result<()> {
    let netns = Netns::new()?;
    let patient = Patient::start(&netns, "eof-unread --mode serve")?;
    let clients = connect(&netns, patient.address(), 3)?;
    give_time_to_accept(&netns, patient.port())?;
    patient.stop()?;
    drop(clients);
    await_count(&netns, patient.port(), State::CloseWait, 3)?;
    patient.go_on()?;
    await_count(&netns, patient.port(), State::CloseWait, 0)?;
    await_count(&netns, patient.port(), State::Listen, 1)?;
    patient.finish()
}

#[test]
fn read_ends_are_read() -> Result<()> {
    let netns = Netns::new()?;
    let patient = Patient::start(&netns, "read-not-closed")?;
    leak(&netns, &patient)?;
    wait_for("the ends to be read", Duration::from_secs(5), || {
        let rows = on_port(&netns, patient.port(), State::CloseWait)?;
        Ok(rows.iter().all(|row| row.receive_queue == 0).then_some(()))
    })
}

#[test]
fn a_half_close_goes_on_sending() -> Result<()> {
    let netns = Netns::new()?;
    let patient = Patient::start(&netns, "half-close")?;
    let mut client = connect(&netns, patient.address(), 1)?.remove(0);
    client.shutdown(Shutdown::Write)?;
    await_count(&netns, patient.port(), State::CloseWait, 1)?;
    client.read_exact(&mut [0; 33])?;
    await_count(&netns, patient.port(), State::CloseWait, 1)?;
    Ok(())
}

#[test]
fn a_pool_keeps_what_the_server_closed() -> Result<()> {
    let netns = Netns::new()?;
    let server = netns.inside(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
    let address = server.local_addr()?;
    let serving = thread::spawn(move || -> Result<()> {
        for _ in 0..3 {
            let (mut stream, _) = server.accept()?;
            stream.read_exact(&mut [0])?;
            std::io::Write::write_all(&mut stream, b"!")?;
        }
        Ok(())
    });
    let patient = Patient::start(&netns, &format!("pool --connect {address}"))?;
    serving.join().expect("the server has not panicked")?;
    wait_for("the pool's CLOSE_WAITs", Duration::from_secs(5), || {
        let rows = tcptrace_lab::sockets::table(&netns)?;
        let leaked = rows
            .iter()
            .filter(|row| row.peer == address && row.state == State::CloseWait as u8);
        Ok((leaked.count() == 3).then_some(()))
    })?;
    patient.finish()
}

#[test]
fn a_copy_outlives_the_child() -> Result<()> {
    let netns = Netns::new()?;
    let patient = Patient::start(&netns, "shared-fd")?;
    for row in leak(&netns, &patient)? {
        wait_for("the children to end", Duration::from_secs(5), || {
            Ok((holders(&row)? == [patient.pid()]).then_some(()))
        })?;
    }
    wait_for("the children to read", Duration::from_secs(5), || {
        let rows = on_port(&netns, patient.port(), State::CloseWait)?;
        Ok(rows.iter().all(|row| row.receive_queue == 0).then_some(()))
    })
}

#[test]
fn in_flight_nobody_holds_it() -> Result<()> {
    let netns = Netns::new()?;
    let patient = Patient::start(&netns, "in-flight")?;
    for row in leak(&netns, &patient)? {
        assert_eq!(holders(&row)?, [0_u32; 0]);
    }
    Ok(())
}

#[test]
fn accept_queues_overflow() -> Result<()> {
    for patient in [
        "never-accepted --backlog 2",
        "accept-slowly --backlog 2",
        "accept-without-descriptors --backlog 2",
    ] {
        let netns = Netns::new()?;
        let patient = Patient::start(&netns, patient)?;
        let clients = knock(&netns, patient.address(), &[], 40)?;
        wait_for("an overflow", Duration::from_secs(10), || {
            Ok((netns.counters()?["ListenOverflows"] > 0).then_some(()))
        })?;
        drop(clients);
    }
    Ok(())
}

#[test]
fn a_flood_fills_the_syn_queue() -> Result<()> {
    for (cookies, counter) in [(0, "TCPReqQFullDrop"), (1, "TCPReqQFullDoCookies")] {
        let hosts = TwoHosts::new(16)?;
        hosts.server.sysctl("net.ipv4.tcp_syncookies", cookies)?;
        hosts
            .client
            .drop_arriving("tcp flags & (syn | ack) == (syn | ack)")?;
        let option = hosts.listen_option();
        let patient = Patient::start(&hosts.server, &format!("not-watched --backlog 8 {option}"))?;
        let _clients = knock(
            &hosts.client,
            hosts.server_at(patient.port()),
            &hosts.sources,
            64,
        )?;
        wait_for(counter, Duration::from_secs(10), || {
            Ok((hosts.server.counters()?[counter] > 0).then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn a_dropped_fin_is_sent_again() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    hosts.client.drop_arriving("tcp flags & fin == fin")?;
    let patient = Patient::start(
        &hosts.server,
        &format!("accept-slowly --every-ms 1 {}", hosts.listen_option()),
    )?;
    let _clients = connect(&hosts.client, hosts.server_at(patient.port()), 2)?;
    await_count(&hosts.server, patient.port(), State::FinWait1, 2)?;
    wait_for("a retransmission", Duration::from_secs(5), || {
        let counters = hosts.server.counters()?;
        let again = counters["TCPLossProbes"] + counters["TCPTimeouts"];
        Ok((again > 2).then_some(()))
    })
}

#[test]
fn owners_log_every_connection() -> Result<()> {
    for mode in ["fork", "prefork", "reuseport", "pass", "threads"] {
        let netns = Netns::new()?;
        let directory = tempfile::tempdir()?;
        let log = directory.path().join("log");
        let server = Patient::start(
            &netns,
            &format!("owners --mode {mode} --log {}", log.display()),
        )?;
        let clients = Patient::start(
            &netns,
            &format!(
                "short-lived --connect {} --processes 12 --log {}",
                server.address(),
                log.display()
            ),
        )?;
        let did = |what: &str| -> Result<usize> {
            let text = fs::read_to_string(&log)?;
            let lines = text.lines().map(serde_json::from_str::<Value>);
            let lines = lines.collect::<Result<Vec<_>, _>>().context("the log")?;
            Ok(lines.iter().filter(|line| line["did"] == what).count())
        };
        for what in ["connected", "accepted", "closed"] {
            wait_for(
                &format!("12 {what} by {mode}"),
                Duration::from_secs(5),
                || Ok((did(what)? == 12).then_some(())),
            )?;
        }
        clients.finish()?;
    }
    Ok(())
}

#[test]
fn the_load_makes_what_it_promises() -> Result<()> {
    let netns = Netns::new()?;
    let load = Patient::start(&netns, "load --connections 2001 --clients 4")?;
    assert_eq!(load.ready()["connections"], 2001);
    assert_eq!(netns.counters()?["ListenOverflows"], 0);
    Ok(())
}

#[test]
fn servers_and_clients_wait_for_their_peers() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    hosts.server.drop_arriving("tcp dport 81")?;
    let knocking = format!("knock --connect {}", hosts.server_at(81));
    let knocking = Patient::start(&hosts.client, &knocking)?;
    let connecting = tcptrace_lab::sockets::table(&hosts.client)?;
    let state = State::SynSent as u8;
    assert_eq!(
        connecting.iter().filter(|row| row.state == state).count(),
        2
    );
    drop(knocking);

    let filling = format!("serve --mode fill {}", hosts.listen_option());
    let filling = Patient::start(&hosts.server, &filling)?;
    let clients = connect(&hosts.client, hosts.server_at(filling.port()), 1)?;
    await_count(&hosts.server, filling.port(), State::FinWait1, 1)?;
    drop(clients);

    let netns = Netns::new()?;
    let deferring = Patient::start(&netns, "defer-accept --for 3")?;
    let clients = connect(&netns, deferring.address(), 1)?;
    assert_eq!(
        on_port(&netns, deferring.port(), State::Established)?.len(),
        0
    );
    drop(clients);
    Ok(())
}
