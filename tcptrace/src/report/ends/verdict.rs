//! Which segment was lost, judged from both ends: one rule for each of the seven segments of a
//! connection's beginning and end that can be lost.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use tcptrace_core::tcp::Endpoint;

use super::clocks::Clocks;
use super::join::Pair;
use super::{Belongs, Ends, Handshake, Side};
use crate::report::units::instant;

/// What became of one segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// The connection, the first host's end first.
    pub(crate) connection: String,
    /// Which segment: `SYN`, `SYN-ACK`, `final ACK`, `first FIN`, `ACK of the first FIN`,
    /// `second FIN`, `last ACK`; `first FIN or its ACK`, `second FIN or last ACK` where it cannot be
    /// told which, `SYN or SYN-ACK` where cookies hide it; or `accept queue` or `SYN queue` when
    /// nothing was lost.
    pub(crate) segment: &'static str,
    /// Who sent it.
    pub(crate) from: String,
    /// Who should have got it.
    pub(crate) to: String,
    /// How often the one that waited tried again.
    pub(crate) repeated: u32,
    /// When the trouble began, the first host's wall clock, ns.
    pub(crate) wall_ns: i64,
    /// `exact`: both ends say so. `likely`: the clocks or a loss of events leave a doubt.
    pub(crate) confidence: &'static str,
    /// All of it in words.
    pub(crate) sentence: String,
}

/// The pair as seen from one of the two hosts.
struct View<'a> {
    ours: &'a Side,
    theirs: Option<&'a Side>,
    /// Whether the peer is the other host at all.
    belongs: Belongs,
    /// Of the other host's listener, about us.
    knocked: Option<&'a Handshake>,
    us: &'a str,
    them: &'a str,
    /// The other host's instants on our clock.
    shift: i128,
    /// We are the second host.
    second: bool,
}

struct Court<'a> {
    clocks: &'a Clocks,
    sure: bool,
    other: &'a Ends,
}

/// Every verdict, in order of time.
pub(super) fn all(
    a: &Ends,
    b: &Ends,
    pairs: &[Pair<'_>],
    clocks: &Clocks,
    names: &[String; 2],
    sure: bool,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let offset = i128::from(clocks.offset_ns);
    for (ours, theirs) in pairs {
        for second in [false, true] {
            let (side, other, host, us, them) = if second {
                (theirs, ours, a, &names[1], &names[0])
            } else {
                (ours, theirs, b, &names[0], &names[1])
            };
            let Some(side) = side else { continue };
            // Trouble with a third host is not theirs to explain.
            let belongs = match other {
                Some(_) => Belongs::Surely,
                None => host.addresses.belongs(side.peer),
            };
            if belongs == Belongs::No {
                continue;
            }
            let view = View {
                ours: side,
                theirs: *other,
                belongs,
                knocked: knock(host, side),
                us,
                them,
                shift: if second { offset } else { -offset },
                second,
            };
            let court = Court {
                clocks,
                sure,
                other: host,
            };
            court.judge(&view, &mut verdicts);
        }
    }
    verdicts.sort_by_key(|v| v.wall_ns);
    verdicts
}

/// What the other host's listener saw of our handshake.
fn knock<'a>(other: &'a Ends, side: &Side) -> Option<&'a Handshake> {
    names_of(side.peer)
        .into_iter()
        .find_map(|listener| other.handshakes.get(&(listener, side.local)))
}

/// Where a listener may be bound that an address leads to: a listener can be bound to any address.
fn names_of(end: Endpoint) -> [Endpoint; 4] {
    let at = |address| Endpoint { address, ..end };
    [
        end,
        at(None),
        at(Some(Ipv4Addr::UNSPECIFIED.into())),
        at(Some(Ipv6Addr::UNSPECIFIED.into())),
    ]
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}

