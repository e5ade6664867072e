//! The terminal view in front of a user, in a real terminal (tmux): a leaking server is found, its
//! cause and the remedy read, the text copied, a recording made and played, the terminal left as it
//! was.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tcptrace_lab::agent::{Agent, agent_program, public_copy};
use tcptrace_lab::client::connect;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;
use tcptrace_lab::recording::Recording;
use tcptrace_lab::sockets::{State, await_count};
use tcptrace_lab::terminal::{StalledTerminal, Terminal};
use tcptrace_lab::wait_for;

/// For a screen to change, with the machine busy testing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a user should wait at most for pid, cause and remedy, on a machine that does nothing else.
const PROMISED: Duration = Duration::from_secs(10);

/// How much longer all takes when everything else is tested at the same time, without optimization.
const BUSY: u32 = 6;

/// A server that forgot four connections, and its pid.
fn leaking(netns: &Netns) -> Result<Patient> {
    let server = Patient::start(netns, "not-watched --name orders --listen 127.0.0.1:8002")?;
    let clients = connect(netns, server.address(), 4)?;
    std::thread::sleep(Duration::from_millis(300));
    drop(clients);
    await_count(netns, server.port(), State::CloseWait, 4)?;
    Ok(server)
}

fn live(netns: &Netns, options: &str) -> Result<String> {
    Ok(format!(
        "{} live --close-wait-after 5s --netns {} {options}",
        agent_program()?.display(),
        netns.inode()
    ))
}

/// The agent that was started with exactly this in its command line.
fn running(needle: &str) -> Result<Option<u32>> {
    let found = std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            Some((pid, line.replace('\0', " ")))
        })
        .find(|(_, line)| {
            line.starts_with('/') && line.contains("tcptrace live") && line.contains(needle)
        });
    Ok(found.map(|(pid, _)| pid))
}

