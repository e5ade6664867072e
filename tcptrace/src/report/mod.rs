//! What remains of an incident, for people: recordings boiled down to one picture, and that picture
//! as text, as JSON and as a page.
//!
//! Facts stream through a [`Collector`]; what it keeps is bounded whatever their number: time buckets
//! that coarsen, histograms, the heaviest of everything.
//!
//! Invariants: nothing here reads a file or asks a clock; nothing here decides, the engine did;
//! every text that is not ours is escaped where it is rendered; no kind of finding is known by name.

mod buckets;
mod ends;
mod finding;
mod gather;
mod heaviest;
mod histogram;
mod host;
pub(crate) mod html;
mod listeners;
mod redact;
mod states;
mod story;
pub(crate) mod text;
mod units;

use serde::Serialize;

pub(crate) use ends::Meeting;
pub(crate) use finding::{Finding, rows};
pub(crate) use gather::{Collector, HostReport};
pub(crate) use host::{Host, Probe};
pub(crate) use redact::redact;

/// Everything that a report says.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Version of this shape: raised when a reader would misunderstand it.
    pub(crate) version: u32,
    /// Version of the tcptrace that made it.
    pub(crate) tool_version: String,
    /// Addresses and names are pseudonyms.
    pub(crate) redacted: bool,
    /// The story, one sentence each.
    pub(crate) summary: Vec<String>,
    /// One for each recording.
    pub(crate) hosts: Vec<HostReport>,
    /// What two recordings tell of the connections between their hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ends: Option<Meeting>,
    /// What was wrong with the recordings.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Puts what was collected together.
    pub(crate) fn new(tool_version: &str, mut hosts: Vec<HostReport>, notes: Vec<String>) -> Self {
        tell_apart(&mut hosts);
        let ends = Meeting::of(&hosts);
        let summary = story::tell(&hosts, ends.as_ref());
        Self {
            version: 1,
            tool_version: tool_version.to_owned(),
            redacted: false,
            summary,
            hosts,
            ends,
            notes,
        }
    }
}

/// Hosts of one name, or recordings of one host, get a letter.
fn tell_apart(hosts: &mut [HostReport]) {
    let names: Vec<String> = hosts.iter().map(|host| host.host.name.clone()).collect();
    for (number, host) in hosts.iter_mut().enumerate() {
        let same = names.iter().filter(|name| **name == names[number]).count();
        if same > 1 {
            let letter = char::from_u32('A' as u32 + number as u32 % 26).unwrap_or('A');
            host.host.name.push_str(&format!(" ({letter})"));
        }
    }
}
