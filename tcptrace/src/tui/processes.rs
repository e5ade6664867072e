//! The list of processes: their sockets by state, what they closed, and their descriptors.

use std::collections::BTreeMap;

use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::Pid;
use tcptrace_core::world::{Closes, Socket};

use super::connections::{most_first, text_rank};
use super::escape::escape;
use super::export::Exported;
use super::fit;
use super::list::{Cell, Sieve, Subject};
use super::names;
use super::quantity;
use super::rows::Rank;
use super::screen::{Scene, Screen};
use super::sight::Sight;

/// Every process that owns a socket, and those that closed one.
#[derive(Debug, Default)]
pub(super) struct Processes {
    tallies: BTreeMap<Pid, Tally>,
}

/// The sockets of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    in_state: [u64; 13],
}

/// What processes can be sorted by. A group of states is one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Sockets,
    Process,
    Pid,
    In(Group),
    Closed,
    Descriptors,
    Findings,
}

/// States that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Listening,
    Opening,
    Open,
    CloseWait,
    Closing,
    TimeWait,
}

impl Group {
    fn states(self) -> &'static [TcpState] {
        match self {
            Self::Listening => &[TcpState::Listen],
            Self::Opening => &[TcpState::SynSent, TcpState::SynRecv, TcpState::NewSynRecv],
            Self::Open => &[TcpState::Established],
            Self::CloseWait => &[TcpState::CloseWait],
            Self::Closing => &[
                TcpState::FinWait1,
                TcpState::FinWait2,
                TcpState::Closing,
                TcpState::LastAck,
            ],
            Self::TimeWait => &[TcpState::TimeWait],
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, socket: &Socket) {
        self.in_state[socket.state as usize] += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.in_state.iter().sum()
    }

    pub(super) fn count(&self, state: TcpState) -> u64 {
        self.in_state[state as usize]
    }

    fn of(&self, group: Group) -> u64 {
        group.states().iter().map(|state| self.count(*state)).sum()
    }
}

/// How a process closes: `12 by close, 3 by shutdown`.
pub(super) fn closes(closes: Closes) -> String {
    let parts: Vec<_> = [
        (closes.close, "close"),
        (closes.shutdown, "shutdown"),
        (closes.exit, "its exit"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, how)| format!("{} by {how}", quantity::count(count)))
    .collect();
    if parts.is_empty() {
        "none seen".to_owned()
    } else {
        parts.join(", ")
    }
}

/// Whether a finding names the process.
pub(super) fn is_named(finding: &tcptrace_core::Finding, pid: Pid) -> bool {
    let named = finding.process.iter();
    named
        .chain(finding.processes.iter().map(|(owner, _)| owner))
        .any(|owner| owner.process.pid == pid)
}

fn findings_of(pid: Pid, sight: Sight<'_>) -> u64 {
    let open = sight.findings().into_iter();
    open.filter(|finding| is_named(finding, pid)).count() as u64
}

impl Processes {
    fn rank_of(&self, pid: Pid, tally: &Tally, column: Column, sight: Sight<'_>) -> Rank {
        let known = sight.process(pid);
        let minor = u64::from(pid.0);
        let major = match column {
            Column::Sockets => most_first(Some(tally.total())),
            Column::Process => known.map_or(u128::MAX, |known| text_rank(&known.info.name)),
            Column::Pid => pid.0.into(),
            Column::In(group) => most_first(Some(tally.of(group))),
            Column::Closed => most_first(known.map(|known| known.closes.total())),
            Column::Descriptors => {
                let open = known.and_then(|known| known.descriptors);
                most_first(open.map(|(open, _)| open))
            }
            Column::Findings => most_first(Some(findings_of(pid, sight))),
        };
        (major, minor)
    }
}

