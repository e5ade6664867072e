//! The processes and sockets of one finding.

use std::collections::{BTreeMap, VecDeque};

use crate::finding::Owner;
use crate::input::SocketKey;
use crate::units::Pid;
use crate::world::World;

/// Processes told apart; a program that forks for each connection has more, and they are one owner.
const TOLD_APART: usize = 64;

/// Where there are thousands of such parties.
const FEW: usize = PROCESSES;

/// Named in a finding.
const PROCESSES: usize = 8;
const SAMPLES: usize = 8;

/// Who takes part, and the latest sockets.
#[derive(Debug)]
pub(in crate::rules) struct Parties {
    told_apart: usize,
    by_process: BTreeMap<Pid, (Owner, u64)>,
    samples: VecDeque<SocketKey>,
}

impl Default for Parties {
    fn default() -> Self {
        Self::told_apart(TOLD_APART)
    }
}

impl Parties {
    fn told_apart(told_apart: usize) -> Self {
        Self {
            told_apart,
            by_process: BTreeMap::new(),
            samples: VecDeque::new(),
        }
    }

    /// No more processes told apart than are named.
    pub(in crate::rules) fn few() -> Self {
        Self::told_apart(FEW)
    }

    pub(in crate::rules) fn add(&mut self, owner: Option<Owner>, key: SocketKey) {
        if let Some(owner) = owner {
            let pid = owner.process.pid;
            if self.by_process.len() >= self.told_apart && !self.by_process.contains_key(&pid) {
                let least = self.by_process.iter().min_by_key(|(_, (_, n))| *n);
                if let Some(least) = least.map(|(pid, _)| *pid) {
                    self.by_process.remove(&least);
                }
            }
            self.by_process.entry(pid).or_insert((owner, 0)).1 += 1;
        }
        self.samples.retain(|known| known.sock != key.sock);
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(key);
    }

    /// The largest first, at most 8, with what has been learnt of their names since.
    pub(in crate::rules) fn processes(&self, world: &World) -> Vec<(Owner, u64)> {
        let mut processes: Vec<(Owner, u64)> = self.by_process.values().cloned().collect();
        processes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        processes.truncate(PROCESSES);
        for (owner, _) in &mut processes {
            if owner.process.name.is_empty()
                && let Some(process) = world.process(owner.process.pid)
            {
                owner.process = process.info.clone();
            }
        }
        processes
    }

    /// At most 8 sockets, ordered by id.
    pub(in crate::rules) fn samples(&self) -> Vec<SocketKey> {
        let mut samples: Vec<SocketKey> = self.samples.iter().copied().collect();
        samples.sort_by_key(|key| key.sock);
        samples
    }
}
