//! Which sockets the user wants to see. One predicate for the kernel edge, the recorder and the TUI.
//!
//! Invariant: what is not known *yet* passes (the port of a connecting socket, the owner of a
//! half-open one), so that a filter never hides the beginning of a connection that it admits.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::finding::{Finding, Owner};
use crate::input::{ProcessInfo, SocketKey};
use crate::tcp::{Endpoint, TcpState};
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
    /// Any of these in the path of the owner's cgroup.
    pub cgroups: Vec<String>,
    /// The owner's container id begins with any of these.
    pub containers: Vec<String>,
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

/// The text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCidr {
    /// Before the slash stands no address.
    #[error("`{0}` is not an address: write ADDRESS/PREFIX, as in 10.0.0.0/8 or fd00::/8")]
    Address(String),
    /// After the slash stands no usable prefix length.
    #[error("`{prefix}` is not a prefix length of {family}: write 0 to {longest}")]
    Prefix {
        /// What was written.
        prefix: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// 32 or 128.
        longest: u8,
    },
}

impl Filter {
    /// Whether the filter passes everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it asks only for what the kernel knows of every event: ports, family, namespace.
    pub fn is_kernels(&self) -> bool {
        self.pids.is_empty()
            && self.names.is_empty()
            && self.local_nets.is_empty()
            && self.remote_nets.is_empty()
            && self.states.is_empty()
    }

