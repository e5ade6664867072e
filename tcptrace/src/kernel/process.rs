//! Who a pid is: each process is read from /proc once, and remembered after its exit.
//!
//! A pid is not an identity: (pid, start time) is. That a pid is somebody else now is noticed by its
//! exit record; should that be lost, by the start time, which is looked at again whenever the process
//! listens, connects or accepts and the last look is older than [`LOOK_AGAIN`]. The same look finds
//! the new name of a process that has called exec. Nothing is read on the other, frequent events.
//!
//! A process that was gone before anybody could read it is called by the name in its exit record,
//! which [`Processes::foresee`] learns from the records that arrived together with the first fact.
//! Exits of processes that no fact has named are kept back until one does, so that a host that runs
//! thousands of short commands does not fill a recording with them.
//!
//! Records name processes as the initial pid namespace numbers them. Inside another one /proc would
//! show somebody else under that number, so nothing is read there and exit records alone give names.
//!
//! Invariant: `ProcessFact::Seen` goes to the sink before the first fact that names the pid, unless
//! nothing at all is known of it yet; it then follows with the exit record.

use std::collections::VecDeque;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tcptrace_core::decode::RawExit;
use tcptrace_core::input::{Input, ProcessFact, ProcessInfo};
use tcptrace_core::units::{MonoNs, Pid};

use super::clock;

/// After how long a process that opens a socket is looked at again: often enough to follow an exec,
/// rare enough that a busy acceptor costs one small read in this time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Processes remembered. Some 400 bytes each; beyond it those that exited first are forgotten, and a
/// process that is met again is read again, so nothing is lost but time.
const MAX_KNOWN: usize = 32_768;

/// Of these, how many that have exited: facts about them may still come, of the last moments.
const EXITED: usize = 4096;

/// Why a process is being named, which decides whether it is worth a second look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// It listens, connects or accepts: worth knowing who it is *now*.
    Opening,
    /// Anything else that it does while it lives.
    Passing,
    /// Its exit closes its sockets, after the exit record.
    Exiting,
}

/// The number of the initial pid namespace, fixed by the kernel (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Everybody met so far.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    /// /proc does not show what the records name.
    blind: bool,
    /// Command lines are wanted.
    cmdline: bool,
    known: FxHashMap<Pid, Known>,
    /// In the order of their exits, for forgetting.
    exits: VecDeque<(Pid, MonoNs)>,
    /// Names in exit records that were read from the ring and not yet handled.
    foreseen: FxHashMap<Pid, Arc<ProcessInfo>>,
    /// Read a moment ago, for the fact that is about to be handled.
    fresh: Option<ProcessInfo>,
}

#[derive(Debug)]
struct Known {
    who: Who,
    exited: Option<MonoNs>,
    /// The signal that ended it, 0 for none.
    signal: Option<u8>,
    looked: MonoNs,
}

#[derive(Debug)]
enum Who {
    /// Told to the engine.
    Told(Arc<ProcessInfo>),
    /// Gone before it could be read, and its exit record has not come yet.
    Nameless,
    /// Its exit record came, and no fact has named it so far.
    Unmentioned(Arc<ProcessInfo>),
}

impl Processes {
    /// Nobody met yet; `cmdline` asks for command lines too.
    pub(crate) fn new(cmdline: bool) -> Self {
        Self {
            cmdline,
            blind: !in_initial_pid_namespace(),
            ..Self::default()
        }
    }

    /// Whether /proc shows other processes than the records name.
    pub(super) fn is_blind(&self) -> bool {
        self.blind
    }

