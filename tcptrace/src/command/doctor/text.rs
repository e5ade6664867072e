//! What `doctor` found, for people.

use std::fmt;

use super::report::{ProgramReport, Report, Verdict};
use crate::printable::printable;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host(f)?;
        writeln!(f, "\nprivileges")?;
        for it in &self.capabilities {
            let held = if it.held { "yes" } else { "no" };
            writeln!(f, "  {:20}  {held:3}  {}", it.name, it.cost)?;
        }
        if !self.probes.is_empty() {
            writeln!(f, "\nprobes")?;
        }
        for it in &self.probes {
            writeln!(
                f,
                "  {}{}",
                it.purpose,
                if it.served { "" } else { ": missing" }
            )?;
            for program in &it.programs {
                program.line(f)?;
            }
            if let Some(loss) = it.loss {
                writeln!(f, "    so {loss}")?;
                writeln!(f, "    less precise: {}", it.findings.join(", "))?;
            }
        }
        let verdict = match self.verdict {
            Verdict::Full => "tcptrace runs here in full",
            Verdict::Less => "tcptrace runs here with less",
            Verdict::Cannot => "tcptrace cannot run here",
        };
        writeln!(f, "\n{verdict}")?;
        for reason in &self.reasons {
            writeln!(f, "  - {}", printable(reason))?;
        }
        Ok(())
    }
}

impl Report {
    fn host(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let it = &self.host;
        let mut line = |name: &str, value: &str| writeln!(f, "{name:12}  {}", printable(value));
        line("tcptrace", self.tool_version)?;
        let hz = it.hz.map_or(String::new(), |hz| format!(", {hz} Hz"));
        line("kernel", &format!("{} {}{hz}", it.kernel, it.arch))?;
        line("built", &it.build)?;
        let btf = match (it.btf_bytes, &it.btf_error) {
            (Some(bytes), _) => format!("yes, {}", bytesize::ByteSize(bytes)),
            (None, Some(error)) => format!("none: {error}"),
            (None, None) => "none".to_owned(),
        };
        line("BTF", &btf)?;
        line(
            "lockdown",
            it.lockdown
                .as_deref()
                .unwrap_or("not told (not built in, or securityfs is not mounted)"),
        )?;
        let namespaces = match (it.host_pid_namespace, it.host_user_namespace) {
            (true, true) => "the host's",
            (false, true) => "pid: a container's; user: the host's",
            (true, false) => {
                "pid: the host's; user: a container's, whose capabilities do not count"
            }
            (false, false) => "pid and user: a container's, whose capabilities do not count",
        };
        line("namespaces", namespaces)?;
        line("hidepid", it.hidepid.as_deref().unwrap_or("no"))?;
        line(
            "ring",
            &bytesize::ByteSize(it.ring_bytes.into()).to_string(),
        )?;
        let memlock = it.memlock_bytes.map_or("unlimited".to_owned(), |bytes| {
            format!(
                "{}, raised at the start (it counts up to Linux 5.10)",
                bytesize::ByteSize(bytes)
            )
        });
        line("memlock", &memlock)
    }
}

impl ProgramReport {
    fn line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            program,
            hook,
            tier,
            ..
        } = self;
        let state = match (&self.reason, self.runs, self.mean_ns) {
            (Some(reason), ..) => printable(reason).to_string(),
            (None, Some(runs), Some(mean)) => format!("ok, {mean} ns in {runs} runs"),
            (None, Some(_), None) => "ok, did not run".to_owned(),
            (None, None, _) => "ok".to_owned(),
        };
        writeln!(f, "    {tier:10}  {program:18}  {hook:28}  {state}")?;
        for line in self.verifier_log.iter().flat_map(|log| log.lines()) {
            writeln!(f, "        {}", printable(line))?;
        }
        Ok(())
    }
}
