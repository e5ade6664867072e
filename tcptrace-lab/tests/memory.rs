//! `reset_burst/memory`: the kernel resets what is closed while there are too many orphans. Alone in
//! its file, so that no other test runs beside it: the limit is the whole host's.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tcptrace_lab::agent::Agent;
use tcptrace_lab::client::connect;
use tcptrace_lab::netns::TwoHosts;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::wait_for;

const SOON: Duration = Duration::from_secs(40);

/// More than kernels count only roughly: each processor keeps up to 32 to itself.
const ORPHANS: usize = 400;

/// Enough for a burst.
const MANY: usize = 60;

const LIMIT: &str = "/proc/sys/net/ipv4/tcp_max_orphans";

/// The host's limit, which comes back however the test ends.
struct Limit(String);

impl Limit {
    fn lower_to(orphans: usize) -> Result<Self> {
        let before = Self(fs::read_to_string(LIMIT)?);
        fs::write(LIMIT, orphans.to_string()).context("cannot lower tcp_max_orphans")?;
        Ok(before)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = fs::write(LIMIT, &self.0);
    }
}

/// Orphans of the host, by the kernel.
fn orphans() -> Result<usize> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "orphan");
    let count = words.nth(1).context("sockstat tells no orphans")?;
    Ok(count.parse()?)
}

/// Sends until the peer, which does not read, has no room, and closes: an orphan that has data left.
fn orphan(mut stream: TcpStream) -> Result<()> {
    stream.set_nonblocking(true)?;
    let mut full = 0;
    while full < 3 {
        match stream.write(&[0; 65_536]) {
            Ok(_) => full = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                full += 1;
                thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[test]
fn resets_for_want_of_memory() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    // Small buffers: four hundred of them fill up soon.
    for netns in [&hosts.client, &hosts.server] {
        netns.inside(|| {
            for name in ["tcp_rmem", "tcp_wmem"] {
                fs::write(format!("/proc/sys/net/ipv4/{name}"), "4096 4096 4096")?;
            }
            Ok(())
        })?;
    }
    let agent = Agent::record(&format!("--netns {}", hosts.server.inode()))?;
    let silent = Patient::start(
        &hosts.server,
        &format!("serve --mode wait --backlog 512 {}", hosts.listen_option()),
    )?;
    let closes = Patient::start(
        &hosts.server,
        &format!(
            "ends --ending short --backlog 128 {}",
            hosts.listen_option()
        ),
    )?;
    let mut streams = connect(&hosts.client, hosts.server_at(closes.port()), MANY)?;
    let before = orphans()?;
    for stream in connect(&hosts.client, hosts.server_at(silent.port()), ORPHANS)? {
        orphan(stream)?;
    }
    wait_for("the orphans", SOON, || {
        thread::sleep(Duration::from_millis(50));
        Ok((orphans()? >= before + ORPHANS * 3 / 4).then_some(()))
    })?;
    let limit = Limit::lower_to(before + ORPHANS / 2)?;
    // Kernels since 5.16 look at the number ten times a second.
    thread::sleep(Duration::from_millis(300));
    for stream in &mut streams {
        stream.write_all(b"?")?;
        // An answer and a reset, which may overtake it.
        while matches!(stream.read(&mut [0; 16]), Ok(1..)) {}
    }
    drop(limit);
    agent.await_finding("memory", SOON, |finding| {
        finding.cause() == "memory" && finding.count() == MANY as u64
    })?;
    let recording = agent.finish()?;
    let found: Vec<_> = recording
        .findings()
        .into_values()
        // The clients' side of it is `by_peer`.
        .filter(|finding| finding.name() == "reset_burst/memory")
        .collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    let finding = &found[0];
    assert_eq!(finding.pid(), Some(u64::from(closes.pid())), "{finding:?}");
    assert_eq!(
        finding.port(),
        Some(u64::from(closes.port())),
        "{finding:?}"
    );
    assert_eq!(finding.evidence("direction"), "sent", "{finding:?}");
    // Where the kernel gives no reason it is inferred from the order of what happened.
    let confidence = finding.confidence();
    assert!(["exact", "likely"].contains(&confidence), "{finding:?}");
    Ok(())
}