    /// The conditions, as the command line spells them.
    pub fn words(&self) -> Vec<String> {
        fn list<T>(option: &str, values: &[T], text: impl Fn(&T) -> String) -> Option<String> {
            let values: Vec<_> = values.iter().map(text).collect();
            (!values.is_empty()).then(|| format!("{option}={}", values.join(",")))
        }
        let port = |port: &Port| port.0.to_string();
        [
            list("--pid", &self.pids, |pid| pid.0.to_string()),
            list("--comm", &self.names, Clone::clone),
            list("--local-port", &self.local_ports, port),
            list("--remote-port", &self.remote_ports, port),
            list("--local", &self.local_nets, Cidr::to_string),
            list("--remote", &self.remote_nets, Cidr::to_string),
            self.family.map(|family| match family {
                Family::V4 => "-4".to_owned(),
                Family::V6 => "-6".to_owned(),
            }),
            self.netns.map(|netns| format!("--netns={}", netns.0)),
            list("--cgroup", &self.cgroups, Clone::clone),
            list("--container", &self.containers, Clone::clone),
            list("--state", &self.states, |state| state.name().to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether `socket` passes. What is not known yet passes; a listener, which never has a peer,
    /// fails a condition on the peer.
    pub fn passes(&self, socket: &Socket) -> bool {
        let (local, peer) = (socket.local(), socket.peer());
        let has_peer = socket.state != TcpState::Listen;
        (self.states.is_empty() || self.states.contains(&socket.state))
            && self.netns.is_none_or(|netns| netns == socket.netns())
            && self.family.is_none_or(|family| family.admits(local, peer))
            && any_or_unknown(&self.local_ports, local.port, |a, b| *a == b)
            && any_or_unknown(&self.local_nets, local.address, |net, address| {
                // Who listens on every address listens on those of the network too.
                net.contains(address) || address.is_unspecified()
            })
            && (has_peer || (self.remote_ports.is_empty() && self.remote_nets.is_empty()))
            && any_or_unknown(&self.remote_ports, peer.port, |a, b| *a == b)
            && any_or_unknown(&self.remote_nets, peer.address, Cidr::contains)
            && self.passes_process(socket)
    }

    /// The same for a socket of which only the tuple is known.
    pub fn passes_key(&self, key: &SocketKey) -> bool {
        self.netns.is_none_or(|netns| netns == key.netns)
            && self
                .family
                .is_none_or(|family| family.admits(key.local, key.peer))
            && any_or_unknown(&self.local_ports, key.local.port, |a, b| *a == b)
            && any_or_unknown(&self.local_nets, key.local.address, |net, address| {
                net.contains(address) || address.is_unspecified()
            })
            && any_or_unknown(&self.remote_ports, key.peer.port, |a, b| *a == b)
            && any_or_unknown(&self.remote_nets, key.peer.address, Cidr::contains)
    }

    /// Whether a finding is about what passes: by the processes that it names, by its samples'
    /// tuples, and by the states that its kind is about.
    pub fn passes_finding(&self, finding: &Finding) -> bool {
        let owners = || finding.processes.iter().map(|(owner, _)| owner);
        let named = |holds: &dyn Fn(&Owner) -> bool| {
            owners().next().or(finding.process.as_ref()).is_none()
                || owners().chain(&finding.process).any(holds)
        };
        let states = finding.kind.states();
        (self.pids.is_empty() || named(&|owner| self.pids.contains(&owner.process.pid)))
            && (self.names.is_empty()
                || named(&|owner| self.names.iter().any(|name| **name == *owner.process.name)))
            && (self.cgroups.is_empty()
                || named(&|owner| self.cgroups.iter().any(|it| in_cgroup(&owner.process, it))))
            && (self.containers.is_empty()
                || named(&|owner| {
                    self.containers
                        .iter()
                        .any(|it| in_container(&owner.process, it))
                }))
            && (self.states.is_empty() || states.iter().any(|state| self.states.contains(state)))
            && (finding.samples.is_empty()
                || finding.samples.iter().any(|key| self.passes_key(key)))
    }

    /// Whether the tuple is not known well enough to say that it passes: a connecting socket gets
    /// its port after its first event.
    pub fn must_wait_for(&self, key: &SocketKey) -> bool {
        (!self.local_ports.is_empty() && key.local.port.is_none())
            || (!self.remote_ports.is_empty() && key.peer.port.is_none())
    }

    fn passes_process(&self, socket: &Socket) -> bool {
        let owner = socket.owner.as_ref().map(|owner| &owner.process);
        let by_pid = self.pids.is_empty()
            || (owner.is_none() && socket.holders.is_empty())
            || owner.is_some_and(|process| self.pids.contains(&process.pid))
            || socket
                .holders
                .iter()
                .any(|holder| self.pids.contains(&holder.pid));
        by_pid
            && any_or_unknown(&self.names, owner, |name, process| {
                name.as_str() == &*process.name
            })
            && any_or_unknown(&self.cgroups, owner, |path, process| {
                in_cgroup(process, path)
            })
            && any_or_unknown(&self.containers, owner, |id, process| {
                in_container(process, id)
            })
    }
}

/// Whether the container id of a process begins with `id`.
pub fn in_container(process: &ProcessInfo, id: &str) -> bool {
    let full = process.container.as_ref();
    full.is_some_and(|full| full.starts_with(id))
}

/// Whether the path of a process's cgroup has `path` in it.
pub fn in_cgroup(process: &ProcessInfo, path: &str) -> bool {
    let full = process.cgroup.as_ref();
    full.is_some_and(|full| full.contains(path))
}

/// Whether a condition with these alternatives holds for `value`: no alternative is no condition,
/// and what is unknown passes.
fn any_or_unknown<A, V: Copy>(
    alternatives: &[A],
    value: Option<V>,
    holds: impl Fn(&A, V) -> bool,
) -> bool {
    match value {
        Some(value) if !alternatives.is_empty() => alternatives.iter().any(|a| holds(a, value)),
        _ => true,
    }
}

impl Family {
    /// Whether `address`, IPv4-mapped or not, is of this family.
    pub fn is_of(self, address: IpAddr) -> bool {
        address.to_canonical().is_ipv4() == (self == Self::V4)
    }

    fn admits(self, local: Endpoint, peer: Endpoint) -> bool {
        peer.address
            .or(local.address)
            .is_none_or(|address| self.is_of(address))
    }
}

impl Cidr {
    /// Whether `address` lies in the network. Bits of [`Cidr::address`] after the prefix do not
    /// count, so 10.1.2.3/8 is 10.0.0.0/8.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let free = 32 - u32::from(self.prefix.min(32));
                ((net.to_bits() ^ address.to_bits()) as u64) >> free == 0
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let differing = net.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix.min(128))
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let (address_text, prefix_text) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        // `ss` prints IPv6 in brackets; what can be copied should be accepted.
        let bare = address_text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(address_text);
        let address: IpAddr = bare
            .parse()
            .map_err(|_| BadCidr::Address(address_text.to_owned()))?;
        let (family, longest) = match address {
            IpAddr::V4(_) => ("IPv4", 32),
            IpAddr::V6(_) => ("IPv6", 128),
        };
        let prefix = match prefix_text {
            None => longest,
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                // `parse` takes a sign, which no one means here.
                .filter(|&bits| bits <= longest && !digits.starts_with('+'))
                .ok_or_else(|| BadCidr::Prefix {
                    prefix: digits.to_owned(),
                    family,
                    longest,
                })?,
        };
        Ok(Self { address, prefix }.unmapped())
    }
}

impl Cidr {
    /// Sockets show an IPv4-mapped address as the IPv4 address it is; so must a network.
    fn unmapped(self) -> Self {
        let IpAddr::V6(v6) = self.address else {
            return self;
        };
        match v6.to_ipv4_mapped() {
            Some(v4) if self.prefix >= MAPPED_BITS => Self {
                address: IpAddr::V4(v4),
                prefix: self.prefix - MAPPED_BITS,
            },
            _ => self,
        }
    }
}

/// How many leading bits `::ffff:0:0/96` fixes.
const MAPPED_BITS: u8 = (Ipv6Addr::BITS - 32) as u8;

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address, self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::finding::{Confidence, Owner, Provenance};
    use crate::input::{Holder, SocketKey};
    use crate::units::{Fd, MonoNs, SockId};
    use crate::world::Origin;

