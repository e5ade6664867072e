//! The terminal's promises, on a real pseudo-terminal where they need one.

use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use ratatui::text::Line;

use super::*;

/// A terminal whose every write waits for a verdict.
struct Stalled(Receiver<io::Result<()>>);

impl Write for Stalled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.recv() {
            Ok(verdict) => verdict.map(|()| bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn within_patience(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < 10 * PATIENCE {
        if condition() {
            return true;
        }
        thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn a_slow_terminal_delays_nobody() {
    let (verdict, verdicts) = channel();
    let (keys, _events) = mpsc::channel(1);
    let lease = Arc::new(Lease::default());
    let mut outlet = Outlet::start(Stalled(verdicts), || true, &lease, keys);
    let start = Instant::now();
    for _ in 0..1000 {
        outlet.ship(vec![b'x'; 100]).unwrap();
        assert!(outlet.is_busy());
    }
    // Waiting once for each would take ten times as long.
    assert!(start.elapsed() < 100 * PATIENCE);
    for _ in 0..3 {
        verdict.send(Ok(())).unwrap();
    }
    assert!(within_patience(|| !outlet.is_busy()));
    // Nobody reads the way out either: it must end all the same.
    outlet.close();
}

#[test]
fn a_terminal_that_breaks_is_reported_to_keys_and_frames() {
    let (verdict, verdicts) = channel();
    let (keys, mut events) = mpsc::channel(1);
    let lease = Arc::new(Lease::default());
    let mut outlet = Outlet::start(Stalled(verdicts), || true, &lease, keys);
    outlet.ship(b"frame".to_vec()).unwrap();
    verdict.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
    assert!(matches!(
        events.blocking_recv(),
        Some(Err(TerminalError::Gone))
    ));
    assert!(lease.is_gone());
    drop(verdict);
    assert!(within_patience(|| outlet.ship(b"more".to_vec()).is_err()));
}

#[test]
fn a_terminal_that_hangs_up_is_noticed_without_a_write() {
    let (keys, mut events) = mpsc::channel(1);
    let lease = Arc::new(Lease::default());
    let _outlet = Outlet::start(io::sink(), || false, &lease, keys);
    assert!(matches!(
        events.blocking_recv(),
        Some(Err(TerminalError::Gone))
    ));
}

/// Which way the child of [`on_a_terminal`] takes out.
const WAY_OUT: &str = "TCPTRACE_TEST_WAY_OUT";

/// Not a test of its own: what [`on_a_terminal`] runs in a pseudo-terminal.
#[test]
fn child_draws() {
    let Ok(way) = std::env::var(WAY_OUT) else {
        return;
    };
    let mut guard = TerminalGuard::enter().unwrap();
    assert!(
        guard
            .draw(|frame| {
                let area = frame.area();
                frame
                    .buffer_mut()
                    .set_line(0, 0, &Line::raw("drawn"), area.width);
            })
            .unwrap()
    );
    assert!(within_patience(|| !guard.outlet.is_busy()));
    guard.clear().unwrap();
    match way.as_str() {
        "return" => {}
        "panic" => panic!("the child panics"),
        "panic-elsewhere" => {
            let other = thread::spawn(|| panic!("a thread panics"));
            assert!(other.join().is_err());
        }
        way => panic!("no way `{way}`"),
    }
}

/// Runs [`child_draws`] in a pseudo-terminal made by script(1), and answers what the terminal
/// received; the shell's last line tells whether it was left in raw mode.
fn on_a_terminal(way: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let child = format!(
        "stty rows 24 cols 80; {} --exact tui::terminal::tests::child_draws --nocapture; stty -a",
        test.display()
    );
    let output = Command::new("script")
        .args(["-qefc", &child, "/dev/null"])
        .env(WAY_OUT, way)
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .output()
        .expect("script(1), which Debian's base has, makes the pseudo-terminal");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn check_restored(way: &str) {
    let seen = on_a_terminal(way);
    let enter = seen.find("\x1b[?1049h").expect("it is entered");
    let drawn = seen.find("drawn").expect("a frame is drawn");
    let leave = seen.find("\x1b[?1049l").expect("it is left");
    assert!(enter < drawn && drawn < leave, "{way}: {seen}");
    assert_eq!(seen.matches("\x1b[?1049l").count(), 1, "{way}: {seen}");
    assert!(seen[leave..].contains("\x1b[?25h"), "{way}: no cursor");
    assert!(
        seen[leave..].contains(" icanon"),
        "{way}: raw mode stays: {seen}"
    );
    if way.starts_with("panic") {
        let message = seen.find("panics").expect("the panic is told");
        assert!(message > leave, "{way}: the message is lost: {seen}");
    }
}

#[test]
fn the_terminal_is_restored_on_return() {
    check_restored("return");
}

#[test]
fn the_terminal_is_restored_on_panic() {
    check_restored("panic");
}

#[test]
fn the_terminal_is_restored_when_another_thread_panics() {
    check_restored("panic-elsewhere");
}

#[test]
fn without_a_terminal_the_remedy_is_named() {
    let error = TerminalError::NotATerminal.to_string();
    assert!(error.contains("tcptrace record"), "{error}");
}
