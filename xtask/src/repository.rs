//! Where things lie in this repository, wherever it was cloned.

use std::path::{Path, PathBuf};

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository's root")
}

/// Where cargo puts what it builds; absolute, because cargo would resolve a relative
/// `CARGO_TARGET_DIR` against whatever folder it runs in.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => std::path::absolute(&target).unwrap_or_else(|_| target.into()),
        None => root().join("target"),
    }
}

/// The agent, in `profile` ("debug" or "release").
pub(crate) fn agent(profile: &str) -> PathBuf {
    target_dir().join(profile).join("tcptrace")
}