    /// A connection of nginx (pid 7), also held by pid 8, between 10.0.0.1:80 and 192.168.7.9:40000.
    fn connection() -> Socket {
        Socket {
            key: SocketKey {
                sock: SockId(1),
                netns: NetnsId(4_026_531_840),
                local: Endpoint::known("10.0.0.1:80".parse().unwrap()),
                peer: Endpoint::known("192.168.7.9:40000".parse().unwrap()),
            },
            state: TcpState::CloseWait,
            since: MonoNs(0),
            since_is_lower_bound: false,
            first_seen: MonoNs(0),
            origin: Origin::Passive,
            listener: None,
            owner: Some(Owner {
                process: Arc::new(ProcessInfo {
                    pid: Pid(7),
                    name: "nginx".into(),
                    cgroup: Some("/system.slice/shop.service".into()),
                    container: Some("4f5e6d7c8b9a".into()),
                    ..ProcessInfo::default()
                }),
                provenance: Provenance::Accept,
                confidence: Confidence::Exact,
            }),
            holders: vec![Holder {
                cloexec: None,
                pid: Pid(8),
                fd: Fd(3),
            }],
            accepted: true,
            closer: None,
            ends: crate::world::Ends::default(),
            retransmits: 0,
            unread: None,
            accept_queue: None,
            syn_depth: None,
            last_accept: None,
            special: crate::world::Tags::default(),
        }
    }

    /// The connection before anything is known of it.
    fn unknown() -> Socket {
        let mut socket = connection();
        socket.key.local = Endpoint::default();
        socket.key.peer = Endpoint::default();
        socket.owner = None;
        socket.holders.clear();
        socket
    }

    fn listener() -> Socket {
        let mut socket = connection();
        socket.state = TcpState::Listen;
        socket.key.local = Endpoint::known("0.0.0.0:80".parse().unwrap());
        socket.key.peer = Endpoint::default();
        socket
    }

    fn check(change: impl FnOnce(&mut Filter), socket: &Socket, passes: bool) {
        let mut filter = Filter::default();
        change(&mut filter);
        assert_eq!(filter.passes(socket), passes, "{filter:?}");
    }

