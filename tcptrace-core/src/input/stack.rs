//! Where in its program a process opened or closed a socket: recorded on request only (`--stacks`).

use std::fmt;
use std::sync::Arc;

use super::SocketKey;
use crate::units::{MonoNs, Pid};

/// The call by which a program came by a connection, or ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketCall {
    /// It took a connection from an accept queue.
    Accept,
    /// It connected.
    Connect,
    /// It closed first: by close, shutdown or a reset.
    Close,
}

impl SocketCall {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Accept, Self::Connect, Self::Close];

    /// As written in recordings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Connect => "connect",
            Self::Close => "close",
        }
    }
}

/// The user stack of the thread that accepted, connected or closed a socket, at that call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// When it was read; the call was earlier.
    pub at: MonoNs,
    /// The socket.
    pub key: SocketKey,
    /// Which call.
    pub call: SocketCall,
    /// Whose stack.
    pub pid: Pid,
    /// The innermost frame first.
    pub frames: Arc<[Frame]>,
}

/// One function on a stack. Hostile text: the program names itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    /// The function, demangled; absent where the module has no symbol there.
    pub function: Option<Arc<str>>,
    /// The program or library, by its path.
    pub module: Option<Arc<str>>,
    /// The source file, where the module carries debug information.
    pub file: Option<Arc<str>>,
    /// The line in that file.
    pub line: Option<u32>,
}

impl fmt::Display for Frame {
    /// `serve (main.rs:12)`, `serve`, `[libc.so.6]`, `?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn last(path: &str) -> &str {
            path.rsplit('/').next().unwrap_or(path)
        }
        match (&self.function, &self.module) {
            (Some(function), _) => f.write_str(function)?,
            (None, Some(module)) => write!(f, "[{}]", last(module))?,
            (None, None) => f.write_str("?")?,
        }
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " ({}:{line})", last(file)),
            (Some(file), None) => write!(f, " ({})", last(file)),
            (None, _) => Ok(()),
        }
    }
}
