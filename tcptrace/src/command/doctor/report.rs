//! What `doctor` found, as it stands in its JSON.

use serde::Serialize;

use super::{DoctorArgs, Exercise};
use crate::kernel::{
    Capability, Checkup, Kernel, KernelError, ProbeState, ProbeStatus, Purpose, Silent, Tier,
};

/// In one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Everything that tcptrace can know on any host.
    Full,
    /// It runs, and knows less.
    Less,
    /// It does not run.
    Cannot,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) tool_version: &'static str,
    pub(super) verdict: Verdict,
    /// Why it is not `full`.
    pub(super) reasons: Vec<String>,
    pub(super) host: HostReport,
    pub(super) capabilities: Vec<CapabilityReport>,
    pub(super) probes: Vec<PurposeReport>,
    /// What the kernel's type information lacks.
    pub(super) missing_fields: Vec<FieldReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct HostReport {
    pub(super) kernel: String,
    pub(super) build: String,
    pub(super) arch: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hz: Option<u32>,
    /// Size of /sys/kernel/btf/vmlinux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) btf_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) btf_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lockdown: Option<String>,
    pub(super) host_user_namespace: bool,
    pub(super) host_pid_namespace: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hidepid: Option<String>,
    pub(super) ring_bytes: u32,
    /// Absent is unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memlock_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct CapabilityReport {
    pub(super) name: &'static str,
    pub(super) held: bool,
    pub(super) cost: &'static str,
    #[serde(skip)]
    lost_silently: bool,
}

/// What the programs for one purpose come to.
#[derive(Debug, Serialize)]
pub(super) struct PurposeReport {
    pub(super) purpose: &'static str,
    pub(super) served: bool,
    pub(super) programs: Vec<ProgramReport>,
    /// What is lost by what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loss: Option<&'static str>,
    /// The findings that lose precision by it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) findings: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct ProgramReport {
    pub(super) program: &'static str,
    pub(super) hook: &'static str,
    pub(super) tier: &'static str,
    pub(super) attached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verifier_log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runs: Option<u64>,
    /// The mean time of one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mean_ns: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct FieldReport {
    pub(super) feature: &'static str,
    pub(super) field: String,
}

impl Report {
    /// Of a host where the probes could be opened.
    pub(super) fn of(
        host: &Checkup,
        args: &DoctorArgs,
        kernel: &mut Kernel,
        exercise: &Exercise,
    ) -> Self {
        let facts = kernel.host();
        let mut this = Self::empty(host, args);
        this.host.hz = Some(facts.hz);
        this.probes = Purpose::ALL
            .into_iter()
            .map(|purpose| {
                let reasons = kernel.gives_reset_reasons();
                served(purpose, &facts.probes, reasons, exercise, args)
            })
            .collect();
        this.missing_fields = kernel
            .missing()
            .iter()
            .map(|(feature, field)| FieldReport {
                feature,
                field: field.clone(),
            })
            .collect();
        let silent = kernel.silent();
        this.judge(exercise, &silent);
        this
    }

    /// Of a host where they could not.
    pub(super) fn cannot(host: &Checkup, args: &DoctorArgs, error: &KernelError) -> Self {
        Self {
            verdict: Verdict::Cannot,
            reasons: vec![super::obstacle(error)],
            ..Self::empty(host, args)
        }
    }

    fn empty(host: &Checkup, args: &DoctorArgs) -> Self {
        Self {
            tool_version: env!("CARGO_PKG_VERSION"),
            verdict: Verdict::Full,
            reasons: Vec::new(),
            host: HostReport {
                kernel: host.kernel.clone(),
                build: host.build.clone(),
                arch: host.arch,
                hz: None,
                btf_bytes: host.btf.as_ref().ok().copied(),
                btf_error: host.btf.as_ref().err().cloned(),
                lockdown: host.lockdown.clone(),
                host_user_namespace: host.host_user_namespace,
                host_pid_namespace: host.host_pid_namespace,
                hidepid: host.hidepid.clone(),
                ring_bytes: args.kernel.ring_size,
                memlock_bytes: host.memlock,
            },
            capabilities: host
                .capabilities
                .iter()
                .map(|(capability, held)| CapabilityReport {
                    name: capability.name(),
                    held: *held,
                    cost: capability.cost(),
                    lost_silently: capability.is_lost_silently(),
                })
                .collect(),
            probes: Vec::new(),
            missing_fields: Vec::new(),
        }
    }

