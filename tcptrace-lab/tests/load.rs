//! Not one transition is lost: a saturating load is recorded with every connection's whole chain.
//! Alone in its file, so that no other test runs beside it.
//!
//! `TCPTRACE_LAB_CONNECTIONS=200000` makes it longer.

use std::collections::HashMap;
use std::time::Duration;
use std::{env, thread};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;
use tcptrace_lab::agent::Agent;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::each_line;

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

#[derive(Deserialize)]
struct Transition<'a> {
    sock: &'a str,
    netns: u64,
    from: &'a str,
    to: &'a str,
}

/// The chain that a socket is on, and how far it is.
type Life = (&'static [(&'static str, &'static str); 5], usize);

fn step(lives: &mut HashMap<String, Life>, transition: &Transition<'_>) -> Result<()> {
    let now = (transition.from, transition.to);
    let Some((chain, at)) = lives.get_mut(transition.sock) else {
        let chain = match now {
            now if now == CLIENT[0] => &CLIENT,
            now if now == SERVER[0] => &SERVER,
            // A listener begins, or ends.
            ("CLOSE", "LISTEN") | ("LISTEN", "CLOSE") => return Ok(()),
            _ => bail!("{} begins with {now:?}", transition.sock),
        };
        lives.insert(transition.sock.to_owned(), (chain, 1));
        return Ok(());
    };
    if chain.get(*at) != Some(&now) {
        bail!("{} makes {now:?} as step {at}", transition.sock);
    }
    *at += 1;
    Ok(())
}

#[test]
fn every_transition_of_a_saturating_load_is_recorded() -> Result<()> {
    let connections: usize = match env::var("TCPTRACE_LAB_CONNECTIONS") {
        Ok(text) => text.parse().context("TCPTRACE_LAB_CONNECTIONS")?,
        Err(_) => 20_000,
    };
    let netns = Netns::new()?;
    // Default settings, no filter.
    let agent = Agent::record("")?;
    let load = Patient::start(
        &netns,
        &format!("load --clients 4 --connections {connections}"),
    )?;
    eprintln!("load: {} per second", load.ready()["per_second"]);
    thread::sleep(Duration::from_millis(500));
    let ended = agent.end(Signal::SIGINT)?;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);

    let mut lives = HashMap::new();
    let mut losses = Vec::new();
    let mut last = String::new();
    each_line(&ended.path(), |line| {
        if line.starts_with(r#"{"type":"transition","#) {
            let transition: Transition<'_> = serde_json::from_str(line)?;
            if transition.netns == netns.inode() {
                step(&mut lives, &transition)?;
            }
        } else {
            if line.starts_with(r#"{"type":"loss","#) {
                losses.push(line.to_owned());
            }
            line.clone_into(&mut last);
        }
        Ok(())
    })?;
    assert_eq!(lives.len(), 2 * connections, "two ends of each connection");
    let unfinished: Vec<_> = lives
        .iter()
        .filter(|(_, (_, at))| *at < 5)
        .take(5)
        .collect();
    assert!(unfinished.is_empty(), "{unfinished:?}");
    let footer: serde_json::Value = serde_json::from_str(&last)?;
    assert_eq!(footer["type"], "footer");
    let counted = footer["losses"].as_object().context("no losses named")?;
    let lost = counted.values().any(|count| count != 0);
    assert!(!lost && losses.is_empty(), "{losses:?} {footer}");
    Ok(())
}
