//! The ways to end a connection: who closes first and when, with what unread, or not at all.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::json;

use crate::close_wait::park_forever;
use crate::{Listen, listening, say_ready};

/// How a server ends its connections.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ending {
    /// It answers one request and closes
    Short,
    /// It closes what has been silent for `--idle-ms`
    Idle,
    /// It closes after `--limit` requests
    Requests,
    /// It closes when a request asks for that (`q`)
    Asked,
    /// No mistake: the client closes first
    ClientFirst,
    /// It answers one request, shuts down for sending, and waits for a FIN that does not come
    HalfClosed,
    /// It reads one byte of the request and closes
    Unread,
    /// It closes with SO_LINGER 0
    Linger,
    /// No mistake: it reads to the end before it closes
    Drain,
    /// It is ended by SIGABRT while `--limit` connections have data unread
    Crash,
}

/// Serves each connection on a thread of its own.
pub(crate) fn serve(listen: Listen, ending: Ending, idle: Duration, limit: usize) -> Result<()> {
    let listener = listening::open(listen, false)?;
    say_ready(listening::described(&listener)?);
    let asked = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = Arc::clone(&asked);
            thread::spawn(move || end(stream, ending, idle, limit, &asked));
        }
    });
    Ok(())
}

fn answer(stream: &mut TcpStream) -> std::io::Result<bool> {
    match stream.read(&mut [0])? {
        0 => Ok(false),
        _ => stream.write_all(b"!").map(|()| true),
    }
}

fn read_to_the_end(stream: &mut TcpStream) {
    while matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
}

fn end(
    mut stream: TcpStream,
    ending: Ending,
    idle: Duration,
    limit: usize,
    asked: &AtomicUsize,
) -> Result<()> {
    match ending {
        Ending::Short => {
            answer(&mut stream)?;
        }
        Ending::Idle => {
            stream.set_read_timeout(Some(idle))?;
            while answer(&mut stream).unwrap_or(false) {}
        }
        Ending::Requests => {
            for _ in 0..limit {
                answer(&mut stream)?;
            }
        }
        Ending::Asked => {
            let mut request = [0];
            while stream.read(&mut request)? > 0 && request != *b"q" {
                stream.write_all(b"!")?;
            }
        }
        Ending::ClientFirst => while answer(&mut stream)? {},
        Ending::HalfClosed => {
            answer(&mut stream)?;
            stream.shutdown(Shutdown::Write)?;
            read_to_the_end(&mut stream);
        }
        Ending::Unread => {
            stream.read_exact(&mut [0])?;
            stream.peek(&mut [0])?;
        }
        Ending::Linger => {
            answer(&mut stream)?;
            let at_once = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&stream, sockopt::Linger, &at_once)?;
        }
        Ending::Drain => {
            answer(&mut stream)?;
            stream.shutdown(Shutdown::Write)?;
            read_to_the_end(&mut stream);
        }
        Ending::Crash => {
            stream.peek(&mut [0])?;
            if asked.fetch_add(1, Ordering::SeqCst) + 1 == limit {
                process::abort();
            }
            park_forever(&stream);
        }
    }
    Ok(())
}

/// Listens, accepts nothing, and closes the listener when `waiting` connections wait for it.
pub(crate) fn give_up(listen: Listen, waiting: usize) -> Result<()> {
    let listener = listening::open(listen, false)?;
    let described = listening::described(&listener)?;
    let port = listener.local_addr()?.port();
    say_ready(described);
    thread::spawn(move || -> Result<()> {
        while listening::queued(port)? < waiting {
            thread::sleep(Duration::from_millis(20));
        }
        drop(listener);
        Ok(())
    });
    Ok(())
}

/// Opens `count` connections and keeps them; says how many found no local port.
pub(crate) fn hoard(server: SocketAddr, count: usize) -> Result<()> {
    let mut kept = Vec::new();
    let (mut no_port, mut refused) = (0, 0);
    for _ in 0..count {
        match TcpStream::connect(server) {
            Ok(stream) => kept.push(stream),
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => no_port += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    say_ready(json!({"connections": kept.len(), "no_port": no_port, "refused": refused}));
    thread::spawn(move || park_forever(kept));
    Ok(())
}

/// One request for each connection, closed by the client at once.
pub(crate) fn spend(server: SocketAddr, count: usize) -> Result<()> {
    for _ in 0..count {
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])?;
    }
    say_ready(json!({"connections": count}));
    Ok(())
}
