//! Which connection of one recording is which of the other: by its endpoints, and by time where a pair
//! of endpoints lived more than once.
//!
//! Invariant: clocks that are far apart, by a wrong time zone say, hide nothing: the connections whose
//! endpoints occur once tell roughly how far, before any time is compared.

use std::collections::BTreeMap;

use tcptrace_core::tcp::Endpoint;

use super::{Ends, Side};

/// The two sides of a connection, either of which may be missing.
pub(super) type Pair<'a> = (Option<&'a Side>, Option<&'a Side>);

/// Time between two lives of one pair of endpoints: a port comes back after TIME_WAIT at the earliest
/// where the clocks agree. That they do is known within a handshake that was repeated for some time.
const APART: i128 = 30_000_000_000;

/// Sides by their endpoints, as the first host calls them.
type Lives<'a> = BTreeMap<(Endpoint, Endpoint), Vec<&'a Side>>;

/// Every connection of both. `same_boot`: there is one clock.
pub(super) fn join<'a>(a: &'a Ends, b: &'a Ends, same_boot: bool) -> Vec<Pair<'a>> {
    let ours = lives(a, |side| (side.local, side.peer));
    let mut theirs = lives(b, |side| (side.peer, side.local));
    let ahead = if same_boot {
        0
    } else {
        roughly_ahead(&ours, &theirs)
    };
    let mut pairs = Vec::new();
    for (ends, sides) in ours {
        for side in sides {
            let other = theirs.get_mut(&ends).and_then(|lives| {
                let apart = |life: &Side| {
                    let (first, last) = (life.first - ahead, life.last - ahead);
                    (first - side.last).max(side.first - last).max(0)
                };
                let at = (0..lives.len()).min_by_key(|at| apart(lives[*at]))?;
                (apart(lives[at]) <= APART).then(|| lives.remove(at))
            });
            pairs.push((Some(side), other));
        }
    }
    for side in theirs.into_values().flatten() {
        pairs.push((None, Some(side)));
    }
    pairs
}

fn lives(ends: &Ends, named: impl Fn(&Side) -> (Endpoint, Endpoint)) -> Lives<'_> {
    let mut lives = Lives::new();
    for side in ends.sides.values() {
        if side.local.port.is_some() && side.peer.port.is_some() {
            lives.entry(named(side)).or_default().push(side);
        }
    }
    lives
}

/// How far the second host's clock is ahead, give or take [`APART`], by most of the connections whose
/// endpoints occur once; 0 where they do not agree.
fn roughly_ahead(ours: &Lives<'_>, theirs: &Lives<'_>) -> i128 {
    let mut found: Vec<i128> = ours
        .iter()
        .filter_map(|(ends, sides)| match (&sides[..], &theirs.get(ends)?[..]) {
            ([one], [other]) => difference(one, other),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    let Some(median) = found.get(found.len() / 2).copied() else {
        return 0;
    };
    let agree = found.iter().filter(|x| (*x - median).abs() <= APART);
    if 2 * agree.count() > found.len() {
        median
    } else {
        0
    }
}

/// By something that both ends see within a round trip, or a few when it is repeated.
fn difference(one: &Side, other: &Side) -> Option<i128> {
    let both = |a: Option<i128>, b: Option<i128>| Some(b? - a?);
    both(one.established, other.established)
        .or_else(|| both(one.fin_sent, other.fin_arrived))
        .or_else(|| both(one.fin_arrived, other.fin_sent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tcptrace_core::units::{Port, SockId};

    const SECOND: i128 = 1_000_000_000;

    /// A connection from port `from`, established at `at`.
    fn side(from: u16, active: bool, at: i128) -> Side {
        let end = |last, port| Endpoint {
            address: Some([10, 0, 0, last].into()),
            port: Some(Port(port)),
        };
        let (client, server) = (end(1, from), end(2, 443));
        let (local, peer) = if active {
            (client, server)
        } else {
            (server, client)
        };
        Side {
            local,
            peer,
            active,
            first: at,
            last: at + SECOND,
            established: Some(at),
            ..Side::default()
        }
    }

    fn ends(sides: impl IntoIterator<Item = Side>) -> Ends {
        Ends {
            sides: (1..).map(SockId).zip(sides).collect(),
            ..Ends::default()
        }
    }

    #[test]
    fn clocks_that_are_hours_apart_hide_no_connection() {
        for ahead in [0, 3600 * SECOND, -86_400 * SECOND] {
            // Port 40000 comes back after two minutes: by endpoints alone there is no telling.
            let lives = [(40_000, 0), (40_001, 5), (40_002, 9), (40_000, 120)];
            let a = ends(lives.map(|(port, at)| side(port, true, at * SECOND)));
            let b = ends(lives.map(|(port, at)| side(port, false, at * SECOND + ahead)));
            let pairs = join(&a, &b, false);
            assert_eq!(pairs.len(), 4);
            for pair in pairs {
                let (Some(one), Some(other)) = pair else {
                    panic!("{pair:?}");
                };
                assert_eq!(other.first - one.first, ahead);
            }
        }
    }

    #[test]
    fn one_clock_is_one_clock() {
        let a = ends([side(40_000, true, 0)]);
        let b = ends([side(40_000, false, 600 * SECOND)]);
        assert_eq!(join(&a, &b, true).len(), 2, "two lives");
        assert_eq!(join(&a, &b, false).len(), 1, "two clocks");
    }
}
