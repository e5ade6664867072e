//! The head that every record about a socket begins with, and its addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tcptrace_common::record::flag;

use super::bytes::Bytes;
use super::{RawKey, SockAddress};
use crate::input::Context;
use crate::tcp::Endpoint;
use crate::units::{MonoNs, NetnsId, Pid, Port, Tid};

/// The fields of a record's head.
pub(super) struct HeadFields {
    pub(super) at: MonoNs,
    pub(super) key: RawKey,
    pub(super) file_refs: u8,
    pub(super) flags: u16,
    pub(super) pid: Pid,
}

impl HeadFields {
    pub(super) fn read(bytes: &mut Bytes<'_>) -> Self {
        let at = MonoNs(bytes.u64());
        let sock = SockAddress(bytes.u64());
        let _kind = bytes.u8();
        let file_refs = bytes.u8();
        let flags = bytes.u16();
        let netns = NetnsId(bytes.u32());
        let mut port = || {
            let number = bytes.u16();
            Endpoint {
                address: None,
                port: (number != 0).then_some(Port(number)),
            }
        };
        let (local, peer) = (port(), port());
        Self {
            at,
            key: RawKey {
                sock,
                netns,
                local,
                peer,
            },
            file_refs,
            flags,
            pid: Pid(bytes.u32()),
        }
    }

    pub(super) fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Reads both addresses in the width that the flags announce.
    pub(super) fn addresses(&mut self, bytes: &mut Bytes<'_>) {
        if self.is(flag::V6) {
            self.key.local.address = v6(bytes.take());
            self.key.peer.address = v6(bytes.take());
        } else {
            self.key.local.address = v4(bytes.take());
            self.key.peer.address = v4(bytes.take());
        }
        self.key.forget_unknown_peer();
    }

    pub(super) fn context(&self, tid: Tid) -> Context {
        if self.is(flag::OWNED) {
            Context::Process {
                pid: self.pid,
                tid,
                exiting: self.is(flag::EXITING),
            }
        } else {
            Context::Interrupt
        }
    }
}

impl RawKey {
    /// A peer without port has no address either: it is a listener's, or not known yet. A local
    /// address of all zeroes stays, as a listener's wildcard is a fact.
    pub(super) fn forget_unknown_peer(&mut self) {
        if self.peer.port.is_none() && self.peer.address.is_some_and(|it| it.is_unspecified()) {
            self.peer.address = None;
        }
    }
}

pub(super) fn v4(octets: [u8; 4]) -> Option<IpAddr> {
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// An IPv4-mapped address is the IPv4 address that it is.
pub(super) fn v6(octets: [u8; 16]) -> Option<IpAddr> {
    Some(Ipv6Addr::from(octets).to_canonical())
}
