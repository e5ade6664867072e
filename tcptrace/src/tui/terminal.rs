//! The terminal: raw mode and alternate screen while a [`TerminalGuard`] lives, keys in, frames
//! out.
//!
//! Invariants:
//! - The engine never waits for the terminal. Frames are written by a thread of their own; while it
//!   is still busy with one, the next is not even drawn.
//! - The terminal is restored on every way out: drop, error, panic. What was in flight is waited
//!   for no longer than [`PATIENCE`].
//! - When the terminal is gone, [`TerminalGuard::event`] and [`TerminalGuard::draw`] say so; the
//!   program then ends instead of spinning on a dead descriptor.

mod base64;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossterm::event::{
    self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
    Event,
};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, queue};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};
use tokio::sync::mpsc;

/// How long a way out waits for a terminal that has stopped reading (Ctrl-S, a stalled ssh).
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the threads look whether the terminal still exists and whether they are to end.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// How often a way out looks whether the last bytes have left.
const BREATH: Duration = Duration::from_millis(5);
/// Keys that may wait for the pump; a person does not type more in the time of one tick.
const KEYS: usize = 64;

/// The terminal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TerminalError {
    /// Output is redirected.
    #[error(
        "standard output is not a terminal, so there is nothing to draw on; run `tcptrace live` in \
         a terminal, or write a file with `tcptrace record -o FILE`"
    )]
    NotATerminal,
    /// Raw mode was refused, or no keys can be read.
    #[error(
        "cannot take over the terminal: {0}; use another terminal, or write a file with `tcptrace \
         record -o FILE`"
    )]
    Setup(io::Error),
    /// It was closed or its connection broke.
    #[error("the terminal is gone, so the view ends; `tcptrace record -o FILE` needs no terminal")]
    Gone,
}

/// The terminal, taken over until this is dropped.
pub(crate) struct TerminalGuard {
    terminal: Terminal<CrosstermBackend<FrameBytes>>,
    bytes: FrameBytes,
    outlet: Outlet,
    events: mpsc::Receiver<Result<Event, TerminalError>>,
    lease: Arc<Lease>,
    hook: Arc<Hook>,
    has_mouse: bool,
    /// Given back until [`TerminalGuard::resume`].
    is_suspended: bool,
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

impl TerminalGuard {
    /// Takes the terminal over.
    pub(crate) fn enter() -> Result<Self, TerminalError> {
        if !io::stdout().is_terminal() {
            return Err(TerminalError::NotATerminal);
        }
        let descriptor = io::stdout().as_fd().try_clone_to_owned();
        let stdout = File::from(descriptor.map_err(TerminalError::Setup)?);
        enable_raw_mode().map_err(TerminalError::Setup)?;

        let lease = Arc::new(Lease::default());
        let hook = restore_on_panic(&lease);
        let (keys, events) = mpsc::channel(KEYS);
        let is_alive = || io::stdout().is_terminal();
        let outlet = Outlet::start(stdout, is_alive, &lease, keys.clone());
        read_keys(keys, Arc::clone(&lease));
        let bytes = FrameBytes::default();
        let backend = CrosstermBackend::new(bytes.clone());
        let terminal = Terminal::new(backend).map_err(|error| {
            // No guard exists yet that would do it.
            lease.release_now();
            TerminalError::Setup(error)
        })?;
        let mut guard = Self {
            terminal,
            bytes,
            outlet,
            events,
            lease,
            hook,
            has_mouse: false,
            is_suspended: false,
        };
        // These leave with the first frame, so that it finds the outlet idle.
        queue!(
            guard.bytes,
            EnterAlternateScreen,
            EnableBracketedPaste,
            cursor::Hide
        )
        .map_err(TerminalError::Setup)?;
        Ok(guard)
    }

    /// The next event. Dropping the future loses none.
    pub(crate) async fn event(&mut self) -> Result<Event, TerminalError> {
        self.events.recv().await.unwrap_or(Err(TerminalError::Gone))
    }

