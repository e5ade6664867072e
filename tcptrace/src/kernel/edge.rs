//! From a decoded record to the facts that it makes: the socket gets its number and its full tuple,
//! the process its name, the namespace a place among those whose counters are read.

use std::sync::Arc;

use tcptrace_common::record::Kind;
use tcptrace_core::decode::{Raw, RawReset, WakeFunctions};
use tcptrace_core::input::{
    Accept, Context, Destroy, Input, QueueDrop, Reset, Retransmit, SocketKey, SynackRetransmit,
    Transition,
};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{MonoNs, NetnsId, Pid, Tid};

use super::counters::NamespaceCounters;
use super::identity::{Identities, Step};
use super::process::{Occasion, Processes};
use super::stacks::Stacks;

/// What the kernel edge remembers from record to record.
pub(crate) struct Edge {
    pub(crate) identities: Identities,
    pub(crate) processes: Processes,
    pub(crate) namespaces: NamespaceCounters,
    pub(super) stacks: Stacks,
    /// Tells what an entry of a wait queue is.
    functions: WakeFunctions,
    /// The namespace of the last record: most records come from one.
    last_netns: NetnsId,
}

impl Edge {
    /// Nothing known yet; counters of `only` this namespace are wanted, or of all, and command lines
    /// or none.
    pub(crate) fn new(only: Option<NetnsId>, functions: WakeFunctions, cmdline: bool) -> Self {
        Self {
            identities: Identities::default(),
            processes: Processes::new(cmdline),
            namespaces: NamespaceCounters::new(only),
            stacks: Stacks::default(),
            functions,
            last_netns: NetnsId(0),
        }
    }

    /// Tells the sink what a record means. Returns the kind of a record that an understudy reported
    /// because the kernel had skipped the program before it.
    pub(crate) fn take(
        &mut self,
        raw: &Raw,
        reason: impl FnOnce(u32) -> Option<Arc<str>>,
        sink: &mut Vec<Input>,
    ) -> Option<Kind> {
        match raw {
            Raw::Transition(raw) => {
                let step = self.identities.transition(raw);
                let key = self.begin(step, raw.at, task(raw.context), sink)?;
                let opening = matches!(raw.to, TcpState::SynSent | TcpState::Listen);
                self.meet(raw.context, opening, raw.at, sink);
                sink.push(Input::Transition(Transition {
                    at: raw.at,
                    key,
                    from: raw.from,
                    to: raw.to,
                    context: raw.context,
                    error: raw.error,
                    shutdown: raw.shutdown,
                    peer_fin: raw.peer_fin,
                    dead: raw.dead,
                    has_socket: raw.has_socket,
                    file_released: raw.file_released,
                    file_refs: raw.file_refs.map(u32::from),
                    unread: raw.unread,
                    unacked: raw.unacked,
                    usage: raw.usage,
                    listener: raw
                        .listener
                        .and_then(|address| self.identities.living(address)),
                    waiter: raw.waiter.and_then(|it| it.recognise(&self.functions)),
                }));
                return raw.understudy.then_some(Kind::Transition);
            }
            Raw::Accept(raw) => {
                let step = self.identities.event(&raw.key, raw.at, None);
                if let Some(key) = self.begin(step, raw.at, Some(raw.tid), sink) {
                    self.processes
                        .meet(raw.pid, raw.at, Occasion::Opening, sink);
                    sink.push(Input::Accept(Accept {
                        at: raw.at,
                        key,
                        pid: raw.pid,
                        tid: raw.tid,
                        fd: raw.fd,
                    }));
                }
            }
            Raw::Retransmit(raw) => {
                let step = self.identities.event(&raw.key, raw.at, Some(raw.state));
                if let Some(key) = self.begin(step, raw.at, None, sink) {
                    sink.push(Input::Retransmit(Retransmit {
                        at: raw.at,
                        key,
                        state: raw.state,
                        syn: raw.syn,
                        fin: raw.fin,
                        reason: raw.reason,
                        attempt: raw.attempt,
                        backoff: raw.backoff,
                        rto: raw.rto,
                        dead: raw.dead,
                        user_timeout: raw.user_timeout,
                        syn_retries: raw.syn_retries,
                    }));
                }
            }
            Raw::SynackRetransmit(raw) => {
                let step = self.identities.on_listener(&raw.key, raw.at);
                if let Some(key) = self.begin(step, raw.at, None, sink) {
                    sink.push(Input::SynackRetransmit(SynackRetransmit {
                        at: raw.at,
                        key,
                        attempt: raw.attempt,
                        acked: raw.acked,
                        defer_accept: raw.defer_accept,
                        timeouts: raw.timeouts,
                        retries: raw.retries,
                    }));
                }
            }
            Raw::QueueDrop(raw) => {
                let step = self.identities.on_listener(&raw.key, raw.at);
                if let Some(key) = self.begin(step, raw.at, None, sink) {
                    sink.push(Input::QueueDrop(QueueDrop {
                        at: raw.at,
                        key,
                        queue: raw.queue,
                        outcome: raw.outcome,
                        depth: raw.depth,
                        limit: raw.limit,
                    }));
                }
            }
            Raw::Reset(raw) => self.reset(raw, reason, sink),
            Raw::Destroy(raw) => {
                if let Some(key) = self.identities.destroy(raw.sock, raw.at) {
                    self.stacks.forget(key);
                    sink.push(Input::Destroy(Destroy { at: raw.at, key }));
                    return raw.understudy.then_some(Kind::Destroy);
                }
            }
            Raw::Exit(raw) => {
                self.stacks.exited(raw.pid);
                self.processes.exit(raw, sink);
            }
            Raw::Stack(raw) => {
                // Of another pid namespace /proc would show somebody else's memory.
                let readable = !self.processes.is_blind();
                if let Some(sock) = self.identities.living(raw.sock).filter(|_| readable) {
                    self.stacks.note(sock, raw);
                }
            }
        }
        None
    }

