//! Processes that wait for a peer: that connect, send, or close, and get no answer when the lab cuts
//! the cable.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use serde_json::json;

use crate::close_wait::park_forever;
use crate::{Listen, listening, say_ready};

/// What a server does with each connection.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Serving {
    /// Sends a little every 100 ms
    Talk,
    /// Says nothing
    Wait,
    /// Says nothing, with SO_KEEPALIVE: 1 s, then 2 probes 1 s apart
    Keepalive,
    /// Waits for a byte, sends 20,000 bytes, and closes
    Answer,
    /// Sends as much as there is room for, and closes
    Fill,
}

/// Connects and does not wait for the outcome.
pub(crate) fn knock(server: SocketAddr, count: usize) -> Result<()> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let sockets = (0..count)
        .map(|_| -> Result<OwnedFd> {
            let fd = socket(family, SockType::Stream, flags, None)?;
            match connect(fd.as_raw_fd(), &SockaddrStorage::from(server)) {
                Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
                Err(error) => bail!("cannot knock at {server}: {error}"),
            }
        })
        .collect::<Result<Vec<_>>>()?;
    say_ready(json!({"connections": count}));
    thread::spawn(move || park_forever(sockets));
    Ok(())
}

/// A server; see [`Serving`].
pub(crate) fn serve(listen: Listen, serving: Serving) -> Result<()> {
    let listener = listening::open(listen, false)?;
    say_ready(listening::described(&listener)?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve_one(stream, serving));
        }
    });
    Ok(())
}

fn serve_one(mut stream: TcpStream, serving: Serving) -> Result<()> {
    match serving {
        Serving::Talk => {
            while stream.write_all(b"still here\n").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        }
        Serving::Wait => park_forever(stream),
        Serving::Keepalive => {
            setsockopt(&stream, sockopt::KeepAlive, &true)?;
            setsockopt(&stream, sockopt::TcpKeepIdle, &1)?;
            setsockopt(&stream, sockopt::TcpKeepInterval, &1)?;
            setsockopt(&stream, sockopt::TcpKeepCount, &2)?;
            // Waits for what does not come, as most servers do; ETIMEDOUT ends it.
            let _ = stream.read(&mut [0]);
        }
        Serving::Answer => {
            stream.read_exact(&mut [0])?;
            stream.write_all(&[b'a'; 20_000])?;
        }
        Serving::Fill => {
            stream.set_nonblocking(true)?;
            let mut full = 0;
            // Full for good, not only until the next acknowledgement.
            while full < 10 {
                match stream.write(&[b'a'; 65_536]) {
                    Ok(_) => full = 0,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        full += 1;
                        thread::sleep(Duration::from_millis(20));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(())
}

/// Listens with TCP_DEFER_ACCEPT: connections are held back until the client has sent something.
pub(crate) fn defer_accept(listen: Listen, seconds: libc::c_int) -> Result<()> {
    let listener = listening::open(listen, false)?;
    // SAFETY: the option is an int, and the descriptor is open.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(set)?;
    say_ready(listening::described(&listener)?);
    thread::spawn(move || {
        let kept: Vec<_> = listener.incoming().collect();
        park_forever(kept);
    });
    Ok(())
}
