//! The commonest lines, read in the order in which this version writes them: a fifth of serde's
//! time, and most lines of a busy host are of these three types.
//!
//! Invariant: what is read here reads the same through serde (a property holds it). Whatever looks
//! different (a field more, another order, an escape) gives nothing, and serde decides.

use std::net::IpAddr;
use std::time::Duration;

use tcptrace_core::Input;
use tcptrace_core::input::{Accept, Context, Destroy, FinWaiter, SocketKey, Transition, Usage};
use tcptrace_core::tcp::{Endpoint, Shutdown, TcpState};
use tcptrace_core::units::{Fd, MonoNs, NetnsId, Pid, Port, SockId, Tid};

/// Reads a `transition`, `accept` or `destroy` line that has the expected shape.
pub(super) fn line(text: &[u8]) -> Option<Input> {
    let mut line = Cursor(text);
    line.skip(br#"{"type":""#)?;
    let read = match line.word()? {
        b"transition" => transition,
        b"accept" => accept,
        b"destroy" => destroy,
        _ => return None,
    };
    line.skip(br#","seq":"#)?;
    line.number::<u64>()?;
    line.skip(br#","time":""#)?;
    line.word()?;
    line.skip(br#","mono_ns":"#)?;
    let at = MonoNs(line.number()?);
    let key = key(&mut line)?;
    owner(&mut line)?;
    let input = read(&mut line, at, key)?;
    (line.0 == b"}").then_some(input)
}

fn key(line: &mut Cursor<'_>) -> Option<SocketKey> {
    let sock = if line.sees(br#","sock":""#) {
        line.parsed()?
    } else {
        SockId(0)
    };
    Some(SocketKey {
        sock,
        netns: NetnsId(line.known(br#","netns":"#)?.unwrap_or(0)),
        local: endpoint(line, br#","local":{"#)?,
        peer: endpoint(line, br#","peer":{"#)?,
    })
}

/// Passes the owner, an annotation.
fn owner(line: &mut Cursor<'_>) -> Option<()> {
    if line.sees(br#","process":{"pid":"#) {
        line.number::<u64>()?;
        for key in [
            &br#","name":""#[..],
            br#","provenance":""#,
            br#","confidence":""#,
        ] {
            line.skip(key)?;
            line.word()?;
        }
        line.skip(b"}")?;
    }
    Some(())
}

fn endpoint(line: &mut Cursor<'_>, key: &[u8]) -> Option<Endpoint> {
    let mut endpoint = Endpoint::default();
    if line.sees(key) {
        if line.sees(br#""address":""#) {
            endpoint.address = Some(line.parsed::<IpAddr>()?);
            endpoint.port = line.known(br#","port":"#)?.map(Port);
        } else {
            endpoint.port = line.known(br#""port":"#)?.map(Port);
        }
        line.skip(b"}")?;
    }
    Some(endpoint)
}

fn transition(line: &mut Cursor<'_>, at: MonoNs, key: SocketKey) -> Option<Input> {
    let from = line.state(br#","from":""#)?;
    let to = line.state(br#","to":""#)?;
    if line.sees(br#","enters":""#) {
        line.word()?;
    }
    line.known::<u64>(br#","in_state_ns":"#)?;
    closer(line)?;
    let mut context = Context::Interrupt;
    if line.sees(br#","task":{"pid":"#) {
        let pid = Pid(line.number()?);
        line.skip(br#","tid":"#)?;
        let tid = Tid(line.number()?);
        let exiting = line.flag(br#","exiting":"#)?;
        line.skip(b"}")?;
        context = Context::Process { pid, tid, exiting };
    }
    // Struct fields are evaluated in the order in which they stand here: that of the line.
    Some(Input::Transition(Transition {
        at,
        key,
        from,
        to,
        context,
        error: line.known(br#","error":"#)?,
        shutdown: Shutdown(line.known(br#","shutdown":"#)??),
        peer_fin: line.flag(br#","peer_fin":"#)?,
        dead: line.flag(br#","dead":"#)?,
        has_socket: line.flag(br#","has_socket":"#)?,
        file_released: line.flag(br#","file_released":"#)?,
        file_refs: line.known(br#","file_refs":"#)?,
        unread: line.known(br#","unread":"#)?,
        unacked: line.known(br#","unacked":"#)?,
        usage: usage(line)?,
        listener: if line.sees(br#","listener":""#) {
            Some(line.parsed()?)
        } else {
            None
        },
        waiter: waiter(line)?,
    }))
}

/// Passes who caused it, an annotation.
fn closer(line: &mut Cursor<'_>) -> Option<()> {
    if line.sees(br#","closer":{"by":""#) {
        line.word()?;
        line.known::<u64>(br#","pid":"#)?;
        if line.sees(br#","call":""#) {
            line.word()?;
        }
        line.known::<u64>(br#","signal":"#)?;
        line.skip(b"}")?;
    }
    Some(())
}

fn usage(line: &mut Cursor<'_>) -> Option<Option<Usage>> {
    if !line.sees(br#","usage":{"idle_ns":"#) {
        return Some(None);
    }
    let idle = Duration::from_nanos(line.number()?);
    line.skip(br#","segments_in":"#)?;
    let segments_in = line.number()?;
    line.skip(br#","segments_out":"#)?;
    let segments_out = line.number()?;
    line.skip(b"}")?;
    Some(Some(Usage {
        idle,
        segments_in,
        segments_out,
    }))
}

fn waiter(line: &mut Cursor<'_>) -> Option<Option<FinWaiter>> {
    if let Some(pid) = line.known(br#","waiter_pid":"#)? {
        return Some(Some(FinWaiter::Blocked(Pid(pid))));
    }
    if !line.sees(br#","waiter":""#) {
        return Some(None);
    }
    Some(Some(match line.word()? {
        b"nobody" => FinWaiter::Nobody,
        b"epoll" => FinWaiter::Epoll,
        b"other" => FinWaiter::Other,
        _ => return None,
    }))
}

fn accept(line: &mut Cursor<'_>, at: MonoNs, key: SocketKey) -> Option<Input> {
    Some(Input::Accept(Accept {
        at,
        key,
        pid: Pid(line.known(br#","pid":"#)??),
        tid: Tid(line.known(br#","tid":"#)??),
        fd: line.known(br#","fd":"#)?.map(Fd),
    }))
}

fn destroy(_: &mut Cursor<'_>, at: MonoNs, key: SocketKey) -> Option<Input> {
    Some(Input::Destroy(Destroy { at, key }))
}

/// What is left of a line.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Passes `literal`, if it is next.
    fn sees(&mut self, literal: &[u8]) -> bool {
        self.skip(literal).is_some()
    }

    /// Passes `literal`, which must be next.
    fn skip(&mut self, literal: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    /// Text without escapes, and its closing quote.
    fn word(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|b| *b == b'"')?;
        let (word, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        word.iter()
            .all(|b| (0x20..0x7f).contains(b) && *b != b'\\')
            .then_some(word)
    }

    fn parsed<T: std::str::FromStr>(&mut self) -> Option<T> {
        std::str::from_utf8(self.word()?).ok()?.parse().ok()
    }

    fn state(&mut self, key: &[u8]) -> Option<TcpState> {
        self.skip(key)?;
        let word = self.word()?;
        TcpState::ALL
            .into_iter()
            .find(|state| state.name().as_bytes() == word)
    }

    /// A whole number that fits.
    fn number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        let length = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        if digits.is_empty() || (digits[0] == b'0' && length > 1) {
            return None;
        }
        let mut number = 0_u64;
        for digit in digits {
            number = number
                .checked_mul(10)?
                .checked_add(u64::from(digit - b'0'))?;
        }
        self.0 = rest;
        T::try_from(number).ok()
    }

    /// A number, where its key is next. The outer `None`: it is no number that fits.
    fn known<T: TryFrom<u64>>(&mut self, key: &[u8]) -> Option<Option<T>> {
        if self.sees(key) {
            self.number().map(Some)
        } else {
            Some(None)
        }
    }

    fn flag(&mut self, key: &[u8]) -> Option<bool> {
        self.skip(key)?;
        if self.sees(b"true") {
            Some(true)
        } else {
            self.skip(b"false").map(|()| false)
        }
    }
}
