//! Screens, drawn on a TestBackend from real engines.
//!
//! One function draws; each snapshot is a screen at a size, reached by the keys a user would press.

use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use tcptrace_core::filter::Filter;
use tcptrace_core::input::LossCause;
use tcptrace_core::tcp::TcpState;

use super::fixture::{self, Story};
use super::*;

const PLAIN: Options = Options {
    color: false,
    ascii: false,
    palette: Palette::Dark,
};
const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (120, 40);
const HUGE: (u16, u16) = (200, 60);

fn facts() -> HeaderFacts {
    HeaderFacts {
        host: "web-3".to_owned(),
        kernel: "6.18.5".to_owned(),
        probes: "9/9 probes, accept by tracepoint".to_owned(),
        recording: None,
        late: Duration::ZERO,
        source: Source::Live,
    }
}

/// A view of a story.
struct Desk {
    tui: Tui,
    story: Story,
    facts: HeaderFacts,
    size: (u16, u16),
}

impl Desk {
    fn new(story: Story, options: Options, size: (u16, u16)) -> Self {
        Self {
            tui: Tui::new(options, &Filter::default(), false),
            story,
            facts: facts(),
            size,
        }
    }

    fn press(&mut self, code: KeyCode) -> Action {
        self.chord(code, KeyModifiers::NONE)
    }

    fn chord(&mut self, code: KeyCode, modifiers: KeyModifiers) -> Action {
        let event = Event::Key(KeyEvent::new(code, modifiers));
        let action = self.tui.handle(event, &self.story.engine);
        self.draw();
        action
    }

