//! `--stacks`: where in a real program the sockets of a finding were accepted or connected; and that
//! nothing of it is written without being asked for.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;
use std::{process::Command, thread};

use anyhow::{Result, ensure};
use tcptrace_lab::agent::{Agent, agent_program, replay};
use tcptrace_lab::client::connect;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::{Finding, Recording};

const SOON: Duration = Duration::from_secs(60);

/// The names of the functions that a finding shows, of all its stacks.
fn functions(finding: &Finding) -> Vec<String> {
    let stacks = finding.0["stacks"].as_array().into_iter().flatten();
    let frames = stacks.flat_map(|stack| stack["frames"].as_array().into_iter().flatten());
    frames
        .filter_map(|frame| Some(frame["function"].as_str()?.to_owned()))
        .collect()
}

/// Ends the agent; everybody who shows the recording shows the function too.
fn everywhere(agent: Agent, function: &str, row: &str) -> Result<Recording> {
    let ended = agent.end(nix::sys::signal::Signal::SIGINT)?;
    ensure!(ended.status.success(), "{}", ended.stderr);
    let recording = ended.recording()?;
    tcptrace_lab::schema::holds(&recording)?;
    ended.replay_agrees(&recording)?;
    let report = Command::new(agent_program()?)
        .arg("report")
        .arg(ended.path())
        .output()?;
    for (who, output) in [
        ("replay", replay(&ended.path(), "text")?),
        ("report", report),
    ] {
        let text = String::from_utf8(output.stdout)?;
        let shown = text
            .lines()
            .any(|line| line.contains(row) && line.contains(function));
        assert!(shown, "{who} shows no {function}: {text}");
    }
    let redacted = Command::new(agent_program()?)
        .args(["report", "--redact"])
        .arg(ended.path())
        .output()?;
    let text = String::from_utf8(redacted.stdout)?;
    assert!(!text.contains(function), "{text}");
    Ok(recording)
}

#[test]
fn stacks_name_the_function_that_accepted() -> Result<()> {
    let netns = Netns::new()?;
    let agent = Agent::record(&format!(
        "--stacks --close-wait-after 2s --netns {}",
        netns.inode()
    ))?;
    let patient = Patient::start(&netns, "not-watched")?;
    let clients = connect(&netns, patient.address(), 3)?;
    thread::sleep(Duration::from_millis(300));
    drop(clients);
    let finding = agent.await_finding("a leak with its stack", SOON, |finding| {
        finding.cause() == "not_watched" && finding.0["stacks"][0]["count"] == 3
    })?;
    let names = functions(&finding);
    assert!(
        names.iter().any(|name| name.contains("accept")),
        "{names:?}"
    );
    let ours = names.iter().find(|name| name.contains("accept_and_forget"));
    assert!(ours.is_some(), "{names:?}");
    let stack = &finding.0["stacks"][0];
    assert_eq!(stack["call"], "accept", "{finding:?}");
    assert_eq!(stack["pid"], patient.pid(), "{finding:?}");
    assert_eq!(
        stack["count"], 3,
        "all were accepted in one place: {finding:?}"
    );
    let recording = everywhere(agent, "accept_and_forget", "accepted in")?;
    let lines = recording.of_type("stack").count();
    assert_eq!(lines, 3, "each sample is told once");
    Ok(())
}