#[test]
fn a_leak_is_found_read_copied_and_left() -> Result<()> {
    let netns = Netns::new()?;
    let server = leaking(&netns)?;
    let directory = tempfile::tempdir()?;
    let started = Instant::now();
    let terminal = Terminal::open(
        &format!(
            "cd {} && {}; echo left with $?; stty -a; sleep 60",
            directory.path().display(),
            live(&netns, "")?
        ),
        80,
        24,
    )?;
    let pid = format!("pid {}", server.pid());
    terminal.await_screen("pid and cause", PATIENCE, |screen| {
        screen.contains("close_wait_leak/not_watched") && screen.contains(&pid)
    })?;
    terminal.press(&["Enter"])?;
    terminal.await_screen("the remedy", PATIENCE, |screen| {
        screen.contains("What to do") && screen.contains("register")
    })?;
    let took = started.elapsed();
    println!("pid, cause and remedy after {took:?}");
    assert!(took < PROMISED * BUSY, "{took:?}");

    terminal.press(&["y"])?;
    let copied = wait_for("the clipboard", PATIENCE, || {
        Ok(Some(terminal.clipboard()?).filter(|text| text.contains("What to do")))
    })?;
    assert!(copied.contains(&pid) && copied.contains("ss -tnpo state close-wait"));
    assert!(!copied.contains(|c: char| c.is_control() && c != '\n'));

    // The diagram marks the state, and a terminal that is too small says so.
    terminal.press(&["1"])?;
    terminal.await_screen("the mark", PATIENCE, |screen| {
        screen.contains("CLOSE_WAIT 4 i")
    })?;
    terminal.resize(70, 20)?;
    terminal.await_screen("the remark", PATIENCE, |screen| {
        screen.contains("tcptrace needs 80x24")
    })?;
    terminal.resize(130, 45)?;
    terminal.await_screen("boxes", PATIENCE, |screen| {
        screen.contains("┌─ CLOSE_WAIT i")
    })?;

    // A recording that begins here stands alone.
    terminal.press(&["R"])?;
    terminal.await_screen("the recording", PATIENCE, |screen| screen.contains(" REC "))?;
    std::thread::sleep(Duration::from_secs(2));
    terminal.press(&["R"])?;
    terminal.await_screen("its end", PATIENCE, |screen| screen.contains("recorded "))?;
    terminal.press(&["2", "e"])?;
    terminal.await_screen("the export", PATIENCE, |screen| {
        screen.contains("lines in tcptrace-")
    })?;
    terminal.press(&["q"])?;
    let left = terminal.await_screen("the shell", PATIENCE, |screen| {
        screen.contains("left with 0") && screen.contains("icanon")
    })?;
    assert!(!left.contains("-icanon"), "{left}");

    let recording = made(directory.path(), |name| !name.contains("findings"))?;
    // Played in the same view it shows the finding too, though the facts that led to it are older.
    let played = Terminal::open(
        &format!(
            "{} live --replay {}",
            agent_program()?.display(),
            recording.display()
        ),
        120,
        40,
    )?;
    played.await_screen("the finding, played", PATIENCE, |screen| {
        screen.contains("close_wait_leak/not_watched") && screen.contains(&pid)
    })?;
    played.press(&["Enter"])?;
    played.await_screen("its advice, played", PATIENCE, |screen| {
        screen.contains("What to do") && screen.contains("register")
    })?;
    drop(played);
    let replayed = tcptrace_lab::agent::replay(&recording, "text")?;
    let text = String::from_utf8_lossy(&replayed.stdout);
    assert!(text.contains("close_wait_leak/not_watched"), "{text}");
    let export =
        std::fs::read_to_string(made(directory.path(), |name| name.contains("findings"))?)?;
    let line: serde_json::Value = serde_json::from_str(export.lines().next().context("a line")?)?;
    assert_eq!(line["cause"], "not_watched");
    assert_eq!(line["process"]["pid"], server.pid());
    assert!(export.starts_with(r#"{"type":"finding","#), "{export}");
    // What the finding tells to type is what can be typed, and shows what it says.
    let commands = line["commands"].as_array().context("commands")?;
    assert!(commands.len() > 3, "{commands:?}");
    for command in commands.iter().filter_map(serde_json::Value::as_str) {
        let output = std::process::Command::new("sh")
            .args(["-c", command])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && !said.trim().is_empty(),
            "{command}: {output:?}"
        );
        if command.contains("ss -tnpo") {
            assert_eq!(said.matches(":8002 ").count(), 4, "{command}: {said}");
        }
    }
    Ok(())
}

/// The file that the view wrote, whose name passes; it is for its owner's eyes.
fn made(directory: &Path, passes: impl Fn(&str) -> bool) -> Result<std::path::PathBuf> {
    let path = std::fs::read_dir(directory)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.to_str()
                .is_some_and(|name| name.contains("tcptrace-") && passes(name))
        })
        .context("nothing was written")?;
    let mode = std::fs::metadata(&path)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    Ok(path)
}

#[test]
fn the_terminal_is_given_back_and_taken_again() -> Result<()> {
    let netns = Netns::new()?;
    let terminal = Terminal::open("PS1='shell: ' sh -i", 100, 30)?;
    terminal.await_screen("a shell", PATIENCE, |screen| screen.contains("shell:"))?;
    terminal.press(&[&live(&netns, "")?, "Enter"])?;
    let drawn = |screen: &str| screen.contains("[1 Overview]");
    terminal.await_screen("the overview", PATIENCE, drawn)?;
    terminal.press(&["C-z"])?;
    terminal.await_screen("the shell", PATIENCE, |screen| {
        screen.contains("Stopped") && !drawn(screen)
    })?;
    terminal.press(&["echo typed $((1+1))", "Enter"])?;
    terminal.await_screen("a command", PATIENCE, |screen| screen.contains("typed 2"))?;
    terminal.press(&["fg", "Enter"])?;
    terminal.await_screen("the overview again", PATIENCE, drawn)?;
    terminal.press(&["4"])?;
    terminal.await_screen("keys again", PATIENCE, |screen| {
        screen.contains("[4 Listeners")
    })?;
    // A signal ends it, and leaves the terminal as it was.
    terminal.press(&["C-z"])?;
    terminal.await_screen("the shell", PATIENCE, |screen| !drawn(screen))?;
    terminal.press(&["clear; kill %1; fg", "Enter"])?;
    terminal.await_screen("its end", PATIENCE, |screen| {
        let last = screen.trim_end().lines().last();
        last.is_some_and(|line| line.trim() == "shell:") && !drawn(screen)
    })?;
    terminal.press(&["stty -a", "Enter"])?;
    terminal.await_screen("a sound terminal", PATIENCE, |screen| {
        screen.contains(" icanon") && screen.contains(" echo ")
    })?;
    Ok(())
}

