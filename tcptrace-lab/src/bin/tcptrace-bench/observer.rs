//! Who watches while the load runs: nobody, tcptrace in one of its modes, or a peer.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tcptrace_lab::agent::agent_program;
use tcptrace_lab::{programs, wait_for};

/// Attaching takes a peer that compiles its programs first some seconds.
const READY: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(60);

/// A way of watching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Untraced,
    /// `tcptrace record`, with these options.
    Record {
        name: &'static str,
        options: &'static [&'static str],
        compressed: bool,
    },
    /// `tcptrace live` in a pseudo-terminal that is read and not shown.
    Live,
    /// A program that prints what it sees.
    Peer {
        name: &'static str,
        program: PathBuf,
        arguments: &'static [&'static str],
    },
}

/// The peers' own tracing, as few words as they offer.
const PEERS: [(&str, &str, &[&str]); 3] = [
    ("libbpf-tools tcpstates", "tcpstates", &[]),
    ("libbpf-tools tcplife", "tcplife", &[]),
    (
        "bpftrace, one printf",
        "bpftrace",
        &[
            "-e",
            "tracepoint:sock:inet_sock_set_state { printf(\"%d %d %d %d\\n\", args->sport, args->dport, args->oldstate, args->newstate); }",
        ],
    ),
];

impl Mode {
    /// The name of its row.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Untraced => "untraced",
            Self::Record { name, .. } | Self::Peer { name, .. } => name,
            Self::Live => "tcptrace live, in a terminal",
        }
    }

    /// Every mode that this host has.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let mut modes = vec![
            Self::Untraced,
            Self::Record {
                name: "tcptrace record",
                options: &[],
                compressed: false,
            },
            Self::Record {
                name: "tcptrace record, accepts untraced",
                options: &["--no-accept-syscalls"],
                compressed: false,
            },
        ];
        if compresses()? {
            modes.push(Self::Record {
                name: "tcptrace record, compressed",
                options: &[],
                compressed: true,
            });
            modes.push(Self::Record {
                name: "tcptrace record, in segments",
                options: &["--rotate-size", "1MB", "--keep", "3", "--force"],
                compressed: true,
            });
        }
        modes.push(Self::Live);
        for (name, program, arguments) in PEERS {
            match find(program) {
                Some(program) => modes.push(Self::Peer {
                    name,
                    program,
                    arguments,
                }),
                None => eprintln!("bench: {program} is not installed, so it is left out"),
            }
        }
        Ok(modes)
    }
}

/// Whether the agent writes `.zst`.
fn compresses() -> Result<bool> {
    let help = Command::new(agent_program()?)
        .args(["record", "--help"])
        .output()
        .context("cannot run tcptrace")?;
    Ok(String::from_utf8_lossy(&help.stdout).contains(".zst"))
}

/// Where a program lies; the administrator's directories count as well.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/share/bcc/tools"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// Somebody who watches now.
pub(crate) struct Observer {
    child: Option<Child>,
    /// Where its output goes, of those who write.
    pub(crate) output: PathBuf,
    /// From its start to its readiness.
    pub(crate) start: Duration,
    said: PathBuf,
}

