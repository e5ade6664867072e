//! What happened to one socket, bounded, its birth kept.

use crate::units::MonoNs;
use crate::world::Moment;

/// Moments kept per socket. A connection that opens, is accepted and closes has 8; the rest leaves
/// room for a dozen retransmissions.
pub(crate) const MOMENTS: usize = 24;

/// Of these many the oldest are the birth and are never pushed out: origin, handshake, accept.
const BIRTH: usize = 4;

/// Most sockets of a snapshot have one moment, and those that were seen to open have two until they
/// close: neither needs an allocation, of which a million would be dear.
#[derive(Clone, Debug)]
pub(super) enum Timeline {
    One([(MonoNs, Moment); 1]),
    Two([(MonoNs, Moment); 2]),
    Many(Vec<(MonoNs, Moment)>),
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self::Many(Vec::new())
    }

    /// Adds a moment; returns whether an older one was pushed out.
    pub(super) fn push(&mut self, at: MonoNs, moment: Moment) -> bool {
        let new = (at, moment);
        match self {
            Self::Many(moments) if moments.capacity() == 0 => *self = Self::One([new]),
            Self::One([first]) => *self = Self::Two([*first, new]),
            Self::Two([first, second]) => *self = Self::Many(vec![*first, *second, new]),
            Self::Many(moments) if moments.len() < MOMENTS => {
                if moments.len() == moments.capacity() {
                    // Most stay at their third or fourth moment.
                    let more = if moments.len() < BIRTH { 1 } else { BIRTH };
                    moments.reserve_exact(more);
                }
                moments.push(new);
            }
            Self::Many(moments) => {
                moments.remove(BIRTH);
                moments.push(new);
                return true;
            }
        }
        false
    }

    /// Forgets everything but keeps the allocation, for the next socket in the same slot.
    pub(super) fn clear(&mut self) {
        match self {
            Self::One(_) | Self::Two(_) => *self = Self::new(),
            Self::Many(moments) => moments.clear(),
        }
    }

    pub(super) fn moments(&self) -> &[(MonoNs, Moment)] {
        match self {
            Self::One(one) => one,
            Self::Two(two) => two,
            Self::Many(moments) => moments,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_birth_stays_and_the_end_stays() {
        let mut timeline = Timeline::new();
        for at in 0..100 {
            timeline.push(MonoNs(at), Moment::Destroyed);
        }
        let times: Vec<u64> = timeline.moments().iter().map(|(at, _)| at.0).collect();
        assert_eq!(times.len(), MOMENTS);
        assert_eq!(times[..4], [0, 1, 2, 3]);
        assert_eq!(times[23], 99);
        timeline.clear();
        assert!(timeline.moments().is_empty());
    }
}