    fn net(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn an_empty_filter_passes_everything() {
        assert!(Filter::default().is_empty());
        check(|_| {}, &connection(), true);
    }

    #[test]
    fn conditions_hold_together_and_alternatives_apart() {
        let socket = connection();
        check(|f| f.pids = vec![Pid(7)], &socket, true);
        check(|f| f.pids = vec![Pid(8)], &socket, true);
        check(|f| f.pids = vec![Pid(9)], &socket, false);
        check(|f| f.names = vec!["nginx".to_owned()], &socket, true);
        check(|f| f.names = vec!["ngin".to_owned()], &socket, false);
        check(|f| f.cgroups = vec!["shop".to_owned()], &socket, true);
        check(|f| f.cgroups = vec!["bank".to_owned()], &socket, false);
        check(|f| f.containers = vec!["4f5e".to_owned()], &socket, true);
        check(|f| f.containers = vec!["5e".to_owned()], &socket, false);
        check(|f| f.local_ports = vec![Port(81), Port(80)], &socket, true);
        check(|f| f.local_ports = vec![Port(81)], &socket, false);
        check(|f| f.remote_ports = vec![Port(80)], &socket, false);
        check(|f| f.local_nets = vec![net("10.0.0.0/8")], &socket, true);
        check(|f| f.remote_nets = vec![net("10.0.0.0/8")], &socket, false);
        check(|f| f.family = Some(Family::V4), &socket, true);
        check(|f| f.family = Some(Family::V6), &socket, false);
        check(|f| f.netns = Some(NetnsId(1)), &socket, false);
        check(|f| f.states = vec![TcpState::CloseWait], &socket, true);
        check(|f| f.states = vec![TcpState::Established], &socket, false);
        check(
            |f| {
                f.pids = vec![Pid(7)];
                f.local_ports = vec![Port(81)];
            },
            &socket,
            false,
        );
    }

    #[test]
    fn what_is_not_known_yet_passes() {
        let socket = unknown();
        check(|f| f.pids = vec![Pid(9)], &socket, true);
        check(|f| f.names = vec!["ngin".to_owned()], &socket, true);
        check(|f| f.local_ports = vec![Port(81)], &socket, true);
        check(|f| f.remote_nets = vec![net("10.0.0.0/8")], &socket, true);
        check(|f| f.family = Some(Family::V6), &socket, true);
        // A holder without an owner is knowledge enough to fail.
        let mut held = unknown();
        held.holders = connection().holders;
        check(|f| f.pids = vec![Pid(9)], &held, false);
    }

    #[test]
    fn a_listener_listens_on_every_address_and_has_no_peer() {
        check(
            |f| f.local_nets = vec![net("10.0.0.0/8")],
            &listener(),
            true,
        );
        check(|f| f.remote_ports = vec![Port(443)], &listener(), false);
        check(|f| f.remote_nets = vec![net("::/0")], &listener(), false);
    }

    #[test]
    fn networks_contain_what_shares_their_prefix() {
        for (network, address, inside) in [
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("10.9.8.7/8", "10.0.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/31", "10.0.0.1", true),
            ("10.0.0.0/31", "10.0.0.2", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("::ffff:10.0.0.0/104", "10.1.1.1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "fe80::1", true),
            ("[::1]", "::1", true),
            ("::1", "::2", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(
                net(network).contains(address),
                inside,
                "{address} in {network}"
            );
        }
    }

    #[test]
    fn a_bad_network_is_explained() {
        for (text, complaint) in [
            (
                "10.0.0/8",
                "`10.0.0` is not an address: write ADDRESS/PREFIX, as in 10.0.0.0/8 or fd00::/8",
            ),
            (
                "10.0.0.0/33",
                "`33` is not a prefix length of IPv4: write 0 to 32",
            ),
            ("::/x", "`x` is not a prefix length of IPv6: write 0 to 128"),
            (
                "10.0.0.0/+8",
                "`+8` is not a prefix length of IPv4: write 0 to 32",
            ),
            (
                "10.0.0.0/",
                "`` is not a prefix length of IPv4: write 0 to 32",
            ),
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap_err().to_string(), complaint);
        }
    }

    #[test]
    fn a_network_survives_text() {
        for text in ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"] {
            assert_eq!(net(text).to_string(), text);
        }
    }
}
