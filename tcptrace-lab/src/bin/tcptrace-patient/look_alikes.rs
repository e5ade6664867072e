//! Correct servers of which several processes hold a connection, as a leaking prefork server does.

use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use nix::sys::wait::waitpid;

use crate::close_wait::park_forever;
use crate::forks::in_child;
use crate::{Listen, listening, say_ready};

/// Why several processes hold a connection.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// A child without privileges serves; the parent keeps its copy until the child has ended, a
    /// second after the connection's end
    PrivilegeSeparation,
    /// The same with a child that watches the connection and is stuck: a mistake, but no shared copy
    StuckChild,
    /// A new generation takes over the listener while the old one serves what it has to the end
    Reload,
}

/// Serves until the patient ends.
pub(crate) fn serve(listen: Listen, mode: Mode) -> Result<()> {
    let listener = listening::open(listen, false)?;
    let described = listening::described(&listener)?;
    if mode == Mode::Reload {
        // Each generation serves three connections; the next one is forked meanwhile.
        for _ in 0..2 {
            in_child(|| {
                let kept: Vec<_> = listener.incoming().take(3).flatten().collect();
                for stream in &kept {
                    read_to_the_end(stream.as_raw_fd());
                }
                drop(kept);
                park_forever(());
            })?;
        }
        say_ready(described);
        thread::spawn(move || park_forever(listener));
        return Ok(());
    }
    say_ready(described);
    thread::spawn(move || -> Result<()> {
        loop {
            let (stream, _) = listener.accept()?;
            let fd = stream.as_raw_fd();
            let child = in_child(|| {
                if mode == Mode::StuckChild {
                    watch_and_hang(fd);
                }
                read_to_the_end(fd);
                // SAFETY: the descriptor was inherited, and this process has one thread.
                unsafe { libc::close(fd) };
                // The session is logged, its files are removed.
                thread::sleep(Duration::from_secs(1));
            })?;
            thread::spawn(move || {
                let _ = waitpid(child, None);
                drop(stream);
            });
        }
    });
    Ok(())
}

fn read_to_the_end(fd: RawFd) {
    let mut bytes = [0_u8; 64];
    // SAFETY: the buffer is valid for its length.
    while unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) } > 0 {}
}

/// Registers the connection with an epoll instance, and never asks that for news.
fn watch_and_hang(fd: RawFd) {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 0,
    };
    // SAFETY: plain system calls with a valid event.
    unsafe {
        let epoll = libc::epoll_create1(0);
        libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event);
    }
    park_forever(());
}
