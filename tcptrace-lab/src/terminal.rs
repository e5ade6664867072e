//! A real terminal for a program that draws: a tmux server of its own, keys in, screens out.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, Output, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait_for;

/// Tells the terminals of one process apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A terminal; it, and what runs in it, end with the value.
#[derive(Debug)]
pub struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs the shell command in a terminal of `columns` by `lines` cells.
    pub fn open(command: &str, columns: u16, lines: u16) -> Result<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let terminal = Self {
            socket: format!("tcptrace-lab-{}-{number}", id()),
        };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let output = terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &lines,
            command,
        ])?;
        ensure!(output.status.success(), "tmux failed: {output:?}");
        // What a program puts on the clipboard becomes a buffer of tmux.
        terminal.tmux(&["set-option", "-g", "set-clipboard", "on"])?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<Output> {
        Command::new("tmux")
            .args(["-L", &self.socket])
            .args(arguments)
            .output()
            .context("cannot run tmux; install it")
    }

    /// Types keys, as tmux names them (`Enter`, `C-z`, `q`).
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        let output = self.tmux(&[&["send-keys"], keys].concat())?;
        ensure!(output.status.success(), "tmux failed: {output:?}");
        Ok(())
    }

    /// What the terminal shows.
    pub fn screen(&self) -> Result<String> {
        let output = self.tmux(&["capture-pane", "-p"])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What was put on the clipboard.
    pub fn clipboard(&self) -> Result<String> {
        let output = self.tmux(&["show-buffer"])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Gives the terminal another size.
    pub fn resize(&self, columns: u16, lines: u16) -> Result<()> {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &lines])?;
        Ok(())
    }

    /// The terminal goes away under the program.
    pub fn hang_up(&self) {
        // An error means that it is gone already.
        let _ = self.tmux(&["kill-server"]);
    }

    /// Waits for a screen that `seen` accepts.
    pub fn await_screen(
        &self,
        what: &str,
        within: Duration,
        seen: impl Fn(&str) -> bool,
    ) -> Result<String> {
        wait_for(what, within, || {
            let screen = self.screen()?;
            Ok(seen(&screen).then_some(screen))
        })
        .with_context(|| format!("the screen:\n{}", self.screen().unwrap_or_default()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// A terminal that nobody reads, as when a connection stalls: what is written to it stays there, and
/// soon it takes no more.
#[derive(Debug)]
pub struct StalledTerminal {
    /// The other end; open, so that the terminal does not hang up.
    _other: OwnedFd,
    /// What draws on it.
    pub program: Child,
}

impl StalledTerminal {
    /// Runs `command` in one of `columns` by `lines` cells.
    pub fn start(command: &mut Command, columns: u16, lines: u16) -> Result<Self> {
        let size = libc::winsize {
            ws_row: lines,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let (mut other, mut end) = (-1, -1);
        // SAFETY: the descriptors are written to variables of ours; the name and the settings,
        // which are not wanted, may be null.
        let opened = unsafe {
            libc::openpty(
                &raw mut other,
                &raw mut end,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                &raw const size,
            )
        };
        ensure!(
            opened == 0,
            "cannot open a pseudo-terminal: {}",
            io::Error::last_os_error()
        );
        // SAFETY: openpty succeeded, so both are open descriptors that nobody else owns.
        let (other, end) = unsafe { (OwnedFd::from_raw_fd(other), OwnedFd::from_raw_fd(end)) };
        let program = command
            .stdin(Stdio::from(end.try_clone()?))
            .stdout(Stdio::from(end.try_clone()?))
            .stderr(Stdio::from(end))
            .spawn()
            .context("cannot start the program")?;
        Ok(Self {
            _other: other,
            program,
        })
    }
}

impl Drop for StalledTerminal {
    fn drop(&mut self) {
        // Both fail when it has ended.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
