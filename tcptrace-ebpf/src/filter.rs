//! The in-kernel filter. Unused conditions are folded away by the verifier; what is not known yet
//! (a port that is still 0) passes.

use tcptrace_common::filter::{
    FAMILY, FILTER_WORDS, LOCAL, LOCAL_COUNT, MAX_PORTS, NETNS, REMOTE, REMOTE_COUNT,
};

use crate::sock::Identity;

#[unsafe(no_mangle)]
static FILTER: [u32; FILTER_WORDS] = [0; FILTER_WORDS];

#[inline(always)]
fn word(index: usize) -> u32 {
    // SAFETY: every caller's index is a constant below FILTER_WORDS.
    unsafe { (&raw const FILTER).cast::<u32>().add(index).read_volatile() }
}

#[inline(always)]
fn any(count: usize, first: usize, port: u16) -> bool {
    let count = word(count) as usize;
    if count == 0 || port == 0 {
        return true;
    }
    let mut index = 0;
    while index < MAX_PORTS {
        if index < count && word(first + index) == u32::from(port) {
            return true;
        }
        index += 1;
    }
    false
}

/// Whether any condition is set.
#[inline(always)]
pub(crate) fn active() -> bool {
    word(FAMILY) != 0 || word(NETNS) != 0 || word(LOCAL_COUNT) != 0 || word(REMOTE_COUNT) != 0
}

/// Whether the end of a socket is told: ports do not count, as a connecting socket's first event
/// passed before it had one, and user space must hear of its end.
#[inline(always)]
pub(crate) fn passes_at_end(identity: &Identity) -> bool {
    let family = word(FAMILY);
    let netns = word(NETNS);
    (family == 0 || family == if identity.v6 { 6 } else { 4 })
        && (netns == 0 || netns == identity.netns)
}

/// Whether a socket passes.
#[inline(always)]
pub(crate) fn passes(identity: &Identity) -> bool {
    passes_at_end(identity)
        && any(LOCAL_COUNT, LOCAL, identity.local_port)
        && any(REMOTE_COUNT, REMOTE, identity.peer_port)
}
