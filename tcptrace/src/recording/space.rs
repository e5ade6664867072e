//! How much space a recording leaves to others. An incident is no time to fill a disk.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::StatVfs;

use super::failure::RecordError;

/// The recording stops when less space is free than this or 5 % of the file system, whichever is
/// less. 5 % alone would stop at 100 GB free on a large disk; 1 GiB alone would never start on a
/// small one.
const FREE_BYTES: u64 = 1 << 30;
const FREE_SHARE: u64 = 20;

/// The error of a directory whose file system is nearly full. One that does not tell is not held
/// back.
pub(super) fn low_at(directory: &Path, name: &str) -> Option<RecordError> {
    judge(rustix::fs::statvfs(directory).ok()?, name)
}

/// The same of an open file.
pub(super) fn low_under(file: impl AsFd, name: &str) -> Option<RecordError> {
    judge(rustix::fs::fstatvfs(file).ok()?, name)
}

/// Free and reserved MiB of an open file's file system, when it will soon be nearly full.
pub(super) fn filling_under(file: impl AsFd) -> Option<(u64, u64)> {
    let stat = rustix::fs::fstatvfs(file).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let floor = floor(stat.f_blocks.saturating_mul(stat.f_frsize));
    (free < 2 * floor).then(|| (free >> 20, floor.div_ceil(1 << 20)))
}

fn judge(stat: StatVfs, name: &str) -> Option<RecordError> {
    // What ordinary users may still take: root's reserve is not ours.
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    let floor = floor(total);
    (free < floor).then(|| RecordError::LowSpace {
        name: name.to_owned(),
        free_mib: free >> 20,
        floor_mib: floor.div_ceil(1 << 20),
    })
}

fn floor(total: u64) -> u64 {
    (total / FREE_SHARE).min(FREE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesser_of_both_limits_counts() {
        let gib = 1 << 30;
        assert_eq!(floor(2000 * gib), gib);
        assert_eq!(floor(10 * gib), gib / 2);
        assert_eq!(floor(0), 0, "a file system that does not know its size");
    }
}
