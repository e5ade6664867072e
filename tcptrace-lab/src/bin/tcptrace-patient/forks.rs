//! Descriptors that exist in more than one process, or in none.
//!
//! Invariant: a forked child ends with `_exit`, and takes no lock that another thread of its parent
//! could have held at the fork: it makes system calls, and at most allocates (glibc's allocator
//! survives a fork).

use std::io::IoSlice;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::thread;

use anyhow::Result;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use nix::unistd::{ForkResult, Pid, fork};
use serde_json::json;

use crate::close_wait::park_forever;
use crate::{Listen, listening, say_ready};

/// Runs `work` in a child process, which dies with its parent. The parent drops `work` unrun, and
/// with it the descriptors that were moved into it.
pub(crate) fn in_child(work: impl FnOnce()) -> Result<Pid> {
    // SAFETY: the module's invariant.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // SAFETY: both are plain system calls.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                work();
                libc::_exit(0);
            }
        }
    }
}

/// Fork per connection, the classic way wrong: the child serves to the end, closes and exits; the
/// parent never closes its copy. The kernel sends no FIN before the last copy is closed.
///
/// With `siblings` the children live on, and later ones have inherited what earlier ones closed.
pub(crate) fn shared_fd(listen: Listen, siblings: bool) -> Result<()> {
    let listener = listening::open(listen, false)?;
    let described = listening::described(&listener)?;
    // Ignored, so that children leave no zombies.
    // SAFETY: no handler is installed, the disposition is only changed.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    say_ready(described);
    thread::spawn(move || -> Result<()> {
        let mut kept = Vec::new();
        loop {
            let (stream, _) = listener.accept()?;
            let fd = stream.as_raw_fd();
            in_child(|| {
                read_to_the_end(fd);
                if siblings {
                    park_forever(());
                }
            })?;
            kept.push(stream);
        }
    });
    Ok(())
}

fn read_to_the_end(fd: RawFd) {
    let mut bytes = [0_u8; 64];
    // SAFETY: the buffer is valid for its length; the descriptor was inherited.
    unsafe {
        while libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) > 0 {}
        libc::close(fd);
    }
}

/// Accepts, passes the descriptor on over a UNIX socket whose other end does not receive, and
/// closes its own copy: the connection lives in the socket's buffer, and no process holds it.
pub(crate) fn in_flight(listen: Listen) -> Result<()> {
    let listener = listening::open(listen, false)?;
    let (here, there) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    let mut ready = listening::described(&listener)?;
    ready["passes_by"] = json!("unix");
    say_ready(ready);
    thread::spawn(move || -> Result<()> {
        loop {
            let (stream, _) = listener.accept()?;
            pass(here.as_raw_fd(), stream)?;
        }
    });
    thread::spawn(move || park_forever(there));
    Ok(())
}

/// Sends `stream` over the UNIX socket `to`, and closes it here.
pub(crate) fn pass(to: RawFd, stream: TcpStream) -> Result<()> {
    let fds = [stream.as_raw_fd()];
    sendmsg::<()>(
        to,
        &[IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

/// Takes a stream that [`pass`] sent.
pub(crate) fn receive(from: RawFd) -> Result<Option<TcpStream>> {
    let mut byte = [0; 1];
    let mut parts = [std::io::IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let message =
        nix::sys::socket::recvmsg::<()>(from, &mut parts, Some(&mut space), MsgFlags::empty())?;
    for control in message.cmsgs()? {
        if let nix::sys::socket::ControlMessageOwned::ScmRights(fds) = control
            && let Some(fd) = fds.first()
        {
            // SAFETY: the kernel has just installed this descriptor for us alone.
            return Ok(Some(unsafe { TcpStream::from_raw_fd(*fd) }));
        }
    }
    Ok(None)
}
