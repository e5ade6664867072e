//! What this process may do, and what the loss of each privilege costs. `doctor` prints this table, and
//! `docs/doctor.md` repeats it; a test holds the two together.

use std::fs;

/// A privilege that tcptrace uses, by its number in `include/uapi/linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Capability {
    /// CAP_DAC_READ_SEARCH.
    DacReadSearch = 2,
    /// CAP_NET_ADMIN.
    NetAdmin = 12,
    /// CAP_SYS_PTRACE.
    SysPtrace = 19,
    /// CAP_SYS_ADMIN.
    SysAdmin = 21,
    /// CAP_SYS_NICE.
    SysNice = 23,
    /// CAP_SYS_RESOURCE.
    SysResource = 24,
    /// CAP_SYSLOG.
    Syslog = 34,
    /// CAP_PERFMON.
    Perfmon = 38,
    /// CAP_BPF.
    Bpf = 39,
}

impl Capability {
    /// All that are used, the most important first.
    pub(crate) const ALL: [Self; 9] = [
        Self::Bpf,
        Self::Perfmon,
        Self::SysAdmin,
        Self::SysPtrace,
        Self::DacReadSearch,
        Self::SysResource,
        Self::SysNice,
        Self::NetAdmin,
        Self::Syslog,
    ];

    /// As people write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::SysNice => "CAP_SYS_NICE",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::Syslog => "CAP_SYSLOG",
        }
    }

    /// What it is for, and what is lost without it.
    pub(crate) fn cost(self) -> &'static str {
        match self {
            Self::Bpf => "loads programs and makes maps; without it nothing can be traced",
            Self::Perfmon => {
                "lets programs read kernel memory and attach; without it nothing can be traced"
            }
            Self::SysAdmin => {
                "enters network namespaces, measures programs and mounts tracefs; without it \
                 orphans older than tcptrace and the sysctls of other namespaces are missing"
            }
            Self::SysPtrace => {
                "reads the executables, wait channels and namespaces of other users' processes; \
                 without it findings name no executable and no wait channel, and the counters of \
                 their network namespaces are missing"
            }
            Self::DacReadSearch => {
                "reads tracefs, which belongs to root; without it, and without being root, accept \
                 cannot be seen by system calls, nor functions by kprobe on older kernels"
            }
            Self::SysResource => {
                "raises RLIMIT_MEMLOCK, against which maps count up to Linux 5.10; without it \
                 nothing can be traced there, unless the limit has been raised before"
            }
            Self::SysNice => {
                "runs tcptrace before other processes; without it events may be lost where \
                 processors are contended"
            }
            Self::NetAdmin => "not used; older instructions name it",
            Self::Syslog => {
                "not used: wake functions are learnt from sockets of tcptrace's own, not from the \
                 kernel's symbols"
            }
        }
    }

    /// Whether its loss shows nowhere else: no probe is missing, only what is read beside them.
    pub(crate) fn is_lost_silently(self) -> bool {
        matches!(self, Self::SysAdmin | Self::SysPtrace | Self::SysNice)
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities(u64);

impl Capabilities {
    /// What this thread may do at present.
    pub(crate) fn of_this_thread() -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Self::parse(&status)
    }

    fn parse(status: &str) -> Self {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        Self(mask.unwrap_or(0))
    }

    /// Whether it is held. CAP_SYS_ADMIN stands for what was once part of it.
    pub(crate) fn has(self, capability: Capability) -> bool {
        let holds = |it: Capability| self.0 >> it as u8 & 1 == 1;
        holds(capability)
            || holds(Capability::SysAdmin)
                && matches!(
                    capability,
                    Capability::Bpf | Capability::Perfmon | Capability::Syslog
                )
    }
}

/// Whether capabilities count for the host, and not only in a user namespace.
pub(crate) fn in_the_hosts_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_read() {
        let some = Capabilities::parse("Name:\tx\nCapEff:\t000000c000000000\nCapBnd:\t0\n");
        assert!(some.has(Capability::Bpf) && some.has(Capability::Perfmon));
        assert!(!some.has(Capability::SysAdmin) && !some.has(Capability::SysPtrace));
        let admin = Capabilities::parse("CapEff:\t0000000000200000\n");
        assert!(admin.has(Capability::Bpf) && admin.has(Capability::Perfmon));
        assert!(!admin.has(Capability::SysPtrace));
        assert_eq!(Capabilities::parse(""), Capabilities(0));
    }

    /// docs/doctor.md has this table, word for word.
    #[test]
    fn the_document_has_the_table() {
        let text = include_str!("../../../docs/doctor.md");
        for it in Capability::ALL {
            let row = format!("| `{}` | {} |", it.name(), it.cost());
            assert!(text.contains(&row), "docs/doctor.md lacks the row: {row}");
        }
        let rows = text
            .lines()
            .filter(|line| line.starts_with("| `CAP_"))
            .count();
        assert_eq!(rows, Capability::ALL.len());
    }
}