    /// Types a text, key by key; `\n` is Enter.
    fn type_text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '\n' => self.press(KeyCode::Enter),
                c => self.press(KeyCode::Char(c)),
            };
        }
    }

    fn draw(&mut self) -> Buffer {
        let backend = TestBackend::new(self.size.0, self.size.1);
        let mut terminal = Terminal::new(backend).unwrap();
        terminal
            .draw(|frame| self.tui.draw(frame, &self.story.engine, &self.facts))
            .unwrap();
        terminal.backend().buffer().clone()
    }

    fn text(&mut self) -> String {
        text(&self.draw())
    }

    /// Lets five seconds pass in front of the user, with a connection at every tick.
    fn watch(&mut self) {
        for sock in 50..70 {
            let peer = format!("198.51.100.9:{}", 53_000 + sock);
            let key = fixture::key(sock, "10.0.0.1:80", &peer);
            let story = &mut self.story;
            story.transition(key, TcpState::Listen, TcpState::SynRecv, 0);
            story.transition(key, TcpState::SynRecv, TcpState::Established, 0);
            story.accept(key, 812);
            story.tick(250);
            self.draw();
        }
    }
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let lines = buffer.content.chunks(width).map(|row| {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Draws the screen that `keys` lead to from the overview of the incident.
fn check(name: &str, keys: &str) {
    check_desk(name, |options, size| {
        let mut desk = Desk::new(fixture::incident(), options, size);
        desk.draw();
        desk.watch();
        desk.type_text(keys);
        desk
    });
}

/// Draws what `make` leads to at every size, in colour and without. The text must be the same; which
/// stretches of it stand out, and how, is a picture of its own.
fn check_desk(name: &str, make: impl Fn(Options, (u16, u16)) -> Desk) {
    for size in [SMALL, LARGE, HUGE] {
        let draw = |color| make(Options { color, ..PLAIN }, size).draw();
        let (plain, coloured) = (draw(false), draw(true));
        assert_eq!(text(&plain), text(&coloured), "{name}");
        let name = format!("{name}_{}x{}", size.0, size.1);
        insta::assert_snapshot!(name.clone(), text(&plain));
        let styles = format!(
            "in colour\n{}\n\nwithout\n{}",
            styles(&coloured),
            styles(&plain)
        );
        insta::assert_snapshot!(format!("{name}_styles"), styles);
    }
}

/// Which stretches of a screen stand out, line by line: what, and how.
fn styles(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let mut lines = Vec::new();
    for (y, row) in buffer.content.chunks(width).enumerate() {
        let mut runs: Vec<(String, String)> = Vec::new();
        for cell in row {
            let mut style = Vec::new();
            if cell.fg != Color::Reset {
                style.push(format!("{}", cell.fg).to_lowercase());
            }
            if cell.bg != Color::Reset {
                style.push(format!("on {}", cell.bg).to_lowercase());
            }
            for (modifier, name) in [
                (Modifier::BOLD, "bold"),
                (Modifier::DIM, "dim"),
                (Modifier::REVERSED, "reversed"),
            ] {
                if cell.modifier.contains(modifier) {
                    style.push(name.to_owned());
                }
            }
            let style = style.join(" ");
            match runs.last_mut() {
                Some((text, last)) if *last == style => text.push_str(cell.symbol()),
                _ => runs.push((cell.symbol().to_owned(), style)),
            }
        }
        for (text, style) in runs {
            if !style.is_empty() && !text.trim().is_empty() {
                lines.push(format!("{y:2} {style:22} |{}|", text.trim_end()));
            }
        }
    }
    lines.join("\n")
}

#[test]
fn overview() {
    check("overview", "");
}

#[test]
fn findings() {
    check("findings", "2");
}

#[test]
fn finding() {
    check("finding", "\n");
}

#[test]
fn connections() {
    check("connections", "3");
}

#[test]
fn connection() {
    check("connection", "3/:51515\n\n");
}

#[test]
fn listeners() {
    check("listeners", "4");
}

#[test]
fn listener() {
    check("listener", "4\n");
}

#[test]
fn processes() {
    check("processes", "5");
}

#[test]
fn process() {
    check("process", "5\n");
}

#[test]
fn events() {
    check("events", "6");
}

#[test]
fn sockets_of_a_process() {
    check("sockets_of", "5\n\n");
}

#[test]
fn help() {
    check("help", "3?");
}

#[test]
fn a_filter_that_is_typed() {
    check("filter_typed", "3/state:close-wait");
    check("filter_complaint", "3/state:close-wait colour:red");
    check("filter_passes_nothing", "3/comm:apache\n");
}

#[test]
fn a_host_on_which_nothing_happens() {
    for (name, keys) in [
        ("nothing_found", ""),
        ("no_connections", "3"),
        ("no_listeners", "4"),
        ("no_processes", "5"),
        ("no_events", "6"),
    ] {
        check_desk(name, |options, size| {
            let mut desk = Desk::new(Story::begin(), options, size);
            desk.type_text(keys);
            desk
        });
    }
}

#[test]
fn a_view_that_stands_still_while_a_recording_runs_late() {
    check_desk("badges", |options, size| {
        let mut story = fixture::incident();
        story.lose(LossCause::Ring, 1200);
        story.lose(LossCause::Recursion, 3);
        story.tick(250);
        let mut desk = Desk::new(story, options, size);
        desk.facts.recording = Some("1.2 MiB incident.ndjson".to_owned());
        desk.facts.late = Duration::from_millis(3200);
        desk.type_text("3p");
        desk
    });
}

#[test]
fn a_recording_that_is_played() {
    check_desk("replay", |options, size| {
        let mut desk = Desk::new(fixture::incident(), options, size);
        desk.tui = Tui::new(options, &Filter::default(), true);
        desk.facts.source = Source::Replay {
            file: "incident.ndjson".to_owned(),
            position: "playing 00:12 of 01:00 4x".to_owned(),
        };
        desk
    });
}

/// The incident, after `stuck` has accepted and closed.
fn resolved() -> Story {
    let mut story = fixture::incident();
    for (i, sock) in (10..13).enumerate() {
        let key = fixture::key(sock, "127.0.0.1:9000", &format!("127.0.0.1:{}", 40_001 + i));
        story.accept(key, 4242);
        story.transition(key, TcpState::CloseWait, TcpState::LastAck, 4242);
        story.transition(key, TcpState::LastAck, TcpState::Close, 0);
        story.destroy(key);
    }
    story.wait(3);
    story
}

#[test]
fn a_resolved_finding_stays_in_sight_for_a_while() {
    for (name, keys) in [("resolved", "2"), ("resolved_finding", "2j\n")] {
        check_desk(name, |options, size| {
            let mut desk = Desk::new(resolved(), options, size);
            desk.draw();
            desk.type_text(keys);
            desk
        });
    }
}

#[test]
fn a_filter_is_typed_and_explained() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    desk.type_text("3/state:close-wait");
    desk.type_text(" colour:red");
    assert!(desk.text().contains("`colour:` is no filter word"));
    // What cannot be understood is not accepted, and the last good words stay in force.
    desk.type_text("\n");
    assert!(desk.text().contains("`colour:` is no filter word"));
    assert!(!desk.text().contains("ESTABLISHED"));
    for _ in 0..11 {
        desk.press(KeyCode::Backspace);
    }
    desk.type_text("\n");
    assert!(
        desk.text()
            .contains("Connections  3  filter state:close-wait")
    );
    // q is a key again.
    assert!(matches!(desk.press(KeyCode::Char('q')), Action::Quit));
    desk.press(KeyCode::Esc);
    assert!(desk.text().contains("Connections  11  by state"));
}

#[test]
fn letters_are_text_while_a_filter_is_typed() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    desk.type_text("3/q?p1");
    assert!(desk.text().contains("/q?p1"));
    let quits = desk.chord(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(matches!(quits, Action::Quit));
    let clears = desk.chord(KeyCode::Char('l'), KeyModifiers::CONTROL);
    assert!(matches!(clears, Action::Clear));
    desk.tui
        .handle(Event::Paste("nginx\u{1b}\n".to_owned()), &desk.story.engine);
    assert!(desk.text().contains("/q?p1nginx"));
    desk.press(KeyCode::Esc);
    assert!(desk.text().contains("Connections  11  by state"));
}

#[test]
fn the_command_lines_filter_holds_everywhere() {
    let filter = Filter {
        states: vec![TcpState::CloseWait],
        ..Filter::default()
    };
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    desk.tui = Tui::new(PLAIN, &filter, false);
    desk.type_text("3");
    assert!(desk.text().contains("Connections  3  filtered"));
    // The header names it, and findings of others are not shown.
    assert!(desk.text().contains("── only --state=CLOSE_WAIT ──"));
    desk.type_text("2");
    assert!(desk.text().contains("Findings  1 open"), "{}", desk.text());
    let nobodys = Filter {
        pids: vec![Pid(812)],
        ..Filter::default()
    };
    desk.tui = Tui::new(PLAIN, &nobodys, false);
    let text = desk.text();
    assert!(
        text.contains("fin_retransmit") && !text.contains("stuck"),
        "{text}"
    );
    assert!(text.contains("[1 Overview] 2 Findings 1 "), "{text}");
    desk.type_text("p");
    assert!(desk.text().contains("Findings  1 open"), "{}", desk.text());
}

#[test]
fn sorting_walks_through_the_visible_columns() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    desk.type_text("3");
    let mut seen = Vec::new();
    for _ in 0..6 {
        let text = desk.text();
        let line = text.lines().find(|line| line.contains("STATE")).unwrap();
        let word = line.split_whitespace().find(|word| word.contains('▲'));
        seen.push(word.unwrap().trim_end_matches('▲').to_owned());
        desk.type_text("s");
    }
    assert_eq!(seen, ["STATE", "AGE", "PROCESS", "LOCAL", "PEER", "STATE"]);
    desk.type_text("S");
    assert!(desk.text().contains("AGE▼"));
    assert!(desk.text().contains("by age, reversed"));
}

