//! Where in their programs sockets were opened, or closed first: the user stacks that the programs report with
//! `--stacks`, and their names.
//!
//! A stack is addresses in the memory of a process; naming them reads the process's map and the
//! symbols of its files, which may take seconds. So only the stacks of sockets that a finding or a
//! view asks for are named, once, on a thread of its own, while the process still lives. Afterwards
//! the addresses mean nothing.
//!
//! Invariants: addresses never leave this room; a stack is never named by the map of another process
//! that has taken over the pid.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use blazesym::symbolize::source::{Process, Source};
use blazesym::symbolize::{CodeInfo, Input as Addresses, Sym, Symbolizer};
use rustc_hash::{FxHashMap, FxHashSet};
use tcptrace_core::decode::RawStack;
use tcptrace_core::input::{Frame, SocketCall, SocketKey};
use tcptrace_core::units::{MonoNs, Pid, SockId};

use super::process;

/// Sockets whose stacks are remembered; some 40 bytes each. Beyond it new ones have none.
const SOCKETS: usize = 1_000_000;

/// Sockets that have ended by a close, whose stacks are still remembered: a finding about them may open
/// some seconds later, and shows the latest.
const CLOSED: usize = 4096;

/// Distinct stacks remembered before those that no socket has any more are swept out.
const DISTINCT: usize = 16_384;

/// Stacks that wait to be named. What finds no room is asked for again with the next news.
const WAITING: usize = 1024;

/// How long the namer keeps what it read of files, in which symbols take most of the room.
const KEEP_SYMBOLS: Duration = Duration::from_secs(30);

/// The longest name that is kept: those of templates and closures grow without bound.
const NAME: usize = 256;

/// One distinct stack of one process.
#[derive(Debug)]
struct Trace {
    /// When it was first seen.
    at: MonoNs,
    pid: Pid,
    call: SocketCall,
    addresses: Box<[u64]>,
    /// It is with the namer.
    sent: AtomicBool,
    /// Empty when the process was gone, or nothing of it is known.
    named: OnceLock<Arc<[Frame]>>,
}

impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        (self.pid, self.call) == (other.pid, other.call) && self.addresses == other.addresses
    }
}

impl Eq for Trace {}

impl std::hash::Hash for Trace {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.pid.hash(state);
        self.addresses.hash(state);
    }
}

/// Where a socket was opened, or closed.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) sock: SockId,
    /// Of one that has ended, which nobody else knows any more.
    pub(super) ended: Option<SocketKey>,
    pub(super) call: SocketCall,
    pub(super) pid: Pid,
    pub(super) frames: Arc<[Frame]>,
}

/// The last stack of each socket that lives or was closed lately. Without `--stacks` nothing ever comes here.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    of: FxHashMap<SockId, Arc<Trace>>,
    /// Those of them that have ended, in the order of their ends.
    closed: VecDeque<SocketKey>,
    distinct: FxHashMap<Pid, FxHashSet<Arc<Trace>>>,
    /// How many these are.
    count: usize,
    /// Asked for and not told yet, in the order of asking.
    asked: Vec<(SockId, Arc<Trace>)>,
    namer: Option<SyncSender<Arc<Trace>>>,
}

impl Stacks {
    /// A socket was opened or closed so.
    #[expect(
        clippy::mutable_key_type,
        reason = "neither hash nor equality of a trace looks at what changes"
    )]
    pub(super) fn note(&mut self, sock: SockId, raw: &RawStack) {
        if raw.frames.is_empty() || self.of.len() >= SOCKETS {
            return;
        }
        let trace = Trace {
            at: raw.at,
            pid: raw.pid,
            call: raw.call,
            addresses: raw.frames.clone(),
            sent: AtomicBool::new(false),
            named: OnceLock::new(),
        };
        if self.count >= DISTINCT {
            self.sweep();
        }
        let of_process = self.distinct.entry(raw.pid).or_default();
        let trace = of_process.get(&trace).cloned().unwrap_or_else(|| {
            let trace = Arc::new(trace);
            of_process.insert(Arc::clone(&trace));
            self.count += 1;
            trace
        });
        self.of.insert(sock, trace);
    }

    /// A socket has ended.
    pub(super) fn forget(&mut self, key: SocketKey) {
        match self.of.get(&key.sock) {
            Some(trace) if trace.call == SocketCall::Close => self.closed.push_back(key),
            Some(_) => drop(self.of.remove(&key.sock)),
            None => {}
        }
        if self.closed.len() > CLOSED
            && let Some(oldest) = self.closed.pop_front()
        {
            self.of.remove(&oldest.sock);
        }
    }

    /// A process has exited: another may have its pid, and the same addresses.
    pub(super) fn exited(&mut self, pid: Pid) {
        let gone = self.distinct.remove(&pid);
        self.count -= gone.map_or(0, |stacks| stacks.len());
    }

    /// Drops the stacks that no socket has. Those that sockets have may be more than [`DISTINCT`]: the
    /// bound of the sockets bounds them.
    fn sweep(&mut self) {
        self.distinct.retain(|_, stacks| {
            stacks.retain(|it| Arc::strong_count(it) > 1);
            !stacks.is_empty()
        });
        self.count = self.distinct.values().map(FxHashSet::len).sum();
    }

    /// Somebody wants to know where a socket was opened or closed: it is told once.
    pub(super) fn ask(&mut self, sock: SockId) {
        let Some(trace) = self.of.get(&sock) else {
            return;
        };
        if self.asked.len() >= WAITING || self.asked.iter().any(|(asked, _)| *asked == sock) {
            return;
        }
        if !trace.sent.swap(true, Ordering::Relaxed) {
            let namer = self.namer.get_or_insert_with(start);
            if namer.try_send(Arc::clone(trace)).is_err() {
                trace.sent.store(false, Ordering::Relaxed);
                return;
            }
        }
        self.asked.push((sock, Arc::clone(trace)));
    }

    /// What was asked for and has been named since the last call.
    pub(super) fn told(&mut self) -> Vec<Named> {
        let mut told = Vec::new();
        let (of, closed) = (&mut self.of, &self.closed);
        self.asked.retain(|(sock, trace)| {
            let Some(frames) = trace.named.get() else {
                return true;
            };
            // It may have ended while the namer was at work; and is told once.
            if of.remove(sock).is_some() && !frames.is_empty() {
                told.push(Named {
                    sock: *sock,
                    ended: closed.iter().find(|key| key.sock == *sock).copied(),
                    call: trace.call,
                    pid: trace.pid,
                    frames: Arc::clone(frames),
                });
            }
            false
        });
        told
    }
}

