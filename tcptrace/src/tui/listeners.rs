//! The list of listeners: how full their queues are, and whether anybody accepts.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use tcptrace_core::filter::Filter;
use tcptrace_core::input::QueueLevel;
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::SockId;
use tcptrace_core::world::Socket;

use super::cursor::{Cursor, Movement};
use super::fit;
use super::names;
use super::quantity;
use super::screen::{Key, Scene, Screen, Step};
use super::sight::Sight;
use super::theme::Theme;

pub(super) const KEYS: &[Key] = &[
    ("Enter", "open", "owner, holders and timeline of a listener"),
    (
        "s/S",
        "sort",
        "by the next column; S turns the order around",
    ),
];

/// The gauge's cells.
const GAUGE: usize = 10;

/// What listeners can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    /// The fullest accept queue first.
    #[default]
    Queue,
    /// The most half-open connections first.
    HalfOpen,
    /// By port, then address.
    Local,
    /// By the owner's name.
    Process,
}

impl Order {
    fn next(self) -> Self {
        match self {
            Self::Queue => Self::HalfOpen,
            Self::HalfOpen => Self::Local,
            Self::Local => Self::Process,
            Self::Process => Self::Queue,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Queue => "accept queue, fullest first",
            Self::HalfOpen => "half-open, most first",
            Self::Local => "port",
            Self::Process => "process",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Listeners {
    base: Filter,
    order: Order,
    reversed: bool,
    cursor: Cursor<SockId>,
}

/// How full a queue is: 1 at its limit.
fn share(queue: QueueLevel) -> f64 {
    f64::from(queue.depth) / f64::from(queue.limit.max(1))
}

impl Listeners {
    pub(super) fn new(base: Filter) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }

    /// Listeners are few, so they are sorted whenever they are looked at.
    fn sorted<'a>(&self, sight: Sight<'a>) -> Vec<&'a Socket> {
        let mut all: Vec<_> = sight
            .sockets()
            .filter(|socket| socket.state == TcpState::Listen && self.base.passes(socket))
            .collect();
        let local = |socket: &Socket| (socket.local().port, socket.local().address);
        let process = |socket: &'a Socket| socket.owner.as_ref().map(|owner| &*owner.process.name);
        all.sort_by(|a, b| {
            let order = match self.order {
                Order::Queue => {
                    let level = |socket: &Socket| socket.accept_queue.map_or(-1.0, share);
                    level(b).total_cmp(&level(a))
                }
                Order::HalfOpen => b.syn_depth.cmp(&a.syn_depth),
                Order::Local => local(a).cmp(&local(b)),
                Order::Process => process(a).cmp(&process(b)),
            };
            let order = if self.reversed {
                order.reverse()
            } else {
                order
            };
            order.then_with(|| (local(a), a.key.sock).cmp(&(local(b), b.key.sock)))
        });
        all
    }

    pub(super) fn key(&mut self, key: KeyEvent, sight: Sight<'_>) -> Step {
        match key.code {
            KeyCode::Char('s') => {
                self.order = self.order.next();
                self.reversed = false;
                return Step::Changed;
            }
            KeyCode::Char('S') => {
                self.reversed = !self.reversed;
                return Step::Changed;
            }
            _ => {}
        }
        let sorted = self.sorted(sight);
        let ids: Vec<_> = sorted.iter().map(|socket| socket.key.sock).collect();
        if let Some(movement) = Movement::of(key) {
            self.cursor.travel(movement, &ids);
            return Step::Changed;
        }
        match (key.code, self.cursor.marked(&ids)) {
            (KeyCode::Enter, Some(id)) => Step::Open(Screen::Connection(id)),
            _ => Step::Unknown,
        }
    }

