//! Scenarios as text: facts with their times, and the findings they must give.
//!
//! A script is a list of `TIME VERB ARGS` separated by `;`. Sockets are named by the script (`a`,
//! `b1`), and numbered in the order of their appearance. `play` gives the facts to an engine; ticks
//! are added every `every`, so that each scenario also shows that the tick rate changes nothing.

#![expect(clippy::unwrap_used, reason = "a wrong script fails its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tcptrace_core::engine::{Engine, Outcome};
use tcptrace_core::finding::Finding;
use tcptrace_core::input::*;
use tcptrace_core::request::Request;
use tcptrace_core::settings::Settings;
use tcptrace_core::tcp::{Endpoint, Shutdown, TcpState};
use tcptrace_core::units::{Fd, MonoNs, NetnsId, Pid, Port, SockId, Tid, WallNs};

pub(crate) const NETNS: NetnsId = NetnsId(4_026_531_840);

/// What a run gave.
#[derive(Default)]
pub(crate) struct Played {
    pub(crate) news: Vec<Arc<Finding>>,
    pub(crate) requests: Vec<(MonoNs, Request)>,
}

#[derive(Clone, Copy)]
struct Named {
    key: SocketKey,
    state: TcpState,
}

#[derive(Default)]
struct Script {
    sockets: BTreeMap<String, Named>,
    counters: Counters,
    /// What cannot happen in the state that a socket is in is left out, for generated scripts.
    lenient: bool,
    accepted: BTreeSet<String>,
}

pub(crate) fn time(text: &str) -> MonoNs {
    let cut = text.find(|c: char| c.is_ascii_alphabetic()).unwrap();
    let number: f64 = text[..cut].parse().unwrap();
    let unit = match &text[cut..] {
        "ms" => 1e6,
        "s" => 1e9,
        "min" => 60e9,
        unit => panic!("unknown unit {unit}"),
    };
    MonoNs((number * unit) as u64)
}

fn duration(text: &str) -> Duration {
    Duration::from_nanos(time(text).0)
}

fn known(address: [u8; 4], port: u16) -> Endpoint {
    Endpoint {
        address: Some(IpAddr::V4(Ipv4Addr::from(address))),
        port: Some(Port(port)),
    }
}

fn process(pid: u32) -> Context {
    Context::Process {
        pid: Pid(pid),
        tid: Tid(pid),
        exiting: false,
    }
}

/// The facts of a script, in its order.
pub(crate) fn facts(text: &str) -> Vec<Input> {
    run(Script::default(), text)
}

/// The facts of a generated script, those left out that no kernel can report.
pub(crate) fn possible_facts(text: &str) -> Vec<Input> {
    let script = Script {
        lenient: true,
        ..Script::default()
    };
    run(script, text)
}

fn run(mut script: Script, text: &str) -> Vec<Input> {
    let mut inputs = Vec::new();
    for line in text.split(';').map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = time(words[0]);
        script.step(at, words[1], &words[2..], &mut inputs);
    }
    inputs
}

struct Args<'a>(&'a [&'a str]);

impl<'a> Args<'a> {
    fn value(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.value(name)
            .map(|text| text.parse().ok().unwrap_or_else(|| panic!("{name}={text}")))
    }

    fn pair(&self, name: &str) -> Option<(u32, u32)> {
        let (a, b) = self.value(name)?.split_once('/').unwrap();
        Some((a.parse().unwrap(), b.parse().unwrap()))
    }

    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }
}

impl Script {
    fn new_socket(&mut self, name: &str, local: Endpoint, peer: Endpoint) -> SocketKey {
        let sock = SockId(self.sockets.len() as u64 + 1);
        let key = SocketKey {
            sock,
            netns: NETNS,
            local,
            peer,
        };
        let state = TcpState::Close;
        self.sockets.insert(name.to_owned(), Named { key, state });
        key
    }

    fn get(&self, name: &str) -> Named {
        *self
            .sockets
            .get(name)
            .unwrap_or_else(|| panic!("no socket {name}"))
    }

