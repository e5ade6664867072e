//! Opening the file of a recording.
//!
//! The recorder runs as root, often in a directory that others may write to. A file is created, or
//! nothing happens: no link is followed, nothing that exists is written into. What it holds (who
//! talks to whom) is for the user who asked, so mode 0600 from the first moment on.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use super::failure::RecordError;
use super::space;

/// Where a recording goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Replace a file that exists.
        force: bool,
    },
    /// Standard output.
    Stdout,
}

/// A file that is open for writing, and how to treat it.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    /// For errors.
    pub(super) name: String,
    /// We created it: it may be cut back to its last whole line, and has reached the disk at the end.
    pub(super) created: bool,
    /// It takes up space on a file system.
    pub(super) on_disk: bool,
}

impl Target {
    /// Opens it for something that is no recording, in the same careful way.
    pub(crate) fn create(&self) -> Result<File, RecordError> {
        self.open().map(|opened| opened.file)
    }

    /// Opens it, for the user behind sudo where there is one.
    pub(super) fn open(&self) -> Result<OpenFile, RecordError> {
        match self {
            Self::Stdout => stdout(),
            Self::File { path, force } => create(path, *force),
        }
    }
}

/// Creates a file for the user behind sudo, where there is one.
pub(super) fn create(path: &Path, force: bool) -> Result<OpenFile, RecordError> {
    open(path, force, behind_sudo())
}

/// Creates a file that is small and belongs to a recording that exists: space is not asked for.
pub(super) fn create_beside(path: &Path) -> Result<OpenFile, RecordError> {
    place(path, true, behind_sudo())
}

fn behind_sudo() -> Option<(u32, u32)> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    number("SUDO_UID").zip(number("SUDO_GID"))
}

/// Standard output without the standard library's buffer, which looks for newlines.
fn stdout() -> Result<OpenFile, RecordError> {
    let failed = |source: io::Error| RecordError::Write {
        name: "standard output".to_owned(),
        source: source.into(),
    };
    let file = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(failed)?);
    let on_disk = file.metadata().map_err(failed)?.is_file();
    Ok(OpenFile {
        file,
        name: "standard output".to_owned(),
        created: false,
        on_disk,
    })
}

fn open(path: &Path, force: bool, owner: Option<(u32, u32)>) -> Result<OpenFile, RecordError> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let low = space::low_at(
        parent.unwrap_or(Path::new(".")),
        &path.display().to_string(),
    );
    low.map_or_else(|| place(path, force, owner), Err)
}

fn place(path: &Path, force: bool, owner: Option<(u32, u32)>) -> Result<OpenFile, RecordError> {
    let name = path.display().to_string();
    let failed = |source: io::Error| RecordError::Create {
        name: name.clone(),
        source: source.into(),
    };
    // What stands at the path decides about the error only: creating is exclusive in any case.
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if found.file_type().is_symlink() => return Err(RecordError::Link { name }),
        Ok(found) if found.file_type().is_char_device() => return device(path, name),
        Ok(found) if !found.is_file() => return Err(RecordError::NotAFile { name }),
        Ok(_) if !force => return Err(RecordError::Exists { name }),
        // Removed rather than truncated: whoever has the old file open, or a second name for it,
        // shall not read the new one.
        Ok(_) => fs::remove_file(path).map_err(failed)?,
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => RecordError::Exists { name: name.clone() },
            _ => failed(source),
        })?;
    if let Some((uid, gid)) = owner {
        give(&file, &name, uid, gid);
    }
    Ok(OpenFile {
        file,
        name,
        created: true,
        on_disk: true,
    })
}

/// `/dev/null`, `/dev/full`: nothing there can be overwritten, and only root can make one.
fn device(path: &Path, name: String) -> Result<OpenFile, RecordError> {
    let open = || -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY)
            .open(path)?;
        if file.metadata()?.file_type().is_char_device() {
            Ok(file)
        } else {
            Err(io::ErrorKind::AlreadyExists.into())
        }
    };
    match open() {
        Ok(file) => Ok(OpenFile {
            file,
            name,
            created: false,
            on_disk: false,
        }),
        Err(source) => Err(RecordError::Create {
            name,
            source: source.into(),
        }),
    }
}

/// Makes the user behind sudo the owner. Root alone can; a recording that root owns is better than
/// none (some file systems know no owners), so a failure is told and not fatal.
fn give(file: &File, name: &str, uid: u32, gid: u32) {
    let outcome = file.metadata().and_then(|found| {
        if found.uid() == 0 {
            fchown(file, Some(uid), Some(gid))
        } else {
            Ok(())
        }
    });
    if let Err(error) = outcome {
        tracing::warn!("cannot give {name} to user {uid}: {error}; it stays root's");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn check(path: &Path, force: bool) -> Result<OpenFile, String> {
        open(path, force, None).map_err(|error| error.to_string())
    }

    #[test]
    fn a_new_file_is_private_and_the_users() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.ndjson");
        let opened = open(&path, false, Some((4242, 4343))).unwrap();
        let found = opened.file.metadata().unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, 0o600);
        assert_eq!((found.uid(), found.gid()), (4242, 4343), "run this as root");
        assert!(opened.created && opened.on_disk);
    }

    #[test]
    fn what_exists_is_kept_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.ndjson");
        fs::write(&path, "precious").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let second_name = dir.path().join("link");
        fs::hard_link(&path, &second_name).unwrap();

        let error = check(&path, false).unwrap_err();
        assert!(
            error.contains("out.ndjson") && error.contains("--force"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"precious");

        let opened = check(&path, true).unwrap();
        let mode = opened.file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(fs::read(&second_name).unwrap(), b"precious");
    }

    #[test]
    fn links_are_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        for target in [victim.as_path(), &dir.path().join("nowhere")] {
            let link = dir.path().join("link");
            symlink(target, &link).unwrap();
            for force in [false, true] {
                let error = check(&link, force).unwrap_err();
                assert!(error.contains("symbolic link"), "{error}");
            }
            fs::remove_file(&link).unwrap();
        }
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn only_files_and_devices_are_written() {
        let dir = tempfile::tempdir().unwrap();
        for force in [false, true] {
            let error = check(dir.path(), force).unwrap_err();
            assert!(error.contains("-o -"), "{error}");
        }
        let error = check(&dir.path().join("none/out"), false).unwrap_err();
        assert!(error.contains("none/out"), "{error}");
        let null = check(Path::new("/dev/null"), false).unwrap();
        assert!(!null.created && !null.on_disk);
    }
}
