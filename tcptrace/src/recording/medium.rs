//! The bytes of a recording: a plain file or frames of zstd, told apart by their first bytes, and a
//! gauge of how far they have been read.
//!
//! Invariant: a frame that the recorder did not live to finish is an end and no error; what of it
//! can be decoded is given.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The first bytes of a zstd frame (RFC 8878, 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How far a source has been read.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    bytes: AtomicU64,
    torn: AtomicBool,
}

impl Gauge {
    /// Bytes of the file, as it lies on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The last frame is incomplete.
    pub(super) fn torn(&self) -> bool {
        self.torn.load(Ordering::Relaxed)
    }
}

/// A file on its way to a [`super::reader::Reader`].
pub(crate) struct Medium {
    inner: Inner,
    gauge: Arc<Gauge>,
}

enum Inner {
    Plain(BufReader<Counted>),
    Frames(Box<zstd::Decoder<'static, BufReader<Counted>>>),
}

/// Counts what it gives.
struct Counted {
    file: File,
    gauge: Arc<Gauge>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.gauge.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Medium {
    /// Looks at the first bytes of `file`.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let gauge = Arc::new(Gauge::default());
        let counted = Counted {
            file,
            gauge: Arc::clone(&gauge),
        };
        let mut plain = BufReader::with_capacity(128 << 10, counted);
        let inner = if plain.fill_buf()?.starts_with(&ZSTD) {
            Inner::Frames(Box::new(zstd::Decoder::with_buffer(plain)?))
        } else {
            Inner::Plain(plain)
        };
        Ok(Self { inner, gauge })
    }

    /// How far it has been read.
    pub(super) fn gauge(&self) -> Arc<Gauge> {
        Arc::clone(&self.gauge)
    }
}

impl Read for Medium {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(plain) => plain.read(buffer),
            Inner::Frames(frames) => match frames.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.gauge.torn.store(true, Ordering::Relaxed);
                    Ok(0)
                }
                other => other,
            },
        }
    }
}
