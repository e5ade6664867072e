//! The real `tcptrace`, as a child process: started, waited for, ended by a signal, and its
//! recording replayed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::confined::as_nobody;
use crate::recording::{Finding, Recording};
use crate::{program, wait_for};

/// Loading the probes and taking the snapshot, with the machine busy testing.
const READY: Duration = Duration::from_secs(60);
/// From its end to the end of what it said.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// From the signal to the footer.
const END: Duration = Duration::from_secs(20);

/// The built agent: `TCPTRACE_BIN`, or the one beside the running program.
pub fn agent_program() -> Result<PathBuf> {
    program("TCPTRACE_BIN", "tcptrace")
}

/// A running `tcptrace record`.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    stderr: Arc<Mutex<String>>,
    listener: JoinHandle<()>,
    directory: TempDir,
}

/// What an ended agent left behind.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said.
    pub stderr: String,
    directory: TempDir,
}

impl Agent {
    /// Starts `tcptrace record -o FILE` with the words of `options`, and waits until it is ready:
    /// probes attached, snapshot taken. TCPTRACE_TIER says how it may probe functions.
    pub fn record(options: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new(agent_program()?);
        command
            .arg("record")
            .arg("-o")
            .arg(directory.path().join("recording.ndjson"))
            .args(options.split_whitespace());
        if let Some(tier) = std::env::var_os("TCPTRACE_TIER") {
            command.arg("--tier").arg(tier);
        }
        Self::start(command, directory)
    }

    /// The same, confined, from a copy in a folder that is everybody's.
    pub fn record_confined(options: &str, confine: impl FnOnce(&mut Command)) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new(public_copy(&directory, 0o777)?);
        command
            .arg("record")
            .arg("-o")
            .arg(directory.path().join("recording.ndjson"))
            .args(options.split_whitespace())
            .current_dir("/");
        confine(&mut command);
        Self::start(command, directory)
    }

    /// Starts a command that prints `tcptrace: ready` on standard error when it is.
    pub fn start(mut command: Command, directory: TempDir) -> Result<Self> {
        let program = format!("{command:?}");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
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
            .with_context(|| format!("cannot start {program}"))?;
        let stderr = Arc::new(Mutex::new(String::new()));
        let pipe = child.stderr.take().context("the agent has no stderr")?;
        let heard = Arc::clone(&stderr);
        let listener = thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        let mut agent = Self {
            child,
            stderr,
            listener,
            directory,
        };
        wait_for("`tcptrace: ready`", READY, || {
            if agent.said().contains("tcptrace: ready") {
                return Ok(Some(()));
            }
            if let Some(status) = agent.child.try_wait()? {
                agent.hear_out();
                bail!("{program} ended early, {status}: {}", agent.said());
            }
            Ok(None)
        })
        .with_context(|| format!("it said: {}", agent.said()))?;
        Ok(agent)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its file.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("recording.ndjson")
    }

    /// What it has said on standard error so far.
    pub fn said(&self) -> String {
        self.stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until its file holds a finding that `wanted` accepts.
    pub fn await_finding(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Finding) -> bool,
    ) -> Result<Finding> {
        self.await_recording(&format!("a finding: {what}"), within, |recording| {
            recording
                .findings()
                .into_values()
                .find(|finding| wanted(finding))
        })
    }

    /// Waits until its file, which is flushed every second, shows what `seen` looks for.
    pub fn await_recording<T>(
        &self,
        what: &str,
        within: Duration,
        seen: impl Fn(&Recording) -> Option<T>,
    ) -> Result<T> {
        let waited = wait_for(what, within, || {
            thread::sleep(Duration::from_millis(150));
            Ok(seen(&Recording::read(&self.path())?))
        });
        if waited.is_err() {
            self.keep()?;
        }
        waited.with_context(|| match Recording::read(&self.path()) {
            Ok(recording) => format!(
                "the file holds {:#?}, among {:?}; the last of each other type: {:#?}",
                recording.findings(),
                recording.counts(),
                ["loss", "counters", "snapshot"].map(|it| recording.of_type(it).last())
            ),
            Err(error) => format!("the file cannot be read: {error:#}"),
        })
    }

    /// Sends a signal and waits for the end.
    pub fn end(mut self, signal: Signal) -> Result<Ended> {
        kill(Pid::from_raw(i32::try_from(self.pid())?), signal)?;
        self.wait()
    }

    /// Waits for the end, which something else brings about.
    pub fn wait(&mut self) -> Result<Ended> {
        let status = wait_for("the agent to end", END, || Ok(self.child.try_wait()?))
            .with_context(|| format!("it said: {}", self.said()))?;
        self.hear_out();
        self.keep()?;
        // It fails before it creates a file, or was told to write elsewhere.
        if self.path().exists() {
            crate::schema::holds_in(&self.path())?;
        }
        Ok(Ended {
            status,
            stderr: self.said(),
            directory: std::mem::replace(&mut self.directory, tempfile::tempdir()?),
        })
    }

    /// Waits for its last words, unless somebody else still holds the pipe.
    fn hear_out(&self) {
        let start = Instant::now();
        while !self.listener.is_finished() && start.elapsed() < LAST_WORDS {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Copies the file to the directory that `TCPTRACE_LAB_KEEP` names, for a look at what a failed
    /// test saw.
    fn keep(&self) -> Result<()> {
        if let Some(directory) = std::env::var_os("TCPTRACE_LAB_KEEP") {
            let test = thread::current().name().unwrap_or("test").replace(':', "_");
            let name = format!("{test}-{}.ndjson", self.pid());
            // There is none when the agent failed early.
            let _ = fs::copy(self.path(), Path::new(&directory).join(name));
        }
        Ok(())
    }

    /// Ends it by SIGINT, which must leave a complete recording behind: exit 0, a footer, and a
    /// replay that finds the same.
    pub fn finish(self) -> Result<Recording> {
        let ended = self.end(Signal::SIGINT)?;
        ensure!(
            ended.status.success(),
            "the agent failed, {}: {}",
            ended.status,
            ended.stderr
        );
        let recording = ended.recording()?;
        recording.footer()?;
        ended.replay_agrees(&recording)?;
        Ok(recording)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("tcptrace said: {}", self.said());
        }
    }
}

