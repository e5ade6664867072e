//! The owner of a socket, as every line about the socket names it.
//!
//! Thousands of lines in a row name the same few owners, so what was written for one is kept and
//! copied. Invariant: what is kept was made of a process that cannot have changed since, because the
//! engine replaces what it knows of a process instead of changing it while somebody refers to it.

use std::sync::Arc;

use tcptrace_core::finding::Owner;

use crate::recording::json::Object;

/// Owners whose text is kept; a power of two. A host with more busy ones at a time pays for writing.
const KEPT: usize = 64;

/// Owners lately written, in a place that follows from who they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    kept: Vec<Option<(Owner, Vec<u8>)>>,
}

impl Owners {
    /// Writes the member `process`.
    pub(super) fn write(&mut self, line: &mut Object<'_>, owner: &Owner) {
        if self.kept.is_empty() {
            self.kept.resize_with(KEPT, || None);
        }
        let place = (owner.process.pid.0 as usize * 8 + owner.provenance as usize) % KEPT;
        let kept = &mut self.kept[place];
        if let Some((known, text)) = kept
            && same(known, owner)
        {
            line.draft().put(text);
            return;
        }
        let begin = line.draft().len();
        line.object("process", |process| members(process, owner));
        let text = line.draft().written()[begin..].to_vec();
        *kept = Some((owner.clone(), text));
    }
}

/// Whether it is the same value, not only an equal one: that needs no look at the names.
fn same(known: &Owner, owner: &Owner) -> bool {
    let Owner {
        process,
        provenance,
        confidence,
    } = owner;
    Arc::ptr_eq(&known.process, process)
        && known.provenance == *provenance
        && known.confidence == *confidence
}

/// The owner, short: details stand once, on its `process` line.
fn members(object: &mut Object<'_>, owner: &Owner) {
    let Owner {
        process,
        provenance,
        confidence,
    } = owner;
    object.number("pid", process.pid.0);
    object.text("name", &process.name);
    object.word("provenance", provenance.name());
    object.word("confidence", confidence.name());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::draft::Draft;
    use tcptrace_core::finding::{Confidence, Provenance};
    use tcptrace_core::input::ProcessInfo;
    use tcptrace_core::units::Pid;

    #[test]
    fn who_is_not_the_same_is_written_anew() {
        let mut owners = Owners::default();
        let mut said = |name: &str, provenance| {
            let process = Arc::new(ProcessInfo {
                pid: Pid(7),
                name: name.into(),
                ..ProcessInfo::default()
            });
            let owner = Owner {
                process,
                provenance,
                confidence: Confidence::Exact,
            };
            let mut draft = Draft::new();
            for _ in 0..2 {
                let mut line = Object::resume(&mut draft);
                owners.write(&mut line, &owner);
            }
            String::from_utf8(draft.written().to_vec()).unwrap()
        };
        for (name, provenance) in [
            ("nginx", Provenance::Accept),
            ("nginx", Provenance::Listen),
            // The same pid after an exec.
            ("worker", Provenance::Listen),
        ] {
            let one = format!(
                r#","process":{{"pid":7,"name":"{name}","provenance":"{}","confidence":"exact"}}"#,
                provenance.name()
            );
            assert_eq!(said(name, provenance), one.repeat(2));
        }
    }
}
