//! Which program of the object hooks where, by which means, and what it is for. `docs/probes.md` says
//! the same to people, and a test holds the two together.

use tcptrace_common::record::Kind;

mod purpose;

pub(crate) use self::purpose::Purpose;

/// How a program is hooked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// A BTF tracepoint.
    Tracepoint,
    /// A function's entry, by trampoline.
    Fentry,
    /// A function's return, by trampoline.
    Fexit,
    /// A function's entry, by breakpoint.
    Kprobe,
    /// A function's return, by breakpoint.
    Kretprobe,
    /// A system call's exit.
    Syscall,
    /// Read like a file.
    Iterator,
    /// Run when asked.
    OnDemand,
}

impl Tier {
    /// As written in recordings.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tracepoint => "tracepoint",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
            Self::Syscall => "syscall",
            Self::Iterator => "iterator",
            Self::OnDemand => "on demand",
        }
    }

    /// Whether the choice of the user admits it. What is no function is no matter of choice.
    pub(crate) fn is_admitted(self, only: Option<TierChoice>) -> bool {
        match self {
            Self::Fentry | Self::Fexit => only.is_none_or(|it| it == TierChoice::Fentry),
            Self::Kprobe | Self::Kretprobe => only.is_none_or(|it| it == TierChoice::Kprobe),
            Self::Syscall => only.is_none_or(|it| it == TierChoice::Tracepoint),
            Self::Tracepoint | Self::Iterator | Self::OnDemand => true,
        }
    }
}

/// The only way in which functions may be probed, for testing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TierChoice {
    /// Not at all
    Tracepoint,
    /// By kprobe and kretprobe
    Kprobe,
    /// By fentry and fexit
    Fentry,
}

/// One program of the object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    /// Its name there, and in the status.
    pub(crate) program: &'static str,
    /// What it hooks.
    pub(crate) hook: &'static str,
    /// By which means.
    pub(crate) tier: Tier,
    /// What it emits, for the accounting of losses.
    pub(crate) emits: Option<Kind>,
    /// Without it nothing can be traced.
    pub(crate) mandatory: bool,
    /// What it is for.
    pub(crate) purpose: Purpose,
}

const fn tracepoint(
    program: &'static str,
    hook: &'static str,
    emits: Kind,
    purpose: Purpose,
) -> Hook {
    Hook {
        program,
        hook,
        tier: Tier::Tracepoint,
        emits: Some(emits),
        mandatory: matches!(purpose, Purpose::States),
        purpose,
    }
}

const fn other(
    program: &'static str,
    hook: &'static str,
    tier: Tier,
    emits: Option<Kind>,
    purpose: Purpose,
) -> Hook {
    Hook {
        program,
        hook,
        tier,
        emits,
        mandatory: false,
        purpose,
    }
}

/// In the order of attachment. The end of sockets comes first: an address must not change its owner
/// unseen. An understudy must come after the program that it stands in for.
pub(crate) const TRACEPOINTS: [Hook; 13] = {
    use Purpose::{Exits, Resets, Retransmits, States, SynAcks, Understudies};
    [
        tracepoint("destroy", "tcp:tcp_destroy_sock", Kind::Destroy, States),
        tracepoint(
            "destroy_understudy",
            "tcp:tcp_destroy_sock",
            Kind::Destroy,
            Understudies,
        ),
        tracepoint(
            "destroy_understudy_2",
            "tcp:tcp_destroy_sock",
            Kind::Destroy,
            Understudies,
        ),
        tracepoint(
            "destroy_understudy_3",
            "tcp:tcp_destroy_sock",
            Kind::Destroy,
            Understudies,
        ),
        tracepoint(
            "process_exit",
            "sched:sched_process_exit",
            Kind::Exit,
            Exits,
        ),
        tracepoint(
            "state",
            "sock:inet_sock_set_state",
            Kind::Transition,
            States,
        ),
        tracepoint(
            "understudy",
            "sock:inet_sock_set_state",
            Kind::Transition,
            Understudies,
        ),
        tracepoint(
            "understudy_2",
            "sock:inet_sock_set_state",
            Kind::Transition,
            Understudies,
        ),
        tracepoint(
            "understudy_3",
            "sock:inet_sock_set_state",
            Kind::Transition,
            Understudies,
        ),
        tracepoint(
            "retransmit",
            "tcp:tcp_retransmit_skb",
            Kind::Retransmit,
            Retransmits,
        ),
        tracepoint(
            "synack",
            "tcp:tcp_retransmit_synack",
            Kind::SynackRetransmit,
            SynAcks,
        ),
        tracepoint("send_reset", "tcp:tcp_send_reset", Kind::Reset, Resets),
        tracepoint(
            "receive_reset",
            "tcp:tcp_receive_reset",
            Kind::Reset,
            Resets,
        ),
    ]
};

