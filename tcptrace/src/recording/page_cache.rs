//! Keeping a recording out of the host's page cache.
//!
//! What is recorded is not read again on this host, so every page that it keeps in memory is one that
//! the patient loses, at a hundred megabytes a second under saturation. Besides, a page that was just
//! given back is still in the processor's caches (and, in a virtual machine, still backed by the
//! hypervisor): writing into it costs a fraction of what writing into a new one does.
//!
//! Invariant: this is advice to the kernel. It waits for no disk, and what it fails to do costs time
//! and nothing else.

use std::fs::File;
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};

/// How much is written between two pieces of advice: enough for a system call to cost nothing.
const STEP: u64 = 4 << 20;

/// How far back each piece of advice reaches. The first one about a page starts its way to the disk,
/// a later one finds it there and lets go of it. A disk that takes longer keeps its pages in memory,
/// as without the advice.
const REACH: u64 = 4 * STEP;

/// How far the advice has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PageCache {
    advised: u64,
}

impl PageCache {
    /// `written` bytes are in the file by now.
    pub(super) fn wrote(&mut self, file: &File, written: u64) {
        if written < self.advised + STEP {
            return;
        }
        self.advised = written;
        let from = written.saturating_sub(REACH);
        if let Some(length) = NonZeroU64::new(written - from)
            && let Err(error) = fadvise(file, from, Some(length), Advice::DontNeed)
        {
            tracing::debug!(%error, "cannot keep the recording out of the page cache");
        }
    }
}
