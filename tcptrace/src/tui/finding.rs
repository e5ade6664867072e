//! One finding: from the symptom to the cause to the fix, and the sockets that show it.

use crossterm::event::KeyEvent;
use ratatui::text::{Line, Span};
use tcptrace_core::Finding;
use tcptrace_core::finding::{FindingId, Status};
use tcptrace_core::input::SocketKey;

use super::document::Document;
use super::escape::escape;
use super::names;
use super::quantity;
use super::screen::{Place, Scene, Screen, Step};
use super::sight::Sight;
use super::timeline;

pub(super) fn key(key: KeyEvent, place: &mut Place, id: FindingId, sight: Sight<'_>) -> Step {
    place.key(key, &links(id, sight))
}

/// What can be opened from here: the samples, the processes, then the findings before and after it
/// in the chain of causes.
fn links(id: FindingId, sight: Sight<'_>) -> Vec<Screen> {
    let Some(finding) = sight.finding(id) else {
        return Vec::new();
    };
    let samples = finding.samples.iter().map(|key| key.sock);
    let owners = finding.processes.iter();
    let processes = owners.map(|(owner, _)| Screen::Process(owner.process.pid));
    samples
        .map(Screen::Connection)
        .chain(processes)
        .chain(related(finding, sight).map(|other| Screen::Finding(other.id)))
        .collect()
}

/// The findings that brought this one about, or that it brought about.
fn related<'a>(finding: &'a Finding, sight: Sight<'a>) -> impl Iterator<Item = &'a Finding> {
    let all = sight.findings().into_iter().chain(sight.resolved());
    all.map(|other| &**other)
        .filter(|other| finding.caused_by == Some(other.id) || other.caused_by == Some(finding.id))
}

/// The finding, laid out.
pub(super) fn describe(document: &mut Document, place: &Place, scene: Scene<'_>, id: FindingId) {
    let Scene { sight, theme, .. } = scene;
    let Some(finding) = sight.finding(id) else {
        document.paragraph(
            "This finding resolved more than five minutes ago. Esc leads back.",
            theme.plain(),
        );
        return;
    };
    let links = links(id, sight);
    let marked = links.get(place.marked(links.len())).copied();
    title(document, finding, scene);
    let summary = finding.summary(sight.now());
    document.paragraph(&escape(&summary, theme.ascii), theme.plain());
    if let Some(cause) = finding.caused_by.and_then(|id| sight.finding(id)) {
        let text = format!(
            "Brought about by {}: {}.",
            cause.id,
            names::kind_and_cause(cause)
        );
        document.paragraph(&text, theme.bold());
    }

    document.heading("What to do");
    let advice = finding.advice();
    document.paragraph(&escape(&advice, theme.ascii), theme.plain());

    document.heading("Evidence");
    let evidence: Vec<_> = finding
        .rows(sight.now())
        .into_iter()
        .map(|(name, value)| (name, escape(&value, theme.ascii).into_owned()))
        .chain(life(finding, sight))
        .collect();
    document.pairs(&evidence);
    if !finding.samples.is_empty() {
        document.heading(&format!(
            "Sockets, {} of {}",
            finding.samples.len(),
            quantity::count(finding.count)
        ));
        for key in &finding.samples {
            let text = sample(key, scene);
            document.link(&text, marked == Some(Screen::Connection(key.sock)));
        }
        let chosen = match marked {
            Some(Screen::Connection(id)) => id,
            _ => finding.samples[0].sock,
        };
        document.heading(&format!("Timeline of {chosen}"));
        timeline::describe(document, chosen, scene);
    }
    processes(document, finding, scene, marked);
    let mut others = related(finding, sight).peekable();
    if others.peek().is_some() {
        document.heading("Findings of the same incident");
        for other in others {
            let text = format!("{}  {}", other.id, names::kind_and_cause(other));
            document.link(&text, marked == Some(Screen::Finding(other.id)));
        }
    }
    let commands = finding.commands();
    if !commands.is_empty() {
        document.heading("See for yourself");
        for command in commands {
            // Not wrapped at spaces by us: a command is copied whole.
            document.paragraph(&command, theme.plain());
        }
    }
}

fn title(document: &mut Document, finding: &Finding, scene: Scene<'_>) {
    let theme = scene.theme;
    let (mark, tint) = match finding.status {
        Status::Resolved => (theme.done(), theme.good()),
        Status::Open | Status::Updated => (
            theme.severity_mark(finding.severity),
            theme.severity(finding.severity),
        ),
    };
    document.line(Line::from(vec![
        Span::styled(format!("{mark} {}  ", finding.severity.name()), tint),
        Span::styled(names::kind_and_cause(finding), theme.bold()),
        Span::styled(
            format!(
                "  {}  {}, {}",
                finding.service,
                finding.status.name(),
                finding.confidence.name()
            ),
            theme.quiet(),
        ),
    ]));
}

/// What every finding has besides its proof.
fn life(finding: &Finding, sight: Sight<'_>) -> Vec<(&'static str, String)> {
    let now = sight.now();
    let age = quantity::age(finding.age(now));
    let since = match sight.wall(finding.since) {
        Some(wall) => format!("{} UTC, {age} ago", quantity::time_of_day(wall)),
        None => format!("{age} ago"),
    };
    let mut rows = vec![("since", since)];
    if let Some(growth) = finding.growth_per_minute {
        rows.push(("growth", format!("{growth:+.1} per minute")));
    }
    rows
}

fn processes(document: &mut Document, finding: &Finding, scene: Scene<'_>, marked: Option<Screen>) {
    let Scene { sight, theme, .. } = scene;
    if finding.processes.is_empty() {
        return;
    }
    document.heading("Processes");
    for (owner, count) in &finding.processes {
        let info = names::owner_info(owner, sight);
        let known = sight.process(info.pid);
        let mut parts = vec![
            quantity::counted(*count, "socket"),
            format!(
                "{} ({})",
                names::provenance(owner.provenance),
                owner.confidence.name()
            ),
        ];
        parts.extend(
            known
                .and_then(|known| known.exited)
                .map(|_| "exited".to_owned()),
        );
        let descriptors = known.and_then(|known| known.descriptors);
        parts.extend(descriptors.map(|(open, limit)| format!("{open} of {limit} descriptors")));
        let exe = info.exe.as_ref();
        parts.extend(exe.map(|exe| escape(exe, theme.ascii).into_owned()));
        let text = format!("{}  {}", names::process(info, theme), parts.join("; "));
        document.link(&text, marked == Some(Screen::Process(info.pid)));
    }
}

/// A sample in one line. It may have gone since.
fn sample(key: &SocketKey, scene: Scene<'_>) -> String {
    let Scene { sight, theme, .. } = scene;
    let now = match sight.socket(key.sock) {
        Some(socket) => format!(
            "{:<11} {:>7}",
            socket.state,
            names::state_age(socket, sight)
        ),
        None => format!("{:<11} {:>7}", "gone", ""),
    };
    format!(
        "{:<5} {now}  {} {} {}",
        key.sock.to_string(),
        key.local,
        theme.arrow(),
        key.peer
    )
}