    /// A transition of a socket from the state it is in.
    fn change(&mut self, at: MonoNs, name: &str, to: TcpState, context: Context) -> Transition {
        let named = self.sockets.get_mut(name).unwrap();
        let from = std::mem::replace(&mut named.state, to);
        Transition {
            at,
            key: named.key,
            from,
            to,
            context,
            error: None,
            shutdown: Shutdown(0),
            peer_fin: to == TcpState::CloseWait || from == TcpState::LastAck,
            dead: false,
            has_socket: context != Context::Interrupt,
            file_released: false,
            file_refs: None,
            unread: None,
            unacked: None,
            usage: None,
            listener: None,
            waiter: None,
        }
    }

    fn possible(&mut self, verb: &str, args: &[&str]) -> bool {
        let Some(state) = args
            .first()
            .and_then(|n| self.sockets.get(*n))
            .map(|s| s.state)
        else {
            return true;
        };
        match verb {
            "fin" | "shutdown" | "abort" => state == TcpState::Established,
            "close" => matches!(state, TcpState::Established | TcpState::CloseWait),
            "accept" => {
                state != TcpState::Close
                    && args[0] != "d"
                    && self.accepted.insert(args[0].to_owned())
            }
            "finwait2" => state == TcpState::FinWait1,
            "become" | "completes" | "knock" | "reset" => false,
            "row" => args[1] == state.name(),
            "listen" | "child" | "connect" | "sample" | "synack" | "drop" => true,
            _ => state != TcpState::Close,
        }
    }

