//! The door on the running kernel: real sockets of this process, told by real probes.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use tcptrace_core::input::{
    Accept, Inspection, ListenerSample, Loss, LossCause, SnapshotMark, SnapshotPhase, SocketRow,
    Transition,
};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{Fd, Port, SockId};

use super::*;

/// The kernel, and everything it has told.
struct Watch {
    kernel: Kernel,
    told: Vec<Input>,
    /// The probes' readiness is watched by it.
    _runtime: tokio::runtime::Runtime,
}

impl Watch {
    /// Opens the kernel and takes the first snapshot.
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let guard = runtime.enter();
        let mut kernel = Kernel::open(&KernelOptions {
            probes: ProbeOptions::for_tests(),
            ..KernelOptions::default()
        })
        .unwrap_or_else(|error| panic!("these tests trace the running kernel: {error}"));
        drop(guard);
        let mut told = Vec::new();
        kernel.snapshot(&mut told).unwrap();
        Self {
            kernel,
            told,
            _runtime: runtime,
        }
    }

    /// Drains until `enough`, for at most twenty seconds: the machine may be emulated, and busy.
    #[track_caller]
    fn until(&mut self, what: &str, enough: impl Fn(&[Input]) -> bool) {
        for _ in 0..2000 {
            while self.kernel.drain(&mut self.told) > 0 {}
            if enough(&self.told) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("never {what}");
    }

    fn ask(&mut self, requests: &[Request]) -> Vec<Input> {
        let mut answers = Vec::new();
        self.kernel.answer(requests, &mut answers);
        self.told.extend(answers.iter().cloned());
        answers
    }
}

fn me() -> Pid {
    Pid(std::process::id())
}

fn transitions(told: &[Input], sock: SockId) -> Vec<&Transition> {
    told.iter()
        .filter_map(|input| match input {
            Input::Transition(it) if it.key.sock == sock => Some(it),
            _ => None,
        })
        .collect()
}

/// The socket whose ends are these ports.
fn sock(told: &[Input], local: u16, peer: Option<u16>) -> Option<SockId> {
    told.iter()
        .filter_map(Input::key)
        .filter(|key| key.sock != SockId(0))
        .rfind(|key| key.local.port == Some(Port(local)) && key.peer.port == peer.map(Port))
        .map(|key| key.sock)
}

/// The socket that listens on this port. Up to Linux 6.14 a child is born with its tuple.
fn listening(told: &[Input], port: u16) -> Option<SockId> {
    let key = told.iter().find_map(|input| {
        match input {
            Input::Transition(it) if it.to == TcpState::Listen => Some(&it.key),
            Input::Socket(it) if it.state == TcpState::Listen => Some(&it.key),
            _ => None,
        }
        .filter(|key| key.local.port == Some(Port(port)))
    })?;
    Some(key.sock)
}

