//! Sentences about what goes wrong where connections close.

use std::time::Duration;

use super::{human, many};
use crate::finding::{
    Cause, FinWait2Evidence, Finding, PortEvidence, ResetEvidence, Side, Spread, TimeWaitEvidence,
};
use crate::units::MonoNs;

/// Names of the signals that end processes (signal(7), x86 and arm numbers).
fn signal_name(signal: u8) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

fn median(spread: Option<Spread>) -> u64 {
    spread.map_or(0, |spread| spread.median)
}

fn lasting(ns: u64) -> String {
    human(Duration::from_nanos(ns))
}

impl Finding {
    pub(super) fn time_wait(&self, e: &TimeWaitEvidence) -> String {
        let n = many(self.count, "connection", "connections");
        let why = match self.cause {
            Some(Cause::ShortConnections) => {
                "each connection carries one exchange and is closed".to_owned()
            }
            Some(Cause::IdleTimeout) => {
                format!("it closes after {} of silence", lasting(median(e.idle)))
            }
            Some(Cause::RequestLimit) => {
                format!("it closes after {} exchanges", median(e.exchanges))
            }
            _ => "why it closes first cannot be told".to_owned(),
        };
        let limit = match (e.max_tw_buckets, e.overflows) {
            (Some(max), 0) => format!("; net.ipv4.tcp_max_tw_buckets is {max}"),
            (Some(max), n) => format!(
                "; {} skipped TIME_WAIT because net.ipv4.tcp_max_tw_buckets ({max}) is reached",
                many(n, "connection", "connections")
            ),
            (None, _) => String::new(),
        };
        format!(
            "{n}{} in TIME_WAIT, {:.0} more a second: {} closes first; {why}{limit}",
            self.place(),
            e.per_second,
            self.who(),
        )
    }

    pub(super) fn time_wait_advice(&self, e: &TimeWaitEvidence) -> String {
        let client = e.closes_first == Side::Client;
        let text = match (self.cause, client) {
            (Some(Cause::ShortConnections), true) => {
                "keep connections open and use them again: a pool, HTTP keep-alive, and a server \
                 that allows it"
            }
            (Some(Cause::ShortConnections), false) => {
                "let connections carry more than one request: HTTP keep-alive on both sides \
                 (nginx: keepalive_timeout above 0; towards backends `keepalive` in upstream)"
            }
            (Some(Cause::IdleTimeout), true) => {
                "let the pool keep idle connections longer, or let the server's shorter timeout \
                 close them: who closes first has the TIME_WAIT"
            }
            (Some(Cause::IdleTimeout), false) => {
                "raise the server's idle timeout above the clients' (nginx: keepalive_timeout), so \
                 that clients close first and have the TIME_WAIT"
            }
            (Some(Cause::RequestLimit), true) => {
                "raise the client's limit of requests per connection"
            }
            (Some(Cause::RequestLimit), false) => {
                "raise the server's limit of requests per connection (nginx: keepalive_requests, \
                 100 by default, 1000 since 1.19.10)"
            }
            _ => "find why this side closes first; keep-alive on both sides avoids the close",
        };
        let cost = if client {
            let reuse = match (e.tw_reuse, e.timestamps) {
                (Some(1), Some(1..)) => "net.ipv4.tcp_tw_reuse is 1, so that ports are used again",
                (Some(_), Some(0)) => {
                    "each holds a local port for 60 s (net.ipv4.tcp_tw_reuse would need \
                     tcp_timestamps, which are off)"
                }
                (Some(value), _) => {
                    return format!(
                        "{text}; each holds a local port for 60 s (net.ipv4.tcp_tw_reuse is \
                         {value}; 1 lets new connections take them); never SO_LINGER 0, which \
                         resets and loses data"
                    );
                }
                _ => "each holds a local port for 60 s",
            };
            format!("{reuse}; never SO_LINGER 0, which resets and loses data")
        } else {
            "on this side TIME_WAIT costs a little memory and no port or descriptor; do not \
             avoid it by SO_LINGER 0, which resets and loses data"
                .to_owned()
        };
        match (e.max_tw_buckets, e.overflows) {
            (Some(max), 1..) => {
                format!("{text}; raise net.ipv4.tcp_max_tw_buckets ({max}); {cost}")
            }
            _ => format!("{text}; {cost}"),
        }
    }

