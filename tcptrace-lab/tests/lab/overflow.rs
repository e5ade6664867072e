//! What happens when the ring overflows: every lost record is counted by its kind, and afterwards a
//! fresh snapshot brings the world back to what the kernel has. And what stays in the kernel after
//! the agent has gone: nothing, however it went.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tcptrace_lab::agent::Agent;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::Recording;
use tcptrace_lab::sockets::{State, table};
use tcptrace_lab::witness::Witness;
use tcptrace_lab::{patience, programs, wait_for};

const LONG: Duration = Duration::from_secs(30);

/// What heals has two seconds on a host of its own. This one compiles and tests beside it.
fn healed_ns() -> u64 {
    5_000_000_000 * u64::from(patience())
}

/// The smallest ring: a thousand records.
const TINY: &str = "--ring-size 64KiB";

fn signal(agent: &Agent, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(agent.pid())?), signal)?)
}

/// Now on the clock of the recording: nobody suspends a host that runs the lab.
fn now_ns() -> Result<u64> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let seconds: f64 = uptime
        .split_whitespace()
        .next()
        .context("no uptime")?
        .parse()?;
    Ok((seconds * 1e9) as u64)
}

/// Until everything in the namespace is closed.
fn until_over(netns: &Netns) -> Result<()> {
    const OVER: [State; 2] = [State::TimeWait, State::FinWait2];
    wait_for("the last connection to end", LONG, || {
        let open = table(netns)?
            .into_iter()
            .any(|row| !OVER.map(|state| state as u8).contains(&row.state));
        Ok((!open).then_some(()))
    })
}

#[test]
fn an_overflow_is_counted_exactly() -> Result<()> {
    const CONNECTIONS: u64 = 2_000;
    let netns = Netns::new()?;
    let witness = Witness::new()?;
    let agent = Agent::record(&format!("--netns {} {TINY}", netns.inode()))?;
    signal(&agent, Signal::SIGSTOP)?;
    let load = Patient::start(&netns, &format!("load --connections {CONNECTIONS}"))?;
    let listeners = load.ready()["ports"].as_array().context("no ports")?.len() as u64;
    load.finish()?;
    until_over(&netns)?;
    signal(&agent, Signal::SIGCONT)?;
    agent.await_recording("the loss to be told", LONG, |recording| {
        recording.of_type("loss").next().map(|_| ())
    })?;
    let hidden = witness.hidden()?.len() as u64;
    let recording = agent.end(Signal::SIGINT)?.recording()?;

    let mut told: BTreeMap<(String, String), u64> = BTreeMap::new();
    for loss in recording.of_type("loss") {
        let text = |name: &str| loss[name].as_str().unwrap_or("").to_owned();
        *told.entry((text("cause"), text("kind"))).or_default() +=
            loss["count"].as_u64().context("a loss without count")?;
    }
    let lost = |kind: &str| -> u64 {
        ["ring", "recursion"]
            .iter()
            .filter_map(|cause| told.get(&((*cause).to_owned(), kind.to_owned())))
            .sum()
    };
    let recorded = |kind: &str| {
        recording
            .of_type(kind)
            .filter(|line| line["netns"] == netns.inode())
            .count() as u64
    };
    // Ten for each connection, and the beginning and end of each listener.
    let made = 10 * CONNECTIONS + 2 * listeners;
    let counted = recorded("transition") + lost("transition");
    assert!(
        counted <= made && counted + hidden >= made,
        "{made} transitions were made, {} recorded, {} told as lost, {hidden} hidden: {told:?}",
        recorded("transition"),
        lost("transition")
    );
    assert!(
        lost("transition") > CONNECTIONS,
        "the ring did not overflow: {told:?}"
    );
    // The same numbers in the footer, and in the summary on the screen.
    let footer = recording.footer()?;
    let ring: u64 = told
        .iter()
        .filter(|((cause, _), _)| cause == "ring")
        .map(|(_, count)| count)
        .sum();
    assert_eq!(footer["losses"]["ring"], ring, "{footer}");
    Ok(())
}

#[test]
fn the_world_is_the_kernels_again_after_an_overflow() -> Result<()> {
    let netns = Netns::new()?;
    let before = Patient::start(&netns, "crowd --sockets 200")?;
    let agent = Agent::record(&format!("--netns {} {TINY}", netns.inode()))?;
    signal(&agent, Signal::SIGSTOP)?;
    // Unseen: some are born and stay, some end, and a thousand come and go.
    let _during = Patient::start(&netns, "crowd --sockets 300")?;
    let _waiting = Patient::start(&netns, "crowd --sockets 40 --of close-wait")?;
    let _listening = Patient::start(&netns, "crowd --sockets 20 --of listener")?;
    before.kill();
    Patient::start(&netns, "load --connections 1000")?.finish()?;
    signal(&agent, Signal::SIGCONT)?;
    let until = now_ns()? + healed_ns();

    let (healed, kernels) = wait_for("the recording to tell of everything", LONG, || {
        let recording = Recording::read(&agent.path())?;
        let kernels = kernels_world(&netns)?;
        let lost = recording.of_type("loss").next().is_some();
        let world = told_world(&recording, netns.inode(), until)?;
        let over = recording
            .lines
            .last()
            .and_then(|line| line["mono_ns"].as_u64())
            .is_some_and(|at| at > until);
        Ok((lost && (world == kernels || over)).then_some((world, kernels)))
    })?;
    let missing: Vec<_> = kernels.difference(&healed).take(5).collect();
    let stale: Vec<_> = healed.difference(&kernels).take(5).collect();
    ensure!(
        healed == kernels,
        "the kernel has {} sockets, the recording tells of {}; not told: {missing:?}, gone: {stale:?}",
        kernels.len(),
        healed.len()
    );
    assert!(kernels.len() >= 360, "{}", kernels.len());
    Ok(())
}

