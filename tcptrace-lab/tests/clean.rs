//! Clean load, and nothing is wrong: nginx with keep-alive under wrk, redis with pools of clients, and
//! a client that half-closes. No finding above `info`. Alone in its file, so that no other test runs
//! beside it.
//!
//! `TCPTRACE_LAB_CLEAN_SECONDS=600` makes it longer.

use std::net::Shutdown;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tcptrace_lab::agent::{Agent, replay};
use tcptrace_lab::client::connect;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::{Finding, Recording, each_line};
use tcptrace_lab::wait_for;

const SOON: Duration = Duration::from_secs(20);

/// A program of the load, which ends with the value, its children too.
struct Program(Child);

impl Program {
    fn start(netns: &Netns, program: &str, arguments: &str) -> Result<Self> {
        let mut command: Command = netns.command(program);
        command
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {program}; install nginx, wrk, redis-server"))?;
        Ok(Self(child))
    }

    fn assert_running(&mut self, what: &str) -> Result<()> {
        let ended = self.0.try_wait()?;
        assert!(ended.is_none(), "{what} ended early: {ended:?}");
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The group is its own; an error means that it is gone.
        let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn await_port(netns: &Netns, port: u16) -> Result<()> {
    wait_for(&format!("port {port}"), SOON, || {
        thread::sleep(Duration::from_millis(50));
        Ok(connect(netns, ([127, 0, 0, 1], port).into(), 1)
            .ok()
            .map(drop))
    })
}

#[test]
fn clean_load_yields_no_finding_above_info() -> Result<()> {
    let seconds: u64 = match env::var("TCPTRACE_LAB_CLEAN_SECONDS") {
        Ok(text) => text.parse().context("TCPTRACE_LAB_CLEAN_SECONDS")?,
        Err(_) => 20,
    };
    let netns = Netns::new()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().display();
    fs::write(directory.path().join("index.html"), "fine\n")?;
    let config = format!(
        "daemon off; pid {path}/pid; error_log {path}/error.log; worker_processes 2;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_timeout 75s; client_body_temp_path {path}/body;\n\
         proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;\n\
         uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;\n\
         server {{ listen 127.0.0.1:8080 backlog=511; root {path}; }} }}\n"
    );
    fs::write(directory.path().join("nginx.conf"), config)?;
    // The workers give up root, and read the folder all the same.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), open)?;

    // Threshold and looks are those of a user who asks early: a third of the shortest run.
    let agent = Agent::record(&format!("--close-wait-after 6s --netns {}", netns.inode()))?;
    let mut programs = Vec::new();
    let nginx = format!("-c {path}/nginx.conf -p {path} -e {path}/error.log");
    programs.push(("nginx", Program::start(&netns, "nginx", &nginx)?));
    let redis = format!("--port 6379 --bind 127.0.0.1 --appendonly no --dir {path}");
    programs.push(("redis", Program::start(&netns, "redis-server", &redis)?));
    let alive = format!("half-close --seconds {}", seconds + 120);
    let half_closer = Patient::start(&netns, &alive)?;
    await_port(&netns, 8080)?;
    await_port(&netns, 6379)?;

    // Killed at the end, it resets what is under way: fewer than make a burst.
    let wrk = format!(
        "-t2 -c16 -d{}s http://127.0.0.1:8080/index.html",
        seconds + 60
    );
    programs.push(("wrk", Program::start(&netns, "wrk", &wrk)?));
    let pool = "-h 127.0.0.1 -p 6379 -c 16 -k 1 -l -q -n 100000 -t get,set";
    programs.push((
        "redis-benchmark",
        Program::start(&netns, "redis-benchmark", pool)?,
    ));
    let mut client = connect(&netns, half_closer.address(), 1)?.remove(0);
    client.shutdown(Shutdown::Write)?;
    client.set_read_timeout(Some(SOON))?;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        io::Read::read_exact(&mut client, &mut [0; 11])?;
    }
    for (name, program) in &mut programs {
        program.assert_running(name)?;
    }
    // Ends in the order of an operator who stops clients first.
    while let Some(program) = programs.pop() {
        drop(program);
    }
    drop(client);
    thread::sleep(Duration::from_secs(2));
    let ended = agent.end(Signal::SIGINT)?;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let mut lines = 0_u64;
    let mut above = Vec::new();
    each_line(&ended.path(), |line| {
        lines += 1;
        if line.starts_with(r#"{"type":"finding","#) {
            let finding = Finding(serde_json::from_str(line)?);
            eprintln!("{}", finding.verdict());
            if finding.0["severity"] != "info" {
                above.push(finding);
            }
        }
        Ok(())
    })?;
    eprintln!("{seconds} s, {lines} lines");
    assert!(above.is_empty(), "{above:#?}");
    let replayed = Recording::parse(&String::from_utf8(replay(&ended.path(), "ndjson")?.stdout)?)?;
    let quiet = |finding: &Finding| finding.0["severity"] == "info";
    assert!(replayed.findings().values().all(quiet));
    Ok(())
}