#[test]
fn the_selection_stays_with_its_connection() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    desk.type_text("3G");
    let marked = |desk: &mut Desk| {
        let text = desk.text();
        let line = text.lines().find(|line| line.starts_with('›'));
        line.unwrap().to_owned()
    };
    let before = marked(&mut desk);
    assert!(
        before.contains("51234") || before.contains("198.51.100.9"),
        "{before}"
    );
    let peer = before.split_whitespace().last().unwrap().to_owned();
    desk.type_text("S");
    assert!(marked(&mut desk).ends_with(&peer));
    let key = fixture::key(40, "10.0.0.1:80", "203.0.113.1:1");
    desk.story
        .transition(key, TcpState::Listen, TcpState::SynRecv, 0);
    desk.story.tick(250);
    assert!(marked(&mut desk).ends_with(&peer));
}

#[test]
fn a_pause_freezes_the_view_and_not_the_engine() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, LARGE);
    desk.type_text("3p");
    let paused = desk.text();
    assert!(paused.contains("PAUSED"));
    let body = |text: &str| text.lines().skip(3).map(str::to_owned).collect::<Vec<_>>();
    let key = fixture::key(40, "10.0.0.1:80", "203.0.113.1:1");
    desk.story
        .transition(key, TcpState::Listen, TcpState::SynRecv, 0);
    desk.story.lose(LossCause::Ring, 7);
    desk.story.wait(10);
    let later = desk.text();
    // A loss shows at once: it is news about the trace, not about what is read in peace.
    assert!(later.contains("LOST 7 records: ring 7"));
    // Its line moves the rest down by one.
    assert_eq!(body(&later)[1..30], body(&paused)[..29]);
    // One can look around: the timelines were kept.
    desk.type_text("/51515\n\n");
    assert!(desk.text().contains("FIN sent again, attempt 5"));
    assert!(desk.text().contains("PAUSED"));
    desk.type_text("p");
    desk.press(KeyCode::Esc);
    desk.type_text("c");
    let resumed = desk.text();
    assert!(!resumed.contains("PAUSED"));
    assert!(resumed.contains("203.0.113.1:1"));
}