fn rows(told: &[Input], sock: SockId) -> Vec<&SocketRow> {
    told.iter()
        .filter_map(|input| match input {
            Input::Socket(row) if row.key.sock == sock => Some(row),
            _ => None,
        })
        .collect()
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Every fact that names a process comes after the news of who that is.
#[track_caller]
fn assert_names_come_first(told: &[Input]) {
    let mut known = std::collections::BTreeSet::new();
    for input in told {
        let named = match input {
            Input::Process(ProcessFact::Seen { info, .. }) => {
                known.insert(info.pid);
                continue;
            }
            Input::Transition(it) => it.context.pid(),
            Input::Accept(it) => Some(it.pid),
            Input::Socket(it) => it.holder.as_ref().map(|holder| holder.pid),
            _ => None,
        };
        // Somebody else's process may be gone without a trace; ours is here.
        if named == Some(me()) {
            assert!(known.contains(&me()), "{input:?}");
        }
    }
}

#[test]
fn a_connection_is_told_from_end_to_end() {
    let mut watch = Watch::new();
    let (server, address) = listener();
    let client = TcpStream::connect(address).unwrap();
    let client_port = client.local_addr().unwrap().port();
    let (accepted, _) = server.accept().unwrap();
    drop(client);
    thread::sleep(Duration::from_millis(20));
    drop(accepted);
    drop(server);

    let port = address.port();
    let ended = |told: &[Input]| {
        let destroyed = |local, peer| {
            sock(told, local, peer).is_some_and(|sock| {
                told.iter()
                    .any(|it| matches!(it, Input::Destroy(it) if it.key.sock == sock))
            })
        };
        destroyed(client_port, Some(port))
            && destroyed(port, Some(client_port))
            && destroyed(port, None)
    };
    watch.until("destroyed", ended);
    let told = &watch.told;
    assert_names_come_first(told);

    let connecting = sock(told, client_port, Some(port)).unwrap();
    let steps = transitions(told, connecting);
    assert_eq!(
        steps.iter().map(|it| it.to).collect::<Vec<_>>()[..3],
        [TcpState::SynSent, TcpState::Established, TcpState::FinWait1]
    );
    assert_eq!(steps[0].context.pid(), Some(me()));
    assert_eq!(steps[0].key.peer.to_string(), address.to_string());
    assert_eq!(steps[2].context.pid(), Some(me()));
    assert!(steps[2].file_released);

    let child = sock(told, port, Some(client_port)).unwrap();
    assert_ne!(child, connecting);
    let steps = transitions(told, child);
    assert_eq!(
        (steps[0].from, steps[0].to),
        (TcpState::Listen, TcpState::SynRecv)
    );
    assert_eq!(steps.last().unwrap().to, TcpState::Close);
    // The local port, which the kernel resets at CLOSE, stays known.
    assert_eq!(steps.last().unwrap().key.local.port, Some(Port(port)));
    let accepts: Vec<&Accept> = told
        .iter()
        .filter_map(|it| match it {
            Input::Accept(it) if it.key.sock == child => Some(it),
            _ => None,
        })
        .collect();
    assert_eq!(accepts.len(), 1);
    assert_eq!(accepts[0].pid, me());

    let listening = sock(told, port, None).unwrap();
    assert_eq!(transitions(told, listening)[0].to, TcpState::Listen);
    assert_eq!(transitions(told, listening)[0].context.pid(), Some(me()));
}

#[test]
fn sockets_older_than_the_tracer_are_found_with_their_holders() {
    let (server, address) = listener();
    let client = TcpStream::connect(address).unwrap();
    let client_port = client.local_addr().unwrap().port();
    let waiting = TcpStream::connect(address).unwrap();
    let waiting_port = waiting.local_addr().unwrap().port();
    let (accepted, _) = server.accept().unwrap();
    let copy = accepted.try_clone().unwrap();
    let port = address.port();

    let mut watch = Watch::new();
    assert_names_come_first(&watch.told);
    let told = &watch.told;
    let complete = told.iter().any(|input| {
        matches!(
            input,
            Input::Snapshot(SnapshotMark {
                phase: SnapshotPhase::End { complete: true },
                ..
            })
        )
    });
    assert!(complete);
    let fds = |sock: SockId| -> Vec<_> {
        let mut fds: Vec<_> = rows(told, sock)
            .iter()
            .filter_map(|row| row.holder.clone())
            // A child that another test starts holds copies until it calls exec.
            .filter(|holder| holder.pid == me())
            .map(|holder| holder.fd)
            .collect();
        fds.sort_unstable();
        fds
    };
    let fd = |of: &dyn AsRawFd| Fd(of.as_raw_fd().cast_unsigned());
    let listening = sock(told, port, None).unwrap();
    assert_eq!(fds(listening), [fd(&server)]);
    let level = rows(told, listening)[0].queue.unwrap();
    assert_eq!(level.depth, 1);
    assert_eq!(
        fds(sock(told, client_port, Some(port)).unwrap()),
        [fd(&client)]
    );
    let child = sock(told, port, Some(client_port)).unwrap();
    // Another test may have closed a lower one in between.
    let mut both = [fd(&accepted), fd(&copy)];
    both.sort_unstable();
    assert_eq!(fds(child), both);
    let queued = sock(told, port, Some(waiting_port)).unwrap();
    let row = rows(told, queued)[0];
    assert_eq!(rows(told, queued).len(), 1);
    assert_eq!(row.listener, Some(listening));
    assert!(!row.has_socket && row.holder.is_none());

    // They keep their number when something happens.
    drop(client);
    watch.until("CLOSE_WAIT", |told| {
        transitions(told, child)
            .iter()
            .any(|it| it.to == TcpState::CloseWait)
    });
    drop((accepted, copy, waiting, server));
}

#[test]
fn orphans_are_found_in_the_hash_tables() {
    let (server, address) = listener();
    let client = TcpStream::connect(address).unwrap();
    let client_port = client.local_addr().unwrap().port();
    let (accepted, _) = server.accept().unwrap();
    // The FIN waits behind data that the reader never takes: an orphan in FIN_WAIT1.
    client.set_nonblocking(true).unwrap();
    let mut sink = &client;
    while sink.write(&[0; 65536]).is_ok() {}
    drop(client);

    let mut watch = Watch::new();
    assert_eq!(sock(&watch.told, client_port, Some(address.port())), None);
    for _ in 0..50 {
        watch.kernel.poll(&mut watch.told);
        if watch.kernel.tables_due.is_empty() {
            break;
        }
    }
    let orphan = sock(&watch.told, client_port, Some(address.port())).unwrap();
    let row = rows(&watch.told, orphan)[0];
    assert!(row.dead && !row.has_socket);
    assert_eq!(row.state, TcpState::FinWait1);
    drop(accepted);
}

#[test]
fn a_suspect_is_inspected() {
    let mut watch = Watch::new();
    let (server, address) = listener();
    let client = TcpStream::connect(address).unwrap();
    let client_port = client.local_addr().unwrap().port();
    let (accepted, _) = server.accept().unwrap();
    drop(client);
    let port = address.port();
    watch.until("CLOSE_WAIT", |told| {
        sock(told, port, Some(client_port)).is_some_and(|sock| {
            transitions(told, sock)
                .iter()
                .any(|it| it.to == TcpState::CloseWait)
        })
    });
    let suspect = sock(&watch.told, port, Some(client_port)).unwrap();
    // The state is stored just after it is reported.
    thread::sleep(Duration::from_millis(20));
    let answers = watch.ask(&[
        Request::Inspect {
            sock: suspect,
            holders: true,
        },
        Request::Inspect {
            sock: SockId(u64::MAX),
            holders: false,
        },
        Request::Descriptors(me()),
    ]);
    let looks: Vec<&Inspection> = answers
        .iter()
        .filter_map(|input| match input {
            Input::Inspection(it) => Some(it),
            _ => None,
        })
        .collect();
    assert_eq!(looks.len(), 1);
    let look = looks[0];
    assert_eq!((look.key.sock, look.state), (suspect, TcpState::CloseWait));
    assert_eq!(look.unread, 1, "the FIN");
    assert!(look.waiters.as_ref().unwrap().is_empty());
    let scan = look.holders.as_ref().unwrap();
    assert!(scan.complete);
    // A child that another test starts holds a copy until it calls exec.
    let mine = scan.holders.iter().filter(|holder| holder.pid == me());
    assert_eq!(mine.count(), 1);
    assert!(look.threads.iter().any(|thread| thread.pid == me()));
    assert!(answers.iter().any(|input| matches!(
        input,
        Input::Process(ProcessFact::Descriptors { pid, open, .. }) if *pid == me() && *open > 3
    )));

    drop(accepted);
    drop(server);
    // Not by draining: its end is to be in the ring still.
    let line = format!(":{port:04X} 0100007F:{client_port:04X} ");
    assert!(
        (0..2000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            !fs::read_to_string("/proc/net/tcp").unwrap().contains(&line)
        }),
        "it never ended"
    );
    let answers = watch.ask(&[Request::Inspect {
        sock: suspect,
        holders: true,
    }]);
    let looks = answers
        .iter()
        .filter(|input| matches!(input, Input::Inspection(_)));
    assert_eq!(looks.count(), 0, "it has ended meanwhile");
}

