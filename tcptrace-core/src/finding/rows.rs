//! The evidence of a finding as rows of a table.

use crate::finding::text::human;
use crate::finding::{
    AcceptQueueEvidence, CallSite, CloseWaitEvidence, Evidence, FinRetransmitEvidence, Finding,
    SynQueueEvidence,
};
use crate::input::{EpollWatch, Frame, SocketCall, ThreadState};
use crate::units::MonoNs;

mod closing;
mod unanswered;

/// Names of the EPOLL* bits that are told.
const EPOLL: [(u32, &str); 8] = [
    (0x1, "IN"),
    (0x2, "PRI"),
    (0x4, "OUT"),
    (0x40, "RDNORM"),
    (0x2000, "RDHUP"),
    (1 << 28, "EXCLUSIVE"),
    (1 << 30, "ONESHOT"),
    (1 << 31, "ET"),
];

type Rows = Vec<(&'static str, String)>;

/// Functions of a stack that a row names: what is further out is rarely what one looks for.
const FUNCTIONS: usize = 8;

/// The name of the row that says where a socket was opened or closed, and the functions, innermost first:
/// `accept4 < serve (main.rs:12) < main`.
pub fn stack_row<'a>(
    call: &str,
    frames: impl ExactSizeIterator<Item = &'a Frame>,
    (count, samples): (u64, usize),
) -> (&'static str, String) {
    let name = match SocketCall::ALL.into_iter().find(|it| it.name() == call) {
        Some(SocketCall::Connect) => "connected in",
        Some(SocketCall::Close) => "closed in",
        Some(SocketCall::Accept) | None => "accepted in",
    };
    let more = if frames.len() > FUNCTIONS {
        " < …"
    } else {
        ""
    };
    let functions: Vec<String> = frames.take(FUNCTIONS).map(Frame::to_string).collect();
    let text = format!(
        "{}{more}; {count} of {samples} samples",
        functions.join(" < ")
    );
    (name, text)
}

impl CallSite {
    /// The same of this one, among so many samples.
    fn row(&self, samples: usize) -> (&'static str, String) {
        stack_row(self.call.name(), self.frames.iter(), (self.count, samples))
    }
}

impl Finding {
    /// The evidence, and where the sockets were opened or closed, as a table of names and values.
    pub fn rows(&self, now: MonoNs) -> Vec<(&'static str, String)> {
        let mut rows = self.evidence.rows(now);
        rows.extend(self.stacks.iter().map(|it| it.row(self.samples.len())));
        rows
    }
}

