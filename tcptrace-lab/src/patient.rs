//! A patient as the test holds it: started inside a namespace, stopped, continued, and gone when
//! the value is dropped, with every process it forked.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use crate::netns::Netns;
use crate::{program, wait_for};

/// A patient says that it is ready within this time, on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// A running `tcptrace-patient`.
#[derive(Debug)]
pub struct Patient {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    ready: Value,
}

impl Patient {
    /// Starts `tcptrace-patient` inside `netns` with the words of `arguments`, and waits until it
    /// says that it is ready. Must be called on a thread that outlives the patient: the kernel
    /// kills the patient when that thread ends.
    pub fn start(netns: &Netns, arguments: &str) -> Result<Self> {
        let path = program("TCPTRACE_PATIENT", "tcptrace-patient")?;
        let mut command = netns.command(path);
        command.args(arguments.split_whitespace());
        Self::spawn(command, arguments)
    }

    /// The same, as the first process of a pid namespace, as in a container.
    pub fn start_contained(netns: &Netns, arguments: &str) -> Result<Self> {
        // The namespace of this thread's children: threads cannot be made while it is another one.
        let home = fs::File::open("/proc/thread-self/ns/pid")?;
        unshare(CloneFlags::CLONE_NEWPID).context("cannot make a pid namespace; run as root")?;
        let started = Self::start(netns, arguments);
        setns(home, CloneFlags::CLONE_NEWPID)?;
        started
    }

    fn spawn(mut command: Command, what: &str) -> Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        // SAFETY: prctl is async-signal-safe and touches nothing but the new process.
        unsafe {
            command.pre_exec(
                || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                },
            );
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start the patient `{what}`"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the patient has no stdout")?;
        let mut patient = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            ready: Value::Null,
        };
        patient.ready = patient
            .line(READY * crate::patience())
            .with_context(|| format!("the patient `{what}` did not get ready"))?;
        Ok(patient)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said when it was ready.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// The port it listens on; 0 for a patient that does not listen.
    pub fn port(&self) -> u16 {
        self.ready["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(0)
    }

    /// Where it listens, as the loopback sees it.
    pub fn address(&self) -> SocketAddr {
        let address = self.ready["address"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or(IpAddr::from([127, 0, 0, 1]));
        SocketAddr::new(address, self.port())
    }

    /// The next line that it prints.
    pub fn line(&mut self, within: Duration) -> Result<Value> {
        if self.stdout.buffer().is_empty() {
            let deadline = Instant::now() + within;
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let stdout = self.stdout.get_ref().as_fd();
            let ready = poll(&mut [PollFd::new(stdout, PollFlags::POLLIN)], timeout)?;
            ensure!(ready > 0, "no line within {within:?}");
        }
        let mut text = String::new();
        self.stdout.read_line(&mut text)?;
        if text.is_empty() {
            bail!("it ended: {:?}", self.child.try_wait()?);
        }
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// Stops it with SIGSTOP, as a debugger or a frozen container would.
    pub fn stop(&self) -> Result<()> {
        kill(self.nix_pid()?, Signal::SIGSTOP)?;
        wait_for("the patient to stop", Duration::from_secs(5), || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            Ok((state == Some('T')).then_some(()))
        })
    }

    /// Lets it go on.
    pub fn go_on(&self) -> Result<()> {
        Ok(kill(self.nix_pid()?, Signal::SIGCONT)?)
    }

    /// Kills it and whatever it forked, now.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to end by closing its standard input, and waits until it has.
    pub fn finish(mut self) -> Result<()> {
        drop(self.stdin.take());
        let status = wait_for("the patient to end", Duration::from_secs(10), || {
            Ok(self.child.try_wait()?)
        })?;
        ensure!(status.success(), "the patient failed: {status}");
        Ok(())
    }

    fn nix_pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.pid())?))
    }

    fn end(&mut self) {
        // The group is its own (`process_group(0)`), so nothing else can be hit. Errors mean that
        // it is gone already.
        if let Ok(pid) = self.nix_pid()
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = killpg(pid, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("patient: {}", self.ready);
        }
    }
}
