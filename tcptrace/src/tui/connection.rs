//! One socket: its tuple, its owner and how that is known, who else holds it, and what happened.

use crossterm::event::KeyEvent;
use ratatui::text::{Line, Span};
use tcptrace_core::Finding;
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{Pid, SockId};
use tcptrace_core::world::{Closer, Socket};

use super::document::Document;
use super::escape::escape;
use super::listeners::{gauge, syn_queue};
use super::names;
use super::quantity;
use super::screen::{Place, Scene, Screen, Step};
use super::sight::Sight;
use super::timeline;

/// The width of a queue's gauge and numbers.
const GAUGE: usize = 32;

pub(super) fn key(key: KeyEvent, place: &mut Place, id: SockId, sight: Sight<'_>) -> Step {
    place.key(key, &links(id, sight))
}

/// What can be opened from here: the findings that show this socket, its listener, its owner.
fn links(id: SockId, sight: Sight<'_>) -> Vec<Screen> {
    let listener = sight.socket(id).and_then(|socket| socket.listener);
    findings(id, sight)
        .map(|finding| Screen::Finding(finding.id))
        .chain(listener.map(Screen::Connection))
        .chain(owner_of(id, sight).map(Screen::Process))
        .collect()
}

fn owner_of(id: SockId, sight: Sight<'_>) -> Option<Pid> {
    let owner = sight.socket(id)?.owner.as_ref()?;
    Some(owner.process.pid)
}

fn findings(id: SockId, sight: Sight<'_>) -> impl Iterator<Item = &Finding> {
    let all = sight.findings().into_iter().chain(sight.resolved());
    all.map(|finding| &**finding)
        .filter(move |finding| finding.sample_ids().any(|sample| sample == id))
}

/// The socket, laid out.
pub(super) fn describe(document: &mut Document, place: &Place, scene: Scene<'_>, id: SockId) {
    let Scene { sight, theme, .. } = scene;
    let links = links(id, sight);
    let marked = links.get(place.marked(links.len())).copied();
    let Some(socket) = sight.socket(id) else {
        document.paragraph(
            &format!("Socket {id} is gone, and so is what was known of it. Esc leads back."),
            theme.plain(),
        );
        return;
    };
    title(document, socket, scene);
    document.pairs(&facts(socket, scene));

    document.heading("Owner");
    document.pairs(&owner(socket, scene));

    let mut findings = findings(id, sight).peekable();
    if findings.peek().is_some() {
        document.heading("Findings");
        for finding in findings {
            let text = format!(
                "{}  {}  {}",
                finding.id,
                names::kind_and_cause(finding),
                finding.status.name()
            );
            document.link(&text, marked == Some(Screen::Finding(finding.id)));
        }
    }
    if let Some(listener) = socket.listener {
        document.heading("Listener");
        let text = match sight.socket(listener) {
            Some(known) => format!("{listener}  {}", known.local()),
            None => format!("{listener}  gone"),
        };
        document.link(&text, marked == Some(Screen::Connection(listener)));
    }
    if let Some(pid) = owner_of(id, sight) {
        document.heading("Process");
        let text = names::pid(pid, sight, theme);
        document.link(&text, marked == Some(Screen::Process(pid)));
    }
    document.heading("Timeline");
    timeline::describe(document, id, scene);
}

fn title(document: &mut Document, socket: &Socket, scene: Scene<'_>) {
    let theme = scene.theme;
    let ends = if socket.state == TcpState::Listen {
        socket.local().to_string()
    } else {
        format!("{} {} {}", socket.local(), theme.arrow(), socket.peer())
    };
    document.line(Line::from(vec![
        Span::styled(ends, theme.bold()),
        Span::styled(format!("  socket {}", socket.key.sock), theme.quiet()),
    ]));
    document.line(Line::default());
}

