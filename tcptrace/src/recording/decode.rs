//! Line -> Input: typed structs, chosen by the type that the line names first. Fields that are not
//! known here are skipped, among them the annotations, which a replay computes again.

mod carried;
mod events;
mod host;
mod looks;
mod quick;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, Visitor};
use tcptrace_core::Input;
use tcptrace_core::input::SocketKey;
use tcptrace_core::tcp::Endpoint;
use tcptrace_core::units::{NetnsId, SockId};

use super::finding::RecordedFinding;
use super::header::{FORMAT_VERSION, Footer, FormatVersion, Header};

/// One line of a recording.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every line is an Input: a box for each would be an allocation for each"
)]
pub(crate) enum Line {
    /// The first line of a recording or of a segment.
    Header(Box<Header>),
    /// A fact.
    Input(Input),
    /// What was concluded when it was recorded.
    Finding(Box<RecordedFinding>),
    /// The last line.
    Footer(Box<Footer>),
    /// A type that a newer version added.
    Unknown,
}

/// Why a line could not be read.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not what its type promises.
    Malformed(serde_json::Error),
    /// A header of a newer major version.
    Newer(u32),
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error)
    }
}

/// Reads one line, its newline not included.
pub(super) fn line(text: &[u8]) -> Result<Line, Refusal> {
    match quick::line(text) {
        Some(input) => Ok(Line::Input(input)),
        None => thorough(text),
    }
}

/// Reads any line that JSON and the format allow.
pub(super) fn thorough(text: &[u8]) -> Result<Line, Refusal> {
    match kind(text) {
        Some(kind) => typed(kind, text),
        None => {
            // Some other tool wrote the keys in an order of its own.
            #[derive(serde::Deserialize)]
            struct Typed {
                r#type: String,
            }
            let Typed { r#type } = serde_json::from_slice(text)?;
            typed(r#type.as_bytes(), text)
        }
    }
}

/// Whether the quick way takes this line: for a test that it does.
#[cfg(test)]
pub(super) fn is_quick(text: &[u8]) -> bool {
    quick::line(text).is_some()
}

/// The type of a line that starts as this format promises.
fn kind(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(br#"{"type":""#)?;
    // The longest type has 17 letters.
    let end = rest.iter().take(32).position(|b| *b == b'"')?;
    Some(&rest[..end])
}

fn typed(kind: &[u8], text: &[u8]) -> Result<Line, Refusal> {
    let input = match kind {
        b"transition" => from::<events::TransitionLine>(text)?,
        b"accept" => from::<events::AcceptLine>(text)?,
        b"destroy" => from::<events::DestroyLine>(text)?,
        b"tick" => from::<host::TickLine>(text)?,
        b"retransmit" => from::<events::RetransmitLine>(text)?,
        b"synack_retransmit" => from::<events::SynackRetransmitLine>(text)?,
        b"reset" => from::<events::ResetLine>(text)?,
        b"queue_drop" => from::<events::QueueDropLine>(text)?,
        b"socket" => from::<looks::SocketLine>(text)?,
        b"carried" => from::<carried::CarriedLine>(text)?,
        b"snapshot" => from::<host::SnapshotLine>(text)?,
        b"inspection" => from::<looks::InspectionLine>(text)?,
        b"stack" => from::<looks::StackLine>(text)?,
        b"listener" => from::<looks::ListenerLine>(text)?,
        b"counters" => from::<host::CountersLine>(text)?,
        b"netns" => from::<host::NetnsLine>(text)?,
        b"process" => from::<host::ProcessLine>(text)?,
        b"loss" => from::<host::LossLine>(text)?,
        b"finding" => return Ok(Line::Finding(serde_json::from_slice(text)?)),
        b"header" => return header(text),
        b"footer" => return Ok(Line::Footer(serde_json::from_slice(text)?)),
        _ => {
            serde_json::from_slice::<IgnoredAny>(text)?;
            return Ok(Line::Unknown);
        }
    };
    Ok(Line::Input(input))
}

fn from<'de, T: Deserialize<'de> + Into<Input>>(text: &'de [u8]) -> Result<Input, Refusal> {
    Ok(serde_json::from_slice::<T>(text)?.into())
}

fn header(text: &[u8]) -> Result<Line, Refusal> {
    // The version alone first: a newer header may differ in everything else.
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: FormatVersion,
    }
    let Versioned { version } = serde_json::from_slice(text)?;
    if version.0 > FORMAT_VERSION {
        return Err(Refusal::Newer(version.0));
    }
    Ok(Line::Header(serde_json::from_slice(text)?))
}

/// The fields of [`SocketKey`]; absent is unknown.
pub(super) fn key(
    sock: Option<SockText>,
    netns: Option<NetnsId>,
    local: Option<Endpoint>,
    peer: Option<Endpoint>,
) -> SocketKey {
    SocketKey {
        sock: sock.map_or(SockId(0), |text| text.0),
        netns: netns.unwrap_or_default(),
        local: local.unwrap_or_default(),
        peer: peer.unwrap_or_default(),
    }
}

/// A [`SockId`], read without an allocation.
#[derive(Clone, Copy)]
pub(super) struct SockText(pub(super) SockId);

impl<'de> Deserialize<'de> for SockText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base36;
        impl Visitor<'_> for Base36 {
            type Value = SockText;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a socket id in base 36")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SockText, E> {
                text.parse().map(SockText).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Base36)
    }
}

/// A wall-clock stamp.
pub(super) fn wall<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<tcptrace_core::units::WallNs, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    super::stamp::parse(&text).ok_or_else(|| D::Error::custom("`time` is no RFC 3339 stamp"))
}
