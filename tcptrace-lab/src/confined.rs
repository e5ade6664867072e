//! Processes that may do less, or see less, than root on the host: as nobody with chosen capabilities,
//! in a container's pid namespace, with a /proc that hides other users' processes.
//!
//! Each function adds a step that the new process takes between fork and exec, in the order of the
//! calls; what is confined there concerns that process and its children alone.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

/// A capability, by its number in `include/uapi/linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(pub u32);

const NOBODY: libc::c_uint = 65534;

impl Capability {
    /// Whether this process has it: root may lack some in a sandbox, and cannot give what it lacks.
    pub fn is_ours(self) -> bool {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("CapPrm:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.unwrap_or(0) >> self.0 & 1 == 1
    }
}

/// The command will run as nobody, with those of these capabilities that are ours to give, and no other.
pub fn as_nobody(command: &mut Command, capabilities: &[Capability]) {
    let given = capabilities.iter().filter(|it| it.is_ours());
    let mask = given.fold(0_u64, |mask, it| mask | 1 << it.0);
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(move || become_nobody(mask)) };
}

fn become_nobody(mask: u64) -> io::Result<()> {
    // SAFETY: system calls on this process, whose structures outlive them.
    unsafe {
        done(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
        // By number: the C library's own functions would look for other threads.
        called(libc::syscall(
            libc::SYS_setgroups,
            0,
            ptr::null::<libc::gid_t>(),
        ))?;
        called(libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY))?;
        called(libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY))?;
        // `struct __user_cap_header_struct`, version 3, of this process; then effective, permitted and
        // inheritable, of which each has a lower and an upper half.
        let header = [0x2008_0522_u32, 0];
        let (low, high) = (mask as u32, (mask >> 32) as u32);
        let sets = [low, low, low, high, high, high];
        called(libc::syscall(
            libc::SYS_capset,
            header.as_ptr(),
            sets.as_ptr(),
        ))?;
        for number in (0..64_u64).filter(|number| mask >> number & 1 == 1) {
            done(libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE,
                number,
                0,
                0,
            ))?;
        }
    }
    Ok(())
}

/// The command will find no type information of the kernel, as on one built without it.
pub fn without_btf(command: &mut Command) {
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(|| {
            private_mounts()?;
            let (kind, btf) = (c"tmpfs".as_ptr(), c"/sys/kernel/btf".as_ptr());
            done(libc::mount(kind, btf, kind, 0, ptr::null()))
        });
    }
}

/// The command will see a /proc of its own, which hides the processes of other users.
pub fn with_hidden_processes(command: &mut Command) {
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(|| mount_proc(Some(c"hidepid=2"))) };
}

/// The command will be the first process of a pid namespace, with a /proc that shows that namespace.
/// Its standard streams, its end and its exit status are those of the process that is started.
pub fn in_pid_namespace(command: &mut Command) {
    // SAFETY: between fork and exec only system calls are made; the process has one thread, so that
    // fork is safe there.
    unsafe {
        command.pre_exec(|| {
            done(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            done(libc::unshare(libc::CLONE_NEWPID))?;
            match libc::fork() {
                0 => {
                    done(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
                    mount_proc(None)
                }
                -1 => Err(io::Error::last_os_error()),
                child => {
                    // Whoever starts us waits for the end of a pipe that exec would close here.
                    called(libc::syscall(
                        libc::SYS_close_range,
                        3,
                        libc::c_uint::MAX,
                        0,
                    ))?;
                    let mut status = 0;
                    while libc::waitpid(child, &raw mut status, 0) == -1 {}
                    let code = match libc::WIFEXITED(status) {
                        true => libc::WEXITSTATUS(status),
                        false => 128 + libc::WTERMSIG(status),
                    };
                    libc::_exit(code)
                }
            }
        });
    }
}

/// In a mount namespace of this process alone.
fn mount_proc(options: Option<&'static CStr>) -> io::Result<()> {
    let nothing = ptr::null();
    let options = options.map_or(nothing, CStr::as_ptr);
    private_mounts()?;
    let (kind, proc) = (c"proc".as_ptr(), c"/proc".as_ptr());
    // SAFETY: the strings end with a zero, and what is null may be.
    unsafe { done(libc::mount(kind, proc, kind, 0, options.cast())) }
}

fn private_mounts() -> io::Result<()> {
    let (root, null) = (c"/".as_ptr(), ptr::null());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the string ends with a zero, and what is null may be.
    unsafe {
        done(libc::unshare(libc::CLONE_NEWNS))?;
        done(libc::mount(null, root, null, private, null.cast()))
    }
}

fn done(result: libc::c_int) -> io::Result<()> {
    called(result.into())
}

fn called(result: libc::c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