#[test]
fn a_filling_queue_is_sampled() {
    let mut watch = Watch::new();
    let (server, address) = listener();
    // SAFETY: a listening socket that `server` owns; listen only sets its backlog.
    unsafe { libc::listen(server.as_raw_fd(), 2) };
    let port = address.port();
    let clients: Vec<_> = (0..2)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    watch.until("listening", |told| listening(told, port).is_some());
    let listening = listening(&watch.told, port).unwrap();
    let samples = |told: &[Input]| -> Vec<ListenerSample> {
        told.iter()
            .filter_map(|input| match input {
                Input::Listener(it) if it.key.sock == listening => Some(it.clone()),
                _ => None,
            })
            .collect()
    };
    watch.told.clear();
    watch.kernel.poll(&mut watch.told);
    let told = samples(&watch.told);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].accept.depth, told[0].accept.limit), (2, 2));
    assert!(told[0].waiters.as_ref().unwrap().is_empty());
    for _ in &clients {
        drop(server.accept().unwrap());
    }
    watch.told.clear();
    watch.kernel.poll(&mut watch.told);
    assert_eq!(samples(&watch.told)[0].accept.depth, 0);

    let netns = netns::own().unwrap();
    let answers = watch.ask(&[Request::Listeners(netns)]);
    assert_eq!(samples(&answers).len(), 1);
    assert!(samples(&answers)[0].waiters.is_some());
}

