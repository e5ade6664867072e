//! The two-ended report: two hosts, a link that loses one segment of a handshake or of a close, and
//! two recordings, which only together tell which segment it was. Each verdict is asked for twice: as
//! recorded, with one clock, and as if the server's clock were hours wrong.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tcptrace_lab::agent::{Agent, agent_program};
use tcptrace_lab::client::connect;
use tcptrace_lab::netns::{Netns, TwoHosts};
use tcptrace_lab::other_clock;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::wait_for;

const SOON: Duration = Duration::from_secs(30);
/// A segment that carries nothing but an acknowledgement.
const PURE_ACK: &str = "tcp flags & (syn | ack | fin | psh | rst) == ack";
const FIN: &str = "tcp flags & fin == fin";

/// Both hosts, and an agent on each.
struct Link {
    hosts: TwoHosts,
    client: Agent,
    server: Agent,
}

/// Where a segment is lost: on its arrival.
#[derive(Clone, Copy)]
enum At {
    Client,
    Server,
}

/// How wrong the server's clock is: an hour of daylight saving, and something.
const AHEAD_NS: i64 = 3_661_234_567_890;

impl Link {
    fn new() -> Result<Self> {
        Self::between(TwoHosts::new(1)?)
    }

    /// With whatever runs there already.
    fn between(hosts: TwoHosts) -> Result<Self> {
        let record = |netns: &Netns| Agent::record(&format!("--netns {}", netns.inode()));
        Ok(Self {
            client: record(&hosts.client)?,
            server: record(&hosts.server)?,
            hosts,
        })
    }

    fn lose(&self, at: At, rule: &str) -> Result<()> {
        match at {
            At::Client => self.hosts.client.drop_arriving(rule),
            At::Server => self.hosts.server.drop_arriving(rule),
        }
    }

    fn lose_nothing(&self) -> Result<()> {
        self.hosts.client.stop_dropping()?;
        self.hosts.server.stop_dropping()
    }

    fn listen(&self) -> Result<TcpListener> {
        let address = self.hosts.server_at(0);
        self.hosts
            .server
            .inside(|| TcpListener::bind(address).context("cannot listen"))
    }

    /// A connect that may take long.
    fn connect(&self, server: SocketAddr) -> Result<JoinHandle<std::io::Result<TcpStream>>> {
        // Sockets belong to the namespace of the thread that makes them.
        let (sender, receiver) = std::sync::mpsc::channel();
        self.hosts.client.inside(move || {
            let handle = thread::spawn(move || TcpStream::connect_timeout(&server, SOON));
            sender.send(handle).context("nobody waits")
        })?;
        receiver.recv().context("the thread is gone")
    }

    fn repeated(&self, agent: &Agent, kind: &str, state: Option<&str>) -> Result<()> {
        agent.await_recording(&format!("a {kind} of {state:?}"), SOON, |recording| {
            let count = recording
                .of_type(kind)
                .filter(|line| state.is_none_or(|state| line["state"] == state))
                .count();
            (count > 0).then_some(())
        })
    }