/// A function, and the programs that may be hooked in there: the first that loads is taken.
pub(crate) type Ways<const N: usize> = [Hook; N];

const fn accept(program: &'static str, tier: Tier) -> Hook {
    other(
        program,
        "inet_csk_accept",
        tier,
        Some(Kind::Accept),
        Purpose::Accepts,
    )
}

/// Accept by the function that it calls at its end, on kernels that have it.
pub(crate) const GRAFT: [Hook; 2] = {
    const FUNCTION: &str = "security_sock_graft";
    [
        Hook {
            hook: FUNCTION,
            ..accept("graft_fentry", Tier::Fentry)
        },
        Hook {
            hook: FUNCTION,
            ..accept("graft_kprobe", Tier::Kprobe)
        },
    ]
};

/// Accept by function, with so many arguments.
pub(crate) const ACCEPT_FEXIT: [(u16, Hook); 2] = [
    (2, accept("accept_function", Tier::Fexit)),
    (4, accept("accept_function_4", Tier::Fexit)),
];

/// Accept by function, whatever its arguments.
pub(crate) const ACCEPT_KRETPROBE: Hook = accept("accept_kretprobe", Tier::Kretprobe);

/// Accept by system call: both are needed.
pub(crate) const ACCEPT_SYSCALLS: [Hook; 2] = [
    Hook {
        hook: "syscalls:sys_exit_accept",
        ..accept("accept_syscall", Tier::Syscall)
    },
    Hook {
        hook: "syscalls:sys_exit_accept4",
        ..accept("accept4_syscall", Tier::Syscall)
    },
];

/// A child enters an accept queue: both functions tell of it, and one may be inlined into the other.
pub(crate) const ENQUEUE: [Ways<2>; 2] = {
    const fn way(program: &'static str, function: &'static str, tier: Tier) -> Hook {
        other(program, function, tier, None, Purpose::Listeners)
    }
    const HASHDANCE: &str = "inet_csk_complete_hashdance";
    const ADD: &str = "inet_csk_reqsk_queue_add";
    [
        [
            way("hashdance_fentry", HASHDANCE, Tier::Fentry),
            way("hashdance_kprobe", HASHDANCE, Tier::Kprobe),
        ],
        [
            way("enqueue_fentry", ADD, Tier::Fentry),
            way("enqueue_kprobe", ADD, Tier::Kprobe),
        ],
    ]
};

const fn queue_drop(
    program: &'static str,
    function: &'static str,
    tier: Tier,
    emits: Option<Kind>,
) -> Hook {
    other(program, function, tier, emits, Purpose::QueueDrops)
}

/// What becomes of a SYN: all are needed, and the last, which judges, comes last.
pub(crate) const SYN: [Ways<2>; 4] = {
    const SYN: &str = "tcp_conn_request";
    const REQUEST: &str = "inet_reqsk_alloc";
    const SYNACK: &str = "tcp_make_synack";
    [
        [
            queue_drop("request_fentry", REQUEST, Tier::Fentry, None),
            queue_drop("request_kprobe", REQUEST, Tier::Kprobe, None),
        ],
        [
            queue_drop("synack_fentry", SYNACK, Tier::Fentry, None),
            queue_drop("synack_kprobe", SYNACK, Tier::Kprobe, None),
        ],
        [
            queue_drop("syn_fentry", SYN, Tier::Fentry, None),
            queue_drop("syn_kprobe", SYN, Tier::Kprobe, None),
        ],
        [
            queue_drop("syn_fexit", SYN, Tier::Fexit, Some(Kind::QueueDrop)),
            queue_drop("syn_kretprobe", SYN, Tier::Kretprobe, Some(Kind::QueueDrop)),
        ],
    ]
};