    /// A fact at `at` is about to name `pid`: tells the sink who that is, if that is news.
    pub(crate) fn meet(&mut self, pid: Pid, at: MonoNs, occasion: Occasion, sink: &mut Vec<Input>) {
        let Some(known) = self.known.get_mut(&pid) else {
            self.look(pid, at, sink);
            return;
        };
        match (&known.who, known.exited) {
            // Its sockets are closed by its own exit, just after the record of it.
            (Who::Unmentioned(info), Some(exited))
                if at <= exited || occasion == Occasion::Exiting =>
            {
                let info = Arc::clone(info);
                known.who = Who::Told(Arc::clone(&info));
                let name = Arc::clone(&info.name);
                let (at, signal) = (exited, known.signal);
                sink.push(Input::Process(ProcessFact::Seen { at, info }));
                sink.push(Input::Process(ProcessFact::Exit {
                    at,
                    pid,
                    name,
                    signal,
                }));
            }
            (_, Some(exited)) if at > exited && occasion != Occasion::Exiting => {
                // The dead do nothing: the pid is somebody else's.
                self.look(pid, at, sink);
            }
            (Who::Told(_), None)
                if occasion == Occasion::Opening && at.since(known.looked) > LOOK_AGAIN =>
            {
                self.look(pid, at, sink);
            }
            _ => {}
        }
    }

    /// Whether nothing is known of a process that a fact at `at` names, as it is gone already. Its
    /// exit record was written before it could be reaped, so it is in the ring by now. What can be
    /// read is kept for that fact: the process may be gone a moment later.
    pub(crate) fn is_gone_unnamed(&mut self, pid: Pid, at: MonoNs) -> bool {
        if self.blind || self.known.contains_key(&pid) || self.foreseen.contains_key(&pid) {
            return false;
        }
        self.fresh = read(pid, at, self.cmdline);
        self.fresh.is_none()
    }

    /// This exit record is among those about to be handled.
    pub(crate) fn foresee(&mut self, exit: &RawExit) {
        if !matches!(self.known.get(&exit.pid), Some(known) if matches!(known.who, Who::Told(_))) {
            self.foreseen.insert(exit.pid, Arc::new(nameplate(exit)));
        }
    }

    /// The last thread of a process exits.
    pub(crate) fn exit(&mut self, exit: &RawExit, sink: &mut Vec<Input>) {
        let RawExit {
            at, pid, signal, ..
        } = *exit;
        self.exits.push_back((pid, at));
        if self.exits.len() > EXITED {
            self.forget_an_exit();
        }
        let last = self
            .foreseen
            .remove(&pid)
            .unwrap_or_else(|| Arc::new(nameplate(exit)));
        let Some(known) = self.known.get_mut(&pid) else {
            let known = Known {
                who: Who::Unmentioned(last),
                exited: Some(at),
                signal,
                looked: at,
            };
            self.remember(pid, known);
            return;
        };
        known.exited = Some(at);
        known.signal = signal;
        match &known.who {
            Who::Unmentioned(_) => {
                known.who = Who::Unmentioned(last);
                return;
            }
            Who::Told(info) if info.start.is_none() || info.start == last.start => {}
            // Gone before it could be read; or the pid was another's, whose exit was lost.
            Who::Nameless | Who::Told(_) => {
                known.who = Who::Told(Arc::clone(&last));
                let info = Arc::clone(&last);
                sink.push(Input::Process(ProcessFact::Seen { at, info }));
            }
        }
        let name = Arc::clone(&last.name);
        sink.push(Input::Process(ProcessFact::Exit {
            at,
            pid,
            name,
            signal,
        }));
    }

    /// Reads `pid` and tells the sink if it is not who it was.
    fn look(&mut self, pid: Pid, at: MonoNs, sink: &mut Vec<Input>) {
        let before = self.known.get(&pid).and_then(|known| match &known.who {
            Who::Told(info) => Some(Arc::clone(info)),
            Who::Nameless | Who::Unmentioned(_) => None,
        });
        let read = match &before {
            // Most second looks end here, with one small file read.
            Some(info) if Stat::read(pid).is_some_and(|stat| stat.is_still(info)) => {
                Some(Arc::clone(info))
            }
            _ if self.blind => self.foreseen.get(&pid).cloned(),
            _ => self
                .fresh
                .take_if(|fresh| fresh.pid == pid)
                .or_else(|| read(pid, at, self.cmdline))
                .map(Arc::new)
                .or_else(|| self.foreseen.get(&pid).cloned()),
        };
        let who = match read {
            Some(info) => {
                if before.as_ref() != Some(&info) {
                    sink.push(Input::Process(ProcessFact::Seen {
                        at,
                        info: Arc::clone(&info),
                    }));
                }
                Who::Told(info)
            }
            None => Who::Nameless,
        };
        let known = Known {
            who,
            exited: None,
            signal: None,
            looked: at,
        };
        self.remember(pid, known);
    }

