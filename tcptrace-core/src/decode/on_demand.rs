//! Answers of the on-demand programs beside the peek: accept queues, and descriptors of our own.

use tcptrace_common::record;

use super::bytes::Bytes;
use super::{DecodeError, SockAddress};
use crate::units::MonoNs;

/// A descriptor of ours and its sock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnSock {
    /// The descriptor.
    pub fd: u64,
    /// Its sock, 0 if it is none.
    pub sock: SockAddress,
    /// `jiffies64` at that moment.
    pub jiffies: u64,
    /// The moment.
    pub at: MonoNs,
}

/// Decodes one answer of the walk through an accept queue: the children, oldest first, and the
/// request to go on with (0 at the end). `None` when the queue changed under the walk.
pub fn accept_queue(bytes: &[u8], listener: u64) -> Result<Option<AcceptQueue>, DecodeError> {
    if bytes.len() != size_of::<record::AcceptQueue>() {
        return Err(DecodeError::Length {
            kind: 0,
            len: bytes.len(),
        });
    }
    let mut bytes = Bytes::new(bytes);
    let mut queue = AcceptQueue {
        next: bytes.u64(),
        children: Vec::new(),
    };
    for _ in 0..record::CHILDREN {
        let (sock, named) = (bytes.u64(), bytes.u64());
        if sock == 0 {
            queue.next = 0;
            break;
        }
        if named != listener {
            return Ok(None);
        }
        queue.children.push(sock);
    }
    Ok(Some(queue))
}

/// Part of an accept queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptQueue {
    /// The request to go on with, 0 at the end.
    pub next: u64,
    /// Addresses of the children.
    pub children: Vec<u64>,
}

/// Decodes one answer about a descriptor of ours.
pub fn own_sock(bytes: &[u8]) -> Result<OwnSock, DecodeError> {
    if bytes.len() != size_of::<record::OwnSock>() {
        return Err(DecodeError::Length {
            kind: 0,
            len: bytes.len(),
        });
    }
    let mut bytes = Bytes::new(bytes);
    Ok(OwnSock {
        fd: bytes.u64(),
        sock: SockAddress(bytes.u64()),
        jiffies: bytes.u64(),
        at: MonoNs(bytes.u64()),
    })
}
