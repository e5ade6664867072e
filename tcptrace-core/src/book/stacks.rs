//! Where in their programs the sockets of findings were opened or closed. The book asks for what it has news
//! of, and tells a finding again when an answer comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Book;
use crate::engine::Outcome;
use crate::finding::{CallSite, Finding, Kind, Status};
use crate::input::{SocketKey, Stack};
use crate::request::Request;
use crate::units::{MonoNs, SockId};

/// Sockets whose stacks are kept: the samples of as many findings as can be open, twice. The oldest
/// sockets are forgotten first.
const KEPT: usize = 2 * 8 * super::OPEN;

#[derive(Debug, Default)]
pub(super) struct Stacks(BTreeMap<SockId, Stack>);

impl Stacks {
    /// The stacks of `samples`, equal ones together, the commonest first.
    pub(super) fn of(&self, samples: &[SocketKey]) -> Vec<CallSite> {
        let mut sites: Vec<CallSite> = Vec::new();
        for stack in samples.iter().filter_map(|key| self.0.get(&key.sock)) {
            let same = |it: &&mut CallSite| it.call == stack.call && it.frames == stack.frames;
            match sites.iter_mut().find(same) {
                Some(site) => site.count += 1,
                None => sites.push(CallSite {
                    call: stack.call,
                    pid: stack.pid,
                    count: 1,
                    frames: Arc::clone(&stack.frames),
                }),
            }
        }
        // Stable: of equally common ones that of the older socket comes first.
        sites.sort_by_key(|site| std::cmp::Reverse(site.count));
        sites
    }

    /// The same for a finding that is told again, of which `last` was told last. Where the samples
    /// are always the latest of many that pass, those of an earlier telling speak for them.
    pub(super) fn again(
        &self,
        kind: Kind,
        samples: &[SocketKey],
        last: Option<&Finding>,
    ) -> Vec<CallSite> {
        let sites = self.of(samples);
        let Some(last) = last.filter(|_| sites.is_empty() && kind.is_of_a_rate()) else {
            return sites;
        };
        let before = self.of(&last.samples);
        if before.is_empty() {
            last.stacks.clone()
        } else {
            before
        }
    }
}

impl Book {
    /// Asks where the samples of what is news were opened or closed, as far as that is not known.
    pub(crate) fn ask_for_stacks(&self, outcome: &mut Outcome) {
        for finding in &outcome.findings {
            let known = finding.kind.is_of_a_rate() && !finding.stacks.is_empty();
            if finding.status != Status::Resolved && !known {
                let unknown = finding
                    .sample_ids()
                    .filter(|sock| sock.0 != 0 && !self.stacks.0.contains_key(sock));
                outcome.requests.extend(unknown.map(Request::Stack));
            }
        }
    }

    /// Keeps a stack; open findings that show the socket are told again at `at`.
    pub(crate) fn learn(&mut self, stack: Stack, at: MonoNs) {
        let sock = stack.key.sock;
        self.stacks.0.insert(sock, stack);
        if self.stacks.0.len() > KEPT {
            self.stacks.0.pop_first();
        }
        for (subject, entry) in &mut self.entries {
            if Self::is_open(entry) && entry.finding.sample_ids().any(|id| id == sock) {
                if let Some(due) = entry.due.replace(at) {
                    self.due.remove(&(due, subject.clone()));
                }
                self.due.insert((at, subject.clone()));
            }
        }
    }
}