impl Ended {
    /// Its file.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("recording.ndjson")
    }

    /// Its content, up to the last full line.
    pub fn recording(&self) -> Result<Recording> {
        Recording::read(&self.path())
    }

    /// A replay must come to the verdicts that stand at the end of the recording.
    pub fn replay_agrees(&self, recording: &Recording) -> Result<()> {
        let output = replay(&self.path(), "ndjson")?;
        ensure!(
            output.status.success(),
            "replay failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let replayed = Recording::parse(&String::from_utf8(output.stdout)?)?;
        crate::schema::holds(&replayed)?;
        let verdicts = |recording: &Recording| -> Vec<Value> {
            let findings = recording.findings().into_values();
            findings.map(|finding| finding.verdict()).collect()
        };
        let (live, again) = (verdicts(recording), verdicts(&replayed));
        ensure!(
            live == again,
            "the replay disagrees: live {live:#?}, replayed {again:#?}"
        );
        Ok(())
    }
}

/// Runs `tcptrace replay FILE --format FORMAT`.
pub fn replay(path: &Path, format: &str) -> Result<Output> {
    Command::new(agent_program()?)
        .arg("replay")
        .arg(path)
        .args(["--format", format])
        .stdin(Stdio::null())
        .output()
        .context("cannot run tcptrace replay")
}

/// Runs the agent with the words of `arguments` as an unprivileged user, to its end.
pub fn run_as_nobody(arguments: &str) -> Result<Output> {
    run_confined(arguments, |command| as_nobody(command, &[]))
}

/// Runs the agent with the words of `arguments`, confined, to its end.
pub fn run_confined(arguments: &str, confine: impl FnOnce(&mut Command)) -> Result<Output> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(public_copy(&directory, 0o755)?);
    command
        .args(arguments.split_whitespace())
        .current_dir("/")
        .stdin(Stdio::null());
    confine(&mut command);
    command
        .output()
        .with_context(|| format!("cannot run tcptrace {arguments} confined"))
}

/// A copy of the agent that everybody may run: the build directory may be closed to others.
pub fn public_copy(directory: &TempDir, mode: u32) -> Result<PathBuf> {
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode))?;
    let program = directory.path().join("tcptrace");
    // By another process: a neighbour that forks while we write would keep the file busy.
    let copied = Command::new("cp")
        .arg(agent_program()?)
        .arg(&program)
        .status()
        .context("cannot run cp")?;
    ensure!(copied.success(), "cp failed: {copied}");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}
