//! The latest events of all sockets, for a log on a screen: bounded, oldest out first.
//!
//! What is routine (transitions, accepts, ends) and what is notable (resets, retransmissions,
//! drops, losses) are kept apart, so that ten thousand connections a second do not push the one
//! reset out of sight.
//!
//! Invariant: an entry is copied from its fact and refers to nothing, so it outlives the socket.

use std::collections::VecDeque;

use crate::input::{DropOutcome, Input, LossCause, ProcessFact, Queue, ResetDirection, SocketKey};
use crate::units::{MonoNs, Pid};
use crate::world::Moment;

/// Routine events kept: some seconds of an ordinary host, and 2 MB.
const ROUTINE: usize = 16_384;

/// Notable events kept.
const NOTABLE: usize = 4096;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number, ascending in the order of telling.
    pub number: u64,
    /// When.
    pub at: MonoNs,
    /// The socket; all unknown where it is about none.
    pub key: SocketKey,
    /// The owner of the socket at that time.
    pub owner: Option<Pid>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// To a socket.
    Socket(Moment),
    /// A handshake segment met a full queue; the socket is the listener, the peer the client.
    QueueDrop {
        /// Which queue.
        queue: Queue,
        /// What became of the segment.
        outcome: DropOutcome,
        /// The queue's length.
        depth: u32,
        /// Its limit.
        limit: u32,
    },
    /// Facts were lost.
    Loss {
        /// Why.
        cause: LossCause,
        /// How many.
        count: u64,
    },
    /// A process exited.
    Exit {
        /// Which.
        pid: Pid,
    },
}

impl What {
    /// What an Input tells; looks and the clock are no events.
    pub(super) fn of(input: &Input) -> Option<Self> {
        Some(match input {
            Input::Transition(x) => Self::Socket(Moment::Transition {
                from: x.from,
                to: x.to,
                by: x.context,
            }),
            Input::Accept(x) => Self::Socket(Moment::Accepted { by: x.pid }),
            Input::Retransmit(x) => Self::Socket(Moment::Retransmitted {
                fin: x.fin,
                syn: x.syn,
                attempt: x.attempt,
            }),
            Input::SynackRetransmit(x) => Self::Socket(Moment::SynackRetransmitted {
                attempt: x.attempt,
                acked: x.acked,
            }),
            Input::Reset(x) => Self::Socket(Moment::Reset {
                sent: x.direction == ResetDirection::Sent,
            }),
            Input::QueueDrop(x) => Self::QueueDrop {
                queue: x.queue,
                outcome: x.outcome,
                depth: x.depth,
                limit: x.limit,
            },
            Input::Destroy(_) => Self::Socket(Moment::Destroyed),
            Input::Loss(x) => Self::Loss {
                cause: x.cause,
                count: x.count,
            },
            Input::Process(ProcessFact::Exit { pid, .. }) => Self::Exit { pid: *pid },
            _ => return None,
        })
    }

    fn is_notable(self) -> bool {
        match self {
            Self::Socket(moment) => matches!(
                moment,
                Moment::Retransmitted { .. }
                    | Moment::SynackRetransmitted { .. }
                    | Moment::Reset { .. }
            ),
            Self::QueueDrop { .. } | Self::Loss { .. } => true,
            Self::Exit { .. } => false,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    last: u64,
    routine: VecDeque<Event>,
    notable: VecDeque<Event>,
}

impl Journal {
    pub(super) fn add(&mut self, at: MonoNs, key: SocketKey, owner: Option<Pid>, what: What) {
        self.last += 1;
        let (ring, bound) = if what.is_notable() {
            (&mut self.notable, NOTABLE)
        } else {
            (&mut self.routine, ROUTINE)
        };
        if ring.len() == bound {
            ring.pop_front();
        }
        ring.push_back(Event {
            number: self.last,
            at,
            key,
            owner,
            what,
        });
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Event> {
        let mut routine = self.routine.iter().peekable();
        let mut notable = self.notable.iter().peekable();
        std::iter::from_fn(move || match (routine.peek(), notable.peek()) {
            (Some(one), Some(other)) if one.number > other.number => notable.next(),
            (Some(_), _) => routine.next(),
            (None, _) => notable.next(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_in_order_and_keeps_what_is_notable() {
        let mut journal = Journal::default();
        let key = SocketKey::default();
        let reset = What::Socket(Moment::Reset { sent: true });
        journal.add(MonoNs(0), key, None, reset);
        for at in 1..=2 * ROUTINE as u64 {
            let what = What::Socket(Moment::Destroyed);
            journal.add(MonoNs(at), key, None, what);
        }
        journal.add(MonoNs(1_000_000), key, None, reset);
        let events: Vec<_> = journal.iter().collect();
        assert_eq!(events.len(), ROUTINE + 2);
        assert_eq!(events[0].what, reset);
        assert!(events.is_sorted_by_key(|event| event.number));
    }
}
