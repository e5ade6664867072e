//! The close look at suspect sockets: one scan of descriptors for all of them, one peek for all of
//! them, and what the holders' threads are doing.
//!
//! An answer is given only when the socket still lives and nothing was reported of it since: between
//! scan, peek and answer the ring is drained, and what overtakes a look makes it worthless. The
//! engine asks again.

use rustc_hash::FxHashMap;
use tcptrace_core::decode::{RawPeek, SockAddress};
use tcptrace_core::input::{Holder, HolderScan, Input, Inspection, ThreadState};
use tcptrace_core::units::{Pid, SockId};

use super::{Kernel, clock, threads};

/// Holders told of one socket.
const MAX_HOLDERS: usize = 16;

/// Threads told of one socket's holders.
const MAX_THREADS: usize = 8;

/// Sockets of one batch whose holders are asked for CLOEXEC: a file of /proc for each, and findings
/// show one proof.
const MAX_FLAGS: usize = 64;

/// Who was found holding the suspects.
#[derive(Debug, Default)]
struct Found {
    complete: bool,
    by_socket: FxHashMap<SockAddress, Place>,
}

/// Where a socket was found.
#[derive(Debug, Default)]
struct Place {
    holders: Vec<Holder>,
    /// In the accept queue of this listener.
    listener: Option<SockAddress>,
}

/// Tells which of the holders' descriptors close on exec.
fn tell_flags(inspection: &mut Inspection, left: &mut usize) {
    if let Some(scan) = inspection.holders.as_mut().filter(|_| *left > 0) {
        *left -= 1;
        for holder in &mut scan.holders {
            holder.cloexec = threads::closes_on_exec(holder.pid, holder.fd);
        }
    }
}

impl Kernel {
    /// Looks at every suspect; with `scan` also for who holds them.
    pub(super) fn inspect(&mut self, suspects: Vec<SockId>, scan: bool, sink: &mut Vec<Input>) {
        let identities = &self.edge.identities;
        let wanted: FxHashMap<SockAddress, SockId> = suspects
            .into_iter()
            .filter_map(|sock| Some((identities.address(sock)?, sock)))
            .collect();
        let found = scan.then(|| self.find_holders(&wanted)).flatten();
        let mut addresses: Vec<_> = wanted.iter().map(|(at, sock)| (*sock, at.0)).collect();
        addresses.sort_unstable();
        let addresses: Vec<_> = addresses.into_iter().map(|(_, address)| address).collect();
        let mut answers = Vec::with_capacity(addresses.len());
        if let Err(error) = self
            .probes
            .peek(&addresses, &mut |answer: RawPeek| answers.push(answer))
        {
            tracing::warn!("{error}");
        }
        self.drain_to(clock::now(), sink);

        let mut doings = FxHashMap::default();
        let mut flags_left = MAX_FLAGS;
        let mut inspections: Vec<_> = answers
            .into_iter()
            .filter_map(|answer| {
                let sock = *wanted.get(&answer.key.sock)?;
                let mut inspection = self.inspection(sock, answer, found.as_ref(), &mut doings)?;
                tell_flags(&mut inspection, &mut flags_left);
                Some(inspection)
            })
            .collect();
        inspections.sort_by_key(|it| it.key.sock);
        for inspection in inspections {
            for holder in inspection.holders.iter().flat_map(|scan| &scan.holders) {
                self.edge.meet_holder(holder.pid, inspection.at, sink);
            }
            sink.push(Input::Inspection(inspection));
        }
    }

    fn find_holders(&mut self, wanted: &FxHashMap<SockAddress, SockId>) -> Option<Found> {
        let mut found = Found::default();
        let mut cut = false;
        let end = self.probes.descriptors(&mut |row| {
            cut |= row.cut;
            if wanted.contains_key(&row.key.sock) {
                let place = found.by_socket.entry(row.key.sock).or_default();
                place.holders.extend(row.holder);
                place.listener = place.listener.or(row.listener);
            }
        });
        match end {
            Ok(end) => {
                found.complete = end.complete && !cut;
                Some(found)
            }
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }

    fn inspection(
        &mut self,
        sock: SockId,
        answer: RawPeek,
        found: Option<&Found>,
        doings: &mut FxHashMap<Pid, Vec<ThreadState>>,
    ) -> Option<Inspection> {
        let key = self.edge.identities.peeked(sock, &answer)?;
        let place = found.and_then(|found| found.by_socket.get(&answer.key.sock));
        let listener = place
            .and_then(|place| place.listener)
            .and_then(|address| self.edge.identities.living(address));
        let holders = found.map(|found| {
            let mut holders = place.map_or(Vec::new(), |place| place.holders.clone());
            holders.sort_unstable();
            holders.truncate(MAX_HOLDERS);
            HolderScan {
                complete: found.complete,
                holders,
            }
        });
        let mut threads = Vec::new();
        let mut last = None;
        for holder in holders.iter().flat_map(|scan| &scan.holders) {
            // Sorted by process, which may hold several descriptors.
            if last.replace(holder.pid) != Some(holder.pid) && threads.len() < MAX_THREADS {
                let of_process = doings.entry(holder.pid).or_insert_with(|| {
                    let mut states = Vec::new();
                    threads::look(holder.pid, MAX_THREADS, &mut states);
                    states
                });
                threads.extend_from_slice(of_process);
                threads.truncate(MAX_THREADS);
            }
        }
        Some(Inspection {
            at: answer.at,
            key,
            state: answer.state,
            unread: answer.unread,
            unacked: answer.unacked,
            bytes_acked: answer.bytes_acked,
            has_socket: answer.has_socket,
            dead: answer.dead,
            file_refs: answer.file_refs,
            shutdown: answer.shutdown,
            special_reader: answer.special_reader,
            waiters: answer.waiters,
            idle: answer.idle,
            holders,
            listener,
            threads,
            sending: answer.sending,
        })
    }
}
