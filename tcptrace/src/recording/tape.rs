//! Recordings as people name them: files, several files, directories; and the segments of each
//! recording as one tape, in order.
//!
//! Invariants: a tape holds the segments of one recording (`recording_id`); where one is missing,
//! the tape says so, and what a continuous tape repeats at the start of a segment is left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tcptrace_core::Input;

use super::header::{Completeness, Header};
use super::medium::{Gauge, Medium};
use super::reader::{Line, ReadError, Reader};

/// Everything that was named: one tape per recording, in the order in which they were named; those of
/// one directory by the time at which they began.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// The recordings.
    pub(crate) tapes: Vec<Tape>,
    /// Files of a named directory that could not be used, and why.
    pub(crate) notes: Vec<String>,
}

/// The segments of one recording, in order.
#[derive(Debug)]
pub(crate) struct Tape {
    /// Of the first segment.
    pub(crate) header: Header,
    segments: Vec<(PathBuf, Header, u64)>,
    /// Segments before the first or in between are missing.
    gap: bool,
}

/// A tape being read.
pub(crate) struct Play<'a> {
    tape: &'a Tape,
    next: usize,
    reader: Option<Reader<Medium>>,
    /// Bytes of the segments that are done.
    done: u64,
    gauge: Arc<Gauge>,
    /// The segment under way goes on where the last one ended.
    continues: bool,
    lenient: bool,
    /// Damaged lines that were skipped.
    pub(crate) skipped: u64,
    /// Why the last one was.
    pub(crate) last_damage: Option<String>,
    /// The last segment, or one in between, was cut off after this line.
    pub(crate) cut_off: Option<(PathBuf, u64)>,
}

impl Shelf {
    /// Reads the headers of `paths`. A directory stands for the recordings in it.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self, ReadError> {
        let mut notes = Vec::new();
        let mut found: BTreeMap<String, (usize, Vec<_>)> = BTreeMap::new();
        for (place, path) in paths.iter().enumerate() {
            let directory = path.is_dir();
            for file in files(path)? {
                let header = match first_line(&file) {
                    Ok(header) => header,
                    // A recorder that was killed while it began a segment leaves such a file.
                    Err(error) if directory || paths.len() > 1 && is_empty(&file) => {
                        notes.push(error.to_string());
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let bytes = fs::metadata(&file).map_or(0, |found| found.len());
                let (_, segments) = found
                    .entry(header.recording_id.clone())
                    .or_insert_with(|| (place, Vec::<(PathBuf, Header, u64)>::new()));
                let twice = segments
                    .iter()
                    .any(|(_, other, _)| other.segment == header.segment && other.at == header.at);
                if twice {
                    notes.push(format!(
                        "{} is named twice, or a copy; it is used once",
                        file.display()
                    ));
                } else {
                    segments.push((file, header, bytes));
                }
            }
        }
        let mut tapes: Vec<(usize, Tape)> = found
            .into_values()
            .filter_map(|(place, mut segments)| {
                segments.sort_by_key(|(_, header, _)| (header.segment, header.at));
                let header = segments.first()?.1.clone();
                let first = header.segment.unwrap_or(1);
                let gap = first != 1
                    || segments
                        .windows(2)
                        .any(|pair| pair[1].1.segment != pair[0].1.segment.map(|n| n + 1));
                let tape = Tape {
                    header,
                    segments,
                    gap,
                };
                Some((place, tape))
            })
            .collect();
        tapes.sort_by_key(|(place, Tape { header, .. })| {
            let began = i128::from(header.at.0) + i128::from(header.clock_offset_ns);
            (*place, began)
        });
        Ok(Self {
            tapes: tapes.into_iter().map(|(_, tape)| tape).collect(),
            notes,
        })
    }

    /// Bytes of all of them, as they lie on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.tapes.iter().map(Tape::bytes).sum()
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |cause| ReadError::Open {
        name: path.display().to_string(),
        cause,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let name = file.to_string_lossy();
        if file.is_file() && (name.ends_with(".ndjson") || name.ends_with(".ndjson.zst")) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(ReadError::NoHeader {
            name: format!("{} (no *.ndjson or *.ndjson.zst in it)", path.display()),
        });
    }
    Ok(files)
}

fn is_empty(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() == 0)
}

fn first_line(path: &Path) -> Result<Header, ReadError> {
    match Reader::open(path)?.next().transpose()? {
        Some(Line::Header(header)) => Ok(*header),
        _ => Err(ReadError::NoHeader {
            name: path.display().to_string(),
        }),
    }
}

impl Tape {
    /// Whether a replay makes the findings of the run: every fact is there, from the beginning on.
    pub(crate) fn is_complete(&self) -> bool {
        !self.gap && self.header.completeness == Completeness::All
    }

    /// Why the recorded findings are shown instead of recomputed ones, if they are.
    pub(crate) fn incomplete_because(&self) -> Option<&'static str> {
        self.header.incomplete_because(self.gap)
    }

    /// The files, for messages.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.segments.iter().map(|(path, _, _)| path.as_path())
    }

    /// Bytes of all segments, as they lie on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, _, bytes)| bytes).sum()
    }

    /// Starts reading. With `lenient` damaged lines are skipped and counted.
    pub(crate) fn play(&self, lenient: bool) -> Play<'_> {
        Play {
            tape: self,
            next: 0,
            reader: None,
            done: 0,
            gauge: Arc::default(),
            continues: false,
            lenient,
            skipped: 0,
            last_damage: None,
            cut_off: None,
        }
    }
}

impl Play<'_> {
    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.done + self.gauge.bytes()
    }

    /// The next line: facts, findings and footers of all segments, and the first header.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, ReadError> {
        loop {
            let Some(reader) = &mut self.reader else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            match reader.next() {
                Some(Ok(Line::Header(header))) => {
                    if self.next == 1 {
                        return Ok(Some(Line::Header(header)));
                    }
                }
                Some(Ok(Line::Input(Input::Carried(_)))) if self.continues => {}
                Some(Ok(line)) => return Ok(Some(line)),
                Some(Err(error)) if self.lenient && error.is_one_line() => {
                    self.skipped += 1;
                    self.last_damage = Some(error.to_string());
                }
                Some(Err(error)) => return Err(error),
                None => self.close(),
            }
        }
    }

    fn open_next(&mut self) -> Result<bool, ReadError> {
        let Some((path, header, _)) = self.tape.segments.get(self.next) else {
            return Ok(false);
        };
        let before = self.next.checked_sub(1).map(|at| &self.tape.segments[at].1);
        self.continues = before.is_some_and(|before| {
            before.segment.is_some() && header.segment == before.segment.map(|n| n + 1)
        });
        let mut reader = Reader::open(path)?;
        if self.lenient {
            reader.pass_over_damage();
        }
        self.gauge = reader.gauge();
        self.reader = Some(reader);
        self.next += 1;
        Ok(true)
    }

    fn close(&mut self) {
        let Some(reader) = self.reader.take() else {
            return;
        };
        if let Some(line) = reader.cut_off()
            && let Some((path, _, _)) = self.tape.segments.get(self.next - 1)
        {
            self.cut_off = Some((path.clone(), line));
        }
        self.done += self.gauge.bytes();
        self.gauge = Arc::default();
    }
}
