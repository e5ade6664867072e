//! How long the kernel goes on repeating: its own arithmetic, with this host's sysctls.
//!
//! From `tcp_write_timeout`, `tcp_retransmit_timer`, `tcp_model_timeout` and `tcp_orphan_retries`
//! in net/ipv4/tcp_timer.c, 5.10 to 7.x.

use std::time::Duration;

use crate::finding::Patience;
use crate::input::{NetnsFacts, Retransmit};
use crate::tcp::TcpState;

/// TCP_RTO_MAX: the kernel doubles the timeout up to this, unless it is told otherwise.
const RTO_MAX: Duration = Duration::from_secs(120);

/// TCP_RTO_MIN: the base of the model by which data and FINs time out.
const RTO_MIN: Duration = Duration::from_millis(200);

/// TCP_TIMEOUT_INIT: the first timeout of a handshake.
const FIRST: Duration = Duration::from_secs(1);

/// `tcp_orphan_retries` of 0 means this many (`tcp_orphan_retries()` in the kernel).
const ORPHAN_RETRIES: u32 = 8;

/// The longest timeout of a socket here: `tcp_rto_max_ms` from Linux 6.15 on. A socket takes it when it is
/// made, a child from its listener, and may ask for another by TCP_RTO_MAX_MS; that is not read.
/// SYN-ACKs heed it only from 6.19 on (`tcp_reqsk_timeout`).
pub(crate) fn rto_max(facts: Option<&NetnsFacts>) -> Duration {
    facts
        .and_then(|f| f.tcp_rto_max_ms)
        .map_or(RTO_MAX, |ms| Duration::from_millis(ms.into()))
}

/// After how long the kernel gives up with this limit: the sum of a timeout that doubles from
/// `base` up to `max`, `retries` times repeated (`tcp_model_timeout`). The limits are compared as
/// time, not as a number of repetitions.
fn model(retries: u32, base: Duration, max: Duration) -> Duration {
    let threshold = (max.as_millis() / base.as_millis().max(1))
        .checked_ilog2()
        .unwrap_or(0);
    let doublings = retries.min(threshold);
    let doubled = base * ((2 << doublings) - 1);
    doubled + max * retries.saturating_sub(threshold)
}

/// Of a socket that repeats data or a FIN.
pub(crate) fn of_connection(
    facts: Option<&NetnsFacts>,
    orphan: bool,
    user_timeout: Option<Duration>,
) -> Patience {
    let limit = if orphan {
        facts.and_then(|f| f.tcp_orphan_retries).map(|n| {
            let n = if n == 0 { ORPHAN_RETRIES } else { n };
            ("tcp_orphan_retries", n)
        })
    } else {
        facts
            .and_then(|f| f.tcp_retries2)
            .map(|n| ("tcp_retries2", n))
    };
    let max = rto_max(facts);
    let by_limit = limit.map(|(_, n)| model(n, RTO_MIN, max));
    let by_limit = match by_limit {
        Some(model) if orphan && facts.and_then(|f| f.tcp_orphan_retries) == Some(0) => {
            Some(model.min(at_the_ceiling(max)))
        }
        other => other,
    };
    Patience {
        limit: limit.filter(|_| user_timeout.is_none()),
        linear: None,
        user_timeout,
        gives_up_after: user_timeout.or(by_limit),
    }
}

/// When the first timeout as long as `max` fires: with `tcp_orphan_retries` of 0 that ends an orphan,
/// which counts as alive only while its timeout is shorter (`tcp_write_timeout`).
fn at_the_ceiling(max: Duration) -> Duration {
    let mut before = Duration::ZERO;
    let mut timeout = RTO_MIN;
    while timeout < max {
        before += timeout;
        timeout *= 2;
    }
    before + max
}

/// Of a socket whose window probes are answered: for ever, but for an orphan, which ends when the
/// wait between two probes would exceed [`RTO_MAX`], after some five minutes.
pub(crate) fn of_answered_probes(user_timeout: Option<Duration>) -> Patience {
    Patience {
        limit: None,
        linear: None,
        user_timeout,
        gives_up_after: user_timeout,
    }
}