    /// Ends both recordings, and asks for the report of both.
    fn verdicts(self) -> Result<Vec<Value>> {
        // What the last segments brought about reaches the files.
        thread::sleep(Duration::from_millis(600));
        let client = self.client.end(nix::sys::signal::Signal::SIGINT)?;
        let server = self.server.end(nix::sys::signal::Signal::SIGINT)?;
        let whole = report(&client.path(), &server.path())?;
        let ends = &whole["ends"];
        assert_eq!(ends["clocks"]["same_clock"], true, "{ends:#}");
        let verdicts = ends["verdicts"].as_array().cloned().unwrap_or_default();

        let directory = tempfile::tempdir()?;
        let shifted = directory.path().join("server.ndjson");
        other_clock::rewrite(&server.path(), &shifted, AHEAD_NS)?;
        let whole = report(&client.path(), &shifted)?;
        let ends = &whole["ends"];
        let clocks = &ends["clocks"];
        assert_eq!(clocks["same_clock"], false, "{ends:#}");
        if let (Some(offset), Some(within)) =
            (clocks["offset_ns"].as_i64(), clocks["within_ns"].as_u64())
        {
            // The kernel's clock is slewed, by 500 ppm at most, and offsets are taken once a second.
            let slewed = 1_000_000;
            assert!(offset.abs_diff(AHEAD_NS) <= within + slewed, "{clocks:#}");
        }
        let again = ends["verdicts"].as_array().cloned().unwrap_or_default();
        let gist = |verdicts: &[Value]| -> Vec<_> {
            let of_one = |v: &Value| ["segment", "from", "to", "confidence"].map(|k| v[k].clone());
            verdicts.iter().map(of_one).collect()
        };
        assert_eq!(gist(&verdicts), gist(&again), "{verdicts:#?}, {again:#?}");
        Ok(verdicts)
    }
}

fn report(client: &Path, server: &Path) -> Result<Value> {
    let output = Command::new(agent_program()?)
        .arg("report")
        .args([client, server])
        .args(["--format", "json"])
        .output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[track_caller]
fn named(verdicts: &[Value], segment: &str, from: &str, to: &str) {
    let segments: Vec<_> = verdicts.iter().map(|v| v["segment"].as_str()).collect();
    assert_eq!(segments, [Some(segment)], "{verdicts:#?}");
    let verdict = &verdicts[0];
    let ends = |key: &str| verdict[key].as_str().unwrap_or("").to_owned();
    assert!(ends("from").ends_with(from), "{verdict:#}");
    assert!(ends("to").ends_with(to), "{verdict:#}");
    assert!(verdict["repeated"].as_u64() > Some(0), "{verdict:#}");
}

/// A handshake that loses what `rule` matches, until the loss has shown.
fn handshake(at: At, rule: &str, segment: &str, from: &str, to: &str) -> Result<()> {
    let link = Link::new()?;
    let listener = link.listen()?;
    link.lose(at, rule)?;
    let connecting = link.connect(listener.local_addr()?)?;
    match segment {
        "SYN" => link.repeated(&link.client, "retransmit", Some("SYN_SENT"))?,
        _ => link.repeated(&link.server, "synack_retransmit", None)?,
    }
    if segment == "SYN-ACK" {
        link.repeated(&link.client, "retransmit", Some("SYN_SENT"))?;
    }
    link.lose_nothing()?;
    let client = connecting.join().expect("it does not panic")?;
    let (server, _) = listener.accept()?;
    wait_for(
        "the connection to be established at both ends",
        SOON,
        || Ok(server.peer_addr().is_ok().then_some(())),
    )?;
    named(&link.verdicts()?, segment, from, to);
    drop((client, server));
    Ok(())
}

#[test]
fn a_lost_syn_is_named() -> Result<()> {
    let syn = "tcp flags & (syn | ack) == syn";
    handshake(At::Server, syn, "SYN", "(A)", "(B)")
}

#[test]
fn a_lost_synack_is_named() -> Result<()> {
    let synack = "tcp flags & (syn | ack) == (syn | ack)";
    handshake(At::Client, synack, "SYN-ACK", "(B)", "(A)")
}

#[test]
fn a_lost_final_ack_is_named() -> Result<()> {
    handshake(At::Server, PURE_ACK, "final ACK", "(A)", "(B)")
}

/// Established, then the client finishes sending while `rule` loses something.
fn close(
    at: At,
    rule: &str,
    server_closes: bool,
    segment: &str,
    from: &str,
    to: &str,
) -> Result<()> {
    let link = Link::new()?;
    let listener = link.listen()?;
    let connecting = link.connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    let client = connecting.join().expect("it does not panic")?;
    // The last segment of the handshake has long arrived.
    thread::sleep(Duration::from_millis(200));
    link.lose(at, rule)?;
    // Not close: what an orphan gets is not told by the kernel.
    client.shutdown(Shutdown::Write)?;
    let mut held = None;
    if server_closes {
        server.read_to_end(&mut Vec::new())?;
        // The first FIN is acknowledged by itself, not by the second.
        thread::sleep(Duration::from_millis(300));
        drop(server);
        link.repeated(&link.server, "retransmit", Some("LAST_ACK"))?;
    } else {
        held = Some(server);
        link.repeated(&link.client, "retransmit", Some("FIN_WAIT1"))?;
    }
    link.lose_nothing()?;
    // The next repetition gets through.
    thread::sleep(Duration::from_secs(2));
    named(&link.verdicts()?, segment, from, to);
    drop((client, held));
    Ok(())
}

#[test]
fn a_lost_first_fin_is_named() -> Result<()> {
    close(At::Server, FIN, false, "first FIN", "(A)", "(B)")
}

#[test]
fn a_lost_ack_of_the_first_fin_is_named() -> Result<()> {
    close(
        At::Client,
        PURE_ACK,
        false,
        "ACK of the first FIN",
        "(B)",
        "(A)",
    )
}

#[test]
fn a_lost_second_fin_is_named() -> Result<()> {
    close(At::Client, FIN, true, "second FIN", "(B)", "(A)")
}

#[test]
fn a_lost_last_ack_is_named() -> Result<()> {
    close(At::Server, PURE_ACK, true, "last ACK", "(A)", "(B)")
}

/// The commonest of all: a firewall discards what comes for a service, without a word. The server is
/// older than its recording, listens on every address, and nothing ever arrives.
#[test]
fn a_syn_that_never_arrives_is_named() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    let listener = hosts
        .server
        .inside(|| TcpListener::bind("0.0.0.0:0").context("cannot listen"))?;
    let server = hosts.server_at(listener.local_addr()?.port());
    let link = Link::between(hosts)?;
    link.lose(At::Server, "tcp flags & syn == syn")?;
    let refused = link.connect(server)?;
    link.repeated(&link.client, "retransmit", Some("SYN_SENT"))?;
    let verdicts = link.verdicts()?;
    named(&verdicts, "SYN", "(A)", "(B)");
    assert_eq!(verdicts[0]["confidence"], "likely", "{verdicts:#?}");
    // It gives up by itself; nobody waits for it.
    drop((refused, listener));
    Ok(())
}