    fn step(&mut self, at: MonoNs, verb: &str, args: &[&str], inputs: &mut Vec<Input>) {
        let a = Args(args);
        if self.lenient && !self.possible(verb, args) {
            return;
        }
        match verb {
            "process" => inputs.push(Input::Process(ProcessFact::Seen {
                at,
                info: Arc::new(ProcessInfo {
                    pid: Pid(args[0].parse().unwrap()),
                    start: Some(1),
                    name: args[1].into(),
                    exe: Some(format!("/usr/bin/{}", args[1]).into()),
                    ..ProcessInfo::default()
                }),
            })),
            "exit" => inputs.push(Input::Process(ProcessFact::Exit {
                at,
                pid: Pid(args[0].parse().unwrap()),
                name: "".into(),
                signal: a.number("signal"),
            })),
            "fds" => {
                let (open, limit) = args[1].split_once('/').unwrap();
                inputs.push(Input::Process(ProcessFact::Descriptors {
                    at,
                    pid: Pid(args[0].parse().unwrap()),
                    open: open.parse().unwrap(),
                    limit: limit.parse().unwrap(),
                }));
            }
            "listen" => {
                let local = known([0, 0, 0, 0], a.number("port").unwrap());
                self.new_socket(args[0], local, Endpoint::default());
                let context = process(a.number("pid").unwrap());
                let t = self.change(at, args[0], TcpState::Listen, context);
                inputs.push(Input::Transition(t));
            }
            "child" => {
                let local = known([10, 0, 0, 1], a.number("port").unwrap());
                let place = self.sockets.len();
                let host = 2 + (place >> 16) as u8;
                let peer = known([10, 0, 0, host], 40_000_u16.wrapping_add(place as u16));
                self.new_socket(args[0], local, peer);
                self.sockets.get_mut(args[0]).unwrap().state = TcpState::Listen;
                for to in [TcpState::SynRecv, TcpState::Established] {
                    let t = self.change(at, args[0], to, Context::Interrupt);
                    inputs.push(Input::Transition(t));
                }
            }
            "accept" => inputs.push(Input::Accept(Accept {
                at,
                key: self.get(args[0]).key,
                pid: Pid(a.number("pid").unwrap()),
                tid: Tid(a.number("pid").unwrap()),
                fd: Some(Fd(9)),
            })),
            "connect" => {
                let local = known(
                    [10, 0, 0, 1],
                    50_000_u16.wrapping_add(self.sockets.len() as u16),
                );
                let last = a.number("host").unwrap_or(9);
                let peer = known([10, 0, 0, last], a.number("port").unwrap());
                self.new_socket(args[0], local, peer);
                let context = process(a.number("pid").unwrap());
                for (to, context) in [
                    (TcpState::SynSent, context),
                    (TcpState::Established, Context::Interrupt),
                ] {
                    let t = self.change(at, args[0], to, context);
                    inputs.push(Input::Transition(t));
                }
            }
            // A connect without an answer.
            "knock" => {
                let local = known([10, 0, 0, 1], 50_000 + self.sockets.len() as u16);
                let last = a.number("host").unwrap_or(9);
                let peer = known([10, 0, 0, last], a.number("port").unwrap());
                self.new_socket(args[0], local, peer);
                let context = process(a.number("pid").unwrap());
                let t = self.change(at, args[0], TcpState::SynSent, context);
                inputs.push(Input::Transition(t));
            }
            "become" => {
                let to = TcpState::from_name(args[1]).unwrap();
                let mut t = self.change(at, args[0], to, Context::Interrupt);
                t.peer_fin |= a.has("peerfin");
                inputs.push(Input::Transition(t));
            }
            // The child of a half-open connection whose SYN-ACK was repeated.
            "completes" => {
                let mut local = self.get(args[0]).key.local;
                local.address = Some(IpAddr::from([10, 0, 0, 1]));
                let peer = known([10, 9, 0, a.number("from").unwrap_or(1)], 1234);
                let name = format!("child-of-{}", args[0]);
                self.new_socket(&name, local, peer);
                self.sockets.get_mut(&name).unwrap().state = TcpState::Listen;
                for to in [TcpState::SynRecv, TcpState::Established] {
                    let t = self.change(at, &name, to, Context::Interrupt);
                    inputs.push(Input::Transition(t));
                }
            }
            "fin" => {
                let mut t = self.change(at, args[0], TcpState::CloseWait, Context::Interrupt);
                t.unread = Some(a.number("unread").unwrap_or(1));
                t.file_refs = a.number("refs");
                t.waiter = a.value("waiter").map(|who| match who {
                    "nobody" => FinWaiter::Nobody,
                    "epoll" => FinWaiter::Epoll,
                    "other" => FinWaiter::Other,
                    pid => FinWaiter::Blocked(Pid(pid.parse().unwrap())),
                });
                inputs.push(Input::Transition(t));
            }
            "close" | "shutdown" => {
                let to = match self.get(args[0]).state {
                    TcpState::CloseWait => TcpState::LastAck,
                    _ => TcpState::FinWait1,
                };
                let context = process(a.number("pid").unwrap());
                let mut t = self.change(at, args[0], to, context);
                t.file_released = verb == "close";
                t.shutdown = Shutdown(if verb == "close" { 3 } else { 2 });
                t.usage = a.value("idle").map(|idle| Usage {
                    idle: duration(idle),
                    segments_in: a.number("in").unwrap_or(1),
                    segments_out: a.number("out").unwrap_or(1),
                });
                inputs.push(Input::Transition(t));
            }
            "finwait2" => {
                let mut t = self.change(at, args[0], TcpState::FinWait2, Context::Interrupt);
                t.dead = a.has("dead");
                t.has_socket = a.has("held");
                inputs.push(Input::Transition(t));
            }
            "closed" => {
                let mut t = self.change(at, args[0], TcpState::Close, Context::Interrupt);
                t.error = a.number("error");
                t.unacked = a.number("unacked");
                t.peer_fin |= a.has("peerfin");
                t.dead = a.has("dead");
                t.key.local.port = None;
                inputs.push(Input::Transition(t));
                let key = t.key;
                inputs.push(Input::Destroy(Destroy { at, key }));
            }
            // A connect that is not answered yet.
            "dial" => {
                let local = known([10, 0, 0, 1], 50_000 + self.sockets.len() as u16);
                let peer = known([10, 0, 0, 9], a.number("port").unwrap());
                self.new_socket(args[0], local, peer);
                let context = process(a.number("pid").unwrap());
                let t = self.change(at, args[0], TcpState::SynSent, context);
                inputs.push(Input::Transition(t));
            }
            // A connect that finds no local port.
            "noport" => {
                let local = Endpoint {
                    port: None,
                    ..known([10, 0, 0, 1], 0)
                };
                let peer = known([10, 0, 0, 9], a.number("port").unwrap());
                self.new_socket(args[0], local, peer);
                let context = process(a.number("pid").unwrap());
                for to in [TcpState::SynSent, TcpState::Close] {
                    let t = self.change(at, args[0], to, context);
                    inputs.push(Input::Transition(t));
                }
            }
            // close or exit that resets, or `ss -K` with error=103.
            "abort" => {
                let context = Context::Process {
                    pid: Pid(a.number("pid").unwrap()),
                    tid: Tid(1),
                    exiting: a.has("exiting"),
                };
                let mut t = self.change(at, args[0], TcpState::Close, context);
                t.error = a.number("error");
                t.unread = a.number("unread");
                t.has_socket = !a.has("queued");
                t.file_released = t.error.is_none() && !a.has("queued");
                inputs.push(Input::Transition(t));
            }
            "reset" => {
                let mut key = self.get(args[0]).key;
                let state = Some(self.get(args[0]).state).filter(|_| !a.has("nosocket"));
                if state.is_none() {
                    key.sock = SockId(0);
                    key.peer = known([10, 9, 0, 7], 1234);
                }
                inputs.push(Input::Reset(Reset {
                    at,
                    key,
                    direction: if a.has("received") {
                        ResetDirection::Received
                    } else {
                        ResetDirection::Sent
                    },
                    state,
                    reason: a.value("reason").map(Arc::from),
                    context: Context::Interrupt,
                }));
            }
            "row" => {
                let local = known([10, 0, 0, 1], a.number("port").unwrap());
                let place = self.sockets.len();
                let host = 2 + (place >> 16) as u8;
                let peer = known([10, 0, 0, host], 40_000_u16.wrapping_add(place as u16));
                let state = TcpState::from_name(args[1]).unwrap();
                let key = match self.sockets.get(args[0]) {
                    Some(named) => named.key,
                    None => self.new_socket(args[0], local, peer),
                };
                self.sockets.get_mut(args[0]).unwrap().state = state;
                inputs.push(Input::Socket(SocketRow {
                    at,
                    key,
                    state,
                    holder: a.number("pid").map(|pid| Holder {
                        pid: Pid(pid),
                        fd: Fd(5),
                        cloexec: None,
                    }),
                    listener: a.value("listener").map(|l| self.get(l).key.sock),
                    has_socket: !a.has("queued"),
                    dead: false,
                    unread: a.number("unread"),
                    unacked: Some(0),
                    idle: a.value("idle").map(duration),
                    queue: None,
                }));
            }
            "snapshot" => inputs.push(Input::Snapshot(SnapshotMark {
                at,
                scope: SnapshotScope::Descriptors,
                phase: match args[0] {
                    "begin" => SnapshotPhase::Begin,
                    end => SnapshotPhase::End {
                        complete: end == "complete",
                    },
                },
            })),
            "peek" => self.peek(at, &a, inputs),
            "retransmit" => {
                let named = self.get(args[0]);
                let attempt = a.number("attempt").unwrap_or(1);
                inputs.push(Input::Retransmit(Retransmit {
                    at,
                    key: named.key,
                    state: named.state,
                    syn: named.state == TcpState::SynSent,
                    fin: !a.has("data") && named.state.awaits_fin_ack(),
                    reason: if a.has("probe") {
                        RetransmitReason::LossProbe
                    } else {
                        RetransmitReason::Timeout
                    },
                    attempt,
                    backoff: attempt.saturating_sub(1),
                    rto: Some(Duration::from_millis(200 << attempt.min(20))),
                    dead: !a.has("held"),
                    user_timeout: a.value("user_timeout").map(duration),
                    syn_retries: a.number("syncnt"),
                }));
            }
            "sample" => {
                let (depth, limit) = a.pair("queue").unwrap();
                inputs.push(Input::Listener(ListenerSample {
                    at,
                    key: self.get(args[0]).key,
                    accept: QueueLevel { depth, limit },
                    syn_depth: a.number("syn").unwrap_or(0),
                    drops: a.number("drops").unwrap_or(0),
                    waiters: if a.has("watched") {
                        Some(Waiters {
                            blocked: 1,
                            ..Waiters::default()
                        })
                    } else if a.has("unwatched") {
                        Some(Waiters::default())
                    } else {
                        None
                    },
                }));
            }
            "counters" => {
                let c = &mut self.counters;
                c.at = at;
                c.netns = NETNS;
                c.listen_overflows += a.number("overflows").unwrap_or(0);
                c.req_q_full_drop += a.number("syndrops").unwrap_or(0);
                c.req_q_full_do_cookies += a.number("cookies").unwrap_or(0);
                c.time_wait_overflow += a.number("twoverflow").unwrap_or(0);
                c.tw_sockets = a.number("tw").or(c.tw_sockets);
                c.orphan_fin_wait2 = a.number("orphans");
                inputs.push(Input::Counters(*c));
            }
            "sysctls" => inputs.push(Input::Netns(NetnsFacts {
                at,
                netns: NETNS,
                somaxconn: Some(4096),
                tcp_max_syn_backlog: Some(1024),
                tcp_syncookies: Some(1),
                tcp_orphan_retries: Some(0),
                tcp_retries2: Some(15),
                tcp_fin_timeout: Some(60),
                tcp_abort_on_overflow: Some(a.number("abort").unwrap_or(0)),
                tcp_max_tw_buckets: a.number("maxtw"),
                tcp_tw_reuse: Some(a.number("reuse").unwrap_or(0)),
                tcp_timestamps: Some(1),
                local_port_first: a.number("ports").map(|_: u32| 40_000),
                local_port_last: a.number("ports").map(|ports: u32| 40_000 + ports - 1),
                tcp_syn_retries: Some(6),
                tcp_synack_retries: Some(5),
                tcp_syn_linear_timeouts: Some(4),
                tcp_keepalive_time: Some(7200),
                tcp_keepalive_intvl: Some(75),
                tcp_keepalive_probes: Some(9),
                tcp_rto_max_ms: a.number("rtomax"),
                tcp_tw_reuse_delay: a.number("reusedelay"),
                ..NetnsFacts::default()
            })),
            "synack" => {
                let mut key = self.get(args[0]).key;
                key.peer = known([10, 9, 0, a.number("from").unwrap_or(1)], 1234);
                inputs.push(Input::SynackRetransmit(SynackRetransmit {
                    at,
                    key,
                    attempt: a.number("attempt").unwrap_or(1),
                    acked: a.has("answered"),
                    defer_accept: a.has("deferred"),
                    timeouts: a.number("timeouts"),
                    retries: a.number("syncnt"),
                }));
            }
            "drop" => {
                let mut key = self.get(args[0]).key;
                key.peer = known([10, 9, 0, 7], 1234);
                let (depth, limit) = a.pair("queue").unwrap();
                inputs.push(Input::QueueDrop(QueueDrop {
                    at,
                    key,
                    queue: if a.has("syn") {
                        Queue::Syn
                    } else {
                        Queue::Accept
                    },
                    outcome: if a.has("cookie") {
                        DropOutcome::Cookie
                    } else {
                        DropOutcome::Dropped
                    },
                    depth,
                    limit,
                }));
            }
            "loss" => inputs.push(Input::Loss(Loss {
                cause: LossCause::Ring,
                kind: None,
                count: 3,
                from: at,
                to: at,
            })),
            "tick" => inputs.push(tick(at)),
            verb => panic!("unknown verb {verb}"),
        }
    }

