//! A recording in segments: when the next one begins, what the files are called, which stay, and the
//! index that lists them.
//!
//! Invariants: only files that this run has created are ever deleted; the index is replaced whole,
//! so that whoever reads it sees an old or a new one, never half of one.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::failure::RecordError;
use super::file::{self, OpenFile};

/// When a recording goes on in another file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// When the file has this many bytes.
    pub(crate) size: Option<u64>,
    /// When it is this old.
    pub(crate) every: Option<Duration>,
    /// How many files stay, the one under way included; all, when absent.
    pub(crate) keep: Option<NonZeroU32>,
}

impl Rotation {
    /// Whether it is asked for at all.
    pub(crate) fn is_on(&self) -> bool {
        self.size.is_some() || self.every.is_some()
    }
}

/// Whether a path asks for compression.
pub(super) fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

/// What the recorder says of a segment when it ends.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Entry {
    pub(super) number: u32,
    /// Without its directory.
    pub(super) file: String,
    /// Wall clock, RFC 3339.
    pub(super) from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<String>,
    /// On the disk.
    pub(super) bytes: u64,
    /// Facts and findings, without header and footer.
    pub(super) lines: u64,
    /// Open findings at its end.
    pub(super) open_findings: u64,
}

#[derive(Serialize)]
struct Index<'a> {
    recording_id: &'a str,
    /// Deleted by `--keep`.
    deleted: u64,
    segments: &'a VecDeque<Entry>,
}

/// The files of one run.
#[derive(Debug)]
pub(super) struct Series {
    /// The path that was asked for.
    base: PathBuf,
    force: bool,
    keep: Option<NonZeroU32>,
    recording_id: String,
    entries: VecDeque<Entry>,
    deleted: u64,
}

impl Series {
    pub(super) fn new(
        base: PathBuf,
        force: bool,
        keep: Option<NonZeroU32>,
        recording_id: String,
    ) -> Self {
        Self {
            base,
            force,
            keep,
            recording_id,
            entries: VecDeque::new(),
            deleted: 0,
        }
    }

    /// Creates the file of segment `number`, which begins at `from` (RFC 3339).
    pub(super) fn open(&mut self, number: u32, from: &str) -> Result<OpenFile, RecordError> {
        let path = path_of(&self.base, number, from);
        let opened = file::create(&path, self.force)?;
        self.entries.push_back(Entry {
            number,
            file: path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            from: from.to_owned(),
            ..Entry::default()
        });
        self.forget_old();
        self.write_index()?;
        Ok(opened)
    }

    /// The segment under way has ended.
    pub(super) fn close(&mut self, to: String, bytes: u64, lines: u64, open_findings: u64) {
        if let Some(entry) = self.entries.back_mut() {
            entry.to = Some(to);
            entry.bytes = bytes;
            entry.lines = lines;
            entry.open_findings = open_findings;
        }
    }

    fn forget_old(&mut self) {
        let Some(keep) = self.keep else { return };
        while self.entries.len() > keep.get() as usize
            && let Some(oldest) = self.entries.pop_front()
        {
            let path = self.base.with_file_name(&oldest.file);
            self.deleted += 1;
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!("cannot delete {}: {error}", path.display());
            }
        }
    }

    /// Writes the index beside the segments.
    pub(super) fn write_index(&self) -> Result<(), RecordError> {
        let path = index_of(&self.base);
        let next = path.with_extension("json.next");
        let failed = |error: std::io::Error| RecordError::Create {
            name: path.display().to_string(),
            source: error.into(),
        };
        let index = Index {
            recording_id: &self.recording_id,
            deleted: self.deleted,
            segments: &self.entries,
        };
        let mut text = serde_json::to_vec_pretty(&index).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        // Ours from an earlier turn, or left by a run that was killed.
        let mut opened = file::create_beside(&next)?;
        opened.file.write_all(&text).map_err(failed)?;
        fs::rename(&next, &path).map_err(failed)
    }

    /// An index of an earlier run under the same name would be replaced by ours.
    pub(super) fn check_new(&self) -> Result<(), RecordError> {
        let path = index_of(&self.base);
        if !self.force && path.symlink_metadata().is_ok() {
            return Err(RecordError::Exists {
                name: path.display().to_string(),
            });
        }
        Ok(())
    }
}

/// The name without `.ndjson`, `.ndjson.zst` or `.zst`, and what was taken off.
fn stem(base: &Path) -> (String, &'static str) {
    let name = base
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    for (suffix, ending) in [
        (".ndjson.zst", ".ndjson.zst"),
        (".zst", ".ndjson.zst"),
        (".ndjson", ".ndjson"),
    ] {
        if let Some(stem) = name.strip_suffix(suffix) {
            return (stem.to_owned(), ending);
        }
    }
    (name, ".ndjson")
}

/// `web-20260102T030405Z-0001.ndjson.zst` for `web.ndjson.zst`.
fn path_of(base: &Path, number: u32, from: &str) -> PathBuf {
    let (stem, ending) = stem(base);
    let stamp: String = from
        .chars()
        .take(19)
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    base.with_file_name(OsString::from(format!(
        "{stem}-{stamp}Z-{number:04}{ending}"
    )))
}

fn index_of(base: &Path) -> PathBuf {
    base.with_file_name(OsString::from(format!("{}.index.json", stem(base).0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_by_time_in_utc_and_number() {
        let check = |base: &str, expected: &str| {
            let path = path_of(Path::new(base), 7, "2026-01-02T03:04:05.678901234Z");
            assert_eq!(path, Path::new(expected));
        };
        check(
            "/var/x/web.ndjson.zst",
            "/var/x/web-20260102T030405Z-0007.ndjson.zst",
        );
        check("web.zst", "web-20260102T030405Z-0007.ndjson.zst");
        check("web.ndjson", "web-20260102T030405Z-0007.ndjson");
        check("web", "web-20260102T030405Z-0007.ndjson");
        assert_eq!(
            index_of(Path::new("a/web.zst")),
            Path::new("a/web.index.json")
        );
    }
}
