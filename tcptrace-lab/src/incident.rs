//! An incident to study afterwards: two hosts, of which one leaks, is flooded, runs out of descriptors
//! and closes badly, recorded at both ends. What a recording looks like, what a report makes of it, and
//! whether the documents' examples are right, is tried on this one.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::agent::{Agent, agent_program};
use crate::client::{connect, knock};
use crate::netns::{Netns, TwoHosts};
use crate::patient::Patient;

/// From the first mistake to the end of the recordings.
const LONG: Duration = Duration::from_secs(40);
/// A customer of the server without a fault comes as often.
const PACE: Duration = Duration::from_millis(25);

/// Makes the incident, and leaves in `directory`: `server.ndjson` and `client.ndjson`, whole, and the
/// server's recording once more as compressed segments `web-*.ndjson.zst`. Needs root.
pub fn record(directory: &Path) -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "the incident takes network namespaces and programs in the kernel; run this as root"
    );
    let hosts = TwoHosts::new(16)?;
    let start = |netns: &Netns, file: &str, options: &str| {
        let mut command = Command::new(agent_program()?);
        command
            .args(["record", "--close-wait-after", "4s", "--netns"])
            .arg(netns.inode().to_string())
            .arg("-o")
            .arg(directory.join(file))
            .args(options.split_whitespace());
        Agent::start(command, tempfile::tempdir()?)
    };
    let agents = [
        start(&hosts.server, "server.ndjson", "")?,
        start(&hosts.client, "client.ndjson", "")?,
        start(&hosts.server, "web.ndjson.zst", "--rotate-every 10s")?,
    ];
    // Whoever makes a mistake outlives the recordings.
    let _patients = happen(&hosts)?;
    for agent in agents {
        let ended = agent.end(Signal::SIGINT)?;
        ensure!(
            ended.status.success(),
            "a recorder failed: {}",
            ended.stderr
        );
    }
    Ok(())
}

fn happen(hosts: &TwoHosts) -> Result<Vec<Patient>> {
    let until = Instant::now() + LONG;
    let serve = |mistake: &str| {
        Patient::start(
            &hosts.server,
            &format!("{mistake} {}", hosts.listen_option()),
        )
    };
    let log = tempfile::NamedTempFile::new()?;
    let web = serve(&format!(
        "owners --mode threads --name web --log {}",
        log.path().display()
    ))?;
    let orders = serve("leak-until-exhausted --name orders --limit 40 --backlog 4")?;
    let search = serve("not-watched --name search --backlog 8")?;
    let legacy = serve("ends --ending linger --name legacy")?;
    let slow = serve("accept-slowly --name upload --every-ms 1")?;
    let at = |patient: &Patient| hosts.server_at(patient.port());

    let trading = trade(&hosts.client, at(&web), until)?;
    // Connections that `search` forgets, and `orders` keeps until it can accept no more.
    drop(connect(&hosts.client, at(&search), 6)?);
    let mut crowd = connect(&hosts.client, at(&orders), 30)?;
    crowd.clear();
    thread::sleep(Duration::from_secs(4));
    let waiting = knock(&hosts.client, at(&orders), &hosts.sources, 60)?;
    // `legacy` throws its clients out.
    for _ in 0..30 {
        let mut client = connect(&hosts.client, at(&legacy), 1)?;
        client[0].write_all(b"?")?;
        let _ = client[0].read(&mut [0; 8]);
    }
    // The link loses what ends the connections of `upload`, and hides the server's answers from a flood.
    let (upload, flooded) = (at(&slow), at(&search));
    hosts.client.nft(&format!(
        "table inet lab {{\nchain arriving {{\ntype filter hook input priority 0\n\
         tcp sport {} tcp flags & fin == fin counter drop\n\
         tcp sport {} tcp flags & (syn | ack) == (syn | ack) counter drop\n}}\n}}",
        upload.port(),
        flooded.port()
    ))?;
    let cut = connect(&hosts.client, upload, 12)?;
    let flood = knock(&hosts.client, flooded, &hosts.sources, 200)?;
    thread::sleep(Duration::from_secs(8));
    hosts.client.stop_dropping()?;
    drop((flood, waiting));
    trading.join().expect("it does not panic")?;
    drop(cut);
    Ok(vec![web, orders, search, legacy, slow])
}

/// Customers without a fault, on a thread of their own.
fn trade(
    netns: &Netns,
    server: SocketAddr,
    until: Instant,
) -> Result<thread::JoinHandle<Result<()>>> {
    netns.inside(|| {
        // A thread that is started inside stays inside.
        Ok(thread::spawn(move || {
            while Instant::now() < until {
                let mut client = TcpStream::connect(server).context("the good server is gone")?;
                client.write_all(b"please")?;
                client.shutdown(Shutdown::Write)?;
                client.read_to_end(&mut Vec::new())?;
                thread::sleep(PACE);
            }
            Ok(())
        }))
    })
}