#[test]
fn a_filter_holds_for_findings_too() -> Result<()> {
    let netns = Netns::new()?;
    let server = leaking(&netns)?;
    let other = Patient::start(&netns, "not-watched --name search --listen 127.0.0.1:8003")?;
    drop(connect(&netns, other.address(), 3)?);
    await_count(&netns, 8003, State::CloseWait, 3)?;
    let options = format!("--pid {}", other.pid());
    let terminal = Terminal::open(&live(&netns, &options)?, 120, 40)?;
    let screen = terminal.await_screen("one finding", PATIENCE, |screen| {
        screen.contains("Findings  1 open") && screen.contains("search")
    })?;
    assert!(
        !screen.contains(&format!("pid {}", server.pid())),
        "{screen}"
    );
    assert!(
        screen.contains(&format!("only --pid={}", other.pid())),
        "{screen}"
    );
    Ok(())
}

/// Connections made while the terminal stands still.
const MEANWHILE: u64 = 5_000;

#[test]
fn a_terminal_that_does_not_read_delays_no_fact() -> Result<()> {
    let netns = Netns::new()?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("live.ndjson");
    let mut command = std::process::Command::new(agent_program()?);
    command
        .args(["live", "--netns", &netns.inode().to_string(), "-o"])
        .arg(&file);
    let mut terminal = StalledTerminal::start(&mut command, 200, 60)?;
    let read = || Recording::read(&file).unwrap_or_default();
    wait_for("the recording", PATIENCE, || {
        Ok((read().of_type("tick").count() > 8).then_some(()))
    })?;
    let load = Patient::start(
        &netns,
        &format!("load --connections {MEANWHILE} --clients 2"),
    )?;
    println!("{} connections a second", load.ready()["per_second"]);
    // Every end of every connection reaches the file while not one frame more is taken.
    wait_for("every connection", PATIENCE, || {
        let recording = read();
        let ends: BTreeSet<_> = recording
            .of_type("transition")
            .filter(|line| line["to"] == "ESTABLISHED")
            .map(|line| line["sock"].to_string())
            .collect();
        Ok((ends.len() as u64 >= 2 * MEANWHILE * 99 / 100).then_some(()))
    })?;
    let pid = i32::try_from(terminal.program.id())?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    )?;
    let status = wait_for("its end", PATIENCE, || Ok(terminal.program.try_wait()?))?;
    assert!(status.success(), "{status}");
    let footer = read().footer()?.clone();
    assert_eq!(footer["ended"], "signal", "{footer}");
    for cause in ["ring", "writer"] {
        assert_eq!(footer["losses"][cause], 0, "{footer}");
    }
    Ok(())
}

/// Of one processor, what the view may take while nothing happens: a tenth of it, far above the
/// 1 % that it is meant to take, because the tests run without optimization beside one another.
const AT_REST: f64 = 0.1;