/// A socket as both describe it: its ends and its state.
type Socket = (String, String, String);

/// States in which a socket has a descriptor.
const HELD: [(State, &str); 3] = [
    (State::Listen, "LISTEN"),
    (State::Established, "ESTABLISHED"),
    (State::CloseWait, "CLOSE_WAIT"),
];

fn kernels_world(netns: &Netns) -> Result<BTreeSet<Socket>> {
    Ok(table(netns)?
        .into_iter()
        .filter_map(|row| {
            let (_, state) = HELD.iter().find(|(state, _)| *state as u8 == row.state)?;
            let peer = match row.peer.port() {
                0 => String::new(),
                _ => row.peer.to_string(),
            };
            Some((row.local.to_string(), peer, (*state).to_owned()))
        })
        .collect())
}

/// What a reader of the recording knows of the namespace from lines up to `until`.
fn told_world(recording: &Recording, netns: u64, until: u64) -> Result<BTreeSet<Socket>> {
    struct Known {
        line: [Value; 2],
        state: String,
        event: u64,
        seen: u64,
    }
    let mut known: HashMap<&str, Known> = HashMap::new();
    let (mut snapshot, mut begun) = (0, 0);
    for line in &recording.lines {
        let at = line["mono_ns"].as_u64().context("a line without time")?;
        if at > until {
            continue;
        }
        let kind = line["type"].as_str().unwrap_or("");
        if kind == "snapshot" && line["scope"] == "descriptors" {
            if line["phase"] == "begin" {
                (snapshot, begun) = (snapshot + 1, at);
            } else if line["complete"] == true {
                known.retain(|_, socket| {
                    let covered = HELD.iter().any(|(_, state)| *state == socket.state);
                    !covered || socket.seen == snapshot || socket.event >= begun
                });
            }
            continue;
        }
        let Some(sock) = line["sock"].as_str().filter(|_| line["netns"] == netns) else {
            continue;
        };
        let state = match kind {
            "transition" => &line["to"],
            "socket" => &line["state"],
            "destroy" => {
                known.remove(sock);
                continue;
            }
            _ => continue,
        };
        let socket = known.entry(sock).or_insert(Known {
            line: [Value::Null, Value::Null],
            state: String::new(),
            event: 0,
            seen: 0,
        });
        socket.state = state.as_str().unwrap_or("").to_owned();
        socket.line = [line["local"].clone(), line["peer"].clone()];
        if kind == "socket" {
            socket.seen = snapshot;
        } else {
            socket.event = at;
        }
    }
    let end = |end: &Value| match (end["address"].as_str(), end["port"].as_u64()) {
        (Some(address), Some(port)) => format!("{address}:{port}"),
        _ => String::new(),
    };
    Ok(known
        .into_values()
        .filter(|socket| HELD.iter().any(|(_, state)| *state == socket.state))
        .map(|socket| {
            let [local, peer] = &socket.line;
            (end(local), end(peer), socket.state)
        })
        .collect())
}

/// Everything that is pinned, where a BPF file system is mounted.
fn pins() -> usize {
    fn below(path: &Path) -> usize {
        fs::read_dir(path).map_or(0, |entries| {
            entries
                .flatten()
                .map(|entry| 1 + below(&entry.path()))
                .sum()
        })
    }
    below(Path::new("/sys/fs/bpf"))
}

#[test]
fn nothing_stays_in_the_kernel_however_the_agent_ends() -> Result<()> {
    let pins_before = pins();
    for ending in [Signal::SIGINT, Signal::SIGKILL] {
        let agent = Agent::record("")?;
        let ours = programs::held_by(agent.pid())?;
        assert!(ours.len() >= 5, "{ours:?}");
        agent.end(ending)?;
        // The kernel frees programs after every processor has passed a quiet moment.
        wait_for(&format!("the programs to go after {ending}"), LONG, || {
            let left = programs::all()?
                .into_iter()
                .any(|program| ours.contains(&program.id));
            Ok((!left).then_some(()))
        })?;
    }
    assert_eq!(pins(), pins_before);
    Ok(())
}
