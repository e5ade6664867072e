//! Programs that are attached to nothing and run when asked (`BPF_PROG_TEST_RUN`): looking at socks
//! by address, walking accept queues, resolving descriptors of our own.

use std::io;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use aya::programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _};
use tcptrace_common::names::ARGUMENTS;
use tcptrace_common::record;
use tcptrace_core::decode::{self, AcceptQueue, Hz, OwnSock, RawPeek, WakeFunctions};

use super::error::KernelError;

/// How often a wait queue that changed under the walk is looked at again.
const TRIES: usize = 3;

/// How many children of one accept queue are looked at: more than any somaxconn in use.
const MAX_CHILDREN: usize = 1 << 18;

/// Runs the programs and reads their answers.
pub(super) struct OnDemand {
    answers: RingBuf<MapData>,
}

impl OnDemand {
    pub(super) fn new(answers: RingBuf<MapData>) -> Self {
        Self { answers }
    }

    /// Looks at socks; one whose wait queue was torn is looked at again.
    pub(super) fn peek(
        &mut self,
        ebpf: &Ebpf,
        known: &WakeFunctions,
        hz: Hz,
        addresses: &[u64],
        sink: &mut dyn FnMut(RawPeek),
    ) -> Result<(), KernelError> {
        let mut torn = Vec::new();
        self.peek_once(ebpf, known, hz, addresses, &mut |it| {
            if it.waiters.is_none() {
                torn.push(it.key.sock.0);
            } else {
                sink(it);
            }
        })?;
        for attempt in 1..TRIES {
            if torn.is_empty() {
                break;
            }
            let again = std::mem::take(&mut torn);
            self.peek_once(ebpf, known, hz, &again, &mut |it| {
                if it.waiters.is_none() && attempt + 1 < TRIES {
                    torn.push(it.key.sock.0);
                } else {
                    sink(it);
                }
            })?;
        }
        Ok(())
    }

    fn peek_once(
        &mut self,
        ebpf: &Ebpf,
        known: &WakeFunctions,
        hz: Hz,
        addresses: &[u64],
        sink: &mut dyn FnMut(RawPeek),
    ) -> Result<(), KernelError> {
        for batch in addresses.chunks(ARGUMENTS) {
            let answer = self.run(ebpf, "peek", batch)?;
            for one in answer.chunks(size_of::<record::Peek>()) {
                if let Some(peek) = decode::peek(one, known, hz)? {
                    sink(peek);
                }
            }
        }
        Ok(())
    }

    /// `sk_data_ready`, and the function of the first waiter, of one sock.
    pub(super) fn wake_functions(
        &mut self,
        ebpf: &Ebpf,
        address: u64,
    ) -> Result<Option<(u64, Option<u64>)>, KernelError> {
        let answer = self.run(ebpf, "peek", &[address])?;
        Ok(decode::wake_functions(&answer))
    }

    /// The addresses of the socks behind at most twelve descriptors of this process.
    pub(super) fn resolve(
        &mut self,
        ebpf: &Ebpf,
        fds: &[u64],
    ) -> Result<Vec<OwnSock>, KernelError> {
        let answer = self.run(ebpf, "resolve", fds)?;
        answer
            .chunks(size_of::<record::OwnSock>())
            .take(fds.len())
            .map(|one| decode::own_sock(one).map_err(KernelError::from))
            .collect()
    }

    /// The children in a listener's accept queue, and whether these are all.
    pub(super) fn accept_queue(
        &mut self,
        ebpf: &Ebpf,
        listener: u64,
    ) -> Result<(Vec<u64>, bool), KernelError> {
        let mut children = Vec::new();
        for _ in 0..TRIES {
            children.clear();
            let mut next = 0;
            loop {
                let answer = self.run(ebpf, "queue", &[listener, next])?;
                let Some(part) = decode::accept_queue(&answer, listener)? else {
                    break;
                };
                let AcceptQueue {
                    next: rest,
                    children: found,
                } = part;
                children.extend(found);
                if rest == 0 {
                    return Ok((children, true));
                }
                if children.len() >= MAX_CHILDREN {
                    return Ok((children, false));
                }
                next = rest;
            }
        }
        Ok((children, false))
    }

    fn run(
        &mut self,
        ebpf: &Ebpf,
        name: &'static str,
        given: &[u64],
    ) -> Result<Vec<u8>, KernelError> {
        let refused = |detail: String| KernelError::Refused {
            what: format!("run `{name}`"),
            detail,
        };
        let program: &RawTracePoint = ebpf
            .program(name)
            .ok_or_else(|| refused("the object has no such program".to_owned()))?
            .try_into()
            .map_err(|error: ProgramError| refused(error.to_string()))?;
        let mut options = RawTracePointRunOptions::new();
        for (place, value) in options.args.iter_mut().zip(given) {
            *place = *value;
        }
        program.test_run(options).map_err(|error| match error {
            ProgramError::SyscallError(error) => KernelError::io("look at sockets", error.io_error),
            other => refused(other.to_string()),
        })?;
        let answer = self.answers.next().ok_or_else(|| KernelError::Io {
            what: "read an answer of the kernel",
            source: io::Error::other("the program had no room for it"),
        })?;
        Ok(answer.to_vec())
    }
}
