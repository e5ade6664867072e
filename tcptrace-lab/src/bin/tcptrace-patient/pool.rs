//! The commonest leak of all: a client whose pool keeps what the server has closed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use anyhow::{Context, Result};
use serde_json::json;

use crate::close_wait::park_forever;
use crate::say_ready;

/// Makes one exchange on each of `count` connections, and puts them into a pool that never looks
/// at them again.
pub(crate) fn pool(server: SocketAddr, count: usize) -> Result<()> {
    let pool = (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(server)
                .with_context(|| format!("cannot connect to {server}"))?;
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0])?;
            Ok(stream)
        })
        .collect::<Result<Vec<_>>>()?;
    say_ready(json!({"connections": pool.len()}));
    thread::spawn(move || park_forever(pool));
    Ok(())
}
