//! Network namespaces that exist only as a descriptor: when the last process and the last
//! descriptor are gone the kernel removes them with their interfaces, rules and addresses, however
//! the test ended. Nothing is mounted and no name is taken.
//!
//! Invariant: no interface of a lab namespace leads outside the lab.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::panic;
use std::process::{self, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// One network namespace with its loopback up.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    inode: u64,
}

impl Netns {
    /// Makes one. Needs root.
    pub fn new() -> Result<Self> {
        let file = thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context(
                "cannot make a network namespace, so the lab cannot run; run the tests as root",
            )?;
            File::open("/proc/thread-self/ns/net").context("cannot open the new namespace")
        })
        .join()
        .unwrap_or_else(|panic| panic::resume_unwind(panic))?;
        let inode = file.metadata()?.ino();
        let netns = Self {
            fd: file.into(),
            inode,
        };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// Its number, as `/proc/PID/ns/net` shows it.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Does `work` on a thread inside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&self.fd, CloneFlags::CLONE_NEWNET)
                        .context("cannot enter the network namespace; run as root")?;
                    work()
                })
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let fd = self.fd.as_raw_fd();
        // SAFETY: between fork and exec only setns is called, which is async-signal-safe; the
        // descriptor is open until exec, because `Command` spawns while `self` may be borrowed no
        // longer, but the number was inherited at fork.
        unsafe {
            command.pre_exec(move || match libc::setns(fd, libc::CLONE_NEWNET) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        command
    }

    /// Runs iproute2's `ip` inside with the words of `arguments`.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        let mut command = self.command("ip");
        command.args(arguments.split_whitespace());
        run(command, &format!("ip {arguments}"))
    }

    /// Drops what matches the nftables expression `rule` when it arrives here, e.g.
    /// `tcp flags & fin == fin`. On the receiving side only: a drop on the sender's output would
    /// make the sending itself fail.
    pub fn drop_arriving(&self, rule: &str) -> Result<()> {
        self.nft(&format!(
            "table inet lab {{\nchain arriving {{\ntype filter hook input priority 0\n{rule} counter drop\n}}\n}}"
        ))
    }

    /// Forgets every rule.
    pub fn stop_dropping(&self) -> Result<()> {
        self.nft("flush ruleset")
    }

    /// Runs a script of `nft` inside.
    pub fn nft(&self, script: &str) -> Result<()> {
        let mut command = self.command("nft");
        command.arg(script);
        run(command, &format!("nft '{script}'"))
    }

    /// Sets e.g. `net.ipv4.tcp_syncookies` inside.
    pub fn sysctl(&self, name: &str, value: u32) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.inside(|| {
            File::options()
                .write(true)
                .open(&path)
                .and_then(|mut file| file.write_all(value.to_string().as_bytes()))
                .with_context(|| format!("cannot set {name} to {value}"))
        })
    }

    /// The kernel's `TcpExt` counters inside, by name.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>> {
        let text = self.inside(|| Ok(fs::read_to_string("/proc/thread-self/net/netstat")?))?;
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next(), lines.next());
        let (names, values) = names
            .zip(values)
            .context("/proc/net/netstat has no TcpExt lines")?;
        Ok(names
            .split_whitespace()
            .zip(values.split_whitespace())
            .skip(1)
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect())
    }

    /// Joins two namespaces by a cable with an address at each end; `prefix` is its length.
    pub fn join(&self, here: IpAddr, other: &Self, there: IpAddr, prefix: u8) -> Result<()> {
        let peer = format!("/proc/{}/fd/{}", process::id(), other.fd.as_raw_fd());
        self.ip(&format!(
            "link add lab0 type veth peer name lab0 netns {peer}"
        ))?;
        for (netns, address) in [(self, here), (other, there)] {
            // Duplicate address detection would hold the address back for a second.
            let nodad = if address.is_ipv6() { "nodad" } else { "" };
            netns.ip(&format!("address add {address}/{prefix} dev lab0 {nodad}"))?;
            netns.ip("link set lab0 up")?;
        }
        Ok(())
    }
}

/// A client's host and a server's, joined by a cable.
#[derive(Debug)]
pub struct TwoHosts {
    /// Where clients run.
    pub client: Netns,
    /// Where servers run.
    pub server: Netns,
    /// The client's addresses: the cable's own first.
    pub sources: Vec<IpAddr>,
    server_address: IpAddr,
}

impl TwoHosts {
    /// Over IPv4; the client has `sources` addresses.
    pub fn new(sources: u8) -> Result<Self> {
        let (client, server) = (Netns::new()?, Netns::new()?);
        let server_address = IpAddr::from([10, 77, 0, 1]);
        let sources: Vec<_> = (0..sources.max(1))
            .map(|number| IpAddr::from([10, 77, 1, number + 1]))
            .collect();
        client.join(sources[0], &server, server_address, 16)?;
        for address in &sources[1..] {
            client.ip(&format!("address add {address}/16 dev lab0"))?;
        }
        Ok(Self {
            client,
            server,
            sources,
            server_address,
        })
    }

    /// The option of a patient that is to listen for the client, on a port of its choice.
    pub fn listen_option(&self) -> String {
        format!("--listen {}:0", self.server_address)
    }

    /// A port of the server's, as the client sees it.
    pub fn server_at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.server_address, port)
    }
}

fn run(mut command: Command, what: &str) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{what}`; install iproute2 and nftables"))?;
    ensure!(
        output.status.success(),
        "`{what}` failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