impl Observer {
    /// Starts it, and waits until its programs are attached and, for tcptrace, its snapshot is taken.
    pub(crate) fn start(mode: &Mode, directory: &Path) -> Result<Self> {
        let output = directory.join(match mode {
            Mode::Record {
                compressed: true, ..
            } => "recording.ndjson.zst",
            _ => "recording.ndjson",
        });
        let said = directory.join("stderr");
        // Each run writes a file of its own, as a user's would.
        let _ = fs::remove_file(&output);
        let mut terminal = None;
        let mut command = match mode {
            Mode::Untraced => {
                return Ok(Self {
                    child: None,
                    output,
                    start: Duration::ZERO,
                    said,
                });
            }
            Mode::Record { options, .. } => {
                let mut command = Command::new(agent_program()?);
                command.arg("record").arg("-o").arg(&output).args(*options);
                command.stdin(Stdio::null()).stdout(Stdio::null());
                command
            }
            Mode::Live => {
                let mut command = Command::new(agent_program()?);
                let (ours, theirs) = pseudo_terminal()?;
                command.arg("live").env("TERM", "xterm-256color");
                command
                    .stdin(Stdio::from(theirs.try_clone()?))
                    .stdout(Stdio::from(theirs));
                terminal = Some(File::from(ours));
                command
            }
            Mode::Peer {
                program, arguments, ..
            } => {
                let mut command = Command::new(program);
                command.args(*arguments).stdin(Stdio::null());
                command.stdout(Stdio::from(File::create(&output)?));
                command
            }
        };
        command.stderr(Stdio::from(File::create(&said)?));
        // SAFETY: prctl is async-signal-safe and touches nothing but the new process.
        unsafe {
            command.pre_exec(
                || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                },
            );
        }
        let begun = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        drop(command);
        if let Some(mut terminal) = terminal {
            // Ends with an error when the last process that has the terminal open has gone.
            thread::spawn(move || {
                let mut buffer = vec![0; 64 << 10];
                while matches!(terminal.read(&mut buffer), Ok(1..)) {}
            });
        }
        let mut observer = Self {
            child: Some(child),
            output,
            start: Duration::ZERO,
            said,
        };
        observer.await_ready(mode, begun)?;
        Ok(observer)
    }

    fn await_ready(&mut self, mode: &Mode, begun: Instant) -> Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        let pid = child.id();
        let deadline = begun + READY;
        loop {
            let said = fs::read_to_string(&self.said).unwrap_or_default();
            if let Some(status) = child.try_wait()? {
                bail!("{} ended early, {status}: {said}", mode.name());
            }
            let ready = match mode {
                Mode::Record { .. } => said.contains("tcptrace: ready"),
                _ => !programs::held_by(pid)?.is_empty(),
            };
            if ready {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "{} did not get ready: {said}",
                mode.name()
            );
            thread::sleep(Duration::from_millis(2));
        }
        self.start = begun.elapsed();
        // Whoever says nothing when it is ready gets time to attach the rest.
        if !matches!(mode, Mode::Record { .. }) {
            thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    /// Its process; nothing when nobody watches.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// CPU seconds that it has used.
    pub(crate) fn cpu(&self) -> Result<f64> {
        self.pid().map_or(Ok(0.0), cpu_seconds)
    }

    /// Resident memory, MB.
    pub(crate) fn resident(&self) -> Result<f64> {
        let Some(pid) = self.pid() else {
            return Ok(0.0);
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .and_then(|text| text.trim().parse::<f64>().ok())
            .context("no VmRSS")?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// Ends it in good order, and gives what it said.
    pub(crate) fn end(mut self) -> Result<String> {
        let Some(mut child) = self.child.take() else {
            return Ok(String::new());
        };
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
        let ended = wait_for("the observer to end", END, || Ok(child.try_wait()?));
        if ended.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        ended?;
        Ok(fs::read_to_string(&self.said)?)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Errors mean that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// User and system time of a process, all threads together.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("not a stat line")?;
    // Fields 14 and 15; the rest begins with field 3. In ticks of 10 ms (USER_HZ).
    let ticks: f64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks / 100.0)
}

/// Both ends of a pseudo-terminal of 120 by 40 characters.
fn pseudo_terminal() -> Result<(OwnedFd, OwnedFd)> {
    let (mut ours, mut theirs) = (-1, -1);
    let size = libc::winsize {
        ws_row: 40,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: both numbers are written before the call returns 0; name and settings may be null.
    let outcome = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            &raw const size,
        )
    };
    ensure!(
        outcome == 0,
        "cannot open a terminal: {}",
        io::Error::last_os_error()
    );
    // SAFETY: openpty has just made both for us.
    unsafe {
        for fd in [ours, theirs] {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        Ok((OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)))
    }
}
