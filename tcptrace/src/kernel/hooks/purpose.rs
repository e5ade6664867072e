//! What probes are for, and what is lost without them. `docs/doctor.md` has the same table, which a
//! test holds against this one.

/// What a probe is for; several programs may serve one purpose, in turn or together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// State changes and ends of sockets.
    States,
    /// What the kernel skipped of those.
    Understudies,
    /// Names of processes that live too short to be looked at.
    Exits,
    /// Retransmissions.
    Retransmits,
    /// Repeated SYN-ACKs.
    SynAcks,
    /// Resets.
    Resets,
    /// Who accepts.
    Accepts,
    /// The listener of a child.
    Listeners,
    /// Each segment that met a full queue.
    QueueDrops,
    /// Who holds which socket.
    Holders,
    /// Sockets without a descriptor.
    Tables,
    /// State, unread bytes and waiters of a suspect.
    Looks,
}

impl Purpose {
    /// Every purpose, in the order in which `doctor` tells of them.
    pub(crate) const ALL: [Self; 12] = [
        Self::States,
        Self::Understudies,
        Self::Exits,
        Self::Retransmits,
        Self::SynAcks,
        Self::Resets,
        Self::Accepts,
        Self::Listeners,
        Self::QueueDrops,
        Self::Holders,
        Self::Tables,
        Self::Looks,
    ];

    /// In `doctor`, text and JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::States => "states",
            Self::Understudies => "understudies",
            Self::Exits => "exits",
            Self::Retransmits => "retransmits",
            Self::SynAcks => "synacks",
            Self::Resets => "resets",
            Self::Accepts => "accepts",
            Self::Listeners => "listeners",
            Self::QueueDrops => "queue_drops",
            Self::Holders => "holders",
            Self::Tables => "tables",
            Self::Looks => "looks",
        }
    }
}

impl Purpose {
    /// What is lost without it, and the findings that lose by it.
    pub(crate) fn loss(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::States => ("nothing can be traced", &["all"]),
            Self::Understudies => (
                "state changes that the kernel skips are counted as lost, not recovered",
                &["all"],
            ),
            Self::Exits => (
                "processes that live for one connection may have no name",
                &["all"],
            ),
            Self::Retransmits => (
                "segments that are sent again are not seen",
                &[
                    "fin_retransmit",
                    "closing_stuck",
                    "syn_retransmit",
                    "dead_peer",
                ],
            ),
            Self::SynAcks => (
                "repeated SYN-ACKs are not seen: no proof that a client had answered",
                &[
                    "synack_retransmit",
                    "accept_queue_overflow",
                    "syn_queue_overflow",
                ],
            ),
            Self::Resets => ("resets are not seen", &["reset_burst"]),
            Self::Accepts => (
                "acceptors are known by scans and closers only, and that nobody accepts is likely, \
                 not exact",
                &["accept_queue_overflow", "close_wait_leak"],
            ),
            Self::Listeners => (
                "the listener of a connection is inferred from its address and port: likely where \
                 several listen there (SO_REUSEPORT)",
                &["close_wait_leak", "accept_queue_overflow"],
            ),
            Self::QueueDrops => (
                "drops are counted exactly for a network namespace, but their listener is inferred \
                 from samples: likely where several were full; clients are not known",
                &["accept_queue_overflow", "syn_queue_overflow"],
            ),
            Self::Holders => (
                "sockets older than tcptrace and copies of descriptors are not found",
                &["close_wait_leak", "fin_wait2_stuck", "dead_peer"],
            ),
            Self::Tables => (
                "sockets without a descriptor that are older than tcptrace are not found",
                &["fin_wait2_stuck", "time_wait_pileup", "fin_retransmit"],
            ),
            Self::Looks => (
                "suspects cannot be looked at: causes are unknown",
                &["close_wait_leak", "accept_queue_overflow"],
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_table() {
        let text = include_str!("../../../../docs/doctor.md");
        for it in Purpose::ALL {
            let (loss, findings) = it.loss();
            let findings = findings.join(", ");
            let row = format!("| `{}` | {loss} | {findings} |", it.name());
            assert!(text.contains(&row), "docs/doctor.md lacks the row: {row}");
        }
    }
}
