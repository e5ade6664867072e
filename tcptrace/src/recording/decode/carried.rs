//! What a segment hands on to the next.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use tcptrace_core::Input;
use tcptrace_core::finding::{Confidence, Provenance};
use tcptrace_core::input::{Carried, CarriedOwner, Holder, QueueLevel};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{MonoNs, Pid};
use tcptrace_core::world::{CloseCall, Origin};

use super::SockText;
use super::events::socket_line;
use super::looks::HolderFields;

socket_line!(CarriedLine {
    state: TcpState,
    since_mono_ns: MonoNs,
    since_is_lower_bound: bool,
    first_seen_mono_ns: MonoNs,
    #[serde(deserialize_with = "origin")]
    origin: Origin,
    listener: Option<SockText>,
    owner: Option<OwnerFields>,
    #[serde(default)]
    holders: Vec<HolderFields>,
    accepted: bool,
    modelled: bool,
    closer: Option<CloserFields>,
    retransmits: u32,
    unread: Option<u32>,
    accept_queue: Option<LevelFields>,
    syn_depth: Option<u32>,
    last_accept_mono_ns: Option<MonoNs>,
    last_acceptor: Option<Pid>,
});

#[derive(Deserialize)]
struct OwnerFields {
    pid: Pid,
    name: String,
    provenance: String,
    confidence: String,
}

#[derive(Deserialize)]
struct CloserFields {
    pid: Pid,
    call: String,
}

#[derive(Deserialize)]
struct LevelFields {
    depth: u32,
    limit: u32,
}

/// A word that a newer version added is an unknown origin.
fn origin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Origin, D::Error> {
    let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    let known = [Origin::Active, Origin::Passive, Origin::Listener];
    Ok(named(&known, Origin::name, &word).unwrap_or_default())
}

fn named<T: Copy>(all: &[T], name: fn(T) -> &'static str, word: &str) -> Option<T> {
    all.iter().copied().find(|item| name(*item) == word)
}

impl OwnerFields {
    /// Nothing when a newer version says it in words that are not known here.
    fn known(self) -> Option<CarriedOwner> {
        const PROVENANCES: [Provenance; 5] = [
            Provenance::Connect,
            Provenance::Listen,
            Provenance::Accept,
            Provenance::Inherited,
            Provenance::Holder,
        ];
        const CONFIDENCES: [Confidence; 3] =
            [Confidence::Unknown, Confidence::Likely, Confidence::Exact];
        Some(CarriedOwner {
            pid: self.pid,
            name: Arc::from(self.name),
            provenance: named(&PROVENANCES, Provenance::name, &self.provenance)?,
            confidence: named(&CONFIDENCES, Confidence::name, &self.confidence)?,
        })
    }
}

impl From<CarriedLine> for Input {
    fn from(line: CarriedLine) -> Self {
        const CALLS: [CloseCall; 3] = [CloseCall::Close, CloseCall::Shutdown, CloseCall::Exit];
        Self::Carried(Box::new(Carried {
            at: line.mono_ns,
            key: line.key(),
            state: line.state,
            since: line.since_mono_ns,
            since_is_lower_bound: line.since_is_lower_bound,
            first_seen: line.first_seen_mono_ns,
            origin: line.origin,
            listener: line.listener.map(|text| text.0),
            owner: line.owner.and_then(OwnerFields::known),
            holders: line.holders.into_iter().map(Holder::from).collect(),
            accepted: line.accepted,
            modelled: line.modelled,
            closer: line.closer.and_then(|closer| {
                Some((closer.pid, named(&CALLS, CloseCall::name, &closer.call)?))
            }),
            retransmits: line.retransmits,
            unread: line.unread,
            queue: line
                .accept_queue
                .map(|LevelFields { depth, limit }| QueueLevel { depth, limit }),
            syn_depth: line.syn_depth,
            last_accept: line.last_accept_mono_ns.zip(line.last_acceptor),
        }))
    }
}
