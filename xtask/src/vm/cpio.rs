//! The archive format of an initramfs: "newc", which the kernel unpacks (its
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Written here rather than with cpio(1), so that everybody, not only root, makes files that belong
//! to root in the guest. Invariant: a folder comes before what lies in it, because the kernel makes
//! no missing folders.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

const FOLDER: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;
const REGULAR: u32 = 0o100_000;

/// The files of the guest, by their path there.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Vec<u8>,
}

impl Tree {
    /// Puts a file at `path`; `mode` is its permissions.
    pub(crate) fn file(&mut self, path: impl AsRef<Path>, mode: u32, content: impl Into<Vec<u8>>) {
        self.insert(path.as_ref(), REGULAR | mode, content.into());
    }

    /// Makes a symbolic link.
    pub(crate) fn link(&mut self, path: impl AsRef<Path>, to: impl AsRef<Path>) {
        let to = to.as_ref().as_os_str().as_bytes().to_vec();
        self.insert(path.as_ref(), SYMLINK, to);
    }

    /// Makes a folder.
    pub(crate) fn folder(&mut self, path: impl AsRef<Path>) {
        self.insert(path.as_ref(), FOLDER, Vec::new());
    }

    /// Whether something lies at `path`.
    pub(crate) fn has(&self, path: impl AsRef<Path>) -> bool {
        self.entries.contains_key(&relative(path.as_ref()))
    }

    fn insert(&mut self, path: &Path, mode: u32, content: Vec<u8>) {
        let path = relative(path);
        for above in path.ancestors().skip(1) {
            if above != Path::new("") {
                self.entries.entry(above.to_owned()).or_insert(Entry {
                    mode: FOLDER,
                    content: Vec::new(),
                });
            }
        }
        self.entries.insert(path, Entry { mode, content });
    }

    /// The archive.
    pub(crate) fn archive(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        // A path sorts after the folders above it, since they are its prefixes.
        for (inode, (path, entry)) in (1..).zip(&self.entries) {
            let name = path.as_os_str().as_bytes();
            append(&mut archive, inode, entry.mode, name, &entry.content);
        }
        append(&mut archive, 0, 0, b"TRAILER!!!", b"");
        archive
    }
}

/// The path without its leading slash and without `.`, as the archive spells it.
fn relative(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

fn append(archive: &mut Vec<u8>, inode: u32, mode: u32, name: &[u8], content: &[u8]) {
    let links = if mode == FOLDER { 2 } else { 1 };
    let fields = [
        inode,
        mode,
        0, // owner and
        0, // group: root
        links,
        0, // time
        u32::try_from(content.len()).expect("no file of a guest has 4 GiB"),
        0, // the device that holds the file,
        0,
        0, // and the device that it is
        0,
        u32::try_from(name.len() + 1).expect("paths are short"),
        0, // checksum: none in this variant
    ];
    archive.extend(b"070701");
    for field in fields {
        archive.extend(format!("{field:08x}").as_bytes());
    }
    archive.extend(name);
    archive.push(0);
    pad(archive);
    archive.extend(content);
    pad(archive);
}

/// Names and contents end on a multiple of 4.
fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_precede_their_files_and_everything_is_aligned() {
        let mut tree = Tree::default();
        tree.file("/a/b/c", 0o755, "12345");
        tree.link("/a.link", "a/b");
        let archive = tree.archive();
        assert_eq!(archive.len() % 4, 0);
        let at = |name: &str| {
            let name = format!("{name}\0");
            archive
                .windows(name.len())
                .position(|window| window == name.as_bytes())
                .unwrap()
        };
        // The header's last digits tell the folder's name from the same letter elsewhere.
        assert!(at("00a") < at("a/b"));
        assert!(at("a/b") < at("a/b/c"));
        assert!(at("a/b/c") < at("TRAILER!!!"));
    }

    #[test]
    fn an_entry_is_spelt_as_the_kernel_reads_it() {
        let mut tree = Tree::default();
        tree.file("/x", 0o644, "hi");
        let expected = "070701\
            00000001000081a4000000000000000000000001000000000000000200000000000000000000000000000000\
            0000000200000000x\0hi\0\0";
        let archive = tree.archive();
        assert_eq!(
            String::from_utf8_lossy(&archive[..expected.len()]),
            expected
        );
    }
}
