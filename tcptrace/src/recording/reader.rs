//! Reading a recording back, one line at a time, in bounded memory.
//!
//! A recording ends where the recorder was killed, so an incomplete last line is a note
//! ([`Reader::cut_off`]) and no error. Any other broken line is an error that names it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use super::decode::{self, Refusal};
use super::header::FORMAT_VERSION;
use super::medium::{Gauge, Medium};

pub(crate) use super::decode::Line;

/// The longest line that is read. The longest that is written, an inspection or a finding, has a
/// few KiB; a header holds a command line, which the kernel bounds at 128 KiB an argument.
const MAX_LINE: usize = 4 << 20;

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// The lines of a recording. The first is always a header.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    source: BufReader<R>,
    name: String,
    /// The line, reused.
    text: Vec<u8>,
    number: u64,
    state: State,
    /// Of a file.
    gauge: Option<Arc<Gauge>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The header has not been seen.
    Start,
    Middle,
    /// The last line was incomplete.
    CutOff,
    /// The end, or an error that leaves nothing to go on with.
    End,
}

/// A recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It cannot be opened.
    #[error("cannot open {name}: {cause}; name a file that `tcptrace record -o FILE` wrote")]
    Open {
        /// The file.
        name: String,
        /// Why.
        cause: io::Error,
    },
    /// Reading failed.
    #[error("cannot read {name} after line {line}: {cause}; copy the file to a sound disk")]
    Io {
        /// The file.
        name: String,
        /// The last line that was read.
        line: u64,
        /// Why.
        cause: io::Error,
    },
    /// A frame of a compressed file is not what it was.
    #[error(
        "cannot read {name} after line {line}: its compressed frame is damaged ({cause}); copy the \
         file again from where it was recorded, or skip the frame with --lenient"
    )]
    Frame {
        /// The file.
        name: String,
        /// The last line that was read.
        line: u64,
        /// What is wrong.
        cause: io::Error,
    },
    /// The first line is no header.
    #[error(
        "{name} is not a tcptrace recording: its first line is no header; name a file that \
         `tcptrace record -o FILE` wrote, from its first line on"
    )]
    NoHeader {
        /// The file.
        name: String,
    },
    /// A newer format.
    #[error(
        "cannot read {name}: line {line} announces format version {found} and this tcptrace reads \
         up to {FORMAT_VERSION}; install a newer tcptrace"
    )]
    Newer {
        /// The file.
        name: String,
        /// The header's line.
        line: u64,
        /// Its version.
        found: u32,
    },
    /// A line is not what it should be.
    #[error(
        "cannot read {name}: line {line} is malformed: {cause}; repair or delete \
         that line, or skip it with --lenient"
    )]
    Malformed {
        /// The file.
        name: String,
        /// Which.
        line: u64,
        /// What is wrong.
        cause: serde_json::Error,
    },
    /// A line has no end.
    #[error(
        "cannot read {name}: line {line} is longer than {MAX_LINE} bytes, which no recording has; \
         repair or delete that line"
    )]
    TooLong {
        /// The file.
        name: String,
        /// Which.
        line: u64,
    },
}

impl Reader<Medium> {
    /// Opens a file, plain or compressed.
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        let name = path.display().to_string();
        match File::open(path).and_then(Medium::new) {
            Ok(source) => {
                let gauge = source.gauge();
                Ok(Self {
                    gauge: Some(gauge),
                    ..Self::new(name, source)
                })
            }
            Err(cause) => Err(ReadError::Open { name, cause }),
        }
    }

    /// From now on a damaged frame of a compressed file is a damaged line.
    pub(crate) fn pass_over_damage(&mut self) {
        self.source.get_mut().pass_over_damage();
    }

    /// How far the file has been read.
    pub(crate) fn gauge(&self) -> Arc<Gauge> {
        self.gauge.clone().unwrap_or_default()
    }
}

impl ReadError {
    /// Only this line is damaged: what follows it can be read.
    pub(crate) fn is_one_line(&self) -> bool {
        matches!(self, Self::Malformed { .. })
    }
}

impl<R: Read> Reader<R> {
    /// Reads `source`, called `name` in errors.
    pub(crate) fn new(name: String, source: R) -> Self {
        Self {
            source: BufReader::with_capacity(BUFFER, source),
            name,
            text: Vec::with_capacity(1024),
            number: 0,
            state: State::Start,
            gauge: None,
        }
    }

    /// The number of the last line, when it was incomplete: the recorder was killed while it wrote.
    pub(crate) fn cut_off(&self) -> Option<u64> {
        let torn = self.gauge.as_ref().is_some_and(|gauge| gauge.torn());
        (self.state == State::CutOff || torn).then_some(self.number)
    }

