//! The terminal user interface: views of the engine, and nothing that the engine does not know.
//!
//! The view borrows and decides nothing. [`Tui`] holds where the user is and how lists are sorted;
//! the pump owns the loop, hands events in, and draws when [`Tui::is_due`] or an [`Action`] says
//! so. The terminal itself is in [`terminal`].
//!
//! Invariants: no text that a stranger chose reaches the terminal unescaped ([`escape`]); colour
//! repeats what words say ([`theme`]); only rows on the screen are formatted ([`rows`]).

mod connection;
mod connections;
mod cursor;
mod diagram;
mod document;
mod escape;
mod events;
mod export;
mod finding;
mod findings;
mod fit;
mod footer;
mod header;
mod help;
mod keys;
mod list;
mod listeners;
mod names;
mod overview;
mod process;
mod processes;
mod prompt;
mod quantity;
mod rates;
mod rows;
mod screen;
mod sight;
mod spark;
pub(crate) mod terminal;
mod theme;
mod timeline;
mod words;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use tcptrace_core::Engine;
use tcptrace_core::filter::Filter;
use tcptrace_core::units::{MonoNs, Pid};

use connections::Connections;
use document::Document;
use events::Events;
pub(crate) use export::Export;
use findings::Findings;
use list::List;
use listeners::Listeners;
use processes::Processes;
use rates::Rates;
use screen::{
    GLOBAL_KEYS, Key, LINK_KEYS, LIST_KEYS, Path, Place, REPLAY_KEYS, Scene, Screen, TEXT_KEYS,
};
use sight::{Frozen, Sight};
pub(crate) use theme::Palette;
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
    /// Which colours.
    pub(crate) palette: Palette,
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
    /// The file that is being written, and how large it is.
    pub(crate) recording: Option<String>,
    /// How far the engine is behind the clock.
    pub(crate) late: Duration,
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

/// What is to be done after an event.
#[derive(Debug)]
pub(crate) enum Action {
    /// Nothing changed.
    None,
    /// Draw.
    Redraw,
    /// End the program.
    Quit,
    /// Clear the terminal, then draw: something else wrote on it.
    Clear,
    /// Give the terminal back and stop, as Ctrl-Z does everywhere.
    Suspend,
    /// Start a recording, or end the one that runs.
    Record,
    /// Put this on the clipboard. It holds nothing that a terminal obeys.
    Copy(String),
    /// Write these rows to a file.
    Export(Export),
    /// Take mouse events from the terminal, or leave them to it.
    Mouse(bool),
    /// Of a replay.
    Play(Play),
}

/// What a replay is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Play {
    /// Play or pause.
    Toggle,
    /// Twice as fast.
    Faster,
    /// Half as fast.
    Slower,
    /// So many seconds on, or back.
    Seek(i32),
    /// To the beginning.
    Start,
    /// Until the next finding opens.
    NextFinding,
}

/// The view: where the user is, and how the lists stand.
pub(crate) struct Tui {
    theme: Theme,
    /// What the command line excludes from the view.
    filter: Filter,
    path: Path,
    findings: Findings,
    connections: List<Connections>,
    listeners: List<Listeners>,
    processes: List<Processes>,
    events: List<Events>,
    rates: Rates,
    paused: Option<Box<Frozen>>,
    mouse: bool,
    /// A recording is shown: other keys, and no recording of it.
    replay: bool,
    /// What has just been done; gone with the next key or after [`NOTICE`].
    notice: Option<(String, MonoNs)>,
    /// The tick that was last drawn, and how many facts there were.
    drawn: Option<(MonoNs, u64)>,
    /// The width that was last drawn.
    width: u16,
}

/// How long a notice stays.
const NOTICE: Duration = Duration::from_secs(10);

/// A frame at least this often while nothing happens: ages go on.
const AT_REST: Duration = Duration::from_secs(1);

/// How old a count of descriptors may be shown before it is made anew.
const DESCRIPTORS_ASKED: usize = 32;

impl Tui {
    /// A view of what passes `filter`, on the overview; `replay` says that it is of a recording.
    pub(crate) fn new(options: Options, filter: &Filter, replay: bool) -> Self {
        // crossterm looks at NO_COLOR itself; whether colour is used has been decided.
        crossterm::style::force_color_output(options.color);
        Self {
            theme: Theme {
                color: options.color,
                ascii: options.ascii,
                palette: options.palette,
            },
            filter: filter.clone(),
            path: Path::default(),
            findings: Findings::default(),
            connections: List::new(filter.clone()),
            listeners: List::new(filter.clone()),
            processes: List::new(filter.clone()),
            events: List::new(filter.clone()),
            rates: Rates::default(),
            paused: None,
            mouse: false,
            replay,
            notice: None,
            drawn: None,
            width: 0,
        }
    }

    /// Whether something has changed since the last frame. Call it after each tick: rates are
    /// measured here too, drawn or not.
    pub(crate) fn is_due(&mut self, engine: &Engine) -> bool {
        let world = engine.world();
        self.rates.observe(world.now(), world.totals());
        let now = (world.now(), happened(engine));
        match self.drawn {
            None => true,
            Some(drawn) if drawn.0 == now.0 => false,
            // A frozen view changes only by what its header says.
            Some(drawn) if drawn.1 == now.1 || self.paused.is_some() => {
                now.0.since(drawn.0) >= AT_REST
            }
            Some(_) => true,
        }
    }

    /// Everything was replaced: the engine is another one, which knows less (a replay went back).
    pub(crate) fn forget(&mut self) {
        self.rates = Rates::default();
        self.paused = None;
        self.drawn = None;
        self.forget_rows();
    }

