//! xtask in the place of rustc, for the one thing that cargo decides and a recipe has to: see
//! [`recipe::same_everywhere`].

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use super::recipe;

/// Tells xtask that cargo calls it as `RUSTC_WRAPPER`.
const SIGN: &str = "TCPTRACE_XTASK_WRAPS_RUSTC";

/// Lets `cargo` call this program whenever it would call rustc.
pub(crate) fn wrap(cargo: &mut Command) -> Result<()> {
    let myself = std::env::current_exe().context("cannot find xtask's own file")?;
    cargo.env("RUSTC_WRAPPER", myself).env(SIGN, "1");
    Ok(())
}

/// Whether cargo called us in the place of rustc.
pub(crate) fn is_called() -> bool {
    std::env::var_os(SIGN).is_some()
}

/// Becomes the compiler that the first argument names. Returns only when that fails.
pub(crate) fn become_rustc() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rustc = arguments.next().context("cargo named no compiler")?;
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let package = format!(
        "{}-{}",
        variable("CARGO_PKG_NAME"),
        variable("CARGO_PKG_VERSION")
    );
    let arguments = recipe::same_everywhere(arguments.collect(), &package);
    let error = Command::new(&rustc).args(arguments).env_remove(SIGN).exec();
    Err(error).with_context(|| format!("cannot start {rustc}"))
}
