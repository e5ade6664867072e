//! What the engine would like to know. Requests leave [`crate::Outcome`]; the agent performs them
//! and the answers come back as Inputs. No rule waits for an answer.

use crate::units::{NetnsId, Pid, SockId};

/// A look that the agent is asked to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// Peek at one suspect socket: answered by `Input::Inspection`.
    Inspect {
        /// Which.
        sock: SockId,
        /// Also scan descriptors for its holders (dear: shared by all requests of one batch).
        holders: bool,
    },
    /// Sample the queues of every listener of a namespace, with their waiters: `Input::Listener`.
    Listeners(NetnsId),
    /// Count the descriptors of a process: `ProcessFact::Descriptors`.
    Descriptors(Pid),
    /// Count the orphans in FIN_WAIT2 of a namespace: `Input::Counters`, `orphan_fin_wait2`.
    Orphans(NetnsId),
    /// Say where in its program a socket was accepted or connected, where that was noted:
    /// `Input::Stack`.
    Stack(SockId),
    /// Take a fresh snapshot: facts were lost.
    Snapshot,
}
