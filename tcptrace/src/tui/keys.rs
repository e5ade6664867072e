//! What the user does: keys, the mouse, pasted text, and what each asks for.

use crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::Position;
use tcptrace_core::Engine;
use tcptrace_core::units::Pid;

use super::cursor::Movement;
use super::export::Export;
use super::findings::Findings;
use super::list::{List, Subject};
use super::screen::{Global, Scene, Screen, Step};
use super::{Action, Play, Tui, connection, describe, escape, finding, header, process};

/// How wide a text is made for the clipboard: what reads it wraps for itself.
const COPY_CELLS: u16 = 400;

/// Rows that the wheel moves.
const WHEEL: usize = 3;

impl Play {
    fn of(key: KeyEvent) -> Option<Self> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return None;
        }
        Some(match key.code {
            KeyCode::Char(' ' | 'p') => Self::Toggle,
            KeyCode::Char('+' | '=') => Self::Faster,
            KeyCode::Char('-') => Self::Slower,
            KeyCode::Char('<' | ',') => Self::Seek(-10),
            KeyCode::Char('>' | '.') => Self::Seek(10),
            KeyCode::Char('{') => Self::Seek(-60),
            KeyCode::Char('}') => Self::Seek(60),
            KeyCode::Char('0') => Self::Start,
            KeyCode::Char('f') => Self::NextFinding,
            _ => return None,
        })
    }
}