#[test]
fn losses_are_loud() {
    let mut story = fixture::incident();
    story.lose(LossCause::Ring, 1200);
    story.lose(LossCause::Recursion, 3);
    story.tick(250);
    let mut desk = Desk::new(story, PLAIN, SMALL);
    let lost = "LOST 1,203 records: ring 1,200, recursion 3";
    assert!(desk.text().contains(lost), "{}", desk.text());
    let buffer = desk.draw();
    assert!(buffer[(1, 2)].modifier.contains(Modifier::REVERSED));
}

#[test]
fn what_was_forgotten_is_not_called_lost() {
    let mut story = fixture::incident();
    story.lose(LossCause::Evicted, 781);
    story.tick(250);
    let mut desk = Desk::new(story, PLAIN, SMALL);
    let evicted = "EVICTED from full tables: sockets 781";
    let text = desk.text();
    assert!(text.contains(evicted) && !text.contains("LOST"), "{text}");
    desk.story.lose(LossCause::Ring, 2);
    desk.story.tick(500);
    let both = format!("LOST 2 records: ring 2; {evicted}");
    assert!(desk.text().contains(&both), "{}", desk.text());
}

#[test]
fn a_replay_says_so() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    desk.facts.source = Source::Replay {
        file: "incident.ndjson".to_owned(),
        position: "00:12 of 01:00".to_owned(),
    };
    assert!(
        desk.text()
            .contains("replay 00:12 of 01:00, incident.ndjson")
    );
}

#[test]
fn a_small_terminal_is_told_so() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, (60, 20));
    assert!(
        desk.text()
            .contains("The terminal is 60x20; tcptrace needs 80x24.")
    );
    desk.size = (1, 1);
    desk.draw();
    assert!(matches!(desk.press(KeyCode::Char('q')), Action::Quit));
}

/// Every screen of the incident, as a list of keys.
const EVERY_SCREEN: [&str; 17] = [
    "",
    "2",
    "3",
    "4",
    "5",
    "6",
    "\n",
    "3\n",
    "3G\n",
    "4\n",
    "5\n",
    "5\n\n",
    "6\n",
    "?",
    "6?",
    "3/nginx",
    "6/event:accept",
];

