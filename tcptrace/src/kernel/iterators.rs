//! Iterators: programs that the kernel runs over its tables while a file is read.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya::Ebpf;
use aya::programs::{Iter, ProgramError};
use tcptrace_common::record;
use tcptrace_core::decode::{self, Hz, RawRow};

use super::error::KernelError;

/// Rows read at once; the kernel's own buffer is 32 KiB.
const CHUNK: usize = 512 * size_of::<record::Row>();

/// Starts the iteration of a loaded program.
pub(super) fn start(ebpf: &mut Ebpf, program: &'static str) -> Result<File, KernelError> {
    let refused = |detail: String| KernelError::Refused {
        what: format!("iterate with `{program}`"),
        detail,
    };
    let iterator: &mut Iter = ebpf
        .program_mut(program)
        .ok_or_else(|| refused("the object has no such program".to_owned()))?
        .try_into()
        .map_err(|error: ProgramError| refused(error.to_string()))?;
    let link = iterator
        .attach()
        .map_err(|error| refused(error.to_string()))?;
    let link = iterator
        .take_link(link)
        .map_err(|error| refused(error.to_string()))?;
    link.into_file().map_err(|error| refused(error.to_string()))
}

/// Starts the iteration in another network namespace: a thread of ours enters it, as the kernel
/// binds an iterator to the namespace of the task that creates it.
pub(super) fn start_in(
    ebpf: &mut Ebpf,
    program: &'static str,
    netns: BorrowedFd<'_>,
) -> Result<File, KernelError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: it concerns this thread only, which ends here.
            if unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(KernelError::io(
                    "enter a network namespace",
                    io::Error::last_os_error(),
                ));
            }
            start(ebpf, program)
        });
        thread.join().unwrap_or_else(|_| {
            Err(KernelError::Refused {
                what: format!("iterate with `{program}`"),
                detail: "the thread panicked".to_owned(),
            })
        })
    })
}

/// Reads all rows.
pub(super) fn rows(
    mut file: File,
    hz: Hz,
    sink: &mut dyn FnMut(RawRow),
) -> Result<u64, KernelError> {
    let size = size_of::<record::Row>();
    let mut buffer = vec![0; CHUNK];
    let mut filled = 0;
    let mut count = 0;
    loop {
        let read = match file.read(&mut buffer[filled..]) {
            Ok(read) => read,
            // The kernel gives up its turn after a million objects, and asks to be read again.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(KernelError::io("read the rows of an iterator", error)),
        };
        if read == 0 {
            return Ok(count);
        }
        filled += read;
        let whole = filled - filled % size;
        for row in buffer[..whole].chunks(size) {
            sink(decode::row(row, hz)?);
            count += 1;
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}
