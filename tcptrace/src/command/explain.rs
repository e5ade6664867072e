//! `tcptrace explain`: what a finding means, how it was proved, and what to do about it: the pages of
//! `docs/findings`, embedded, so that they are at hand on the sick host.
//!
//! Invariants: a page begins with `# KIND` and one paragraph; each cause has a section
//! `## cause: CAUSE`, whose first sentence says it in short. Needs no privileges.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use tcptrace_core::finding::{Cause, Kind};
use tcptrace_core::settings::{Settings, Threshold};
use thiserror::Error;

use crate::failure::Failure;

mod markdown;

use markdown::{Style, first_sentence};

/// Beside kinds and causes: the list of thresholds.
const THRESHOLDS: &str = "thresholds";

const EXAMPLES: &str = "\
Examples:
  tcptrace explain                                      kinds and causes, a line each
  tcptrace explain close_wait_leak                      all about one kind
  tcptrace explain close_wait_leak/eof_read_not_closed  one cause
  tcptrace explain thresholds                           what --set can change";

/// Options of `explain`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// A kind of finding, a kind and a cause, or `thresholds`
    #[arg(value_name = "KIND[/CAUSE]")]
    name: Option<String>,
}

/// The name leads nowhere.
#[derive(Debug, Error)]
enum ExplainError {
    #[error("there is no kind or cause `{name}`, so nothing to explain; did you mean `{nearest}`?")]
    Unknown { name: String, nearest: String },
    #[error(
        "`{name}` is a cause of several kinds, so which one is not clear; name the kind: {choices}"
    )]
    Ambiguous { name: String, choices: String },
}

/// What a name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    Kind(Kind),
    Cause(Kind, Cause),
    Thresholds,
}

impl Topic {
    fn all() -> impl Iterator<Item = (String, Self)> {
        Kind::ALL
            .into_iter()
            .flat_map(|kind| {
                let causes = kind.causes().iter();
                std::iter::once((kind.to_string(), Self::Kind(kind))).chain(
                    causes.map(move |cause| (format!("{kind}/{cause}"), Self::Cause(kind, *cause))),
                )
            })
            .chain([(THRESHOLDS.to_owned(), Self::Thresholds)])
    }