    /// Collects everything that is less than it could be.
    fn judge(&mut self, exercise: &Exercise, silent: &[Silent]) {
        let mut reasons = Vec::new();
        for it in &self.probes {
            if let Some(loss) = it.loss {
                reasons.push(format!("{}: {loss}", it.purpose));
            }
        }
        for it in &self.missing_fields {
            reasons.push(format!("{}: this kernel lacks {}", it.feature, it.field));
        }
        if !self.host.host_pid_namespace {
            reasons.push(
                "this is not the host's pid namespace: processes have only the names that they leave \
                 at their exit; run in the host's (docker run --pid=host)"
                    .to_owned(),
            );
        }
        if let Some(value) = &self.host.hidepid
            && !self.holds(Capability::SysPtrace)
        {
            reasons.push(format!(
                "/proc is mounted with hidepid={value}: without being in its group or having \
                 CAP_SYS_PTRACE, other users' processes have no names"
            ));
        }
        // Those that the loss of a probe has not shown already.
        let lost = |it: &&CapabilityReport| it.lost_silently && !it.held;
        for it in self.capabilities.iter().filter(lost) {
            reasons.push(format!("{} is missing: it {}", it.name, it.cost));
        }
        reasons.extend(silent.iter().map(ToString::to_string));
        reasons.extend(
            exercise
                .failed
                .iter()
                .map(|failed| format!("the probes could not be put to work: {failed}")),
        );
        reasons.extend(self.idle());
        self.verdict = if reasons.is_empty() {
            Verdict::Full
        } else {
            Verdict::Less
        };
        self.reasons = reasons;
    }

    fn holds(&self, capability: Capability) -> bool {
        let mut held = self.capabilities.iter().filter(|it| it.held);
        held.any(|it| it.name == capability.name())
    }

    /// Attached programs that the exercise should have made run.
    fn idle(&self) -> Vec<String> {
        // Accepts are made by accept4, and what is run on demand is not attached.
        const SELDOM: [&str; 1] = ["accept_syscall"];
        let by_itself = |tier| tier != Tier::OnDemand.name() && tier != Tier::Iterator.name();
        self.probes
            .iter()
            .flat_map(|it| {
                let shared = it.purpose == Purpose::Listeners.name()
                    && it.programs.iter().any(|it| it.runs > Some(0));
                let idle = it.programs.iter().filter(move |it| {
                    it.attached
                        && it.runs == Some(0)
                        && by_itself(it.tier)
                        && !SELDOM.contains(&it.program)
                        && !shared
                });
                idle.map(|it| {
                    format!(
                        "{} is attached to {} and did not run when it should have: the kernel may \
                         have inlined the function",
                        it.program, it.hook
                    )
                })
            })
            .collect()
    }

    /// Why tcptrace cannot run.
    pub(super) fn obstacle(&self) -> Option<&str> {
        match self.verdict {
            Verdict::Cannot => self.reasons.first().map(String::as_str),
            Verdict::Full | Verdict::Less => None,
        }
    }
}

fn served(
    purpose: Purpose,
    status: &[ProbeStatus],
    reset_reasons: bool,
    exercise: &Exercise,
    args: &DoctorArgs,
) -> PurposeReport {
    let mine: Vec<&ProbeStatus> = status.iter().filter(|it| it.purpose == purpose).collect();
    let attached: Vec<&ProbeStatus> = mine
        .iter()
        .copied()
        .filter(|it| it.state == ProbeState::Attached)
        .collect();
    let tiers: Vec<Tier> = attached.iter().map(|it| it.tier).collect();
    let names: Vec<&str> = attached.iter().map(|it| it.name).collect();
    let loss = if attached.is_empty() {
        Some(purpose.loss().0)
    } else {
        super::lesser(purpose, &tiers, &names, reset_reasons)
    };
    PurposeReport {
        purpose: purpose.name(),
        served: !attached.is_empty(),
        programs: mine
            .into_iter()
            .map(|it| program(it, exercise, args))
            .collect(),
        loss,
        findings: loss.map_or_else(Vec::new, |_| purpose.loss().1.to_vec()),
    }
}

fn program(status: &ProbeStatus, exercise: &Exercise, args: &DoctorArgs) -> ProgramReport {
    let (reason, log) = match &status.state {
        ProbeState::Attached => (None, None),
        ProbeState::Missing(words) => {
            let (summary, log) = summarize(words);
            (Some(summary), log)
        }
    };
    let ran = exercise.runs.iter().find(|it| it.program == status.name);
    ProgramReport {
        program: status.name,
        hook: status.hook,
        tier: status.tier.name(),
        attached: status.state == ProbeState::Attached,
        reason,
        verifier_log: log.filter(|_| args.verifier_log),
        runs: ran.map(|it| it.runs),
        mean_ns: ran.and_then(|it| it.nanoseconds.checked_div(it.runs)),
    }
}

/// The words of the loader, and the verifier's last ones; all of the latter apart.
pub(super) fn summarize(words: &str) -> (String, Option<String>) {
    const BEFORE: &str = "Verifier output: ";
    let Some((head, log)) = words.split_once(BEFORE) else {
        return (words.to_owned(), None);
    };
    let head = head.trim_end().trim_end_matches('.');
    let last = log
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.starts_with("processed ") && !is_statistics(line));
    match last {
        Some(last) => (format!("{head}: {last}"), Some(log.to_owned())),
        None => (head.to_owned(), None),
    }
}

fn is_statistics(line: &str) -> bool {
    ["verification time", "stack depth", "max_states"]
        .iter()
        .any(|words| line.starts_with(words))
}
