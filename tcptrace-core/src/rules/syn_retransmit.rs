//! `syn_retransmit`: our connect is unanswered, and the SYN is sent again. The peer is down, or the
//! path or a firewall drops the SYN or its answer: this host cannot tell which.

use crate::finding::{Evidence, SynRetransmitEvidence};
use crate::input::{Retransmit, RetransmitReason, Transition};
use crate::rules::Bench;
use crate::rules::patience;
use crate::rules::unanswered::{Case, Cohort, Ending, Repetition};
use crate::tcp::TcpState;
use crate::world::World;

const ECONNRESET: u16 = 104;
const ECONNREFUSED: u16 = 111;

/// A SYN that was repeated, if this is one. In SYN_RECV of a full socket it is the SYN-ACK of a
/// simultaneous open.
pub(crate) fn repetition(x: &Retransmit, world: &World) -> Option<Repetition> {
    let connecting = matches!(x.state, TcpState::SynSent | TcpState::SynRecv);
    if !x.syn || !connecting || x.reason != RetransmitReason::Timeout {
        return None;
    }
    let socket = world.socket(x.key.sock)?;
    let facts = world.netns_facts(x.key.netns);
    let patience = patience::of_connect(facts, x);
    Some(Repetition {
        case: Case::of(x.key.sock),
        key: socket.key,
        state: x.state,
        attempt: u32::from(x.attempt),
        next: patience::next_timeout(facts, x, patience.linear),
        patience,
        owner: world.owner(socket),
        service: world.service(socket),
        cause: None,
        repeated_syns: None,
        inference: None,
    })
}

/// How a connect ended that is followed.
pub(crate) fn ending(x: &Transition) -> Ending {
    match (x.to, x.error) {
        (TcpState::Close, Some(ECONNREFUSED | ECONNRESET)) => Ending::Reset,
        // Unreachable and the like: the kernel gave up.
        (TcpState::Close, Some(_)) => Ending::TimedOut,
        // The application closed it: its own timeout was shorter.
        (TcpState::Close, None) => Ending::Abandoned,
        _ => Ending::Answered,
    }
}

pub(crate) fn evidence(group: &Cohort, bench: &Bench<'_>) -> Evidence {
    let state = group.worst.as_ref().map(|worst| worst.state);
    Evidence::SynRetransmit(SynRetransmitEvidence {
        state,
        repeated: group.repeated(bench),
        lost: match state {
            Some(TcpState::SynRecv) => "our SYN-ACK, or its ACK",
            _ => "our SYN, or its SYN-ACK",
        },
    })
}
