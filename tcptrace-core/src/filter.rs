//! Which sockets the user wants to see. One predicate for the kernel edge, the recorder and the TUI.

use std::net::IpAddr;

use crate::tcp::TcpState;
use crate::units::{NetnsId, Pid, Port};
use crate::world::Socket;

/// A conjunction of conditions; an empty one passes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these processes owns or holds it.
    pub pids: Vec<Pid>,
    /// Any of these names (exact, as in `comm`).
    pub names: Vec<String>,
    /// Any of these local ports.
    pub local_ports: Vec<Port>,
    /// Any of these remote ports.
    pub remote_ports: Vec<Port>,
    /// Any of these local networks.
    pub local_nets: Vec<Cidr>,
    /// Any of these remote networks.
    pub remote_nets: Vec<Cidr>,
    /// One address family.
    pub family: Option<Family>,
    /// One network namespace.
    pub netns: Option<NetnsId>,
    /// Any of these states.
    pub states: Vec<TcpState>,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4, and IPv4-mapped IPv6.
    V4,
    /// IPv6.
    V6,
}

/// A network, `ADDRESS/PREFIX` or a plain address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

impl Filter {
    /// Whether the filter passes everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `socket` passes. What is not known yet passes.
    pub fn passes(&self, socket: &Socket) -> bool {
        let _ = socket;
        true
    }
}