/// What becomes of the ACK that completes a handshake, for IPv4 and IPv6. The function got a seventh
/// argument by the way, with which it cannot be hooked by trampoline everywhere.
pub(crate) const ACKS: [Ways<2>; 2] = {
    const EMITS: Option<Kind> = Some(Kind::QueueDrop);
    const V4: &str = "tcp_v4_syn_recv_sock";
    const V6: &str = "tcp_v6_syn_recv_sock";
    [
        [
            queue_drop("ack4_fentry", V4, Tier::Fentry, EMITS),
            queue_drop("ack4_kprobe", V4, Tier::Kprobe, EMITS),
        ],
        [
            queue_drop("ack6_fentry", V6, Tier::Fentry, EMITS),
            queue_drop("ack6_kprobe", V6, Tier::Kprobe, EMITS),
        ],
    ]
};

/// Descriptors, with plain loads where the kernel has the helper, else with probe reads.
pub(crate) const DESCRIPTORS: Ways<2> = {
    const fn way(program: &'static str) -> Hook {
        other(program, "task_file", Tier::Iterator, None, Purpose::Holders)
    }
    [way("descriptors"), way("descriptors_probe")]
};

/// Hash tables of a network namespace.
pub(crate) const TABLES: Hook = other("tables", "tcp", Tier::Iterator, None, Purpose::Tables);

/// Programs that run when asked.
pub(crate) const ON_DEMAND: [Hook; 3] = {
    const fn program(program: &'static str) -> Hook {
        other(program, "test run", Tier::OnDemand, None, Purpose::Looks)
    }
    [program("resolve"), program("queue"), program("peek")]
};

/// The programs that stand in for others.
pub(crate) const UNDERSTUDIES: [&str; 6] = [
    "understudy",
    "destroy_understudy",
    "understudy_2",
    "destroy_understudy_2",
    "understudy_3",
    "destroy_understudy_3",
];

/// Those of them that only kernels need whose tracepoints may be preempted.
pub(crate) fn minds_preemption(program: &str) -> bool {
    UNDERSTUDIES[2..].contains(&program)
}

/// Every program, for the documents and tests.
#[cfg(test)]
pub(crate) fn all() -> Vec<Hook> {
    let mut all = TRACEPOINTS.to_vec();
    all.extend(GRAFT);
    all.extend(ACCEPT_FEXIT.map(|(_, hook)| hook));
    all.push(ACCEPT_KRETPROBE);
    all.extend(ACCEPT_SYSCALLS);
    all.extend(ENQUEUE.concat());
    all.extend(SYN.concat());
    all.extend(ACKS.concat());
    all.extend(DESCRIPTORS);
    all.push(TABLES);
    all.extend(ON_DEMAND);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every program stands in docs/probes.md with its hook, and no other does.
    #[test]
    fn the_document_names_every_probe() {
        let text = include_str!("../../../docs/probes.md");
        let cell = |text: &str| text.trim().trim_matches('`').to_owned();
        let mut told: Vec<(String, String, String)> = text
            .lines()
            .filter(|line| line.starts_with("| `"))
            .filter_map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
                let [program, tier, hook, _, _, ..] = cells[..] else {
                    return None;
                };
                Some((cell(program), cell(tier), cell(hook)))
            })
            .collect();
        told.sort();
        let mut known: Vec<_> = all()
            .into_iter()
            .map(|it| {
                (
                    it.program.to_owned(),
                    it.tier.name().to_owned(),
                    it.hook.to_owned(),
                )
            })
            .collect();
        known.sort();
        assert_eq!(told, known);
    }

    #[test]
    fn a_choice_admits_one_way_to_probe_functions() {
        let admitted = |only| -> Vec<&str> {
            let mut names: Vec<&str> = all()
                .into_iter()
                .filter(|it| it.purpose == Purpose::Accepts && it.tier.is_admitted(only))
                .map(|it| it.tier.name())
                .collect();
            names.dedup();
            names
        };
        assert_eq!(
            admitted(None),
            ["fentry", "kprobe", "fexit", "kretprobe", "syscall"]
        );
        assert_eq!(admitted(Some(TierChoice::Fentry)), ["fentry", "fexit"]);
        assert_eq!(admitted(Some(TierChoice::Kprobe)), ["kprobe", "kretprobe"]);
        assert_eq!(admitted(Some(TierChoice::Tracepoint)), ["syscall"]);
    }
}
