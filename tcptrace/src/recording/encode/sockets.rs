//! The socket, as every line about it names it.
//!
//! A short connection makes a dozen lines within a millisecond, and each says the same number,
//! namespace and tuple: what was written for one is kept and copied.

use tcptrace_core::input::SocketKey;
use tcptrace_core::tcp::Endpoint;
use tcptrace_core::units::{NetnsId, SockId};

use crate::recording::draft::Draft;
use crate::recording::json::Object;

/// Sockets whose text is kept; a power of two. Numbers are given in order, so that these are the
/// youngest among busy ones; more would only push other things out of the processor's cache.
const KEPT: usize = 64;

/// Bytes kept of each: the text of two IPv4 ends with every number at its longest. Most IPv6 ends fit too.
const LONGEST: usize = 192;

/// Sockets lately written, in a place that follows from their number.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets {
    kept: Vec<Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    key: SocketKey,
    /// 0 where nothing is kept.
    len: usize,
    text: [u8; LONGEST],
}

impl Sockets {
    /// Writes the members that name the socket, behind the first member of a line.
    pub(super) fn write(&mut self, draft: &mut Draft, key: &SocketKey) {
        if self.kept.is_empty() {
            let nothing = Kept {
                key: SocketKey::default(),
                len: 0,
                text: [0; LONGEST],
            };
            self.kept.resize(KEPT, nothing);
        }
        let kept = &mut self.kept[key.sock.0 as usize % KEPT];
        if kept.len != 0 && kept.key == *key {
            draft.put(&kept.text[..kept.len]);
            return;
        }
        let begin = draft.len();
        members(&mut Object::resume(draft), key);
        let written = &draft.written()[begin..];
        kept.len = 0;
        if let Some(room) = kept.text.get_mut(..written.len()) {
            room.copy_from_slice(written);
            kept.len = written.len();
            kept.key = *key;
        }
    }
}

/// Namespace 0 and socket 0 stand for unknown, and unknown is absent.
fn members(line: &mut Object<'_>, key: &SocketKey) {
    let SocketKey {
        sock,
        netns,
        local,
        peer,
    } = key;
    if *sock != SockId(0) {
        line.base36("sock", sock.0);
    }
    if *netns != NetnsId(0) {
        line.number("netns", netns.0);
    }
    endpoint(line, "local", local);
    endpoint(line, "peer", peer);
}

fn endpoint(line: &mut Object<'_>, key: &'static str, endpoint: &Endpoint) {
    let Endpoint { address, port } = *endpoint;
    if address.is_some() || port.is_some() {
        line.object(key, |inner| {
            if let Some(address) = address {
                inner.address("address", address);
            }
            inner.known("port", port.map(|port| port.0));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written twice is written the same; what differs in anything is not taken for another.
    #[test]
    fn what_is_kept_is_what_would_be_written() {
        let end = |text: &str| Endpoint::known(text.parse().unwrap());
        let ends = [
            end("10.1.2.3:80"),
            end("255.255.255.255:65535"),
            end("[2001:db8:1111:2222:3333:4444:5555:6666]:65535"),
            end("[::1]:1"),
            Endpoint::default(),
        ];
        let mut sockets = Sockets::default();
        // The second number falls into the place of the first.
        for sock in [0, 7, 7 + KEPT as u64, u64::MAX] {
            for netns in [NetnsId(0), NetnsId(u32::MAX)] {
                for local in ends {
                    for peer in ends {
                        let sock = SockId(sock);
                        let key = SocketKey {
                            sock,
                            netns,
                            local,
                            peer,
                        };
                        let mut expected = Draft::new();
                        members(&mut Object::resume(&mut expected), &key);
                        let mut draft = Draft::new();
                        sockets.write(&mut draft, &key);
                        sockets.write(&mut draft, &key);
                        assert_eq!(draft.written(), expected.written().repeat(2));
                    }
                }
            }
        }
    }
}
