//! Running counts for the state diagram: how often each edge was taken, and who closed how often.
//!
//! Invariant: counting costs one addition per transition and no allocation; rates are a consumer's
//! difference of two readings.

use crate::tcp::TcpState;
use crate::world::CloseCall;

/// States, the unused number 0 included.
const STATES: usize = 13;

/// How often the edge between two states was taken, since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edges([[u64; STATES]; STATES]);

impl Default for Edges {
    fn default() -> Self {
        Self([[0; STATES]; STATES])
    }
}

impl Edges {
    /// How often a socket went from `from` to `to`. TIME_WAIT is the model's: its edges are those
    /// of the protocol, not the kernel's CLOSE that stands for them.
    pub fn count(&self, from: TcpState, to: TcpState) -> u64 {
        self.0[from as usize][to as usize]
    }

    pub(super) fn add(&mut self, from: TcpState, to: TcpState, times: u64) {
        self.0[from as usize][to as usize] += times;
    }
}

/// How often a process closed a connection, by the way it did so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closes {
    /// By close.
    pub close: u64,
    /// By shutdown.
    pub shutdown: u64,
    /// By its exit.
    pub exit: u64,
}

impl Closes {
    /// All of them.
    pub fn total(self) -> u64 {
        self.close + self.shutdown + self.exit
    }

    pub(super) fn add(&mut self, call: CloseCall) {
        match call {
            CloseCall::Close => self.close += 1,
            CloseCall::Shutdown => self.shutdown += 1,
            CloseCall::Exit => self.exit += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_told_apart() {
        let mut edges = Edges::default();
        edges.add(TcpState::Established, TcpState::CloseWait, 2);
        edges.add(TcpState::TimeWait, TcpState::Close, 3);
        assert_eq!(edges.count(TcpState::Established, TcpState::CloseWait), 2);
        assert_eq!(edges.count(TcpState::CloseWait, TcpState::Established), 0);
        assert_eq!(edges.count(TcpState::TimeWait, TcpState::Close), 3);
    }
}