#[test]
fn a_view_of_a_quiet_host_rests() -> Result<()> {
    let netns = Netns::new()?;
    let _server = leaking(&netns)?;
    let terminal = Terminal::open(&live(&netns, "")?, 120, 40)?;
    terminal.await_screen("the finding", PATIENCE, |screen| {
        screen.contains("close_wait_leak/not_watched")
    })?;
    let pid = running(&format!("--netns {}", netns.inode()))?.context("the agent runs")?;
    let (started, before) = (Instant::now(), processor_time(pid)?);
    std::thread::sleep(Duration::from_secs(10));
    let used = (processor_time(pid)? - before).as_secs_f64();
    let share = used / started.elapsed().as_secs_f64();
    println!(
        "at rest the view takes {:.2} % of a processor",
        share * 100.0
    );
    assert!(share < AT_REST, "{share}");
    Ok(())
}

/// User and system time of a process so far.
fn processor_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no command")?;
    let ticks: Vec<u64> = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    // USER_HZ is 100 on every architecture of ours.
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}

#[test]
fn without_its_terminal_it_ends() -> Result<()> {
    let netns = Netns::new()?;
    let command = live(&netns, "")?;
    let needle = format!("--netns {}", netns.inode());
    let terminal = Terminal::open(&command, 100, 30)?;
    terminal.await_screen("the overview", PATIENCE, |screen| {
        screen.contains("[1 Overview]")
    })?;
    assert!(running(&needle)?.is_some());
    terminal.hang_up();
    wait_for("the agent to end", PATIENCE, || {
        Ok(running(&needle)?.is_none().then_some(()))
    })
}

#[test]
fn a_recording_is_played_without_privileges() -> Result<()> {
    let netns = Netns::new()?;
    let agent = Agent::record(&format!("--close-wait-after 5s --netns {}", netns.inode()))?;
    let server = leaking(&netns)?;
    agent.await_finding("the leak", PATIENCE, |finding| {
        finding.cause() == "not_watched"
    })?;
    let ended = agent.end(nix::sys::signal::Signal::SIGINT)?;
    let directory = tempfile::tempdir()?;
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))?;
    let file = directory.path().join("incident.ndjson");
    std::fs::copy(ended.path(), &file)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
    let program = public_copy(&directory, 0o755)?;
    let terminal = Terminal::open(
        &format!(
            "setpriv --reuid 65534 --regid 65534 --clear-groups {} live --replay {}",
            program.display(),
            file.display()
        ),
        120,
        40,
    )?;
    terminal.await_screen("the start", PATIENCE, |screen| {
        screen.contains("playing 00:0")
    })?;
    // Straight to the finding, where it stands still.
    terminal.press(&["f"])?;
    let pid = format!("pid {}", server.pid());
    terminal.await_screen("the finding", PATIENCE, |screen| {
        screen.contains("paused") && screen.contains("not_watched") && screen.contains(&pid)
    })?;
    terminal.press(&["0"])?;
    terminal.await_screen("the beginning", PATIENCE, |screen| {
        screen.contains("paused 00:00") && screen.contains("Findings  0 open")
    })?;
    terminal.press(&["+", "+", "Space"])?;
    terminal.await_screen("the end, faster", PATIENCE, |screen| {
        screen.contains("end 00:") && screen.contains("4x")
    })?;
    drop(terminal);

    // A damaged line ends it, and what came before can still be looked at.
    let mut lines: Vec<_> = std::fs::read_to_string(&file)?
        .lines()
        .map(str::to_owned)
        .collect();
    let last = lines.len() - 3;
    lines.insert(last, "{\"type\":\"transition\",damaged".to_owned());
    std::fs::write(&file, lines.join("\n"))?;
    let terminal = Terminal::open(
        &format!(
            "{} live --speed 1000 --replay {}",
            program.display(),
            file.display()
        ),
        160,
        40,
    )?;
    terminal.await_screen("where it ends", PATIENCE, |screen| {
        screen.contains(&format!("line {}", last + 1)) && screen.contains("end 00:")
    })?;
    terminal.press(&["3"])?;
    terminal.await_screen("what came before", PATIENCE, |screen| {
        screen.contains("[3 Connections") && screen.contains("orders")
    })?;
    Ok(())
}
