//! Shell commands with which an engineer sees for himself what a finding says.
//!
//! Invariant: only numbers and addresses are interpolated, never a name that a stranger chose.

use crate::finding::{Cause, Finding, Kind, Service};
use crate::tcp::TcpState;
use crate::units::Pid;

/// ss's word for a state.
fn ss_state(state: TcpState) -> &'static str {
    match state {
        TcpState::Established => "established",
        TcpState::SynSent => "syn-sent",
        TcpState::SynRecv | TcpState::NewSynRecv => "syn-recv",
        TcpState::FinWait1 => "fin-wait-1",
        TcpState::FinWait2 => "fin-wait-2",
        TcpState::TimeWait => "time-wait",
        TcpState::Close => "closed",
        TcpState::CloseWait => "close-wait",
        TcpState::LastAck => "last-ack",
        TcpState::Listen => "listening",
        TcpState::Closing => "closing",
    }
}

impl Finding {
    /// Commands that confirm it, the most telling first.
    pub fn commands(&self) -> Vec<String> {
        let pid = self.process.as_ref().map(|owner| owner.process.pid);
        // The socket's namespace is its process's, whichever that is.
        let inside = pid.map_or_else(String::new, |Pid(pid)| format!("nsenter -t {pid} -n "));
        let which = match self.service {
            Service::Local(port) => format!(" '( sport = :{} )'", port.0),
            Service::Remote(address, port) => {
                format!(" dst '{}'", std::net::SocketAddr::new(address, port.0))
            }
            Service::ManyRemotes | Service::ManyPorts | Service::Unknown => String::new(),
        };
        let mut commands: Vec<String> = match self.kind {
            // Ports are held in every state, and longest in TIME_WAIT.
            Kind::PortExhaustion => vec![format!("{inside}ss -tno state connected{which}")],
            kind => kind
                .states()
                .iter()
                .filter(|state| **state != TcpState::Close)
                .map(|state| format!("{inside}ss -tnpo state {}{which}", ss_state(*state)))
                .collect(),
        };
        let waits_in_a_queue = self.cause == Some(Cause::NeverAccepted);
        if waits_in_a_queue {
            commands.push(format!("{inside}ss -tlnp{which}"));
        }
        let counters = match self.kind {
            Kind::ClosingStuck if self.cause == Some(Cause::ZeroWindow) => {
                Some("TcpExtTCPWinProbe")
            }
            Kind::AcceptQueueOverflow | Kind::BacklogTruncated => {
                Some("TcpExtListenOverflows TcpExtListenDrops")
            }
            Kind::SynQueueOverflow => {
                Some("TcpExtTCPReqQFullDrop TcpExtTCPReqQFullDoCookies TcpExtListenDrops")
            }
            Kind::TimeWaitPileup => Some("TcpExtTW TcpExtTCPTimeWaitOverflow"),
            Kind::ResetBurst => Some("TcpOutRsts TcpEstabResets TcpExtTCPAbortOnClose"),
            Kind::DeadPeer => Some("TcpExtTCPAbortOnTimeout TcpExtTCPTimeouts"),
            Kind::FinRetransmit
            | Kind::ClosingStuck
            | Kind::SynRetransmit
            | Kind::SynackRetransmit => Some("TcpExtTCPTimeouts TcpRetransSegs"),
            Kind::CloseWaitLeak | Kind::PortExhaustion | Kind::FinWait2Stuck => None,
        };
        commands.extend(counters.map(|names| format!("{inside}nstat -az {names}")));
        if let Some(Pid(pid)) = pid {
            match self.kind {
                // Neither holds a descriptor.
                Kind::CloseWaitLeak if waits_in_a_queue => {
                    commands.push(format!("grep -H . /proc/{pid}/task/*/wchan"));
                }
                Kind::FinWait2Stuck if self.cause == Some(Cause::Orphan) => {}
                Kind::CloseWaitLeak | Kind::FinWait2Stuck => {
                    commands.push(format!("ls -l /proc/{pid}/fd | grep -c socket:"));
                    commands.push(format!("grep 'open files' /proc/{pid}/limits"));
                    commands.push(format!("grep -H . /proc/{pid}/task/*/wchan"));
                }
                Kind::AcceptQueueOverflow => {
                    commands.push(format!("grep 'open files' /proc/{pid}/limits"));
                    commands.push(format!("grep -H . /proc/{pid}/task/*/wchan"));
                }
                Kind::PortExhaustion => {
                    commands.push(format!("{inside}sysctl net.ipv4.ip_local_port_range"));
                }
                _ => {}
            }
        }
        commands
    }
}
