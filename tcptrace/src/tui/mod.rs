//! The terminal user interface: views of the engine, and nothing that the engine does not know.
//!
//! The view borrows and decides nothing. [`Tui`] holds where the user is and how lists are sorted;
//! the pump owns the loop, hands events in, and draws when [`Tui::is_due`] or an [`Action`] says
//! so. The terminal itself is in [`terminal`].
//!
//! Invariants: no text that a stranger chose reaches the terminal unescaped ([`escape`]); colour
//! repeats what words say ([`theme`]); only rows on the screen are formatted ([`rows`]).

mod columns;
mod connection;
mod connections;
mod cursor;
mod document;
mod escape;
mod finding;
mod findings;
mod fit;
mod footer;
mod header;
mod help;
mod listeners;
mod names;
mod overview;
mod prompt;
mod quantity;
mod rates;
mod rows;
mod screen;
mod sight;
pub(crate) mod terminal;
mod theme;
mod timeline;
mod words;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use crossterm::event::{Event, KeyEvent, KeyEventKind};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use tcptrace_core::Engine;
use tcptrace_core::filter::Filter;
use tcptrace_core::units::MonoNs;

use connections::Connections;
use findings::Findings;
use listeners::Listeners;
use rates::Rates;
use screen::{
    GLOBAL_KEYS, Global, Key, LINK_KEYS, LIST_KEYS, Path, Scene, Screen, Step, TEXT_KEYS,
};
use sight::{Frozen, Sight};
use theme::Theme;

/// The smallest terminal on which every screen is legible.
const SMALLEST: (u16, u16) = (80, 24);

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Colours may be used.
    pub(crate) color: bool,
    /// Only ASCII may be drawn.
    pub(crate) ascii: bool,
}

/// What the header says beside what the engine knows.
#[derive(Clone, Debug)]
pub(crate) struct HeaderFacts {
    /// The host's name.
    pub(crate) host: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Probes and their tier, e.g. `9/9 probes, accept by tracepoint`.
    pub(crate) probes: String,
    /// The file that is being written.
    pub(crate) recording: Option<String>,
    /// Where the facts come from.
    pub(crate) source: Source,
}

/// Where the facts come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The running kernel.
    Live,
    /// A recording.
    Replay {
        /// Its name.
        file: String,
        /// How far it has been played, e.g. `00:12 of 01:00`.
        position: String,
    },
}

/// What the pump is to do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing changed.
    None,
    /// Draw.
    Redraw,
    /// End the program.
    Quit,
    /// Clear the terminal, then draw: something else wrote on it.
    Clear,
}

/// The view: where the user is, and how the lists stand.
pub(crate) struct Tui {
    theme: Theme,
    path: Path,
    findings: Findings,
    connections: Connections,
    listeners: Listeners,
    rates: Rates,
    paused: Option<Box<Frozen>>,
    /// The tick that was last drawn.
    drawn: Option<MonoNs>,
}

impl Tui {
    /// A view of what passes `filter`, on the overview.
    pub(crate) fn new(options: Options, filter: Filter) -> Self {
        // crossterm looks at NO_COLOR itself; whether colour is used has been decided.
        crossterm::style::force_color_output(options.color);
        Self {
            theme: Theme {
                color: options.color,
                ascii: options.ascii,
            },
            path: Path::default(),
            findings: Findings::default(),
            connections: Connections::new(filter.clone()),
            listeners: Listeners::new(filter),
            rates: Rates::default(),
            paused: None,
            drawn: None,
        }
    }

    /// Whether the engine has ticked since the last frame. Call it after each tick: rates are
    /// measured here too, drawn or not.
    pub(crate) fn is_due(&mut self, engine: &Engine) -> bool {
        let world = engine.world();
        self.rates.observe(world.now(), world.totals());
        self.drawn != Some(world.now())
    }

