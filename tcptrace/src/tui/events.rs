//! The log of events: what happened to any socket, the latest first.

use tcptrace_core::input::{Context, DropOutcome, Queue};
use tcptrace_core::units::SockId;
use tcptrace_core::world::{Event, Moment, What};

use super::connections::{endpoint_rank, text_rank};
use super::export::Exported;
use super::fit;
use super::list::{Cell, Sieve, Subject};
use super::names;
use super::quantity;
use super::rows::Rank;
use super::screen::{Scene, Screen};
use super::sight::Sight;
use super::theme::Theme;
use super::timeline;

/// The latest events.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Those that pass, ascending by number: a copy, as they are on their way out of the log.
    shown: Vec<Event>,
}

/// What events can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Time,
    What,
    Process,
    Local,
    Peer,
    Socket,
}

impl Column {
    fn rank(self, event: &Event, sight: Sight<'_>) -> Rank {
        let latest = u64::MAX - event.number;
        match self {
            Self::Time => (latest.into(), 0),
            Self::What => (kind_rank(&event.what), latest),
            Self::Process => {
                let known = event.owner.and_then(|pid| sight.process(pid));
                let name = known.map_or(u128::MAX, |known| text_rank(&known.info.name));
                (name, latest)
            }
            Self::Local => (endpoint_rank(event.key.local).0, latest),
            Self::Peer => (endpoint_rank(event.key.peer).0, latest),
            Self::Socket => (event.key.sock.0.into(), latest),
        }
    }
}

/// What is rare and telling comes first; transitions by their states.
fn kind_rank(what: &What) -> u128 {
    match what {
        What::Loss { .. } => 0,
        What::QueueDrop { .. } => 1,
        What::Socket(Moment::Reset { .. }) => 2,
        What::Socket(Moment::Retransmitted { .. }) => 3,
        What::Socket(Moment::SynackRetransmitted { .. }) => 4,
        What::Socket(Moment::Transition { from, to, .. }) => {
            10 + (*to as u128) * 16 + *from as u128
        }
        What::Socket(Moment::Accepted { .. }) => 300,
        What::Exit { .. } => 301,
        What::Socket(_) => 302,
    }
}

/// The word by which `event:` filters.
pub(super) fn kind(what: &What) -> &'static str {
    match what {
        What::Loss { .. } => "loss",
        What::QueueDrop { .. } => "drop",
        What::Exit { .. } => "exit",
        What::Socket(moment) => match moment {
            Moment::Reset { .. } => "reset",
            Moment::Retransmitted { .. } | Moment::SynackRetransmitted { .. } => "retransmit",
            Moment::Transition { .. } => "transition",
            Moment::Accepted { .. } => "accept",
            Moment::Destroyed => "destroy",
            _ => "other",
        },
    }
}

/// Every word that [`kind`] answers.
pub(super) const KINDS: [&str; 8] = [
    "transition",
    "accept",
    "retransmit",
    "reset",
    "drop",
    "destroy",
    "exit",
    "loss",
];

fn sentence(event: &Event, scene: Scene<'_>) -> Cell {
    let Scene { sight, theme, .. } = scene;
    match &event.what {
        // Who was at work is worth a word only where it was a process.
        What::Socket(Moment::Transition { from, to, by }) => {
            let who = match by {
                Context::Process { .. } => format!(" {}", names::context(*by, sight, theme)),
                Context::Interrupt => String::new(),
            };
            (
                format!("{from} {} {to}{who}", theme.arrow()),
                theme.state(*to),
            )
        }
        What::Socket(moment) => timeline::sentence(moment, scene),
        What::QueueDrop {
            queue,
            outcome,
            depth,
            limit,
        } => {
            let segment = match queue {
                Queue::Syn => "SYN",
                Queue::Accept => "last ACK",
            };
            let fate = match outcome {
                DropOutcome::Dropped => "dropped",
                DropOutcome::Cookie => "answered with a cookie",
            };
            (
                format!("{segment} {fate}, queue {depth}/{limit}"),
                theme.fullness(1.0),
            )
        }
        What::Loss { cause, count } => (
            format!(
                "{} lost ({})",
                quantity::counted(*count, "record"),
                cause.name()
            ),
            theme.loud(),
        ),
        What::Exit { pid } => (
            format!("{} exits", names::pid(*pid, sight, theme)),
            theme.plain(),
        ),
    }
}

