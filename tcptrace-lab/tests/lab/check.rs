//! `tcptrace check`: its exit codes, on leaks that are older than the check and on a healthy server.

use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tcptrace_lab::agent::agent_program;
use tcptrace_lab::client::connect;
use tcptrace_lab::confined::{as_nobody, without_btf};
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::sockets::{State, await_count};

fn check(netns: &Netns, options: &str) -> Result<Output> {
    Command::new(agent_program()?)
        .args(["check", "--netns", &netns.inode().to_string()])
        .args(options.split_whitespace())
        .output()
        .context("cannot run tcptrace check")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn check_judges_a_leak_that_is_older_than_itself() -> Result<()> {
    let netns = Netns::new()?;
    let patient = Patient::start(&netns, "never-accepted")?;
    let clients = connect(&netns, patient.address(), 3)?;
    drop(clients);
    await_count(&netns, patient.port(), State::CloseWait, 3)?;
    // Older than the threshold when the check begins; the check itself is shorter than it.
    thread::sleep(Duration::from_secs(6));
    let options = "--duration 1s --close-wait-after 5s --format json";
    let output = check(
        &netns,
        &format!("{options} --fail-on close_wait_leak/never_accepted"),
    )?;
    assert_eq!(code(&output), Some(10), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(result["verdict"], "matched", "{result:#}");
    let finding = &result["findings"][0];
    assert_eq!(finding["cause"], "never_accepted", "{result:#}");
    assert_eq!(finding["count"], 3, "{result:#}");
    assert_eq!(finding["process"]["pid"], patient.pid(), "{result:#}");
    assert_eq!(finding["matched"], true, "{result:#}");

    // The same leak, asked about another cause, and about a worse one.
    let output = check(
        &netns,
        &format!("{options} --fail-on close_wait_leak/shared_fd"),
    )?;
    assert_eq!(code(&output), Some(0), "{output:?}");
    let output = check(
        &netns,
        "--duration 1s --close-wait-after 5s --fail-on critical",
    )?;
    assert_eq!(code(&output), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("close_wait_leak/never_accepted"), "{said}");
    assert!(said.contains("fine: nothing matches"), "{said}");
    Ok(())
}

#[test]
fn check_finds_nothing_on_a_healthy_server() -> Result<()> {
    let netns = Netns::new()?;
    let load = Patient::start(&netns, "load --connections 50 --clients 1")?;
    let output = check(&netns, "--duration 1s --fail-on info --format json")?;
    load.kill();
    assert_eq!(code(&output), Some(0), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(result["verdict"], "fine", "{result:#}");
    Ok(())
}

#[test]
fn check_cannot_tell_what_is_not_provable() -> Result<()> {
    let netns = Netns::new()?;
    let patient = Patient::start(&netns, "zero-copy")?;
    drop(connect(&netns, patient.address(), 2)?);
    await_count(&netns, patient.port(), State::CloseWait, 2)?;
    thread::sleep(Duration::from_secs(3));
    let output = check(
        &netns,
        "--duration 1s --close-wait-after 2s --format json --fail-on close_wait_leak/eof_unread",
    )?;
    assert_eq!(code(&output), Some(11), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(result["verdict"], "inconclusive", "{result:#}");
    assert!(
        result["reasons"][0]
            .as_str()
            .is_some_and(|it| it.contains("not provable")),
        "{result:#}"
    );
    Ok(())
}

#[test]
fn check_tells_what_it_may_not_from_what_the_kernel_cannot() -> Result<()> {
    type Confine = fn(&mut Command);
    let cases: [(Confine, i32, &str); 2] = [
        (|command| as_nobody(command, &[]), 3, "sudo"),
        (without_btf, 4, "BTF"),
    ];
    for (confine, expected, remedy) in cases {
        let mut command = Command::new(agent_program()?);
        command.args(["check", "--duration", "1s"]);
        confine(&mut command);
        let output = command.output().context("cannot run tcptrace check")?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(&output), Some(expected), "{said}");
        assert!(said.contains(remedy), "{said}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    Ok(())
}

#[test]
fn check_refuses_what_it_does_not_know() -> Result<()> {
    let netns = Netns::new()?;
    let output = check(&netns, "--fail-on leaks")?;
    assert_eq!(code(&output), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("close_wait_leak"), "{said}");
    Ok(())
}