    /// Takes in what the user did.
    pub(crate) fn handle(&mut self, event: Event, engine: &Engine) -> Action {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(key, engine),
            Event::Resize(..) => Action::Redraw,
            Event::Paste(text) if self.is_editing() => {
                self.connections.paste(&text);
                Action::Redraw
            }
            _ => Action::None,
        }
    }

    fn is_editing(&self) -> bool {
        self.path.here().screen == Screen::Connections && self.connections.is_editing()
    }

    fn key(&mut self, key: KeyEvent, engine: &Engine) -> Action {
        let global = Global::of(key);
        match global {
            Some(Global::Clear) => return Action::Clear,
            // `q` is a letter while a filter is typed; Ctrl-C never is.
            Some(Global::Quit)
                if !self.is_editing()
                    || !matches!(key.code, crossterm::event::KeyCode::Char('q')) =>
            {
                return Action::Quit;
            }
            _ => {}
        }
        match self.key_here(key, engine) {
            Step::Changed => return Action::Redraw,
            Step::Open(screen) => {
                self.path.open(screen);
                return Action::Redraw;
            }
            Step::Unknown if self.is_editing() => return Action::None,
            Step::Unknown => {}
        }
        let Some(global) = global else {
            return Action::None;
        };
        match global {
            Global::Quit => return Action::Quit,
            Global::Clear => return Action::Clear,
            Global::Pause => self.toggle_pause(engine),
            Global::Help => self.path.open(Screen::Help),
            Global::Back => {
                if !self.path.back() {
                    return Action::None;
                }
            }
            Global::NextTab => self.path.go_to_tab(self.path.tab() + 1),
            Global::PreviousTab => {
                let tabs = Screen::TABS.len();
                self.path.go_to_tab(self.path.tab() + tabs - 1);
            }
            Global::Tab(tab) => self.path.go_to_tab(tab),
        }
        Action::Redraw
    }

    /// What the screen at hand makes of `key`.
    fn key_here(&mut self, key: KeyEvent, engine: &Engine) -> Step {
        let sight = match &self.paused {
            Some(frozen) => Sight::Frozen(frozen),
            None => Sight::Live(engine),
        };
        match self.path.here().screen {
            Screen::Overview | Screen::Findings => self.findings.key(key, sight),
            Screen::Connections => self.connections.key(key, sight),
            Screen::Listeners => self.listeners.key(key, sight),
            Screen::Finding(id) => finding::key(key, self.path.here_mut(), id, sight),
            Screen::Connection(id) => connection::key(key, self.path.here_mut(), id, sight),
            Screen::Help => self.path.here_mut().key(key, &[]),
        }
    }

    fn toggle_pause(&mut self, engine: &Engine) {
        self.paused = match self.paused.take() {
            Some(_) => None,
            None => {
                let open: Vec<_> = self.path.sockets().collect();
                let first_shown = |count| self.connections.shown(Sight::Live(engine), count);
                Some(Box::new(Frozen::take(engine, first_shown, &open)))
            }
        };
        self.connections.forget_rows();
    }

    /// Draws the screen at hand.
    pub(crate) fn draw(&mut self, frame: &mut Frame<'_>, engine: &Engine, facts: &HeaderFacts) {
        let world = engine.world();
        self.rates.observe(world.now(), world.totals());
        self.drawn = Some(world.now());
        let area = frame.area();
        let buffer = frame.buffer_mut();
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            too_small(buffer, area);
        } else {
            self.draw_screen(buffer, area, engine, facts);
        }
        escape::scrub(buffer, self.theme.ascii);
    }

    fn draw_screen(
        &mut self,
        buffer: &mut Buffer,
        area: Rect,
        engine: &Engine,
        facts: &HeaderFacts,
    ) {
        let sight = match &self.paused {
            Some(frozen) => Sight::Frozen(frozen),
            None => Sight::Live(engine),
        };
        let scene = Scene {
            sight,
            theme: self.theme,
            rates: &self.rates,
        };
        let live = engine.world().totals();
        let taken = header::draw(buffer, area, facts, &self.path, scene, live);
        let body = Rect {
            y: area.y + taken,
            height: area.height - taken - 1,
            ..area
        };
        let screen = self.path.here().screen;
        // Help is about the screen from which it was called.
        let below = self.path.screens().rfind(|screen| *screen != Screen::Help);
        let keys = keys(below.unwrap_or(screen));
        let place = self.path.here_mut();
        match screen {
            Screen::Overview => overview::draw(buffer, body, &mut self.findings, scene),
            Screen::Findings => self.findings.draw(buffer, body, scene),
            Screen::Connections => self.connections.draw(buffer, body, scene),
            Screen::Listeners => self.listeners.draw(buffer, body, scene),
            Screen::Finding(id) => finding::draw(buffer, body, place, scene, id),
            Screen::Connection(id) => connection::draw(buffer, body, place, scene, id),
            Screen::Help => {
                help::draw(buffer, body, place, scene, below.unwrap_or(screen), &keys);
            }
        }
        let last = Rect {
            y: area.bottom() - 1,
            height: 1,
            ..area
        };
        let mut keys = if screen == Screen::Help {
            vec![TEXT_KEYS]
        } else {
            keys
        };
        keys.push(GLOBAL_KEYS);
        if self.is_editing() {
            keys = vec![connections::EDIT_KEYS];
        }
        footer::draw(buffer, last, &keys, self.theme);
    }
}

/// The keys of a screen, besides those that work everywhere.
fn keys(screen: Screen) -> Vec<&'static [Key]> {
    match screen {
        Screen::Overview | Screen::Findings => vec![LIST_KEYS, findings::KEYS],
        Screen::Connections => vec![LIST_KEYS, connections::KEYS],
        Screen::Listeners => vec![LIST_KEYS, listeners::KEYS],
        Screen::Finding(_) | Screen::Connection(_) => vec![TEXT_KEYS, LINK_KEYS],
        Screen::Help => Vec::new(),
    }
}

fn too_small(buffer: &mut Buffer, area: Rect) {
    let (width, height) = SMALLEST;
    let text = format!(
        "The terminal is {}x{}; tcptrace needs {width}x{height}. Enlarge it, or record to a file \
         with `tcptrace record`. q quits.",
        area.width, area.height
    );
    let lines = fit::wrap(&text, area.width.into());
    for (line, y) in lines.into_iter().zip(area.y..area.bottom()) {
        buffer.set_line(area.x, y, &Line::raw(line), area.width);
    }
}
