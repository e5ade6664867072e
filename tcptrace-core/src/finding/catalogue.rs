//! Which causes belong to which kind: the catalogue as a table.

use super::{Cause, Kind};

impl Kind {
    /// The causes that a finding of this kind can have, in the order of the catalogue; none for a
    /// kind that says all by itself.
    pub fn causes(self) -> &'static [Cause] {
        match self {
            Self::CloseWaitLeak => &[
                Cause::NeverAccepted,
                Cause::NoHolder,
                Cause::EofUnread,
                Cause::NotWatched,
                Cause::SharedFd,
                Cause::EofReadNotClosed,
            ],
            Self::AcceptQueueOverflow => &[Cause::NotAccepting, Cause::FdLimit, Cause::TooSlow],
            Self::SynQueueOverflow => &[Cause::SynFlood, Cause::Burst],
            Self::ClosingStuck => &[Cause::ZeroWindow, Cause::UnackedData],
            Self::SynackRetransmit => &[
                Cause::AcceptQueueFull,
                Cause::DeferAccept,
                Cause::NoFinalAck,
            ],
            Self::TimeWaitPileup => &[
                Cause::ShortConnections,
                Cause::IdleTimeout,
                Cause::RequestLimit,
                Cause::Unknown,
            ],
            Self::FinWait2Stuck => &[Cause::HalfClosed, Cause::Orphan],
            Self::ResetBurst => &[
                Cause::Refused,
                Cause::ByPeer,
                Cause::UnreadData,
                Cause::LingerZero,
                Cause::ListenOverflow,
                Cause::NoSocket,
                Cause::Memory,
                Cause::AdminKill,
                Cause::ProcessExit,
                Cause::Unknown,
            ],
            Self::BacklogTruncated
            | Self::FinRetransmit
            | Self::SynRetransmit
            | Self::DeadPeer
            | Self::PortExhaustion => &[],
        }
    }

    /// Whether findings of this kind are about a rate: their sockets come and go, and samples are
    /// the latest.
    pub(crate) fn is_of_a_rate(self) -> bool {
        matches!(self, Self::TimeWaitPileup | Self::ResetBurst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_belongs_to_a_kind() {
        for cause in Cause::ALL {
            assert!(
                Kind::ALL.iter().any(|kind| kind.causes().contains(&cause)),
                "{cause}"
            );
        }
    }
}
