//! The network namespaces of the host, and how to look into each: through a process that lives in
//! it, or through a mount that keeps it (`ip netns`, container runtimes).
//!
//! Invariant: nothing here keeps a namespace alive. An open descriptor of it would (a container's
//! interfaces would outlive it), so doors are paths, opened for one look and checked to lead to the
//! namespace that is meant. A namespace that only a socket keeps has no door and stays unseen.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use tcptrace_core::units::{NetnsId, Tid};

/// Namespaces looked after. A host with more of them has its counters read for these only.
pub(crate) const MAX_NAMESPACES: usize = 1024;

/// Where `ip netns` and the container runtimes mount namespaces.
const MOUNTS: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// A way into a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The agent is in it.
    Own,
    /// This task is in it.
    Task(Tid),
    /// It is mounted here.
    Mount(PathBuf),
}

impl Door {
    fn path(&self) -> PathBuf {
        match self {
            Self::Own => "/proc/self/ns/net".into(),
            Self::Task(task) => format!("/proc/{}/ns/net", task.0).into(),
            Self::Mount(path) => path.clone(),
        }
    }

    /// Whether the door still leads into `netns`.
    pub(crate) fn leads_to(&self, netns: NetnsId) -> bool {
        identify(&self.path()).is_ok_and(|(_, id)| id == netns)
    }

    /// Opens the namespace, to be entered and closed at once.
    pub(crate) fn open(&self, netns: NetnsId) -> io::Result<File> {
        let file = File::open(self.path())?;
        if NetnsId(truncate(file.metadata()?.ino())) != netns {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        Ok(file)
    }

    /// Runs `look` inside `netns`, on a thread of its own that enters it and ends there: a thread
    /// that returned could fail to, and read the wrong namespace ever after.
    pub(crate) fn enter<T: Send>(
        &self,
        netns: NetnsId,
        look: impl FnOnce() -> T + Send,
    ) -> io::Result<T> {
        let file = self.open(netns)?;
        if *self == Self::Own {
            return Ok(look());
        }
        thread::scope(|scope| {
            thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, move || {
                    // SAFETY: setns takes a descriptor, which `file` keeps open, and changes the
                    // network namespace of this thread alone.
                    if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                        return Err(io::Error::last_os_error());
                    }
                    drop(file);
                    Ok(look())
                })?
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// The device and number of the namespace behind a path.
fn identify(path: &Path) -> io::Result<(u64, NetnsId)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), NetnsId(truncate(metadata.ino()))))
}

/// The kernel numbers namespaces with 32 bits.
fn truncate(inode: u64) -> u32 {
    u32::try_from(inode).unwrap_or(0)
}

/// The agent's own namespace.
#[cfg(test)]
pub(crate) fn own() -> io::Result<NetnsId> {
    identify(&Door::Own.path()).map(|(_, id)| id)
}

/// Every namespace that can be found, with a door into it, and how many more there were than
/// [`MAX_NAMESPACES`]. Looks at every process: about 3 µs each.
pub(crate) fn discover() -> io::Result<(BTreeMap<NetnsId, Door>, u64)> {
    let mut found = BTreeMap::new();
    let mut left_out = 0;
    let (device, own) = identify(&Door::Own.path())?;
    found.insert(own, Door::Own);
    let mut meet = |door: Door| {
        // Unmounted, the files of `ip netns` are plain ones, with inode numbers of their own.
        if let Ok((on, netns)) = identify(&door.path())
            && on == device
            && !found.contains_key(&netns)
        {
            if found.len() < MAX_NAMESPACES {
                found.insert(netns, door);
            } else {
                left_out += 1;
            }
        }
    };
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            meet(Door::Task(Tid(pid)));
        }
    }
    for mounts in MOUNTS {
        // No such directory, no mounts.
        for entry in fs::read_dir(mounts).into_iter().flatten().flatten() {
            meet(Door::Mount(entry.path()));
        }
    }
    Ok((found, left_out))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process in a network namespace of its own, until dropped.
    pub(crate) struct Tenant {
        child: Child,
        pub(crate) netns: NetnsId,
    }

    impl Tenant {
        pub(crate) fn new() -> Self {
            let child = Command::new("unshare")
                .args(["--net", "sh", "-c", "ip link set lo up; echo up; read stop"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("`unshare` starts");
            let mut tenant = Self {
                child,
                netns: NetnsId(0),
            };
            let mut line = String::new();
            let stdout = tenant.child.stdout.as_mut().unwrap();
            io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).unwrap();
            assert_eq!(line, "up\n", "tests of namespaces need root and iproute2");
            tenant.netns = identify(&tenant.door().path()).unwrap().1;
            assert_ne!(tenant.netns, own().unwrap());
            tenant
        }

        pub(crate) fn door(&self) -> Door {
            Door::Task(Tid(self.child.id()))
        }
    }

    impl Drop for Tenant {
        fn drop(&mut self) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }

    #[test]
    fn a_namespace_is_found_entered_and_forgotten() {
        let tenant = Tenant::new();
        let netns = tenant.netns;
        let (found, _) = discover().unwrap();
        assert_eq!(found.get(&own().unwrap()), Some(&Door::Own));
        assert_eq!(found.get(&netns), Some(&tenant.door()));
        let inside = tenant
            .door()
            .enter(netns, || identify(Path::new("/proc/thread-self/ns/net")))
            .unwrap();
        assert_eq!(inside.unwrap().1, netns);
        assert_ne!(own().unwrap(), netns, "only the visiting thread moved");

        let door = tenant.door();
        drop(tenant);
        assert!(!door.leads_to(netns));
        assert!(door.enter(netns, || ()).is_err());
        assert!(!discover().unwrap().0.contains_key(&netns));
    }

    #[test]
    fn a_door_into_another_namespace_is_refused() {
        assert!(Door::Own.enter(NetnsId(1), || ()).is_err());
    }
}
