//! Why the kernel cannot be watched: cause, consequence, remedy. Lack of privilege and lack of a
//! kernel feature are different variants, because the command ends with different exit codes.

use std::io;

/// Why probes could not be opened, or an inspection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelError {
    /// Exit code 3.
    #[error(
        "cannot {what}: permission denied ({detail}), so nothing can be traced; run with sudo, or grant CAP_BPF and CAP_PERFMON (docs/doctor.md says what more capabilities bring)"
    )]
    NotPrivileged {
        /// What was tried.
        what: String,
        /// What the kernel or the system said.
        detail: String,
    },
    /// Exit code 4.
    #[error("this kernel cannot be traced: it lacks {lacks}; {remedy}")]
    KernelCannot {
        /// The missing feature.
        lacks: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Exit code 4: not for want of privileges.
    #[error(
        "cannot {what}: the kernel forbids it although no privilege is missing ({detail}); {remedy}"
    )]
    Forbidden {
        /// What was tried.
        what: String,
        /// What the kernel said.
        detail: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The object was refused for another reason.
    #[error(
        "cannot {what}: {detail}; this is a defect of tcptrace or an unusual kernel, please report it with the output of `tcptrace doctor`"
    )]
    Refused {
        /// What was tried.
        what: String,
        /// What the kernel or the loader said.
        detail: String,
    },
    /// An operation on a loaded probe failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// An answer could not be read.
    #[error(transparent)]
    Decode(#[from] tcptrace_core::decode::DecodeError),
}

impl KernelError {
    /// Why one probe among others is missing, without the consequence and the remedy for all.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::NotPrivileged { detail, .. } | Self::Refused { detail, .. } => detail.clone(),
            Self::Forbidden { detail, .. } => {
                format!("this kernel forbids it although no privilege is missing ({detail})")
            }
            Self::KernelCannot { lacks, .. } => format!("this kernel lacks {lacks}"),
            other => other.to_string(),
        }
    }

    /// Wraps a system error, by its number: EPERM and EACCES are a lack of privilege.
    pub(crate) fn io(what: &'static str, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::NotPrivileged {
                what: what.to_owned(),
                detail: source.to_string(),
            }
        } else {
            Self::Io { what, source }
        }
    }
}