#[test]
fn colour_never_says_what_words_do_not() {
    for keys in EVERY_SCREEN {
        let mut texts = Vec::new();
        for color in [true, false] {
            let options = Options { color, ..PLAIN };
            let mut desk = Desk::new(fixture::incident(), options, SMALL);
            desk.draw();
            desk.type_text(keys);
            let buffer = desk.draw();
            let coloured = buffer
                .content
                .iter()
                .any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
            assert_eq!(coloured, color, "{keys:?}");
            texts.push(text(&buffer));
        }
        assert_eq!(texts[0], texts[1], "{keys:?}");
    }
}

#[test]
fn ascii_means_ascii() {
    for keys in EVERY_SCREEN {
        for size in [SMALL, LARGE] {
            let options = Options {
                color: true,
                ascii: true,
                ..PLAIN
            };
            let mut story = fixture::incident();
            story.process(fixture::process(812, "nginx-naïve"));
            let mut desk = Desk::new(story, options, size);
            desk.draw();
            desk.type_text(keys);
            let text = desk.text();
            assert!(text.is_ascii(), "{keys:?}: {text}");
        }
    }
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let evil = "a\u{1b}[2J\u{202e}b\u{7}";
    let mut story = Story::begin();
    let mut info = fixture::process(666, evil);
    info.cgroup = Some(format!("/system.slice/{evil}").into());
    info.container = Some(evil.into());
    story.process(info);
    let rows = vec![
        story.row(fixture::key(1, "0.0.0.0:80", ""), TcpState::Listen, 666),
        story.row(
            fixture::key(2, "10.0.0.1:80", "192.0.2.1:5"),
            TcpState::CloseWait,
            666,
        ),
    ];
    story.snapshot(rows);
    story.wait(70);
    let mut desk = Desk::new(story, PLAIN, LARGE);
    desk.facts.host = evil.to_owned();
    desk.facts.kernel = evil.to_owned();
    desk.facts.probes = evil.to_owned();
    desk.facts.recording = Some(evil.to_owned());
    let mut copied = 0;
    for keys in EVERY_SCREEN {
        desk.type_text("1");
        desk.type_text(keys);
        if let Action::Copy(text) = desk.press(KeyCode::Char('y')) {
            copied += 1;
            let bad = |c: char| c != '\n' && escape::is_hostile(c);
            assert!(!text.contains(bad), "{keys:?}: {text}");
            assert!(
                text.contains("a\\x1b[2J\\u{202e}b") || keys.starts_with('6'),
                "{keys:?}: {text}"
            );
        }
        desk.press(KeyCode::Esc);
        desk.type_text(keys);
        let buffer = desk.draw();
        for cell in &buffer.content {
            assert!(!cell.symbol().contains(escape::is_hostile), "{keys:?}");
            // Spelt out where it is drawn, not only replaced at the last gate.
            assert_ne!(cell.symbol(), "\u{fffd}", "{keys:?}: {}", text(&buffer));
        }
        assert!(text(&buffer).contains("a\\x1b[2J\\u{202e}b"), "{keys:?}");
    }
    assert!(copied > 6, "{copied}");
}

#[test]
fn a_finding_is_copied_with_cause_remedy_and_commands() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    let Action::Copy(text) = desk.press(KeyCode::Char('y')) else {
        panic!("the marked finding is copied");
    };
    for piece in [
        "close_wait_leak/never_accepted",
        "stuck (pid 4242)",
        "What to do",
        "nsenter -t 4242 -n ss -tnpo state close-wait '( sport = :9000 )'",
    ] {
        assert!(text.contains(piece), "{piece}: {text}");
    }
    desk.type_text("3");
    let Action::Copy(text) = desk.press(KeyCode::Char('y')) else {
        panic!("the marked row is copied");
    };
    assert!(text.starts_with("CLOSE_WAIT  ") && text.contains("stuck 4242  127.0.0.1:9000"));
}