    /// Reads on to the next line that is not blank; `false` at the end.
    fn advance(&mut self) -> Result<bool, ReadError> {
        loop {
            self.text.clear();
            let limit = MAX_LINE as u64 + 1;
            let read = (&mut self.source)
                .take(limit)
                .read_until(b'\n', &mut self.text)
                .map_err(|cause| self.unreadable(cause))?;
            if read == 0 {
                return Ok(false);
            }
            self.number += 1;
            if read > MAX_LINE {
                return Err(ReadError::TooLong {
                    name: self.name.clone(),
                    line: self.number,
                });
            }
            if !self.text.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    fn unreadable(&self, cause: io::Error) -> ReadError {
        let (name, line) = (self.name.clone(), self.number);
        match cause.kind() {
            io::ErrorKind::InvalidData => ReadError::Frame { name, line, cause },
            _ => ReadError::Io { name, line, cause },
        }
    }

    fn refused(&self, refusal: Refusal) -> ReadError {
        let name = self.name.clone();
        let line = self.number;
        match refusal {
            Refusal::Newer(found) => ReadError::Newer { name, line, found },
            Refusal::Malformed(_) if self.state == State::Start => ReadError::NoHeader { name },
            Refusal::Malformed(cause) => ReadError::Malformed { name, line, cause },
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.state, State::End | State::CutOff) {
            return None;
        }
        match self.advance() {
            Ok(true) => {}
            Ok(false) if self.state == State::Start => {
                self.state = State::End;
                return Some(Err(ReadError::NoHeader {
                    name: self.name.clone(),
                }));
            }
            Ok(false) => {
                self.state = State::End;
                return None;
            }
            Err(error) => {
                self.state = State::End;
                return Some(Err(error));
            }
        }
        let whole = self.text.ends_with(b"\n");
        let item = match decode::line(self.text.trim_ascii_end()) {
            Err(Refusal::Malformed(_)) if !whole && self.state == State::Middle => {
                self.state = State::CutOff;
                return None;
            }
            Err(refusal) => Err(self.refused(refusal)),
            Ok(line) if self.state == State::Start && !matches!(line, Line::Header(_)) => {
                Err(ReadError::NoHeader {
                    name: self.name.clone(),
                })
            }
            Ok(line) => Ok(line),
        };
        self.state = match (&item, self.state) {
            // What follows a bad header cannot be judged; what follows a bad line can.
            (Err(ReadError::Newer { .. }), _) | (Err(_), State::Start) => State::End,
            _ => State::Middle,
        };
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode::Encoder;
    use super::super::samples;
    use super::*;
    use bytes::BytesMut;
    use tcptrace_core::engine::Annotation;

    /// A recording of every Input, as text.
    fn recording() -> String {
        let mut out = BytesMut::new();
        let mut encoder = Encoder::new(samples::header().clock_offset_ns);
        encoder.header(&samples::header(), &mut out);
        for (input, annotation) in samples::inputs() {
            encoder.input(&input, &annotation, &mut out);
        }
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_file_that_is_missing_is_said_to_be_missing_once() {
        let error = match Reader::open(Path::new("/nowhere/x.ndjson")) {
            Ok(_) => panic!("there is no such file"),
            Err(error) => anyhow::Error::from(error),
        };
        let said = format!("{error:#}");
        assert_eq!(said.matches("os error 2").count(), 1, "{said}");
        assert!(
            said.contains("/nowhere/x.ndjson") && said.contains("record -o"),
            "{said}"
        );
    }

    /// Reads `text`: lines before the first error, and that error.
    fn check(text: impl AsRef<[u8]>) -> (Vec<Line>, Option<String>) {
        let mut lines = Vec::new();
        for line in Reader::new("x.ndjson".to_owned(), text.as_ref()) {
            match line {
                Ok(line) => lines.push(line),
                Err(error) => return (lines, Some(error.to_string())),
            }
        }
        (lines, None)
    }

    fn refused(text: impl AsRef<[u8]>, words: &[&str]) {
        let (_, error) = check(text);
        let error = error.expect("this is refused");
        for word in words {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_malformed_line_is_named_and_the_rest_can_be_read() {
        let text = recording();
        let mut lines: Vec<&str> = text.lines().collect();
        let whole = lines.len();
        lines[3] = r#"{"type":"destroy","seq":3}"#;
        let text = lines.join("\n");
        refused(&text, &["x.ndjson", "line 4", "mono_ns"]);
        let read = Reader::new("x".to_owned(), text.as_bytes());
        assert_eq!(read.filter(Result::is_ok).count(), whole - 1);
        refused(text.replace("destroy", "\u{0}"), &["line 4"]);
    }

    #[test]
    fn only_a_recording_is_read() {
        for text in [
            "",
            "\n",
            "hello\n",
            "{}\n",
            "{\"type\":\"tick\"}\n",
            "\u{1f}\u{8b}",
        ] {
            refused(text, &["x.ndjson", "not a tcptrace recording"]);
        }
        let text = recording();
        let headless = text.split_once('\n').unwrap().1;
        refused(headless, &["first line is no header"]);
    }

    #[test]
    fn a_newer_version_is_refused_with_the_remedy() {
        let newer = r#"{"type":"header","version":2,"everything":"else differs"}"#;
        refused(newer, &["version 2", "up to 1", "install a newer tcptrace"]);
    }

    #[test]
    fn what_a_newer_minor_adds_is_accepted() {
        let mut text = recording().replace(",\"seq\":", ",\"added\":{\"a\":[1]},\"seq\":");
        text.push_str("{\"type\":\"weather\",\"sky\":\"blue\"}\n");
        let (lines, error) = check(&text);
        assert_eq!(error, None);
        let facts = lines.iter().filter_map(|line| match line {
            Line::Input(input) => Some(input.clone()),
            _ => None,
        });
        let expected: Vec<_> = samples::inputs()
            .into_iter()
            .map(|(input, _)| input)
            .collect();
        assert_eq!(facts.collect::<Vec<_>>(), expected);
        assert_eq!(lines.last(), Some(&Line::Unknown));
    }

    #[test]
    fn other_writers_may_sort_keys_and_add_space() {
        let text: String = recording()
            .lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                format!("  {value}\r\n\n")
            })
            .collect();
        assert!(!text.contains("{\"type\""), "the keys are sorted");
        assert_eq!(check(text), check(recording()));
    }

    #[test]
    fn a_killed_recorder_leaves_a_readable_file() {
        let text = recording();
        let header = text.find('\n').unwrap() + 1;
        let mut before = 0;
        for cut in header..text.len() {
            let mut reader = Reader::new("x".to_owned(), &text.as_bytes()[..cut]);
            let read = reader.by_ref().map(Result::unwrap).count();
            let whole = text[..cut].matches('\n').count();
            // The line is whole although its newline is missing.
            let complete = text.as_bytes()[cut] == b'\n';
            let torn = !text[..cut].ends_with('\n') && !complete;
            assert_eq!(read, whole + usize::from(complete));
            assert_eq!(reader.cut_off().is_some(), torn, "{cut}");
            assert!(read >= before);
            before = read;
        }
    }

    #[test]
    fn a_line_has_a_bounded_length() {
        let mut text = recording();
        text.extend(std::iter::repeat_n('x', MAX_LINE + 1));
        refused(text, &["line 25", "longer than"]);
    }

    /// What was read, written again, says the same of every field that it has.
    fn says_the_same(lines: &[Line], texts: &str) {
        const DERIVED: [&str; 6] = ["seq", "time", "process", "in_state_ns", "enters", "tags"];
        let mut encoder = Encoder::new(0);
        for (line, text) in lines.iter().zip(texts.lines()) {
            let Line::Input(input) = line else { continue };
            let mut again = BytesMut::new();
            encoder.input(input, &Annotation::default(), &mut again);
            let (mut was, mut now): (serde_json::Value, serde_json::Value) = (
                serde_json::from_str(text).unwrap(),
                serde_json::from_slice(&again).unwrap(),
            );
            for fields in [&mut was, &mut now] {
                let fields = fields.as_object_mut().unwrap();
                fields.retain(|name, _| !DERIVED.contains(&name.as_str()));
            }
            assert_eq!(was, now);
        }
    }

    #[test]
    fn a_version_1_segment_is_read_for_ever() {
        let (lines, error) = check(include_str!("fixtures/v1-segment.ndjson"));
        assert_eq!(error, None);
        let Line::Header(header) = &lines[0] else {
            panic!("the header comes first");
        };
        assert_eq!(header.segment, Some(2));
        let carried = |line: &Line| matches!(line, Line::Input(tcptrace_core::Input::Carried(_)));
        assert!(lines.iter().any(carried));
        says_the_same(&lines, include_str!("fixtures/v1-segment.ndjson"));
        assert!(!lines.contains(&Line::Unknown));
    }

    #[test]
    fn a_version_1_recording_is_read_for_ever() {
        let (lines, error) = check(include_str!("fixtures/v1.ndjson"));
        assert_eq!(error, None);
        assert_eq!(lines[0], Line::Header(samples::header().into()));
        says_the_same(&lines, include_str!("fixtures/v1.ndjson"));
        let [.., Line::Finding(finding), Line::Footer(footer)] = &lines[..] else {
            panic!("a finding and the footer come last");
        };
        assert_eq!(lines.len(), samples::inputs().len() + 3);
        assert_eq!(finding.process.as_ref().unwrap().pid.0, 812);
        assert_eq!(footer.losses["ring"], 3);
    }
}