/// The client alone sees the same as of a lost SYN.
#[test]
fn a_full_accept_queue_is_told_from_a_lost_syn() -> Result<()> {
    let link = Link::new()?;
    let patient = Patient::start(
        &link.hosts.server,
        &format!("never-accepted --backlog 1 {}", link.hosts.listen_option()),
    )?;
    let server = link.hosts.server_at(patient.port());
    // A queue with a limit of 1 holds two.
    let waiting = connect(&link.hosts.client, server, 2)?;
    let refused = link.connect(server)?;
    link.repeated(&link.client, "retransmit", Some("SYN_SENT"))?;
    // The kernel's counters are read once a second.
    thread::sleep(Duration::from_millis(2500));
    named(&link.verdicts()?, "accept queue", "(A)", "(B)");
    drop((waiting, patient));
    // It gives up by itself; nobody waits for it.
    drop(refused);
    Ok(())
}

/// The counter-scenario: nothing is lost, nothing is said to be.
#[test]
fn nothing_is_said_to_be_lost_on_a_good_link() -> Result<()> {
    let link = Link::new()?;
    let listener = link.listen()?;
    for _ in 0..5 {
        let connecting = link.connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        let client = connecting.join().expect("it does not panic")?;
        client.shutdown(Shutdown::Write)?;
        server.read_to_end(&mut Vec::new())?;
    }
    let verdicts = link.verdicts()?;
    assert!(verdicts.is_empty(), "{verdicts:#?}");
    Ok(())
}
