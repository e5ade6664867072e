//! What a guest runs: which test binaries with which words, as a script for its shell.

use std::io::IsTerminal;

use anyhow::{Context, Result};

use super::programs::Program;
use super::{Scope, Tier};
use crate::repository;

/// Tests per test binary at a time; the lab mostly waits for the kernel's timers.
const THREADS: &str = "--test-threads=4";

/// How a test binary is told about colour: its own look at the guest's serial line says nothing
/// about where the output ends up.
fn colour() -> &'static str {
    if std::io::stdout().is_terminal() {
        "--color=always"
    } else {
        "--color=never"
    }
}

/// What each guest runs.
pub(super) struct Work {
    pub(super) script: String,
    /// It prints the summaries of test binaries.
    pub(super) tests: bool,
}

impl Work {
    /// A command of the user's.
    pub(super) fn command(command: &str) -> Self {
        Self {
            script: command.to_owned(),
            tests: false,
        }
    }

    /// The test binaries among the programs.
    pub(super) fn tests(
        programs: &[Program],
        tier: Tier,
        scope: Scope,
        filter: &[String],
    ) -> Result<Self> {
        Ok(Self {
            script: test_script(programs, tier, scope, filter)?,
            tests: true,
        })
    }
}

/// Of the lab, what does not depend on the kernel but on the agent alone: how it ends, how it looks in a
/// terminal, what it makes of its own files.
const SAME_EVERYWHERE: &str = "--skip endings:: --skip demo:: --skip live:: --skip report:: \
     --skip segments:: --skip check::";

/// Of the agent's own tests, those that look at a running kernel by way of probes.
const BY_PROBES: &str = "kernel::probes:: kernel::tests::";

/// Of the lab, what leans on structures of the kernel, its verifier and its privileges, more than on
/// what TCP has always done.
const CORE: &str = "close_wait:: queues:: owners:: traps:: overflow:: privileges:: containers::";

/// Of the lab, for a first look: three proofs of why a socket stays, the readers of which nothing can be
/// proved, the accept queue by whatever way it is probed, and the lives of connections; what an emulated
/// machine decides by its slowness is left to the whole matrix.
const BRIEF: &str = "close_wait::never_accepted close_wait::not_watched close_wait::what_a_ close_wait::what_is_ \
     close_wait::eof_read_not_closed queues::accept_queue_of_a_server traps::tuples";

/// Debian's 5.10 for clouds is built without `CONFIG_TLS` and `CONFIG_MPTCP`; the later ones have a
/// module, and the other built in.
const WITHOUT: &str = "without=\n\
     if ! grep -qx tls /modules/list; then\n\
     echo 'vm: this kernel has no CONFIG_TLS, so no kTLS scenario'; without='--skip what_ktls'\n\
     fi\n\
     if [ ! -e /proc/sys/net/mptcp ]; then\n\
     echo 'vm: this kernel has no CONFIG_MPTCP, so no scenario of it'\n\
     without=\"$without --skip what_multipath\"\n\
     fi\n";

/// Of the lab, what depends on how functions are probed.
const BY_TIER: &str = "queues:: owners:: traps::";

/// A script that runs the test binaries, and fails when one fails.
fn test_script(
    programs: &[Program],
    tier: Tier,
    scope: Scope,
    filter: &[String],
) -> Result<String> {
    let path = |program: &Program| quote(&program.guest.to_string_lossy());
    let agent = programs
        .iter()
        .find(|program| program.command.as_deref() == Some("tcptrace"))
        .context("the agent was not built")?;
    let mut script = format!("status=0\nexport TCPTRACE_BIN={}\n", path(agent));
    // Debian's kernels allow every kind of probe, so one that is missing there is a defect.
    script += "export TCPTRACE_EXPECT_FUNCTIONS=1\n";
    if let Some(tier) = tier.forced() {
        script += &format!("export TCPTRACE_TIER={tier}\n");
    }
    script += WITHOUT;
    for test in programs.iter().filter(|program| program.test) {
        // Of the agent's own tests only those that touch the kernel depend on it; of the lab's, the
        // scenarios: its own parts and the saturating load are the host's matter.
        let words: Vec<String> = match (filter, test.package.as_str(), test.name.as_str()) {
            ([], "tcptrace", _) if tier == Tier::Best && scope != Scope::Brief => {
                vec!["kernel::".to_owned()]
            }
            ([], "tcptrace", _) => vec![BY_PROBES.to_owned()],
            ([], _, "lab") if scope == Scope::Brief => vec![BRIEF.to_owned()],
            ([], _, "lab") if tier != Tier::Best => vec![BY_TIER.to_owned()],
            ([], _, "lab") if scope == Scope::Core => vec![CORE.to_owned()],
            ([], _, "lab") => vec![SAME_EVERYWHERE.to_owned()],
            ([], ..) => continue,
            (words, ..) => words.iter().map(|word| quote(word)).collect(),
        };
        let folder = repository::root().join(&test.package);
        let folder = quote(&folder.to_string_lossy());
        script += &format!(
            "mkdir -p {folder}; cd {folder}; {} {THREADS} {} {} $without || status=1\n",
            path(test),
            colour(),
            words.join(" ")
        );
    }
    script += "exit $status\n";
    Ok(script)
}

/// A word for the guest's shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_of(package: &str, name: &str) -> Program {
        Program {
            name: name.to_owned(),
            file: "/x".into(),
            guest: "/t/it's".into(),
            command: None,
            package: package.to_owned(),
            test: true,
        }
    }

    #[test]
    fn the_agents_tests_are_those_of_the_kernel_unless_others_are_asked_for() {
        let agent = Program {
            guest: "/t/tcptrace".into(),
            command: Some("tcptrace".to_owned()),
            test: false,
            ..test_of("tcptrace", "tcptrace")
        };
        let programs = [
            agent,
            test_of("tcptrace", "tcptrace"),
            test_of("tcptrace-lab", "lab"),
            test_of("tcptrace-lab", "load"),
        ];
        let check = |tier, filter: &[&str], expected: &[&str]| {
            let filter: Vec<String> = filter.iter().map(|word| (*word).to_owned()).collect();
            let script = test_script(&programs, tier, Scope::Every, &filter).unwrap();
            assert_eq!(script.contains("TCPTRACE_TIER"), tier != Tier::Best);
            let runs: Vec<&str> = script
                .lines()
                .filter_map(|line| line.split_once(r"'/t/it'\''s' --test-threads=4"))
                .map(|(_, rest)| rest.trim().trim_start_matches(colour()).trim())
                .collect();
            assert_eq!(runs, expected);
        };
        let all = format!("{SAME_EVERYWHERE} $without || status=1");
        check(Tier::Best, &[], &["kernel:: $without || status=1", &all]);
        let own = format!("{BY_PROBES} $without || status=1");
        let some = "queues:: owners:: traps:: $without || status=1";
        check(Tier::Kprobe, &[], &[&own, some]);
        check(Tier::Best, &["fin"], &["'fin' $without || status=1"; 3]);
        let core = test_script(&programs, Tier::Best, Scope::Core, &[]).unwrap();
        assert!(core.contains(CORE) && !core.contains(SAME_EVERYWHERE));
        for tier in [Tier::Best, Tier::Kprobe] {
            let brief = test_script(&programs, tier, Scope::Brief, &[]).unwrap();
            assert!(brief.contains(BRIEF) && brief.contains(BY_PROBES));
        }
        assert!(test_script(&programs[1..], Tier::Best, Scope::Core, &[]).is_err());
    }
}
