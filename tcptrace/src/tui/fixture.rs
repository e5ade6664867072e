//! Sockets and engines that the tests of the view look at.

use std::sync::Arc;

use tcptrace_core::Engine;
use tcptrace_core::finding::{Confidence, Owner, Provenance};
use tcptrace_core::input::{ProcessInfo, SocketKey};
use tcptrace_core::settings::Settings;
use tcptrace_core::tcp::{Endpoint, TcpState};
use tcptrace_core::units::{MonoNs, NetnsId, Pid, SockId};
use tcptrace_core::world::{Origin, Socket};

/// An engine that knows nothing.
pub(super) fn empty() -> Engine {
    Engine::new(Settings::default())
}

/// A connection of nginx, pid 7: CLOSE_WAIT, 10.0.0.1:80 from 192.168.7.9:40000.
pub(super) fn connection() -> Socket {
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
                ..ProcessInfo::default()
            }),
            provenance: Provenance::Accept,
            confidence: Confidence::Exact,
        }),
        holders: Vec::new(),
        accepted: true,
        closer: None,
        retransmits: 0,
        unread: None,
        accept_queue: None,
        syn_depth: None,
        last_accept: None,
    }
}
