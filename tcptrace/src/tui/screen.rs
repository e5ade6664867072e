//! Where the user is: the screens, the way back, and what a key asks for.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tcptrace_core::finding::FindingId;
use tcptrace_core::units::{Pid, SockId};

use super::cursor::Movement;
use super::rates::Rates;
use super::sight::Sight;
use super::theme::Theme;

/// A screen, with the identity of what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    Overview,
    Findings,
    Connections,
    Listeners,
    Processes,
    Events,
    Finding(FindingId),
    /// A connection or a listener.
    Connection(SockId),
    Process(Pid),
    /// The list of connections, only those of a process.
    SocketsOf(Pid),
    /// The keys of the screen below it.
    Help,
}

impl Screen {
    /// The screens that Tab walks through and 1 to 6 name.
    pub(super) const TABS: [Self; 6] = [
        Self::Overview,
        Self::Findings,
        Self::Connections,
        Self::Listeners,
        Self::Processes,
        Self::Events,
    ];

    pub(super) fn title(self) -> String {
        match self {
            Self::Overview => "Overview".to_owned(),
            Self::Findings => "Findings".to_owned(),
            Self::Connections => "Connections".to_owned(),
            Self::Listeners => "Listeners".to_owned(),
            Self::Processes => "Processes".to_owned(),
            Self::Events => "Events".to_owned(),
            Self::Process(Pid(pid)) | Self::SocketsOf(Pid(pid)) => format!("Process {pid}"),
            Self::Finding(id) => format!("Finding {id}"),
            Self::Connection(id) => format!("Socket {id}"),
            Self::Help => "Help".to_owned(),
        }
    }
}

/// A screen that is open, and how far its text is scrolled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) screen: Screen,
    /// First line of a text that is longer than the screen.
    pub(super) scroll: usize,
    /// Which of the links of the text is marked; counts on, so the text takes it modulo their
    /// number.
    marked: usize,
    /// The mark has moved and is to be brought into sight.
    reveal: bool,
    /// Lines of the text, and how many fitted, when last drawn.
    lines: usize,
    page: usize,
}

/// The way to where the user is: a tab, and what was opened from it.
#[derive(Clone, Debug)]
pub(super) struct Path {
    tab: usize,
    places: Vec<Place>,
}

/// How deep one may go from detail to detail; the oldest detail is forgotten first.
const DEPTH: usize = 16;

impl Default for Path {
    fn default() -> Self {
        Self {
            tab: 0,
            places: vec![Place::new(Screen::TABS[0])],
        }
    }
}

impl Place {
    fn new(screen: Screen) -> Self {
        Self {
            screen,
            scroll: 0,
            marked: 0,
            reveal: false,
            lines: 0,
            page: 1,
        }
    }

    /// Which of `links` is marked.
    pub(super) fn marked(&self, links: usize) -> usize {
        self.marked % links.max(1)
    }

    /// Notes how long the text is and keeps the scroll position inside it.
    pub(super) fn fit(&mut self, lines: usize, page: usize, marked: Option<usize>) {
        self.lines = lines;
        self.page = page.max(1);
        if let Some(line) = marked
            && self.reveal
        {
            self.scroll = self.scroll.min(line).max((line + 1).saturating_sub(page));
        }
        self.reveal = false;
        self.scroll = self.scroll.min(lines.saturating_sub(page));
    }

    /// Keys of every text: scrolling, and the marked one of `links`.
    pub(super) fn key(&mut self, key: KeyEvent, links: &[Screen]) -> Step {
        if let Some(movement) = Movement::of(key) {
            let stops = (self.lines + 1).saturating_sub(self.page);
            self.scroll = movement.apply(self.scroll, stops, self.page);
            return Step::Changed;
        }
        let marked = self.marked(links.len());
        match key.code {
            KeyCode::Enter => links
                .get(marked)
                .map_or(Step::Unknown, |to| Step::Open(*to)),
            KeyCode::Char('n') | KeyCode::Right => {
                self.marked = marked + 1;
                self.reveal = true;
                Step::Changed
            }
            KeyCode::Char('N') | KeyCode::Left => {
                self.marked = marked + links.len().max(1) - 1;
                self.reveal = true;
                Step::Changed
            }
            _ => Step::Unknown,
        }
    }
}

impl Path {
    pub(super) fn here(&self) -> Place {
        *self.places.last().expect("a tab is always open")
    }

    pub(super) fn here_mut(&mut self) -> &mut Place {
        self.places.last_mut().expect("a tab is always open")
    }

    /// The screens from the tab to here.
    pub(super) fn screens(&self) -> impl DoubleEndedIterator<Item = Screen> + '_ {
        self.places.iter().map(|place| place.screen)
    }

    /// The sockets that are open.
    pub(super) fn sockets(&self) -> impl Iterator<Item = SockId> + '_ {
        self.screens().filter_map(|screen| match screen {
            Screen::Connection(id) => Some(id),
            _ => None,
        })
    }

    pub(super) fn tab(&self) -> usize {
        self.tab
    }

    pub(super) fn go_to_tab(&mut self, tab: usize) {
        self.tab = tab % Screen::TABS.len();
        self.places = vec![Place::new(Screen::TABS[self.tab])];
    }

    pub(super) fn open(&mut self, screen: Screen) {
        if self.here().screen == screen {
            return;
        }
        if self.places.len() == DEPTH {
            self.places.remove(1);
        }
        self.places.push(Place::new(screen));
    }

    /// Goes back; false at a tab.
    pub(super) fn back(&mut self) -> bool {
        if self.places.len() == 1 {
            return false;
        }
        self.places.pop();
        true
    }
}

