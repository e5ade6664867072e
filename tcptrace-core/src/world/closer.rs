//! Who closed a connection: a process by close, shutdown or its exit, the peer by FIN or reset, the
//! kernel because nobody answered, or an administrator.
//!
//! A process that crashes closes its sockets all the same: the kernel sends the FIN (or a reset, where
//! data was unread) at its exit, and the closer is that exit with the signal. A host that crashes sends
//! nothing, and its peer learns of it by a timeout. So `Timeout` never is a process, here or there.

use crate::engine::Annotation;
use crate::input::Transition;
use crate::tcp::TcpState;
use crate::units::Pid;
use crate::world::{CloseCall, Socket, World};

/// Errnos that `sk_err` has when the socket is closed (asm-generic/errno.h).
const EPIPE: u16 = 32;
const ECONNABORTED: u16 = 103;
const ECONNRESET: u16 = 104;
const ECONNREFUSED: u16 = 111;

/// Who caused a step of a connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closer {
    /// A process of this host.
    Process {
        /// Which.
        pid: Pid,
        /// By which call.
        call: CloseCall,
        /// The signal that ended it, where its exit closed the connection.
        signal: Option<u8>,
    },
    /// The peer's FIN: an orderly close, or the exit (even the crash) of its process.
    PeerFin,
    /// The peer's reset.
    PeerReset,
    /// The kernel gave up: nobody answered, or the path was reported unreachable.
    Timeout,
    /// `ss -K` or another user of sock_diag's destroy.
    Admin {
        /// Who asked, where that is known.
        pid: Option<Pid>,
    },
}

/// Who began the end of a connection and what ended it, in few bytes: a host has a million sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    began: Option<Step>,
    ended: Option<Step>,
    signal: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Process,
    PeerFin,
    PeerReset,
    Timeout,
    Admin,
}

impl Step {
    fn of(closer: Closer) -> Self {
        match closer {
            Closer::Process { .. } => Self::Process,
            Closer::PeerFin => Self::PeerFin,
            Closer::PeerReset => Self::PeerReset,
            Closer::Timeout => Self::Timeout,
            Closer::Admin { .. } => Self::Admin,
        }
    }
}

impl Socket {
    /// Who began the end of the connection; absent while nobody has, or where that was not seen.
    pub fn closed_by(&self) -> Option<Closer> {
        self.step(self.ends.began?)
    }

    /// What ended it otherwise than by the two FINs: a reset, a timeout, an administrator.
    pub fn ended_by(&self) -> Option<Closer> {
        self.step(self.ends.ended?)
    }

    fn step(&self, step: Step) -> Option<Closer> {
        Some(match step {
            Step::Process => {
                let (pid, call) = self.closer?;
                Closer::Process {
                    pid,
                    call,
                    signal: self.ends.signal,
                }
            }
            Step::PeerFin => Closer::PeerFin,
            Step::PeerReset => Closer::PeerReset,
            Step::Timeout => Closer::Timeout,
            Step::Admin => Closer::Admin { pid: None },
        })
    }
}

impl World {
    /// Names who caused this transition, if it is a step of an end. `call` is what our own process did.
    pub(super) fn name_closer(
        &mut self,
        x: &Transition,
        call: Option<(Pid, CloseCall)>,
        annotation: &mut Annotation,
    ) {
        let Some(closer) = self.closer_of(x, call) else {
            return;
        };
        annotation.closer = Some(closer);
        if let Some(slot) = self.table.get_mut(x.key.sock) {
            let ends = &mut slot.socket.ends;
            ends.began.get_or_insert(Step::of(closer));
            if x.error.is_some() && x.to == TcpState::Close {
                ends.ended = Some(Step::of(closer));
            }
            if let Closer::Process { signal, .. } = closer {
                ends.signal = ends.signal.or(signal);
            }
        }
    }

    fn closer_of(&self, x: &Transition, call: Option<(Pid, CloseCall)>) -> Option<Closer> {
        match (x.to, x.error) {
            (TcpState::CloseWait, _) => Some(Closer::PeerFin),
            (TcpState::Close, Some(EPIPE | ECONNRESET | ECONNREFUSED)) => Some(Closer::PeerReset),
            (TcpState::Close, Some(ECONNABORTED)) => Some(Closer::Admin {
                pid: x.context.pid(),
            }),
            // ETIMEDOUT, or the soft error that stands in for it (unreachable).
            (TcpState::Close, Some(_)) => Some(Closer::Timeout),
            _ => {
                let (pid, call) = call?;
                let signal = match call {
                    CloseCall::Exit => self.processes.get(pid).and_then(|it| it.signal),
                    CloseCall::Close | CloseCall::Shutdown => None,
                };
                Some(Closer::Process { pid, call, signal })
            }
        }
    }
}
