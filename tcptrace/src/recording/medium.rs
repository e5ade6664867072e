//! The bytes of a recording: a plain file or frames of zstd, told apart by their first bytes, and a
//! gauge of how far they have been read.
//!
//! Invariants: a frame that the recorder did not live to finish is an end and no error; what of it
//! can be decoded is given. Where damage is passed over, it leaves a line that nobody can read, so that
//! whoever counts those counts it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
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
    lenient: bool,
    /// What is still to be given of [`DAMAGE`].
    mark: &'static [u8],
}

enum Inner {
    Plain(BufReader<Counted>),
    Frames(Box<zstd::Decoder<'static, BufReader<Counted>>>),
    /// Nothing came after the damage.
    End,
}

/// What stands for a damaged frame. Its newlines end the line that the damage has cut, and itself.
const DAMAGE: &[u8] = b"\ndamaged frame\n";

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

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
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
        Ok(Self {
            inner,
            gauge,
            lenient: false,
            mark: &[],
        })
    }

    /// How far it has been read.
    pub(super) fn gauge(&self) -> Arc<Gauge> {
        Arc::clone(&self.gauge)
    }
}

impl Medium {
    /// From now on a damaged frame is passed over, and marked.
    pub(super) fn pass_over_damage(&mut self) {
        self.lenient = true;
    }

    /// Goes on with the next frame: each is whole lines, and needs none before it.
    fn resume(&mut self) -> io::Result<()> {
        let Inner::Frames(frames) = std::mem::replace(&mut self.inner, Inner::End) else {
            return Ok(());
        };
        let mut source = frames.finish();
        if find_frame(&mut source)? {
            self.inner = Inner::Frames(Box::new(zstd::Decoder::with_buffer(source)?));
        }
        Ok(())
    }
}

/// Reads up to the next bytes that look like the beginning of a frame. Others can look so too: they
/// are then damage again. A step is made in any case, because the decoder leaves what it failed at, which
/// may be the beginning of the damaged frame.
fn find_frame(source: &mut BufReader<Counted>) -> io::Result<bool> {
    if source.fill_buf()?.is_empty() {
        return Ok(false);
    }
    source.consume(1);
    let mut last = [0; ZSTD.len()];
    for byte in source.by_ref().bytes() {
        last.rotate_left(1);
        last[ZSTD.len() - 1] = byte?;
        if last == ZSTD {
            source.seek_relative(-(ZSTD.len() as i64))?;
            return Ok(true);
        }
    }
    Ok(false)
}

impl Read for Medium {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.mark.is_empty() {
            return self.mark.read(buffer);
        }
        match &mut self.inner {
            Inner::Plain(plain) => plain.read(buffer),
            Inner::End => Ok(0),
            Inner::Frames(frames) => match frames.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.gauge.torn.store(true, Ordering::Relaxed);
                    Ok(0)
                }
                // What zstd says, as the operating system knows no such thing.
                Err(error) if error.raw_os_error().is_none() => {
                    if !self.lenient {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                    }
                    self.resume()?;
                    self.mark = DAMAGE;
                    self.mark.read(buffer)
                }
                other => other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::fs;

    /// Three frames of lines that hardly repeat, and where each begins.
    fn frames() -> (Vec<u8>, [usize; 3]) {
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        compressor.include_checksum(true).unwrap();
        let mut number = 1_u64;
        let mut file = Vec::new();
        let begins = ["first", "second", "third"].map(|name| {
            let mut text = String::new();
            for _ in 0..2000 {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                writeln!(text, "{name} {number:x}").unwrap();
            }
            let begin = file.len();
            file.extend(compressor.compress(text.as_bytes()).unwrap());
            begin
        });
        (file, begins)
    }

    fn read(file: &[u8], lenient: bool) -> io::Result<String> {
        let path = tempfile::NamedTempFile::new()?;
        fs::write(path.path(), file)?;
        let mut medium = Medium::new(File::open(path.path())?)?;
        medium.lenient = lenient;
        let mut bytes = Vec::new();
        medium.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn lines(text: &str, name: &str) -> usize {
        text.lines().filter(|line| line.starts_with(name)).count()
    }

    #[test]
    fn damage_costs_a_frame_and_no_more() {
        let (file, [_, second, third]) = frames();
        assert_eq!(read(&file, false).unwrap().lines().count(), 6000);
        for at in [second, second + 9, (second + third) / 2, third - 1] {
            let mut damaged = file.clone();
            damaged[at] ^= 0x55;
            let error = read(&damaged, false).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{at}: {error}");
            let text = read(&damaged, true).unwrap();
            assert_eq!(lines(&text, "first"), 2000, "{at}");
            assert_eq!(lines(&text, "third"), 2000, "{at}");
            assert_eq!(lines(&text, "damaged frame"), 1, "{at}");
        }
    }

    #[test]
    fn damage_at_the_end_is_an_end() {
        let (file, [_, second, third]) = frames();
        let mut damaged = file.clone();
        damaged[third + 100] ^= 0x55;
        let text = read(&damaged, true).unwrap();
        assert_eq!(lines(&text, "second"), 2000);
        // Cut off is no damage: the recorder was killed.
        let text = read(&file[..second + 1000], false).unwrap();
        assert_eq!(lines(&text, "first"), 2000);
    }
}