impl Evidence {
    /// The evidence as a table of names and values, for a screen.
    pub fn rows(&self, now: MonoNs) -> Vec<(&'static str, String)> {
        match self {
            Self::CloseWait(e) => close_wait(e, now),
            Self::AcceptQueue(e) => accept_queue(e, now),
            Self::SynQueue(e) => syn_queue(e),
            Self::FinRetransmit(e) => fin_retransmit(e),
            Self::TimeWait(e) => closing::time_wait(e),
            Self::Ports(e) => closing::ports(e),
            Self::FinWait2(e) => closing::fin_wait2(e),
            Self::Resets(e) => closing::resets(e),
            Self::SynRetransmit(e) => unanswered::syn_retransmit(e),
            Self::SynackRetransmit(e) => unanswered::synack_retransmit(e),
            Self::DeadPeer(e) => unanswered::dead_peer(e),
            Self::ClosingStuck(e) => unanswered::closing_stuck(e),
            Self::BacklogTruncated(e) => unanswered::backlog_truncated(e),
            // Its names are the teller's.
            Self::Told(e) => e
                .rows
                .iter()
                .map(|(name, value)| ("as recorded", format!("{name} {value}")))
                .collect(),
        }
    }
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn of(open_and_limit: (u64, u64)) -> String {
    format!("{} of {}", open_and_limit.0, open_and_limit.1)
}

fn maybe<T>(rows: &mut Rows, name: &'static str, value: Option<T>, text: impl Fn(T) -> String) {
    if let Some(value) = value {
        rows.push((name, text(value)));
    }
}

fn ago(now: MonoNs) -> impl Fn(MonoNs) -> String {
    move |at| format!("{} ago", human(now.since(at)))
}

fn epoll(watch: &EpollWatch) -> String {
    let names: Vec<&str> = EPOLL
        .iter()
        .filter(|(bit, _)| watch.events & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    format!(
        "{}; {}; {}",
        if names.is_empty() {
            "nothing".to_owned()
        } else {
            names.join("|")
        },
        if watch.ready {
            "event pending"
        } else {
            "no event pending"
        },
        if watch.waited_on {
            "a thread is in epoll_wait"
        } else {
            "nobody is in epoll_wait"
        },
    )
}

fn thread(thread: &ThreadState) -> String {
    let state = match thread.state {
        'R' => "running",
        'S' => "sleeping",
        'D' => "in uninterruptible sleep",
        'T' | 't' => "stopped",
        'Z' => "zombie",
        _ => "in another state",
    };
    let place = thread
        .wait_channel
        .as_ref()
        .map_or_else(String::new, |channel| format!(" in {channel}"));
    format!("{} of pid {}: {state}{place}", thread.tid.0, thread.pid.0)
}

fn close_wait(e: &CloseWaitEvidence, now: MonoNs) -> Rows {
    let mut rows = Vec::new();
    let bound = if e.age_is_lower_bound {
        "at least "
    } else {
        ""
    };
    rows.push(("oldest", format!("{bound}{}", human(e.oldest_age))));
    maybe(&mut rows, "unread", e.unread, |n| match n {
        0 => "nothing, the end was read".to_owned(),
        1 => "only the end (FIN)".to_owned(),
        n => format!("{} bytes and the end (FIN)", n - 1),
    });
    maybe(&mut rows, "unread at FIN", e.unread_at_fin, |n| {
        n.to_string()
    });
    for watch in &e.epoll {
        rows.push(("epoll", epoll(watch)));
    }
    if e.polling > 0 {
        rows.push(("in poll or select", e.polling.to_string()));
    }
    if e.blocked > 0 {
        rows.push(("blocked threads", e.blocked.to_string()));
    }
    for holder in &e.holders {
        let inherits = match holder.cloexec {
            Some(true) => ", CLOEXEC",
            Some(false) => ", without CLOEXEC",
            None => "",
        };
        let text = format!("pid {} as fd {}{inherits}", holder.pid.0, holder.fd.0);
        rows.push(("holder", text));
    }
    for state in &e.threads {
        rows.push(("thread", thread(state)));
    }
    maybe(&mut rows, "listener waited on", e.listener_watched, yes);
    maybe(&mut rows, "last accept", e.last_accept, ago(now));
    maybe(&mut rows, "accepted by", e.last_acceptor, |pid| {
        let end = match e.acceptor_lives {
            Some(false) => ", which has exited",
            _ => "",
        };
        format!("pid {}{end}", pid.0)
    });
    maybe(&mut rows, "descriptors", e.descriptors, of);
    maybe(&mut rows, "exhausted in", e.exhausted_in, human);
    rows.push(("looks", e.peeks.to_string()));
    maybe(&mut rows, "inferred", e.inference, str::to_owned);
    rows
}

/// A queue's length; when no look showed it full, that is said.
fn queue(seen_full: bool, depth: u32, limit: u32) -> String {
    let when = if seen_full { "" } else { " when looked at" };
    format!("{depth}{when}, limit {limit}")
}

fn accept_queue(e: &AcceptQueueEvidence, now: MonoNs) -> Rows {
    let mut rows = vec![
        ("listener", e.listener.local.to_string()),
        ("accept queue", queue(e.seen_full, e.depth, e.limit)),
        (
            "drops explained",
            format!("{} of {}", e.drops, e.kernel_drops),
        ),
    ];
    maybe(&mut rows, "somaxconn", e.somaxconn, |n| n.to_string());
    maybe(&mut rows, "last accept", e.last_accept, ago(now));
    maybe(&mut rows, "accepted by", e.last_acceptor, |pid| {
        format!("pid {}", pid.0)
    });
    maybe(&mut rows, "waited on", e.watched, yes);
    maybe(&mut rows, "descriptors", e.descriptors, of);
    if e.synacks_to_answered_clients > 0 {
        let count = e.synacks_to_answered_clients.to_string();
        rows.push(("SYN-ACKs to clients that had answered", count));
    }
    maybe(&mut rows, "abort on overflow", e.abort_on_overflow, yes);
    maybe(&mut rows, "inferred", e.inference, str::to_owned);
    rows
}

fn syn_queue(e: &SynQueueEvidence) -> Rows {
    let mut rows = vec![
        ("listener", e.listener.local.to_string()),
        ("half-open", queue(e.seen_full, e.depth, e.limit)),
        ("SYNs dropped", e.dropped.to_string()),
        ("answered with a cookie", e.cookies.to_string()),
        ("counted by the kernel", e.kernel_drops.to_string()),
        (
            "SYN-ACKs repeated unanswered",
            e.unanswered_synacks.to_string(),
        ),
        ("client addresses", e.sources.to_string()),
    ];
    maybe(&mut rows, "tcp_syncookies", e.syncookies, |n| n.to_string());
    maybe(&mut rows, "tcp_max_syn_backlog", e.max_syn_backlog, |n| {
        n.to_string()
    });
    maybe(&mut rows, "inferred", e.inference, str::to_owned);
    rows
}

fn fin_retransmit(e: &FinRetransmitEvidence) -> Rows {
    let mut rows = Vec::new();
    maybe(&mut rows, "state", e.state, |state| state.to_string());
    rows.push(("attempt", e.attempt.to_string()));
    rows.push(("backoff", e.backoff.to_string()));
    maybe(&mut rows, "next timeout", e.next_timeout, human);
    unanswered::patience(&mut rows, &e.patience);
    rows.push(("orphan", yes(e.orphan)));
    rows.push(("waiting", e.outcomes.waiting.to_string()));
    rows.push(("acknowledged", e.outcomes.acknowledged.to_string()));
    rows.push(("reset", e.outcomes.reset.to_string()));
    rows.push(("timed out", e.outcomes.timed_out.to_string()));
    rows.push(("data repeated", e.data_retransmits.to_string()));
    rows.push(("lost", unanswered::lost(e.lost)));
    rows
}
