//! The filter words of `/`: the command line's options written as `state:close-wait`, plus bare
//! words for what one would otherwise have to look up.
//!
//! A word with a colon sets a condition of [`Filter`], the predicate that every other part of
//! tcptrace uses. A bare word is a network, a number (port or pid), or a piece of a process name or
//! state. All words must hold; alternatives are separated by commas.

use std::str::FromStr;

use tcptrace_core::filter::{Cidr, Family, Filter, in_cgroup, in_container};
use tcptrace_core::tcp::TcpState;
use tcptrace_core::units::{NetnsId, Pid, Port};
use tcptrace_core::world::{Event, Moment, Socket, What};

use super::events;
use super::names::owner_info;
use super::sight::Sight;

/// A line of filter words, understood.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    /// As typed.
    pub(super) text: String,
    filter: Filter,
    bare: Vec<Bare>,
    /// Kinds of events; socket lists have no use for them.
    events: Vec<&'static str>,
}

/// A condition that the command line has no single option for.
#[derive(Clone, Debug, PartialEq)]
enum Bare {
    /// Either port is one of these.
    Ports(Vec<Port>),
    /// Either address lies in it.
    Net(Cidr),
    /// Either port, or the pid of the owner or a holder.
    Number(u32),
    /// The owner's container id begins so.
    Container(String),
    /// The owner's cgroup has this in its path.
    Cgroup(String),
    /// Part of a process name, of the owner or a holder, or of the state.
    Piece {
        /// Folded.
        piece: Vec<u8>,
        /// The states whose names have it, so that no socket needs a look at its state's name.
        states: Vec<TcpState>,
    },
}

/// A word that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadWord {
    #[error(
        "`{0}:` is no filter word; use state, pid, comm, port, local-port, remote-port, local, \
         remote, netns, container, cgroup, event, -4 or -6"
    )]
    Key(String),
    #[error("`{value}` is not a {expected}; write {key}:{example}")]
    Value {
        key: String,
        value: String,
        expected: &'static str,
        example: &'static str,
    },
}

impl Query {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether `socket` is to be shown.
    pub(super) fn passes(&self, socket: &Socket, sight: Sight<'_>) -> bool {
        self.filter.passes(socket) && self.bare.iter().all(|bare| bare.holds(socket, sight))
    }
}

impl Query {
    /// Whether an event is to be shown.
    pub(super) fn passes_event(&self, event: &Event, sight: Sight<'_>) -> bool {
        (self.events.is_empty() || self.events.contains(&events::kind(&event.what)))
            && passes_event(&self.filter, event, sight)
            && self.bare.iter().all(|bare| bare.holds_event(event, sight))
    }
}

/// The states that an event is about.
fn states_of(what: &What) -> [Option<TcpState>; 2] {
    match what {
        What::Socket(Moment::Transition { from, to, .. }) => [Some(*from), Some(*to)],
        _ => [None, None],
    }
}

/// [`Filter::passes`] for an event, whose socket may be long gone. A condition on states holds for
/// transitions that leave or enter one of them.
pub(super) fn passes_event(filter: &Filter, event: &Event, sight: Sight<'_>) -> bool {
    let states = states_of(&event.what);
    let by_state = filter.states.is_empty()
        || states
            .iter()
            .flatten()
            .any(|state| filter.states.contains(state));
    let by_pid = filter.pids.is_empty()
        || event
            .owner
            .is_some_and(|owner| filter.pids.contains(&owner));
    let by_name = filter.names.is_empty()
        || event
            .owner
            .and_then(|owner| sight.process(owner))
            .is_some_and(|process| filter.names.iter().any(|name| **name == *process.info.name));
    by_state && by_pid && by_name && filter.passes_key(&event.key)
}

impl FromStr for Query {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        let mut query = Self {
            text: text.trim().to_owned(),
            ..Self::default()
        };
        for word in text.split_whitespace() {
            query.add(word)?;
        }
        Ok(query)
    }
}