    fn remember(&mut self, pid: Pid, known: Known) {
        while self.known.len() >= MAX_KNOWN && !self.exits.is_empty() {
            self.forget_an_exit();
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(pid, known);
    }

    /// Forgets the process that exited first, unless its pid has lived again since.
    fn forget_an_exit(&mut self) {
        if let Some((gone, at)) = self.exits.pop_front()
            && let Some(known) = self.known.get(&gone)
            && known.exited == Some(at)
        {
            self.known.remove(&gone);
        }
    }
}

/// What an exit record tells.
fn nameplate(exit: &RawExit) -> ProcessInfo {
    ProcessInfo {
        pid: exit.pid,
        start: Some(exit.started_boot_ns / TICK_NS),
        name: exit.name().into(),
        ..ProcessInfo::default()
    }
}

/// Whether the process that has the pid now had it at `at`.
pub(super) fn lived_at(pid: Pid, at: MonoNs) -> bool {
    Stat::read(pid).is_some_and(|stat| !stat.began_after(at))
}

/// Whether /proc shows the processes that records name.
pub(crate) fn in_initial_pid_namespace() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|it| it.ino() == INITIAL_PID_NAMESPACE)
}

/// Reads a process from /proc: who had the pid at `at`, or nothing when it is gone.
fn read(pid: Pid, at: MonoNs, cmdline: bool) -> Option<ProcessInfo> {
    let stat = Stat::read(pid)?;
    if stat.began_after(at) {
        return None;
    }
    let mut info = ProcessInfo {
        pid,
        start: Some(stat.start),
        name: stat.name.into(),
        parent: (stat.parent != 0).then_some(Pid(stat.parent)),
        ..ProcessInfo::default()
    };
    if let Ok(target) = fs::read_link(format!("/proc/{}/exe", pid.0)) {
        // An upgrade replaces the file under the running process, which is the same program still.
        let path = target.to_string_lossy();
        info.exe = Some(path.strip_suffix(" (deleted)").unwrap_or(&path).into());
    }
    if let Ok(status) = fs::read(format!("/proc/{}/status", pid.0)) {
        for line in String::from_utf8_lossy(&status).lines() {
            if let Some(ids) = line.strip_prefix("Uid:") {
                // Real, effective, saved, file system.
                info.uid = ids.split_whitespace().nth(1).and_then(|id| id.parse().ok());
            } else if let Some(pids) = line.strip_prefix("NSpid:") {
                info.ns_pid = pids
                    .split_whitespace()
                    .next_back()
                    .and_then(|id| id.parse().ok())
                    .filter(|&id| id != pid.0)
                    .map(Pid);
            }
        }
    }
    if let Ok(text) = fs::read(format!("/proc/{}/cgroup", pid.0)) {
        let text = String::from_utf8_lossy(&text);
        let path = cgroup_path(&text);
        info.container = path.and_then(container_id).map(Into::into);
        info.cgroup = path.map(Into::into);
    }
    if cmdline {
        info.cmdline = command_line(pid);
    }
    Some(info)
}

/// Bytes of a command line that are kept.
const CMDLINE: u64 = 4096;

/// The arguments of a process, separated by spaces. A kernel thread has none.
fn command_line(pid: Pid) -> Option<Arc<str>> {
    let file = fs::File::open(format!("/proc/{}/cmdline", pid.0)).ok()?;
    let mut bytes = Vec::new();
    file.take(CMDLINE).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.into())
}

/// What `/proc/PID/stat` tells of a process.
struct Stat {
    name: String,
    parent: u32,
    /// Ticks of 10 ms on the boot clock.
    start: u64,
}

