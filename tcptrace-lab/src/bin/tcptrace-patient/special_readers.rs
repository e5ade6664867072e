//! Connections that are read past the sequence numbers: by kTLS, and into mapped pages. Both servers
//! see the end and forget the connection; that they saw it cannot be told from outside.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::close_wait::park_forever;
use crate::{Listen, listening, say_ready};

// From <linux/tcp.h>, <linux/socket.h> and <linux/tls.h>.
const TCP_ULP: libc::c_int = 31;
const TCP_ZEROCOPY_RECEIVE: libc::c_int = 35;
const SOL_TLS: libc::c_int = 282;
const TLS_RX: libc::c_int = 2;
const TLS_1_2: u16 = 0x0303;
const AES_GCM_128: u16 = 51;

/// `struct tls12_crypto_info_aes_gcm_128`: nothing is ever sent, so the key may be zeroes.
#[repr(C)]
struct Crypto {
    version: u16,
    cipher: u16,
    iv_key_salt_and_sequence: [u8; 36],
}

/// The first fields of `struct tcp_zerocopy_receive`, which every kernel takes.
#[repr(C)]
struct ZeroCopy {
    address: u64,
    length: u32,
    /// Bytes that have to be read the usual way.
    recv_skip_hint: u32,
}

/// Lets the kernel decrypt what arrives.
pub(crate) fn ktls(listen: Listen) -> Result<()> {
    serve(listen, |stream| {
        set(stream, libc::IPPROTO_TCP, TCP_ULP, b"tls").context("the kernel has no TLS")?;
        let crypto = Crypto {
            version: TLS_1_2,
            cipher: AES_GCM_128,
            iv_key_salt_and_sequence: [0; 36],
        };
        set(stream, SOL_TLS, TLS_RX, &crypto).context("TLS_RX")?;
        let count = stream.read(&mut [0; 512])?;
        anyhow::ensure!(count == 0, "{count} bytes from a client that sends nothing");
        Ok(())
    })
}

/// Maps what arrives.
pub(crate) fn zero_copy(listen: Listen) -> Result<()> {
    const LENGTH: usize = 1 << 16;
    serve(listen, |stream| {
        // SAFETY: a new mapping, which stays as long as the process.
        let pages = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LENGTH,
                libc::PROT_READ,
                libc::MAP_SHARED,
                stream.as_raw_fd(),
                0,
            )
        };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("cannot map the connection");
        }
        loop {
            let mut readable = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
            poll(&mut readable, PollTimeout::NONE)?;
            let mut ask = ZeroCopy {
                address: pages as u64,
                length: u32::try_from(LENGTH)?,
                recv_skip_hint: 0,
            };
            match get(stream, TCP_ZEROCOPY_RECEIVE, &mut ask) {
                // The end: taken for a failure of this call, and that is the mistake.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(()),
                done => done.context("TCP_ZEROCOPY_RECEIVE")?,
            }
            let mut rest = vec![0; ask.recv_skip_hint as usize];
            stream.read_exact(&mut rest)?;
        }
    })
}

/// Reads each connection by a thread of its own, and keeps them all.
fn serve(listen: Listen, read: fn(&mut TcpStream) -> Result<()>) -> Result<()> {
    let listener = listening::open(listen, false)?;
    say_ready(listening::described(&listener)?);
    thread::spawn(move || -> Result<()> {
        loop {
            let (mut stream, _) = listener.accept()?;
            thread::spawn(move || {
                if let Err(error) = read(&mut stream) {
                    eprintln!("{error:#}");
                }
                park_forever(stream);
            });
        }
    });
    Ok(())
}

fn set<T: ?Sized>(
    stream: &TcpStream,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(value)).expect("an option is small");
    // SAFETY: the value is readable for as many bytes.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn get<T>(stream: &TcpStream, option: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).expect("an option is small");
    // SAFETY: the value is writable for as many bytes.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