impl Query {
    fn add(&mut self, word: &str) -> Result<(), BadWord> {
        // An IPv6 network is full of colons, so networks come before keys.
        if let Some(net) = network(word) {
            self.bare.push(Bare::Net(net));
            return Ok(());
        }
        // The command line's own spelling: `--state=close-wait`.
        let (word, separator) = match word.strip_prefix("--") {
            Some(option) => (option, '='),
            None => (word, ':'),
        };
        let Some((key, value)) = word.split_once(separator) else {
            match (word, word.parse()) {
                ("-4", _) => self.filter.family = Some(Family::V4),
                ("-6", _) => self.filter.family = Some(Family::V6),
                (_, Ok(number)) => self.bare.push(Bare::Number(number)),
                _ => self.bare.push(Bare::piece(word)),
            }
            return Ok(());
        };
        let filter = &mut self.filter;
        match key {
            "state" => {
                let states = list(key, value, "TCP state", "close-wait", TcpState::from_name)?;
                filter.states.extend(states);
            }
            "pid" | "p" => filter.pids.extend(list(key, value, "pid", "1234", |text| {
                text.parse().ok().map(Pid)
            })?),
            "comm" | "c" => filter.names.extend(
                value
                    .split(',')
                    .filter(|n| !n.is_empty())
                    .map(str::to_owned),
            ),
            "port" | "" => {
                let ports = list("port", value, "port", "443", port)?;
                self.bare.push(Bare::Ports(ports));
            }
            "local-port" | "lport" | "L" => {
                let ports = list(key, value, "port", "80,443", port)?;
                filter.local_ports.extend(ports);
            }
            "remote-port" | "rport" | "D" => {
                let ports = list(key, value, "port", "5432", port)?;
                filter.remote_ports.extend(ports);
            }
            "local" => {
                let nets = list(key, value, "network", "10.0.0.0/8", network)?;
                filter.local_nets.extend(nets);
            }
            "remote" => {
                let nets = list(key, value, "network", "10.0.0.0/8", network)?;
                filter.remote_nets.extend(nets);
            }
            "netns" => {
                let number = value.parse().ok().map(NetnsId);
                filter.netns = Some(number.ok_or_else(|| {
                    bad_value(key, value, "network namespace's inode", "4026531840")
                })?);
            }
            "container" => self.bare.push(Bare::Container(value.to_owned())),
            "cgroup" => self.bare.push(Bare::Cgroup(value.to_owned())),
            "event" => {
                let known = |text: &str| events::KINDS.into_iter().find(|kind| *kind == text);
                self.events.extend(list(
                    key,
                    value,
                    "kind of event",
                    "reset,retransmit",
                    known,
                )?);
            }
            _ => return Err(BadWord::Key(key.to_owned())),
        }
        Ok(())
    }
}

fn list<T>(
    key: &str,
    values: &str,
    expected: &'static str,
    example: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, BadWord> {
    values
        .split(',')
        .map(|value| parse(value).ok_or_else(|| bad_value(key, value, expected, example)))
        .collect()
}

fn bad_value(key: &str, value: &str, expected: &'static str, example: &'static str) -> BadWord {
    BadWord::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        expected,
        example,
    }
}

fn port(text: &str) -> Option<Port> {
    text.parse().ok().filter(|&port| port != 0).map(Port)
}

fn network(text: &str) -> Option<Cidr> {
    text.parse().ok()
}

/// Lower case, and the kernel's underscore for ss's dash, so that `close-wait` finds CLOSE_WAIT.
fn folded(byte: u8) -> u8 {
    match byte {
        b'-' => b'_',
        byte => byte.to_ascii_lowercase(),
    }
}

/// Whether `text`, folded, has `piece`. Allocates nothing: it runs for every socket.
fn has(text: &str, piece: &[u8]) -> bool {
    let mut windows = text.as_bytes().windows(piece.len());
    windows.any(|window| window.iter().map(|b| folded(*b)).eq(piece.iter().copied()))
}

impl Bare {
    /// `word` is not empty.
    fn piece(word: &str) -> Self {
        let piece: Vec<u8> = word.bytes().map(folded).collect();
        let states = TcpState::ALL.into_iter();
        Self::Piece {
            states: states.filter(|state| has(state.name(), &piece)).collect(),
            piece,
        }
    }

