//! Looking active is not working: a compiler may have inlined the function that a probe sits on, and
//! then it attaches and never runs. So what a probe tells is held against something that does not
//! depend on it, and a probe that stays silent while that moves is named, once.

use std::collections::BTreeMap;
use std::fmt;

use tcptrace_core::input::{Counters, Input};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::NetnsId;

use super::hooks::Purpose;

/// So often must the other side have moved: chance, and what was in flight when the probes were
/// attached, stay below.
const ENOUGH: u64 = 16;

/// Namespaces whose counters are compared; in more, a probe is as silent.
const NAMESPACES: usize = 1024;

/// A probe that never ran although it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silent {
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// How often it should have told something.
    pub(crate) expected: u64,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purpose, expected } = self;
        let name = purpose.name();
        match purpose {
            Purpose::Accepts => write!(
                f,
                "the probe for {name} is attached and silent, although {expected} connections were \
                 accepted: the kernel may have inlined its function, or io_uring accepts them; \
                 acceptors are known by scans only"
            ),
            Purpose::Listeners => write!(
                f,
                "the probe for {name} is attached and silent, although {expected} connections \
                 entered an accept queue: the kernel may have inlined its function; listeners are \
                 inferred from addresses and ports"
            ),
            _ => write!(
                f,
                "the probe for {name} is attached and silent, although the kernel counted \
                 {expected}: it may have inlined the function; drops are attributed by counters and \
                 samples"
            ),
        }
    }
}

/// What was told, and what should have been.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// Children that became ESTABLISHED, and those of them whose record named the listener.
    born: u64,
    with_listener: u64,
    accepts: u64,
    /// Children that ended in the queue.
    never_accepted: u64,
    drops: u64,
    counters: BTreeMap<NetnsId, Counters>,
    counted: u64,
    told: Vec<Purpose>,
}

impl Silence {
    /// Looks at facts on their way to the engine.
    pub(crate) fn hear(&mut self, inputs: &[Input]) {
        for input in inputs {
            match input {
                Input::Transition(x) => {
                    if (x.from, x.to) == (TcpState::SynRecv, TcpState::Established) {
                        self.born += 1;
                        self.with_listener += u64::from(x.listener.is_some());
                    }
                    let queued = x.to == TcpState::Close && !x.has_socket && !x.dead;
                    self.never_accepted += u64::from(queued);
                }
                Input::Accept(_) => self.accepts += 1,
                Input::QueueDrop(_) => self.drops += 1,
                Input::Counters(x) => self.count(x),
                _ => {}
            }
        }
    }

    fn count(&mut self, x: &Counters) {
        let total = |it: &Counters| it.listen_overflows + it.req_q_full_drop;
        if let Some(before) = self.counters.get_mut(&x.netns) {
            self.counted += total(x).saturating_sub(total(before));
            *before = *x;
        } else if self.counters.len() < NAMESPACES {
            self.counters.insert(x.netns, *x);
        }
    }

    /// Those of the attached probes that turn out to be silent, each told once. `queued` connections
    /// wait in accept queues now. Where the kernel leaves something out by a filter, counters of the
    /// whole namespace say nothing.
    pub(crate) fn judge(
        &mut self,
        attached: impl Fn(Purpose) -> bool,
        queued: u64,
        filtered: bool,
    ) -> Vec<Silent> {
        let accepted = self.born.saturating_sub(self.never_accepted + queued);
        let counted = if filtered { 0 } else { self.counted };
        [
            (Purpose::Accepts, self.accepts, accepted),
            (Purpose::Listeners, self.with_listener, self.born),
            (Purpose::QueueDrops, self.drops, counted),
        ]
        .into_iter()
        .filter(|&(_, told, expected)| told == 0 && expected >= ENOUGH)
        .filter(|&(purpose, ..)| attached(purpose))
        .filter_map(|(purpose, _, expected)| {
            if self.told.contains(&purpose) {
                return None;
            }
            self.told.push(purpose);
            Some(Silent { purpose, expected })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use tcptrace_core::input::{Accept, Context, SocketKey, Transition};
    use tcptrace_core::tcp::Shutdown;
    use tcptrace_core::units::{MonoNs, Pid, SockId, Tid};

    use super::*;

    fn born(listener: Option<u64>) -> Input {
        Input::Transition(Transition {
            at: MonoNs(1),
            key: SocketKey::default(),
            from: TcpState::SynRecv,
            to: TcpState::Established,
            context: Context::Interrupt,
            error: None,
            shutdown: Shutdown(0),
            peer_fin: false,
            dead: false,
            has_socket: false,
            file_released: false,
            file_refs: None,
            unread: None,
            unacked: None,
            usage: None,
            waiter: None,
            listener: listener.map(SockId),
        })
    }

    fn counted(overflows: u64) -> Input {
        Input::Counters(Counters {
            listen_overflows: overflows,
            ..Counters::default()
        })
    }

    fn check(inputs: &[Input], queued: u64, filtered: bool, expected: &[(Purpose, u64)]) {
        let mut silence = Silence::default();
        silence.hear(inputs);
        let silent: Vec<_> = silence
            .judge(|_| true, queued, filtered)
            .iter()
            .map(|it| (it.purpose, it.expected))
            .collect();
        assert_eq!(silent, expected);
        assert_eq!(silence.judge(|_| true, queued, filtered), [], "once");
    }

    #[test]
    fn who_never_speaks_is_named_once() {
        use Purpose::{Accepts, Listeners, QueueDrops};
        let accept = Input::Accept(Accept {
            at: MonoNs(1),
            key: SocketKey::default(),
            pid: Pid(1),
            tid: Tid(1),
            fd: None,
        });
        let unnamed = vec![born(None); 20];
        let named = vec![born(Some(1)); 20];
        check(&unnamed, 0, false, &[(Accepts, 20), (Listeners, 20)]);
        check(&unnamed[..15], 0, false, &[]);
        check(&named, 0, false, &[(Accepts, 20)]);
        check(&named, 10, false, &[]);
        check(&[named, vec![accept]].concat(), 0, false, &[]);
        let drops = [counted(100), counted(100), counted(130)];
        check(&drops, 0, false, &[(QueueDrops, 30)]);
        check(&drops, 0, true, &[]);
        let mut silence = Silence::default();
        silence.hear(&drops);
        assert_eq!(silence.judge(|_| false, 0, false), [], "not attached");
    }
}
