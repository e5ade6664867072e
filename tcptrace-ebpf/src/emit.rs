//! Puts records into the event ring, wakes the reader sparingly, counts what did not fit.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use tcptrace_common::record::{Event, Head, KINDS, Kind, V4, V6};

use crate::filter;
use crate::layout::{Memory, at};
use crate::sock::Identity;

/// The agent sets the size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

/// Indexed by [`Kind`].
#[map]
static FAILED: PerCpuArray<u64> = PerCpuArray::with_max_entries(KINDS, 0);

/// The fill level, in bytes, at which the reader is woken. The agent sets a quarter of the ring.
#[unsafe(no_mangle)]
static WAKE_LEVEL: u64 = u64::MAX;

/// Only records that cross the level wake the reader: a wakeup for each would halve the throughput.
/// The window is wider than one record, as several CPUs may cross it together and none see itself
/// at the edge.
const WAKE_WINDOW: u64 = 2048;

/// Who emits a record.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Player {
    #[default]
    First,
    Understudy,
}

impl Player {
    /// As records say it.
    #[inline(always)]
    pub(crate) fn flag(self) -> u16 {
        match self {
            Self::First => 0,
            Self::Understudy => tcptrace_common::record::flag::UNDERSTUDY,
        }
    }
}

/// Reserves, fills and submits one record.
#[inline(always)]
pub(crate) fn record<T: 'static>(kind: Kind, fill: impl FnOnce(*mut T)) {
    record_as(Player::First, kind, fill);
}

/// As [`record`]. What an understudy finds no room for, the kernel has counted already when it skipped
/// the first program; a second count would make the loss larger than it was. With a filter that count
/// says nothing, as it also contains what the filter keeps out.
#[inline(always)]
pub(crate) fn record_as<T: 'static>(player: Player, kind: Kind, fill: impl FnOnce(*mut T)) {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        if player == Player::First || filter::active() {
            count_failure(kind);
        }
        return;
    };
    fill(entry.as_mut_ptr());
    // SAFETY: a static is readable; volatile, as the agent changes it in the object.
    let level = unsafe { (&raw const WAKE_LEVEL).read_volatile() };
    let beyond = EVENTS
        .query(u64::from(BPF_RB_AVAIL_DATA))
        .wrapping_sub(level);
    entry.submit(u64::from(if beyond < WAKE_WINDOW {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    }));
}

#[inline(always)]
fn count_failure(kind: Kind) {
    if let Some(count) = FAILED.get_ptr_mut(kind as u32) {
        // SAFETY: the slot is this CPU's. An interrupt between load and store may cost one count.
        unsafe { *count = (*count).wrapping_add(1) };
    }
}

/// What the head of an event says beside time, kind and identity.
#[derive(Clone, Copy, Default)]
pub(crate) struct About {
    pub(crate) sock: u64,
    pub(crate) file_refs: u8,
    pub(crate) flags: u16,
    pub(crate) pid: u32,
    pub(crate) player: Player,
}

/// Emits an event about a socket that `M` reads at `sk`, if the filter lets it pass.
#[inline(always)]
pub(crate) fn event<M: Memory, B: Copy + 'static>(
    kind: Kind,
    sk: *const u8,
    identity: &Identity,
    about: About,
    body: B,
) {
    if !filter::passes(identity) {
        return;
    }
    let player = about.player;
    if identity.v6 {
        let (local, peer) = (at!(skc_v6_rcv_saddr), at!(skc_v6_daddr));
        record_as::<Event<B, V6>>(player, kind, |it| {
            // SAFETY: the ring handed out room for one record.
            unsafe {
                head(
                    &raw mut (*it).head,
                    kind,
                    identity,
                    about,
                    tcptrace_common::record::flag::V6,
                );
                (*it).body = body;
                (*it).addresses = V6 {
                    local: M::get(sk, local),
                    peer: M::get(sk, peer),
                };
            }
        });
    } else {
        record_as::<Event<B, V4>>(player, kind, |it| {
            // SAFETY: the ring handed out room for one record.
            unsafe {
                head(&raw mut (*it).head, kind, identity, about, 0);
                (*it).body = body;
                (*it).addresses = V4 {
                    local: M::get(sk, at!(skc_rcv_saddr)),
                    peer: M::get(sk, at!(skc_daddr)),
                };
            }
        });
    }
}

/// Fills a head.
///
/// # Safety
///
/// `it` points to room for a head.
#[inline(always)]
pub(crate) unsafe fn head(it: *mut Head, kind: Kind, identity: &Identity, about: About, more: u16) {
    // SAFETY: the caller's promise; the helper has no preconditions.
    unsafe {
        *it = Head {
            at_ns: bpf_ktime_get_ns(),
            sock: about.sock,
            kind: kind as u8,
            file_refs: about.file_refs,
            flags: about.flags | more,
            netns: identity.netns,
            local_port: identity.local_port,
            peer_port: identity.peer_port,
            pid: about.pid,
        };
    }
}
