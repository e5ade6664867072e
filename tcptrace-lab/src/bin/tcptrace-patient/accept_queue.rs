//! The ways to let an accept queue overflow while accepting. The third way, not to accept at all,
//! is `never-accepted` with a small backlog.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use nix::sys::resource::{Resource, setrlimit};

use crate::close_wait::park_forever;
use crate::{Listen, listening, say_ready};

/// Accepts one connection every so often, and serves it well.
pub(crate) fn slowly(listen: Listen, every_ms: u64) -> Result<()> {
    let listener = listening::open(listen, false)?;
    say_ready(listening::described(&listener)?);
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(every_ms));
            drop(listener.accept());
        }
    });
    Ok(())
}

/// Accepts and keeps until accept fails with EMFILE, then tries again and again, as event loops do.
pub(crate) fn without_descriptors(listen: Listen, limit: u64) -> Result<()> {
    let listener = listening::open(listen, false)?;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    say_ready(listening::described(&listener)?);
    thread::spawn(move || {
        let mut kept = Vec::new();
        for _ in 0..1_000_000 {
            match listener.accept() {
                Ok(connection) => kept.push(connection),
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
        park_forever(kept);
    });
    Ok(())
}
