//! Input -> line. Every payload is taken apart without `..`, so that a new field breaks the build
//! here instead of being forgotten in a file.
//!
//! Facts are written without allocating, booleans always, unknown values never. Headers, findings
//! and footers are rare and go through serde.

mod carried;
mod events;
mod host;
mod looks;
mod owners;
mod sockets;

use bytes::BytesMut;
use tcptrace_core::Input;
use tcptrace_core::engine::Annotation;
use tcptrace_core::finding::Finding;
use tcptrace_core::input;
use tcptrace_core::units::MonoNs;
use tcptrace_core::world::Tag;

use self::owners::Owners;
use self::sockets::Sockets;
use super::draft::Draft;
use super::finding::RecordedFinding;
use super::header::{Footer, Header};
use super::json::Object;
use super::kinds::LineKind;
use super::stamp::Stamper;

/// Numbers, stamps and writes lines. The recorder has one; a replay that prints NDJSON has one.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    seq: u64,
    stamper: Stamper,
    draft: Draft,
    owners: Owners,
    sockets: Sockets,
}

impl Encoder {
    /// For a recording whose header says this offset of the wall clock from the monotonic one.
    pub(crate) fn new(clock_offset_ns: i64) -> Self {
        Self {
            seq: 0,
            stamper: Stamper::new(clock_offset_ns),
            draft: Draft::new(),
            owners: Owners::default(),
            sockets: Sockets::default(),
        }
    }

    /// A new segment: lines are numbered from 0 again.
    pub(super) fn restart(&mut self, clock_offset_ns: i64) {
        *self = Self::new(clock_offset_ns);
    }

    /// Wall clock minus monotonic clock, as last told.
    pub(super) fn offset(&self) -> i64 {
        self.stamper.offset()
    }

    /// An instant on the wall clock, RFC 3339.
    pub(crate) fn stamp(&mut self, at: MonoNs) -> String {
        self.stamper.text(at)
    }

    /// Appends the first line.
    pub(crate) fn header(&mut self, header: &Header, out: &mut BytesMut) {
        self.line("header", header.at, out, |line| line.members(header));
    }

    /// Appends the last line.
    pub(crate) fn footer(&mut self, footer: &Footer, out: &mut BytesMut) {
        self.line("footer", footer.at, out, |line| line.members(footer));
    }

    /// Appends a finding as it is at `now`: the time of the Input that brought it, so that a replay
    /// says the same.
    pub(crate) fn finding(&mut self, finding: &Finding, now: MonoNs, out: &mut BytesMut) {
        let recorded = self.recorded(finding, now);
        self.recorded_finding(&recorded, out);
    }

    /// A finding in the form in which it is written, and in which a recorded one is read.
    pub(crate) fn recorded(&mut self, finding: &Finding, now: MonoNs) -> RecordedFinding {
        RecordedFinding::new(finding, now, |at| self.stamper.text(at))
    }

    /// Appends a finding that was read from a recording or made by [`Encoder::recorded`].
    pub(crate) fn recorded_finding(&mut self, finding: &RecordedFinding, out: &mut BytesMut) {
        self.line(LineKind::Finding.name(), finding.at, out, |line| {
            line.members(finding);
        });
    }

    /// Takes the clock offset of a tick that is not written: for a replay.
    pub(crate) fn observe(&mut self, input: &Input) {
        if let Input::Tick(tick) = input {
            self.stamper.learn(tick);
        }
    }

    /// Appends a fact, with what the engine adds to it.
    pub(crate) fn input(&mut self, input: &Input, annotation: &Annotation, out: &mut BytesMut) {
        self.observe(input);
        self.begin(LineKind::of(input).name(), input.at());
        let mut line = Object::resume(&mut self.draft);
        if let Some(key) = input.key() {
            self.sockets.write(line.draft(), key);
            if let Some(owner) = &annotation.process {
                self.owners.write(&mut line, owner);
            }
            if !annotation.tags.is_empty() {
                let tags = Tag::ALL.map(|tag| (tag.name(), annotation.tags.has(tag)));
                line.words("tags", &tags);
            }
        }
        fact(&mut line, input, annotation);
        line.close();
        self.end(out);
    }

    fn line(
        &mut self,
        kind: &'static str,
        at: MonoNs,
        out: &mut BytesMut,
        fill: impl FnOnce(&mut Object<'_>),
    ) {
        self.begin(kind, at);
        let mut line = Object::resume(&mut self.draft);
        fill(&mut line);
        line.close();
        self.end(out);
    }

    /// `{"type":T,"seq":N,"time":"…","mono_ns":N`
    #[inline(always)]
    fn begin(&mut self, kind: &'static str, at: MonoNs) {
        let draft = &mut self.draft;
        draft.clear();
        draft.put(br#"{"type":""#);
        draft.put_short(kind.as_bytes());
        draft.put(br#"","seq":"#);
        draft.number(self.seq);
        self.seq += 1;
        draft.put(br#","time":""#);
        draft.put(&self.stamper.stamp(at));
        draft.put(br#"","mono_ns":"#);
        draft.number(at.0);
    }

    /// Hands the line over.
    #[inline(always)]
    fn end(&mut self, out: &mut BytesMut) {
        self.draft.byte(b'\n');
        out.extend_from_slice(self.draft.written());
    }
}

fn fact(line: &mut Object<'_>, input: &Input, annotation: &Annotation) {
    match input {
        Input::Transition(x) => events::transition(line, x, annotation),
        Input::Accept(x) => events::accept(line, x),
        Input::Retransmit(x) => events::retransmit(line, x),
        Input::SynackRetransmit(x) => events::synack_retransmit(line, x),
        Input::Reset(x) => events::reset(line, x),
        Input::QueueDrop(x) => events::queue_drop(line, x),
        // All that there is to say is in the key and in the time.
        Input::Destroy(input::Destroy { at: _, key: _ }) => {}
        Input::Socket(x) => looks::socket_row(line, x),
        Input::Carried(x) => carried::carried(line, x),
        Input::Snapshot(x) => host::snapshot(line, x),
        Input::Inspection(x) => looks::inspection(line, x),
        Input::Stack(x) => looks::stack(line, x),
        Input::Listener(x) => looks::listener(line, x),
        Input::Counters(x) => host::counters(line, x),
        Input::Netns(x) => host::netns_facts(line, x),
        Input::Process(x) => host::process(line, x),
        Input::Loss(x) => host::loss(line, x),
        // The wall clock of a tick is its `time`.
        Input::Tick(input::Tick { at: _, wall: _ }) => {}
    }
}
