//! Containers' pid namespaces: a patient in one is named by the host's number and its own, and an agent
//! in one says that it does not see whom the kernel names.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tcptrace_lab::agent::{Agent, run_confined};
use tcptrace_lab::client::connect;
use tcptrace_lab::confined::in_pid_namespace;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::sockets::{State, await_count};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_process_in_a_container_has_two_numbers() -> Result<()> {
    let netns = Netns::new()?;
    let options = format!("--close-wait-after 1s --netns {}", netns.inode());
    let agent = Agent::record(&options)?;
    let patient = Patient::start_contained(&netns, "not-watched --name contained")?;
    assert_eq!(patient.ready()["pid"], 1, "{}", patient.ready());
    drop(connect(&netns, patient.address(), 2)?);
    let finding = agent.await_finding("not watched", SOON, |finding| {
        finding.name() == "close_wait_leak/not_watched" && finding.count() == 2
    })?;
    let process = &finding.0["process"];
    assert_eq!(process["pid"], patient.pid(), "{finding:?}");
    assert_eq!(process["ns_pid"], 1, "{finding:?}");
    assert_eq!(process["name"], "contained", "{finding:?}");
    agent.finish()?;
    Ok(())
}

#[test]
fn an_agent_in_a_container_says_what_it_does_not_see() -> Result<()> {
    let output = run_confined("doctor --json", in_pid_namespace)?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(report["host"]["host_pid_namespace"], false, "{report:#}");
    assert_eq!(report["verdict"], "less", "{report:#}");
    let reasons = report["reasons"].as_array().context("no reasons")?;
    let told = |it: &Value| it.as_str().is_some_and(|it| it.contains("--pid=host"));
    assert!(reasons.iter().any(told), "{report:#}");

    // There it can see nobody, but names nobody wrongly: pid 1 is itself, not the patient.
    let netns = Netns::new()?;
    let options = format!("--close-wait-after 1s --netns {}", netns.inode());
    let agent = Agent::record_confined(&options, in_pid_namespace)?;
    assert!(agent.said().contains("--pid=host"), "{}", agent.said());
    let patient = Patient::start(&netns, "not-watched --name patient")?;
    let clients = connect(&netns, patient.address(), 2)?;
    await_count(&netns, patient.port(), State::Established, 2)?;
    drop(clients);
    // It scans the processes of its own namespace only, so that nobody holds them is no proof.
    let finding = agent.await_finding("of the patient", SOON, |finding| {
        finding.port() == Some(u64::from(patient.port()))
    })?;
    assert_eq!(finding.name(), "close_wait_leak/not_watched", "{finding:?}");
    assert_eq!(finding.confidence(), "likely", "{finding:?}");
    assert_eq!(finding.pid(), Some(u64::from(patient.pid())), "{finding:?}");
    let name = finding.0["process"]["name"].as_str().unwrap_or("");
    assert!(["", "patient"].contains(&name), "{finding:?}");
    Ok(())
}
