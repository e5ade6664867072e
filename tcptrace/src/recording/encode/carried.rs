//! What a segment hands on to the next.

use tcptrace_core::input::{Carried, CarriedOwner, QueueLevel};

use super::looks;
use crate::recording::json::Object;

pub(super) fn carried(line: &mut Object<'_>, carried: &Carried) {
    let Carried {
        at: _,
        key: _,
        state,
        since,
        since_is_lower_bound,
        first_seen,
        origin,
        listener,
        owner,
        holders,
        accepted,
        modelled,
        closer,
        retransmits,
        unread,
        queue,
        syn_depth,
        last_accept,
    } = carried;
    line.word("state", state.name());
    line.number("since_mono_ns", since.0);
    line.flag("since_is_lower_bound", *since_is_lower_bound);
    line.number("first_seen_mono_ns", first_seen.0);
    line.word("origin", origin.name());
    if let Some(listener) = listener {
        line.base36("listener", listener.0);
    }
    if let Some(owner) = owner {
        let CarriedOwner {
            pid,
            name,
            provenance,
            confidence,
        } = owner;
        line.object("owner", |object| {
            object.number("pid", pid.0);
            object.text("name", name);
            object.word("provenance", provenance.name());
            object.word("confidence", confidence.name());
        });
    }
    line.objects("holders", holders, looks::holder);
    line.flag("accepted", *accepted);
    line.flag("modelled", *modelled);
    if let Some((pid, call)) = closer {
        line.object("closer", |object| {
            object.number("pid", pid.0);
            object.word("call", call.name());
        });
    }
    line.number("retransmits", *retransmits);
    line.known("unread", *unread);
    if let Some(QueueLevel { depth, limit }) = queue {
        line.object("accept_queue", |object| {
            object.number("depth", *depth);
            object.number("limit", *limit);
        });
    }
    line.known("syn_depth", *syn_depth);
    if let Some((at, pid)) = last_accept {
        line.number("last_accept_mono_ns", at.0);
        line.number("last_acceptor", pid.0);
    }
}
