//! How many remotes a program talks to: more than [`APART`] are told as one service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::book::Program;
use crate::finding::Service;
use crate::units::Port;

/// Remotes of one owner that are told apart.
const APART: usize = 20;

/// Programs remembered. A host that runs more different ones tells their remotes apart.
const PROGRAMS: usize = 1024;

/// The remotes of each program.
#[derive(Debug, Default)]
pub(in crate::rules) struct Remotes(BTreeMap<Program, BTreeSet<(IpAddr, Port)>>);

impl Remotes {
    /// The service, rolled up where the program has too many.
    pub(in crate::rules) fn service(&mut self, owner: &Program, service: Service) -> Service {
        let Service::Remote(address, port) = service else {
            return service;
        };
        if !self.0.contains_key(owner) {
            if self.0.len() >= PROGRAMS {
                return service;
            }
            self.0.insert(owner.clone(), BTreeSet::new());
        }
        let Some(known) = self.0.get_mut(owner) else {
            return service;
        };
        if known.len() <= APART {
            known.insert((address, port));
        }
        if known.len() > APART {
            Service::ManyRemotes
        } else {
            service
        }
    }
}
