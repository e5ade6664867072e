//! The other side of a patient's connections: plain clients in the test's own process, and clients
//! that knock without waiting for an answer.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect as connect_socket, socket,
};

use crate::netns::Netns;

/// Longer than any connection of the lab takes that is answered at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// `count` established connections from inside `netns`.
pub fn connect(netns: &Netns, server: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    netns.inside(|| {
        (0..count)
            .map(|_| {
                TcpStream::connect_timeout(&server, PATIENCE * crate::patience())
                    .with_context(|| format!("cannot connect to the patient at {server}"))
            })
            .collect()
    })
}

/// `count` sockets that have sent a SYN and do not wait; the source addresses take turns.
pub fn knock(
    netns: &Netns,
    server: SocketAddr,
    sources: &[IpAddr],
    count: usize,
) -> Result<Vec<OwnedFd>> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    netns.inside(|| {
        (0..count)
            .map(|number| {
                let fd = socket(
                    family,
                    SockType::Stream,
                    SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
                    None,
                )?;
                if !sources.is_empty() {
                    let source = SocketAddr::new(sources[number % sources.len()], 0);
                    bind(fd.as_raw_fd(), &SockaddrStorage::from(source))
                        .with_context(|| format!("cannot send from {source}"))?;
                }
                match connect_socket(fd.as_raw_fd(), &SockaddrStorage::from(server)) {
                    Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
                    Err(error) => Err(error).with_context(|| format!("cannot knock at {server}")),
                }
            })
            .collect()
    })
}
