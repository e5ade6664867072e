//! What `doctor` finds out about the host without any probe, and what it makes happen to see probes at
//! work. Everything here is read, but for a few connections of our own on the loopback.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use super::capabilities::{self, Capabilities, Capability};
use super::{btf, process};

/// The host, as far as tracing depends on it.
#[derive(Clone, Debug)]
pub(crate) struct Checkup {
    /// `uname -r`.
    pub(crate) kernel: String,
    /// `uname -v`: how it was built, and whether it is preemptible.
    pub(crate) build: String,
    /// Of the agent, which is the kernel's but for an emulated binary.
    pub(crate) arch: &'static str,
    /// Size of the kernel's type information, or why there is none.
    pub(crate) btf: Result<u64, String>,
    /// `none`, `integrity` or `confidentiality`; nothing where the kernel does not tell.
    pub(crate) lockdown: Option<String>,
    /// Each capability that matters, and whether it is held.
    pub(crate) capabilities: Vec<(Capability, bool)>,
    /// Whether they count for the host.
    pub(crate) host_user_namespace: bool,
    /// Whether processes are seen under the numbers that the kernel reports.
    pub(crate) host_pid_namespace: bool,
    /// The option by which /proc hides other users' processes, if it does.
    pub(crate) hidepid: Option<String>,
    /// RLIMIT_MEMLOCK in bytes, soft; nothing is unlimited. It counts up to Linux 5.10.
    pub(crate) memlock: Option<u64>,
}

impl Checkup {
    /// Reads everything now.
    pub(crate) fn read() -> Self {
        let line = |path: &str| {
            fs::read_to_string(path).map_or_else(|_| String::new(), |it| it.trim_end().to_owned())
        };
        let held = Capabilities::of_this_thread();
        Self {
            kernel: line("/proc/sys/kernel/osrelease"),
            build: line("/proc/sys/kernel/version"),
            arch: std::env::consts::ARCH,
            btf: fs::metadata(btf::PATH)
                .map(|it| it.len())
                .map_err(|error| error.to_string()),
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown")
                .ok()
                .and_then(|text| chosen(&text)),
            capabilities: Capability::ALL.map(|it| (it, held.has(it))).to_vec(),
            host_user_namespace: capabilities::in_the_hosts_user_namespace(),
            host_pid_namespace: process::in_initial_pid_namespace(),
            hidepid: fs::read_to_string("/proc/self/mountinfo")
                .ok()
                .and_then(|mounts| hidepid(&mounts)),
            memlock: memlock(),
        }
    }
}

/// The word in brackets: `none [integrity] confidentiality`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// The value of `hidepid` of the mount that is seen as /proc, the last one there; 0 hides nothing.
fn hidepid(mounts: &str) -> Option<String> {
    let mount = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some("/proc"))?;
    let options = mount.rsplit(' ').next()?;
    let value = options
        .split(',')
        .find_map(|option| option.strip_prefix("hidepid="))?;
    (!matches!(value, "0" | "off")).then(|| value.to_owned())
}

/// RLIMIT_MEMLOCK in bytes, where there is a limit.
pub(super) fn memlock() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure outlives the call.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (got == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// How many connections the exercise makes: enough for a mean of the time that probes take.
const CONNECTIONS: usize = 50;

/// After a second a SYN and a SYN-ACK are repeated.
const FIRST_TIMEOUT: Duration = Duration::from_millis(1300);

/// Makes everything happen that a probe is attached to: connections, one refused, a queue that
/// overflows, a SYN and a SYN-ACK that are repeated, the end of a process. Takes a second and a half.
pub(crate) fn exercise() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    for _ in 0..CONNECTIONS {
        let client = TcpStream::connect_timeout(&address, FIRST_TIMEOUT)?;
        drop(listener.accept()?);
        drop(client);
    }
    // A host without IPv6 has no use for the probes that this is for.
    if let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        let client = TcpStream::connect_timeout(&listener.local_addr()?, FIRST_TIMEOUT)?;
        drop(listener.accept()?);
        drop(client);
    }
    // Unread data makes the close a reset, which the other end receives.
    let mut client = TcpStream::connect_timeout(&address, FIRST_TIMEOUT)?;
    let (server, _) = listener.accept()?;
    io::Write::write_all(&mut client, b"unread")?;
    drop(server);
    drop(client);

    let deferring = listen(8)?;
    set(&deferring, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 1)?;
    let silent = TcpStream::connect_timeout(&deferring.local_addr()?, FIRST_TIMEOUT)?;
    let full = listen(0)?;
    let to: SocketAddr = full.local_addr()?;
    let first = TcpStream::connect_timeout(&to, FIRST_TIMEOUT)?;
    // It waits for the timeout of its SYN, and so do we; that it fails is what it is for.
    let _ = TcpStream::connect_timeout(&to, FIRST_TIMEOUT);
    drop((first, silent));
    // A program that is everywhere: ourselves.
    let _ = std::process::Command::new("/proc/self/exe")
        .arg("--version")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    Ok(())
}

fn listen(backlog: libc::c_int) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // SAFETY: a listening socket that we own; listen only changes its backlog.
    match unsafe { libc::listen(listener.as_raw_fd(), backlog) } {
        0 => Ok(listener),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(listener: &TcpListener, level: i32, option: i32, value: libc::c_int) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    let pointer = (&raw const value).cast();
    // SAFETY: the value outlives the call and has the size given.
    match unsafe { libc::setsockopt(listener.as_raw_fd(), level, option, pointer, size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read() {
        let it = Checkup::read();
        assert!(!it.kernel.is_empty() && it.btf.is_ok_and(|size| size > 100_000));
        assert_eq!(it.capabilities.len(), Capability::ALL.len());
    }

    #[test]
    fn lockdown_and_hidden_processes_are_read() {
        let lockdown = |text| chosen(text);
        assert_eq!(
            lockdown("[none] integrity confidentiality\n").as_deref(),
            Some("none")
        );
        assert_eq!(
            lockdown("none integrity [confidentiality]").as_deref(),
            Some("confidentiality")
        );
        assert_eq!(lockdown(""), None);
        let mounts = |options| {
            format!(
                "22 1 0:21 / /proc rw,nosuid - proc proc rw,{options}\n\
                 23 1 0:22 / /sys rw - sysfs sysfs rw\n"
            )
        };
        assert_eq!(
            hidepid(&mounts("hidepid=invisible,gid=4")).as_deref(),
            Some("invisible")
        );
        assert_eq!(hidepid(&mounts("hidepid=2")).as_deref(), Some("2"));
        assert_eq!(hidepid(&mounts("hidepid=0")), None);
        assert_eq!(hidepid(&mounts("relatime")), None);
        assert_eq!(hidepid(""), None);
    }
}