    fn holds_event(&self, event: &Event, sight: Sight<'_>) -> bool {
        let ends = [event.key.local, event.key.peer];
        let owner = event.owner.and_then(|pid| sight.process(pid));
        match self {
            Self::Ports(ports) => ends
                .iter()
                .any(|end| end.port.is_some_and(|port| ports.contains(&port))),
            Self::Net(net) => ends
                .iter()
                .any(|end| end.address.is_some_and(|address| net.contains(address))),
            Self::Number(number) => {
                let is_port = |port: Port| u32::from(port.0) == *number;
                ends.iter().any(|end| end.port.is_some_and(is_port))
                    || event.owner == Some(Pid(*number))
            }
            Self::Piece { piece, states } => {
                states_of(&event.what)
                    .iter()
                    .flatten()
                    .any(|state| states.contains(state))
                    || has(events::kind(&event.what), piece)
                    || owner.is_some_and(|process| has(&process.info.name, piece))
            }
            Self::Container(id) => owner.is_some_and(|process| in_container(&process.info, id)),
            Self::Cgroup(path) => owner.is_some_and(|process| in_cgroup(&process.info, path)),
        }
    }

    fn holds(&self, socket: &Socket, sight: Sight<'_>) -> bool {
        let ends = [socket.local(), socket.peer()];
        match self {
            Self::Ports(ports) => ends
                .iter()
                .any(|end| end.port.is_some_and(|port| ports.contains(&port))),
            Self::Net(net) => ends
                .iter()
                .any(|end| end.address.is_some_and(|address| net.contains(address))),
            Self::Number(number) => {
                let is_port = |port: Port| u32::from(port.0) == *number;
                ends.iter().any(|end| end.port.is_some_and(is_port))
                    || socket
                        .owner
                        .as_ref()
                        .is_some_and(|owner| owner.process.pid.0 == *number)
                    || socket.holders.iter().any(|holder| holder.pid.0 == *number)
            }
            Self::Container(id) => {
                let owner = socket.owner.as_ref();
                owner.is_some_and(|owner| in_container(owner_info(owner, sight), id))
            }
            Self::Cgroup(path) => {
                let owner = socket.owner.as_ref();
                owner.is_some_and(|owner| in_cgroup(owner_info(owner, sight), path))
            }
            Self::Piece { piece, states } => {
                let owner = socket.owner.as_ref();
                states.contains(&socket.state)
                    || owner.is_some_and(|owner| has(&owner_info(owner, sight).name, piece))
                    || socket.holders.iter().any(|holder| {
                        sight
                            .process(holder.pid)
                            .is_some_and(|process| has(&process.info.name, piece))
                    })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    /// Against nginx, pid 7: CLOSE_WAIT, 10.0.0.1:80 from 192.168.7.9:40000.
    fn check(words: &str, passes: bool) {
        let engine = fixture::empty();
        let query: Query = words.parse().unwrap();
        let socket = fixture::connection();
        assert_eq!(
            query.passes(&socket, Sight::Live(&engine, &Filter::default())),
            passes,
            "{words}"
        );
    }

    #[test]
    fn words_hold_together() {
        check("", true);
        check("state:close-wait", true);
        check("state:CLOSE_WAIT,established", true);
        check("state:established", false);
        check("pid:7", true);
        check("pid:9", false);
        check("comm:nginx", true);
        check("comm:ngin", false);
        check("local-port:80", true);
        check("L:40000", false);
        check("remote-port:40000", true);
        check("local:10.0.0.0/8 remote:192.168.0.0/16", true);
        check("local:192.168.0.0/16", false);
        check("netns:4026531840", true);
        check("netns:1", false);
        check("-4", true);
        check("-6", false);
        check("--state=close-wait --local-port=80", true);
        check("--remote=10.0.0.0/8", false);
        check("container:abc", false);
        check("state:close-wait port:80 pid:7 nginx 10.0.0.0/8", true);
        check("state:close-wait port:81 pid:7 nginx 10.0.0.0/8", false);
    }

    #[test]
    fn bare_words_find_either_end() {
        check("nginx", true);
        check("NGI", true);
        check("apache", false);
        check("close-wait", true);
        check("port:40000", true);
        check(":80", true);
        check("port:1,80", true);
        check("7", true);
        check("80", true);
        check("81", false);
        check("192.168.7.9", true);
        check("192.168.7.0/24", true);
        check("fd00::/8", false);
    }

    #[test]
    fn a_bad_word_is_explained() {
        let explain = |words: &str| words.parse::<Query>().unwrap_err().to_string();
        assert_eq!(
            explain("nginx state:close-weit"),
            "`close-weit` is not a TCP state; write state:close-wait"
        );
        assert_eq!(explain("port:0"), "`0` is not a port; write port:443");
        assert_eq!(explain("pid:"), "`` is not a pid; write pid:1234");
        assert!(explain("colour:red").starts_with("`colour:` is no filter word; use state, pid"));
    }
}