    fn peek(&mut self, at: MonoNs, a: &Args<'_>, inputs: &mut Vec<Input>) {
        let named = self.get(a.0[0]);
        let waiters = if a.has("torn") {
            None
        } else if a.has("epoll") {
            Some(Waiters {
                epoll: vec![EpollWatch {
                    events: 0x2001,
                    ready: true,
                    waited_on: false,
                }],
                ..Waiters::default()
            })
        } else {
            Some(Waiters {
                polling: u32::from(a.has("polling")),
                others: u32::from(a.has("uring")),
                ..Waiters::default()
            })
        };
        inputs.push(Input::Inspection(Inspection {
            at,
            key: named.key,
            state: named.state,
            unread: a.number("unread").unwrap_or(1),
            unacked: a.number("unacked").unwrap_or(0),
            bytes_acked: a.number("acked").unwrap_or(100),
            has_socket: !a.has("queued"),
            dead: false,
            file_refs: a.number("refs"),
            shutdown: Shutdown(1),
            special_reader: a.has("ktls"),
            waiters,
            idle: a.value("idle").map(duration),
            holders: a.value("holders").map(|pids| HolderScan {
                complete: true,
                holders: pids
                    .split(',')
                    .filter(|pid| *pid != "none")
                    .map(|pid| Holder {
                        pid: Pid(pid.parse().unwrap()),
                        fd: Fd(9),
                        cloexec: None,
                    })
                    .collect(),
            }),
            listener: None,
            threads: if a.has("stopped") {
                vec![ThreadState {
                    pid: Pid(7),
                    tid: Tid(7),
                    state: 'T',
                    wait_channel: None,
                }]
            } else {
                let tids = 7..7 + a.number("threads").unwrap_or(0);
                tids.map(|tid| ThreadState {
                    pid: Pid(7),
                    tid: Tid(tid),
                    state: 'S',
                    wait_channel: None,
                })
                .collect()
            },
            sending: a.number("window").map(|window| Sending {
                window,
                unsent: a.number("unsent").unwrap_or(0),
                retransmits: 0,
                backoff: a.number("backoff").unwrap_or(0),
                probes_out: a.number("probes").unwrap_or(0),
                user_timeout: a.value("user_timeout").map(duration),
                keepalive: a.has("keepalive"),
                keepalive_time: a.value("keepidle").map(duration),
                keepalive_interval: None,
                keepalive_probes: None,
            }),
        }));
    }
}

