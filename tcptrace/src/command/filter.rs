//! The filter options, the same for every command.

use clap::Args;
use tcptrace_core::filter::{Cidr, Family, Filter};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{NetnsId, Pid, Port};

/// Which sockets to look at. Several values of one option are alternatives; options are a conjunction.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filters")]
pub(super) struct FilterArgs {
    /// Sockets that one of these processes owns or holds
    #[arg(short = 'p', long = "pid", value_name = "PID", value_delimiter = ',')]
    pids: Vec<u32>,
    /// Sockets of processes with one of these names
    #[arg(short = 'c', long = "comm", value_name = "NAME", value_delimiter = ',')]
    names: Vec<String>,
    /// Local ports
    #[arg(short = 'L', long = "local-port", value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    local_ports: Vec<u16>,
    /// Remote ports
    #[arg(short = 'D', long = "remote-port", value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    remote_ports: Vec<u16>,
    /// Local networks
    #[arg(long = "local", value_name = "CIDR", value_delimiter = ',')]
    local_nets: Vec<Cidr>,
    /// Remote networks
    #[arg(long = "remote", value_name = "CIDR", value_delimiter = ',')]
    remote_nets: Vec<Cidr>,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    v6: bool,
    /// One network namespace, by inode number (`readlink /proc/PID/ns/net`)
    #[arg(long, value_name = "INODE")]
    netns: Option<u32>,
    /// Sockets of processes whose cgroup has this in its path
    #[arg(long = "cgroup", value_name = "PATH", value_delimiter = ',')]
    cgroups: Vec<String>,
    /// Sockets of processes in the container whose id begins so
    #[arg(long = "container", value_name = "ID", value_delimiter = ',')]
    containers: Vec<String>,
    /// States, in the kernel's or ss's spelling: CLOSE_WAIT, close-wait
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = state)]
    states: Vec<TcpState>,
}

/// Parses a state's name.
fn state(text: &str) -> Result<TcpState, String> {
    TcpState::from_name(text).ok_or_else(|| {
        let names: Vec<_> = TcpState::ALL.iter().map(|state| state.name()).collect();
        format!("no such state; one of {}", names.join(", "))
    })
}

impl FilterArgs {
    /// The predicate that these options make.
    pub(super) fn filter(&self) -> Filter {
        Filter {
            pids: self.pids.iter().copied().map(Pid).collect(),
            names: self.names.clone(),
            local_ports: self.local_ports.iter().copied().map(Port).collect(),
            remote_ports: self.remote_ports.iter().copied().map(Port).collect(),
            local_nets: self.local_nets.clone(),
            remote_nets: self.remote_nets.clone(),
            family: match (self.v4, self.v6) {
                (true, _) => Some(Family::V4),
                (_, true) => Some(Family::V6),
                _ => None,
            },
            netns: self.netns.map(NetnsId),
            cgroups: self.cgroups.clone(),
            containers: self.containers.clone(),
            states: self.states.clone(),
        }
    }
}