/// `/proc` counts in USER_HZ, which is 100 on every architecture that Rust's std and eBPF share.
const TICK_NS: u64 = 10_000_000;
const TICK: Duration = Duration::from_nanos(TICK_NS);

impl Stat {
    fn read(pid: Pid) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{}/stat", pid.0)).ok()?)
    }

    /// `PID (NAME) STATE PPID …`; the name may itself hold spaces and parentheses.
    fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let name = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?; // field 4
        let start = fields.nth(17)?.parse().ok()?; // field 22
        Some(Self {
            name,
            parent,
            start,
        })
    }

    fn is_still(&self, info: &ProcessInfo) -> bool {
        info.start == Some(self.start) && *info.name == *self.name
    }

    /// Whether the process is younger than the fact at `at`, so that the fact names another one.
    fn began_after(&self, at: MonoNs) -> bool {
        let fact = Duration::from_nanos(at.0) + clock::boot_ahead();
        // The start is rounded down to a tick, the suspended time is known to less than one.
        let start = TICK.saturating_mul(u32::try_from(self.start).unwrap_or(u32::MAX));
        start > fact + TICK
    }
}

/// The path that says most: the unified hierarchy's, or on hosts that still use version 1 the
/// longest (controllers may stop at different depths).
fn cgroup_path(text: &str) -> Option<&str> {
    let mut best = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(hierarchy), Some(_), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if hierarchy == "0" && path != "/" {
            return Some(path);
        }
        if best.is_none_or(|best: &str| path.len() > best.len()) {
            best = Some(path);
        }
    }
    best
}