    pub(super) fn ports(&self, e: &PortEvidence) -> String {
        let share = match (e.available, e.percent) {
            (Some(available), Some(percent)) => {
                format!("{} of {available} local ports ({percent} %)", e.used)
            }
            _ => many(e.used, "local port", "local ports"),
        };
        let mut text = format!(
            "{} uses {share}{}: {} and {} in TIME_WAIT",
            self.who(),
            self.place(),
            many(e.live, "live connection", "live connections"),
            e.time_wait,
        );
        if e.refused > 0 {
            text += &format!(
                "; {} failed with EADDRNOTAVAIL",
                many(e.refused, "connect", "connects")
            );
        } else if let Some(left) = e.exhausted_in {
            text += &format!("; at this rate none is left in {}", human(left));
        }
        text
    }

    pub(super) fn ports_advice(&self, e: &PortEvidence) -> String {
        let reuse = match (e.tw_reuse, e.timestamps) {
            _ if e.time_wait_reusable || e.time_wait == 0 => String::new(),
            (Some(_), Some(0)) => "; turn net.ipv4.tcp_timestamps on (0) and set \
                                      net.ipv4.tcp_tw_reuse to 1"
                .to_owned(),
            (Some(value), _) if value != 1 => {
                format!("; set net.ipv4.tcp_tw_reuse to 1 (it is {value})")
            }
            _ => String::new(),
        };
        let range = e.range.map_or_else(String::new, |(first, last)| {
            format!(
                "; widen net.ipv4.ip_local_port_range ({first} {last}), or use more addresses on \
                 either side"
            )
        });
        let pool = if e.time_wait > e.live {
            "use connections again (a pool, keep-alive) instead of opening one for each request"
        } else {
            "find why so many connections to one endpoint are open at once, and bound the pool"
        };
        format!("{pool}{reuse}{range}")
    }

    pub(super) fn fin_wait2(&self, e: &FinWait2Evidence, now: MonoNs) -> String {
        let n = many(self.count, "connection", "connections");
        match self.cause {
            Some(Cause::Orphan) => format!(
                "{n}{} that {} has closed wait for the peer's FIN (FIN_WAIT2, no descriptor)",
                self.place(),
                self.who(),
            ),
            _ => {
                let silent = e
                    .silent
                    .map_or_else(String::new, |it| format!("; silent for {}", human(it)));
                format!(
                    "{} has shut down {n}{} for sending and waits for a peer that does not close, \
                     the oldest for {}{silent}",
                    self.who(),
                    self.place(),
                    human(now.since(self.since)),
                )
            }
        }
    }

    pub(super) fn fin_wait2_advice(&self, e: &FinWait2Evidence) -> String {
        if self.cause == Some(Cause::Orphan) {
            let timeout = e
                .fin_timeout
                .map_or_else(String::new, |s| format!(" after {s} s"));
            return format!(
                "the peers keep their side open (they sit in CLOSE_WAIT): see what they leave \
                 unclosed; the kernel drops ours{timeout} (net.ipv4.tcp_fin_timeout), and no \
                 descriptor is held"
            );
        }
        "no timeout of the kernel applies while the descriptor is open: after shutdown(SHUT_WR) \
         read with a timeout, then close; net.ipv4.tcp_fin_timeout helps only after the close"
            .to_owned()
    }