    pub(super) fn draw(&mut self, buffer: &mut Buffer, area: Rect, scene: Scene<'_>) {
        let Scene { sight, theme, .. } = scene;
        let sorted = self.sorted(sight);
        let reversed = if self.reversed { ", reversed" } else { "" };
        let title = Line::from(vec![
            Span::styled(" Listeners  ", theme.heading()),
            Span::raw(quantity::count(sorted.len() as u64)),
            Span::styled(
                format!("  by {}{reversed}", self.order.name()),
                theme.quiet(),
            ),
        ]);
        buffer.set_line(area.x, area.y, &title, area.width);
        let widths = Widths::of(area.width.into());
        let headings = format!(
            " {} {} {} {} {}",
            fit::left("LOCAL", widths.local, theme),
            fit::left("PROCESS", widths.process, theme),
            fit::left("ACCEPT QUEUE", Widths::QUEUE, theme),
            fit::right("HALF-OPEN", Widths::HALF_OPEN, theme),
            fit::left("LAST ACCEPT", widths.last, theme),
        );
        buffer.set_line(
            area.x,
            area.y + 1,
            &Line::styled(headings, theme.quiet()),
            area.width,
        );
        let body = Rect {
            y: area.y + 2,
            height: area.height.saturating_sub(2),
            ..area
        };
        if sorted.is_empty() {
            let line = Line::styled("  Nobody listens.", theme.quiet());
            buffer.set_line(body.x, body.y, &line, body.width);
            return;
        }
        let ids: Vec<_> = sorted.iter().map(|socket| socket.key.sock).collect();
        let marked = self.cursor.marked(&ids);
        let top = self.cursor.scroll(ids.len(), body.height.into());
        for (socket, y) in sorted.iter().skip(top).zip(body.y..body.bottom()) {
            let is_marked = Some(socket.key.sock) == marked;
            let line = row(socket, is_marked, &widths, scene);
            buffer.set_line(body.x, y, &line, body.width);
        }
    }
}

/// The widths that depend on the screen's.
struct Widths {
    local: usize,
    process: usize,
    last: usize,
}

impl Widths {
    /// The gauge, a space, and `12,345/12,345`.
    const QUEUE: usize = GAUGE + 12;
    const HALF_OPEN: usize = 9;

    fn of(cells: usize) -> Self {
        // A mark, and a space between columns.
        let room = cells.saturating_sub(1 + Self::QUEUE + Self::HALF_OPEN + 4);
        let local = (room * 2 / 5).clamp(17, 47);
        let process = (room / 3).clamp(14, 24);
        Self {
            local,
            process,
            last: room.saturating_sub(local + process),
        }
    }
}

fn row(socket: &Socket, is_marked: bool, widths: &Widths, scene: Scene<'_>) -> Line<'static> {
    let Scene { sight, theme, .. } = scene;
    let marker = if is_marked { theme.marker() } else { " " };
    let queue = socket.accept_queue;
    let half_open = socket.syn_depth.map(|depth| quantity::count(depth.into()));
    let last = match socket.last_accept {
        Some((at, by)) => {
            let age = quantity::age(sight.now().since(at));
            let is_owner = socket
                .owner
                .as_ref()
                .is_some_and(|owner| owner.process.pid == by);
            if is_owner {
                format!("{age} ago")
            } else {
                format!("{age} ago, {}", names::pid(by, sight, theme))
            }
        }
        None => "none seen".to_owned(),
    };
    let mut spans = vec![
        Span::raw(format!(
            "{marker}{} {} ",
            fit::endpoint(socket.local(), widths.local, theme),
            names::owner_column(socket.owner.as_ref(), widths.process, sight, theme),
        )),
        Span::styled(
            fit::left(&gauge(queue, theme), Widths::QUEUE, theme),
            theme.fullness(queue.map_or(0.0, share)),
        ),
        Span::raw(format!(
            " {} {}",
            fit::right(
                half_open.as_deref().unwrap_or("-"),
                Widths::HALF_OPEN,
                theme
            ),
            fit::left(&last, widths.last, theme),
        )),
    ];
    if is_marked {
        for span in &mut spans {
            span.style = theme.selected();
        }
    }
    Line::from(spans)
}

/// `████░░░░░░ 52/128`. A queue that is not empty shows at least one cell.
fn gauge(queue: Option<QueueLevel>, theme: Theme) -> String {
    let Some(queue) = queue else {
        return "not sampled yet".to_owned();
    };
    let filled = match share(queue) {
        share if share <= 0.0 => 0,
        // The cast saturates.
        share => ((share * GAUGE as f64) as usize).clamp(1, GAUGE),
    };
    format!(
        "{}{} {}/{}",
        theme.full().repeat(filled),
        theme.empty().repeat(GAUGE - filled),
        queue.depth,
        queue.limit
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_shows_the_first_and_the_last() {
        let theme = Theme {
            color: false,
            ascii: true,
        };
        let check = |depth, limit, text: &str| {
            assert_eq!(gauge(Some(QueueLevel { depth, limit }), theme), text);
        };
        check(0, 128, ".......... 0/128");
        check(1, 128, "#......... 1/128");
        check(64, 128, "#####..... 64/128");
        check(127, 128, "#########. 127/128");
        check(129, 128, "########## 129/128");
        check(1, 0, "########## 1/0");
    }
}