pub(crate) fn tick(at: MonoNs) -> Input {
    Input::Tick(Tick {
        at,
        wall: WallNs(at.0 as i64 + 1_700_000_000_000_000_000),
    })
}

/// Gives facts to a new engine, with a tick every `every` besides those of the script.
pub(crate) fn play(inputs: &[Input], every: Option<Duration>) -> (Engine, Played) {
    play_with(inputs, every, Settings::default())
}

/// The same with other thresholds.
pub(crate) fn play_with(
    inputs: &[Input],
    every: Option<Duration>,
    settings: Settings,
) -> (Engine, Played) {
    let mut engine = Engine::new(settings);
    let mut outcome = Outcome::default();
    let mut played = Played::default();
    let mut apply = |engine: &mut Engine, input: &Input| {
        engine.apply(input, &mut outcome);
        played.news.append(&mut outcome.findings);
        played
            .requests
            .extend(outcome.requests.iter().map(|r| (input.at(), *r)));
    };
    let mut clock = MonoNs(0);
    for input in inputs {
        if let Some(every) = every {
            // A tick says that every fact up to it was given.
            while clock.plus(every) < input.at() {
                clock = clock.plus(every);
                apply(&mut engine, &tick(clock));
            }
        }
        apply(&mut engine, input);
    }
    (engine, played)
}

