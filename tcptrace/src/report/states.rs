//! How connections moved through their states, and how long they stayed in each.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tcptrace_core::engine::Annotation;
use tcptrace_core::input::Transition;
use tcptrace_core::tcp::TcpState;

use super::histogram::Histogram;

/// Transitions by their two states, and the time spent in the first.
#[derive(Clone, Debug)]
pub(crate) struct States {
    moves: [[u64; 13]; 13],
    stays: Vec<Histogram>,
}

impl Default for States {
    fn default() -> Self {
        Self {
            moves: [[0; 13]; 13],
            stays: vec![Histogram::default(); 13],
        }
    }
}

impl States {
    pub(super) fn add(&mut self, x: &Transition, annotation: &Annotation) {
        let to = if x.enters_time_wait() {
            TcpState::TimeWait
        } else {
            x.to
        };
        self.moves[x.from as usize][to as usize] += 1;
        if let Some(stay) = annotation.in_state {
            self.stays[x.from as usize].add(stay);
        }
    }

    /// Moves from one state to another.
    pub(super) fn moves(&self, from: TcpState, to: TcpState) -> u64 {
        self.moves[from as usize][to as usize]
    }

    /// Times that a state was entered.
    pub(super) fn entered(&self, state: TcpState) -> u64 {
        self.moves.iter().map(|row| row[state as usize]).sum()
    }

    /// How long sockets stayed in a state before they left it.
    pub(super) fn stay(&self, state: TcpState) -> &Histogram {
        &self.stays[state as usize]
    }
}

impl Serialize for States {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Move {
            from: &'static str,
            to: &'static str,
            count: u64,
        }
        struct Stays<'a>(&'a States);
        impl Serialize for Stays<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                for state in TcpState::ALL {
                    let stay = self.0.stay(state);
                    if stay.total() > 0 {
                        map.serialize_entry(state.name(), stay)?;
                    }
                }
                map.end()
            }
        }
        let mut moves = Vec::new();
        for from in TcpState::ALL {
            for to in TcpState::ALL {
                let count = self.moves(from, to);
                if count > 0 {
                    let (from, to) = (from.name(), to.name());
                    moves.push(Move { from, to, count });
                }
            }
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("moves", &moves)?;
        map.serialize_entry("stays", &Stays(self))?;
        map.end()
    }
}
