//! The demonstration: three servers that leak in three ways, which `ss` cannot tell apart, and the
//! agent's first screen, which can.
//!
//! Invariant: whatever ends the demonstration (its time, `q`, Ctrl-C, a closed terminal, a panic)
//! also ends the servers and, with them, their network namespace.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::agent::agent_program;
use crate::client::connect;
use crate::netns::Netns;
use crate::patient::Patient;
use crate::sockets::{State, await_count};

/// Name, port and mistake of each server. The names are all that a viewer knows at first.
const SERVERS: [(&str, u16, &str); 3] = [
    ("inventory", 8001, "never-accepted"),
    ("orders", 8002, "not-watched"),
    ("search", 8003, "eof-unread --mode serve"),
];
/// Connections to each.
const CLIENTS: usize = 4;
/// `--close-wait-after`, and how long the leaks wait for the agent: its first frame shall judge.
const SUSPECT_AFTER: Duration = Duration::from_secs(5);
/// When the stopped server goes on, after the start of the TUI.
const GOES_ON: Duration = Duration::from_secs(14);
/// When the TUI is asked to end.
const ENDS: Duration = Duration::from_secs(32);

/// Shows it, in about forty seconds. Needs root and a terminal.
pub fn run() -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "the demonstration makes a network namespace and loads programs into the kernel; run it as root"
    );
    ensure!(
        io::stdin().is_terminal() && io::stdout().is_terminal(),
        "the demonstration draws on a terminal, and standard input or output is none; run it in one"
    );
    let agent = agent_program()?;
    let netns = Netns::new()?;
    let servers = servers(&netns)?;

    println!("Three servers have just leaked connections, each in its own way:");
    for ((name, port, _), server) in SERVERS.iter().zip(&servers) {
        println!("  {name:<10} port {port}  pid {}", server.pid());
    }
    let stopped = leak(&netns, &servers)?;
    println!("\nWhat ss has to say about them (`ss -tn`, the servers' side, sorted by port):\n");
    print!("{}", what_ss_says(&netns)?);
    println!(
        "\nThree identical groups. Now tcptrace, which was not running when they leaked:\n\n  \
         tcptrace live --close-wait-after 5s --netns {}\n\n\
         After {} seconds `search`, which is stopped, is continued (SIGCONT): watch its finding \
         resolve.\nIt ends by itself after {} seconds; q ends it at once.",
        netns.inode(),
        GOES_ON.as_secs(),
        ENDS.as_secs(),
    );
    // Every leak is past the threshold when the agent starts, and there is time to read.
    thread::sleep(SUSPECT_AFTER + Duration::from_secs(2));

    let mut live = Command::new(agent);
    live.args(["live", "--close-wait-after", "5s", "--netns"])
        .arg(netns.inode().to_string());
    // SAFETY: prctl is async-signal-safe and touches nothing but the new process. SIGTERM, so that
    // the agent restores the terminal when we are gone.
    unsafe {
        live.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
        );
    }
    let mut live = live.spawn().context("cannot start tcptrace live")?;
    let status = direct(&mut live, stopped)?;
    drop(servers);
    ensure!(status.success(), "tcptrace live failed: {status}");
    println!(
        "The servers are gone, and everything they left. `cargo xtask live` shows this host as it is."
    );
    Ok(())
}

/// The output of `ss -tn` about the servers' ends, its lines in order.
fn what_ss_says(netns: &Netns) -> Result<String> {
    let mut ss = netns.command("ss");
    ss.args(["-tn", "( sport >= :8001 and sport <= :8003 )"]);
    let output = ss.output().context("cannot run ss; install iproute2")?;
    ensure!(output.status.success(), "ss failed: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let (heading, lines) = text.split_once('\n').context("ss printed nothing")?;
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    Ok(format!("{heading}\n{}\n", lines.join("\n")))
}

/// The three servers, started.
pub(crate) fn servers(netns: &Netns) -> Result<Vec<Patient>> {
    SERVERS
        .iter()
        .map(|(name, port, mistake)| {
            Patient::start(
                netns,
                &format!("{mistake} --name {name} --listen 127.0.0.1:{port}"),
            )
        })
        .collect()
}

/// Clients connect to every server, the last server is stopped, the clients close. Answers the
/// stopped one.
pub(crate) fn leak<'a>(netns: &Netns, servers: &'a [Patient]) -> Result<&'a Patient> {
    let Some(stopped) = servers.last() else {
        bail!("there is no server that could leak");
    };
    let addresses: Vec<SocketAddr> = servers.iter().map(Patient::address).collect();
    let clients = addresses
        .iter()
        .map(|address| connect(netns, *address, CLIENTS))
        .collect::<Result<Vec<_>>>()?;
    // Time to accept, and to register what was accepted.
    thread::sleep(Duration::from_millis(300));
    stopped.stop()?;
    drop(clients);
    for address in addresses {
        await_count(netns, address.port(), State::CloseWait, CLIENTS)?;
    }
    Ok(stopped)
}

/// Continues the stopped server, and ends the TUI when its time is over.
fn direct(live: &mut Child, stopped: &Patient) -> Result<ExitStatus> {
    let started = Instant::now();
    let mut gone_on = false;
    let mut asked_to_end = false;
    loop {
        if let Some(status) = live.try_wait()? {
            return Ok(status);
        }
        if !gone_on && started.elapsed() >= GOES_ON {
            stopped.go_on()?;
            gone_on = true;
        }
        if !asked_to_end && started.elapsed() >= ENDS {
            kill(Pid::from_raw(i32::try_from(live.id())?), Signal::SIGTERM)?;
            asked_to_end = true;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
