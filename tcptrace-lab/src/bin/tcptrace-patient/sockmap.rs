//! Connections that a BPF program reads: a sockmap with a stream verdict that passes everything on.
//! What the application has read is then not what the sequence numbers say.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread;

use anyhow::{Context, Result};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use crate::close_wait::park_forever;
use crate::{Listen, listening, say_ready};

// From <linux/bpf.h>.
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE: libc::c_long = 2;
const PROGRAM_LOAD: libc::c_long = 5;
const PROGRAM_ATTACH: libc::c_long = 8;
const SOCKMAP: u32 = 15;
const SK_SKB: u32 = 14;
const STREAM_VERDICT: u32 = 5;

/// `r0 = SK_PASS; exit`.
static PASS: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];

/// The first words of `union bpf_attr`, as each command lays them out.
fn bpf(command: libc::c_long, attributes: &mut [u64; 16]) -> io::Result<RawFd> {
    // SAFETY: the attributes outlive the call, and the pointers in them are valid for it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            size_of_val(attributes),
        )
    };
    match RawFd::try_from(result) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just given it to us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Makes a map with the program attached.
fn map() -> io::Result<OwnedFd> {
    // Up to Linux 5.10 all maps of a user count against it; elsewhere root may not be allowed to, and
    // need not.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    let mut attributes = [0; 16];
    attributes[0] = pair(SOCKMAP, 4);
    attributes[1] = pair(4, 64);
    let map = owned(bpf(MAP_CREATE, &mut attributes)?);
    let mut attributes = [0; 16];
    attributes[0] = pair(SK_SKB, 2);
    attributes[1] = PASS.as_ptr() as u64;
    attributes[2] = c"GPL".as_ptr() as u64;
    let program = owned(bpf(PROGRAM_LOAD, &mut attributes)?);
    let mut attributes = [0; 16];
    attributes[0] = pair(
        map.as_raw_fd().cast_unsigned(),
        program.as_raw_fd().cast_unsigned(),
    );
    attributes[1] = pair(STREAM_VERDICT, 0);
    bpf(PROGRAM_ATTACH, &mut attributes)?;
    Ok(map)
}

/// Accepts and hands over.
pub(crate) fn serve(listen: Listen) -> Result<()> {
    let listener = listening::open(listen, false)?;
    let map = map().context("cannot make a sockmap; run as root")?;
    say_ready(listening::described(&listener)?);
    thread::spawn(move || -> Result<()> {
        let mut kept = Vec::new();
        loop {
            let (stream, _) = listener.accept()?;
            let key = u32::try_from(kept.len())?;
            let value = stream.as_raw_fd().cast_unsigned();
            let mut attributes = [0; 16];
            attributes[0] = u64::from(map.as_raw_fd().cast_unsigned());
            attributes[1] = (&raw const key) as u64;
            attributes[2] = (&raw const value) as u64;
            if let Err(error) = bpf(MAP_UPDATE, &mut attributes) {
                eprintln!("the sockmap does not take a connection: {error}");
                park_forever((kept, stream));
            }
            kept.push(stream);
        }
    });
    Ok(())
}
