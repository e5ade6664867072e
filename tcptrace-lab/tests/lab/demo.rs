//! The demonstration, in front of a stranger who touches no key: in a real terminal (tmux).

use std::process::{Command, Output, id};
use std::time::Duration;

use anyhow::{Context, Result};
use tcptrace_lab::{program, wait_for};

/// A terminal of its own, on a tmux server of its own.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn open(command: &str) -> Result<Self> {
        let terminal = Self {
            socket: format!("tcptrace-lab-{}", id()),
        };
        let size = ["-x", "120", "-y", "40"];
        let new = ["-f", "/dev/null", "new-session", "-d"];
        let output = terminal.tmux(&[&new[..], &size[..], &[command]].concat())?;
        assert!(output.status.success(), "{output:?}");
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<Output> {
        Command::new("tmux")
            .args(["-L", &self.socket])
            .args(arguments)
            .output()
            .context("cannot run tmux; install it")
    }

    fn screen(&self) -> Result<String> {
        let output = self.tmux(&["capture-pane", "-p"])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn await_screen(&self, what: &str, within: u64, seen: impl Fn(&str) -> bool) -> Result<String> {
        wait_for(what, Duration::from_secs(within), || {
            let screen = self.screen()?;
            Ok(seen(&screen).then_some(screen))
        })
        .with_context(|| format!("the screen:\n{}", self.screen().unwrap_or_default()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.tmux(&["kill-server"]);
    }
}

fn alive(name: &str) -> Result<bool> {
    let found = std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok())
        .any(|comm| comm.trim() == name);
    Ok(found)
}

#[test]
fn the_demonstration_names_each_leak_and_resolves_one() -> Result<()> {
    let demo = program("TCPTRACE_DEMO", "tcptrace-demo")?;
    let agent = tcptrace_lab::agent::agent_program()?;
    let terminal = Terminal::open(&format!(
        "TCPTRACE_BIN={} {}; echo demo ended with $?; sleep 60",
        agent.display(),
        demo.display()
    ))?;
    let said = terminal.await_screen("three groups", 20, |screen| {
        screen.contains("Three identical groups")
    })?;
    for port in ["8001", "8002", "8003"] {
        let group = said
            .lines()
            .filter(|line| line.starts_with("CLOSE-WAIT 1 ") && line.contains(port));
        assert_eq!(group.count(), 4, "{said}");
    }
    let named = |screen: &str| {
        [
            ("inventory", "never_accepted"),
            ("orders", "not_watched"),
            ("search", "eof_unread"),
        ]
        .into_iter()
        .all(|(name, cause)| {
            screen
                .lines()
                .any(|line| line.contains(name) && line.contains(cause))
        })
    };
    terminal.await_screen("each server's name and cause", 25, named)?;
    terminal.await_screen("search to be resolved", 25, |screen| {
        screen
            .lines()
            .any(|line| line.contains("search") && line.contains("resolved"))
    })?;
    terminal.await_screen("the end", 30, |screen| screen.contains("demo ended with 0"))?;
    for name in ["inventory", "orders", "search"] {
        assert!(!alive(name)?, "{name} is left over");
    }
    Ok(())
}
