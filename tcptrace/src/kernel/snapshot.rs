//! Snapshots: what is there, beside what happens.
//!
//! The rows of a snapshot do not come through the ring, so the two have to be put in order. The rows
//! are collected first; then everything is drained that was reported until the last of them was read,
//! while ended sockets keep a tombstone; then each row is held against what is known by now. A row
//! about a socket that has ended, or that was born after it, is dropped; of a row that an event has
//! overtaken only the holder is told, with the newer state.
//!
//! Descriptors come first, all namespaces at once, and are what `ready` means. The hash tables, which
//! add orphans, take turns with the regular polls, at most [`TABLES_WITHIN`] of each.

use std::os::fd::AsFd;
use std::time::Duration;

use rustc_hash::FxHashSet;
use tcptrace_core::decode::{RawKey, RawRow, SockAddress};
use tcptrace_core::input::{Input, SnapshotMark, SnapshotPhase, SnapshotScope, SocketRow};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{NetnsId, SockId};

use super::identity::Step;
use super::probes::{KernelFilter, Probes, SnapshotEnd};
use super::{Kernel, KernelError, clock};

/// How much of a poll the hash tables may take before the rest waits for the next one. A namespace
/// is read in one go, which takes 5 ms when it is empty.
const TABLES_WITHIN: Duration = Duration::from_millis(50);

impl Kernel {
    /// Every descriptor of every process now; the hash tables follow with the next polls. On an
    /// error the snapshot has been ended as incomplete.
    pub(crate) fn snapshot(&mut self, sink: &mut Vec<Input>) -> Result<(), KernelError> {
        self.edge.namespaces.poll(clock::now(), sink);
        self.tables_due = self.edge.namespaces.known().collect();
        self.scan(SnapshotScope::Descriptors, sink, |probes, rows| {
            probes.descriptors(&mut |row| rows.push(row))
        })
    }

    /// The next of the namespaces that a snapshot has still to read.
    pub(super) fn read_tables(&mut self, sink: &mut Vec<Input>) {
        let began = clock::now();
        while let Some(netns) = self.tables_due.pop_front() {
            let door = self.edge.namespaces.door(netns);
            let Some(Ok(namespace)) = door.map(|door| door.open(netns)) else {
                continue; // It is gone, and its sockets with it.
            };
            let read = self.scan(SnapshotScope::Tables(netns), sink, |probes, rows| {
                probes.tables(namespace.as_fd(), &mut |row| rows.push(row))
            });
            if let Err(error) = read {
                tracing::warn!("{error}");
            }
            if clock::now().since(began) > TABLES_WITHIN {
                return;
            }
        }
    }

    fn scan(
        &mut self,
        scope: SnapshotScope,
        sink: &mut Vec<Input>,
        read: impl FnOnce(&mut Probes, &mut Vec<RawRow>) -> Result<SnapshotEnd, KernelError>,
    ) -> Result<(), KernelError> {
        let mark = |phase| {
            Input::Snapshot(SnapshotMark {
                at: clock::now(),
                scope,
                phase,
            })
        };
        sink.push(mark(SnapshotPhase::Begin));
        self.edge.identities.snapshot_begins();
        let mut rows = Vec::new();
        let end = read(&mut self.probes, &mut rows);
        self.drain_to(clock::now(), sink);

        let complete =
            end.as_ref().is_ok_and(|end| end.complete) && !rows.iter().any(|row| row.cut);
        rows.retain(|row| admits(&self.filter, &row.key));
        // Listeners before the connections in their queues, which name them.
        let (queued, held): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.listener.is_some());
        for row in &held {
            self.tell_row(row, None, sink);
        }
        // Each of a listener's holders led to the same queue.
        let mut told = FxHashSet::<SockAddress>::default();
        for row in &queued {
            if told.insert(row.key.sock) {
                let listener = row
                    .listener
                    .and_then(|address| self.edge.identities.living(address));
                self.tell_row(row, listener, sink);
            }
        }
        self.edge.identities.snapshot_ends();
        sink.push(mark(SnapshotPhase::End { complete }));
        end.map(|_| ())
    }

    fn tell_row(&mut self, raw: &RawRow, listener: Option<SockId>, sink: &mut Vec<Input>) {
        let Some(row) = self.edge.identities.row(raw) else {
            return;
        };
        let step = Step::Fact {
            key: row.key,
            ended: row.ended,
        };
        let Some(key) = self.edge.begin(step, raw.at, None, sink) else {
            return;
        };
        if let Some(holder) = &raw.holder {
            self.edge.meet_holder(holder.pid, raw.at, sink);
        }
        let told = SocketRow {
            at: raw.at,
            key,
            state: raw.state,
            holder: raw.holder.clone(),
            listener,
            has_socket: raw.has_socket,
            dead: raw.dead,
            unread: raw.unread,
            unacked: raw.unacked,
            idle: raw.idle,
            queue: raw.queue,
        };
        sink.push(Input::Socket(match row.overtaken {
            None => told,
            Some((state, at)) => SocketRow {
                at,
                state,
                unread: None,
                unacked: None,
                idle: None,
                queue: raw.queue.filter(|_| state == TcpState::Listen),
                ..told
            },
        }));
    }
}

/// Whether a row passes the filter that the kernel applies to events. What is unknown passes.
fn admits(filter: &KernelFilter, key: &RawKey) -> bool {
    fn any<T: Copy, U: PartialEq<T>>(wanted: &[U], value: Option<T>) -> bool {
        wanted.is_empty() || value.is_none_or(|value| wanted.iter().any(|it| *it == value))
    }
    let family = filter.family.is_none_or(|family| {
        let address = key.peer.address.or(key.local.address);
        address.is_none_or(|address| family.is_of(address))
    });
    family
        && filter.netns.is_none_or(|netns: NetnsId| netns == key.netns)
        && any(&filter.local_ports, key.local.port)
        && any(&filter.remote_ports, key.peer.port)
}
