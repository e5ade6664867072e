//! The ways of a single process to leave sockets in CLOSE_WAIT, and one that is none.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::{Listen, listening, say_ready};

/// The epoll datum of the listener; connections have their descriptor numbers.
const LISTENER: u64 = u64::MAX;

/// What keeps an epoll server from reading the end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Unread {
    /// Nothing: it reads and closes. Stop it (SIGSTOP) to see the mistake
    Serve,
    /// It is told, level-triggered, again and again, and does nothing
    Ignore,
    /// It registered with EPOLLONESHOT, read once, and does not register again
    Oneshot,
    /// Its only thread waits for a lock that nobody releases
    Deadlocked,
}

/// Listens and does not accept; `stuck` accepts one connection and hangs serving it.
pub(crate) fn never_accepted(listen: Listen, stuck: bool) -> Result<()> {
    let listener = listening::open(listen, false)?;
    let described = listening::described(&listener)?;
    if stuck {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        thread::spawn(move || -> Result<()> {
            epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)?;
            let first = listener.accept()?;
            // A backend that never answers, a lock that is never released.
            park_forever(first)
        });
    } else {
        thread::spawn(move || park_forever(listener));
    }
    say_ready(described);
    Ok(())
}

/// Accepts and keeps; nothing waits on what it keeps.
pub(crate) fn not_watched(listen: Listen) -> Result<()> {
    let listener = listening::open(listen, false)?;
    say_ready(listening::described(&listener)?);
    thread::spawn(move || -> Result<()> {
        let mut kept = Vec::new();
        loop {
            kept.push(accept_and_forget(&listener)?);
        }
    });
    Ok(())
}

/// A function of its own: the one that a stack has to name.
#[inline(never)]
fn accept_and_forget(listener: &TcpListener) -> Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    Ok(stream)
}

/// An epoll server; see [`Unread`].
pub(crate) fn eof_unread(listen: Listen, mode: Unread) -> Result<()> {
    let listener = listening::open(listen, false)?;
    say_ready(listening::described(&listener)?);
    thread::spawn(move || serve_by_epoll(&listener, mode));
    Ok(())
}

fn serve_by_epoll(listener: &TcpListener, mode: Unread) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let interest = match mode {
        Unread::Oneshot => EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT,
        _ => EpollFlags::EPOLLIN,
    };
    let mut connections: HashMap<u64, TcpStream> = HashMap::new();
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            // A process that was stopped and continued is told so, without any handler.
            Err(Errno::EINTR) => continue,
            waited => waited?,
        };
        for event in &events[..count] {
            if event.data() == LISTENER {
                let (stream, _) = listener.accept()?;
                let key = u64::try_from(stream.as_raw_fd())?;
                epoll.add(&stream, EpollEvent::new(interest, key))?;
                connections.insert(key, stream);
                continue;
            }
            match mode {
                Unread::Ignore => thread::sleep(Duration::from_millis(20)),
                Unread::Deadlocked => park_forever(()),
                Unread::Serve | Unread::Oneshot => {
                    let Some(stream) = connections.get_mut(&event.data()) else {
                        continue;
                    };
                    if !matches!(stream.read(&mut [0; 512]), Ok(1..)) {
                        connections.remove(&event.data());
                    }
                }
            }
        }
    }
}

/// Reads each connection to its end, and keeps the descriptor.
pub(crate) fn read_not_closed(listen: Listen) -> Result<()> {
    let listener = listening::open(listen, false)?;
    say_ready(listening::described(&listener)?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                while matches!(stream.read(&mut [0; 512]), Ok(1..)) {}
                park_forever(stream);
            });
        }
    });
    Ok(())
}

/// Sends a little every 100 ms for as long as it can, whatever the client does with its side.
pub(crate) fn half_close(listen: Listen) -> Result<()> {
    let listener = listening::open(listen, false)?;
    say_ready(listening::described(&listener)?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                while matches!(stream.read(&mut [0; 512]), Ok(1..)) {}
                while stream.write_all(b"still here\n").is_ok() {
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
    });
    Ok(())
}

/// Keeps `what` without touching it until the process ends.
pub(crate) fn park_forever<T>(what: T) -> ! {
    let _kept = what;
    loop {
        thread::park();
    }
}
