//! Learns the addresses of the kernel's wake functions by peeking at registrations of our own: one
//! socket under epoll, one under poll, one blocked in a read, one listener blocked in accept. That
//! works under `kptr_restrict`, and it proves the offsets on this kernel.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use aya::Ebpf;
use tcptrace_core::decode::{Hz, OwnSock, WakeFunctions};
use tcptrace_core::input::EpollWatch;
use tcptrace_core::units::MonoNs;

use super::error::KernelError;
use super::on_demand::OnDemand;

/// How long a thread of ours may take until it is seen waiting.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often a thread of ours is looked at.
const STEP: Duration = Duration::from_micros(100);

/// The mask under which our own socket is registered, and which the peek must see.
const INTEREST: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32;

/// Makes sockets of our own and looks at them.
pub(super) fn wake_functions(
    ebpf: &Ebpf,
    on_demand: &mut OnDemand,
    hz: Hz,
    file_ref_bias: u64,
) -> Result<WakeFunctions, KernelError> {
    let own = |source| KernelError::Io {
        what: "learn the kernel's wake functions from sockets of our own on the loopback",
        source,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(own)?;
    let address = listener.local_addr().map_err(own)?;
    let connect = || -> io::Result<(TcpStream, TcpStream)> {
        let client = TcpStream::connect_timeout(&address, PATIENCE)?;
        Ok((client, listener.accept()?.0))
    };
    let (mut polled, watched) = connect().map_err(own)?;
    let (mut reader, mut writer) = connect().map_err(own)?;
    let epoll = Epoll::watch(watched.as_raw_fd(), INTEREST).map_err(own)?;

    let fds = [&watched, &polled, &reader].map(|it| it.as_raw_fd() as u64);
    let fds = [fds[0], fds[1], fds[2], listener.as_raw_fd() as u64];
    let socks = on_demand.resolve(ebpf, &fds)?;
    let [watched_sock, polled_sock, reader_sock, listener_sock] = socks[..] else {
        return Err(own(io::Error::other(
            "our own descriptors were not resolved",
        )));
    };
    if socks.iter().any(|it| it.sock.0 == 0) {
        return Err(own(io::Error::other(
            "our own descriptors lead to no socket",
        )));
    }
    let mut functions = WakeFunctions {
        file_ref_bias,
        ..WakeFunctions::default()
    };
    let (data_ready, first) = on_demand
        .wake_functions(ebpf, watched_sock.sock.0)?
        .unwrap_or_default();
    functions.data_ready = data_ready;
    functions.epoll = first.unwrap_or(0);

    let learnt: Result<(), KernelError> = std::thread::scope(|scope| {
        scope.spawn(|| wait_readable(polled.as_raw_fd()));
        scope.spawn(|| reader.read(&mut [0]));
        scope.spawn(|| listener.accept());
        let mut seen = |sock: u64| -> Result<u64, KernelError> {
            for _ in 0..PATIENCE.as_micros() / STEP.as_micros() {
                if let Some((_, Some(function))) = on_demand.wake_functions(ebpf, sock)? {
                    return Ok(function);
                }
                std::thread::sleep(STEP);
            }
            Ok(0)
        };
        let result = (|| {
            functions.poll = seen(polled_sock.sock.0)?;
            functions.read = seen(reader_sock.sock.0)?;
            functions.accept = seen(listener_sock.sock.0)?;
            Ok(())
        })();
        // Wake the threads whatever was seen.
        let _ = (&watched).write_all(b"x");
        let _ = writer.write_all(b"x");
        let _ = TcpStream::connect_timeout(&address, PATIENCE);
        result
    });
    learnt?;
    let _ = polled.read(&mut [0]);
    check(ebpf, on_demand, &functions, hz, watched_sock.sock.0)?;
    drop(epoll);
    Ok(functions)
}

/// Our own epoll registration must read as what it is, else the offsets are wrong.
fn check(
    ebpf: &Ebpf,
    on_demand: &mut OnDemand,
    functions: &WakeFunctions,
    hz: Hz,
    watched: u64,
) -> Result<(), KernelError> {
    let expected = EpollWatch {
        // The kernel adds error and hangup to every mask.
        events: INTEREST | (libc::EPOLLERR | libc::EPOLLHUP) as u32,
        ready: false,
        waited_on: false,
    };
    let mut seen = Vec::new();
    on_demand.peek(ebpf, functions, hz, &[watched], &mut |it| {
        seen.extend(it.waiters.into_iter().flat_map(|waiters| waiters.epoll));
    })?;
    if seen == [expected] {
        return Ok(());
    }
    Err(KernelError::Refused {
        what: "read epoll registrations".to_owned(),
        detail: format!("our own reads as {seen:?} instead of {expected:?}"),
    })
}

/// An epoll instance with one registration.
pub(super) struct Epoll {
    _open: OwnedFd,
}

impl Epoll {
    pub(super) fn watch(fd: RawFd, events: u32) -> io::Result<Self> {
        // SAFETY: the call has no preconditions.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let owned = unsafe { OwnedFd::from_raw_fd(epoll) };
        let mut event = libc::epoll_event { events, u64: 0 };
        // SAFETY: the event outlives the call.
        let added = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        if added < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { _open: owned })
    }
}

