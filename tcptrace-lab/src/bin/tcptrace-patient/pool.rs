//! The commonest leak of all: a client whose pool keeps what the server has closed.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::close_wait::park_forever;
use crate::say_ready;

/// For the server's answer to our SYN, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes one exchange on each of `count` connections, and puts them into a pool that never looks
/// at them again; or that `drops` what the server closes.
pub(crate) fn pool(first: SocketAddr, count: usize, remotes: usize, drops: bool) -> Result<()> {
    let pool = (0..count)
        .map(|number| {
            let server = nth(first, number % remotes.max(1))?;
            let mut stream = dial(server)?;
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0])?;
            Ok(stream)
        })
        .collect::<Result<Vec<_>>>()?;
    say_ready(json!({"connections": pool.len()}));
    if drops {
        for mut stream in pool {
            thread::spawn(move || while matches!(stream.read(&mut [0; 64]), Ok(1..)) {});
        }
    } else {
        thread::spawn(move || park_forever(pool));
    }
    Ok(())
}

/// A function of its own: the one that a stack has to name.
#[inline(never)]
fn dial(server: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect_timeout(&server, PATIENCE)
        .with_context(|| format!("cannot connect to {server}"))
}

/// The address `number` above the first one, on the same port.
fn nth(first: SocketAddr, number: usize) -> Result<SocketAddr> {
    let ip = match first.ip() {
        IpAddr::V4(ip) => IpAddr::from(Ipv4Addr::from(u32::from(ip) + u32::try_from(number)?)),
        IpAddr::V6(ip) => IpAddr::from(Ipv6Addr::from(u128::from(ip) + number as u128)),
    };
    Ok(SocketAddr::new(ip, first.port()))
}
