//! What the looks saw, kept as evidence for the finding that they may prove.

use super::{CloseWaitLeak, LOOKS_REMEMBERED};
use crate::finding::CloseWaitEvidence;
use crate::input::Inspection;
use crate::rules::Bench;

impl CloseWaitLeak {
    /// Keeps what a look saw, as evidence.
    pub(super) fn remember(&mut self, x: &Inspection, bench: &Bench<'_>) {
        let sock = x.key.sock;
        let waiters = x.waiters.clone().unwrap_or_default();
        let holders = bench.world.socket(sock).map(|s| s.holders.clone());
        let mut look = CloseWaitEvidence {
            unread: Some(x.unread),
            epoll: waiters.epoll,
            polling: waiters.polling,
            blocked: waiters.blocked,
            holders: holders.unwrap_or_default(),
            holders_complete: x.holders.as_ref().is_some_and(|scan| scan.complete),
            threads: x.threads.clone(),
            ..CloseWaitEvidence::default()
        };
        // What threads do, and that all holders are named, comes only with a scan of the
        // descriptors: the last that was seen stays.
        let scanned = x.holders.is_some();
        let keep = |look: &mut CloseWaitEvidence, before: &CloseWaitEvidence| {
            if !scanned {
                look.holders_complete = before.holders_complete;
            }
            if look.threads.is_empty() {
                look.threads.clone_from(&before.threads);
            }
        };
        if let Some(before) = self.looks.get(&sock) {
            keep(&mut look, before);
        }
        let convicted = self
            .suspects
            .get(&sock)
            .and_then(|suspect| suspect.subject.as_ref())
            .and_then(|subject| self.groups.get_mut(subject));
        match convicted {
            None => {
                self.looks.insert(sock, look);
                if self.looks.len() > LOOKS_REMEMBERED {
                    self.looks.pop_first();
                }
            }
            Some(group) => {
                let oldest = group.members.first().is_some_and(|(_, id)| *id == sock);
                if oldest || group.proof.is_none() {
                    if let Some((_, proof)) = group.proof.as_ref().filter(|(of, _)| *of == sock) {
                        keep(&mut look, proof);
                    }
                    group.proof = Some((sock, look));
                }
            }
        }
    }
}