    fn reset(
        &mut self,
        raw: &RawReset,
        reason: impl FnOnce(u32) -> Option<Arc<str>>,
        sink: &mut Vec<Input>,
    ) {
        let step = match raw.state {
            Some(TcpState::Listen) => self.identities.on_listener(&raw.key, raw.at),
            Some(_) => self.identities.event(&raw.key, raw.at, raw.state),
            // What is no full socket has an address of another kind.
            None => Identities::no_socket(&raw.key),
        };
        let Some(key) = self.begin(step, raw.at, task(raw.context), sink) else {
            return;
        };
        self.meet(raw.context, false, raw.at, sink);
        sink.push(Input::Reset(Reset {
            at: raw.at,
            key,
            direction: raw.direction,
            state: raw.state,
            reason: raw.reason.and_then(reason),
            context: raw.context,
        }));
    }

    /// What every fact about a socket has in common: the end of a life that went unreported, and
    /// the namespace.
    pub(crate) fn begin(
        &mut self,
        step: Step,
        at: MonoNs,
        task: Option<Tid>,
        sink: &mut Vec<Input>,
    ) -> Option<SocketKey> {
        let Step::Fact { key, ended } = step else {
            return None;
        };
        if let Some(key) = ended {
            self.stacks.forget(key);
            sink.push(Input::Destroy(Destroy { at, key }));
        }
        if key.netns != self.last_netns {
            self.last_netns = key.netns;
            self.namespaces.mention(key.netns, task);
        }
        Some(key)
    }

    fn meet(&mut self, context: Context, opening: bool, at: MonoNs, sink: &mut Vec<Input>) {
        let Context::Process { pid, exiting, .. } = context else {
            return;
        };
        let occasion = match (exiting, opening) {
            (true, _) => Occasion::Exiting,
            (false, true) => Occasion::Opening,
            (false, false) => Occasion::Passing,
        };
        self.processes.meet(pid, at, occasion, sink);
    }

    /// A scan found this process holding a descriptor.
    pub(crate) fn meet_holder(&mut self, pid: Pid, at: MonoNs, sink: &mut Vec<Input>) {
        self.processes.meet(pid, at, Occasion::Passing, sink);
    }
}

fn task(context: Context) -> Option<Tid> {
    match context {
        Context::Process { tid, .. } => Some(tid),
        Context::Interrupt => None,
    }
}

#[cfg(test)]
mod tests {
    use tcptrace_core::decode::{
        RawAccept, RawDestroy, RawExit, RawKey, RawTransition, SockAddress,
    };
    use tcptrace_core::input::ProcessFact;
    use tcptrace_core::tcp::{Endpoint, Shutdown};

    use super::*;

    const CLIENT: SockAddress = SockAddress(0xffff_8880_0000_1000);
    /// Nobody has this pid: it is above the kernel's limit.
    const GONE: Pid = Pid(5_000_000);

    fn key(sock: SockAddress) -> RawKey {
        RawKey {
            sock,
            netns: NetnsId(1),
            local: Endpoint::known("1.1.1.1:5000".parse().unwrap()),
            peer: Endpoint::known("2.2.2.2:80".parse().unwrap()),
        }
    }

