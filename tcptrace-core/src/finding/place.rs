//! Where on the state diagram a finding stands.

use crate::finding::Kind;
use crate::tcp::TcpState;

impl Kind {
    /// The states whose sockets the finding is about; the first where one must be chosen.
    pub fn states(self) -> &'static [TcpState] {
        match self {
            Self::CloseWaitLeak => &[TcpState::CloseWait],
            Self::AcceptQueueOverflow | Self::BacklogTruncated => &[TcpState::Listen],
            Self::SynQueueOverflow | Self::SynackRetransmit => &[TcpState::SynRecv],
            Self::SynRetransmit | Self::PortExhaustion => &[TcpState::SynSent],
            Self::FinRetransmit | Self::ClosingStuck => {
                &[TcpState::FinWait1, TcpState::LastAck, TcpState::Closing]
            }
            Self::DeadPeer => &[TcpState::Established],
            Self::TimeWaitPileup => &[TcpState::TimeWait],
            Self::FinWait2Stuck => &[TcpState::FinWait2],
            Self::ResetBurst => &[TcpState::Close],
        }
    }
}
