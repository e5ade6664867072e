//! How many remotes a program talks to, and on how many ports of its own it serves: too many to tell
//! apart are told as one service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::book::Program;
use crate::finding::Service;
use crate::units::Port;

/// Remotes of one owner that are told apart.
const REMOTES: usize = 20;

/// Ports of one owner that are told apart. A program that serves on more opens one for each task, as
/// FTP's data connections do, and no single port says anything.
const PORTS: usize = 64;

/// Programs remembered. A host that runs more different ones tells their services apart.
const PROGRAMS: usize = 1024;

/// The services of each program.
#[derive(Debug, Default)]
pub(in crate::rules) struct Services(BTreeMap<Program, Seen>);

#[derive(Debug, Default)]
struct Seen {
    remotes: BTreeSet<(IpAddr, Port)>,
    ports: BTreeSet<Port>,
}

impl Seen {
    fn roll_up(&mut self, service: Service) -> Service {
        let (apart, together) = match service {
            Service::Remote(address, port) => (
                told_apart(&mut self.remotes, (address, port), REMOTES),
                Service::ManyRemotes,
            ),
            Service::Local(port) => (told_apart(&mut self.ports, port, PORTS), Service::ManyPorts),
            Service::ManyRemotes | Service::ManyPorts | Service::Unknown => return service,
        };
        if apart { service } else { together }
    }
}

impl Services {
    /// The service, rolled up where the program has too many.
    pub(in crate::rules) fn roll_up(&mut self, owner: &Program, service: Service) -> Service {
        if let Some(seen) = self.0.get_mut(owner) {
            return seen.roll_up(service);
        }
        if self.0.len() >= PROGRAMS && !self.forget_a_stranger() {
            return service;
        }
        let seen = self.0.entry(owner.clone()).or_default();
        seen.roll_up(service)
    }

    /// Forgets a process of which only the pid is known; its like are many and short-lived.
    fn forget_a_stranger(&mut self) -> bool {
        let stranger = self.0.keys().find(|it| matches!(it, Program::Pid(_)));
        let stranger = stranger.cloned();
        stranger.is_some_and(|it| self.0.remove(&it).is_some())
    }
}

/// Whether there are no more than `max`, this one included.
fn told_apart<T: Ord>(seen: &mut BTreeSet<T>, one: T, max: usize) -> bool {
    if seen.len() <= max {
        seen.insert(one);
    }
    seen.len() <= max
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn too_many_are_told_as_one() {
        let mut services = Services::default();
        let (one, other) = (Program::Unknown, Program::Pid(crate::units::Pid(7)));
        for number in 1..=PORTS as u16 {
            let port = Service::Local(Port(number));
            assert_eq!(services.roll_up(&one, port), port);
        }
        // Those seen before are rolled up as well: one service is not told twice.
        for number in [PORTS as u16 + 1, 1] {
            let port = Service::Local(Port(number));
            assert_eq!(services.roll_up(&one, port), Service::ManyPorts);
            assert_eq!(services.roll_up(&other, port), port);
        }
        let remote = |port| Service::Remote(Ipv4Addr::LOCALHOST.into(), Port(port));
        for number in 1..=REMOTES as u16 {
            assert_eq!(services.roll_up(&one, remote(number)), remote(number));
        }
        let many = services.roll_up(&one, remote(REMOTES as u16 + 1));
        assert_eq!(many, Service::ManyRemotes);
        assert_eq!(services.roll_up(&one, Service::Unknown), Service::Unknown);
    }
}