    fn transition(at: u64, from: TcpState, to: TcpState, context: Context) -> Raw {
        Raw::Transition(RawTransition {
            at: MonoNs(at),
            key: key(CLIENT),
            from,
            to,
            context,
            error: None,
            shutdown: Shutdown(0),
            peer_fin: false,
            dead: false,
            has_socket: true,
            file_released: false,
            file_refs: None,
            unread: None,
            unacked: None,
            usage: None,
            listener: None,
            waiter: None,
            understudy: false,
        })
    }

    /// The facts in short: what the sink is told of these records, taken as one batch.
    fn check(raws: &[Raw], expected: &[&str]) {
        let mut edge = Edge::new(None, WakeFunctions::default(), false);
        let mut sink = Vec::new();
        for raw in raws {
            if let Raw::Exit(exit) = raw {
                edge.processes.foresee(exit);
            }
        }
        for raw in raws {
            edge.take(raw, |number| Some(number.to_string().into()), &mut sink);
        }
        let told: Vec<_> = sink
            .iter()
            .map(|input| match input {
                Input::Transition(it) => format!("{} {}>{}", it.key.sock, it.from, it.to),
                Input::Accept(it) => format!("{} accept by {}", it.key.sock, it.pid.0),
                Input::Destroy(it) => format!("{} destroy {}", it.key.sock, it.key.peer),
                Input::Reset(it) => format!("{} reset {:?}", it.key.sock, it.reason),
                Input::Process(ProcessFact::Seen { info, .. }) => format!("seen {}", info.name),
                Input::Process(ProcessFact::Exit { name, .. }) => format!("exit {name}"),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, expected);
    }

    fn curl(exiting: bool) -> Context {
        Context::Process {
            pid: GONE,
            tid: Tid(GONE.0),
            exiting,
        }
    }

    fn exit_of_curl(at: u64) -> Raw {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"curl");
        Raw::Exit(RawExit {
            at: MonoNs(at),
            pid: GONE,
            comm,
            started_boot_ns: 70_000_000,
            signal: Some(0),
        })
    }

    #[test]
    fn a_short_life_is_told_in_order() {
        check(
            &[
                transition(1, TcpState::Close, TcpState::SynSent, curl(false)),
                transition(
                    2,
                    TcpState::SynSent,
                    TcpState::Established,
                    Context::Interrupt,
                ),
                exit_of_curl(3),
                transition(4, TcpState::Established, TcpState::FinWait1, curl(true)),
                Raw::Destroy(RawDestroy {
                    at: MonoNs(5),
                    sock: CLIENT,
                    understudy: false,
                }),
                Raw::Destroy(RawDestroy {
                    at: MonoNs(6),
                    sock: SockAddress(7),
                    understudy: false,
                }),
            ],
            &[
                "seen curl",
                "1 CLOSE>SYN_SENT",
                "1 SYN_SENT>ESTABLISHED",
                "exit curl",
                "1 ESTABLISHED>FIN_WAIT1",
                "1 destroy 2.2.2.2:80",
            ],
        );
    }

    #[test]
    fn an_end_that_was_not_reported_is_told() {
        check(
            &[
                transition(1, TcpState::Close, TcpState::SynSent, Context::Interrupt),
                transition(2, TcpState::SynSent, TcpState::Close, Context::Interrupt),
                transition(3, TcpState::Close, TcpState::SynSent, Context::Interrupt),
            ],
            &[
                "1 CLOSE>SYN_SENT",
                "1 SYN_SENT>CLOSE",
                "1 destroy 2.2.2.2:80",
                "2 CLOSE>SYN_SENT",
            ],
        );
    }

    #[test]
    fn who_accepts_is_named_before_the_accept() {
        let me = Pid(std::process::id());
        let at = super::super::clock::now();
        let accept = Raw::Accept(RawAccept {
            at,
            key: key(CLIENT),
            pid: me,
            tid: Tid(me.0),
            fd: None,
        });
        let name = std::fs::read_to_string(format!("/proc/{}/comm", me.0)).unwrap();
        check(
            &[accept],
            &[
                &format!("seen {}", name.trim_end()),
                &format!("1 accept by {}", me.0),
            ],
        );
    }

    #[test]
    fn a_reset_without_a_full_socket_has_no_number() {
        let reset = |state| {
            Raw::Reset(RawReset {
                at: MonoNs(1),
                key: key(CLIENT),
                direction: tcptrace_core::input::ResetDirection::Sent,
                state,
                reason: Some(3),
                context: Context::Interrupt,
            })
        };
        check(
            &[reset(None), reset(Some(TcpState::Established))],
            &["0 reset Some(\"3\")", "1 reset Some(\"3\")"],
        );
    }
}
