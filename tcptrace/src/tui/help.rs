//! Help: the keys and marks of the screen from which it was called.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::document::Document;
use super::screen::{Key, Place, Scene, Screen};

/// Draws the help for `screen`, whose keys are `keys`, besides those that work everywhere.
pub(super) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    place: &mut Place,
    scene: Scene<'_>,
    screen: Screen,
    keys: &[&[Key]],
    everywhere: &[&[Key]],
) {
    let theme = scene.theme;
    let mut document = Document::new(area.width, theme);
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
    let everywhere: Vec<_> = everywhere
        .iter()
        .flat_map(|keys| keys.iter())
        .map(|(key, _, sentence)| (*key, (*sentence).to_owned()))
        .collect();
    document.pairs(&everywhere);
    if is_list(screen) {
        document.heading("Filter words");
        document.pairs(&filter_words());
    }
    document.draw(buffer, area, place);
}

/// Whether `/` filters it.
fn is_list(screen: Screen) -> bool {
    matches!(
        screen,
        Screen::Connections | Screen::Listeners | Screen::Processes | Screen::Events
    )
}

fn about(screen: Screen) -> &'static str {
    match screen {
        Screen::Overview => {
            "What is wrong, most severe first, above the state diagram of TCP: connections open at \
             its top and close at its bottom, on the left when this host closes first, on the \
             right when the peer does. A number on a state is how many sockets are in it now, one \
             on an edge how many take it per second; a signed one is the change over the last \
             minute. A state that holds a finding is marked with its severity."
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
             for accept; the kernel refuses more when it is above its limit. The SYN queue holds \
             those that wait for the client's last ACK. DROPS/S counts what the kernel refused, \
             over ten seconds: 1 for a SYN, 2 for a last ACK."
        }
        Screen::Processes => {
            "Every process that owns a socket. CLOSED counts the connections that it closed, by \
             close, shutdown or its exit. DESCRIPTORS are open ones and their limit; they are \
             counted for the processes on the screen. CLOSE_W is CLOSE_WAIT, CLOSING all states \
             after our FIN but TIME_WAIT."
        }
        Screen::Process(_) | Screen::SocketsOf(_) => {
            "One process: what is known of it, its sockets by state, its findings and listeners."
        }
        Screen::Events => {
            "What happened to any socket, the latest first. The log is bounded; resets, \
             retransmissions, drops and losses are kept longer than the rest. `event:reset` shows \
             only those."
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
        ("container:3f2a", "in the container whose id begins so"),
        ("cgroup:nginx", "in a cgroup with this in its path"),
        (
            "event:reset,drop",
            "of the log: transition, accept, retransmit, reset, drop, destroy, exit, loss",
        ),
        ("-4, -6", "of this address family"),
        (
            "--state=close-wait",
            "the command line's spelling works too",
        ),
        ("nginx, close-w", "part of a process name or of a state"),
        ("10.0.0.0/8", "either address in this network"),
        ("443", "either port, or the pid"),
    ]
    .map(|(word, meaning)| (word, meaning.to_owned()))
    .to_vec()
}
