//! The incident that begins small: a leak, until no descriptor is left; then nothing is accepted, the
//! queue fills, and clients give up in it.

use std::io::Read;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use nix::sys::resource::{Resource, setrlimit};

use crate::close_wait::park_forever;
use crate::{Listen, listening, say_ready};

/// Reads each connection to its end and keeps it; when accept fails, tries again and again, as event
/// loops do.
pub(crate) fn leak_until_exhausted(listen: Listen, limit: u64) -> Result<()> {
    let listener = listening::open(listen, false)?;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    say_ready(listening::described(&listener)?);
    thread::spawn(move || {
        loop {
            match listener.accept() {
                Ok((mut stream, _)) => {
                    thread::spawn(move || {
                        while matches!(stream.read(&mut [0; 512]), Ok(1..)) {}
                        park_forever(stream);
                    });
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    });
    Ok(())
}
