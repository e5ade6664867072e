//! Help: the keys and marks of the screen from which it was called.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::document::Document;
use super::screen::{GLOBAL_KEYS, Key, Place, Scene, Screen};

/// Draws the help for `screen`, whose keys are `keys`.
pub(super) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    place: &mut Place,
    scene: Scene<'_>,
    screen: Screen,
    keys: &[&[Key]],
) {
    let theme = scene.theme;
    let mut document = Document::new(area, theme);
    document.heading(&format!("Help: {}", screen.title()));
    document.paragraph(about(screen), theme.plain());
    document.heading("Keys here");
    let here: Vec<_> = keys
        .iter()
        .flat_map(|keys| keys.iter())
        .map(|(key, _, sentence)| (*key, (*sentence).to_owned()))
        .collect();
    document.pairs(&here);
    document.heading("Keys everywhere");
    let everywhere: Vec<_> = GLOBAL_KEYS
        .iter()
        .map(|(key, _, sentence)| (*key, (*sentence).to_owned()))
        .collect();
    document.pairs(&everywhere);
    if screen == Screen::Connections {
        document.heading("Filter words");
        document.pairs(&filter_words());
    }
    document.draw(buffer, area, place);
}

fn about(screen: Screen) -> &'static str {
    match screen {
        Screen::Overview => {
            "What is wrong, most severe first, above what this host's TCP is doing. The signed \
             number behind a count is its change over the last minute."
        }
        Screen::Findings => {
            "What tcptrace concluded. A finding groups the sockets of one owner and service that \
             have one proved cause; it resolves when its sockets are gone."
        }
        Screen::Finding(_) => {
            "One finding: what it is, what to do, the evidence that proves it, and sockets that \
             show it. Open a socket to follow what happened to it."
        }
        Screen::Connections => {
            "Every connection of this host, in all network namespaces. AGE is the time in the \
             state; > means longer than that, older than the trace. A process with ? is inferred. \
             The selection stays with its connection while rows move."
        }
        Screen::Connection(_) => {
            "One socket: who owns it and how that is known, who else holds it, and what happened \
             to it, with the time in between."
        }
        Screen::Listeners => {
            "Every listener, the fullest queue first. The accept queue holds connections that wait \
             for accept; the kernel refuses more when it is above its limit. Half-open ones wait \
             for the client's last ACK."
        }
        Screen::Help => "",
    }
}

fn filter_words() -> Vec<(&'static str, String)> {
    [
        ("state:close-wait", "in this state; several with commas"),
        ("port:443", "either port; also local-port: and remote-port:"),
        ("pid:1234", "owned or held by this process"),
        ("comm:nginx", "owned by a process of exactly this name"),
        (
            "local:10.0.0.0/8",
            "our address in this network; remote: is the peer's",
        ),
        ("netns:4026531840", "in this network namespace"),
        ("-4, -6", "of this address family"),
        ("nginx, close-w", "part of a process name or of a state"),
        ("10.0.0.0/8", "either address in this network"),
        ("443", "either port, or the pid"),
    ]
    .map(|(word, meaning)| (word, meaning.to_owned()))
    .to_vec()
}
