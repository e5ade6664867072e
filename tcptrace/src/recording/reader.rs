//! Reading a recording back, one line at a time, in bounded memory.
//!
//! A recording ends where the recorder was killed, so an incomplete last line is a note
//! ([`Reader::cut_off`]) and no error. Any other broken line is an error that names it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::decode::{self, Refusal};
use super::header::FORMAT_VERSION;

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
    #[error("cannot open {name}: {source}; name a file that `tcptrace record -o FILE` wrote")]
    Open {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Reading failed.
    #[error("cannot read {name} after line {line}: {source}; copy the file to a sound disk")]
    Io {
        /// The file.
        name: String,
        /// The last line that was read.
        line: u64,
        /// Why.
        source: io::Error,
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
    #[error("cannot read {name}: line {line} is malformed: {source}; repair or delete that line")]
    Malformed {
        /// The file.
        name: String,
        /// Which.
        line: u64,
        /// What is wrong.
        source: serde_json::Error,
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

impl Reader<File> {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Ok(Self::new(name, file)),
            Err(source) => Err(ReadError::Open { name, source }),
        }
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
        }
    }

    /// The number of the line that was read last; the first is 1.
    pub(crate) fn line_number(&self) -> u64 {
        self.number
    }

    /// The number of the last line, when it was incomplete: the recorder was killed while it wrote.
    pub(crate) fn cut_off(&self) -> Option<u64> {
        (self.state == State::CutOff).then_some(self.number)
    }

    /// Reads on to the next line that is not blank; `false` at the end.
    fn advance(&mut self) -> Result<bool, ReadError> {
        loop {
            self.text.clear();
            let limit = MAX_LINE as u64 + 1;
            let read = (&mut self.source)
                .take(limit)
                .read_until(b'\n', &mut self.text)
                .map_err(|source| ReadError::Io {
                    name: self.name.clone(),
                    line: self.number,
                    source,
                })?;
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

    fn refused(&self, refusal: Refusal) -> ReadError {
        let name = self.name.clone();
        let line = self.number;
        match refusal {
            Refusal::Newer(found) => ReadError::Newer { name, line, found },
            Refusal::Malformed(_) if self.state == State::Start => ReadError::NoHeader { name },
            Refusal::Malformed(source) => ReadError::Malformed { name, line, source },
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
