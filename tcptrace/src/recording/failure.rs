//! Why a recording cannot begin, go on, or end in good order: cause, consequence, remedy.

use std::io;
use std::sync::Arc;

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

/// What became of writing to `name`, in the words that its user needs.
pub(super) fn failed(name: &str, error: io::Error) -> RecordError {
    let name = name.to_owned();
    let kind = error.kind();
    let source = Arc::new(error);
    match kind {
        io::ErrorKind::BrokenPipe => RecordError::BrokenPipe,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            RecordError::Full { name, source }
        }
        _ => RecordError::Write { name, source },
    }
}
