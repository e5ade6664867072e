//! The table of capabilities, held against the kernel: what doctor says of each, and what is lost
//! when it is missing, nothing more and nothing less.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tcptrace_lab::agent::{Agent, run_confined};
use tcptrace_lab::client::connect;
use tcptrace_lab::confined::{Capability, as_nobody, with_hidden_processes};
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::Recording;
use tcptrace_lab::sockets::{State, await_count};

/// There where somebody mounted it.
const TRACEFS: &str = "/sys/kernel/tracing/events";

const SOON: Duration = Duration::from_secs(30);

const BPF: Capability = Capability(39);
const PERFMON: Capability = Capability(38);
const SYS_ADMIN: Capability = Capability(21);
const SYS_PTRACE: Capability = Capability(19);
const DAC_READ_SEARCH: Capability = Capability(2);
const SYS_RESOURCE: Capability = Capability(24);
const SYS_NICE: Capability = Capability(23);
const NET_ADMIN: Capability = Capability(12);
const SYSLOG: Capability = Capability(34);

/// Everything that doctor names, as doctor names it.
const ALL: [(&str, Capability); 9] = [
    ("CAP_BPF", BPF),
    ("CAP_PERFMON", PERFMON),
    ("CAP_SYS_ADMIN", SYS_ADMIN),
    ("CAP_SYS_PTRACE", SYS_PTRACE),
    ("CAP_DAC_READ_SEARCH", DAC_READ_SEARCH),
    ("CAP_SYS_RESOURCE", SYS_RESOURCE),
    ("CAP_SYS_NICE", SYS_NICE),
    ("CAP_NET_ADMIN", NET_ADMIN),
    ("CAP_SYSLOG", SYSLOG),
];

/// What doctor says to nobody with these capabilities.
struct Doctor {
    held: Vec<Capability>,
    output: Output,
    report: Value,
}

impl Doctor {
    fn asked_with(held: &[Capability]) -> Result<Self> {
        let output = run_confined("doctor --json", |command| as_nobody(command, held))?;
        let report = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("doctor with {held:?}: {output:?}"))?;
        let doctor = Self {
            held: held.to_vec(),
            output,
            report,
        };
        // CAP_SYS_ADMIN stands for what was once a part of it.
        let stands_for = [BPF, PERFMON, SYSLOG];
        for (name, capability) in ALL {
            let given = |it: Capability| held.contains(&it) && it.is_ours();
            let expected =
                given(capability) || given(SYS_ADMIN) && stands_for.contains(&capability);
            assert_eq!(doctor.of(name)?["held"], expected, "{name}: {doctor}");
        }
        Ok(doctor)
    }

    /// All of the table but these.
    fn without(lost: &[Capability]) -> Result<Self> {
        let held: Vec<_> = ALL
            .iter()
            .map(|it| it.1)
            .filter(|it| !lost.contains(it))
            .collect();
        Self::asked_with(&held)
    }

    /// The row of a capability.
    fn of(&self, name: &str) -> Result<&Value> {
        let rows = self.report["capabilities"]
            .as_array()
            .context("no capabilities")?;
        ensure!(
            rows.len() == ALL.len(),
            "the table has other rows: {rows:#?}"
        );
        let mut rows = rows.iter();
        rows.find(|row| row["name"] == name)
            .with_context(|| format!("no {name}"))
    }

    fn reasons(&self) -> Vec<&str> {
        let reasons = self.report["reasons"].as_array();
        reasons
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// The purposes that some attached program serves.
    fn served(&self) -> Vec<&Value> {
        let probes = self.report["probes"].as_array();
        let probes = probes.into_iter().flatten();
        probes
            .filter(|it| it["served"] == true)
            .map(|it| &it["purpose"])
            .collect()
    }

    fn attached(&self, program: &str) -> bool {
        let probes = self.report["probes"].as_array().into_iter().flatten();
        let mut programs = probes.flat_map(|it| it["programs"].as_array().into_iter().flatten());
        programs.any(|it| it["program"] == program && it["attached"] == true)
    }
}

impl std::fmt::Display for Doctor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stderr = String::from_utf8_lossy(&self.output.stderr);
        write!(f, "with {:?}: {:#} {stderr}", self.held, self.report)
    }
}