    /// Draws a frame, unless the terminal is still busy with the last one: then nothing happens,
    /// the answer is false, and the caller tries again at its next turn.
    pub(crate) fn draw(
        &mut self,
        draw: impl FnOnce(&mut Frame<'_>),
    ) -> Result<bool, TerminalError> {
        if self.lease.is_gone() {
            return Err(TerminalError::Gone);
        }
        if self.outlet.is_busy() || self.is_suspended {
            return Ok(false);
        }
        // A terminal that knows it shows the frame at once, without tearing; others ignore it.
        queue!(self.bytes, BeginSynchronizedUpdate).map_err(|_| TerminalError::Gone)?;
        self.terminal.draw(draw).map_err(|_| TerminalError::Gone)?;
        queue!(self.bytes, EndSynchronizedUpdate).map_err(|_| TerminalError::Gone)?;
        self.ship()?;
        Ok(true)
    }

    /// Forgets what the terminal shows, so that the next frame draws everything.
    pub(crate) fn clear(&mut self) -> Result<(), TerminalError> {
        // Not `Terminal::clear`, which asks the terminal for the cursor and waits for the answer.
        let size = self.terminal.size().map_err(|_| TerminalError::Gone)?;
        self.terminal
            .resize(size.into())
            .map_err(|_| TerminalError::Gone)
    }

    /// Puts `text` on the clipboard by OSC 52, with the next frame. It must hold nothing that a
    /// terminal obeys; encoded it could not do harm, but whoever pastes it decodes it.
    pub(crate) fn copy(&mut self, text: &str) -> Result<(), TerminalError> {
        let encoded = base64::encode(text.as_bytes());
        write!(self.bytes, "\x1b]52;c;{encoded}\x07").map_err(|_| TerminalError::Gone)
    }

    /// Takes mouse events from the terminal, or leaves them to it, with the next frame.
    pub(crate) fn mouse(&mut self, on: bool) -> Result<(), TerminalError> {
        if on {
            queue!(self.bytes, EnableMouseCapture)
        } else {
            queue!(self.bytes, DisableMouseCapture)
        }
        .map_err(|_| TerminalError::Gone)?;
        self.has_mouse = on;
        Ok(())
    }

    /// Gives the terminal back for a while and stops the process group, as Ctrl-Z does where a
    /// terminal is not in raw mode. [`Self::resume`] takes it back.
    pub(crate) fn suspend(&mut self) -> Result<(), TerminalError> {
        self.bytes.take();
        queue_restoration(&mut self.bytes).map_err(|_| TerminalError::Gone)?;
        self.ship()?;
        let mut waited = Duration::ZERO;
        while self.outlet.is_busy() && waited < PATIENCE {
            thread::sleep(BREATH);
            waited += BREATH;
        }
        disable_raw_mode().map_err(TerminalError::Setup)?;
        self.is_suspended = true;
        // The group, as the terminal would: sudo and a pipeline stop with us.
        rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)
            .map_err(|error| TerminalError::Setup(error.into()))
    }

    /// Takes the terminal over again, and draws everything in the next frame.
    pub(crate) fn resume(&mut self) -> Result<(), TerminalError> {
        enable_raw_mode().map_err(TerminalError::Setup)?;
        self.is_suspended = false;
        self.bytes.take();
        queue!(
            self.bytes,
            EnterAlternateScreen,
            EnableBracketedPaste,
            cursor::Hide
        )
        .map_err(TerminalError::Setup)?;
        if self.has_mouse {
            self.mouse(true)?;
        }
        self.clear()
    }

    fn ship(&mut self) -> Result<(), TerminalError> {
        self.outlet.ship(self.bytes.take())
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        self.outlet.close();
        self.lease.release_now();
        if !thread::panicking() {
            let hook = Arc::clone(&self.hook);
            panic::set_hook(Box::new(move |info| hook(info)));
        }
    }
}

/// Installs a panic hook that restores the terminal before the message is printed; answers the
/// hook that was there.
fn restore_on_panic(lease: &Arc<Lease>) -> Arc<Hook> {
    let before: Arc<Hook> = Arc::new(panic::take_hook());
    let (lease, next) = (Arc::clone(lease), Arc::clone(&before));
    panic::set_hook(Box::new(move |info| {
        lease.release_now();
        next(info);
    }));
    before
}

/// Whether the terminal is ours.
#[derive(Debug, Default)]
struct Lease {
    released: AtomicBool,
    gone: AtomicBool,
}

impl Lease {
    fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Gives the terminal back: whoever comes first does it.
    fn release(&self, out: &mut impl Write) {
        if self.released.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut bytes = Vec::new();
        let queued = queue_restoration(&mut bytes);
        debug_assert!(queued.is_ok(), "a Vec takes any bytes");
        // A terminal that cannot be written to cannot be restored either.
        let _ = out.write_all(&bytes).and_then(|()| out.flush());
    }