/// Starts the thread that names stacks. It ends when nobody can ask it any more.
fn start() -> SyncSender<Arc<Trace>> {
    let (asking, asked) = sync_channel(WAITING);
    let started = thread::Builder::new()
        .name("stacks".to_owned())
        .spawn(move || name_all(&asked));
    if let Err(error) = started {
        tracing::warn!(%error, "cannot start a thread to name stacks; findings will show none");
    }
    asking
}

fn name_all(asked: &Receiver<Arc<Trace>>) {
    while let Ok(first) = asked.recv() {
        // It is not told of files that changed since: one for each burst of questions.
        let symbolizer = Symbolizer::builder().enable_code_info(true).build();
        let mut next = Some(first);
        while let Some(trace) = next {
            let _ = trace.named.set(name(&symbolizer, &trace));
            next = match asked.recv_timeout(KEEP_SYMBOLS) {
                Ok(trace) => Some(trace),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    }
}

/// The functions of a stack, the innermost first; nothing where none of them has a name.
fn name(symbolizer: &Symbolizer, trace: &Trace) -> Arc<[Frame]> {
    let nothing = || Arc::from([]);
    if !process::lived_at(trace.pid, trace.at) {
        return nothing();
    }
    // All but the innermost are return addresses: the call is before them, and may be the last
    // instruction of its function.
    let addresses: Vec<u64> = trace
        .addresses
        .iter()
        .enumerate()
        .map(|(place, address)| address.saturating_sub(u64::from(place > 0)))
        .collect();
    let source = Source::Process(Process::new(trace.pid.0.into()));
    let symbols = match symbolizer.symbolize(&source, Addresses::AbsAddr(&addresses)) {
        Ok(symbols) => symbols,
        Err(error) => {
            tracing::debug!(%error, pid = trace.pid.0, "cannot name a stack");
            return nothing();
        }
    };
    // The pid may have been taken over while its files were read.
    if !process::lived_at(trace.pid, trace.at) {
        return nothing();
    }
    let mut frames = Vec::with_capacity(symbols.len());
    let mut known = false;
    for symbol in &symbols {
        match symbol.as_sym() {
            Some(symbol) => {
                known = true;
                functions(symbol, &mut frames);
            }
            None => frames.push(Frame::default()),
        }
    }
    // Without frame pointers the walk ends in nonsense.
    while frames
        .last()
        .is_some_and(|frame| *frame == Frame::default())
    {
        frames.pop();
    }
    if known { frames.into() } else { nothing() }
}

/// One address may stand for several functions, of which the inner ones were inlined.
fn functions(symbol: &Sym<'_>, frames: &mut Vec<Frame>) {
    let module = symbol
        .module
        .as_ref()
        .map(|path| Arc::from(path.to_string_lossy()));
    let mut push = |name: &str, code: Option<&CodeInfo<'_>>| {
        frames.push(Frame {
            function: Some(shortened(name)),
            module: module.clone(),
            file: code.map(|code| shortened(&code.to_path().to_string_lossy())),
            line: code.and_then(|code| code.line),
        });
    };
    for inner in symbol.inlined.iter().rev() {
        push(&inner.name, inner.code_info.as_ref());
    }
    push(&symbol.name, symbol.code_info.as_deref());
}

fn shortened(text: &str) -> Arc<str> {
    match text.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