#[test]
fn a_view_is_exported_as_it_is_filtered_and_sorted() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    let mut export = |keys: &str| {
        desk.type_text(keys);
        let Action::Export(export) = desk.press(KeyCode::Char('e')) else {
            panic!("a list can be exported: {keys}");
        };
        let mut text = Vec::new();
        export.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), export.len());
        assert!(text.starts_with("{\"type\":\""), "{text}");
        lines
    };
    let connections = export("3/state:close-wait\n");
    assert_eq!(connections.len(), 3);
    assert_eq!(connections[0]["state"], "CLOSE_WAIT");
    assert_eq!(connections[0]["process"]["name"], "stuck");
    assert_eq!(connections[0]["local"]["port"], 9000);
    let listeners = export("4");
    assert_eq!(listeners[0]["accept_queue"]["depth"], 5);
    let processes = export("5");
    assert_eq!(processes[0]["pid"], 812);
    assert_eq!(processes[0]["sockets"]["LISTEN"], 2);
    assert_eq!(processes[0]["closes"]["close"], 1);
    let events = export("6/event:retransmit\n");
    assert_eq!(events.len(), 5);
    assert_eq!(events[0]["attempt"], 5);
    let findings = export("2");
    assert_eq!(findings[0]["cause"], "never_accepted");
    assert!(findings[0]["unread_at_fin"].is_null());
}

#[test]
fn every_list_is_filtered_and_sorted_alike() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, LARGE);
    for (tab, words, rows) in [
        ("4", "comm:stuck", 1),
        ("5", "state:close-wait", 1),
        ("6", "event:retransmit", 5),
        ("6", "state:fin-wait1", 1),
    ] {
        desk.type_text(&format!("{tab}/{words}\n"));
        let text = desk.text();
        let shown = format!("  {rows}  filter {words}");
        assert!(text.contains(&shown), "{words}: {text}");
        desk.type_text("c");
    }
    // Only transitions with a process at work name it.
    desk.type_text("6/state:fin-wait1\n");
    assert!(desk.text().contains("ESTABLISHED → FIN_WAIT1 by nginx 812"));
    for tab in ["4", "5", "6"] {
        desk.type_text(tab);
        let mut orders = std::collections::BTreeSet::new();
        for _ in 0..12 {
            desk.type_text("s");
            let text = desk.text();
            let line = text.lines().find(|line| line.contains('▲')).unwrap();
            orders.insert(line.to_owned());
        }
        assert!(orders.len() >= 6, "{tab}: {orders:?}");
    }
}

#[test]
fn a_process_leads_to_its_sockets_and_back() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, LARGE);
    desk.type_text("5\n\n");
    let text = desk.text();
    assert!(text.contains("filter pid:812"), "{text}");
    assert!(!text.contains("stuck"));
    desk.press(KeyCode::Esc);
    assert!(desk.text().contains("closed connections  1 by close"));
}

#[test]
fn the_mouse_is_off_until_asked_and_then_marks_opens_and_sorts() {
    use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    desk.draw();
    assert!(matches!(
        desk.press(KeyCode::Char('m')),
        Action::Mouse(true)
    ));
    let click = |desk: &mut Desk, column, row| {
        let event = Event::Mouse(MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column,
            row,
            modifiers: KeyModifiers::NONE,
        });
        desk.tui.handle(event, &desk.story.engine);
        desk.text()
    };
    // The tab of the connections, the title AGE, the third row, and that row again.
    assert!(click(&mut desk, 30, 1).contains("[3 Connections"));
    assert!(click(&mut desk, 18, 4).contains("by age"));
    let text = click(&mut desk, 5, 7);
    assert!(text.lines().nth(7).unwrap().starts_with('›'), "{text}");
    assert!(click(&mut desk, 5, 7).contains("Owner"));
    assert!(matches!(
        desk.press(KeyCode::Char('m')),
        Action::Mouse(false)
    ));
}

#[test]
fn a_replay_has_keys_of_its_own() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    desk.tui = Tui::new(PLAIN, &Filter::default(), true);
    for (key, play) in [
        (' ', Play::Toggle),
        ('p', Play::Toggle),
        ('>', Play::Seek(10)),
        ('{', Play::Seek(-60)),
        ('+', Play::Faster),
        ('-', Play::Slower),
        ('0', Play::Start),
        ('f', Play::NextFinding),
    ] {
        let action = desk.press(KeyCode::Char(key));
        assert!(
            matches!(action, Action::Play(asked) if asked == play),
            "{key}"
        );
    }
    desk.press(KeyCode::Char('R'));
    assert!(desk.text().contains("this is a recording already"));
    // While a filter is typed they are letters.
    desk.type_text("3/f0");
    assert!(desk.text().contains("/f0"));
}

