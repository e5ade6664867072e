//! Tracepoints of the classic kind are found through tracefs. Where nobody mounted it, it is mounted
//! in a mount namespace of a short-lived thread of ours, so that nothing is left behind.

use std::ffi::CStr;
use std::io;
use std::path::Path;

/// Runs `work` where tracefs is mounted, on this thread or on one that mounts it for itself.
///
/// The error says why there is no tracefs: the probe that wanted it is then missing.
pub(super) fn with<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    if is_mounted() {
        return Ok(work());
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            mount_privately()?;
            Ok(work())
        });
        thread
            .join()
            .unwrap_or_else(|_| Err("the thread that mounted tracefs panicked".to_owned()))
    })
}

/// The places where aya looks, too.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

fn is_mounted() -> bool {
    PLACES
        .iter()
        .any(|place| Path::new(place).join("events").exists())
}

fn mount_privately() -> Result<(), String> {
    let said = |what: &str| {
        let error = io::Error::last_os_error();
        format!(
            "tracefs is not mounted, and {what}: {error}; run `mount -t tracefs tracefs /sys/kernel/tracing`"
        )
    };
    // SAFETY: it concerns this thread only, which ends after the work.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(said("a mount namespace cannot be made"));
    }
    // Mounts of the host shall arrive here, and ours shall not travel back.
    mount(c"none", c"/", None, libc::MS_REC | libc::MS_SLAVE)
        .map_err(|()| said("the mounts cannot be made private"))?;
    let read_only = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(
        c"tracefs",
        c"/sys/kernel/tracing",
        Some(c"tracefs"),
        read_only,
    )
    .map_err(|()| said("it cannot be mounted"))
}

fn mount(source: &CStr, place: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> Result<(), ()> {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the strings end with a zero, and the last argument may be null.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            place.as_ptr(),
            kind,
            flags,
            std::ptr::null(),
        )
    };
    if result == 0 { Ok(()) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracefs_is_there_and_leaves_no_trace() {
        let before = std::fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
        let id = with(|| {
            std::fs::read_to_string("/sys/kernel/tracing/events/syscalls/sys_exit_accept4/id")
        });
        let id = id
            .expect("tests run as root")
            .expect("the tracepoint exists");
        assert!(id.trim().parse::<u32>().is_ok_and(|id| id > 0), "{id}");
        let after = std::fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
        assert_eq!(before, after);
    }
}
