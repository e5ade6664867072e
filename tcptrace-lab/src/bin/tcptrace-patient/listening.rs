//! Listeners with a backlog of one's own choice, which `std` does not offer.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use serde_json::{Value, json};

use crate::Listen;

/// Listens; `reuse_port` lets several processes share the port.
pub(crate) fn open(options: Listen, reuse_port: bool) -> Result<TcpListener> {
    let listener = bound(options, reuse_port)?;
    let backlog = Backlog::new(i32::try_from(options.backlog)?)?;
    listen(&listener, backlog)?;
    Ok(listener)
}

/// Takes the port and does not listen: the kernel gives such a socket no connections.
pub(crate) fn bound(options: Listen, reuse_port: bool) -> Result<TcpListener> {
    let family = match options.listen {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &reuse_port)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(options.listen))
        .with_context(|| format!("cannot bind to {}", options.listen))?;
    Ok(fd.into())
}

/// How many connections wait to be accepted at a port of IPv4, by the kernel's table.
pub(crate) fn queued(port: u16) -> Result<usize> {
    const LISTEN: &str = "0A";
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
    let local = format!(":{port:04X}");
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [_, address, _, LISTEN, queues, ..] = fields[..]
            && address.ends_with(&local)
            && let Some((_, receive)) = queues.split_once(':')
        {
            return Ok(usize::from_str_radix(receive, 16)?);
        }
    }
    Ok(0)
}

/// What a ready line says of a listener.
pub(crate) fn described(listener: &TcpListener) -> Result<Value> {
    let address = listener.local_addr()?;
    Ok(json!({"address": address.ip().to_string(), "port": address.port()}))
}
