//! Why a run failed, and the exit code that says so. Exit codes are public contract:
//! 0 fine, 1 run-time failure, 2 usage, 3 not privileged, 4 this kernel cannot.

use std::fmt;
use std::process::ExitCode;

/// Which of the documented exit codes a failure maps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Something went wrong while running.
    Runtime,
    /// The command line asks for something that cannot be.
    Usage,
    /// Privileges are missing.
    Privilege,
    /// The kernel lacks what tcptrace needs.
    Kernel,
}

/// A failed run: its kind, and the error whose chain says cause, consequence and remedy.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: FailureKind,
    error: anyhow::Error,
}

impl Failure {
    /// A failure of a given kind.
    pub(crate) fn new(kind: FailureKind, error: impl Into<anyhow::Error>) -> Self {
        Self {
            kind,
            error: error.into(),
        }
    }

    /// Something that the user asked for cannot be.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Usage, anyhow::anyhow!("{message}"))
    }

    /// Whether it is only that the reader of our output has gone, which ends a run quietly.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            FailureKind::Runtime => 1,
            FailureKind::Usage => 2,
            FailureKind::Privilege => 3,
            FailureKind::Kernel => 4,
        })
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(FailureKind::Runtime, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `{:#}` joins the chain of causes with colons, on one line.
        write!(f, "{:#}", self.error)
    }
}