#[test]
fn every_life_is_whole_while_snapshots_go_on() {
    // From Linux 7 on a tracepoint's program may be preempted: whatever else runs on that processor
    // skips it, and in the end all understudies. That is counted, and then lives have gaps.
    let whole = (0..3).any(|_| lives_are_whole_while_snapshots_go_on());
    assert!(whole, "something was lost each time");
}

/// Whether nothing was lost; if so, every life is whole.
fn lives_are_whole_while_snapshots_go_on() -> bool {
    let mut watch = Watch::new();
    watch.told.clear();
    let (server, address) = listener();
    let port = Some(Port(address.port()));
    let acceptor = thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            drop(server.accept().unwrap());
        }
    });
    let client = thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            drop(TcpStream::connect(address).unwrap());
        }
    });
    while !client.is_finished() || !acceptor.is_finished() {
        watch.kernel.snapshot(&mut watch.told).unwrap();
        watch.kernel.poll(&mut watch.told);
        while watch.kernel.drain(&mut watch.told) > 0 {}
    }
    client.join().unwrap();
    acceptor.join().unwrap();
    let here = netns::own().unwrap();
    let mut ends = 0;
    // A FIN may have been dropped and repeated on a busy host.
    for _ in 0..1000 {
        thread::sleep(Duration::from_millis(10));
        while watch.kernel.drain(&mut watch.told) > 0 {}
        let ours = |input: &&Input| {
            matches!(input, Input::Destroy(it) if it.key.netns == here
                && (it.key.local.port == port || it.key.peer.port == port))
        };
        ends = watch.told.iter().filter(ours).count();
        if ends > 2 * CONNECTIONS {
            break;
        }
    }
    assert_eq!(
        ends,
        2 * CONNECTIONS + 1,
        "both ends of each, and the listener"
    );

    // Losses are told by the poll; whatever was recovered is no loss.
    watch.kernel.poll(&mut watch.told);
    let skipped = |input: &Input| {
        matches!(input, Input::Loss(it) if it.cause == LossCause::Recursion
            && it.kind.as_deref() == Some("transition"))
    };
    if watch.told.iter().any(skipped) {
        return false;
    }
    let mut states = FxHashMap::<SockId, (usize, Option<TcpState>)>::default();
    for input in &watch.told {
        // From Linux 7 on a tracepoint's program may be preempted, and then the exits of other tests'
        // processes skip it; here it is about sockets.
        let about_sockets = |it: &Loss| it.kind.as_deref() != Some("process");
        assert!(
            !matches!(input, Input::Loss(it) if about_sockets(it)),
            "{input:?}"
        );
        // A repeated FIN that comes late is answered by a reset, of no socket.
        let Some(key) = input.key().filter(|key| key.sock != SockId(0)) else {
            continue;
        };
        // Another namespace's sockets may have the same port, and live on.
        if key.netns != here || key.local.port != port && key.peer.port != port {
            continue;
        }
        let life = states.entry(key.sock).or_insert((0, None));
        match input {
            Input::Transition(it) => {
                if let Some(state) = life.1 {
                    assert_eq!(state, it.from, "{it:?}");
                }
                *life = (life.0 + 1, Some(it.to));
            }
            // Destroyed: nothing may follow.
            Input::Destroy(_) => *life = (usize::MAX / 2, None),
            Input::Socket(it) => {
                assert!(life.0 < usize::MAX / 2, "a row after the end: {it:?}");
                if let Some(state) = life.1 {
                    assert_eq!(state, it.state, "{it:?}");
                }
            }
            _ => {}
        }
    }
    let unended = states.iter().find(|(_, life)| life.0 != usize::MAX / 2);
    if let Some((sock, _)) = unended {
        let its = |input: &&Input| input.key().is_some_and(|key| key.sock == *sock);
        let its: Vec<_> = watch.told.iter().filter(its).collect();
        panic!("never ended: {its:#?}");
    }
    true
}

