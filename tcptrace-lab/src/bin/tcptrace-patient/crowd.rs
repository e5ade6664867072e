//! Crowds: tens of thousands of sockets that stand still, spread over several processes, because a
//! process may have only so many descriptors; and a storm of connects that nobody answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use serde_json::json;

use crate::forks::in_child;
use crate::{Listen, listening, say_ready};

/// Sockets of one process: with its listener and standard streams below the 20,000 descriptors that
/// many hosts allow.
const OF_ONE: usize = 16_000;

/// What the crowd consists of.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Connections, both ends held: two sockets each
    Open,
    /// Connections that the client has closed and the server has not
    CloseWait,
    /// Listeners
    Listener,
}

/// How many of what.
#[derive(clap::Args)]
pub(crate) struct Crowd {
    /// How many sockets are held in all
    #[arg(long)]
    sockets: usize,
    /// Of which sort
    #[arg(long, value_enum, default_value_t = Standing::Open)]
    of: Standing,
}

impl Crowd {
    /// Makes them and says so.
    pub(crate) fn gather(&self) -> Result<()> {
        raise_limit()?;
        let mut left = self.sockets;
        let mut reports = Vec::new();
        while left > 0 {
            let share = left.min(OF_ONE);
            left -= share;
            let (report, told) = std::io::pipe()?;
            let of = self.of;
            in_child(move || {
                let held = match hold(of, share) {
                    Ok(held) => held,
                    Err(error) => {
                        eprintln!("crowd: {error:#}");
                        return;
                    }
                };
                let _ = (&told).write_all(&held.len().to_ne_bytes());
                loop {
                    std::thread::park();
                }
            })?;
            reports.push(report);
        }
        let processes = reports.len();
        let mut held = 0;
        for mut report in reports {
            let mut bytes = [0; 8];
            report
                .read_exact(&mut bytes)
                .context("a process of the crowd died; is the descriptor limit below 20,000?")?;
            held += usize::from_ne_bytes(bytes);
        }
        say_ready(json!({"sockets": held, "processes": processes}));
        Ok(())
    }
}

/// This process's share.
fn hold(of: Standing, share: usize) -> Result<Vec<OwnedFd>> {
    let mut held: Vec<OwnedFd> = Vec::with_capacity(share);
    let listen = || -> Result<TcpListener> {
        let listen = Listen {
            listen: "127.0.0.1:0".parse()?,
            backlog: 16,
        };
        listening::open(listen, false)
    };
    if of == Standing::Listener {
        for _ in 0..share {
            held.push(listen()?.into());
        }
        return Ok(held);
    }
    let listener = listen()?;
    let address = listener.local_addr()?;
    while held.len() < share {
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        held.push(server.into());
        if of == Standing::Open && held.len() < share {
            held.push(client.into());
        }
    }
    // The crowd is what was asked for, without the door that it came through.
    drop(listener);
    Ok(held)
}

/// Connects that nobody answers.
#[derive(clap::Args)]
pub(crate) struct Storm {
    /// Where to, without an answer
    #[arg(long)]
    connect: SocketAddr,
    /// How many
    #[arg(long, default_value_t = 1000)]
    connections: usize,
}

impl Storm {
    /// Sends the SYNs; the kernel sends them again and again.
    pub(crate) fn raise(&self) -> Result<Vec<OwnedFd>> {
        ensure!(
            self.connections <= OF_ONE,
            "one process holds at most {OF_ONE} sockets"
        );
        raise_limit()?;
        let mut held = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
            match connect(fd.as_raw_fd(), &SockaddrStorage::from(self.connect)) {
                Err(Errno::EINPROGRESS) => held.push(fd),
                Ok(()) => anyhow::bail!("somebody answers at {}", self.connect),
                Err(error) => return Err(error).context("cannot connect"),
            }
        }
        say_ready(json!({"connections": held.len()}));
        Ok(held)
    }
}

/// As many descriptors as we may have.
fn raise_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the descriptor limit")
}