/// The container that a cgroup belongs to, as its manager names it: the innermost segment that
/// docker, containerd, CRI-O, podman (64 hexadecimal digits, with or without a prefix and `.scope`),
/// LXC or systemd-nspawn (a name) would have made.
fn container_id(path: &str) -> Option<&str> {
    let mut segments = path.split('/').rev().peekable();
    while let Some(segment) = segments.next() {
        let unit = segment.strip_suffix(".scope").unwrap_or(segment);
        let last = unit.rsplit(['-', ':']).next().unwrap_or(unit);
        if last.len() == 64 && last.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(last);
        }
        if let Some(name) = segment.strip_prefix("lxc.payload.") {
            return Some(name);
        }
        if let Some(name) = unit.strip_prefix("machine-") {
            return Some(name);
        }
        if segments.peek() == Some(&"lxc") && !segment.is_empty() {
            return Some(segment);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn seen(sink: &[Input]) -> Vec<Arc<ProcessInfo>> {
        sink.iter()
            .filter_map(|input| match input {
                Input::Process(ProcessFact::Seen { info, .. }) => Some(Arc::clone(info)),
                _ => None,
            })
            .collect()
    }

    /// The exit record of a process that started at tick `start`.
    fn exit(pid: Pid, at: MonoNs, name: &str, start: u64) -> RawExit {
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name.as_bytes());
        RawExit {
            at,
            pid,
            comm,
            started_boot_ns: start * TICK_NS + 1,
            signal: Some(0),
        }
    }

    fn me() -> Pid {
        Pid(std::process::id())
    }

    #[test]
    fn we_are_read_once() {
        let mut processes = Processes::default();
        let mut sink = Vec::new();
        processes.meet(me(), clock::now(), Occasion::Passing, &mut sink);
        processes.meet(me(), clock::now(), Occasion::Opening, &mut sink);
        let seen = seen(&sink);
        assert_eq!(seen.len(), 1, "{sink:?}");
        assert_eq!(seen[0].pid, me());
        let exe = std::env::current_exe().unwrap();
        assert_eq!(seen[0].exe.as_deref(), exe.to_str());
        // A test thread's name is not the process's: the kernel cuts the latter at 15 bytes.
        let stem = exe.file_name().unwrap().to_str().unwrap();
        assert!(stem.starts_with(&*seen[0].name), "{:?}", seen[0].name);
        // SAFETY: no argument, cannot fail.
        let uid = unsafe { libc::geteuid() };
        assert_eq!(seen[0].uid, Some(uid));
        assert_eq!(
            seen[0].parent,
            Some(Pid(std::os::unix::process::parent_id()))
        );
        assert!(seen[0].start.is_some() && seen[0].cgroup.is_some());
    }

    #[test]
    fn a_second_look_finds_the_name_after_exec() {
        let mut processes = Processes::default();
        let mut sink = Vec::new();
        let mut child = Command::new("sh")
            .args(["-c", "read go; exec sleep 60"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid(child.id());
        let comm = format!("/proc/{}/comm", pid.0);
        // On a slow machine the child may not have become `sh` yet.
        while fs::read_to_string(&comm).unwrap() != "sh\n" {
            std::thread::sleep(Duration::from_millis(5));
        }
        let at = clock::now();
        processes.meet(pid, at, Occasion::Opening, &mut sink);
        drop(child.stdin.take());
        while fs::read_to_string(&comm).unwrap() != "sleep\n" {
            std::thread::sleep(Duration::from_millis(5));
        }
        processes.meet(pid, at.plus(LOOK_AGAIN / 2), Occasion::Opening, &mut sink);
        assert_eq!(seen(&sink).len(), 1, "too early for a second look");
        processes.meet(pid, at.plus(LOOK_AGAIN * 2), Occasion::Passing, &mut sink);
        assert_eq!(seen(&sink).len(), 1, "no occasion for a second look");
        processes.meet(pid, at.plus(LOOK_AGAIN * 2), Occasion::Opening, &mut sink);
        let names: Vec<_> = seen(&sink)
            .iter()
            .map(|info| info.name.to_string())
            .collect();
        assert_eq!(names, ["sh", "sleep"]);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_was_gone_is_named_by_its_exit() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid(child.id());
        child.wait().unwrap();
        let at = clock::now();

        let mut processes = Processes::default();
        let mut sink = Vec::new();
        processes.meet(pid, at, Occasion::Opening, &mut sink);
        assert_eq!(sink, []);
        processes.exit(&exit(pid, at, "true", 7), &mut sink);
        assert_eq!(&*seen(&sink)[0].name, "true");
        assert!(matches!(
            &sink[1],
            Input::Process(ProcessFact::Exit { name, .. }) if &**name == "true"
        ));
        // Its sockets close after its exit; that is no new process.
        processes.meet(pid, at.plus(TICK), Occasion::Exiting, &mut sink);
        assert_eq!(sink.len(), 2);
    }

    #[test]
    fn an_exit_record_on_its_way_names_the_process_in_time() {
        let mut processes = Processes::default();
        let mut sink = Vec::new();
        let record = exit(Pid(1_000_001), MonoNs(6), "curl", 7);
        processes.foresee(&record);
        processes.meet(Pid(1_000_001), MonoNs(5), Occasion::Opening, &mut sink);
        assert_eq!(&*seen(&sink)[0].name, "curl");
        processes.exit(&record, &mut sink);
        assert_eq!(sink.len(), 2);
        assert!(processes.foreseen.is_empty());
    }

    #[test]
    fn an_exit_is_told_when_the_first_fact_names_the_process() {
        let mut processes = Processes::default();
        let mut sink = Vec::new();
        processes.exit(&exit(Pid(1_000_001), MonoNs(5), "curl", 7), &mut sink);
        assert_eq!(sink, []);
        processes.meet(Pid(1_000_001), MonoNs(6), Occasion::Exiting, &mut sink);
        assert_eq!(&*seen(&sink)[0].name, "curl");
        assert_eq!(sink.len(), 2);
        assert!(sink.iter().all(|input| input.at() == MonoNs(5)));
    }

    #[test]
    fn a_reused_pid_is_somebody_else() {
        let mut processes = Processes::default();
        let mut sink = Vec::new();
        let at = clock::now();
        // Somebody else had our pid, and exited.
        processes.foresee(&exit(me(), MonoNs(2), "old", 1));
        processes.meet(me(), MonoNs(1), Occasion::Opening, &mut sink);
        processes.exit(&exit(me(), MonoNs(2), "old", 1), &mut sink);
        processes.meet(me(), MonoNs(3), Occasion::Exiting, &mut sink);
        assert_eq!(seen(&sink).len(), 1);
        processes.meet(me(), at, Occasion::Passing, &mut sink);
        let seen_now = seen(&sink);
        assert_eq!(seen_now.len(), 2);
        assert_eq!(&*seen_now[0].name, "old");
        assert!(seen_now[1].exe.is_some(), "read from /proc");

        // Now our own exit is lost, and the exit of the next with this pid comes.
        sink.clear();
        let next = exit(me(), at.plus(TICK), "next", u64::MAX / TICK_NS / 2);
        processes.exit(&next, &mut sink);
        assert_eq!(&*seen(&sink)[0].name, "next");
    }

    #[test]
    fn a_process_younger_than_the_fact_is_another() {
        assert!(read(me(), MonoNs(1), false).is_none());
        let known = read(me(), clock::now(), false).unwrap();
        assert_eq!(known.cmdline, None, "not asked for");
        let known = read(me(), clock::now(), true).unwrap();
        let program = std::env::args().next().unwrap();
        assert!(known.cmdline.unwrap().starts_with(&program));
    }

    #[test]
    fn memory_is_bounded() {
        let mut processes = Processes::default();
        let mut sink = Vec::new();
        for number in 0..3 * EXITED as u32 {
            let pid = Pid(10_000_000 + number);
            processes.exit(&exit(pid, MonoNs(u64::from(number)), "x", 7), &mut sink);
        }
        assert_eq!(
            (processes.known.len(), processes.exits.len()),
            (EXITED, EXITED)
        );
        for number in 0..3 * MAX_KNOWN as u32 {
            let known = Known {
                who: Who::Nameless,
                exited: None,
                signal: None,
                looked: MonoNs(0),
            };
            processes.remember(Pid(20_000_000 + number), known);
            assert!(processes.known.len() <= MAX_KNOWN);
        }
    }

    #[test]
    fn names_may_hold_anything() {
        let stat =
            Stat::parse(b"7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 1 1")
                .unwrap();
        assert_eq!((&*stat.name, stat.parent, stat.start), ("a) b (c", 3, 4242));
        assert!(Stat::parse(b"7 (a").is_none());
        assert!(Stat::parse(b"").is_none());
    }

    #[test]
    fn containers_are_found_in_the_cgroup() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (path, expected) in [
            ("/docker/ID", Some("ID")),
            ("/system.slice/docker-ID.scope", Some("ID")),
            ("/kubepods/besteffort/pod3f1c2a9e-0000/ID", Some("ID")),
            (
                "/kubepods.slice/kubepods-pod3f1c.slice/cri-containerd-ID.scope",
                Some("ID"),
            ),
            ("/kubepods.slice/crio-ID.scope/container", Some("ID")),
            (
                "/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:ID",
                Some("ID"),
            ),
            ("/user.slice/user-1000.slice/libpod-ID.scope", Some("ID")),
            ("/lxc/web/init.scope", Some("web")),
            ("/lxc.payload.web/system.slice/nginx.service", Some("web")),
            ("/machine.slice/machine-web.scope/payload", Some("web")),
            ("/system.slice/nginx.service", None),
            ("/", None),
        ] {
            let path = path.replace("ID", id);
            let expected = expected.map(|text| text.replace("ID", id));
            assert_eq!(container_id(&path).map(str::to_owned), expected, "{path}");
        }
    }

    #[test]
    fn the_cgroup_that_says_most_is_taken() {
        assert_eq!(cgroup_path("0::/system.slice/x\n"), Some("/system.slice/x"));
        assert_eq!(
            cgroup_path("9:name=systemd:/\n4:memory:/docker/a:b\n0::/\n"),
            Some("/docker/a:b")
        );
        assert_eq!(cgroup_path(""), None);
    }
}
