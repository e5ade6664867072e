//! The demonstration, in front of a stranger who touches no key: in a real terminal (tmux).

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tcptrace_lab::terminal::Terminal;
use tcptrace_lab::{program, wait_for};

#[test]
fn the_demonstration_names_each_leak_and_resolves_one() -> Result<()> {
    let demo = program("TCPTRACE_DEMO", "tcptrace-demo")?;
    let agent = tcptrace_lab::agent::agent_program()?;
    let command = format!(
        "TCPTRACE_BIN={} {}; echo demo ended with $?; sleep 60",
        agent.display(),
        demo.display()
    );
    let terminal = Terminal::open(&command, 120, 40)?;
    let said = terminal.await_screen("three groups", Duration::from_secs(20), |screen| {
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
    terminal.await_screen(
        "each server's name and cause",
        Duration::from_secs(25),
        named,
    )?;
    terminal.await_screen("search to be resolved", Duration::from_secs(25), |screen| {
        screen
            .lines()
            .any(|line| line.contains("search") && line.contains("resolved"))
    })?;
    terminal.await_screen("the end", Duration::from_secs(30), |screen| {
        screen.contains("demo ended with 0")
    })?;
    let pids: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once(" pid "))
        .filter_map(|(_, rest)| rest.split_whitespace().next())
        .collect();
    assert_eq!(pids.len(), 3, "{said}");
    for pid in pids {
        // Killed in passing; the kernel buries them in its own time.
        let place = Path::new("/proc").join(pid);
        wait_for(
            &format!("{pid} to be gone"),
            Duration::from_secs(30),
            || Ok((!place.exists()).then_some(())),
        )?;
    }
    Ok(())
}
