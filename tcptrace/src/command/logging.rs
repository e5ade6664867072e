//! Where diagnostics of tcptrace itself go: a file on request, never over the TUI.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Diagnostics.
#[derive(Args, Clone, Debug)]
pub(super) struct LogArgs {
    /// Append tcptrace's own diagnostics to FILE
    #[arg(long, global = true, value_name = "FILE")]
    log: Option<PathBuf>,
    /// What to log, as `level` or `module=level,…`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        default_value = "info",
        requires = "log"
    )]
    log_filter: String,
}

/// Sets the log up. Without `--log` nothing is logged.
pub(super) fn start(args: &LogArgs) -> Result<(), Failure> {
    let Some(path) = &args.log else { return Ok(()) };
    let filter: EnvFilter = args.log_filter.parse().map_err(|error| {
        Failure::usage(format_args!("--log-filter `{}`: {error}", args.log_filter))
    })?;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .with_context(|| format!("cannot open the log file {}", path.display()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(file)
        .init();
    Ok(())
}
