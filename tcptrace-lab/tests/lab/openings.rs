//! What is out of the ordinary about how a connection opens or closes, by the tags on its lines.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use serde_json::Value;
use tcptrace_lab::agent::Agent;
use tcptrace_lab::client;
use tcptrace_lab::netns::{Netns, TwoHosts};
use tcptrace_lab::recording::Recording;
use tcptrace_lab::sockets::{State, await_count};
use tcptrace_lab::wait_for;

const SOON: Duration = Duration::from_secs(20);

/// The lines that say `tag`.
fn tagged<'a>(recording: &'a Recording, tag: &'a str) -> Vec<&'a Value> {
    let says = |line: &&Value| {
        let tags = line["tags"].as_array();
        tags.is_some_and(|tags| tags.iter().any(|it| it == tag))
    };
    recording.lines.iter().filter(says).collect()
}

/// A socket that is bound here, and has sent a SYN there.
fn knock_from(netns: &Netns, here: SocketAddr, there: SocketAddr) -> Result<OwnedFd> {
    netns.inside(|| {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(here))?;
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(there)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
            Err(error) => Err(error).with_context(|| format!("cannot connect to {there}")),
        }
    })
}

/// Waits until the agent has told of `tag`, and ends it.
fn await_tag(agent: Agent, tag: &str) -> Result<Recording> {
    agent.await_recording(tag, SOON, |recording| {
        (!tagged(recording, tag).is_empty()).then_some(())
    })?;
    agent.finish()
}

#[test]
fn a_socket_that_connects_to_itself() -> Result<()> {
    let netns = Netns::new()?;
    let agent = Agent::record(&format!("--netns {}", netns.inode()))?;
    let own: SocketAddr = "127.0.0.1:4321".parse()?;
    let fd = knock_from(&netns, own, own)?;
    let recording = await_tag(agent, "self_connection")?;
    drop(fd);
    let lines = tagged(&recording, "self_connection");
    assert_eq!(lines[0]["local"], lines[0]["peer"], "{}", lines[0]);
    // Its SYN is its own answer: it opens simultaneously with itself.
    assert_eq!(tagged(&recording, "simultaneous_open").len(), 1);
    Ok(())
}

#[test]
fn two_hosts_that_connect_to_each_other() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("--netns {}", hosts.client.inode()))?;
    let here = SocketAddr::new(hosts.sources[0], 4001);
    let there = hosts.server_at(4002);
    // Both SYNs are lost first: when they come again, both ends have sent one.
    hosts.client.drop_arriving("tcp dport 4001")?;
    hosts.server.drop_arriving("tcp dport 4002")?;
    let ends = (
        knock_from(&hosts.client, here, there)?,
        knock_from(&hosts.server, there, here)?,
    );
    await_count(&hosts.client, 4001, State::SynSent, 1)?;
    await_count(&hosts.server, 4002, State::SynSent, 1)?;
    hosts.server.stop_dropping()?;
    hosts.client.stop_dropping()?;
    await_count(&hosts.client, 4001, State::Established, 1)?;
    drop(ends);
    thread::sleep(Duration::from_millis(300));
    let recording = agent.finish()?;
    // Which end sees the other's SYN first is the network's choice; this one may see a SYN-ACK.
    let states: Vec<_> = recording
        .of_type("transition")
        .filter(|line| line["from"] == "SYN_SENT")
        .map(|line| line["to"].as_str().unwrap_or("?"))
        .collect();
    let crossed = states.iter().filter(|to| **to == "SYN_RECV").count();
    assert_eq!(tagged(&recording, "simultaneous_open").len(), crossed);
    Ok(())
}

/// The two ends of a connection between two hosts.
fn pair(hosts: &TwoHosts) -> Result<(TcpStream, TcpStream)> {
    let listener = hosts
        .server
        .inside(|| Ok(TcpListener::bind(hosts.server_at(0))?))?;
    let server = hosts.server_at(listener.local_addr()?.port());
    let here = client::connect(&hosts.client, server, 1)?.remove(0);
    Ok((here, listener.accept()?.0))
}

