//! Words for what the engine knows: processes, owners, kinds. Every name that a stranger chose is
//! escaped here, once, on its way to the screen.

use tcptrace_core::finding::{Confidence, Finding, Owner, Provenance};
use tcptrace_core::input::{Context, ProcessInfo};
use tcptrace_core::units::Pid;
use tcptrace_core::world::{CloseCall, Closer, Origin, Socket};

use super::escape::escape;
use super::fit;
use super::quantity;
use super::sight::Sight;
use super::theme::Theme;

/// `nginx 1234`.
pub(super) fn process(info: &ProcessInfo, theme: Theme) -> String {
    let name = escape(&info.name, theme.ascii);
    match info.pid.0 {
        pid if name.is_empty() => format!("pid {pid}"),
        pid => format!("{name} {pid}"),
    }
}

/// The process of an owner. A name that was learnt after the owner was found is the world's.
pub(super) fn owner_info<'a>(owner: &'a Owner, sight: Sight<'a>) -> &'a ProcessInfo {
    if owner.process.name.is_empty()
        && let Some(known) = sight.process(owner.process.pid)
    {
        return &known.info;
    }
    &owner.process
}

/// A process of which perhaps only the pid is known.
pub(super) fn pid(pid: Pid, sight: Sight<'_>, theme: Theme) -> String {
    match sight.process(pid) {
        Some(known) => {
            let name = process(&known.info, theme);
            match known.exited {
                Some(_) => format!("{name} (exited)"),
                None => name,
            }
        }
        None => format!("pid {}", pid.0),
    }
}

/// An owner in exactly `cells`: the pid outlives the name, and `?` says that it is inferred.
pub(super) fn owner_column(
    owner: Option<&Owner>,
    cells: usize,
    sight: Sight<'_>,
    theme: Theme,
) -> String {
    let Some(owner) = owner else {
        return fit::left("-", cells, theme);
    };
    let doubt = match owner.confidence {
        Confidence::Exact => "",
        Confidence::Likely | Confidence::Unknown => "?",
    };
    let tail = format!(" {}{doubt}", owner.process.pid.0);
    let name = escape(&owner_info(owner, sight).name, theme.ascii);
    let room = cells.saturating_sub(tail.len());
    fit::left(
        &format!("{}{tail}", fit::cut(&name, room, theme)),
        cells,
        theme,
    )
}

/// How it is known that a process owns a socket.
pub(super) fn provenance(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Connect => "connected it",
        Provenance::Listen => "listens on it",
        Provenance::Accept => "accepted it",
        Provenance::Inherited => "owns its listener",
        Provenance::Holder => "holds its descriptor",
    }
}

/// `nginx 1234, accepted it (exact)`.
pub(super) fn owner(owner: &Owner, sight: Sight<'_>, theme: Theme) -> String {
    format!(
        "{}, {} ({})",
        process(owner_info(owner, sight), theme),
        provenance(owner.provenance),
        owner.confidence.name()
    )
}

/// Who was at work when something happened.
pub(super) fn context(context: Context, sight: Sight<'_>, theme: Theme) -> String {
    match context {
        Context::Process {
            pid: who, exiting, ..
        } => {
            let name = pid(who, sight, theme);
            let exit = if exiting && !name.ends_with(')') {
                ", exiting"
            } else {
                ""
            };
            format!("by {name}{exit}")
        }
        Context::Interrupt => "by network or timer".to_owned(),
    }
}

/// How a socket came to be.
pub(super) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Unknown => "not known: older than the trace, or born during a loss",
        Origin::Active => "active open: this host connected",
        Origin::Passive => "passive open: the peer connected",
        Origin::Listener => "listener",
    }
}

/// How our side was closed.
pub(super) fn close_call(call: CloseCall) -> &'static str {
    match call {
        CloseCall::Close => "close",
        CloseCall::Shutdown => "shutdown; the descriptor stays open",
        CloseCall::Exit => "its exit",
    }
}

/// Who closed a connection: `nginx 812, by close`, `the peer's FIN`.
pub(super) fn closer(closer: Closer, sight: Sight<'_>, theme: Theme) -> String {
    match closer {
        Closer::Process {
            pid: by,
            call,
            signal,
        } => {
            let signal = signal.map_or_else(String::new, |number| format!(" on signal {number}"));
            format!("{}, by {}{signal}", pid(by, sight, theme), close_call(call))
        }
        Closer::PeerFin => "the peer's FIN".to_owned(),
        Closer::PeerReset => "the peer's reset".to_owned(),
        Closer::Timeout => "the kernel: nobody answered in time".to_owned(),
        Closer::Admin { pid: None } => "an administrator (ss -K)".to_owned(),
        Closer::Admin { pid: Some(by) } => {
            format!("an administrator (ss -K), by {}", pid(by, sight, theme))
        }
    }
}

/// `close_wait_leak/never_accepted`.
pub(super) fn kind_and_cause(finding: &Finding) -> String {
    match finding.cause {
        Some(cause) => format!("{}/{}", finding.kind, cause),
        None => finding.kind.name().to_owned(),
    }
}

/// How long a socket has been in its state; `>` where it is older than the trace.
pub(super) fn state_age(socket: &Socket, sight: Sight<'_>) -> String {
    let age = quantity::age(sight.now().since(socket.since));
    if socket.since_is_lower_bound {
        format!(">{age}")
    } else {
        age
    }
}
