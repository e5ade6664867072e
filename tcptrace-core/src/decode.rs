//! From the bytes of a kernel record to typed values. Total: any bytes give a value or a
//! [`DecodeError`], never a panic, and nothing is skipped without saying so.
//!
//! A decoded record still names its socket by kernel address ([`SockAddress`]); the agent's kernel
//! edge turns that into a [`crate::units::SockId`] before anything enters the engine or a file.

mod bytes;
mod event;
mod head;
mod inspect;
mod on_demand;
mod raw;

pub use event::event;
pub use inspect::{RawPeek, RawRow, WakeFunctions, peek, row, wake_functions};
pub use on_demand::{AcceptQueue, OwnSock, accept_queue, own_sock};
pub use raw::{
    Raw, RawAccept, RawDestroy, RawExit, RawQueueDrop, RawReset, RawRetransmit, RawStack,
    RawSynackRetransmit, RawTransition, RawWaiter,
};

use std::fmt;
use std::time::Duration;

use crate::tcp::Endpoint;
use crate::units::NetnsId;

/// The address of a `struct sock`. Not an identity: the kernel reuses it within milliseconds. It
/// must not leave the kernel edge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SockAddress(pub u64);

impl fmt::Debug for SockAddress {
    // Kernel addresses would leak the kernel's memory layout into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SockAddress(..)")
    }
}

/// Which socket a record is about, and what it says of the tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawKey {
    /// The socket; 0 when there is no full socket.
    pub sock: SockAddress,
    /// Its network namespace.
    pub netns: NetnsId,
    /// Our end.
    pub local: Endpoint,
    /// The other end.
    pub peer: Endpoint,
}

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter or longer than its kind.
    #[error(
        "a record of kind {kind} has {len} bytes, so it is dropped and counted: object and agent differ, rebuild both"
    )]
    Length {
        /// The kind it claims.
        kind: u8,
        /// What arrived.
        len: usize,
    },
    /// A kind that this agent does not know.
    #[error(
        "a record has the unknown kind {0}, so it is dropped and counted: object and agent differ, rebuild both"
    )]
    Kind(u8),
    /// A number that means nothing.
    #[error("a record of kind {kind} has the unknown value {value}, so it is dropped and counted")]
    Value {
        /// The record's kind.
        kind: u8,
        /// The number.
        value: u8,
    },
    /// A number that is no TCP state.
    #[error(
        "a record of kind {kind} has the unknown TCP state {state}, so it is dropped and counted"
    )]
    State {
        /// The record's kind.
        kind: u8,
        /// The number.
        state: u8,
    },
}

/// The kernel's tick: what a jiffy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hz(pub u32);

impl Hz {
    /// A number of jiffies as time.
    pub fn duration(self, jiffies: u32) -> Duration {
        Duration::from_nanos(u64::from(jiffies) * 1_000_000_000 / u64::from(self.0.max(1)))
    }
}

#[cfg(test)]
mod tests;
