//! A received segment: who sent it to whom, from its headers. All by probe reads, as the headers are
//! no structure that the verifier knows.

use tcptrace_common::record::{V4, V6};

use crate::layout::{Memory as _, Probe, at};
use crate::sock::Identity;

/// A received segment; its sender is our peer.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    head: *const u8,
    ip: usize,
    pub(crate) identity: Identity,
}

impl Segment {
    /// Reads the headers of an `sk_buff` whose network and transport headers are set.
    #[inline(always)]
    pub(crate) fn of(skb: *const u8, netns: u32) -> Self {
        let head = Probe::get::<*const u8>(skb, at!(skb_head));
        let ip = usize::from(Probe::get::<u16>(skb, at!(skb_network_header)));
        let tcp = usize::from(Probe::get::<u16>(skb, at!(skb_transport_header)));
        // RFC 9293: source port, then destination port. RFC 791 and 8200: the version comes first.
        let ports = Probe::get::<[u16; 2]>(head, tcp);
        let v6 = Probe::get::<u8>(head, ip) >> 4 == 6;
        Self {
            head,
            ip,
            identity: Identity {
                netns,
                v6,
                local_port: u16::from_be(ports[1]),
                peer_port: u16::from_be(ports[0]),
            },
        }
    }

    /// The addresses of an IPv4 segment.
    #[inline(always)]
    pub(crate) fn v4(&self) -> V4 {
        V4 {
            peer: Probe::get(self.head, self.ip + 12),
            local: Probe::get(self.head, self.ip + 16),
        }
    }

    /// The addresses of an IPv6 segment.
    #[inline(always)]
    pub(crate) fn v6(&self) -> V6 {
        V6 {
            peer: Probe::get(self.head, self.ip + 8),
            local: Probe::get(self.head, self.ip + 24),
        }
    }
}