    pub(super) fn resets(&self, e: &ResetEvidence) -> String {
        let n = many(self.count, "connection", "connections");
        let (place, who) = (self.place(), self.who());
        let share = format!(
            "; {} of {} lately",
            e.recent,
            many(e.closes, "close", "closes")
        );
        let what = match self.cause {
            Some(Cause::Refused) => format!("{n}{place} of {who} refused by the peer"),
            Some(Cause::ByPeer) => format!("the peers reset {n}{place} of {who}"),
            Some(Cause::UnreadData) => {
                let bytes = e.unread.map_or_else(String::new, |n| {
                    format!(" (up to {})", many(n.into(), "byte", "bytes"))
                });
                format!("{who} closed {n}{place} with data unread{bytes}, which resets them")
            }
            Some(Cause::LingerZero) => {
                format!("{who} closed {n}{place} by a reset (SO_LINGER with time 0)")
            }
            Some(Cause::ListenOverflow) => {
                format!("{n}{place} reset because the accept queue of {who} was full")
            }
            Some(Cause::NoSocket) => format!(
                "{} for {} answered with a reset: nobody has such a socket",
                many(self.count, "segment", "segments"),
                self.service,
            ),
            Some(Cause::Memory) => {
                format!("the kernel reset {n}{place} of {who} for want of memory or of orphans")
            }
            Some(Cause::AdminKill) => format!("{n}{place} of {who} killed (ss -K or its like)"),
            Some(Cause::ProcessExit) => {
                let how = e.signal.map_or_else(
                    || "exited".to_owned(),
                    |signal| format!("was ended by {}", signal_name(signal)),
                );
                format!("{who} {how} and left {n}{place} with data unread or not accepted")
            }
            _ => format!("{n}{place} of {who} reset, why cannot be told"),
        };
        format!("{what}{share}")
    }

    pub(super) fn resets_advice(&self, e: &ResetEvidence) -> String {
        match self.cause {
            Some(Cause::Refused) => "nobody listens there: see whether the service runs and binds \
                                     that address; retry with backoff"
                .to_owned(),
            Some(Cause::ByPeer) => {
                "run tcptrace on the peer, or look at its logs and at what lies \
                                    between: crash, timeout of a load balancer, unread data"
                    .to_owned()
            }
            Some(Cause::UnreadData) => "read until 0 before close, or shutdown(SHUT_WR), drain, \
                                        then close; the peer may lose the last answer to this \
                                        reset"
                .to_owned(),
            Some(Cause::LingerZero) => "remove SO_LINGER with time 0: it throws unsent data away \
                                        and makes the peer see ECONNRESET; TIME_WAIT is cheap"
                .to_owned(),
            Some(Cause::ListenOverflow) => {
                let value = e
                    .abort_on_overflow
                    .map_or_else(String::new, |value| format!(" (it is {value})"));
                format!(
                    "accept faster or raise the backlog of listen; net.ipv4.tcp_abort_on_overflow\
                     {value} turns a late answer into a reset, set it to 0"
                )
            }
            Some(Cause::NoSocket) => "see who still sends there: a service that moved, a health \
                                      check, a scan, or connections that this host has forgotten"
                .to_owned(),
            Some(Cause::Memory) => {
                let orphans = e.max_orphans.map_or_else(String::new, |value| {
                    format!(" (net.ipv4.tcp_max_orphans is {value})")
                });
                format!(
                    "see net.ipv4.tcp_mem and the orphans in /proc/net/sockstat{orphans}: find who \
                     closes with data unsent towards peers that do not answer"
                )
            }
            Some(Cause::AdminKill) => {
                "somebody kills connections on purpose: see who, and whether \
                                       that is still wanted"
                    .to_owned()
            }
            Some(Cause::ProcessExit) => {
                "see why it ended (its log, a core, the journal, dmesg for \
                                         the OOM killer); drain connections before exit"
                    .to_owned()
            }
            _ => "see the kernel's reason and the states in the evidence".to_owned(),
        }
    }
}
