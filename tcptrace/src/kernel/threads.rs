//! What /proc tells of a process at the moment that a finding asks: what its threads are doing, and
//! how many descriptors it has left.

use std::fs;
use std::sync::Arc;

use tcptrace_core::input::ThreadState;
use tcptrace_core::units::{Fd, Pid, Tid};

/// Adds what the threads of `pid` are doing, lowest number first, until `most` are in `states`.
pub(crate) fn look(pid: Pid, most: usize, states: &mut Vec<ThreadState>) {
    let Ok(entries) = fs::read_dir(format!("/proc/{}/task", pid.0)) else {
        return; // It has exited.
    };
    // The kernel lists threads in ascending order, so that a process with ten thousand of them costs
    // no more than one with eight.
    for entry in entries.flatten() {
        if states.len() >= most {
            return;
        }
        let name = entry.file_name();
        let Some(tid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let task = entry.path();
        let Some(state) = fs::read(task.join("stat")).ok().and_then(state_letter) else {
            continue;
        };
        // "0" is a thread that runs, or a kernel that does not tell.
        let wait_channel = fs::read_to_string(task.join("wchan"))
            .ok()
            .filter(|function| !function.is_empty() && function != "0")
            .map(Arc::from);
        states.push(ThreadState {
            pid,
            tid: Tid(tid),
            state,
            wait_channel,
        });
    }
}

/// The third field of a `stat` file, after a name that may hold anything.
fn state_letter(stat: Vec<u8>) -> Option<char> {
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    stat.get(close + 2).map(|&letter| char::from(letter))
}

/// O_CLOEXEC, as /proc shows it on every architecture that we run on.
const CLOSES_ON_EXEC: u32 = 0o2_000_000;

/// Whether a descriptor of `pid` closes on exec. Nothing when it is gone. Only for sockets: of an
/// epoll instance this file takes its lock.
pub(crate) fn closes_on_exec(pid: Pid, fd: Fd) -> Option<bool> {
    let info = fs::read_to_string(format!("/proc/{}/fdinfo/{}", pid.0, fd.0)).ok()?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
    Some(flags & CLOSES_ON_EXEC != 0)
}

/// How many descriptors `pid` has open, and how many it may have. Nothing when it is gone.
pub(crate) fn descriptors(pid: Pid) -> Option<(u64, u64)> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid.0)).ok()?;
    Some((open_descriptors(pid)?, descriptor_limit(&limits)?))
}

fn open_descriptors(pid: Pid) -> Option<u64> {
    let directory = format!("/proc/{}/fd", pid.0);
    // From Linux 6.2 the directory's size is the answer; before it is 0.
    match fs::metadata(&directory).ok()?.len() {
        0 => Some(fs::read_dir(&directory).ok()?.count() as u64),
        open => Some(open),
    }
}

/// The soft limit; `unlimited` is more than anyone opens.
fn descriptor_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_stopped_process_is_seen_stopped() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid(child.id());
        let observe = || {
            let mut states = Vec::new();
            look(pid, 8, &mut states);
            states
        };
        let until = |letter| {
            for _ in 0..1000 {
                let states = observe();
                assert_eq!(states.len(), 1);
                assert_eq!((states[0].pid, states[0].tid), (pid, Tid(pid.0)));
                if states[0].state == letter {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            panic!("never {letter}: {:?}", observe());
        };
        until('S');
        // SAFETY: a child of ours that was not waited for, so the pid is still its.
        unsafe { libc::kill(child.id().cast_signed(), libc::SIGSTOP) };
        until('T');
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(observe(), []);
    }

    #[test]
    fn a_descriptor_that_closes_on_exec_is_told_from_one_that_does_not() {
        use std::os::fd::AsRawFd as _;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = socket.as_raw_fd();
        let look = || closes_on_exec(Pid(std::process::id()), Fd(fd.cast_unsigned()));
        assert_eq!(look(), Some(true));
        // SAFETY: the descriptor is open, and ours.
        unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
        assert_eq!(look(), Some(false));
        drop(socket);
    }

    #[test]
    fn threads_are_bounded() {
        let (quit, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        for _ in 0..20 {
            let wait = Arc::clone(&wait);
            std::thread::spawn(move || wait.lock().unwrap().recv());
        }
        let mut states = Vec::new();
        look(Pid(std::process::id()), 8, &mut states);
        assert_eq!(states.len(), 8);
        drop(quit);
    }

    #[test]
    fn descriptors_are_counted_against_their_limit() {
        let me = Pid(std::process::id());
        let (_, limit) = descriptors(me).unwrap();
        // Other tests open and close files meanwhile.
        let counted = (0..10).any(|_| {
            let (before, _) = descriptors(me).unwrap();
            let held: Vec<_> = (0..50).map(|_| fs::File::open("/").unwrap()).collect();
            let (after, _) = descriptors(me).unwrap();
            drop(held);
            after >= before + 30
        });
        assert!(counted, "fifty more were never seen");
        let mut rlimit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `rlimit` is a valid structure to write to.
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut rlimit) };
        assert_eq!(limit, rlimit.rlim_cur);
        assert_eq!(descriptors(Pid(u32::MAX)), None);
        assert_eq!(
            descriptor_limit("Max open files  unlimited 5 files"),
            Some(u64::MAX)
        );
    }
}