impl Subject for Processes {
    type Id = Pid;
    type Column = Column;
    const NAME: &'static str = "Processes";
    const NONE: &'static str = "No process is known to own a socket.";
    const COLUMNS: &'static [Column] = &[
        Column::Sockets,
        Column::In(Group::Listening),
        Column::In(Group::Opening),
        Column::In(Group::Open),
        Column::In(Group::CloseWait),
        Column::In(Group::Closing),
        Column::In(Group::TimeWait),
        Column::Closed,
        Column::Descriptors,
        Column::Findings,
        Column::Process,
        Column::Pid,
    ];

    fn title(column: Column) -> (&'static str, bool) {
        match column {
            Column::Sockets => ("SOCKETS", true),
            Column::Process => ("PROCESS", false),
            Column::Pid => ("PID", true),
            Column::In(Group::Listening) => ("LSTN", true),
            Column::In(Group::Opening) => ("OPENING", true),
            Column::In(Group::Open) => ("ESTAB", true),
            Column::In(Group::CloseWait) => ("CLOSE_W", true),
            Column::In(Group::Closing) => ("CLOSING", true),
            Column::In(Group::TimeWait) => ("TIME_W", true),
            Column::Closed => ("CLOSED", true),
            Column::Descriptors => ("DESCRIPTORS", true),
            Column::Findings => ("FINDINGS", true),
        }
    }

    fn fitting(cells: usize) -> Vec<(Column, usize)> {
        let mut columns = vec![
            (Column::Process, 13),
            (Column::Pid, 7),
            (Column::Sockets, 8),
            (Column::In(Group::Listening), 5),
            (Column::In(Group::Open), 8),
            (Column::In(Group::CloseWait), 8),
            (Column::In(Group::Closing), 8),
            (Column::Closed, 9),
        ];
        for (column, width) in [
            (Column::Descriptors, 14),
            (Column::Findings, 9),
            (Column::In(Group::Opening), 8),
            (Column::In(Group::TimeWait), 8),
        ] {
            if fit::columns(&columns) + width < cells {
                columns.push((column, width));
            }
        }
        fit::widen(&mut columns, cells, &[(Column::Process, 40)]);
        columns
    }

    fn rank(
        &mut self,
        sight: Sight<'_>,
        sieve: &Sieve<'_>,
        column: Column,
        rows: &mut Vec<(Rank, Pid)>,
    ) {
        self.tallies.clear();
        for socket in sight.sockets().filter(|socket| sieve.passes(socket, sight)) {
            if let Some(owner) = &socket.owner {
                self.tallies
                    .entry(owner.process.pid)
                    .or_default()
                    .add(socket);
            }
        }
        if sieve.is_open() {
            let closers = sight
                .processes()
                .filter(|known| known.exited.is_none() && known.closes.total() > 0);
            for known in closers {
                self.tallies.entry(known.info.pid).or_default();
            }
        }
        rows.extend(
            self.tallies
                .iter()
                .map(|(pid, tally)| (self.rank_of(*pid, tally, column, sight), *pid)),
        );
    }

    fn cells(&self, id: Pid, columns: &[(Column, usize)], scene: Scene<'_>) -> Option<Vec<Cell>> {
        let Scene { sight, theme, .. } = scene;
        let tally = self.tallies.get(&id)?;
        let known = sight.process(id);
        let number = |number: u64, cells| {
            let style = if number == 0 {
                theme.quiet()
            } else {
                theme.plain()
            };
            (fit::right(&quantity::count(number), cells, theme), style)
        };
        let cell = |(column, cells): &(Column, usize)| {
            let cells = *cells;
            match column {
                Column::Process => {
                    let name = known.map_or("", |known| &known.info.name);
                    let name = escape(name, theme.ascii);
                    let gone = known.is_some_and(|known| known.exited.is_some());
                    let name = match (name.is_empty(), gone) {
                        (true, _) => "-".to_owned(),
                        (_, true) => format!("{name} (exited)"),
                        (_, false) => name.into_owned(),
                    };
                    (fit::left(&name, cells, theme), theme.plain())
                }
                Column::Pid => (fit::right(&id.0.to_string(), cells, theme), theme.plain()),
                Column::Sockets => number(tally.total(), cells),
                Column::In(Group::CloseWait) if tally.of(Group::CloseWait) > 0 => {
                    let (text, _) = number(tally.of(Group::CloseWait), cells);
                    (text, theme.state(TcpState::CloseWait))
                }
                Column::In(group) => number(tally.of(*group), cells),
                Column::Closed => number(known.map_or(0, |known| known.closes.total()), cells),
                Column::Descriptors => {
                    let text = match known.and_then(|known| known.descriptors) {
                        Some((open, limit)) => format!("{open}/{limit}"),
                        None => "-".to_owned(),
                    };
                    let full = known
                        .and_then(|known| known.descriptors)
                        .map_or(0.0, |(open, limit)| open as f64 / limit.max(1) as f64);
                    (fit::right(&text, cells, theme), theme.fullness(full))
                }
                Column::Findings => number(findings_of(id, sight), cells),
            }
        };
        Some(columns.iter().map(cell).collect())
    }

    fn open(&self, id: Pid, _: Sight<'_>) -> Option<Screen> {
        Some(Screen::Process(id))
    }

    fn export(&self, id: Pid, sight: Sight<'_>) -> Option<Exported> {
        Some(Exported::Process {
            pid: id,
            known: sight.process(id).cloned(),
            in_state: TcpState::ALL
                .into_iter()
                .map(|state| (state, self.tallies.get(&id).map_or(0, |t| t.count(state))))
                .filter(|(_, count)| *count > 0)
                .collect(),
        })
    }
}

/// What a process is called in the title of a screen.
pub(super) fn title(pid: Pid, scene: Scene<'_>) -> String {
    names::pid(pid, scene.sight, scene.theme)
}
