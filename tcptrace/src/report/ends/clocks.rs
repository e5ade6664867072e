//! How far the clocks of two hosts are apart, by the connections between them: what one host sends the
//! other receives later, never earlier. The quickest way there and the quickest way back bound the
//! difference between them, as NTP has it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Pair;
use crate::report::units::span;

/// The difference, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Clocks {
    /// The second host's wall clock minus the first's.
    pub(crate) offset_ns: i64,
    /// The true difference is within this; absent when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) within_ns: Option<u64>,
    /// Exchanges that it rests on.
    pub(crate) exchanges: u64,
    /// Both recordings are of one boot of one kernel: there is one clock.
    pub(crate) same_clock: bool,
    /// The least that anything took from the first host to the second, by their two clocks, and back.
    #[serde(skip)]
    quickest: [Option<i128>; 2],
}

/// How much later something arrived than it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late {
    pub(super) by: i128,
    /// Measured against something that went the same way, so that no offset enters.
    pub(super) sure: bool,
}

impl Clocks {
    pub(super) fn compare(pairs: &[Pair<'_>], same_boot: bool) -> Self {
        let mut there: Option<i128> = None;
        let mut back: Option<i128> = None;
        let mut exchanges = 0;
        let mut note = |least: &mut Option<i128>, sent: Option<i128>, got: Option<i128>| {
            if let (Some(sent), Some(got)) = (sent, got) {
                exchanges += 1;
                let took = got - sent;
                *least = Some(least.map_or(took, |least| least.min(took)));
            }
        };
        for (a, b) in pairs {
            let (Some(a), Some(b)) = (a, b) else { continue };
            // The final ACK: sent when the connecting side is established, and what establishes the
            // other. Lost or not, it is later there.
            if a.active {
                note(&mut there, a.established, b.established);
            } else if b.active {
                note(&mut back, b.established, a.established);
            }
            // Each FIN, and its acknowledgement. A FIN that was sent again may have been lost, or
            // not: it must not tell of the clocks that shall tell which.
            if a.fin_repeats == 0 {
                note(&mut there, a.fin_sent, b.fin_arrived);
            }
            if b.fin_repeats == 0 {
                note(&mut back, b.fin_sent, a.fin_arrived);
            }
            note(&mut back, b.fin_arrived, a.fin_acked);
            note(&mut there, a.fin_arrived, b.fin_acked);
        }
        let clamp = |ns: i128| ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        let (offset, within) = match (there, back) {
            _ if same_boot => (0, Some(0)),
            // there = delay + offset, back = delay - offset.
            (Some(there), Some(back)) => ((there - back) / 2, Some((there + back).max(0) / 2)),
            (Some(there), None) => (there, None),
            (None, Some(back)) => (-back, None),
            (None, None) => (0, None),
        };
        Self {
            offset_ns: clamp(offset),
            within_ns: within.map(|ns| clamp(ns).unsigned_abs()),
            exchanges,
            same_clock: same_boot,
            quickest: [there, back],
        }
    }

    /// An instant of the second host's clock on the first's.
    pub(super) fn on_first(&self, at: i128) -> i128 {
        at - i128::from(self.offset_ns)
    }

    /// How late something was that one host, the second or the first, sent at `sent` and the other
    /// received at `arrived`, each by its own clock. Nothing, when the clocks cannot be compared.
    pub(super) fn late(&self, second: bool, sent: i128, arrived: i128) -> Option<Late> {
        let took = arrived - sent;
        if self.same_clock {
            return Some(Late {
                by: took,
                sure: true,
            });
        }
        if let Some(quickest) = self.quickest[usize::from(second)] {
            return Some(Late {
                by: took - quickest,
                sure: true,
            });
        }
        let offset = i128::from(self.offset_ns);
        (self.exchanges > 0).then_some(Late {
            by: took + if second { offset } else { -offset },
            sure: false,
        })
    }
}

impl fmt::Display for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.same_clock {
            return f.write_str("both recordings are of one boot, so they share a clock");
        }
        if self.exchanges == 0 {
            return f.write_str(
                "how far their clocks are apart is not known, as nothing that one of them sent and the \
                 other received is in both",
            );
        }
        let offset = span(Duration::from_nanos(self.offset_ns.unsigned_abs()));
        let word = if self.offset_ns < 0 {
            "behind"
        } else {
            "ahead"
        };
        write!(f, "the second's clock is {offset} {word}")?;
        match self.within_ns {
            Some(within) => write!(f, " (within {})", span(Duration::from_nanos(within))),
            None => f.write_str(" at most: only one direction was seen"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ends::Side;

    #[test]
    fn the_difference_of_clocks_is_found_and_bounded() {
        const MS: i128 = 1_000_000;
        // The second host's clock is 5 s ahead; a way takes 10 ms, the quickest back 20 ms.
        let ahead = 5_000 * MS;
        let client = Side {
            active: true,
            established: Some(100 * MS),
            fin_sent: Some(200 * MS),
            fin_arrived: Some(240 * MS),
            ..Side::default()
        };
        let server = Side {
            established: Some(110 * MS + ahead),
            fin_arrived: Some(215 * MS + ahead),
            fin_sent: Some(220 * MS + ahead),
            ..Side::default()
        };
        let clocks = Clocks::compare(&[(Some(&client), Some(&server))], false);
        let off = i128::from(clocks.offset_ns) - ahead;
        assert!(
            off.abs() <= i128::from(clocks.within_ns.unwrap()),
            "{clocks:?}"
        );
        assert_eq!(clocks.within_ns, Some(15_000_000));
        assert_eq!(clocks.exchanges, 3);
        assert!(clocks.to_string().contains("ahead"), "{clocks}");
        // The same way as the quickest, and half a second later than that.
        for (second, sent, arrived) in [(false, 0, 510 * MS + ahead), (true, ahead, 520 * MS)] {
            let late = clocks.late(second, sent, arrived).unwrap();
            assert!(late.sure && late.by == 500 * MS, "{late:?}");
        }
        let nothing = Clocks::compare(&[], false);
        assert_eq!(nothing.late(false, 0, 1), None);
    }

    #[test]
    fn a_fin_that_was_sent_again_tells_nothing_its_acknowledgement_does() {
        const MS: i128 = 1_000_000;
        let client = Side {
            active: true,
            established: Some(0),
            fin_sent: Some(100 * MS),
            fin_repeats: 1,
            fin_acked: Some(302 * MS),
            ..Side::default()
        };
        let server = Side {
            established: Some(MS),
            fin_arrived: Some(301 * MS),
            ..Side::default()
        };
        let clocks = Clocks::compare(&[(Some(&client), Some(&server))], false);
        assert_eq!(
            (clocks.offset_ns, clocks.within_ns, clocks.exchanges),
            (0, Some(1_000_000), 2)
        );
    }
}
