//! The types of lines, and counts by type.

use std::collections::BTreeMap;

use tcptrace_core::Input;

/// What the `type` of a line says, for those that a recording may hold many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LineKind {
    Transition,
    Accept,
    Retransmit,
    SynackRetransmit,
    Reset,
    QueueDrop,
    Destroy,
    Socket,
    Carried,
    Snapshot,
    Inspection,
    Stack,
    Listener,
    Counters,
    Netns,
    Process,
    Loss,
    Tick,
    Finding,
}

impl LineKind {
    /// Every kind, in the order of the variants.
    pub(crate) const ALL: [Self; 19] = [
        Self::Transition,
        Self::Accept,
        Self::Retransmit,
        Self::SynackRetransmit,
        Self::Reset,
        Self::QueueDrop,
        Self::Destroy,
        Self::Socket,
        Self::Carried,
        Self::Snapshot,
        Self::Inspection,
        Self::Stack,
        Self::Listener,
        Self::Counters,
        Self::Netns,
        Self::Process,
        Self::Loss,
        Self::Tick,
        Self::Finding,
    ];

    /// The kind of line that `input` becomes.
    pub(crate) fn of(input: &Input) -> Self {
        match input {
            Input::Transition(_) => Self::Transition,
            Input::Accept(_) => Self::Accept,
            Input::Retransmit(_) => Self::Retransmit,
            Input::SynackRetransmit(_) => Self::SynackRetransmit,
            Input::Reset(_) => Self::Reset,
            Input::QueueDrop(_) => Self::QueueDrop,
            Input::Destroy(_) => Self::Destroy,
            Input::Socket(_) => Self::Socket,
            Input::Carried(_) => Self::Carried,
            Input::Snapshot(_) => Self::Snapshot,
            Input::Inspection(_) => Self::Inspection,
            Input::Stack(_) => Self::Stack,
            Input::Listener(_) => Self::Listener,
            Input::Counters(_) => Self::Counters,
            Input::Netns(_) => Self::Netns,
            Input::Process(_) => Self::Process,
            Input::Loss(_) => Self::Loss,
            Input::Tick(_) => Self::Tick,
        }
    }

    /// As written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transition => "transition",
            Self::Accept => "accept",
            Self::Retransmit => "retransmit",
            Self::SynackRetransmit => "synack_retransmit",
            Self::Reset => "reset",
            Self::QueueDrop => "queue_drop",
            Self::Destroy => "destroy",
            Self::Socket => "socket",
            Self::Carried => "carried",
            Self::Snapshot => "snapshot",
            Self::Inspection => "inspection",
            Self::Stack => "stack",
            Self::Listener => "listener",
            Self::Counters => "counters",
            Self::Netns => "netns",
            Self::Process => "process",
            Self::Loss => "loss",
            Self::Tick => "tick",
            Self::Finding => "finding",
        }
    }
}

/// How many lines of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LineCounts([u64; LineKind::ALL.len()]);

impl LineCounts {
    /// One more.
    pub(super) fn add(&mut self, kind: LineKind) {
        self.0[kind as usize] += 1;
    }

    /// Adds all of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    /// Lines of one kind.
    pub(crate) fn of(&self, kind: LineKind) -> u64 {
        self.0[kind as usize]
    }

    /// Lines of all kinds.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// By name, for the footer.
    pub(super) fn by_name(&self) -> BTreeMap<String, u64> {
        LineKind::ALL
            .into_iter()
            .map(|kind| (kind.name().to_owned(), self.of(kind)))
            .collect()
    }
}
