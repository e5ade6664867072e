//! Rows of what goes wrong where connections close.

use std::time::Duration;

use super::{Rows, maybe, yes};
use crate::finding::text::human;
use crate::finding::{
    FinWait2Evidence, PortEvidence, ResetEvidence, Side, Spread, TimeWaitEvidence, Way,
};

fn spread(spread: Spread, text: impl Fn(u64) -> String) -> String {
    format!(
        "{} (from {} to {})",
        text(spread.median),
        text(spread.p10),
        text(spread.p90)
    )
}

fn lasting(ns: u64) -> String {
    human(Duration::from_nanos(ns))
}

pub(super) fn time_wait(e: &TimeWaitEvidence) -> Rows {
    let mut rows = Vec::new();
    let side = match e.closes_first {
        Side::Server => "the server",
        Side::Client => "the client",
        Side::Unknown => "not known",
    };
    rows.push(("closes first", side.to_owned()));
    rows.push(("a second", format!("{:.1}", e.per_second)));
    maybe(&mut rows, "in the namespace", e.namespace_sockets, |n| {
        n.to_string()
    });
    maybe(&mut rows, "tcp_max_tw_buckets", e.max_tw_buckets, |n| {
        n.to_string()
    });
    rows.push(("TCPTimeWaitOverflow", e.overflows.to_string()));
    rows.push(("closes measured", e.measured.to_string()));
    maybe(&mut rows, "lifetime", e.lifetime, |s| spread(s, lasting));
    maybe(&mut rows, "idle before close", e.idle, |s| {
        spread(s, lasting)
    });
    maybe(&mut rows, "exchanges", e.exchanges, |s| {
        spread(s, |n| n.to_string())
    });
    maybe(&mut rows, "tcp_tw_reuse", e.tw_reuse, |n| n.to_string());
    maybe(&mut rows, "tcp_timestamps", e.timestamps, |n| n.to_string());
    maybe(&mut rows, "inferred", e.inference, str::to_owned);
    rows
}

pub(super) fn ports(e: &PortEvidence) -> Rows {
    let mut rows = Vec::new();
    maybe(&mut rows, "source address", e.source, |it| it.to_string());
    rows.push(("live", e.live.to_string()));
    rows.push(("in TIME_WAIT", e.time_wait.to_string()));
    rows.push(("TIME_WAIT reusable", yes(e.time_wait_reusable)));
    let used = match (e.available, e.percent) {
        (Some(available), Some(percent)) => format!("{} of {available} ({percent} %)", e.used),
        _ => e.used.to_string(),
    };
    rows.push(("ports used", used));
    maybe(
        &mut rows,
        "ip_local_port_range",
        e.range,
        |(first, last)| format!("{first} to {last}"),
    );
    maybe(&mut rows, "reserved", e.reserved, |n| n.to_string());
    rows.push(("connects without a port", e.refused.to_string()));
    maybe(&mut rows, "exhausted in", e.exhausted_in, human);
    maybe(&mut rows, "tcp_tw_reuse", e.tw_reuse, |n| n.to_string());
    maybe(&mut rows, "tcp_timestamps", e.timestamps, |n| n.to_string());
    maybe(&mut rows, "inferred", e.inference, str::to_owned);
    rows
}

pub(super) fn fin_wait2(e: &FinWait2Evidence) -> Rows {
    let mut rows = vec![("oldest", human(e.oldest_age))];
    maybe(&mut rows, "silent for", e.silent, human);
    maybe(&mut rows, "counted by the kernel", e.counted, |n| {
        n.to_string()
    });
    maybe(&mut rows, "tcp_fin_timeout", e.fin_timeout, |n| {
        format!("{n} s")
    });
    maybe(&mut rows, "inferred", e.inference, str::to_owned);
    rows
}

pub(super) fn resets(e: &ResetEvidence) -> Rows {
    let direction = match e.direction {
        Way::Sent => "sent by this host",
        Way::Received => "received from the peer",
    };
    let mut rows = vec![
        ("direction", direction.to_owned()),
        ("lately", format!("{}, of {} closes", e.recent, e.closes)),
    ];
    for (reason, count) in &e.reasons {
        rows.push(("kernel's reason", format!("{reason} ({count})")));
    }
    maybe(&mut rows, "bytes unread", e.unread, |n| n.to_string());
    maybe(&mut rows, "signal", e.signal, |n| n.to_string());
    maybe(&mut rows, "killed by", e.killer, |pid| format!("pid {pid}"));
    maybe(
        &mut rows,
        "tcp_abort_on_overflow",
        e.abort_on_overflow,
        |n| n.to_string(),
    );
    maybe(&mut rows, "tcp_max_orphans", e.max_orphans, |n| {
        n.to_string()
    });
    maybe(&mut rows, "inferred", e.inference, str::to_owned);
    rows
}
