//! What one segment of a recording hands on to the next: a socket as the engine knew it.

use std::sync::Arc;

use super::{Holder, QueueLevel, SocketKey};
use crate::finding::{Confidence, Provenance};
use crate::tcp::TcpState;
use crate::units::{MonoNs, Pid, SockId};
use crate::world::{CloseCall, Origin};

/// A socket as it was known when a segment of a recording began. An engine that has followed the
/// recording so far knows it already and learns nothing; one that begins here knows what the other
/// knew, less the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// When the segment began.
    pub at: MonoNs,
    /// Which socket.
    pub key: SocketKey,
    /// Its state, a modelled TIME_WAIT or FIN_WAIT2 included.
    pub state: TcpState,
    /// When it entered the state.
    pub since: MonoNs,
    /// `since` is when it was first seen, and the state is older.
    pub since_is_lower_bound: bool,
    /// When the socket was first seen.
    pub first_seen: MonoNs,
    /// How it came to be.
    pub origin: Origin,
    /// The listener that it came from.
    pub listener: Option<SockId>,
    /// Its owner.
    pub owner: Option<CarriedOwner>,
    /// Descriptors that refer to it, as far as they were seen.
    pub holders: Vec<Holder>,
    /// A process took it from the accept queue, or connected it.
    pub accepted: bool,
    /// The kernel has given the full socket up: the state is modelled.
    pub modelled: bool,
    /// Who closed it, and how.
    pub closer: Option<(Pid, CloseCall)>,
    /// Segments sent again so far.
    pub retransmits: u32,
    /// Unread bytes when last told.
    pub unread: Option<u32>,
    /// The accept queue, of a listener.
    pub queue: Option<QueueLevel>,
    /// Half-open connections, of a listener.
    pub syn_depth: Option<u32>,
    /// When somebody last accepted from it, and who, of a listener.
    pub last_accept: Option<(MonoNs, Pid)>,
}

/// The owner of a carried socket. What else is known of the process stands on its own line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedOwner {
    /// Which process.
    pub pid: Pid,
    /// Its name; it may have exited long ago.
    pub name: Arc<str>,
    /// How it is known to own the socket.
    pub provenance: Provenance,
    /// How surely.
    pub confidence: Confidence,
}
