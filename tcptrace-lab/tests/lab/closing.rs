//! `fin_retransmit`: FINs that the client's host drops on arrival.

use std::time::Duration;

use anyhow::Result;
use tcptrace_lab::agent::Agent;
use tcptrace_lab::client::connect;
use tcptrace_lab::netns::TwoHosts;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::sockets::{State, await_count};

#[test]
fn fin_retransmit_names_the_closer_and_ends_acknowledged() -> Result<()> {
    let hosts = TwoHosts::new(1)?;
    hosts.client.drop_arriving("tcp flags & fin == fin")?;
    let agent = Agent::record(&format!("--netns {}", hosts.server.inode()))?;
    // Accepts, and closes at once: the server's FIN is first.
    let patient = Patient::start(
        &hosts.server,
        &format!("accept-slowly --every-ms 1 {}", hosts.listen_option()),
    )?;
    let clients = connect(&hosts.client, hosts.server_at(patient.port()), 2)?;
    await_count(&hosts.server, patient.port(), State::FinWait1, 2)?;
    let finding = agent.await_finding("fin_retransmit", Duration::from_secs(20), |finding| {
        finding.kind() == "fin_retransmit" && finding.count() == 2
    })?;
    assert_eq!(finding.pid(), Some(u64::from(patient.pid())), "{finding:?}");
    assert_eq!(
        finding.port(),
        Some(u64::from(patient.port())),
        "{finding:?}"
    );
    assert_eq!(finding.evidence("state"), "FIN_WAIT1", "{finding:?}");
    hosts.client.stop_dropping()?;
    await_count(&hosts.server, patient.port(), State::FinWait1, 0)?;
    drop(clients);
    let recording = agent.finish()?;
    let attempts = recording
        .of_type("retransmit")
        .filter(|line| line["flags"].to_string().contains("FIN"))
        .filter(|line| line["state"] == "FIN_WAIT1" && line["reason"] == "timeout");
    assert!(attempts.count() >= 4, "two sockets, three attempts each");
    let findings = recording.findings_on(patient.port());
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(
        findings[0].evidence("outcomes")["acknowledged"],
        2,
        "{findings:#?}"
    );
    Ok(())
}
