//! The stamp beside the embedded eBPF object: the sources it was compiled from, and by what.
//!
//! Two programs ask the same question: `cargo xtask build-ebpf`, which writes the stamp, and the
//! agent's build script, which refuses a stale object. The answer lives in the agent's package and
//! xtask includes this file by its path: a packaged agent then still builds, and no further crate
//! has to be published for a hundred lines. Invariants: nothing but `std`; the digest is the same
//! on every machine and under every Rust version.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The object, relative to the agent's package.
pub(crate) const OBJECT: &str = "bpf/tcptrace.bpf.o";
/// The stamp, relative to the agent's package.
pub(crate) const STAMP: &str = "bpf/tcptrace.bpf.stamp";

/// What decides the bytes of the object, relative to the repository: the programs, the contract
/// they share with the agent, and the recipe (compiler flags) of the build. Folders stand for every
/// Rust file below them.
pub(crate) const SOURCES: [&str; 7] = [
    "tcptrace-common/Cargo.toml",
    "tcptrace-common/src",
    "tcptrace-ebpf/Cargo.lock",
    "tcptrace-ebpf/Cargo.toml",
    "tcptrace-ebpf/build.rs",
    "tcptrace-ebpf/src",
    "xtask/src/build_ebpf/recipe.rs",
];

/// What the stamp file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Digest of [`SOURCES`].
    pub(crate) sources: String,
    /// Digest of the object's bytes.
    pub(crate) object: String,
    /// The compiler, as `rustc --version` and its LLVM.
    pub(crate) compiler: String,
    /// The linker, as `bpf-linker --version` and its LLVM.
    pub(crate) linker: String,
}

impl Stamp {
    /// Reads what [`fmt::Display`] wrote; `None` when a line is missing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
        };
        Some(Self {
            sources: field("sources")?,
            object: field("object")?,
            compiler: field("compiler")?,
            linker: field("linker")?,
        })
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Written by `cargo xtask build-ebpf`; do not edit. The agent's build compares it with the sources."
        )?;
        writeln!(f, "sources: {}", self.sources)?;
        writeln!(f, "object: {}", self.object)?;
        writeln!(f, "compiler: {}", self.compiler)?;
        writeln!(f, "linker: {}", self.linker)
    }
}

/// The files that [`SOURCES`] names and that exist, relative to `repository`, in a fixed order.
pub(crate) fn source_files(repository: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(repository, Path::new(source), &mut files)?;
    }
    files.sort();
    Ok(files)
}

/// The digest of the sources below `repository`: names and contents.
pub(crate) fn digest_sources(repository: &Path) -> io::Result<String> {
    let mut digest = Digest::new();
    for file in source_files(repository)? {
        let name = file.to_string_lossy();
        let content = fs::read(repository.join(&file))?;
        digest.update(name.as_bytes());
        digest.update(&(content.len() as u64).to_le_bytes());
        digest.update(&content);
    }
    Ok(digest.finish())
}

/// The digest of `bytes`.
pub(crate) fn digest_bytes(bytes: &[u8]) -> String {
    let mut digest = Digest::new();
    digest.update(bytes);
    digest.finish()
}

fn collect(repository: &Path, relative: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let absolute = repository.join(relative);
    if absolute.is_file() {
        files.push(relative.to_owned());
    } else if absolute.is_dir() {
        for entry in fs::read_dir(absolute)? {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            if entry.file_type()?.is_dir() || path.extension().is_some_and(|e| e == "rs") {
                collect(repository, &path, files)?;
            }
        }
    }
    Ok(())
}

/// FNV-1a of 128 bits. The question is whether somebody edited a file, not whether somebody forged
/// one, so ten lines do, and the agent's build needs no hashing crate.
struct Digest(u128);

impl Digest {
    fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u128::from(*byte);
            self.0 = self
                .0
                .wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }

    fn finish(&self) -> String {
        format!("{:032x}", self.0)
    }
}