impl Tui {
    /// Takes in what the user did.
    pub(crate) fn handle(&mut self, event: Event, engine: &Engine) -> Action {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(key, engine),
            Event::Mouse(mouse) => self.mouse(mouse, engine),
            Event::Resize(..) => Action::Redraw,
            Event::Paste(text) if self.is_editing() => {
                match self.path.here().screen {
                    Screen::Listeners => self.listeners.paste(&text),
                    Screen::Processes => self.processes.paste(&text),
                    Screen::Events => self.events.paste(&text),
                    _ => self.connections.paste(&text),
                }
                Action::Redraw
            }
            _ => Action::None,
        }
    }

    pub(super) fn is_editing(&self) -> bool {
        match self.path.here().screen {
            Screen::Connections | Screen::SocketsOf(_) => self.connections.is_editing(),
            Screen::Listeners => self.listeners.is_editing(),
            Screen::Processes => self.processes.is_editing(),
            Screen::Events => self.events.is_editing(),
            _ => false,
        }
    }

    fn key(&mut self, key: KeyEvent, engine: &Engine) -> Action {
        self.notice = None;
        let global = Global::of(key);
        match global {
            Some(Global::Clear) => return Action::Clear,
            Some(Global::Suspend) => return Action::Suspend,
            // Out of the help, as out of a pager.
            Some(Global::Quit)
                if self.path.here().screen == Screen::Help
                    && matches!(key.code, KeyCode::Char('q')) =>
            {
                self.path.back();
                return Action::Redraw;
            }
            // `q` is a letter while a filter is typed; Ctrl-C never is.
            Some(Global::Quit) if !self.is_editing() || !matches!(key.code, KeyCode::Char('q')) => {
                return Action::Quit;
            }
            _ => {}
        }
        if self.replay
            && !self.is_editing()
            && let Some(play) = Play::of(key)
        {
            return Action::Play(play);
        }
        match self.key_here(key, engine) {
            Step::Changed => return Action::Redraw,
            Step::Open(screen) => {
                self.open(screen);
                return Action::Redraw;
            }
            Step::Unknown if self.is_editing() => return Action::None,
            Step::Unknown => {}
        }
        global.map_or(Action::None, |global| self.global(global, engine))
    }

    fn open(&mut self, screen: Screen) {
        if let Screen::SocketsOf(Pid(pid)) = screen {
            self.connections.show_only(&format!("pid:{pid}"));
        }
        self.path.open(screen);
    }

    fn global(&mut self, global: Global, engine: &Engine) -> Action {
        match global {
            Global::Quit => return Action::Quit,
            Global::Clear => return Action::Clear,
            Global::Suspend => return Action::Suspend,
            Global::Pause => self.toggle_pause(engine),
            Global::Record if self.replay => {
                self.tell("this is a recording already; live records with R", engine);
            }
            Global::Record => return Action::Record,
            Global::Copy => match self.copy(engine) {
                Some(text) => return Action::Copy(text),
                None => self.tell("there is nothing to copy here", engine),
            },
            Global::Export => match self.export(engine) {
                Some(export) => return Action::Export(export),
                None => self.tell("there is no list to export here", engine),
            },
            Global::Mouse => {
                self.mouse = !self.mouse;
                let text = if self.mouse {
                    "mouse on: click and wheel; hold Shift to select text, m turns it off"
                } else {
                    "mouse off: the terminal selects text again"
                };
                self.tell(text, engine);
                return Action::Mouse(self.mouse);
            }
            Global::Palette => {
                self.theme.palette = self.theme.palette.next();
                let text = match self.theme.color {
                    true => format!("colours: {}", self.theme.palette.name()),
                    false => "no colours: NO_COLOR is set, or --color never".to_owned(),
                };
                self.tell(&text, engine);
            }
            Global::Help if self.path.here().screen == Screen::Help => {
                self.path.back();
            }
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
        let sight = Self::sight(&self.paused, engine, &self.filter);
        match self.path.here().screen {
            Screen::Overview | Screen::Findings => self.findings.key(key, sight),
            Screen::Connections => self.connections.key(key, sight),
            Screen::SocketsOf(_) => match self.connections.key(key, sight) {
                // Esc leads back to the process; the filter was only for here.
                Step::Changed if key.code == KeyCode::Esc && !self.connections.is_editing() => {
                    Step::Unknown
                }
                step => step,
            },
            Screen::Listeners => self.listeners.key(key, sight),
            Screen::Processes => self.processes.key(key, sight),
            Screen::Events => self.events.key(key, sight),
            Screen::Finding(id) => finding::key(key, self.path.here_mut(), id, sight),
            Screen::Connection(id) => connection::key(key, self.path.here_mut(), id, sight),
            Screen::Process(pid) => process::key(key, self.path.here_mut(), pid, sight),
            Screen::Help => self.path.here_mut().key(key, &[]),
        }
    }

    fn mouse(&mut self, mouse: MouseEvent, engine: &Engine) -> Action {
        let at = Position::new(mouse.column, mouse.row);
        let step = match mouse.kind {
            MouseEventKind::ScrollDown => self.wheel(true, engine),
            MouseEventKind::ScrollUp => self.wheel(false, engine),
            MouseEventKind::Down(MouseButton::Left) if at.y == 1 => {
                let scene = Scene {
                    sight: Self::sight(&self.paused, engine, &self.filter),
                    theme: self.theme,
                    rates: &self.rates,
                };
                match header::tab_at(at.x, self.width, scene) {
                    Some(tab) => {
                        self.path.go_to_tab(tab);
                        Step::Changed
                    }
                    None => Step::Unknown,
                }
            }
            MouseEventKind::Down(MouseButton::Left) => self.click(at, engine),
            MouseEventKind::Down(MouseButton::Right) if self.path.back() => Step::Changed,
            _ => Step::Unknown,
        };
        match step {
            Step::Unknown => Action::None,
            Step::Changed => Action::Redraw,
            Step::Open(screen) => {
                self.open(screen);
                Action::Redraw
            }
        }
    }

    fn wheel(&mut self, down: bool, engine: &Engine) -> Step {
        if self.path.here().screen.is_text() {
            self.path.here_mut().scroll_by(WHEEL, down);
            return Step::Changed;
        }
        let code = if down { KeyCode::Down } else { KeyCode::Up };
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        debug_assert!(Movement::of(key).is_some());
        let mut step = Step::Unknown;
        for _ in 0..WHEEL {
            step = self.key_here(key, engine);
        }
        step
    }

    fn click(&mut self, at: Position, engine: &Engine) -> Step {
        let sight = Self::sight(&self.paused, engine, &self.filter);
        match self.path.here().screen {
            Screen::Overview | Screen::Findings => self.findings.click(at, sight),
            Screen::Connections | Screen::SocketsOf(_) => self.connections.click(at, sight),
            Screen::Listeners => self.listeners.click(at, sight),
            Screen::Processes => self.processes.click(at, sight),
            Screen::Events => self.events.click(at, sight),
            _ => Step::Unknown,
        }
    }

    /// The marked row, or the text at hand, with nothing in it that a terminal obeys.
    fn copy(&mut self, engine: &Engine) -> Option<String> {
        let scene = Scene {
            sight: Self::sight(&self.paused, engine, &self.filter),
            theme: self.theme,
            rates: &self.rates,
        };
        let place = self.path.here();
        let text = match place.screen {
            Screen::Overview | Screen::Findings => {
                let marked = self.findings.marked(scene.sight)?;
                describe(Screen::Finding(marked), place, scene, COPY_CELLS).text()
            }
            Screen::Connections | Screen::SocketsOf(_) => self.connections.copy(scene)?,
            Screen::Listeners => self.listeners.copy(scene)?,
            Screen::Processes => self.processes.copy(scene)?,
            Screen::Events => self.events.copy(scene)?,
            Screen::Finding(_) | Screen::Connection(_) | Screen::Process(_) => {
                describe(place.screen, place, scene, COPY_CELLS).text()
            }
            Screen::Help => return None,
        };
        let lines: Vec<_> = text
            .lines()
            .map(|line| escape::escape(line, self.theme.ascii))
            .collect();
        Some(lines.join("\n"))
    }

    fn export(&mut self, engine: &Engine) -> Option<Export> {
        let sight = Self::sight(&self.paused, engine, &self.filter);
        let (name, rows) = match self.path.here().screen {
            Screen::Overview | Screen::Findings | Screen::Finding(_) => {
                ("findings", Findings::export(sight))
            }
            Screen::Connections | Screen::SocketsOf(_) | Screen::Connection(_) => {
                rows(&mut self.connections, "connections", sight)
            }
            Screen::Listeners => rows(&mut self.listeners, "listeners", sight),
            Screen::Processes | Screen::Process(_) => rows(&mut self.processes, "processes", sight),
            Screen::Events => rows(&mut self.events, "events", sight),
            Screen::Help => return None,
        };
        Some(Export {
            name,
            now: sight.now(),
            rows,
        })
    }
}

fn rows<S: Subject>(
    list: &mut List<S>,
    name: &'static str,
    sight: super::Sight<'_>,
) -> (&'static str, Vec<super::export::Exported>) {
    (name, list.export(sight))
}