fn when(event: &Event, sight: Sight<'_>, theme: Theme) -> String {
    match sight.wall(event.at) {
        Some(wall) => quantity::time_of_day(wall),
        None => quantity::gap(sight.now().since(event.at), theme),
    }
}

impl Events {
    fn get(&self, number: u64) -> Option<&Event> {
        let at = self
            .shown
            .binary_search_by_key(&number, |event| event.number)
            .ok()?;
        self.shown.get(at)
    }
}

impl Subject for Events {
    type Id = u64;
    type Column = Column;
    const NAME: &'static str = "Events";
    const NONE: &'static str = "Nothing has happened since the trace began.";
    const COLUMNS: &'static [Column] = &[
        Column::Time,
        Column::What,
        Column::Process,
        Column::Local,
        Column::Peer,
        Column::Socket,
    ];

    fn title(column: Column) -> (&'static str, bool) {
        match column {
            Column::Time => ("TIME", false),
            Column::What => ("EVENT", false),
            Column::Process => ("PROCESS", false),
            Column::Local => ("LOCAL", false),
            Column::Peer => ("PEER", false),
            Column::Socket => ("SOCKET", false),
        }
    }

    fn fitting(cells: usize) -> Vec<(Column, usize)> {
        let mut columns = vec![
            (Column::Time, 12),
            (Column::Process, 14),
            (Column::Peer, 21),
            (Column::What, 27),
        ];
        for (at, column, width) in [(2, Column::Local, 21), (1, Column::Socket, 7)] {
            if fit::columns(&columns) + width < cells {
                columns.insert(at, (column, width));
            }
        }
        let wishes = [
            (Column::What, 47),
            (Column::Process, 24),
            (Column::Peer, 47),
            (Column::Local, 47),
            (Column::What, 90),
        ];
        fit::widen(&mut columns, cells, &wishes);
        columns
    }

    fn rank(
        &mut self,
        sight: Sight<'_>,
        sieve: &Sieve<'_>,
        column: Column,
        rows: &mut Vec<(Rank, u64)>,
    ) {
        self.shown.clear();
        let passes = |event: &&Event| {
            sieve.is_open()
                || (super::words::passes_event(sieve.base, event, sight)
                    && sieve.query.passes_event(event, sight))
        };
        self.shown.extend(sight.events().filter(passes));
        rows.extend(
            self.shown
                .iter()
                .map(|event| (column.rank(event, sight), event.number)),
        );
    }

    fn cells(&self, id: u64, columns: &[(Column, usize)], scene: Scene<'_>) -> Option<Vec<Cell>> {
        let Scene { sight, theme, .. } = scene;
        let event = self.get(id)?;
        let nobody = event.key.sock == SockId(0);
        let cell = |(column, cells): &(Column, usize)| {
            let cells = *cells;
            match column {
                Column::Time => (
                    fit::left(&when(event, sight, theme), cells, theme),
                    theme.quiet(),
                ),
                Column::What => {
                    let (text, style) = sentence(event, scene);
                    (fit::left(&text, cells, theme), style)
                }
                Column::Process => {
                    let text = match event.owner {
                        Some(pid) => names::pid(pid, sight, theme),
                        None => "-".to_owned(),
                    };
                    (fit::left(&text, cells, theme), theme.plain())
                }
                Column::Local | Column::Peer => {
                    let end = match column {
                        Column::Local => event.key.local,
                        _ => event.key.peer,
                    };
                    let text = if end.port.is_none() && end.address.is_none() {
                        fit::left("-", cells, theme)
                    } else {
                        fit::endpoint(end, cells, theme)
                    };
                    (text, theme.plain())
                }
                Column::Socket => {
                    let text = if nobody {
                        "-".to_owned()
                    } else {
                        event.key.sock.to_string()
                    };
                    (fit::left(&text, cells, theme), theme.quiet())
                }
            }
        };
        Some(columns.iter().map(cell).collect())
    }

    fn open(&self, id: u64, _: Sight<'_>) -> Option<Screen> {
        let event = self.get(id)?;
        match event.what {
            What::Exit { pid } => Some(Screen::Process(pid)),
            _ if event.key.sock != SockId(0) => Some(Screen::Connection(event.key.sock)),
            _ => None,
        }
    }

    fn export(&self, id: u64, sight: Sight<'_>) -> Option<Exported> {
        let event = *self.get(id)?;
        Some(Exported::Event {
            event,
            wall: sight.wall(event.at),
        })
    }
}