/// Enough for addresses to be reused hundreds of times, and for a dozen snapshots meanwhile.
const CONNECTIONS: usize = 1500;

#[test]
fn clients_that_live_for_one_connection_are_named() {
    let mut watch = Watch::new();
    watch.told.clear();
    let (server, address) = listener();
    let port = address.port();
    let command = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = std::process::Command::new("bash")
                .args(["-c", &command])
                .spawn()
                .unwrap();
            drop(server.accept().unwrap());
            client.wait().unwrap();
            Pid(client.id())
        })
        .collect();
    watch.until("20 connects", |told| {
        let connects = told.iter().filter(|input| {
            matches!(input, Input::Transition(it)
                if it.to == TcpState::SynSent && it.key.peer.port == Some(Port(port)))
        });
        connects.count() == clients.len()
    });
    let mut names = FxHashMap::default();
    let mut connected = Vec::new();
    for input in &watch.told {
        match input {
            Input::Process(ProcessFact::Seen { info, .. }) => {
                names.insert(info.pid, info.name.to_string());
            }
            Input::Transition(it)
                if it.to == TcpState::SynSent && it.key.peer.port == Some(Port(port)) =>
            {
                let pid = it.context.pid().unwrap();
                assert_eq!(names.get(&pid).map(String::as_str), Some("bash"));
                connected.push(pid);
            }
            _ => {}
        }
    }
    assert_eq!(connected, clients);
}

/// Each is unloaded behind the agent's back: it counts as attached, and never speaks.
#[test]
fn a_probe_that_is_attached_and_never_fires_is_named() {
    let mut watch = Watch::new();
    let purposes = [Purpose::Accepts, Purpose::Listeners, Purpose::QueueDrops];
    let served: Vec<_> = purposes
        .into_iter()
        .filter(|it| watch.kernel.probes.serves(*it))
        .collect();
    assert!(served.contains(&Purpose::Accepts));
    for purpose in &served {
        watch.kernel.probes.mute(*purpose);
    }
    while watch.kernel.drain(&mut watch.told) > 0 {}
    // What was heard before does not count: the neighbours' connections are traced as well.
    watch.kernel.silence = Silence::default();
    watch.kernel.poll(&mut watch.told);

    let (server, address) = listener();
    let (full, refusing) = listener();
    // SAFETY: a listening socket of ours; a second listen changes its backlog.
    assert_eq!(unsafe { libc::listen(full.as_raw_fd(), 0) }, 0);
    let _only = TcpStream::connect(refusing).unwrap();
    let mut named = Vec::new();
    for _ in 0..100 {
        for _ in 0..10 {
            drop(TcpStream::connect(address).unwrap());
            server.accept().unwrap();
            // Its SYN is dropped, which the kernel counts.
            let _ = TcpStream::connect_timeout(&refusing, Duration::from_millis(2));
        }
        while watch.kernel.drain(&mut watch.told) > 0 {}
        watch.told.clear();
        watch.kernel.poll(&mut watch.told);
        named.extend(watch.kernel.silent());
        if served
            .iter()
            .all(|it| named.iter().any(|silent| silent.purpose == *it))
        {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let purposes: Vec<_> = named.iter().map(|it| it.purpose).collect();
    assert_eq!(purposes.len(), served.len(), "each once: {named:?}");
    for purpose in served {
        assert!(purposes.contains(&purpose), "{purpose:?}: {named:?}");
    }
    for silent in named {
        let said = silent.to_string();
        assert!(
            said.contains(silent.purpose.name()) && said.contains("silent"),
            "{said}"
        );
    }
}
