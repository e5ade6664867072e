//! The one file that asks the clock. Everything else is given a [`MonoNs`].
//!
//! Three clocks matter: CLOCK_MONOTONIC stamps the kernel's records (`bpf_ktime_get_ns`),
//! CLOCK_REALTIME is what people read, and CLOCK_BOOTTIME (monotonic plus time spent suspended) is
//! what `/proc/PID/stat` tells start times in.

use std::time::Duration;

use tcptrace_core::units::{MonoNs, WallNs};

/// Now, on the clock of the kernel's records.
pub(crate) fn now() -> MonoNs {
    MonoNs(u64::try_from(read(libc::CLOCK_MONOTONIC)).unwrap_or(0))
}

/// Now, on the wall clock.
pub(crate) fn wall() -> WallNs {
    WallNs(read(libc::CLOCK_REALTIME))
}

/// How far the wall clock is ahead of the monotonic one, in nanoseconds. Steps when the wall clock
/// is set.
pub(crate) fn wall_ahead() -> i64 {
    // Between two readings of the one, the other is right to half their distance.
    let before = read(libc::CLOCK_MONOTONIC);
    let wall = read(libc::CLOCK_REALTIME);
    let after = read(libc::CLOCK_MONOTONIC);
    wall - (before + (after - before) / 2)
}

/// How far the boot clock is ahead of the monotonic one: the time spent suspended.
pub(crate) fn boot_ahead() -> Duration {
    let mono = read(libc::CLOCK_MONOTONIC);
    let ahead = read(libc::CLOCK_BOOTTIME).saturating_sub(mono);
    Duration::from_nanos(u64::try_from(ahead).unwrap_or(0))
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write to. These three clocks exist on every kernel that
    // can be traced, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_agree() {
        let before = now();
        let (wall, ahead) = (wall(), wall_ahead());
        let after = now();
        let mono = u64::try_from(wall.0 - ahead).unwrap();
        let slack = 50_000_000; // a busy machine may suspend the test between two readings
        assert!(mono + slack >= before.0 && mono <= after.0 + slack);
    }
}