/// A finding's news as one line: when, what, how bad, how sure, whose, where, how many.
pub(crate) fn line(finding: &Finding) -> String {
    let cause = finding
        .cause
        .map_or_else(String::new, |cause| format!("/{cause}"));
    let owner = finding.process.as_ref().map_or_else(
        || "nobody".to_owned(),
        |owner| format!("{}#{}", owner.process.name, owner.process.pid.0),
    );
    format!(
        "{}s {} {} {}{cause} {} {} {owner} {} x{}",
        finding.at.0 as f64 / 1e9,
        finding.id,
        finding.status.name(),
        finding.kind,
        finding.severity.name(),
        finding.confidence.name(),
        finding.service,
        finding.count,
    )
}

/// Plays a script at several tick rates; each must give the expected news.
pub(crate) fn check(script: &str, expected: &[&str]) -> (Engine, Played) {
    check_with(&[], script, expected)
}

/// The same with other thresholds.
pub(crate) fn check_with(set: &[&str], script: &str, expected: &[&str]) -> (Engine, Played) {
    let mut settings = Settings::default();
    for assignment in set {
        settings.set(assignment).unwrap();
    }
    let inputs = facts(script);
    for every in [
        None,
        Some(Duration::from_millis(250)),
        Some(Duration::from_secs(7)),
    ] {
        let (_, played) = play_with(&inputs, every, settings.clone());
        let news: Vec<String> = played.news.iter().map(|f| line(f)).collect();
        assert_eq!(news, expected, "ticks every {every:?} of\n{script}");
    }
    play_with(&inputs, Some(Duration::from_millis(250)), settings)
}