    /// Takes `kind`, `kind/cause`, and a cause alone that only one kind has; dashes for underscores.
    fn parse(name: &str) -> Result<Self, ExplainError> {
        let wanted = name.trim().to_ascii_lowercase().replace('-', "_");
        if let Some((_, topic)) = Self::all().find(|(name, _)| *name == wanted) {
            return Ok(topic);
        }
        let of_cause: Vec<(String, Self)> = Self::all()
            .filter(|(_, topic)| matches!(topic, Self::Cause(_, cause) if cause.name() == wanted))
            .collect();
        match &of_cause[..] {
            [(_, topic)] => Ok(*topic),
            [] => Err(ExplainError::Unknown {
                name: name.to_owned(),
                nearest: nearest(&wanted),
            }),
            several => Err(ExplainError::Ambiguous {
                name: name.to_owned(),
                choices: several
                    .iter()
                    .map(|(name, _)| &**name)
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }
}

/// The name that takes the fewest changes; a cause may be meant without its kind.
fn nearest(wanted: &str) -> String {
    let far = |(name, _): &(String, Topic)| {
        let cause = name.rsplit('/').next().unwrap_or(name);
        distance(wanted, name).min(distance(wanted, cause))
    };
    Topic::all()
        .min_by_key(far)
        .map_or_else(String::new, |(name, _)| name)
}

/// Levenshtein's distance, in bytes: the names are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Prints what is asked for.
pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let text = match &args.name {
        None => list(),
        Some(name) => {
            let topic = Topic::parse(name).map_err(Failure::usage)?;
            explain(topic)
        }
    };
    let mut out = io::stdout().lock();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let style = match (out.is_terminal(), plain) {
        (true, false) => Style::Terminal,
        (true, true) => Style::Plain,
        (false, _) => Style::Markdown,
    };
    let printed = out.write_all(markdown::render(&text, style).as_bytes());
    match printed.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// The page of a kind. `findings` leads to `docs/findings`.
fn page(kind: Kind) -> &'static str {
    macro_rules! page {
        ($name:literal) => {
            include_str!(concat!("../../findings/", $name, ".md"))
        };
    }
    match kind {
        Kind::CloseWaitLeak => page!("close_wait_leak"),
        Kind::AcceptQueueOverflow => page!("accept_queue_overflow"),
        Kind::SynQueueOverflow => page!("syn_queue_overflow"),
        Kind::BacklogTruncated => page!("backlog_truncated"),
        Kind::FinRetransmit => page!("fin_retransmit"),
        Kind::ClosingStuck => page!("closing_stuck"),
        Kind::SynRetransmit => page!("syn_retransmit"),
        Kind::SynackRetransmit => page!("synack_retransmit"),
        Kind::DeadPeer => page!("dead_peer"),
        Kind::TimeWaitPileup => page!("time_wait_pileup"),
        Kind::PortExhaustion => page!("port_exhaustion"),
        Kind::FinWait2Stuck => page!("fin_wait2_stuck"),
        Kind::ResetBurst => page!("reset_burst"),
    }
}

/// What stands before the first section.
fn introduction(page: &str) -> &str {
    page.split("\n## ").next().unwrap_or(page)
}

/// The section about a cause, its heading included.
fn section(page: &str, cause: Cause) -> Option<&str> {
    let heading = format!("\n## cause: {cause}\n");
    let from = &page[page.find(&heading)? + 1..];
    let end = from[3..].find("\n## ").map_or(from.len(), |at| at + 3);
    Some(from[..end].trim_end())
}

fn explain(topic: Topic) -> String {
    match topic {
        Topic::Thresholds => thresholds(|_| true),
        Topic::Kind(kind) => {
            let prefix = format!("{kind}.");
            format!(
                "{}\n\n## Thresholds\n\n{}",
                page(kind).trim_end(),
                thresholds(|threshold| threshold.name.starts_with(&prefix))
            )
        }
        Topic::Cause(kind, cause) => {
            let page = page(kind);
            let section = section(page, cause).unwrap_or_default();
            format!(
                "{}\n\n{section}\n\n`tcptrace explain {kind}` has the kernel's side of it, the other \
                 causes, and the thresholds.\n",
                introduction(page).trim_end()
            )
        }
    }
}

fn thresholds(wanted: impl Fn(&Threshold) -> bool) -> String {
    let mut text = String::from("Changed by `--set NAME=VALUE`; defaults:\n");
    for threshold in Settings::default().all().iter().filter(|t| wanted(t)) {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n- `{} = {}`: {}",
            threshold.name, threshold.value, threshold.meaning
        );
    }
    text.push('\n');
    text
}

fn list() -> String {
    let mut text = String::from("# Kinds of findings, and their causes\n");
    for kind in Kind::ALL {
        let page = page(kind);
        let body = introduction(page)
            .split_once('\n')
            .map_or("", |(_, body)| body);
        let _ = write!(text, "\n- `{kind}`: {}", first_sentence(body));
        for cause in kind.causes() {
            let short = section(page, *cause)
                .and_then(|section| section.split_once('\n'))
                .map_or(String::new(), |(_, body)| {
                    format!(": {}", first_sentence(body))
                });
            let _ = write!(text, "\n  - `{kind}/{cause}`{short}");
        }
    }
    text.push_str("\n\n`tcptrace explain thresholds` lists what `--set` can change.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_page_and_every_cause_its_section() {
        for kind in Kind::ALL {
            let page = page(kind);
            assert!(page.starts_with(&format!("# {kind}\n\n")), "{kind}");
            let sections: Vec<&str> = page
                .lines()
                .filter_map(|line| line.strip_prefix("## cause: "))
                .collect();
            let causes: Vec<&str> = kind.causes().iter().map(|cause| cause.name()).collect();
            assert_eq!(sections, causes, "{kind}");
            for cause in kind.causes() {
                let text = explain(Topic::Cause(kind, *cause));
                assert!(text.contains(cause.name()), "{kind}/{cause}");
            }
            assert_eq!(
                page.matches("```").count() % 2,
                0,
                "{kind}: an unpaired fence"
            );
            let thresholds = explain(Topic::Kind(kind));
            assert!(thresholds.contains(&format!("`{kind}.")), "{kind}");
        }
    }

    #[test]
    fn names_are_found_and_wrong_ones_meet_their_neighbour() {
        let wrong = |name: &str| Topic::parse(name).unwrap_err().to_string();
        assert_eq!(
            Topic::parse("close-wait-leak").unwrap(),
            Topic::Kind(Kind::CloseWaitLeak)
        );
        assert_eq!(
            Topic::parse("fd_limit").unwrap(),
            Topic::Cause(Kind::AcceptQueueOverflow, Cause::FdLimit)
        );
        assert_eq!(
            Topic::parse("close_wait_leak/shared_fd").unwrap(),
            Topic::Cause(Kind::CloseWaitLeak, Cause::SharedFd)
        );
        assert!(wrong("close_wait_leek").contains("`close_wait_leak`?"));
        assert!(wrong("eof_unred").contains("`close_wait_leak/eof_unread`?"));
        assert!(wrong("threshold").contains("`thresholds`?"));
        assert!(wrong("unknown").contains("reset_burst/unknown"));
        assert!(wrong("close_wait_leak/fd_limit").contains("did you mean"));
        assert_eq!(
            (
                distance("", "abc"),
                distance("abc", "abd"),
                distance("ab", "b")
            ),
            (3, 1, 1)
        );
    }

    #[test]
    fn the_list_has_a_line_for_each_and_thresholds_are_all_there() {
        let list = list();
        for (name, topic) in Topic::all() {
            if topic != Topic::Thresholds {
                assert!(list.contains(&format!("`{name}`")), "{name}");
            }
        }
        let all = explain(Topic::Thresholds);
        for threshold in Settings::default().all() {
            assert!(all.contains(threshold.name), "{}", threshold.name);
        }
    }
}
