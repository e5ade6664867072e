//! Correct servers and clients that know which process did what, and write it down: the truth that
//! the tracer's owners are held against.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::waitpid;
use serde_json::json;

use crate::forks::{in_child, pass, receive};
use crate::log::Log;
use crate::{Listen, listening, say_ready};

/// Workers of a server that has several.
const WORKERS: usize = 3;

/// How a server shares its work.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// The parent accepts and forks a child per connection, and closes its copy
    Fork,
    /// Children forked beforehand accept from the parent's listener
    Prefork,
    /// Each worker has a listener of its own on the port
    Reuseport,
    /// One process accepts and passes the connections on to another
    Pass,
    /// Threads of one process accept
    Threads,
}

/// Serves until the patient ends.
pub(crate) fn serve(mut listen: Listen, mode: Mode, log: &Path) -> Result<()> {
    let log = Arc::new(Log::open(log)?);
    // SAFETY: the disposition is only changed, so that children leave no zombies.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let listener = match mode {
        // Only reserves the port for the workers' listeners.
        Mode::Reuseport => listening::bound(listen, true)?,
        _ => listening::open(listen, false)?,
    };
    let described = listening::described(&listener)?;
    match mode {
        Mode::Threads => {
            let listener = Arc::new(listener);
            for _ in 0..WORKERS {
                let (listener, log) = (Arc::clone(&listener), Arc::clone(&log));
                thread::spawn(move || accept_and_serve(&listener, &log));
            }
        }
        Mode::Prefork => {
            for _ in 0..WORKERS {
                in_child(|| drop(accept_and_serve(&listener, &log)))?;
            }
        }
        Mode::Reuseport => {
            listen.listen.set_port(listener.local_addr()?.port());
            let workers = (0..WORKERS)
                .map(|_| {
                    let (ready, told) = std::io::pipe()?;
                    in_child(|| {
                        let worker = listening::open(listen, true);
                        let _ = (&told).write_all(b".");
                        drop(worker.map(|worker| accept_and_serve(&worker, &log)));
                    })?;
                    Ok(ready)
                })
                .collect::<Result<Vec<_>>>()?;
            for mut ready in workers {
                ready.read_exact(&mut [0])?;
            }
        }
        Mode::Pass => {
            let (here, there) = socketpair(
                AddressFamily::Unix,
                SockType::Stream,
                None,
                SockFlag::SOCK_CLOEXEC,
            )?;
            in_child(|| {
                while let Ok(Some(stream)) = receive(there.as_raw_fd()) {
                    let _ = log.note_stream("received", &stream);
                    let _ = serve_one(stream, &log);
                }
            })?;
            drop(there);
            thread::spawn(move || -> Result<()> {
                loop {
                    let (stream, _) = listener.accept()?;
                    log.note_stream("accepted", &stream)?;
                    pass(here.as_raw_fd(), stream)?;
                }
            });
        }
        Mode::Fork => {
            thread::spawn(move || -> Result<()> {
                loop {
                    let (stream, _) = listener.accept()?;
                    log.note_stream("accepted", &stream)?;
                    let log = &log;
                    in_child(move || drop(serve_one(stream, log)))?;
                }
            });
        }
    }
    say_ready(described);
    Ok(())
}

fn accept_and_serve(listener: &TcpListener, log: &Log) -> Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        log.note_stream("accepted", &stream)?;
        serve_one(stream, log)?;
    }
}

/// Answers one byte by another, reads to the end and closes.
fn serve_one(mut stream: TcpStream, log: &Log) -> Result<()> {
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    stream.read_exact(&mut [0])?;
    stream.write_all(b"!")?;
    while matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
    // Before the close, so that who reads the log after the connection's end finds it.
    log.note("closed", local, peer)?;
    drop(stream);
    Ok(())
}

/// Forks `count` clients, one after the other, which connect, exchange a byte, and exit with the
/// connection open: the kernel closes it.
pub(crate) fn short_lived(server: SocketAddr, count: usize, log: &Path) -> Result<()> {
    let log = Log::open(log)?;
    for _ in 0..count {
        let child = in_child(|| {
            // SAFETY: exits at once; a failure shows as a connection missing from the log.
            let _ = exchange(server, &log).map(std::mem::forget);
        })?;
        waitpid(child, None)?;
    }
    say_ready(json!({"processes": count}));
    Ok(())
}

fn exchange(server: SocketAddr, log: &Log) -> Result<TcpStream> {
    let mut stream =
        TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
    log.note_stream("connected", &stream)?;
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}
