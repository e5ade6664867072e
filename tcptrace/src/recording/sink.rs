//! The writer thread: batches of whole lines in, bytes on a file out. It alone waits for the disk.
//!
//! Invariant: whatever fails, the file ends with a whole line, as far as it can be cut back.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;

use super::file::OpenFile;
use super::page_cache::PageCache;
use super::space;

/// Recording failed, or has to stop.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Something is there already.
    #[error(
        "cannot create {name}: it exists, and a recording overwrites nothing; choose another name, \
         or replace it with --force"
    )]
    Exists {
        /// The file.
        name: String,
    },
    /// The path is a link.
    #[error(
        "cannot create {name}: it is a symbolic link, and links are not followed; name the file \
         itself, or write to standard output with `-o -`"
    )]
    Link {
        /// The path.
        name: String,
    },
    /// A directory, a pipe, a socket or a disk.
    #[error(
        "cannot create {name}: it is no regular file; name a file, or write to standard output \
         with `-o -`"
    )]
    NotAFile {
        /// The path.
        name: String,
    },
    /// The file cannot be created.
    #[error("cannot create {name}: {source}; choose a directory that exists and can be written to")]
    Create {
        /// The file.
        name: String,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread that writes {name}: {source}; end some processes")]
    Thread {
        /// The file.
        name: String,
        /// Why.
        source: Arc<io::Error>,
    },
    /// No space, or the user's share is used up.
    #[error(
        "cannot write {name}: {source}; the recording ends here and is intact up to its last line: \
         free some space, or record to another file system with -o"
    )]
    Full {
        /// The file.
        name: String,
        /// Why.
        source: Arc<io::Error>,
    },
    /// Writing failed for another reason.
    #[error(
        "cannot write {name}: {source}; the recording ends here and is intact up to its last line: \
         record to another file system with -o"
    )]
    Write {
        /// The file.
        name: String,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The file system is nearly full. The recording is stopped before it harms the host; a footer
    /// still fits.
    #[error(
        "stopped recording to {name}: its file system has only {free_mib} MiB left and tcptrace \
         leaves {floor_mib} MiB to others; free some space, or record to another file system with -o"
    )]
    LowSpace {
        /// The file.
        name: String,
        /// Free space, MiB.
        free_mib: u64,
        /// What is left to others, MiB.
        floor_mib: u64,
    },
    /// The reader of standard output went away. No fault: the run ends quietly.
    #[error("standard output was closed; nobody reads the recording any more")]
    BrokenPipe,
}

/// What the thread has to say while it runs.
#[derive(Debug, Default)]
pub(super) struct Report {
    failure: Mutex<Option<RecordError>>,
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

    fn fail(&self, error: RecordError) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }
}

/// The writing end of a recording.
#[derive(Debug)]
pub(super) struct Sink {
    target: OpenFile,
    /// Bytes of whole batches in the file.
    written: u64,
    page_cache: PageCache,
}

impl Sink {
    /// A sink for an open file.
    pub(super) fn new(target: OpenFile) -> Self {
        Self {
            target,
            written: 0,
            page_cache: PageCache::default(),
        }
    }

    /// For errors.
    pub(super) fn name(&self) -> &str {
        &self.target.name
    }

    /// Writes what comes until the other end hangs up, then makes it durable. Buffers go back by
    /// `empty`, so that a steady flow allocates nothing.
    pub(super) fn run(
        mut self,
        batches: &Receiver<BytesMut>,
        empty: &SyncSender<BytesMut>,
        report: &Report,
    ) -> Result<u64, RecordError> {
        let outcome = self.drain(batches, empty, report);
        if let Err(error) = &outcome {
            report.fail(error.clone());
        }
        outcome
    }

    fn drain(
        &mut self,
        batches: &Receiver<BytesMut>,
        empty: &SyncSender<BytesMut>,
        report: &Report,
    ) -> Result<u64, RecordError> {
        for mut batch in batches {
            self.write(&batch)?;
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
            }
        }
        if self.target.created {
            self.target
                .file
                .sync_all()
                .map_err(|error| self.failed(error))?;
        }
        Ok(self.written)
    }

    /// Writes a batch, or cuts the file back to the last whole line.
    fn write(&mut self, batch: &[u8]) -> Result<(), RecordError> {
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
        let whole = done
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        self.written += whole as u64;
        if self.target.created {
            // When even this fails, the reader copes with an incomplete last line.
            if let Err(second) = self.target.file.set_len(self.written) {
                tracing::warn!("cannot cut {} back: {second}", self.target.name);
            }
        }
        self.failed(error)
    }

    fn failed(&self, error: io::Error) -> RecordError {
        let name = self.target.name.clone();
        let kind = error.kind();
        let source = Arc::new(error);
        match kind {
            io::ErrorKind::BrokenPipe => RecordError::BrokenPipe,
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => RecordError::Full { name, source },
            _ => RecordError::Write { name, source },
        }
    }
}
