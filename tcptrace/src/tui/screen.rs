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

    /// Whether it is a text that scrolls, and no list.
    pub(super) fn is_text(self) -> bool {
        matches!(
            self,
            Self::Finding(_) | Self::Connection(_) | Self::Process(_) | Self::Help
        )
    }

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
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) screen: Screen,
    /// First line of a text that is longer than the screen.
    pub(super) scroll: usize,
    /// Which of the links of the text is marked; counts on, so the text takes it modulo their
    /// number.
    marked: usize,
    /// The mark has moved and is to be brought into sight.
    reveal: bool,
    /// Lines of the text, how many fitted, and on which its links stood, when last drawn.
    lines: usize,
    page: usize,
    links: Vec<usize>,
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
            links: Vec::new(),
        }
    }

    /// Which of `links` is marked.
    pub(super) fn marked(&self, links: usize) -> usize {
        self.marked % links.max(1)
    }

    /// Notes how long the text is, and where its links stand, and keeps the scroll position inside it.
    pub(super) fn fit(&mut self, lines: usize, page: usize, links: Vec<usize>) {
        self.lines = lines;
        self.page = page.max(1);
        if let Some(line) = links.get(self.marked(links.len())).copied()
            && self.reveal
        {
            self.scroll = self.scroll.min(line).max((line + 1).saturating_sub(page));
        }
        self.links = links;
        self.reveal = false;
        self.scroll = self.scroll.min(lines.saturating_sub(page));
    }

    /// The last line that can stand on top.
    fn lowest(&self) -> usize {
        self.lines.saturating_sub(self.page)
    }

    /// Scrolls by so many lines, and leaves the mark where it is.
    pub(super) fn scroll_by(&mut self, lines: usize, down: bool) {
        self.scroll = if down {
            (self.scroll + lines).min(self.lowest())
        } else {
            self.scroll.saturating_sub(lines)
        };
    }

    /// One step down or up: to the next link while it is in sight, by a line otherwise. So one key
    /// reads the text and stops at everything that can be opened.
    fn walk(&mut self, down: bool) {
        let sight = self.scroll..self.scroll + self.page;
        let at = self.marked(self.links.len());
        let next = match self.links.get(at) {
            // The mark was left behind: it comes back at the edge that it went off.
            Some(line) if down && *line < sight.start => {
                self.links.iter().position(|line| *line >= sight.start)
            }
            Some(line) if !down && *line >= sight.end => {
                self.links.iter().rposition(|line| *line < sight.end)
            }
            Some(_) if down => Some(at + 1),
            Some(_) => at.checked_sub(1),
            None => None,
        };
        let next = next.filter(|next| {
            let line = self.links.get(*next);
            line.is_some_and(|line| sight.contains(line))
        });
        match next {
            Some(next) => self.marked = next,
            None => self.scroll_by(1, down),
        }
    }

    /// Keys of every text: moving, and opening the marked one of `links`.
    pub(super) fn key(&mut self, key: KeyEvent, links: &[Screen]) -> Step {
        match Movement::of(key) {
            None => {}
            Some(Movement::Down) => {
                self.walk(true);
                return Step::Changed;
            }
            Some(Movement::Up) => {
                self.walk(false);
                return Step::Changed;
            }
            Some(movement) => {
                self.scroll = movement.apply(self.scroll, self.lowest() + 1, self.page);
                return Step::Changed;
            }
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
    pub(super) fn here(&self) -> &Place {
        self.places.last().expect("a tab is always open")
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
    (
        "j/k",
        "move",
        "down and up, also with the arrow keys; stops at what can be opened",
    ),
    ("g/G", "", "top and bottom"),
    ("PgUp/PgDn", "", "a page, also Ctrl-U and Ctrl-D"),
];

/// Keys of texts that name sockets and findings.
pub(super) const LINK_KEYS: &[Key] = &[
    (
        "n/N",
        "",
        "straight to the next or previous socket, process or finding in the text",
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
    fn one_key_reads_a_text_and_stops_at_its_links() {
        let mut place = Place::new(Screen::Finding(FindingId(1)));
        // 20 lines, of which 6 fit; links on three of them.
        let mut press = |code| {
            place.fit(20, 6, vec![4, 9, 10]);
            place.key(
                KeyEvent::new(code, KeyModifiers::NONE),
                &[Screen::Events; 3],
            );
            place.fit(20, 6, vec![4, 9, 10]);
            (place.scroll, place.marked(3))
        };
        let down: Vec<_> = (0..7).map(|_| press(KeyCode::Down)).collect();
        let expected = [(1, 0), (2, 0), (3, 0), (4, 0), (4, 1), (5, 1), (5, 2)];
        assert_eq!(down, expected);
        assert_eq!(press(KeyCode::Char('G')), (14, 2));
        // The mark went off the top, and comes back there.
        let up: Vec<_> = (0..6).map(|_| press(KeyCode::Up)).collect();
        let expected = [(13, 2), (12, 2), (11, 2), (10, 2), (9, 2), (9, 1)];
        assert_eq!(up, expected);
        // Pages leave it behind; a step brings it into sight.
        assert_eq!(press(KeyCode::Home), (0, 1));
        assert_eq!(press(KeyCode::Up), (0, 0));
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
