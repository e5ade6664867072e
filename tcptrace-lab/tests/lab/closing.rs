//! `fin_retransmit`: FINs that the client's host drops on arrival.

use std::time::Duration;

use anyhow::Result;
use tcptrace_lab::agent::Agent;
use tcptrace_lab::client::connect;
use tcptrace_lab::netns::TwoHosts;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::sockets::{State, await_count};
use tcptrace_lab::witness::despite_hiding;

#[test]
fn fin_retransmit_names_the_closer_and_ends_acknowledged() -> Result<()> {
    despite_hiding(|| {
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
        let finding =
            agent.await_finding("fin_retransmit", Duration::from_secs(20), |finding| {
                finding.kind() == "fin_retransmit" && finding.count() == 2
            })?;
        assert_eq!(finding.pid(), Some(u64::from(patient.pid())), "{finding:?}");
        assert_eq!(
            finding.port(),
            Some(u64::from(patient.port())),
            "{finding:?}"
        );
        assert_eq!(finding.confidence(), "exact", "{finding:?}");
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
    })
}

#[test]
fn fin_retransmit_ends_timed_out_by_the_limit_in_force() -> Result<()> {
    despite_hiding(|| {
        let hosts = TwoHosts::new(1)?;
        hosts.server.sysctl("net.ipv4.tcp_orphan_retries", 3)?;
        hosts.client.drop_arriving("tcp flags & fin == fin")?;
        let agent = Agent::record(&format!("--netns {}", hosts.server.inode()))?;
        let patient = Patient::start(
            &hosts.server,
            &format!("accept-slowly --every-ms 1 {}", hosts.listen_option()),
        )?;
        let clients = connect(&hosts.client, hosts.server_at(patient.port()), 2)?;
        agent.await_finding("both given up", Duration::from_secs(60), |finding| {
            finding.kind() == "fin_retransmit" && finding.evidence("outcomes")["timed_out"] == 2
        })?;
        drop(clients);
        let recording = agent.finish()?;
        let findings = recording.findings_on(patient.port());
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let finding = &findings[0];
        assert_eq!(finding.kind(), "fin_retransmit", "{finding:?}");
        assert_eq!(finding.confidence(), "exact", "{finding:?}");
        assert_eq!(finding.pid(), Some(u64::from(patient.pid())), "{finding:?}");
        let limit = &finding.evidence("limit");
        assert_eq!(limit["sysctl"], "tcp_orphan_retries", "{finding:?}");
        assert_eq!(limit["value"], 3, "{finding:?}");
        Ok(())
    })
}

/// A FIN whose first copy is lost is sent once more, as a loss probe or by timeout, and acknowledged.
#[test]
fn a_fin_that_is_lost_once_is_no_fin_retransmit() -> Result<()> {
    despite_hiding(|| {
        let hosts = TwoHosts::new(1)?;
        // Only the first FIN of each of the two connections.
        hosts
            .client
            .drop_arriving("tcp flags & fin == fin limit rate 1/hour burst 2 packets")?;
        let agent = Agent::record(&format!("--netns {}", hosts.server.inode()))?;
        let patient = Patient::start(
            &hosts.server,
            &format!("accept-slowly --every-ms 1 {}", hosts.listen_option()),
        )?;
        let clients = connect(&hosts.client, hosts.server_at(patient.port()), 2)?;
        agent.await_recording("a repeated FIN", Duration::from_secs(20), |recording| {
            let fins = recording
                .of_type("retransmit")
                .filter(|line| line["flags"].to_string().contains("FIN"));
            (fins.count() >= 1).then_some(())
        })?;
        await_count(&hosts.server, patient.port(), State::FinWait1, 0)?;
        std::thread::sleep(Duration::from_secs(3));
        drop(clients);
        let recording = agent.finish()?;
        let findings = recording.findings();
        assert!(
            findings.values().all(|it| it.kind() != "fin_retransmit"),
            "{findings:#?}"
        );
        Ok(())
    })
}
