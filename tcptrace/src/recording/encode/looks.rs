//! What the agent saw when it looked: snapshots, inspections, samples of listeners.

use tcptrace_core::input::{
    EpollWatch, Frame, Holder, HolderScan, Inspection, ListenerSample, QueueLevel, Sending,
    SocketRow, Stack, ThreadState, Waiters,
};

use crate::recording::json::Object;

pub(super) fn socket_row(line: &mut Object<'_>, row: &SocketRow) {
    let SocketRow {
        at: _,
        key: _,
        state,
        holder: held_by,
        listener,
        has_socket,
        dead,
        unread,
        unacked,
        idle,
        queue,
    } = row;
    line.word("state", state.name());
    if let Some(held_by) = held_by {
        line.object("holder", |object| holder(object, held_by));
    }
    if let Some(listener) = listener {
        line.base36("listener", listener.0);
    }
    line.flag("has_socket", *has_socket);
    line.flag("dead", *dead);
    line.known("unread", *unread);
    line.known("unacked", *unacked);
    line.span("idle_ns", *idle);
    if let Some(QueueLevel { depth, limit }) = queue {
        line.object("accept_queue", |object| {
            object.number("depth", *depth);
            object.number("limit", *limit);
        });
    }
}

pub(super) fn holder(object: &mut Object<'_>, holder: &Holder) {
    let Holder { pid, fd, cloexec } = holder;
    object.number("pid", pid.0);
    object.number("fd", fd.0);
    if let Some(cloexec) = cloexec {
        object.flag("cloexec", *cloexec);
    }
}

pub(super) fn inspection(line: &mut Object<'_>, inspection: &Inspection) {
    let Inspection {
        at: _,
        key: _,
        state,
        unread,
        unacked,
        bytes_acked,
        has_socket,
        dead,
        file_refs,
        shutdown,
        special_reader,
        waiters,
        idle,
        holders,
        listener,
        threads,
        sending,
    } = inspection;
    line.word("state", state.name());
    line.number("unread", *unread);
    line.number("unacked", *unacked);
    line.number("bytes_acked", *bytes_acked);
    line.flag("has_socket", *has_socket);
    line.flag("dead", *dead);
    line.known("file_refs", *file_refs);
    line.number("shutdown", shutdown.0);
    line.flag("special_reader", *special_reader);
    waiting(line, waiters.as_ref());
    line.span("idle_ns", *idle);
    if let Some(HolderScan { complete, holders }) = holders {
        line.object("holder_scan", |object| {
            object.flag("complete", *complete);
            object.objects("holders", holders, holder);
        });
    }
    if let Some(listener) = listener {
        line.base36("listener", listener.0);
    }
    line.objects("threads", threads, |object, thread| {
        let ThreadState {
            pid,
            tid,
            state,
            wait_channel,
        } = thread;
        object.number("pid", pid.0);
        object.number("tid", tid.0);
        object.text("state", state.encode_utf8(&mut [0; 4]));
        object.known_text("wait_channel", wait_channel.as_deref());
    });
    if let Some(sending) = sending {
        line.object("sending", |object| waits_for(object, sending));
    }
}

fn waits_for(object: &mut Object<'_>, sending: &Sending) {
    let Sending {
        window,
        unsent,
        retransmits,
        backoff,
        probes_out,
        user_timeout,
        keepalive,
        keepalive_time,
        keepalive_interval,
        keepalive_probes,
    } = sending;
    object.number("window", *window);
    object.number("unsent", *unsent);
    object.number("retransmits", *retransmits);
    object.number("backoff", *backoff);
    object.number("probes_out", *probes_out);
    object.span("user_timeout_ns", *user_timeout);
    object.flag("keepalive", *keepalive);
    object.span("keepalive_time_ns", *keepalive_time);
    object.span("keepalive_interval_ns", *keepalive_interval);
    object.known("keepalive_probes", *keepalive_probes);
}

pub(super) fn stack(line: &mut Object<'_>, stack: &Stack) {
    let Stack {
        at: _,
        key: _,
        call,
        pid,
        frames,
    } = stack;
    line.word("call", call.name());
    line.number("pid", pid.0);
    line.objects("frames", frames.iter(), |object, frame| {
        let Frame {
            function,
            module,
            file,
            line,
        } = frame;
        object.known_text("function", function.as_deref());
        object.known_text("module", module.as_deref());
        object.known_text("file", file.as_deref());
        object.known("line", *line);
    });
}

pub(super) fn listener(line: &mut Object<'_>, sample: &ListenerSample) {
    let ListenerSample {
        at: _,
        key: _,
        accept: QueueLevel { depth, limit },
        syn_depth,
        drops,
        waiters,
    } = sample;
    line.number("depth", *depth);
    line.number("limit", *limit);
    line.number("syn_depth", *syn_depth);
    line.number("drops", *drops);
    waiting(line, waiters.as_ref());
}

fn waiting(line: &mut Object<'_>, waiters: Option<&Waiters>) {
    let Some(waiters) = waiters else { return };
    let Waiters {
        epoll,
        polling,
        blocked,
        others,
    } = waiters;
    line.object("waiters", |object| {
        object.objects("epoll", epoll, |object, watch| {
            let EpollWatch {
                events,
                ready,
                waited_on,
            } = watch;
            object.number("events", *events);
            object.flag("ready", *ready);
            object.flag("waited_on", *waited_on);
        });
        object.number("polling", *polling);
        object.number("blocked", *blocked);
        object.number("others", *others);
    });
}
