//! Connections of Multipath TCP: what the application has read is counted for the connection, not for
//! the subflow that has a TCP state.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::{io, thread};

use anyhow::{Context, Result};
use nix::sys::socket::{Backlog, SockaddrStorage, bind, listen as start_listening};

use crate::close_wait::park_forever;
use crate::{Listen, listening, say_ready};

/// Accepts and keeps.
pub(crate) fn serve(listen: Listen) -> Result<()> {
    let family = match listen.listen {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: no preconditions.
    let fd = unsafe { libc::socket(family, kind, libc::IPPROTO_MPTCP) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("this kernel has no MPTCP");
    }
    // SAFETY: the kernel has just given it to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    bind(socket.as_raw_fd(), &SockaddrStorage::from(listen.listen))?;
    start_listening(&socket, Backlog::new(i32::try_from(listen.backlog)?)?)?;
    let listener = TcpListener::from(socket);
    say_ready(listening::described(&listener)?);
    thread::spawn(move || {
        let kept: Vec<_> = listener.incoming().collect();
        park_forever(kept);
    });
    Ok(())
}