impl Court<'_> {
    fn judge(&self, view: &View<'_>, verdicts: &mut Vec<Verdict>) {
        self.handshake(view, verdicts);
        self.closing(view, verdicts);
    }

    /// Our connect, or the client that never got through.
    fn handshake(&self, view: &View<'_>, verdicts: &mut Vec<Verdict>) {
        let side = view.ours;
        let (us, them) = (view.us, view.them);
        if !side.active {
            return;
        }
        let knocked = view.knocked.copied().unwrap_or_default();
        let began = side.syn_sent.unwrap_or(side.first);
        let (repeats, n) = (side.syn_repeats, times(side.syn_repeats));
        let mut say = |segment, way, repeated, exact, what| {
            verdicts.push(self.verdict(view, segment, way, repeated, began, exact, what));
        };
        if knocked.answered || knocked.accept_drops > 0 {
            let after = match knocked.synack_repeats {
                0 => String::new(),
                n => format!(", so its SYN-ACK was repeated {}", times(n)),
            };
            say(
                "accept queue",
                (us, them),
                repeats.max(knocked.synack_repeats),
                true,
                format!(
                    "nothing was lost: {them}'s accept queue was full when {us}'s handshake arrived{after}"
                ),
            );
            return;
        }
        if repeats == 0 {
            if knocked.synack_repeats > 0 && side.established.is_some() {
                say(
                    "final ACK",
                    (us, them),
                    knocked.synack_repeats,
                    true,
                    format!(
                        "{us} took itself for connected, but its final ACK was lost on its way to \
                         {them}, which repeated its SYN-ACK {}",
                        times(knocked.synack_repeats)
                    ),
                );
            }
            return;
        }
        if knocked.syn_drops > 0 {
            say(
                "SYN queue",
                (us, them),
                repeats,
                true,
                format!(
                    "nothing was lost: {them}'s SYN queue was full when {us}'s SYN arrived, so it was \
                     repeated {n}"
                ),
            );
            return;
        }
        if knocked.synack_repeats + knocked.cookies > 0 {
            let theirs = match knocked.synack_repeats {
                0 => "which was a cookie and is not repeated".to_owned(),
                n => format!("which {them} repeated {}", times(n)),
            };
            say(
                "SYN-ACK",
                (them, us),
                repeats,
                true,
                format!(
                    "{us}'s SYN reached {them}, whose SYN-ACK was lost on its way back: {us} repeated \
                     its SYN {n}, and so the answer, {theirs}"
                ),
            );
            return;
        }
        let (refused, elsewhere, cookies) =
            self.counted(view, began, side.established.unwrap_or(side.last));
        if refused > 0 {
            say(
                "accept queue",
                (us, them),
                repeats,
                false,
                format!(
                    "{them}'s accept queue was full when {us}'s SYN was repeated ({n}): its kernel \
                     refused {refused} in that time"
                ),
            );
        } else if cookies > 0 {
            say(
                "SYN or SYN-ACK",
                (us, them),
                repeats,
                false,
                format!(
                    "{us}'s SYN was repeated {n}, so it or its answer was lost: {them} answered \
                     {cookies} SYNs with cookies in that time, which leave no trace one by one"
                ),
            );
        } else {
            let arrived = match view.theirs.and_then(|s| s.established) {
                Some(_) => "until one of them arrived",
                None => "and none is known to have arrived",
            };
            let perhaps = match view.belongs {
                Belongs::Perhaps => format!(
                    "; that {} is {them}'s is inferred: it listens on that port, and its recording \
                     shows no address",
                    side.peer
                ),
                // Its listener was not seen full, but nobody looked at that moment.
                _ if elsewhere > 0 => format!(
                    "; or it met a full accept queue, for which {them}'s kernel refused {elsewhere} \
                     segments in that time"
                ),
                Belongs::Surely | Belongs::No => String::new(),
            };
            say(
                "SYN",
                (us, them),
                repeats,
                view.belongs == Belongs::Surely && elsewhere == 0,
                format!(
                    "{us}'s SYN was lost on its way to {them}: it was repeated {n}, {arrived}; {them} \
                     repeated no SYN-ACK{perhaps}"
                ),
            );
        }
    }

    /// Our FIN is sent again: did it arrive?
    fn closing(&self, view: &View<'_>, verdicts: &mut Vec<Verdict>) {
        let side = view.ours;
        let (us, them) = (view.us, view.them);
        let Some(repeat) = side.first_fin_repeat else {
            return;
        };
        let began = side.fin_sent.unwrap_or(repeat);
        let n = times(side.fin_repeats);
        let (which, ack) = if side.closed_first {
            ("first FIN", "ACK of the first FIN")
        } else {
            ("second FIN", "last ACK")
        };
        let arrived = view.theirs.and_then(|s| s.fin_arrived);
        let late = arrived.and_then(|at| self.clocks.late(view.second, began, at));
        let doubt = match arrived {
            Some(_) if late.is_none() => {
                Some("the hosts' clocks cannot be compared, so which is not known".to_owned())
            }
            None if view.theirs.is_some_and(|s| s.orphaned) => Some(format!(
                "{them}'s process had closed already, and its kernel does not tell which"
            )),
            _ => None,
        };
        if let Some(why) = doubt {
            let either = if side.closed_first {
                "first FIN or its ACK"
            } else {
                "second FIN or last ACK"
            };
            verdicts.push(self.verdict(
                view,
                either,
                (us, them),
                side.fin_repeats,
                began,
                false,
                format!(
                    "{us}'s {which} was repeated {n}, so it or its acknowledgement was lost: {why}"
                ),
            ));
            return;
        }
        match late {
            // Long before it was repeated: the first copy came through.
            Some(late) if 2 * late.by < repeat - began => {
                verdicts.push(self.verdict(
                    view,
                    ack,
                    (them, us),
                    side.fin_repeats,
                    began,
                    late.sure,
                    format!(
                        "{us}'s {which} reached {them}, but its acknowledgement was lost on its way \
                         back: {us} repeated the FIN {n}"
                    ),
                ));
            }
            Some(late) => {
                let by = late.by.clamp(0, i64::MAX.into()) as u64;
                verdicts.push(self.verdict(
                    view,
                    which,
                    (us, them),
                    side.fin_repeats,
                    began,
                    late.sure && side.fin_sent.is_some(),
                    format!(
                        "{us}'s {which} was lost on its way to {them}: it was repeated {n} and arrived \
                         {} after it was first sent",
                        crate::report::units::span(std::time::Duration::from_nanos(by))
                    ),
                ));
            }
            None => {
                let knows = view.theirs.is_some();
                let still = if knows {
                    format!("{them} still takes the connection for open")
                } else {
                    format!("{them} has no such connection")
                };
                verdicts.push(self.verdict(
                    view,
                    which,
                    (us, them),
                    side.fin_repeats,
                    began,
                    knows,
                    format!("{us}'s {which} was repeated {n} and never reached {them}: {still}"),
                ));
            }
        }
    }

    /// What the other host's kernel refused for want of room in an accept queue, and what it answered
    /// with cookies, between two of our instants. Its counters are those of all of its listeners: an
    /// overflow is ours (the first number) only where our listener was seen full, or nobody looked at
    /// any; else it may be another's (the second).
    fn counted(&self, view: &View<'_>, from: i128, to: i128) -> (u64, u64, u64) {
        // Its counters are read, and its listeners looked at, once a second.
        const READ: i128 = 1_500_000_000;
        let within = |at: i128| (from..=to + READ).contains(&(at + view.shift));
        let (mut refused, mut cookies) = (0, 0);
        for counted in self.other.counted.iter().filter(|c| within(c.at)) {
            refused += counted.overflows;
            cookies += counted.cookies;
        }
        let looks = names_of(view.ours.peer)
            .into_iter()
            .find_map(|listener| self.other.full.get(&listener));
        match looks {
            Some(full) if !full.iter().any(|at| within(*at)) => (0, refused, cookies),
            _ => (refused, 0, cookies),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "they are the fields of a verdict"
    )]
    fn verdict(
        &self,
        view: &View<'_>,
        segment: &'static str,
        (from, to): (&str, &str),
        repeated: u32,
        began: i128,
        exact: bool,
        what: String,
    ) -> Verdict {
        let side = view.ours;
        let (one, other) = if view.second {
            (side.peer, side.local)
        } else {
            (side.local, side.peer)
        };
        let connection = format!("{one} to {other}");
        let wall = if view.second {
            self.clocks.on_first(began)
        } else {
            began
        };
        let wall_ns = wall.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        Verdict {
            sentence: format!("{connection}, {}: {what}", instant(wall_ns)),
            connection,
            segment,
            from: from.to_owned(),
            to: to.to_owned(),
            repeated,
            wall_ns,
            confidence: if exact && self.sure {
                "exact"
            } else {
                "likely"
            },
        }
    }
}
