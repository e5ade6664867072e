//! The commonest leak of all: a client whose pool keeps what the server has closed.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{SockaddrStorage, connect};
use serde_json::json;

use crate::close_wait::park_forever;
use crate::say_ready;

/// For the server's answer to our SYN, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a pool does, and over what.
#[derive(clap::Args)]
pub(crate) struct Pool {
    /// The server
    #[arg(long)]
    connect: SocketAddr,
    /// How many
    #[arg(long, default_value_t = 3)]
    connections: usize,
    /// Spread over so many addresses, counted up from the server's
    #[arg(long, default_value_t = 1)]
    remotes: usize,
    /// No mistake: a thread per connection closes when the server does
    #[arg(long)]
    drops: bool,
    /// Over Multipath TCP, which falls back to plain TCP where the server knows nothing of it
    #[arg(long)]
    multipath: bool,
}

/// Makes one exchange on each connection, and puts them into a pool that never looks at them again;
/// or that drops what the server closes.
pub(crate) fn pool(asked: Pool) -> Result<()> {
    let dial = if asked.multipath {
        dial_multipath
    } else {
        dial
    };
    let pool = (0..asked.connections)
        .map(|number| {
            let server = nth(asked.connect, number % asked.remotes.max(1))?;
            let mut stream = dial(server)?;
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0])?;
            Ok(stream)
        })
        .collect::<Result<Vec<_>>>()?;
    say_ready(json!({"connections": pool.len()}));
    if asked.drops {
        for mut stream in pool {
            thread::spawn(move || while matches!(stream.read(&mut [0; 64]), Ok(1..)) {});
        }
    } else {
        thread::spawn(move || park_forever(pool));
    }
    Ok(())
}

/// A function of its own: the one that a stack has to name.
#[inline(never)]
fn dial(server: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect_timeout(&server, PATIENCE)
        .with_context(|| format!("cannot connect to {server}"))
}

/// Opens a socket of Multipath TCP, of which the connection that is seen is a subflow.
fn dial_multipath(server: SocketAddr) -> Result<TcpStream> {
    let family = match server {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    // SAFETY: socket takes numbers alone.
    let fd = unsafe {
        libc::socket(
            family,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            libc::IPPROTO_MPTCP,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("the kernel has no Multipath TCP");
    }
    // SAFETY: a new descriptor, which nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server))
        .with_context(|| format!("cannot connect to {server}"))?;
    Ok(TcpStream::from(socket))
}

/// The address `number` above the first one, on the same port.
fn nth(first: SocketAddr, number: usize) -> Result<SocketAddr> {
    let ip = match first.ip() {
        IpAddr::V4(ip) => IpAddr::from(Ipv4Addr::from(u32::from(ip) + u32::try_from(number)?)),
        IpAddr::V6(ip) => IpAddr::from(Ipv6Addr::from(u128::from(ip) + number as u128)),
    };
    Ok(SocketAddr::new(ip, first.port()))
}
