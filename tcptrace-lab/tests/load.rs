//! Not one transition is lost: a saturating load is recorded with every connection's whole chain.
//! Alone in its file, so that no other test runs beside it.
//!
//! `TCPTRACE_LAB_CONNECTIONS=200000` makes it longer.
//!
//! Where the host exempts processes from BPF, no BPF program sees what happens in softirqs that
//! interrupt those. The kernel's own event buffer is asked for exactly these, and nothing else may
//! be missing.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Deserialize;
use tcptrace_lab::agent::Agent;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::each_line;
use tcptrace_lab::sockets::{State, table};
use tcptrace_lab::wait_for;
use tcptrace_lab::witness::{Hidden, Witness};

/// What each end of a connection goes through when the client closes first.
const CLIENT: [(&str, &str); 5] = [
    ("CLOSE", "SYN_SENT"),
    ("SYN_SENT", "ESTABLISHED"),
    ("ESTABLISHED", "FIN_WAIT1"),
    ("FIN_WAIT1", "FIN_WAIT2"),
    ("FIN_WAIT2", "CLOSE"),
];
const SERVER: [(&str, &str); 5] = [
    ("LISTEN", "SYN_RECV"),
    ("SYN_RECV", "ESTABLISHED"),
    ("ESTABLISHED", "CLOSE_WAIT"),
    ("CLOSE_WAIT", "LAST_ACK"),
    ("LAST_ACK", "CLOSE"),
];

/// What is left in the kernel's table when all is over; what waits in FIN_WAIT2 has lost its socket.
const OVER: [State; 3] = [State::Listen, State::TimeWait, State::FinWait2];
const END: Duration = Duration::from_secs(60);

#[derive(Default, Deserialize)]
struct End {
    port: Option<u16>,
}

#[derive(Deserialize)]
struct Transition<'a> {
    sock: &'a str,
    netns: u64,
    #[serde(default)]
    local: End,
    #[serde(default)]
    peer: End,
    from: &'a str,
    to: &'a str,
}

/// What was recorded of one socket.
#[derive(Debug, Default)]
struct Life {
    ports: (u16, u16),
    /// One bit for each step of the chain.
    client: u8,
    server: u8,
}

/// Every bit of a chain.
const WHOLE: u8 = 0b1_1111;

impl Life {
    fn take(&mut self, transition: &Transition<'_>) -> Result<()> {
        let states = (transition.from, transition.to);
        let place = |chain: &[(&str, &str)]| chain.iter().position(|step| *step == states);
        let (chain, place) = match (place(&CLIENT), place(&SERVER)) {
            (Some(place), None) => (&mut self.client, place),
            (None, Some(place)) => (&mut self.server, place),
            _ => anyhow::bail!("{} makes {states:?}", transition.sock),
        };
        ensure!(
            *chain >> place == 0,
            "{} makes {states:?} too late or twice: {chain:b}",
            transition.sock
        );
        *chain |= 1 << place;
        if let (Some(local), Some(peer)) = (transition.local.port, transition.peer.port) {
            self.ports = (local, peer);
        }
        Ok(())
    }

    /// The steps that were not recorded.
    fn missing(&self) -> impl Iterator<Item = Hidden> + '_ {
        let (steps, seen) = if self.client > 0 {
            (&CLIENT, self.client)
        } else {
            (&SERVER, self.server)
        };
        steps
            .iter()
            .enumerate()
            .filter(move |(place, _)| seen >> place & 1 == 0)
            .map(|(_, (from, to))| Hidden {
                ports: self.ports,
                states: ((*from).to_owned(), (*to).to_owned()),
            })
    }
}

#[test]
fn every_transition_of_a_saturating_load_is_recorded() -> Result<()> {
    let connections: usize = match env::var("TCPTRACE_LAB_CONNECTIONS") {
        Ok(text) => text.parse().context("TCPTRACE_LAB_CONNECTIONS")?,
        Err(_) => 20_000,
    };
    let netns = Netns::new()?;
    let witness = Witness::new()?;
    // Default settings, no filter.
    let agent = Agent::record("")?;
    let load = Patient::start(
        &netns,
        &format!("load --clients 4 --connections {connections}"),
    )?;
    eprintln!("load: {} per second", load.ready()["per_second"]);
    // The servers may still have to close what the clients closed first.
    wait_for("the last connection to end", END, || {
        let open = table(&netns)?
            .into_iter()
            .any(|row| !OVER.map(|state| state as u8).contains(&row.state));
        Ok((!open).then_some(()))
    })?;
    let mut hidden: BTreeMap<Hidden, usize> = BTreeMap::new();
    for change in witness.hidden()? {
        *hidden.entry(change).or_default() += 1;
    }
    let ended = agent.end(Signal::SIGINT)?;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);

    let mut lives: HashMap<String, Life> = HashMap::new();
    let mut losses = Vec::new();
    let mut last = String::new();
    each_line(&ended.path(), |line| {
        if line.starts_with(r#"{"type":"transition","#) {
            let transition: Transition<'_> = serde_json::from_str(line)?;
            // A listener begins, or ends.
            let listening = matches!(
                (transition.from, transition.to),
                ("CLOSE", "LISTEN") | ("LISTEN", "CLOSE")
            );
            if transition.netns == netns.inode() && !listening {
                lives
                    .entry(transition.sock.to_owned())
                    .or_default()
                    .take(&transition)?;
            }
        } else {
            if line.starts_with(r#"{"type":"loss","#) {
                losses.push(line.to_owned());
            }
            line.clone_into(&mut last);
        }
        Ok(())
    })?;
    let footer: serde_json::Value = serde_json::from_str(&last)?;
    assert_eq!(footer["type"], "footer");
    let counted = footer["losses"].as_object().context("no losses named")?;
    let lost = counted
        .iter()
        .any(|(cause, count)| cause != "unreported" && *count != 0);
    assert!(!lost, "{losses:?} {footer}");

    assert_eq!(lives.len(), 2 * connections, "two ends of each connection");
    let mut unfinished = 0;
    let mut missing = 0;
    for (sock, life) in &lives {
        unfinished += u64::from(life.client != WHOLE && life.server != WHOLE);
        for change in life.missing() {
            missing += 1;
            let seen = hidden.get_mut(&change).filter(|times| **times > 0);
            *seen.with_context(|| format!("{sock} lacks {change:?}, {life:?}"))? -= 1;
        }
    }
    eprintln!("load: {missing} transitions were hidden from BPF by the host");
    let unreported = counted["unreported"].as_u64().context("not a count")?;
    assert!(
        unreported <= unfinished,
        "{unreported} counted, but {unfinished} unfinished"
    );
    Ok(())
}