/// Of a socket in SYN_SENT. From Linux 6.5 on the first `tcp_syn_linear_timeouts` repetitions come
/// without doubling, and count besides the others.
pub(crate) fn of_connect(facts: Option<&NetnsFacts>, x: &Retransmit) -> Patience {
    let linear = facts
        .and_then(|f| f.tcp_syn_linear_timeouts)
        .filter(|_| x.state == TcpState::SynSent);
    let own = x.syn_retries.map(|n| ("TCP_SYNCNT", u32::from(n)));
    let limit = own.or_else(|| {
        facts
            .and_then(|f| f.tcp_syn_retries)
            .map(|n| ("tcp_syn_retries", n))
    });
    let by_limit =
        limit.map(|(_, n)| FIRST * linear.unwrap_or(0) + model(n, FIRST, rto_max(facts)));
    Patience {
        limit: limit.filter(|_| x.user_timeout.is_none()),
        linear,
        user_timeout: x.user_timeout,
        gives_up_after: x.user_timeout.or(by_limit),
    }
}

/// Of a half-open connection on a listener, whose own setting is `own`.
pub(crate) fn of_synack(facts: Option<&NetnsFacts>, own: Option<u8>) -> Patience {
    let limit = own.map(|n| ("TCP_SYNCNT", u32::from(n))).or_else(|| {
        facts
            .and_then(|f| f.tcp_synack_retries)
            .map(|n| ("tcp_synack_retries", n))
    });
    Patience {
        limit,
        linear: None,
        user_timeout: None,
        gives_up_after: limit.map(|(_, n)| model(n, FIRST, RTO_MAX)),
    }
}

/// From this repetition to the next: twice the timeout that fired, but for linear SYNs. Whether a lower
/// ceiling is in force shows when the timeout has reached it: a socket may be older than the sysctl.
pub(crate) fn next_timeout(
    facts: Option<&NetnsFacts>,
    x: &Retransmit,
    linear: Option<u32>,
) -> Option<Duration> {
    let rto = x.rto?;
    Some(if linear.is_some_and(|n| u32::from(x.attempt) <= n) {
        rto
    } else {
        let max = rto_max(facts);
        let reached = rto <= max && rto >= max - max / 100;
        if reached { max } else { (rto * 2).min(RTO_MAX) }
    })
}

/// From the SYN-ACK's repetition on to the next, when its timer has fired `timeouts` times.
pub(crate) fn next_synack(timeouts: u32) -> Duration {
    (FIRST * (1 << timeouts.min(16))).min(RTO_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of Documentation/networking/ip-sysctl.rst: 924.6 s for tcp_retries2 = 15, 127 s
    /// for six SYNs, 63 s for five SYN-ACKs; and 102.2 s for an orphan's eight.
    #[test]
    fn the_kernel_documents_these() {
        assert_eq!(model(15, RTO_MIN, RTO_MAX), Duration::from_millis(924_600));
        assert_eq!(model(8, RTO_MIN, RTO_MAX), Duration::from_millis(102_200));
        assert_eq!(model(6, FIRST, RTO_MAX), Duration::from_secs(127));
        assert_eq!(model(5, FIRST, RTO_MAX), Duration::from_secs(63));
        assert_eq!(model(0, FIRST, RTO_MAX), Duration::from_secs(1));
        assert!(model(255, FIRST, RTO_MAX) > Duration::from_secs(28_000));
    }

    /// With `tcp_rto_max_ms` of a second: 0.2, 0.4 and 0.8 s, then a second each (`tcp_model_timeout`
    /// sums 2 << 2 less one times 200 ms, and a second for each of the other 13).
    #[test]
    fn a_lower_ceiling_ends_it_earlier() {
        let facts = NetnsFacts {
            tcp_retries2: Some(15),
            tcp_rto_max_ms: Some(1000),
            ..NetnsFacts::default()
        };
        let patience = of_connection(Some(&facts), false, None);
        let expected = Duration::from_millis(1400 + 13_000);
        assert_eq!(patience.gives_up_after, Some(expected));
        let patience = of_connection(None, false, None);
        assert_eq!(patience.gives_up_after, None);
    }

    /// 0.2, 0.4, 0.8, 1.6, 3.2 and 6.4 s, and then the first of ten seconds, by which it no longer counts
    /// as alive; of 120 s it is not the first to end it.
    #[test]
    fn an_orphan_ends_at_the_ceiling() {
        let facts = |max| NetnsFacts {
            tcp_orphan_retries: Some(0),
            tcp_rto_max_ms: max,
            ..NetnsFacts::default()
        };
        let ends = |max| of_connection(Some(&facts(max)), true, None).gives_up_after;
        assert_eq!(ends(Some(10_000)), Some(Duration::from_millis(22_600)));
        assert_eq!(ends(Some(120_000)), Some(Duration::from_millis(102_200)));
        assert_eq!(ends(None), Some(Duration::from_millis(102_200)));
    }
}