#[test]
fn each_capability_costs_what_the_table_says() -> Result<()> {
    let whole = Doctor::without(&[])?;
    assert_eq!(whole.output.status.code(), Some(0), "{whole}");
    // What is missing in spite of all is the kernel's doing.
    let host = whole.reasons();
    assert!(!host.iter().any(|it| it.contains("CAP_")), "{whole}");

    // Without these nothing can be traced, and doctor names them.
    for (name, capability) in &ALL[..2] {
        let doctor = Doctor::without(&[*capability, SYS_ADMIN])?;
        assert_eq!(doctor.report["verdict"], "cannot", "{doctor}");
        assert_eq!(doctor.output.status.code(), Some(4), "{doctor}");
        let named = doctor.reasons().iter().any(|it| it.contains(name));
        assert!(named, "{name}: {doctor}");
    }

    // These cost what no probe shows, and doctor says so in the words of the table.
    for (name, capability) in [
        ("CAP_SYS_ADMIN", SYS_ADMIN),
        ("CAP_SYS_PTRACE", SYS_PTRACE),
        ("CAP_SYS_NICE", SYS_NICE),
    ] {
        let doctor = Doctor::without(&[capability])?;
        assert_eq!(doctor.output.status.code(), Some(0), "{doctor}");
        assert_eq!(doctor.report["verdict"], "less", "{doctor}");
        let cost = doctor.of(name)?["cost"].as_str().context("no cost")?;
        let said = format!("{name} is missing: it {cost}");
        // Accept is seen by system calls only where tracefs can be read, which CAP_SYS_ADMIN mounts.
        let by_syscalls = whole.attached("accept_syscall");
        if capability == SYS_ADMIN && by_syscalls && !Path::new(TRACEFS).exists() {
            assert!(doctor.reasons().contains(&said.as_str()), "{doctor}");
            continue;
        }
        let mut expected = host.clone();
        expected.push(&said);
        let mut reasons = doctor.reasons();
        expected.sort_unstable();
        reasons.sort_unstable();
        assert_eq!(reasons, expected, "{name}: {doctor}");
        assert_eq!(doctor.served(), whole.served(), "{name}: {doctor}");
    }

    // tracefs is needed where accept is seen by system calls only.
    let doctor = Doctor::without(&[DAC_READ_SEARCH])?;
    if whole.attached("accept_syscall") {
        let mut expected = whole.served();
        expected.retain(|it| *it != "accepts");
        assert_eq!(doctor.served(), expected, "{doctor}");
    } else {
        assert_eq!(doctor.reasons(), host, "{doctor}");
        assert_eq!(doctor.served(), whole.served(), "{doctor}");
    }

    // Maps count against a limit up to Linux 5.10, which only this one raises.
    let doctor = Doctor::without(&[SYS_RESOURCE])?;
    if doctor.report["verdict"] == "cannot" {
        let named = doctor
            .reasons()
            .iter()
            .any(|it| it.contains("CAP_SYS_RESOURCE"));
        assert!(named, "{doctor}");
    } else {
        assert_eq!(doctor.reasons(), host, "{doctor}");
        assert_eq!(doctor.served(), whole.served(), "{doctor}");
    }

    // These are not used.
    let doctor = Doctor::without(&[NET_ADMIN, SYSLOG])?;
    assert_eq!(doctor.reasons(), host, "{doctor}");
    assert_eq!(doctor.served(), whole.served(), "{doctor}");
    Ok(())
}

/// The least with which something can be traced; the last is for the limit of old kernels.
const LEAST: [Capability; 3] = [BPF, PERFMON, SYS_RESOURCE];

#[test]
fn what_ptrace_and_admin_bring_is_missing_without_them() -> Result<()> {
    let netns = Netns::new()?;
    let patient = Patient::start(&netns, "not-watched --name patient")?;
    let clients = connect(&netns, patient.address(), 3)?;
    await_count(&netns, patient.port(), State::Established, 3)?;
    drop(clients);
    await_count(&netns, patient.port(), State::CloseWait, 3)?;
    let options = format!("--close-wait-after 1s --netns {}", netns.inode());
    let check = |more: &[Capability], hidden: bool, names: bool, paths: bool, sysctls: bool| {
        let held = [&LEAST[..], more].concat();
        let agent = Agent::record_confined(&options, |command| {
            if hidden {
                with_hidden_processes(command);
            }
            as_nobody(command, &held);
        })?;
        let finding = agent.await_finding("not watched", SOON, |finding| {
            finding.name() == "close_wait_leak/not_watched" && finding.count() == 3
        })?;
        assert_eq!(finding.pid(), Some(u64::from(patient.pid())), "{finding:?}");
        let process = &finding.0["process"];
        assert_eq!(process["name"] == "patient", names, "{held:?}: {finding:?}");
        assert_eq!(process["exe"].is_string(), paths, "{held:?}: {finding:?}");
        // They are read before the first verdict, or never.
        let recording = Recording::read(&agent.path())?;
        let mut told = recording.of_type("netns");
        let told = told.any(|line| line["netns"] == netns.inode());
        assert_eq!(told, sysctls, "{held:?}: sysctls of {}", netns.inode());
        anyhow::Ok(())
    };
    check(&[], false, true, false, false)?;
    check(&[SYS_PTRACE], false, true, true, false)?;
    check(&[SYS_PTRACE, SYS_ADMIN], false, true, true, true)?;
    // Where /proc hides the processes of others, their names go as well.
    check(&[], true, false, false, false)?;
    check(&[SYS_PTRACE, SYS_ADMIN], true, true, true, true)
}

#[test]
fn hidden_processes_are_noticed_by_whom_they_are_hidden_from() -> Result<()> {
    for (more, noticed) in [(&[][..], true), (&[SYS_PTRACE][..], false)] {
        let held = [&LEAST[..], more].concat();
        let output = run_confined("doctor --json", |command| {
            with_hidden_processes(command);
            as_nobody(command, &held);
        })?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let value = report["host"]["hidepid"].as_str();
        assert!(matches!(value, Some("2" | "invisible")), "{report:#}");
        let reasons = report["reasons"].as_array().context("no reasons")?;
        let told = reasons
            .iter()
            .any(|it| it.as_str().is_some_and(|it| it.contains("hidepid")));
        assert_eq!(told, noticed, "{report:#}");
    }
    Ok(())
}