    /// Says in place of the footer what has just been done.
    pub(crate) fn tell(&mut self, text: &str, engine: &Engine) {
        let text = escape::escape(text, self.theme.ascii).into_owned();
        self.notice = Some((text, engine.world().now().plus(NOTICE)));
    }

    /// The processes on the screen, whose descriptors somebody should count.
    pub(crate) fn wants_descriptors(&mut self) -> Vec<Pid> {
        if self.paused.is_some() {
            return Vec::new();
        }
        match self.path.here().screen {
            Screen::Processes => {
                let mut pids = self.processes.visible();
                pids.truncate(DESCRIPTORS_ASKED);
                pids
            }
            Screen::Process(pid) => vec![pid],
            _ => Vec::new(),
        }
    }

    fn sight<'a>(
        paused: &'a Option<Box<Frozen>>,
        engine: &'a Engine,
        filter: &'a Filter,
    ) -> Sight<'a> {
        match paused {
            Some(frozen) => Sight::Frozen(frozen),
            None => Sight::Live(engine, filter),
        }
    }

    fn forget_rows(&mut self) {
        self.connections.forget_rows();
        self.listeners.forget_rows();
        self.processes.forget_rows();
        self.events.forget_rows();
    }

    fn toggle_pause(&mut self, engine: &Engine) {
        self.paused = match self.paused.take() {
            Some(_) => None,
            None => {
                let open: Vec<_> = self.path.sockets().collect();
                let live = Sight::Live(engine, &self.filter);
                let first_shown = |count| self.connections.shown(live, count);
                Some(Box::new(Frozen::take(
                    engine,
                    &self.filter,
                    first_shown,
                    &open,
                )))
            }
        };
        self.forget_rows();
    }

    /// Draws the screen at hand.
    pub(crate) fn draw(&mut self, frame: &mut Frame<'_>, engine: &Engine, facts: &HeaderFacts) {
        let world = engine.world();
        self.rates.observe(world.now(), world.totals());
        self.drawn = Some((world.now(), happened(engine)));
        let area = frame.area();
        self.width = area.width;
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
        let scene = Scene {
            sight: Self::sight(&self.paused, engine, &self.filter),
            theme: self.theme,
            rates: &self.rates,
        };
        let live = engine.world().totals();
        let taken = header::draw(buffer, area, facts, (&self.path, &self.filter), scene, live);
        let body = Rect {
            y: area.y + taken,
            height: area.height - taken - 1,
            ..area
        };
        let screen = self.path.here().screen;
        // Help is about the screen from which it was called.
        let below = self.path.screens().rfind(|screen| *screen != Screen::Help);
        let below = below.unwrap_or(screen);
        let everywhere = everywhere(self.replay);
        let place = self.path.here_mut();
        match screen {
            Screen::Overview => {
                overview::draw(buffer, body, &mut self.findings, &self.filter, scene);
            }
            Screen::Findings => self.findings.draw(buffer, body, scene),
            Screen::Connections | Screen::SocketsOf(_) => {
                self.connections.draw(buffer, body, scene);
            }
            Screen::Listeners => self.listeners.draw(buffer, body, scene),
            Screen::Processes => self.processes.draw(buffer, body, scene),
            Screen::Events => self.events.draw(buffer, body, scene),
            Screen::Finding(_) | Screen::Connection(_) | Screen::Process(_) => {
                describe(screen, place, scene, area.width).draw(buffer, body, place);
            }
            Screen::Help => {
                help::draw(buffer, body, place, scene, below, &keys(below), &everywhere);
            }
        }
        let last = Rect {
            y: area.bottom() - 1,
            height: 1,
            ..area
        };
        let now = engine.world().now();
        if let Some((text, until)) = &self.notice
            && now < *until
        {
            return footer::notice(buffer, last, text, self.theme);
        }
        let mut shown = if screen == Screen::Help {
            vec![TEXT_KEYS]
        } else {
            keys(screen)
        };
        shown.extend(everywhere);
        if self.is_editing() {
            shown = vec![list::EDIT_KEYS];
        }
        footer::draw(buffer, last, &shown, self.theme);
    }
}

/// Facts that can change what is on the screen: ticks and looks at sockets are not news.
fn happened(engine: &Engine) -> u64 {
    let totals = engine.world().totals();
    totals.transitions
        + totals.accepts
        + totals.retransmits
        + totals.synack_retransmits
        + totals.resets
        + totals.destroys
        + totals.losses.iter().sum::<u64>()
}

/// The text of a screen that is one.
fn describe(screen: Screen, place: &Place, scene: Scene<'_>, width: u16) -> Document {
    let mut document = Document::new(width, scene.theme);
    match screen {
        Screen::Finding(id) => finding::describe(&mut document, place, scene, id),
        Screen::Connection(id) => connection::describe(&mut document, place, scene, id),
        Screen::Process(pid) => process::describe(&mut document, place, scene, pid),
        _ => {}
    }
    document
}

/// The keys of a screen, besides those that work everywhere.
fn keys(screen: Screen) -> Vec<&'static [Key]> {
    match screen {
        Screen::Overview | Screen::Findings => vec![LIST_KEYS, findings::KEYS],
        Screen::Connections
        | Screen::SocketsOf(_)
        | Screen::Listeners
        | Screen::Processes
        | Screen::Events => vec![LIST_KEYS, list::KEYS],
        Screen::Finding(_) | Screen::Connection(_) | Screen::Process(_) => {
            vec![TEXT_KEYS, LINK_KEYS]
        }
        Screen::Help => Vec::new(),
    }
}

/// The keys that work everywhere.
fn everywhere(replay: bool) -> Vec<&'static [Key]> {
    if replay {
        vec![REPLAY_KEYS, GLOBAL_KEYS]
    } else {
        vec![GLOBAL_KEYS]
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