#[test]
fn a_frame_is_due_when_something_happened_or_a_second_has_passed() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    desk.draw();
    let is_due = |desk: &mut Desk| desk.tui.is_due(&desk.story.engine);
    assert!(!is_due(&mut desk));
    desk.story.tick(250);
    assert!(!is_due(&mut desk), "nothing happened");
    desk.story.tick(750);
    assert!(is_due(&mut desk), "ages go on");
    desk.draw();
    let key = fixture::key(90, "10.0.0.1:80", "203.0.113.1:1");
    desk.story
        .transition(key, TcpState::Listen, TcpState::SynRecv, 0);
    desk.story.tick(250);
    assert!(is_due(&mut desk), "a connection came");
}

#[test]
fn lateness_and_recordings_stand_in_the_header() {
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    desk.facts.late = Duration::from_millis(300);
    assert!(!desk.text().contains("LATE"), "that is usual");
    desk.facts.late = Duration::from_millis(3200);
    desk.facts.recording = Some("1.2 MiB incident.ndjson".to_owned());
    let text = desk.text();
    let rule = text.lines().nth(2).unwrap();
    assert!(
        rule.contains("REC 1.2 MiB incident.ndjson ─ 3s LATE"),
        "{rule}"
    );
}

#[test]
fn themes_change_colours_and_nothing_else() {
    let mut seen = Vec::new();
    for palette in [Palette::Dark, Palette::Light, Palette::Colorblind] {
        let options = Options {
            color: true,
            ascii: false,
            palette,
        };
        let mut desk = Desk::new(fixture::incident(), options, SMALL);
        let buffer = desk.draw();
        seen.push((text(&buffer), styles(&buffer)));
    }
    assert!(seen.iter().all(|(text, _)| *text == seen[0].0));
    assert!(seen[0].1 != seen[1].1 && seen[1].1 != seen[2].1 && seen[0].1 != seen[2].1);
    let mut desk = Desk::new(fixture::incident(), PLAIN, SMALL);
    desk.type_text("T");
    assert!(desk.text().contains("no colours: NO_COLOR is set"));
}

/// The processor's time that this thread has used: nothing here waits for anything.
fn own_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid structure to write to.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

/// 100,000 connections must scroll, sort and filter without a pause that is felt. The bound is
/// generous: the tests are neither optimized nor alone on the machine.
#[test]
fn a_hundred_thousand_connections_do_not_stop_the_view() {
    let mut story = Story::begin();
    story.process(fixture::process(812, "nginx"));
    let mut rows = vec![story.row(fixture::key(1, "0.0.0.0:80", ""), TcpState::Listen, 812)];
    for sock in 0..100_000_u64 {
        let peer = format!("10.{}.{}.9:40000", sock >> 8 & 0xff, sock & 0xff);
        let state = if sock % 7 == 0 {
            TcpState::CloseWait
        } else {
            TcpState::Established
        };
        rows.push(story.row(fixture::key(sock + 10, "10.0.0.1:80", &peer), state, 812));
    }
    story.snapshot(rows);
    story.tick(250);
    let mut desk = Desk::new(story, PLAIN, LARGE);
    desk.type_text("3");
    let mut slowest = (Duration::ZERO, ' ');
    let mut pausing = Duration::ZERO;
    for key in "jjjGkkgssSs/nginx\nGkpjp156jGs/nginx\nk".chars() {
        desk.story.tick(250);
        let start = own_time();
        desk.type_text(&key.to_string());
        let took = own_time() - start;
        if key == 'p' {
            // It copies what is to stand still.
            pausing = pausing.max(took);
        } else {
            slowest = slowest.max((took, key));
        }
    }
    println!("100,000 connections: slowest key and frame {slowest:?}, pausing {pausing:?}");
    assert!(slowest.0.max(pausing).as_millis() < 1000, "{slowest:?}");
}
