//! The NDJSON recording, format version 1: one language for the live path and for replay.
//!
//! [`Recorder`] writes every [`Input`](tcptrace_core::Input) that the engine is given, [`Reader`]
//! gives the same Inputs back. `docs/recording.md` documents each field.
//!
//! Invariants:
//! - Writing is lossless: input -> line -> input is the identity for every variant (`round_trip`).
//! - A line is one valid JSON object with `type` as its first key, and is written whole or not at
//!   all. What a full queue discards is counted, under the cause `writer`.
//! - Nothing here asks a clock, and no kernel address is written: none is in an Input.
//! - Memory is bounded: the queue to the writer thread, the length of a line, the pool of buffers.

mod decode;
mod draft;
mod encode;
mod failure;
mod file;
mod finding;
mod header;
mod json;
mod kinds;
mod medium;
mod page_cache;
mod reader;
mod recorder;
mod schema;
mod segment;
mod sink;
mod space;
mod stamp;
mod tape;

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod samples;

pub(crate) use encode::Encoder;
pub(crate) use failure::RecordError;
pub(crate) use file::Target;
pub(crate) use finding::{RecordedCallSite, RecordedFinding, RecordedProcess, RecordedService};
pub(crate) use header::{Completeness, Ended, Footer, Header, Probe};
pub(crate) use medium::Medium;
pub(crate) use reader::{Line, Reader};
pub(crate) use recorder::{Recorder, Summary};
pub(crate) use schema::schema;
pub(crate) use segment::Rotation;
pub(crate) use stamp::parse as wall_of_stamp;
pub(crate) use tape::{Play, Shelf, Tape};