    /// Gives the terminal back from any thread, without waiting for it.
    fn release_now(&self) {
        if !self.is_released() {
            // A description of its own, so that only this write is non-blocking: the flag would
            // otherwise stay with the shell that shares standard output.
            let opened = OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
                .open("/proc/self/fd/1");
            match opened {
                Ok(mut out) => {
                    // A frame may have been cut off inside an escape sequence: CAN ends it.
                    let _ = out.write_all(b"\x18");
                    self.release(&mut out);
                }
                Err(_) => self.release(&mut io::stdout()),
            }
        }
        // Does not wait for output, and does nothing the second time.
        let _ = disable_raw_mode();
    }
}

/// What makes the terminal the shell's again.
fn queue_restoration(out: &mut impl Write) -> io::Result<()> {
    queue!(
        out,
        EndSynchronizedUpdate,
        DisableBracketedPaste,
        DisableMouseCapture,
        crossterm::style::ResetColor,
        crossterm::style::SetAttribute(crossterm::style::Attribute::Reset),
        LeaveAlternateScreen,
        cursor::Show
    )
}

/// The bytes of the frame that is being drawn. The backend writes to one clone while the guard
/// ships from another; flushes in between do nothing, so that only whole frames leave.
#[derive(Clone, Debug, Default)]
struct FrameBytes(Arc<Mutex<Vec<u8>>>);

impl FrameBytes {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for FrameBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut frame = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where frames leave: a queue of one, and the thread that empties it.
#[derive(Debug)]
struct Outlet {
    frames: Option<SyncSender<Vec<u8>>>,
    busy: Arc<AtomicBool>,
    ended: Receiver<()>,
    /// Bytes that found the queue full; they leave with the next frame, in order.
    waiting: Vec<u8>,
}

impl Outlet {
    fn start(
        out: impl Write + Send + 'static,
        is_alive: impl Fn() -> bool + Send + 'static,
        lease: &Arc<Lease>,
        keys: mpsc::Sender<Result<Event, TerminalError>>,
    ) -> Self {
        let lease = Arc::clone(lease);
        let (frames, queue) = sync_channel(1);
        let (end, ended) = sync_channel(1);
        let busy = Arc::new(AtomicBool::new(false));
        let is_busy = Arc::clone(&busy);
        thread::spawn(move || {
            let mut out = out;
            if write_frames(&queue, &mut out, is_alive, &is_busy, &lease).is_err() {
                lease.gone.store(true, Ordering::Release);
                // A full queue of keys needs no second alarm: drawing fails too.
                let _ = keys.try_send(Err(TerminalError::Gone));
            }
            lease.release(&mut out);
            let _ = end.send(());
        });
        Self {
            frames: Some(frames),
            busy,
            ended,
            waiting: Vec::new(),
        }
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    fn ship(&mut self, bytes: Vec<u8>) -> Result<(), TerminalError> {
        self.waiting.extend(bytes);
        let Some(frames) = &self.frames else {
            return Err(TerminalError::Gone);
        };
        self.busy.store(true, Ordering::Release);
        match frames.try_send(std::mem::take(&mut self.waiting)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(bytes)) => {
                self.waiting = bytes;
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => Err(TerminalError::Gone),
        }
    }

    /// Lets the thread finish and restore the terminal in its turn.
    fn close(&mut self) {
        self.frames = None;
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

/// Writes what comes until the queue closes. An error means that the terminal is gone.
fn write_frames(
    queue: &Receiver<Vec<u8>>,
    out: &mut impl Write,
    is_alive: impl Fn() -> bool,
    busy: &AtomicBool,
    lease: &Lease,
) -> io::Result<()> {
    loop {
        match queue.recv_timeout(HEARTBEAT) {
            Ok(_) if lease.is_released() => return Ok(()),
            Ok(frame) => {
                out.write_all(&frame)?;
                out.flush()?;
                busy.store(false, Ordering::Release);
            }
            // A terminal that hung up is none any more, which costs one call to find out.
            Err(RecvTimeoutError::Timeout) if !is_alive() => {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Reads keys on a thread of its own until the lease ends. crossterm spins on a terminal that hung
/// up; the writer's heartbeat notices that and ends the program.
fn read_keys(keys: mpsc::Sender<Result<Event, TerminalError>>, lease: Arc<Lease>) {
    thread::spawn(move || {
        while !lease.is_released() {
            let next = match event::poll(HEARTBEAT) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let failed = next.is_err();
            let sent = keys.blocking_send(next.map_err(TerminalError::Setup));
            if failed || sent.is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests;
