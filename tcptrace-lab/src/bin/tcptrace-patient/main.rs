//! `tcptrace-patient`: one process, one mistake. Each subcommand makes a mistake that real servers
//! and clients make, with nothing but the system calls that make it.
//!
//! A patient prints one JSON line when its mistake is set up (`pid`, `address`, `port`, …), serves
//! on a thread of its own, and ends when its standard input does, on SIGTERM, or after `--seconds`.

mod accept_queue;
mod close_wait;
mod closing;
mod crowd;
mod exhaustion;
mod forks;
mod listening;
mod load;
mod log;
mod look_alikes;
mod owners;
mod pool;
mod sockmap;
mod special_readers;
mod unanswered;

use std::io::{self, Read};
use std::net::SocketAddr;
use std::process;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, setrlimit};
use serde_json::{Value, json};

/// A process that makes one real mistake with its TCP sockets.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    mistake: Mistake,
    /// End after this long, whatever happens (SIGALRM)
    #[arg(long, default_value_t = 300, global = true)]
    seconds: u32,
    /// Set RLIMIT_NOFILE, for patients that hold many sockets
    #[arg(long, global = true)]
    descriptors: Option<u64>,
    /// Call the process so (`/proc/PID/comm`, at most 15 bytes)
    #[arg(long, global = true)]
    name: Option<String>,
}

/// Where to listen.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Listen {
    /// The address; port 0 lets the kernel choose
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The backlog of listen(2)
    #[arg(long, default_value_t = 128)]
    backlog: u32,
}

