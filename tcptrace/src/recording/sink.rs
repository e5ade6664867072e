//! The writer thread: batches of whole lines in, bytes on a file out. It alone waits for the disk.
//!
//! Invariant: whatever fails, the file ends with a whole line, as far as it can be cut back.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::BytesMut;

use super::failure::{RecordError, failed};
use super::file::OpenFile;
use super::page_cache::PageCache;
use super::segment::Series;
use super::space;

/// zstd's own default: four times the speed of what a saturated host writes, a tenth of the bytes.
const LEVEL: i32 = 3;

/// What the thread has to say while it runs.
#[derive(Debug, Default)]
pub(super) struct Report {
    failure: Mutex<Option<RecordError>>,
    /// Free and reserved MiB, when the file system fills.
    filling: Mutex<Option<(u64, u64)>>,
    /// The segment under way, and its bytes on the disk.
    segment: AtomicU32,
    bytes: AtomicU64,
}

impl Report {
    /// The first failure.
    pub(super) fn failure(&self) -> Option<RecordError> {
        // A poisoned lock holds a valid value: it is only ever assigned whole.
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Told once: the file system fills; free and reserved MiB.
    pub(super) fn take_filling(&self) -> Option<(u64, u64)> {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        filling.take()
    }

    /// Bytes of segment `number` on the disk, once it is the one being written.
    pub(super) fn bytes_of(&self, number: u32) -> u64 {
        if self.segment.load(Ordering::Acquire) == number {
            self.bytes.load(Ordering::Relaxed)
        } else {
            0
        }
    }

    fn fail(&self, error: RecordError) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }
}

/// What the recorder asks for.
#[derive(Debug)]
pub(super) enum Job {
    /// Whole lines.
    Batch(BytesMut),
    /// The end of a segment; the lines that follow belong to the next.
    Next(Box<Turn>, BytesMut),
    /// What the index says of the last segment.
    Last(Box<Turn>),
}

/// One segment ends, another begins.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// The one that begins.
    pub(super) number: u32,
    /// When, RFC 3339.
    pub(super) at: String,
    /// Of the one that ends.
    pub(super) lines: u64,
    /// Of the one that ends.
    pub(super) open_findings: u64,
}

/// The writing end of a recording.
pub(super) struct Sink {
    target: OpenFile,
    /// One frame for each batch, when the file is compressed.
    frames: Option<Frames>,
    /// The files, when there are several.
    series: Option<Series>,
    /// The segment before.
    settling: Option<Settling>,
    /// Bytes of whole batches in the file.
    written: u64,
    page_cache: PageCache,
    /// Bytes of the files before.
    earlier: u64,
    compressed: bool,
    warned: bool,
}

struct Frames {
    compressor: zstd::bulk::Compressor<'static>,
    frame: Vec<u8>,
}

impl Sink {
    /// A sink for an open file.
    pub(super) fn new(target: OpenFile) -> Self {
        Self {
            target,
            frames: None,
            series: None,
            settling: None,
            written: 0,
            earlier: 0,
            compressed: false,
            warned: false,
            page_cache: PageCache::default(),
        }
    }

    /// Writes zstd frames, each of them whole lines.
    pub(super) fn compressed(mut self) -> Result<Self, RecordError> {
        // A checksum, so that a frame that has changed on its way is not taken for what was recorded.
        let compressor = zstd::bulk::Compressor::new(LEVEL).and_then(|mut compressor| {
            compressor.include_checksum(true)?;
            Ok(compressor)
        });
        let compressor = compressor.map_err(|error| failed(&self.target.name, error))?;
        self.frames = Some(Frames {
            compressor,
            frame: Vec::new(),
        });
        self.compressed = true;
        Ok(self)
    }

    /// The file is the first of a series.
    pub(super) fn in_series(mut self, series: Series) -> Self {
        self.series = Some(series);
        self
    }

    /// For errors.
    pub(super) fn name(&self) -> &str {
        &self.target.name
    }

    /// Writes what comes until the other end hangs up, then makes it durable. Buffers go back by
    /// `empty`, so that a steady flow allocates nothing.
    pub(super) fn run(
        mut self,
        jobs: &Receiver<Job>,
        empty: &SyncSender<BytesMut>,
        report: &Report,
    ) -> Result<u64, RecordError> {
        report.segment.store(1, Ordering::Release);
        let outcome = self.drain(jobs, empty, report);
        if let Err(error) = &outcome {
            report.fail(error.clone());
        }
        outcome
    }

