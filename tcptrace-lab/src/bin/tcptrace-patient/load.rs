//! Short connections, as many as the host can make: several client processes, each in step with a
//! server thread of its own, so that no queue overflows and every connection makes the same
//! transitions. The client connects, gets one byte, and closes first; the server reads to the end
//! and closes.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::forks::in_child;
use crate::{Listen, listening};

/// Ports that each client takes in turn: a client's TIME_WAITs stand in the way of its own local
/// ports only towards one port of the server, and 28,000 of them are to be had.
const PORTS: usize = 16;

/// How much, and where.
#[derive(clap::Args)]
pub(crate) struct Load {
    /// How many connections in all
    #[arg(long, default_value_t = 20_000)]
    connections: usize,
    /// How many client processes
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// The address to listen on, and to connect to
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
}

impl Load {
    /// Makes them, and prints one JSON line.
    pub(crate) fn run(&self) -> Result<()> {
        ensure!(self.clients > 0, "a load needs a client");
        let ports = (0..self.clients)
            .map(|_| self.start_server())
            .collect::<Result<Vec<_>>>()?;
        let started = Instant::now();
        let clients = ports
            .iter()
            .enumerate()
            .map(|(number, ports)| {
                let share = self.connections / self.clients
                    + usize::from(number < self.connections % self.clients);
                let (report, told) = std::io::pipe()?;
                in_child(|| {
                    let made = connect_and_close(self.address, ports, share);
                    let _ = (&told).write_all(&made.to_ne_bytes());
                })?;
                Ok(report)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut made = 0;
        for mut report in clients {
            let mut bytes = [0; 8];
            report
                .read_exact(&mut bytes)
                .context("a client of the load died")?;
            made += usize::from_ne_bytes(bytes);
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{}",
            json!({
                "pid": process::id(), "connections": made, "wanted": self.connections,
                "clients": self.clients, "seconds": seconds, "per_second": made as f64 / seconds,
                "ports": ports.concat(),
            })
        );
        // Not a return: the servers' threads wait for more.
        process::exit(i32::from(made != self.connections));
    }

    /// One server process would serialise the clients on its descriptor table; one thread and
    /// [`PORTS`] ports per client do not.
    fn start_server(&self) -> Result<Vec<u16>> {
        let mut ports = Vec::new();
        let mut listeners = Vec::new();
        for _ in 0..PORTS {
            let listener = listening::open(
                Listen {
                    listen: SocketAddr::new(self.address, 0),
                    backlog: 128,
                },
                false,
            )?;
            ports.push(listener.local_addr()?.port());
            listeners.push(listener);
        }
        thread::spawn(move || -> Result<()> {
            // In step with the client, which takes the ports in the same order.
            for listener in listeners.iter().cycle() {
                let (mut stream, _) = listener.accept()?;
                stream.write_all(b"!")?;
                stream.read_exact(&mut [0]).err();
            }
            Ok(())
        });
        Ok(ports)
    }
}

fn connect_and_close(address: IpAddr, ports: &[u16], count: usize) -> usize {
    let mut made = 0;
    for port in ports.iter().cycle().take(count) {
        let exchanged = TcpStream::connect(SocketAddr::new(address, *port))
            .and_then(|mut stream| stream.read_exact(&mut [0]));
        made += usize::from(exchanged.is_ok());
    }
    made
}