#[derive(Subcommand)]
enum Mistake {
    /// Listens and never accepts
    NeverAccepted {
        #[command(flatten)]
        listen: Listen,
        /// Watch the listener by epoll, accept one connection, and hang while serving it
        #[arg(long)]
        stuck: bool,
        /// Close the listener once so many connections wait, and live on
        #[arg(long)]
        gives_up_at: Option<usize>,
    },
    /// Accepts, and forgets the connections
    NotWatched {
        #[command(flatten)]
        listen: Listen,
    },
    /// Watches its connections by epoll, and does not read the end of one
    EofUnread {
        #[command(flatten)]
        listen: Listen,
        /// What goes wrong
        #[arg(long, value_enum, default_value_t = close_wait::Unread::Serve)]
        mode: close_wait::Unread,
    },
    /// Reads to the end, and keeps the descriptor
    ReadNotClosed {
        #[command(flatten)]
        listen: Listen,
    },
    /// No mistake: goes on sending after the client has finished sending
    HalfClose {
        #[command(flatten)]
        listen: Listen,
    },
    /// Accepts a connection, sends it over a UNIX socket that nobody reads, and closes its copy
    InFlight {
        #[command(flatten)]
        listen: Listen,
    },
    /// A client whose pool keeps connections that the server has closed
    Pool(pool::Pool),
    /// No mistake, though several processes hold a connection
    SeveralHolders {
        #[command(flatten)]
        listen: Listen,
        /// Why they do
        #[arg(long, value_enum)]
        mode: look_alikes::Mode,
    },
    /// Accepts, hands the connections to a sockmap, and forgets them
    Sockmap {
        #[command(flatten)]
        listen: Listen,
    },
    /// Lets the kernel decrypt what arrives, reads to the end, and forgets its connections
    Ktls {
        #[command(flatten)]
        listen: Listen,
    },
    /// Maps what arrives, takes the end for a failed call, and forgets its connections
    ZeroCopy {
        #[command(flatten)]
        listen: Listen,
    },
    /// Reads to the end and keeps, until it has no descriptor left to accept with
    LeakUntilExhausted {
        #[command(flatten)]
        listen: Listen,
        /// RLIMIT_NOFILE
        #[arg(long, default_value_t = 32)]
        limit: u64,
    },
    /// Forks a child for each connection; the child closes it, the parent keeps its copy
    SharedFd {
        #[command(flatten)]
        listen: Listen,
        /// The children live on, with the copies that they inherited of earlier connections
        #[arg(long)]
        siblings: bool,
    },
    /// Accepts, but slower than clients arrive
    AcceptSlowly {
        #[command(flatten)]
        listen: Listen,
        /// Milliseconds between two accepts
        #[arg(long, default_value_t = 400)]
        every_ms: u64,
    },
    /// Accepts until it has no descriptor left
    AcceptWithoutDescriptors {
        #[command(flatten)]
        listen: Listen,
        /// RLIMIT_NOFILE
        #[arg(long, default_value_t = 16)]
        limit: u64,
    },
    /// Serves a byte for a byte, and ends its connections in one way
    Ends {
        #[command(flatten)]
        listen: Listen,
        /// Which way
        #[arg(long, value_enum)]
        ending: closing::Ending,
        /// Milliseconds of silence before it closes
        #[arg(long, default_value_t = 1500)]
        idle_ms: u64,
        /// Requests, or connections, before it ends them
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// A client that opens connections and keeps them all, as long as there are local ports
    Hoard {
        /// The server
        #[arg(long)]
        connect: SocketAddr,
        /// How many
        #[arg(long, default_value_t = 100)]
        connections: usize,
    },
    /// A client that opens a connection for each request and closes it
    Spend {
        /// The server
        #[arg(long)]
        connect: SocketAddr,
        /// How many
        #[arg(long, default_value_t = 100)]
        connections: usize,
    },
    /// A correct server that logs which process did what to which connection
    Owners {
        #[command(flatten)]
        listen: Listen,
        /// How it shares its work
        #[arg(long, value_enum)]
        mode: owners::Mode,
        /// The log, appended to by every process
        #[arg(long)]
        log: std::path::PathBuf,
    },
    /// Client processes that live for one connection, and log it
    ShortLived {
        /// The server
        #[arg(long)]
        connect: SocketAddr,
        /// How many processes
        #[arg(long, default_value_t = 10)]
        processes: usize,
        /// The log, appended to by every process
        #[arg(long)]
        log: std::path::PathBuf,
    },
    /// Connects and does not wait for the outcome
    Knock {
        /// The server
        #[arg(long)]
        connect: SocketAddr,
        /// How many
        #[arg(long, default_value_t = 2)]
        connections: usize,
    },
    /// A correct server, for a lab that cuts the cable
    Serve {
        #[command(flatten)]
        listen: Listen,
        /// What it does with each connection
        #[arg(long, value_enum)]
        mode: unanswered::Serving,
    },
    /// No mistake: holds connections back until the client has sent something (TCP_DEFER_ACCEPT)
    DeferAccept {
        #[command(flatten)]
        listen: Listen,
        /// For how long
        #[arg(long = "for", default_value_t = 3)]
        wait_seconds: libc::c_int,
    },
    /// Saturates the host with short connections, and prints how many it made in what time
    Load(load::Load),
    /// Holds tens of thousands of sockets, in several processes
    Crowd(crowd::Crowd),
    /// Connects to where nobody answers, thousands of times at once
    Storm(crowd::Storm),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // SAFETY: alarm has no preconditions.
    unsafe { libc::alarm(arguments.seconds) };
    if let Some(limit) = arguments.descriptors {
        setrlimit(Resource::RLIMIT_NOFILE, limit, limit)
            .with_context(|| format!("cannot have {limit} descriptors"))?;
    }
    if let Some(name) = &arguments.name {
        std::fs::write("/proc/self/comm", name)?;
    }
    // What must stay open until the end.
    let mut held = Vec::new();
    match arguments.mistake {
        Mistake::NeverAccepted {
            listen,
            stuck: _,
            gives_up_at: Some(waiting),
        } => closing::give_up(listen, waiting)?,
        Mistake::NeverAccepted { listen, stuck, .. } => {
            close_wait::never_accepted(listen, stuck)?;
        }
        Mistake::NotWatched { listen } => close_wait::not_watched(listen)?,
        Mistake::EofUnread { listen, mode } => close_wait::eof_unread(listen, mode)?,
        Mistake::ReadNotClosed { listen } => close_wait::read_not_closed(listen)?,
        Mistake::HalfClose { listen } => close_wait::half_close(listen)?,
        Mistake::InFlight { listen } => forks::in_flight(listen)?,
        Mistake::SharedFd { listen, siblings } => forks::shared_fd(listen, siblings)?,
        Mistake::Pool(asked) => pool::pool(asked)?,
        Mistake::SeveralHolders { listen, mode } => look_alikes::serve(listen, mode)?,
        Mistake::Sockmap { listen } => sockmap::serve(listen)?,
        Mistake::Ktls { listen } => special_readers::ktls(listen)?,
        Mistake::ZeroCopy { listen } => special_readers::zero_copy(listen)?,
        Mistake::LeakUntilExhausted { listen, limit } => {
            exhaustion::leak_until_exhausted(listen, limit)?;
        }
        Mistake::AcceptSlowly { listen, every_ms } => accept_queue::slowly(listen, every_ms)?,
        Mistake::AcceptWithoutDescriptors { listen, limit } => {
            accept_queue::without_descriptors(listen, limit)?;
        }
        Mistake::Ends {
            listen,
            ending,
            idle_ms,
            limit,
        } => closing::serve(
            listen,
            ending,
            std::time::Duration::from_millis(idle_ms),
            limit,
        )?,
        Mistake::Hoard {
            connect,
            connections,
        } => closing::hoard(connect, connections)?,
        Mistake::Spend {
            connect,
            connections,
        } => closing::spend(connect, connections)?,
        Mistake::Owners { listen, mode, log } => owners::serve(listen, mode, &log)?,
        Mistake::ShortLived {
            connect,
            processes,
            log,
        } => owners::short_lived(connect, processes, &log)?,
        Mistake::Knock {
            connect,
            connections,
        } => unanswered::knock(connect, connections)?,
        Mistake::Serve { listen, mode } => unanswered::serve(listen, mode)?,
        Mistake::DeferAccept {
            listen,
            wait_seconds,
        } => unanswered::defer_accept(listen, wait_seconds)?,
        Mistake::Load(load) => return load.run(),
        Mistake::Crowd(crowd) => crowd.gather()?,
        Mistake::Storm(storm) => held = storm.raise()?,
    }
    wait_for_end_of_input();
    drop(held);
    // Not a return: threads that serve are blocked in their mistakes.
    process::exit(0);
}

/// Says that the patient is ready; `more` is merged into the line.
pub(crate) fn say_ready(more: Value) {
    let mut line = json!({"pid": process::id()});
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more);
    }
    println!("{line}");
}

/// Blocks until standard input ends: whoever started the patient has closed it, or is gone.
fn wait_for_end_of_input() {
    let mut input = io::stdin().lock();
    let mut bytes = [0; 64];
    while matches!(input.read(&mut bytes), Ok(1..)) {}
}