fn facts(socket: &Socket, scene: Scene<'_>) -> Vec<(&'static str, String)> {
    let Scene { sight, theme, .. } = scene;
    let ended = if sight.is_live(socket.key.sock) {
        ""
    } else {
        "; it has ended"
    };
    let age = names::state_age(socket, sight);
    let mut facts = vec![
        ("state", format!("{} for {age}{ended}", socket.state)),
        ("origin", names::origin(socket.origin).to_owned()),
        ("network namespace", socket.netns().0.to_string()),
    ];
    if sight.half_close_in_use(socket.key.sock) {
        let text = "in use: the peer has closed its side, the application still sends; no leak";
        facts.push(("half-close", text.to_owned()));
    }
    for tag in socket.tags().iter() {
        facts.push(("note", tag.description().to_owned()));
    }
    if let Some(queue) = socket.accept_queue {
        facts.push(("accept queue", gauge(Some(queue), GAUGE, theme).0));
    }
    if let Some(queue) = syn_queue(socket) {
        facts.push(("SYN queue", gauge(Some(queue), GAUGE, theme).0));
    }
    if let Some(drops) = sight.drops(socket.key.sock) {
        facts.push((
            "refused",
            format!(
                "{} since the trace began, {} a second lately",
                quantity::count(drops.total),
                quantity::rate(drops.per_second)
            ),
        ));
    }
    if let Some((at, by)) = socket.last_accept() {
        let age = quantity::age(sight.now().since(at));
        let who = names::pid(by, sight, theme);
        facts.push(("last accept", format!("{age} ago by {who}")));
    }
    if let Some(unread) = socket.unread {
        facts.push(("unread", quantity::counted(unread.into(), "byte")));
    }
    if socket.retransmits > 0 {
        facts.push((
            "retransmitted",
            quantity::counted(socket.retransmits.into(), "segment"),
        ));
    }
    if let Some(closer) = socket.closed_by() {
        facts.push(("closed first by", names::closer(closer, sight, theme)));
    }
    // Our own close came second, and is worth a line of its own.
    if let Some((by, how)) = socket.closer
        && !matches!(socket.closed_by(), Some(Closer::Process { .. }))
    {
        let who = names::pid(by, sight, theme);
        facts.push(("closed by", format!("{who}, by {}", names::close_call(how))));
    }
    if let Some(closer) = socket.ended_by() {
        facts.push(("ended by", names::closer(closer, sight, theme)));
    }
    facts
}

fn owner(socket: &Socket, scene: Scene<'_>) -> Vec<(&'static str, String)> {
    let Scene { sight, theme, .. } = scene;
    let mut rows = Vec::new();
    match &socket.owner {
        None => rows.push((
            "process",
            "not known: nobody was seen connecting, listening, accepting or holding it".to_owned(),
        )),
        Some(owner) => {
            let info = names::owner_info(owner, sight);
            let exited = sight
                .process(info.pid)
                .and_then(|process| process.exited)
                .map(|at| format!("; exited {} ago", quantity::age(sight.now().since(at))));
            rows.push((
                "process",
                format!(
                    "{}{}",
                    names::owner(owner, sight, theme),
                    exited.unwrap_or_default()
                ),
            ));
            let text = |text: &str| escape(text, theme.ascii).into_owned();
            rows.extend(info.exe.as_ref().map(|exe| ("executable", text(exe))));
            rows.extend(info.uid.map(|uid| ("user", format!("uid {uid}"))));
            rows.extend(
                info.ns_pid
                    .map(|pid| ("pid in its namespace", pid.0.to_string())),
            );
            rows.extend(info.container.as_ref().map(|id| ("container", text(id))));
            rows.extend(info.cgroup.as_ref().map(|path| ("cgroup", text(path))));
        }
    }
    for holder in &socket.holders {
        let who = names::pid(holder.pid, sight, theme);
        let inherited = match holder.cloexec {
            Some(true) => ", CLOEXEC",
            Some(false) => ", without CLOEXEC",
            None => "",
        };
        let text = format!("{who} as descriptor {}{inherited}", holder.fd.0);
        rows.push(("held by", text));
    }
    if socket.holders.is_empty() {
        rows.push((
            "held by",
            "nobody, as far as descriptors were scanned".to_owned(),
        ));
    }
    rows
}