fn wait_readable(fd: RawFd) {
    let mut one = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry is given, and it outlives the call.
    unsafe { libc::poll(&raw mut one, 1, PATIENCE.as_millis() as libc::c_int * 2) };
}

/// Where the tick rate cannot be told from the time since the boot, it is counted for so long.
const COUNT_FOR: Duration = Duration::from_millis(200);

/// The kernel's tick rate.
pub(super) fn hz(ebpf: &Ebpf, on_demand: &mut OnDemand) -> Result<Hz, KernelError> {
    let mut look = || {
        let answers = on_demand.resolve(ebpf, &[0])?;
        answers.first().copied().ok_or_else(|| KernelError::Io {
            what: "learn the kernel's tick rate",
            source: io::Error::other("no answer"),
        })
    };
    let first = look()?;
    tick_rate(first, look)
}

/// The tick rate. Jiffies start at 2^32 less 300 seconds, so that their number and the time since
/// the boot tell how many make a second; around those 300 seconds, or where the two clocks drifted
/// apart (a virtual machine that was stopped), they are counted instead.
fn tick_rate(
    first: OwnSock,
    again: impl FnOnce() -> Result<OwnSock, KernelError>,
) -> Result<Hz, KernelError> {
    if let Some(hz) = since_boot(first.jiffies, first.at) {
        return Ok(hz);
    }
    std::thread::sleep(COUNT_FOR);
    let second = again()?;
    let seconds = second.at.since(first.at).as_secs_f64();
    let ticks = second.jiffies.wrapping_sub(first.jiffies) as f64;
    Ok(nearest(|hz| (ticks / seconds - f64::from(hz)).abs()).0)
}

fn since_boot(jiffies: u64, at: MonoNs) -> Option<Hz> {
    const HEAD_START: f64 = 300.0;
    const AMBIGUOUS: f64 = 30.0;
    const DRIFT: f64 = 0.03;
    let up = at.since(MonoNs(0)).as_secs_f64();
    let ticks = jiffies.wrapping_sub(1 << 32).cast_signed() as f64;
    let (hz, error) = nearest(|hz| (ticks / f64::from(hz) + HEAD_START - up).abs());
    let clear = (up - HEAD_START).abs() > AMBIGUOUS && error < DRIFT * (up - HEAD_START).abs();
    clear.then_some(hz)
}

fn nearest(error: impl Fn(u32) -> f64) -> (Hz, f64) {
    const RATES: [u32; 4] = [250, 1000, 100, 300];
    RATES
        .into_iter()
        .map(|hz| (Hz(hz), error(hz)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((Hz(RATES[0]), 0.0))
}

#[cfg(test)]
mod tests {
    use tcptrace_core::decode::SockAddress;

    use super::*;

    fn at(seconds: u64, jiffies: u64) -> OwnSock {
        OwnSock {
            fd: 0,
            sock: SockAddress(0),
            jiffies,
            at: MonoNs(seconds * 1_000_000_000),
        }
    }

    #[test]
    fn the_tick_rate_follows_from_jiffies() {
        for hz in [100_u64, 250, 300, 1000] {
            let jiffies = |up: u64| (1_u64 << 32) - 300 * hz + up * hz + 1;
            for up in [5, 60, 290, 300, 301, 900, 86_400, 10_000_000] {
                let found = tick_rate(at(up, jiffies(up)), || Ok(at(up + 1, jiffies(up + 1))));
                let found = found.expect("the second look succeeds");
                assert_eq!(u64::from(found.0), hz, "up {up} s");
            }
        }
    }
}
