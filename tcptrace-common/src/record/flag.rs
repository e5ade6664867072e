//! Bits of [`super::Head::flags`].

/// The addresses are IPv6 (32 bytes follow the body, else 8).
pub const V6: u16 = 1 << 0;
/// `sk_lock.owned`: a task holds the socket, and it is the current one.
pub const OWNED: u16 = 1 << 1;
/// PF_EXITING of the current task; meaningful with [`OWNED`].
pub const EXITING: u16 = 1 << 2;
/// SOCK_DONE: the peer's FIN has arrived.
pub const DONE: u16 = 1 << 3;
/// SOCK_DEAD: an orphan.
pub const DEAD: u16 = 1 << 4;
/// `sk_socket` is set.
pub const HAS_SOCKET: u16 = 1 << 5;
/// `sk_socket->file` is set, and [`super::Head::file_refs`] counts its references.
pub const HAS_FILE: u16 = 1 << 6;
/// From the understudy: the first program was skipped (or this is a duplicate).
pub const UNDERSTUDY: u16 = 1 << 7;
/// A full TCP socket stands behind the sock address, and the sequence numbers were read.
pub const SEQUENCES: u16 = 1 << 8;
/// The client of a SYN-ACK has acknowledged it (`inet_request_sock.acked`).
pub const ACKED: u16 = 1 << 9;
/// TCP_DEFER_ACCEPT is set on the listener.
pub const DEFER_ACCEPT: u16 = 1 << 10;
/// The reset was received, else sent.
pub const RECEIVED: u16 = 1 << 11;
/// A row: the walk of this listener's accept queue was cut off.
pub const CUT: u16 = 1 << 12;
/// The child became ESTABLISHED right after it entered an accept queue: in place of `unread` and
/// `unacked` stand the low and the high half of its listener's address.
pub const LISTENER: u16 = 1 << 13;
/// A change to CLOSE_WAIT, without [`OWNED`]: instead of a task, [`super::TransitionBody::tid`]
/// is the lower half of the function of the wait queue's first entry (0: nobody waits), and
/// [`super::Head::pid`] the process of that entry's task, where the function is one of a task.
pub const WAITER: u16 = 1 << 15;
