//! One process: its sockets by state, how it closes, its descriptors, its findings and listeners.

use crossterm::event::KeyEvent;
use ratatui::text::{Line, Span};
use tcptrace_core::Finding;
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::Pid;
use tcptrace_core::world::Socket;

use super::document::Document;
use super::escape::escape;
use super::names;
use super::processes::{self, Tally, is_named};
use super::quantity;
use super::screen::{Place, Scene, Screen, Step};
use super::sight::Sight;

/// Listeners that are named.
const LISTENERS: usize = 16;

pub(super) fn key(key: KeyEvent, place: &mut Place, pid: Pid, sight: Sight<'_>) -> Step {
    place.key(key, &links(pid, sight))
}

/// What can be opened from here: its connections, its findings, its listeners, its parent.
fn links(pid: Pid, sight: Sight<'_>) -> Vec<Screen> {
    let mut links = vec![Screen::SocketsOf(pid)];
    links.extend(findings(pid, sight).map(|finding| Screen::Finding(finding.id)));
    let listeners = listeners(pid, sight);
    links.extend(
        listeners
            .iter()
            .map(|socket| Screen::Connection(socket.key.sock)),
    );
    links
}

fn findings(pid: Pid, sight: Sight<'_>) -> impl Iterator<Item = &Finding> {
    let all = sight.findings().into_iter().chain(sight.resolved());
    all.map(|finding| &**finding)
        .filter(move |finding| is_named(finding, pid))
}

fn is_of(socket: &Socket, pid: Pid) -> bool {
    let owner = socket.owner.as_ref();
    owner.is_some_and(|owner| owner.process.pid == pid)
}

fn listeners(pid: Pid, sight: Sight<'_>) -> Vec<&Socket> {
    sight
        .sockets()
        .filter(|socket| socket.state == TcpState::Listen && is_of(socket, pid))
        .take(LISTENERS)
        .collect()
}

/// Everything known about the process, laid out.
pub(super) fn describe(document: &mut Document, place: &Place, scene: Scene<'_>, pid: Pid) {
    let Scene { sight, theme, .. } = scene;
    let links = links(pid, sight);
    let marked = links.get(place.marked(links.len())).copied();
    let known = sight.process(pid);
    document.line(Line::from(vec![
        Span::styled(processes::title(pid, scene), theme.bold()),
        Span::styled("  process", theme.quiet()),
    ]));
    document.line(Line::default());
    let text = |text: &str| escape(text, theme.ascii).into_owned();
    let mut rows = Vec::new();
    match known {
        None => rows.push(("known", "nothing beyond its pid".to_owned())),
        Some(known) => {
            let info = &known.info;
            rows.extend(info.exe.as_ref().map(|exe| ("executable", text(exe))));
            rows.extend(
                info.cmdline
                    .as_ref()
                    .map(|line| ("command line", text(line))),
            );
            rows.extend(info.uid.map(|uid| ("user", format!("uid {uid}"))));
            rows.extend(
                info.parent
                    .map(|parent| ("parent", names::pid(parent, sight, theme))),
            );
            rows.extend(
                info.ns_pid
                    .map(|pid| ("pid in its namespace", pid.0.to_string())),
            );
            rows.extend(info.container.as_ref().map(|id| ("container", text(id))));
            rows.extend(info.cgroup.as_ref().map(|path| ("cgroup", text(path))));
            if let Some(at) = known.exited {
                let age = quantity::age(sight.now().since(at));
                rows.push(("exited", format!("{age} ago")));
            }
            let descriptors = match known.descriptors {
                Some((open, limit)) => format!(
                    "{} of {} open ({} %)",
                    quantity::count(open),
                    quantity::count(limit),
                    open * 100 / limit.max(1)
                ),
                None => "not counted yet".to_owned(),
            };
            rows.push(("descriptors", descriptors));
            rows.push(("closed connections", processes::closes(known.closes)));
        }
    }
    document.pairs(&rows);

    let mut tally = Tally::default();
    let mut held = 0;
    for socket in sight.sockets() {
        if is_of(socket, pid) {
            tally.add(socket);
        } else if socket.holders.iter().any(|holder| holder.pid == pid) {
            held += 1;
        }
    }
    document.heading(&format!("Sockets, {}", quantity::count(tally.total())));
    let mut states: Vec<_> = TcpState::ALL
        .into_iter()
        .filter(|state| tally.count(*state) > 0)
        .map(|state| (state.name(), quantity::count(tally.count(state))))
        .collect();
    if held > 0 {
        states.push(("held, not owned", quantity::count(held)));
    }
    document.pairs(&states);
    document.link("list them", marked == Some(Screen::SocketsOf(pid)));

    let mut findings = findings(pid, sight).peekable();
    if findings.peek().is_some() {
        document.heading("Findings");
        for finding in findings {
            let text = format!(
                "{}  {}  {}, {}",
                finding.id,
                names::kind_and_cause(finding),
                quantity::count(finding.count),
                finding.status.name()
            );
            document.link(&text, marked == Some(Screen::Finding(finding.id)));
        }
    }
    let listeners = listeners(pid, sight);
    if !listeners.is_empty() {
        document.heading("Listeners");
        for socket in listeners {
            let queue = match socket.accept_queue {
                Some(queue) => format!("accept queue {}/{}", queue.depth, queue.limit),
                None => "not sampled yet".to_owned(),
            };
            let text = format!("{}  {}  {queue}", socket.key.sock, socket.local());
            let id = socket.key.sock;
            document.link(&text, marked == Some(Screen::Connection(id)));
        }
    }
}
