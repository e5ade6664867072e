//! The kernel's own table of TCP sockets, from `/proc/net/tcp` and `tcp6`: the lab's second
//! opinion, by which it knows that a patient has really made its mistake.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::netns::Netns;
use crate::{patience, wait_for};

/// `/proc/net/tcp`'s numbers for the states that the lab asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 9293 documents the states")]
#[repr(u8)]
pub enum State {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// The kernel's number of the state.
    pub state: u8,
    /// Bytes unread, a FIN counts 1; of a listener, connections waiting for accept.
    pub receive_queue: u32,
    /// 0 when no process holds the socket.
    pub inode: u64,
}

/// Every TCP socket of a namespace.
pub fn table(netns: &Netns) -> Result<Vec<Row>> {
    let text = netns.inside(|| {
        let v4 = fs::read_to_string("/proc/thread-self/net/tcp")?;
        let v6 = fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default();
        Ok(v4 + &v6)
    })?;
    Ok(text.lines().filter_map(row).collect())
}

/// The sockets on a local port in one state.
pub fn on_port(netns: &Netns, port: u16, state: State) -> Result<Vec<Row>> {
    Ok(table(netns)?
        .into_iter()
        .filter(|row| row.local.port() == port && row.state == state as u8)
        .collect())
}

/// Waits until a process holds every established connection of the server on `port`, and a moment more
/// for it to register what it accepted. Returns after two seconds where nobody accepts.
pub fn give_time_to_accept(netns: &Netns, port: u16) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(2) * patience();
    // What was not accepted, or is held by nobody, has no inode.
    while on_port(netns, port, State::Established)?
        .iter()
        .any(|row| row.inode == 0)
        && Instant::now() < until
    {
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_millis(300) * patience());
    Ok(())
}

/// Waits until exactly `count` sockets on a local port are in `state`.
pub fn await_count(netns: &Netns, port: u16, state: State, count: usize) -> Result<Vec<Row>> {
    wait_for(
        &format!("{count} sockets on port {port} in {state:?}"),
        Duration::from_secs(10),
        || {
            let rows = on_port(netns, port, state)?;
            Ok((rows.len() == count).then_some(rows))
        },
    )
    .with_context(|| match table(netns) {
        Ok(rows) => format!("the table holds {rows:#?}"),
        Err(error) => format!("the table cannot be read: {error}"),
    })
}

fn row(line: &str) -> Option<Row> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, receive) = fields.get(4)?.split_once(':')?;
    Some(Row {
        local: address(fields.get(1)?)?,
        peer: address(fields.get(2)?)?,
        state: u8::from_str_radix(fields.get(3)?, 16).ok()?,
        receive_queue: u32::from_str_radix(receive, 16).ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// The kernel prints addresses as 32-bit words of its own byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = (0..address.len() / 8)
        .map(|word| u32::from_str_radix(&address[word * 8..word * 8 + 8], 16).ok())
        .collect::<Option<Vec<u32>>>()?;
    let octets: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let address = match octets.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line = "   1: 0100007F:1F90 0100007F:D431 08 00000000:00000006 00:00000000 00000000     0        0 77 1 0 20 4 30 10 -1";
        let row = row(line).unwrap();
        assert_eq!(row.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(row.state, State::CloseWait as u8);
        assert_eq!((row.receive_queue, row.inode), (6, 77));
    }
}