/// What a screen makes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Not a key of this screen.
    Unknown,
    /// Something changed.
    Changed,
    /// Go there.
    Open(Screen),
}

/// What every screen draws from.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) sight: Sight<'a>,
    pub(super) theme: Theme,
    pub(super) rates: &'a Rates,
}

/// A key that means the same everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    Quit,
    Clear,
    Suspend,
    Pause,
    Record,
    Copy,
    Export,
    Mouse,
    Palette,
    Help,
    Back,
    NextTab,
    PreviousTab,
    Tab(usize),
}

impl Global {
    pub(super) fn of(key: KeyEvent) -> Option<Self> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        Some(match key.code {
            KeyCode::Char('c') if control => Self::Quit,
            KeyCode::Char('l') if control => Self::Clear,
            KeyCode::Char('z') if control => Self::Suspend,
            _ if control => return None,
            KeyCode::Char('q') => Self::Quit,
            KeyCode::Char('p') => Self::Pause,
            KeyCode::Char('R') => Self::Record,
            KeyCode::Char('y') => Self::Copy,
            KeyCode::Char('e') => Self::Export,
            KeyCode::Char('m') => Self::Mouse,
            KeyCode::Char('T') => Self::Palette,
            KeyCode::Char('?') | KeyCode::F(1) => Self::Help,
            KeyCode::Esc | KeyCode::Backspace => Self::Back,
            KeyCode::Tab => Self::NextTab,
            KeyCode::BackTab => Self::PreviousTab,
            KeyCode::Char(digit @ '1'..='6') => Self::Tab(digit as usize - '1' as usize),
            _ => return None,
        })
    }
}

/// A key, in a word for the footer and in a sentence for the help.
pub(super) type Key = (&'static str, &'static str, &'static str);

/// Keys of every list.
pub(super) const LIST_KEYS: &[Key] = &[
    ("j/k", "move", "down and up, also with the arrow keys"),
    ("g/G", "", "first and last"),
    ("PgUp/PgDn", "", "a page, also Ctrl-U and Ctrl-D"),
];

/// Keys of every text.
pub(super) const TEXT_KEYS: &[Key] = &[
    ("j/k", "scroll", "down and up, also with the arrow keys"),
    ("g/G", "", "top and bottom"),
    ("PgUp/PgDn", "", "a page, also Ctrl-U and Ctrl-D"),
];

/// Keys of texts that name sockets and findings.
pub(super) const LINK_KEYS: &[Key] = &[
    (
        "n/N",
        "mark",
        "the next or previous socket or finding named in the text",
    ),
    ("Enter", "open", "open the marked one"),
];

/// Keys of every screen.
pub(super) const GLOBAL_KEYS: &[Key] = &[
    (
        "1-6",
        "screens",
        "a screen by its number; Tab is the next one",
    ),
    ("Esc", "back", "back to where you came from"),
    (
        "p",
        "pause",
        "freeze the view to read in peace; tracing and recording go on",
    ),
    ("R", "record", "start a recording of this host, or end it"),
    (
        "y",
        "copy",
        "copy the marked row, or the text at hand, to the clipboard",
    ),
    (
        "e",
        "export",
        "write the list at hand to a file as NDJSON, filter applied",
    ),
    ("m", "", "mouse on or off; off, the terminal selects text"),
    ("T", "", "other colours"),
    ("Ctrl-L", "", "draw everything anew"),
    ("Ctrl-Z", "", "back to the shell; fg returns"),
    ("?", "help", "the keys of the screen at hand"),
    ("q", "quit", "quit, also Ctrl-C"),
];

/// Keys of every screen while a recording is played.
pub(super) const REPLAY_KEYS: &[Key] = &[
    ("Space", "play", "play or pause, also p"),
    (
        "</>",
        "10 s",
        "back and on by ten seconds; { and } by a minute",
    ),
    (
        "f",
        "next finding",
        "play until the next finding opens, then pause",
    ),
    ("+/-", "speed", "twice or half as fast"),
    ("0", "", "back to the beginning"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_leads_back_the_way_one_came() {
        let mut path = Path::default();
        path.open(Screen::Finding(FindingId(3)));
        path.open(Screen::Connection(SockId(7)));
        path.open(Screen::Help);
        let mut seen = vec![path.here().screen];
        while path.back() {
            seen.push(path.here().screen);
        }
        assert_eq!(
            seen,
            [
                Screen::Help,
                Screen::Connection(SockId(7)),
                Screen::Finding(FindingId(3)),
                Screen::Overview
            ]
        );
    }

    #[test]
    fn the_way_is_bounded_and_a_tab_forgets_it() {
        let mut path = Path::default();
        for id in 0..100 {
            path.open(Screen::Connection(SockId(id)));
        }
        assert_eq!(path.places.len(), DEPTH);
        assert_eq!(path.screens().next(), Some(Screen::Overview));
        path.go_to_tab(8);
        assert_eq!(path.here().screen, Screen::Connections);
        assert!(!path.back());
    }
}