#[test]
fn stacks_name_the_function_that_connected() -> Result<()> {
    let netns = Netns::new()?;
    let server = netns.inside(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
    let address = server.local_addr()?;
    let serving = thread::spawn(move || -> Result<()> {
        let mut accepted = Vec::new();
        for _ in 0..3 {
            let (mut stream, _) = server.accept()?;
            stream.read_exact(&mut [0])?;
            stream.write_all(b"!")?;
            accepted.push(stream);
        }
        Ok(())
    });
    let agent = Agent::record(&format!(
        "--stacks --close-wait-after 2s --netns {}",
        netns.inode()
    ))?;
    let patient = Patient::start(&netns, &format!("pool --connect {address}"))?;
    serving.join().expect("the server has not panicked")?;
    let finding = agent.await_finding("a pool with its stack", SOON, |finding| {
        finding.kind() == "close_wait_leak" && !functions(finding).is_empty()
    })?;
    let names = functions(&finding);
    assert!(
        names.iter().any(|name| name.contains("connect")),
        "{names:?}"
    );
    assert!(names.iter().any(|name| name.contains("dial")), "{names:?}");
    assert_eq!(finding.0["stacks"][0]["call"], "connect", "{finding:?}");
    assert_eq!(finding.0["stacks"][0]["pid"], patient.pid(), "{finding:?}");
    everywhere(agent, "dial", "connected in")?;
    Ok(())
}

/// The samples of these findings have ended by the time that somebody asks. The patient has no frame
/// pointers, the standard library has: who calls its `shutdown` is seen, who drops a stream is not.
#[test]
fn stacks_name_the_function_that_closed() -> Result<()> {
    let pile = "time_wait_pileup/short_connections";
    let burst = "reset_burst/unread_data";
    for (ending, question, name, function) in [
        ("drain", b"?".as_slice(), pile, "closing::end"),
        ("unread", b"a long question", burst, "close"),
    ] {
        let netns = Netns::new()?;
        let agent = Agent::record(&format!(
            "--stacks --set time_wait_pileup.info_count=50 --set time_wait_pileup.info_after=2s \
             --netns {}",
            netns.inode()
        ))?;
        let patient = Patient::start(&netns, &format!("ends --ending {ending}"))?;
        for mut stream in connect(&netns, patient.address(), 60)? {
            stream.write_all(question)?;
            stream.set_read_timeout(Some(SOON))?;
            // An answer and the end, or a reset.
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let finding = agent.await_finding(name, SOON, |finding| {
            finding.name() == name && !functions(finding).is_empty()
        })?;
        let names = functions(&finding);
        assert!(
            names.iter().any(|name| name.contains(function)),
            "{names:?}"
        );
        let stack = &finding.0["stacks"][0];
        assert_eq!(stack["call"], "close", "{finding:?}");
        assert_eq!(stack["pid"], patient.pid(), "{finding:?}");
        let places = finding.0["stacks"].as_array().map(Vec::len);
        assert_eq!(
            places,
            Some(1),
            "all samples were closed in one place: {finding:?}"
        );
        // The samples may have changed between the question and the answer.
        assert!(stack["count"].as_u64() >= Some(1), "{finding:?}");
        let recording = match function {
            // Too common a word to be sought in a page.
            "close" => agent.finish()?,
            function => everywhere(agent, function, "closed in")?,
        };
        let told = recording.of_type("finding");
        let told = told.filter(|line| line["status"] != "resolved").count();
        assert!(told < 8, "not told again for each sample: {told} times");
    }
    Ok(())
}

#[test]
fn stacks_and_command_lines_are_written_on_request_only() -> Result<()> {
    for (options, cmdline) in [("", false), ("--cmdline", true)] {
        let netns = Netns::new()?;
        let agent = Agent::record(&format!(
            "{options} --close-wait-after 2s --netns {}",
            netns.inode()
        ))?;
        let patient = Patient::start(&netns, "not-watched --backlog 77")?;
        let clients = connect(&netns, patient.address(), 3)?;
        thread::sleep(Duration::from_millis(300));
        drop(clients);
        agent.await_finding("a leak", SOON, |finding| finding.cause() == "not_watched")?;
        // Time for an answer that must not come.
        thread::sleep(Duration::from_secs(3));
        let recording = agent.finish()?;
        assert_eq!(recording.of_type("stack").count(), 0);
        for finding in recording.findings_on(patient.port()) {
            assert!(finding.0.get("stacks").is_none(), "{finding:?}");
            let line = finding.0["process"]["cmdline"].as_str().unwrap_or("");
            assert_eq!(
                line.ends_with("not-watched --backlog 77"),
                cmdline,
                "{finding:?}"
            );
        }
    }
    Ok(())
}
