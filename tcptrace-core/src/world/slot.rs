//! A socket and what only the world needs to know of it.

use crate::input::SocketKey;
use crate::tcp::TcpState;
use crate::units::MonoNs;
use crate::world::timeline::Timeline;
use crate::world::{Origin, Socket, Tags};

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) socket: Socket,
    pub(super) timeline: Timeline,
    /// The last fact that came from an event, not from a look: older rows are dropped.
    pub(super) last_event: MonoNs,
    /// The last snapshot that showed it.
    pub(super) snapshot: u32,
    pub(super) life: Life,
    /// It is part of `Totals::in_state`.
    pub(super) counted: bool,
}

/// Where a slot is between birth and reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// The kernel has the full socket.
    Live,
    /// The full socket is gone; a modelled TIME_WAIT or orphan FIN_WAIT2 remains.
    Modelled,
    /// Gone, kept a little for its details.
    Ended,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            socket: Socket {
                key: SocketKey::default(),
                state: TcpState::Close,
                since: MonoNs(0),
                since_is_lower_bound: true,
                first_seen: MonoNs(0),
                origin: Origin::Unknown,
                listener: None,
                owner: None,
                holders: Vec::new(),
                accepted: false,
                closer: None,
                ends: crate::world::Ends::default(),
                retransmits: 0,
                unread: None,
                accept_queue: None,
                syn_depth: None,
                last_accept: None,
                special: Tags::default(),
            },
            timeline: Timeline::new(),
            last_event: MonoNs(0),
            snapshot: 0,
            life: Life::Live,
            counted: false,
        }
    }
}

impl Slot {
    /// Blank again, with its allocations.
    pub(super) fn reset(&mut self) {
        let mut holders = std::mem::take(&mut self.socket.holders);
        let mut timeline = std::mem::replace(&mut self.timeline, Timeline::new());
        holders.clear();
        timeline.clear();
        *self = Self::default();
        self.socket.holders = holders;
        self.timeline = timeline;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million sockets have 300 MB: a slot with two moments, and 16 bytes of index.
    #[test]
    fn slots_stay_compact() {
        assert!(size_of::<Slot>() <= 256, "{}", size_of::<Slot>());
    }
}
