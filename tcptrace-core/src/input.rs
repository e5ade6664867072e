//! The facts that enter the engine, and the only way in: what the kernel reported, what an
//! inspection saw, what the clock said. A recording is a list of these.
//!
//! Invariant: no kernel address and no host-specific pointer appears here, and every fact carries
//! its own time.

use std::sync::Arc;

use serde::Serialize;

use crate::tcp::Endpoint;
use crate::units::{MonoNs, NetnsId, SockId, WallNs};

mod carried;
mod event;
mod look;
mod process;
mod stack;

pub use carried::*;
pub use event::*;
pub use look::*;
pub use process::*;
pub use stack::*;

/// One fact.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each payload is documented on its type")]
pub enum Input {
    Transition(Transition),
    Accept(Accept),
    Retransmit(Retransmit),
    SynackRetransmit(SynackRetransmit),
    Reset(Reset),
    QueueDrop(QueueDrop),
    Destroy(Destroy),
    Socket(SocketRow),
    Carried(Box<Carried>),
    Snapshot(SnapshotMark),
    Inspection(Inspection),
    Stack(Stack),
    Listener(ListenerSample),
    Counters(Counters),
    Netns(NetnsFacts),
    Process(ProcessFact),
    Loss(Loss),
    Tick(Tick),
}

impl Input {
    /// When the fact was true.
    pub fn at(&self) -> MonoNs {
        match self {
            Self::Transition(x) => x.at,
            Self::Accept(x) => x.at,
            Self::Retransmit(x) => x.at,
            Self::SynackRetransmit(x) => x.at,
            Self::Reset(x) => x.at,
            Self::QueueDrop(x) => x.at,
            Self::Destroy(x) => x.at,
            Self::Socket(x) => x.at,
            Self::Carried(x) => x.at,
            Self::Snapshot(x) => x.at,
            Self::Inspection(x) => x.at,
            Self::Stack(x) => x.at,
            Self::Listener(x) => x.at,
            Self::Counters(x) => x.at,
            Self::Netns(x) => x.at,
            Self::Process(x) => x.at(),
            Self::Loss(x) => x.to,
            Self::Tick(x) => x.at,
        }
    }

    /// The socket that the fact is about.
    pub fn key(&self) -> Option<&SocketKey> {
        match self {
            Self::Transition(x) => Some(&x.key),
            Self::Accept(x) => Some(&x.key),
            Self::Retransmit(x) => Some(&x.key),
            Self::SynackRetransmit(x) => Some(&x.key),
            Self::Reset(x) => Some(&x.key),
            Self::QueueDrop(x) => Some(&x.key),
            Self::Destroy(x) => Some(&x.key),
            Self::Socket(x) => Some(&x.key),
            Self::Carried(x) => Some(&x.key),
            Self::Inspection(x) => Some(&x.key),
            Self::Stack(x) => Some(&x.key),
            Self::Listener(x) => Some(&x.key),
            _ => None,
        }
    }
}

/// Which socket, and what was known of its tuple at that moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SocketKey {
    /// One life of one socket. [`SockId`] 0 is "no full socket": a SYN-ACK or reset without one.
    pub sock: SockId,
    /// Its network namespace.
    pub netns: NetnsId,
    /// Our end.
    pub local: Endpoint,
    /// The other end.
    pub peer: Endpoint,
}

/// Why facts are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossCause {
    /// The kernel's ring buffer was full.
    Ring,
    /// The kernel skipped a probe that had interrupted itself.
    Recursion,
    /// The kernel freed a socket without reporting the transitions that led there: its address
    /// came back with another one. Rare, seen under saturation only.
    Unreported,
    /// A record could not be decoded.
    Decode,
    /// The queue to the file was full.
    Writer,
    /// A bounded table was full and something was evicted.
    Evicted,
}

impl LossCause {
    /// Every cause.
    pub const ALL: [Self; 6] = [
        Self::Ring,
        Self::Recursion,
        Self::Unreported,
        Self::Decode,
        Self::Writer,
        Self::Evicted,
    ];

    /// As written in recordings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Recursion => "recursion",
            Self::Unreported => "unreported",
            Self::Decode => "decode",
            Self::Writer => "writer",
            Self::Evicted => "evicted",
        }
    }
}

/// Facts were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Why.
    pub cause: LossCause,
    /// What kind of record (`transition`, `accept`, …), where it is known.
    pub kind: Option<Arc<str>>,
    /// How many.
    pub count: u64,
    /// Not before.
    pub from: MonoNs,
    /// Not after.
    pub to: MonoNs,
}

/// The clock: every fact up to `at` has been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Monotonic.
    pub at: MonoNs,
    /// The same instant on the wall clock.
    pub wall: WallNs,
}
