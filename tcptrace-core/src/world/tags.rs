//! What is out of the ordinary about how a connection was opened or closed: no fault, but what an
//! engineer who stares at the connection would otherwise puzzle over.
//!
//! Told from transitions and resets alone; [`Tag`] says what each is told by.

use std::fmt;
use std::time::Duration;

use crate::input::{Reset, ResetDirection, Transition};
use crate::tcp::{Endpoint, TcpState};
use crate::units::MonoNs;

/// One thing out of the ordinary. The spelling is public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tag {
    /// Both ends connected to each other at once: SYN_SENT to SYN_RECV.
    SimultaneousOpen,
    /// Both ends closed at once: the FINs crossed, FIN_WAIT1 to CLOSING.
    SimultaneousClose,
    /// The peer's FIN came with its ACK of ours: FIN_WAIT2 was left within the instant of its
    /// beginning, straight to TIME_WAIT.
    FinWithAck,
    /// Both ends are the same: a socket that connected to itself (a client's local port happened
    /// to be the port that it knocked at, with nobody listening).
    SelfConnection,
    /// Established, and nobody was seen accepting it yet.
    NotAccepted,
    /// A SYN-ACK arrived that does not answer our SYN, but an old duplicate of one: our RST told
    /// the peer so.
    OldDuplicateSyn,
}

impl Tag {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SimultaneousOpen,
        Self::SimultaneousClose,
        Self::FinWithAck,
        Self::SelfConnection,
        Self::NotAccepted,
        Self::OldDuplicateSyn,
    ];

    /// As written in recordings.
    pub fn name(self) -> &'static str {
        match self {
            Self::SimultaneousOpen => "simultaneous_open",
            Self::SimultaneousClose => "simultaneous_close",
            Self::FinWithAck => "fin_with_ack",
            Self::SelfConnection => "self_connection",
            Self::NotAccepted => "not_accepted",
            Self::OldDuplicateSyn => "old_duplicate_syn",
        }
    }

    /// As people say it.
    pub fn description(self) -> &'static str {
        match self {
            Self::SimultaneousOpen => "simultaneous open: both ends connected to each other",
            Self::SimultaneousClose => "simultaneous close: the FINs crossed",
            Self::FinWithAck => "the peer's FIN came with its ACK of ours",
            Self::SelfConnection => "self-connection: both ends are this socket",
            Self::NotAccepted => "established, and nobody was seen accepting it yet",
            Self::OldDuplicateSyn => "an old duplicate SYN of ours was answered; our RST said so",
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of [`Tag`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags(u8);

impl Tags {
    /// Whether `tag` is in it.
    pub fn has(self, tag: Tag) -> bool {
        self.0 & 1 << tag as u8 != 0
    }

    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in it, in the order of [`Tag::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Tag> {
        Tag::ALL.into_iter().filter(move |tag| self.has(*tag))
    }

    pub(crate) fn add(&mut self, tag: Tag) {
        self.0 |= 1 << tag as u8;
    }

    /// What is in `self` and was not in `before`.
    pub(crate) fn news(self, before: Self) -> Self {
        Self(self.0 & !before.0)
    }
}

/// The kernel handles an ACK with FIN in one go, within microseconds; a FIN of its own needs a
/// packet of its own. Between them lies every interrupt that can come between two events.
const ONE_SEGMENT: Duration = Duration::from_millis(1);

/// What a transition tells; `since` is when the state that is left was entered, where that was seen.
pub(super) fn of_transition(
    tags: &mut Tags,
    x: &Transition,
    ends: (Endpoint, Endpoint),
    since: Option<MonoNs>,
) {
    match (x.from, x.to) {
        (TcpState::SynSent, TcpState::SynRecv) => tags.add(Tag::SimultaneousOpen),
        (TcpState::FinWait1, TcpState::Closing) => tags.add(Tag::SimultaneousClose),
        (TcpState::FinWait2, TcpState::Close)
            if x.enters_time_wait()
                && since.is_some_and(|since| x.at.since(since) < ONE_SEGMENT) =>
        {
            tags.add(Tag::FinWithAck);
        }
        _ => {}
    }
    let (local, peer) = ends;
    if local == peer && local.address.is_some() && local.port.is_some() {
        tags.add(Tag::SelfConnection);
    }
}

/// What a reset tells. Only a socket in SYN_SENT that got a SYN-ACK for another SYN than its own
/// sends one without leaving the state.
pub(super) fn of_reset(tags: &mut Tags, x: &Reset) {
    if x.direction == ResetDirection::Sent && x.state == Some(TcpState::SynSent) {
        tags.add(Tag::OldDuplicateSyn);
    }
}
