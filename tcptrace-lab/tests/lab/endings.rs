//! How a recording ends, and what it is worth then.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tcptrace_lab::agent::{Agent, Ended, agent_program, replay, run_as_nobody};
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::wait_for;

/// Records a hundred connections and ends by a signal.
fn record(signal: Signal) -> Result<Ended> {
    let netns = Netns::new()?;
    let agent = Agent::record(&format!("--netns {}", netns.inode()))?;
    let load = Patient::start(&netns, "load --connections 100 --clients 1")?;
    load.kill();
    // A flush is due every second.
    thread::sleep(Duration::from_millis(1300));
    agent.end(signal)
}

#[test]
fn sigint_and_sigterm_leave_a_footer() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let ended = record(signal)?;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        let recording = ended.recording()?;
        let footer = recording.footer()?;
        assert_eq!(footer["ended"], "signal");
        let transitions = recording.of_type("transition").count();
        assert!(transitions >= 1000, "{transitions}");
        assert_eq!(footer["counts"]["transition"], transitions);
        assert_eq!(recording.lines[0]["type"], "header");
        assert!(ended.stderr.contains("losses"), "{}", ended.stderr);
        ended.replay_agrees(&recording)?;
        let mode = fs::metadata(ended.path())?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    Ok(())
}

#[test]
fn sigkill_leaves_every_full_line() -> Result<()> {
    let ended = record(Signal::SIGKILL)?;
    let recording = ended.recording()?;
    assert_eq!(recording.lines[0]["type"], "header");
    let transitions = recording.of_type("transition").count();
    assert!(transitions >= 1000, "{transitions}");
    let output = replay(&ended.path(), "ndjson")?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    Ok(())
}

#[test]
fn a_duration_ends_it() -> Result<()> {
    let netns = Netns::new()?;
    let started = Instant::now();
    let mut agent = Agent::record(&format!("--duration 2s --netns {}", netns.inode()))?;
    let ended = agent.wait()?;
    assert!(started.elapsed() >= Duration::from_secs(2));
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_eq!(ended.recording()?.footer()?["ended"], "duration");
    Ok(())
}

#[test]
fn a_broken_pipe_is_no_error() -> Result<()> {
    let netns = Netns::new()?;
    let mut agent = Command::new(agent_program()?)
        .args(["record", "-o", "-", "--netns"])
        .arg(netns.inode().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdout = agent.stdout.take().context("no stdout")?;
    let mut stderr = BufReader::new(agent.stderr.take().context("no stderr")?);
    let mut ready = String::new();
    while !ready.contains("tcptrace: ready") {
        assert!(stderr.read_line(&mut ready)? > 0, "{ready}");
    }
    let mut head = [0; 1000];
    stdout.read_exact(&mut head)?;
    assert!(head.starts_with(br#"{"type":"header","#));
    drop(stdout);
    let load = Patient::start(&netns, "load --connections 100 --clients 1")?;
    let status = wait_for("the agent to end", Duration::from_secs(10), || {
        Ok(agent.try_wait()?)
    });
    if status.is_err() {
        agent.kill()?;
        agent.wait()?;
    }
    drop(load);
    assert_eq!(status?.code(), Some(0));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest)?;
    assert!(!rest.to_lowercase().contains("pipe"), "not a word: {rest}");
    Ok(())
}

#[test]
fn a_full_disk_is_named() -> Result<()> {
    let netns = Netns::new()?;
    let agent = Command::new(agent_program()?)
        .args(["record", "-o", "-", "--duration", "3s", "--netns"])
        .arg(netns.inode().to_string())
        .stdin(Stdio::null())
        .stdout(fs::OpenOptions::new().write(true).open("/dev/full")?)
        .stderr(Stdio::piped())
        .output()?;
    let stderr = String::from_utf8_lossy(&agent.stderr);
    assert_eq!(agent.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("standard output"), "{stderr}");
    Ok(())
}

#[test]
fn an_existing_file_is_not_overwritten() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), "precious")?;
    let output = Command::new(agent_program()?)
        .args(["record", "--duration", "1s", "-o"])
        .arg(file.path())
        .stdin(Stdio::null())
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--force"), "{stderr}");
    assert_eq!(fs::read_to_string(file.path())?, "precious");
    Ok(())
}

#[test]
fn without_privileges_it_says_what_is_missing() -> Result<()> {
    for command in ["record -o -", "record --duration 1s -o -"] {
        let output = run_as_nobody(command)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains("sudo"), "{stderr}");
        assert!(output.stdout.is_empty());
    }
    Ok(())
}

#[test]
fn without_a_terminal_live_names_record() -> Result<()> {
    let output = Command::new(agent_program()?)
        .arg("live")
        .stdin(Stdio::null())
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("tcptrace record"), "{stderr}");
    Ok(())
}

#[test]
fn a_replay_needs_no_privileges_and_names_a_bad_line() -> Result<()> {
    let ended = record(Signal::SIGINT)?;
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let path = directory.path().join("recording.ndjson");
    let text = fs::read_to_string(ended.path())?;
    fs::write(&path, &text)?;
    let output = run_as_nobody(&format!("replay {} --format ndjson", path.display()))?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut lines: Vec<&str> = text.lines().collect();
    lines[16] = r#"{"type":"transition","seq":"sixteen"}"#;
    fs::write(&path, lines.join("\n") + "\n")?;
    let output = replay(&path, "text")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("line 17"), "{stderr}");
    Ok(())
}
