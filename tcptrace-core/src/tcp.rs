//! The vocabulary of TCP: states, endpoints and the bits that the kernel keeps on a socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::units::Port;

/// A connection state, spelt and numbered as in the kernel's `include/net/tcp_states.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
#[expect(missing_docs, reason = "RFC 9293 documents the states")]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    #[serde(rename = "FIN_WAIT1")]
    FinWait1 = 4,
    #[serde(rename = "FIN_WAIT2")]
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
    NewSynRecv = 12,
}

impl TcpState {
    /// Every state, in the kernel's order.
    pub const ALL: [Self; 12] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::NewSynRecv,
    ];

    /// The state with the kernel's number `raw`, if there is one.
    pub fn from_raw(raw: u8) -> Option<Self> {
        Self::ALL.get(usize::from(raw).checked_sub(1)?).copied()
    }

    /// The kernel's spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::NewSynRecv => "NEW_SYN_RECV",
        }
    }

    /// The state with the kernel's or ss's spelling, in any case: CLOSE_WAIT, close-wait, estab.
    pub fn from_name(text: &str) -> Option<Self> {
        let canonical = text.to_ascii_uppercase().replace('-', "_");
        match canonical.as_str() {
            "ESTAB" => Some(Self::Established),
            "FIN_WAIT_1" => Some(Self::FinWait1),
            "FIN_WAIT_2" => Some(Self::FinWait2),
            "CLOSED" | "UNCONN" => Some(Self::Close),
            "LISTENING" => Some(Self::Listen),
            name => Self::ALL.into_iter().find(|state| state.name() == name),
        }
    }

    /// Whether a FIN of ours is (or is about to be) in flight.
    pub fn awaits_fin_ack(self) -> bool {
        matches!(self, Self::FinWait1 | Self::Closing | Self::LastAck)
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One end of a connection. Unknown means absent, never 0: the port of a connecting socket is
/// chosen after SYN_SENT is reported, and up to Linux 6.14 a child has no tuple at its birth.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Endpoint {
    /// The address; an IPv4-mapped IPv6 address is shown as the IPv4 address it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
}

impl Endpoint {
    /// A known endpoint.
    pub fn known(address: SocketAddr) -> Self {
        Self {
            address: Some(address.ip()),
            port: Some(Port(address.port())),
        }
    }

    /// Keeps what is known and fills in what was not.
    pub fn learn(&mut self, other: Self) {
        self.address = other.address.or(self.address);
        self.port = other.port.or(self.port);
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self
            .port
            .map_or_else(|| "*".to_owned(), |port| port.0.to_string());
        match self.address {
            Some(IpAddr::V4(address)) => f.pad(&format!("{address}:{port}")),
            Some(IpAddr::V6(address)) => f.pad(&format!("[{address}]:{port}")),
            None => f.pad(&format!("*:{port}")),
        }
    }
}

/// What `shutdown` has been called for, or was implied by close or a FIN: `sk_shutdown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shutdown(pub u8);

impl Shutdown {
    /// RCV_SHUTDOWN: the receiving side is closed (the peer's FIN sets it too).
    pub fn receive(self) -> bool {
        self.0 & 1 != 0
    }

    /// SEND_SHUTDOWN: the sending side is closed.
    pub fn send(self) -> bool {
        self.0 & 2 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_agree_with_the_kernel() {
        for state in TcpState::ALL {
            assert_eq!(TcpState::from_raw(state as u8), Some(state));
            assert_eq!(TcpState::from_name(state.name()), Some(state));
        }
        assert_eq!(TcpState::from_raw(0), None);
        assert_eq!(TcpState::from_raw(13), None);
        assert_eq!(TcpState::from_name("close-wait"), Some(TcpState::CloseWait));
        assert_eq!(TcpState::from_name("fin-wait-1"), Some(TcpState::FinWait1));
        assert_eq!(TcpState::from_name("estab"), Some(TcpState::Established));
    }
}
