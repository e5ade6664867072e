//! Processes, alive and lately exited.
//!
//! Invariant: sockets keep the `Arc` of their owner, so forgetting a process here loses no name.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::input::{ProcessFact, ProcessInfo};
use crate::units::{MonoNs, Pid};
use crate::world::{CloseCall, Closes, Process};

/// Exited processes kept for look-ups. Sockets name their owners themselves; this is for screens.
const EXITED: usize = 4096;

/// More than any pid table in practice (`pid_max` defaults to 4 million, but tasks to far fewer).
const PROCESSES: usize = 262_144;

#[derive(Debug, Default)]
pub(super) struct Processes {
    by_pid: BTreeMap<Pid, Process>,
    exited: VecDeque<(Pid, MonoNs)>,
}

impl Processes {
    pub(super) fn get(&self, pid: Pid) -> Option<&Process> {
        self.by_pid.get(&pid)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.by_pid.values()
    }

    /// The process, as far as it is known: a pid without a name when nothing was told of it.
    pub(super) fn info(&mut self, pid: Pid) -> Arc<ProcessInfo> {
        self.entry(pid).info.clone()
    }

    fn entry(&mut self, pid: Pid) -> &mut Process {
        self.by_pid.entry(pid).or_insert_with(|| Process {
            info: Arc::new(ProcessInfo {
                pid,
                ..ProcessInfo::default()
            }),
            exited: None,
            signal: None,
            descriptors: None,
            closes: Closes::default(),
        })
    }

    /// The process closed a connection.
    pub(super) fn closed(&mut self, pid: Pid, call: CloseCall) {
        self.entry(pid).closes.add(call);
    }

    /// Takes in news; returns how many processes were evicted.
    pub(super) fn apply(&mut self, fact: &ProcessFact) -> u64 {
        match fact {
            ProcessFact::Seen { info, .. } => {
                let process = self.entry(info.pid);
                let reused = process.info.start.is_some() && process.info.start != info.start;
                if reused || process.exited.is_some() {
                    process.exited = None;
                    process.signal = None;
                    process.descriptors = None;
                    process.closes = Closes::default();
                }
                process.info = info.clone();
            }
            ProcessFact::Descriptors {
                pid, open, limit, ..
            } => self.entry(*pid).descriptors = Some((*open, *limit)),
            ProcessFact::Exit {
                at,
                pid,
                name,
                signal,
            } => {
                let process = self.entry(*pid);
                process.exited = Some(*at);
                process.signal = signal.filter(|signal| *signal != 0);
                if process.info.name.is_empty() {
                    Arc::make_mut(&mut process.info).name = name.clone();
                }
                self.exited.push_back((*pid, *at));
            }
        }
        self.bound()
    }

    fn bound(&mut self) -> u64 {
        while self.exited.len() > EXITED {
            if let Some((pid, at)) = self.exited.pop_front()
                && self.get(pid).is_some_and(|p| p.exited == Some(at))
            {
                self.by_pid.remove(&pid);
            }
        }
        let mut evicted = 0;
        while self.by_pid.len() > PROCESSES {
            self.by_pid.pop_first();
            evicted += 1;
        }
        evicted
    }
}