#[test]
fn fins_that_cross() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record("")?;
    let (here, there) = pair(&hosts)?;
    for host in [&hosts.client, &hosts.server] {
        host.drop_arriving("tcp flags & fin == fin")?;
    }
    here.shutdown(Shutdown::Write)?;
    there.shutdown(Shutdown::Write)?;
    let port = here.local_addr()?.port();
    await_count(&hosts.client, port, State::FinWait1, 1)?;
    await_count(
        &hosts.server,
        there.local_addr()?.port(),
        State::FinWait1,
        1,
    )?;
    for host in [&hosts.client, &hosts.server] {
        host.stop_dropping()?;
    }
    let recording = await_tag(agent, "simultaneous_close")?;
    for line in tagged(&recording, "simultaneous_close") {
        assert_eq!(line["to"], "CLOSING", "{line}");
    }
    Ok(())
}

#[test]
fn a_fin_with_the_ack_of_ours() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("--netns {}", hosts.client.inode()))?;
    for _ in 0..20 {
        let (mut here, mut there) = pair(&hosts)?;
        // A conversation: the kernel delays the ACK of a FIN, in the hope of something to send.
        for _ in 0..5 {
            here.write_all(b"?")?;
            there.read_exact(&mut [0])?;
            there.write_all(b"!")?;
            here.read_exact(&mut [0])?;
        }
        let closing = thread::spawn(move || {
            let ended = there.read(&mut [0]);
            drop(there);
            ended
        });
        drop(here);
        closing.join().map_err(|_| anyhow::anyhow!("a panic"))??;
    }
    let recording = await_tag(agent, "fin_with_ack")?;
    for line in tagged(&recording, "fin_with_ack") {
        assert_eq!(line["enters"], "TIME_WAIT", "{line}");
        assert!(line["in_state_ns"].as_u64() < Some(1_000_000), "{line}");
    }
    // A server that does not close leaves nothing of the kind.
    Ok(())
}

#[test]
fn an_answer_to_an_old_duplicate_syn() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let listener = hosts
        .server
        .inside(|| Ok(TcpListener::bind(hosts.server_at(0))?))?;
    let server = hosts.server_at(listener.local_addr()?.port());
    let here = SocketAddr::new(hosts.sources[0], 4003);
    let agent = Agent::record(&format!("--netns {}", hosts.client.inode()))?;
    // A first SYN leaves a half-open connection behind, whose SYN-ACKs do not come through.
    hosts
        .client
        .drop_arriving("tcp flags & (syn | ack) == (syn | ack)")?;
    let first = knock_from(&hosts.client, here, server)?;
    await_count(&hosts.server, server.port(), State::SynRecv, 1)?;
    drop(first);
    // A second connect from the same port: its SYNs are lost, the old SYN is answered again.
    hosts
        .server
        .drop_arriving("tcp flags & (syn | ack) == syn")?;
    let second = knock_from(&hosts.client, here, server)?;
    hosts.client.stop_dropping()?;
    let recording = await_tag(agent, "old_duplicate_syn")?;
    drop(second);
    let line = tagged(&recording, "old_duplicate_syn")[0];
    assert_eq!(line["type"], "reset", "{line}");
    assert_eq!(line["direction"], "sent", "{line}");
    assert_eq!(line["state"], "SYN_SENT", "{line}");
    Ok(())
}

#[test]
fn ordinary_connections_have_no_tags() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let agent = Agent::record(&format!("--netns {}", hosts.client.inode()))?;
    for _ in 0..3 {
        let (here, there) = pair(&hosts)?;
        let local = here.local_addr()?.port();
        drop(here);
        // Its FIN has its ACK before ours follows.
        await_count(&hosts.client, local, State::FinWait2, 1)?;
        drop(there);
        wait_for("TIME_WAIT", SOON, || {
            Ok(await_count(&hosts.client, local, State::TimeWait, 1).ok())
        })?;
    }
    let refused = SocketAddr::new(IpAddr::from([10, 77, 0, 1]), 9);
    assert!(client::connect(&hosts.client, refused, 1).is_err());
    let recording = agent.finish()?;
    let tags = recording
        .lines
        .iter()
        .filter(|line| !line["tags"].is_null());
    assert_eq!(tags.count(), 0);
    Ok(())
}
