//! The event ring: waiting for it, emptying it, and counting what did not fit.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use tcptrace_common::record::Kind;
use tcptrace_core::decode::{self, DecodeError, Hz, Raw};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The consuming end of the ring.
pub(super) struct Ring {
    records: RingBuf<MapData>,
    failed: PerCpuArray<MapData, u64>,
    /// Made at the first wait, which is the first thing that needs a runtime.
    readiness: Option<AsyncFd<OwnedFd>>,
    /// The last drain stopped at its limit: the rest will not wake us again.
    more: bool,
}

impl Ring {
    pub(super) fn new(records: RingBuf<MapData>, failed: PerCpuArray<MapData, u64>) -> Self {
        Self {
            records,
            failed,
            readiness: None,
            more: false,
        }
    }

    /// Returns when the ring filled up to a quarter, or at once when records were left behind. Never
    /// returns when the ring cannot be waited for: the caller's interval drains it then.
    pub(super) async fn ready(&mut self) {
        if self.more {
            return;
        }
        if self.readiness.is_none() {
            let fd = self.records.as_fd().try_clone_to_owned();
            let made = fd.and_then(|fd| {
                // SAFETY: the descriptor is owned by what is made here, and stays open with it.
                unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }
                    .map_err(std::io::Error::from)
            });
            match made {
                Ok(readiness) => self.readiness = Some(readiness),
                Err(error) => {
                    tracing::warn!(%error, "cannot wait for the ring; it is drained by the clock");
                }
            }
        }
        let Some(readiness) = &self.readiness else {
            return std::future::pending().await;
        };
        match readiness.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            Err(error) => {
                tracing::warn!(%error, "cannot wait for the ring; it is drained by the clock");
                std::future::pending().await
            }
        }
    }

    /// Decodes at most `max` records.
    pub(super) fn drain(
        &mut self,
        max: usize,
        hz: Hz,
        sink: &mut dyn FnMut(Result<Raw, DecodeError>),
    ) -> usize {
        let mut count = 0;
        while count < max {
            let Some(record) = self.records.next() else {
                self.more = false;
                return count;
            };
            sink(decode::event(&record, hz));
            count += 1;
        }
        self.more = true;
        count
    }

    /// Running totals of records that found no room.
    pub(super) fn failed(&self) -> Vec<(Kind, u64)> {
        Kind::ALL
            .into_iter()
            .filter_map(|kind| {
                let per_cpu = self.failed.get(&(kind as u32), 0).ok()?;
                let total: u64 = per_cpu.iter().sum();
                (total > 0).then_some((kind, total))
            })
            .collect()
    }
}