    fn drain(
        &mut self,
        jobs: &Receiver<Job>,
        empty: &SyncSender<BytesMut>,
        report: &Report,
    ) -> Result<u64, RecordError> {
        let mut last = None;
        for job in jobs {
            let mut batch = match job {
                Job::Batch(batch) => batch,
                Job::Next(turn, footer) => {
                    self.write(&footer)?;
                    self.turn(&turn)?;
                    report.bytes.store(0, Ordering::Relaxed);
                    report.segment.store(turn.number, Ordering::Release);
                    continue;
                }
                Job::Last(turn) => {
                    last = Some(turn);
                    continue;
                }
            };
            self.write(&batch)?;
            report.bytes.store(self.written, Ordering::Relaxed);
            batch.clear();
            match empty.try_send(batch) {
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
            // One system call per 256 KiB; others fill the disk as well, so our own count of bytes
            // would not do.
            let Self { target, .. } = self;
            if target.on_disk
                && let Some(error) = space::low_under(&target.file, &target.name)
            {
                report.fail(error);
            } else if self.target.on_disk
                && !self.warned
                && let Some(filling) = space::filling_under(&self.target.file)
            {
                self.warned = true;
                let mut told = report
                    .filling
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *told = Some(filling);
            }
        }
        self.sync()?;
        self.settle()?;
        if let (Some(series), Some(turn)) = (&mut self.series, last) {
            series.close(turn.at, self.written, turn.lines, turn.open_findings);
            series.write_index()?;
        }
        Ok(self.earlier + self.written)
    }

    fn sync(&self) -> Result<(), RecordError> {
        if self.target.created {
            let synced = self.target.file.sync_all();
            synced.map_err(|error| failed(&self.target.name, error))?;
        }
        Ok(())
    }

    /// Ends the file and begins the next.
    fn turn(&mut self, turn: &Turn) -> Result<(), RecordError> {
        let written = self.written;
        if let Some(series) = &mut self.series {
            series.close(turn.at.clone(), written, turn.lines, turn.open_findings);
            let next = series.open(turn.number, &turn.at)?;
            let ended = std::mem::replace(&mut self.target, next);
            self.settle()?;
            self.settling = Settling::begin(ended)?;
        }
        self.earlier += std::mem::take(&mut self.written);
        Ok(())
    }

    /// Waits until the segment before is on the disk.
    fn settle(&mut self) -> Result<(), RecordError> {
        self.settling.take().map_or(Ok(()), Settling::end)
    }

    /// Writes a batch, as a frame of its own where the file is compressed.
    fn write(&mut self, batch: &[u8]) -> Result<(), RecordError> {
        let Some(mut frames) = self.frames.take() else {
            return self.write_bytes(batch);
        };
        frames
            .frame
            .resize(zstd::zstd_safe::compress_bound(batch.len()), 0);
        let outcome = frames
            .compressor
            .compress_to_buffer(batch, &mut frames.frame[..])
            .map_err(|error| failed(&self.target.name, error))
            .and_then(|length| self.write_bytes(&frames.frame[..length]));
        self.frames = Some(frames);
        outcome
    }

    /// Writes all of it, or cuts the file back to the last whole line or frame.
    fn write_bytes(&mut self, batch: &[u8]) -> Result<(), RecordError> {
        let mut done = 0;
        while done < batch.len() {
            match self.target.file.write(&batch[done..]) {
                Ok(0) => return Err(self.torn(&batch[..done], io::ErrorKind::WriteZero.into())),
                Ok(more) => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.torn(&batch[..done], error)),
            }
        }
        self.written += batch.len() as u64;
        if self.target.created {
            self.page_cache.wrote(&self.target.file, self.written);
        }
        Ok(())
    }

    /// `done` of a batch was written before `error` came.
    fn torn(&mut self, done: &[u8], error: io::Error) -> RecordError {
        // A piece of a frame is worth nothing.
        let whole = if self.compressed {
            0
        } else {
            done.iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1)
        };
        self.written += whole as u64;
        if self.target.created {
            // When even this fails, the reader copes with an incomplete last line.
            if let Err(second) = self.target.file.set_len(self.written) {
                tracing::warn!("cannot cut {} back: {second}", self.target.name);
            }
        }
        failed(&self.target.name, error)
    }
}

/// A file that has ended, on its way to the disk. Others may keep the disk busy for seconds, in which
/// the next segment must not wait.
struct Settling(JoinHandle<Result<(), RecordError>>);

impl Settling {
    fn begin(ended: OpenFile) -> Result<Option<Self>, RecordError> {
        if !ended.created {
            return Ok(None);
        }
        let name = ended.name.clone();
        thread::Builder::new()
            .name("recorder-sync".to_owned())
            .spawn(move || {
                let synced = ended.file.sync_all();
                synced.map_err(|error| failed(&ended.name, error))
            })
            .map(|thread| Some(Self(thread)))
            .map_err(|source| RecordError::Thread {
                name,
                source: source.into(),
            })
    }

    fn end(self) -> Result<(), RecordError> {
        // It cannot panic; were it to, the file is as good as a kill would leave it.
        self.0.join().unwrap_or(Ok(()))
    }
}
