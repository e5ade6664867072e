//! The pictures in the documents: the real view of three servers that leak and of one that works,
//! captured from a real terminal.
//!
//! A picture stands in a document behind `<!-- capture: NAME -->`, in a fence; runs of empty lines
//! are left out of it, and paths of the building machine are replaced.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;

use crate::agent::agent_program;
use crate::demo;
use crate::netns::Netns;
use crate::patient::Patient;
use crate::terminal::Terminal;

/// The size of the pictures.
const SIZE: (u16, u16) = (120, 40);
/// A connection of the working server comes as often.
const PACE: Duration = Duration::from_millis(40);
/// Rates and sparklines need some time before they look like a host.
const WARM_UP: Duration = Duration::from_secs(25);
/// For a screen to appear.
const PATIENCE: Duration = Duration::from_secs(60);
/// For what a screen asks for, such as counts of descriptors.
const SETTLE: Duration = Duration::from_secs(4);

/// Where the pictures say that the programs lie.
const INSTALLED: &str = "/usr/local/bin";

/// And in which cgroup they run.
const SERVICE: &str = "/system.slice/shop.service";

/// Pictures: a name, the keys that lead there from the overview, and a word that it shows.
const PICTURES: [(&str, &[&str], &str); 11] = [
    ("overview", &["1"], "Findings"),
    ("finding", &["1", "Enter"], "What to do"),
    ("findings", &["2"], "open"),
    ("connections", &["3"], "STATE"),
    ("connection", &["3", "Enter"], "Timeline"),
    ("listeners", &["4"], "SYN QUEUE"),
    ("listener", &["4", "Enter"], "accept queue"),
    ("processes", &["5"], "SOCKETS"),
    ("process", &["5", "Enter"], "descriptors"),
    ("events", &["6"], "EVENT"),
    ("help", &["3", "?"], "Filter words"),
];

/// Captures every picture and puts each into the documents that have a place for it. Needs root.
pub fn run(documents: &[PathBuf]) -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "the captures make a network namespace and load programs into the kernel; run them as root"
    );
    let agent = agent_program()?;
    // Where the programs lie on this machine is nobody's business.
    let built = agent
        .parent()
        .map_or_else(String::new, |directory| directory.display().to_string());
    let group = std::fs::read_to_string("/proc/self/cgroup")?;
    let paths = group.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    // Of the root's path nothing has to be hidden, and it would match every slash.
    let paths = paths.filter(|path| path.len() > 1);
    let group = paths
        .max_by_key(|path| path.len())
        .unwrap_or("no group")
        .to_owned();
    let netns = Netns::new()?;
    let servers = demo::servers(&netns)?;
    demo::leak(&netns, &servers)?;
    let log = tempfile::NamedTempFile::new()?;
    let web = Patient::start(
        &netns,
        &format!(
            "owners --mode threads --name web --listen 127.0.0.1:8080 --log {}",
            log.path().display()
        ),
    )?;
    let terminal = Terminal::open(
        &format!(
            "{} live --close-wait-after 5s --netns {}",
            agent.display(),
            netns.inode()
        ),
        SIZE.0,
        SIZE.1,
    )?;
    terminal.await_screen("three findings", PATIENCE, |screen| {
        screen.contains("Findings  3 open")
    })?;
    trade(&netns, web.address(), WARM_UP)?;
    let mut pictures = Vec::new();
    for (name, keys, shows) in PICTURES {
        terminal.press(&["1"])?;
        for key in keys {
            terminal.press(&[key])?;
        }
        terminal.await_screen(name, PATIENCE, |screen| screen.contains(shows))?;
        trade(&netns, web.address(), SETTLE)?;
        let screen = terminal.screen()?;
        let screen = screen.replace(&built, INSTALLED).replace(&group, SERVICE);
        pictures.push((name, squeeze(&screen)));
        if name == "help" {
            terminal.press(&["Escape"])?;
        }
    }
    terminal.press(&["q"])?;
    drop(servers);
    for document in documents {
        put(document, &pictures)?;
    }
    Ok(())
}

/// Runs of empty lines become one.
fn squeeze(screen: &str) -> String {
    let mut text = String::new();
    let mut blank = false;
    for line in screen.trim_end().lines().map(str::trim_end) {
        if !(blank && line.is_empty()) {
            text.push_str(line);
            text.push('\n');
        }
        blank = line.is_empty();
    }
    text
}

fn put(document: &Path, pictures: &[(&str, String)]) -> Result<()> {
    let name = document.display();
    let text = std::fs::read_to_string(document).with_context(|| format!("cannot read {name}"))?;
    let mut new = text;
    for (picture, screen) in pictures {
        new = replace(&new, picture, screen);
    }
    std::fs::write(document, new).with_context(|| format!("cannot write {name}"))
}

/// Puts `screen` into the fence behind each mark of `picture`.
fn replace(text: &str, picture: &str, screen: &str) -> String {
    let mark = format!("<!-- capture: {picture} -->\n```\n");
    let mut parts = text.split(&mark);
    let mut new = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once("```\n").map_or("", |(_, rest)| rest);
        new.push_str(&mark);
        new.push_str(screen);
        new.push_str("```\n");
        new.push_str(rest);
    }
    new
}

/// Clients that come to the server without a fault and go, for so long.
fn trade(netns: &Netns, shop: SocketAddr, long: Duration) -> Result<()> {
    netns.inside(|| {
        let until = Instant::now() + long;
        while Instant::now() < until {
            let mut client = TcpStream::connect_timeout(&shop, PATIENCE)?;
            client.write_all(b"please")?;
            client.shutdown(Shutdown::Write)?;
            // To its end, so that nothing is left unread when it closes.
            client.read_to_end(&mut Vec::new())?;
            thread::sleep(PACE);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_replaces_its_fence_alone() {
        let text =
            "a\n<!-- capture: x -->\n```\nold\n```\nb\n<!-- capture: y -->\n```\nkept\n```\n";
        let new = replace(text, "x", "new\n");
        assert_eq!(new, text.replace("old", "new"));
        assert_eq!(squeeze("a\n\n\nb  \n\n\n"), "a\n\nb\n");
    }
}
