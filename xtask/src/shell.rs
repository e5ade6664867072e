//! Other programs: found on the PATH, started with a clean environment, their failure an error.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Says what xtask does next, on standard error so that standard output stays the program's own.
pub(crate) fn say(text: impl std::fmt::Display) {
    eprintln!("xtask: {text}");
}

/// The cargo that runs this xtask.
pub(crate) fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = program(cargo);
    command
        .current_dir(crate::repository::root())
        .env("CARGO_TARGET_DIR", crate::repository::target_dir());
    command
}

/// A command without what `cargo run` left in our environment. `LD_LIBRARY_PATH` matters most: it
/// names the running toolchain's libraries, and another toolchain, or a bpf-linker that shares
/// LLVM, would load the wrong ones.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    for (key, _) in std::env::vars_os() {
        let key = key.to_string_lossy();
        if key == "LD_LIBRARY_PATH" || key.starts_with("CARGO_PKG_") || key == "CARGO_MANIFEST_DIR"
        {
            command.env_remove(&*key);
        }
    }
    command
}

/// Shows the command, runs it with our standard streams, and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    say(format_args!("$ {}", display(command)));
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", display(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", display(command));
    }
    Ok(())
}

/// Standard output of a command that succeeds; `None` when it cannot start or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as one would type it, without its environment.
pub(crate) fn display(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Where `name` lies on the PATH. The administrator's folders count as well: a user's PATH on
/// Debian leaves them out, and nft and ip live there.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // /proc/self belongs to the effective user; it spares a dependency for geteuid.
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// How to become root: nothing to prefix when we are, else sudo, else an error with the remedy.
/// `why` completes "root is needed to …".
pub(crate) fn root_prefix(why: &str) -> Result<Option<PathBuf>> {
    if is_root() {
        return Ok(None);
    }
    match find("sudo") {
        Some(sudo) => Ok(Some(sudo)),
        None => bail!("root is needed to {why}, and sudo is not installed; run this as root"),
    }
}
