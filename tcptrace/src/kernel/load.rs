//! Loading the object: each program alone, so that one that a kernel refuses does not sink the rest.

use std::error::Error;
use std::io;

use aya::programs::{
    BtfTracePoint, FEntry, FExit, Iter, KProbe, Program, ProgramError, RawTracePoint, TracePoint,
};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel, include_bytes_aligned};
use tcptrace_common::filter::{
    FAMILY, FILTER_WORDS, LOCAL, LOCAL_COUNT, MAX_PORTS, NETNS, REMOTE, REMOTE_COUNT,
};
use tcptrace_common::names;
use tcptrace_core::filter::Family;
use tcptrace_core::units::Port;

use super::capabilities::{self, Capabilities, Capability};
use super::checkup;
use super::error::KernelError;
use super::hooks::{Hook, Tier};
use super::layout::Resolved;
use super::probes::{KernelFilter, ProbeOptions};
use super::tracefs;

/// The eBPF programs, built by `cargo xtask build-ebpf`.
static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/tcptrace.bpf.o");

/// The smallest ring.
const MIN_RING: u32 = 1 << 16;
/// The largest ring that the kernel's 32-bit positions allow with room to spare.
const MAX_RING: u32 = 1 << 30;

/// Creates the maps and prepares the programs.
pub(super) fn object(options: &ProbeOptions, layout: &Resolved) -> Result<Ebpf, KernelError> {
    raise_memlock();
    let ring = options
        .ring_bytes
        .clamp(MIN_RING, MAX_RING)
        .next_power_of_two();
    let wake = u64::from(ring / 4);
    let filter = filter_words(&options.filter);
    let stacks = u32::from(options.stacks);
    let tasks = tasks(layout);
    EbpfLoader::new()
        // Nothing to relocate: offsets come from LAYOUT.
        .btf(None)
        .verifier_log_level(if options.verifier_log {
            VerifierLogLevel::DEBUG | VerifierLogLevel::STATS
        } else {
            VerifierLogLevel::DISABLE
        })
        .map_max_entries(names::EVENTS, ring)
        .map_max_entries(names::HANDLED_BY_TASK, tasks)
        .map_max_entries(names::ENDED_BY_TASK, tasks)
        .override_global(names::LAYOUT, layout.entries.as_slice(), true)
        .override_global(names::FILTER, filter.as_slice(), true)
        .override_global(names::WAKE_LEVEL, &wake, true)
        .override_global(names::STACKS_WANTED, &stacks, true)
        .load(OBJECT)
        .map_err(|error| explained(refused(MAPS, &error), layout))
}

const MAPS: &str = "create the maps of the probes";

/// Rows of the tables by task: one where they are not used.
pub(super) fn tasks(layout: &Resolved) -> u32 {
    if layout.may_preempt() {
        names::THREADS + names::IDLE_TASKS
    } else {
        1
    }
}

/// Who may load programs and makes no map may have met a limit that a privilege would raise, which
/// is likelier than a hardened kernel where there is such a limit.
fn explained(error: KernelError, layout: &Resolved) -> KernelError {
    match (error, limited().filter(|_| layout.maps_are_locked)) {
        (
            KernelError::NotPrivileged { what, detail }
            | KernelError::Forbidden { what, detail, .. },
            Some(limit),
        ) => KernelError::NotPrivileged {
            what,
            detail: detail + &limit,
        },
        (error, _) => error,
    }
}

/// What else may have kept maps from being made, for who may load programs.
fn limited() -> Option<String> {
    let held = Capabilities::of_this_thread();
    let needed = [Capability::Bpf, Capability::Perfmon];
    if !needed.into_iter().all(|it| held.has(it)) || held.has(Capability::SysResource) {
        return None;
    }
    let bytes = checkup::memlock()?;
    Some(format!(
        "; up to Linux 5.10 maps count against RLIMIT_MEMLOCK, {bytes} bytes here, which only \
         CAP_SYS_RESOURCE may raise"
    ))
}

/// The kernel's BTF, as aya wants it for attaching.
pub(super) fn target_btf() -> Result<Btf, KernelError> {
    Btf::from_sys_fs().map_err(|error| KernelError::KernelCannot {
        lacks: format!("type information that aya can read ({error})"),
        remedy: "please report it with the kernel's version",
    })
}

fn filter_words(filter: &KernelFilter) -> [u32; FILTER_WORDS] {
    let mut words = [0; FILTER_WORDS];
    words[FAMILY] = match filter.family {
        None => 0,
        Some(Family::V4) => 4,
        Some(Family::V6) => 6,
    };
    words[NETNS] = filter.netns.map_or(0, |netns| netns.0);
    let mut put = |count: usize, first: usize, ports: &[Port]| {
        // More ports than fit are left to user space, which filters again.
        if ports.len() <= MAX_PORTS {
            words[count] = u32::try_from(ports.len()).unwrap_or(0);
            for (index, port) in ports.iter().enumerate() {
                words[first + index] = u32::from(port.0);
            }
        }
    };
    put(LOCAL_COUNT, LOCAL, &filter.local_ports);
    put(REMOTE_COUNT, REMOTE, &filter.remote_ports);
    words
}

/// Loads one program and attaches it, if it is of a kind that is attached.
pub(super) fn hook_in(ebpf: &mut Ebpf, btf: &Btf, hook: &Hook) -> Result<(), KernelError> {
    let what = || format!("load the probe `{}` on {}", hook.program, hook.hook);
    let program = ebpf
        .program_mut(hook.program)
        .ok_or_else(|| KernelError::Refused {
            what: what(),
            detail: "the object has no such program".to_owned(),
        })?;
    let name = hook.hook.split_once(':').map_or(hook.hook, |it| it.1);
    let category = hook.hook.split_once(':').map_or("", |it| it.0);
    let done: Result<(), ProgramError> = (|| match hook.tier {
        Tier::Tracepoint => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(name, btf)?;
            program.attach().map(drop)
        }
        Tier::Fentry => {
            let program: &mut FEntry = program.try_into()?;
            program.load(name, btf)?;
            program.attach().map(drop)
        }
        Tier::Fexit => {
            let program: &mut FExit = program.try_into()?;
            program.load(name, btf)?;
            program.attach().map(drop)
        }
        Tier::Kprobe | Tier::Kretprobe => {
            let program: &mut KProbe = program.try_into()?;
            program.load()?;
            program.attach(name, 0).map(drop)
        }
        Tier::Iterator => {
            let program: &mut Iter = program.try_into()?;
            program.load(name, btf)
        }
        Tier::OnDemand => {
            let program: &mut RawTracePoint = program.try_into()?;
            program.load()
        }
        Tier::Syscall => {
            let program: &mut TracePoint = program.try_into()?;
            program.load()?;
            tracefs::with(|| program.attach(category, name).map(drop))
                .unwrap_or_else(|reason| Err(io::Error::other(reason).into()))
        }
    })();
    done.map_err(|error| {
        // What was loaded and not attached must not stay.
        let _ = unhook(ebpf, hook);
        refused(&what(), &error)
    })
}

/// Whether the kernel has breakpoint probes at all.
pub(super) fn has_kprobes() -> bool {
    std::path::Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// Detaches and unloads one program.
pub(super) fn unhook(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), ProgramError> {
    match ebpf.program_mut(hook.program) {
        Some(Program::FEntry(program)) => program.unload(),
        Some(Program::FExit(program)) => program.unload(),
        Some(Program::KProbe(program)) => program.unload(),
        Some(Program::TracePoint(program)) => program.unload(),
        // Nothing else is hooked in by choice.
        _ => Ok(()),
    }
}

/// Sorts an error of the loader: a lack of privilege, or a refusal.
fn refused(what: &str, error: &(dyn Error + 'static)) -> KernelError {
    let mut detail = error.to_string();
    let mut cause = Some(error);
    while let Some(it) = cause {
        if let Some(io) = it.downcast_ref::<io::Error>() {
            // The verifier answers EACCES, a lack of privilege EPERM; from Linux 7 on also EINVAL,
            // for what only the privileged may ask for.
            let code = io.raw_os_error();
            if code == Some(libc::EPERM) || code == Some(libc::EINVAL) && !may_load() {
                return denied(what, io);
            }
            // The kernel's own number, which the C library has no words for.
            if code == Some(ENOTSUPP) {
                return KernelError::Refused {
                    what: what.to_owned(),
                    detail: "this kernel cannot hook this function in this way (ENOTSUPP)"
                        .to_owned(),
                };
            }
            if !detail.contains(&io.to_string()) {
                detail = format!("{detail}: {io}");
            }
        }
        cause = it.source();
    }
    KernelError::Refused {
        what: what.to_owned(),
        detail,
    }
}

/// `include/linux/errno.h`.
const ENOTSUPP: i32 = 524;

/// EPERM: who has every capability of the host and is refused nevertheless meets a hardened kernel.
fn denied(what: &str, error: &io::Error) -> KernelError {
    if may_trace() {
        KernelError::Forbidden {
            what: what.to_owned(),
            detail: error.to_string(),
            remedy: "look for kernel lockdown (/sys/kernel/security/lockdown) or a security policy that forbids BPF",
        }
    } else {
        KernelError::NotPrivileged {
            what: what.to_owned(),
            detail: error.to_string(),
        }
    }
}

/// Whether this thread has all that the kernel may ask for here, in the host's user namespace.
fn may_trace() -> bool {
    let needed = [Capability::SysAdmin, Capability::Perfmon, Capability::Bpf];
    let held = Capabilities::of_this_thread();
    capabilities::in_the_hosts_user_namespace() && needed.into_iter().all(|it| held.has(it))
}

/// Whether this thread may load programs at all.
fn may_load() -> bool {
    let held = Capabilities::of_this_thread();
    held.has(Capability::Bpf) || held.has(Capability::SysAdmin)
}

/// Up to Linux 5.10 maps count against RLIMIT_MEMLOCK, whose default is 64 KiB.
fn raise_memlock() {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the structure outlives the call. A failure shows when a map is created.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call of a function of our own is a relocation of type R_BPF_64_32. See the object's
    /// `main.rs` for why there must be none.
    #[test]
    fn no_program_calls_a_function() {
        const SHT_REL: u64 = 9;
        const R_BPF_64_32: u64 = 10;
        let number = |at: usize, size: usize| {
            let bytes = OBJECT[at..at + size].iter().rev();
            bytes.fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        assert_eq!(OBJECT[..4], *b"\x7fELF");
        let (headers, size, count) = (number(40, 8), number(58, 2), number(60, 2));
        let header = |index: u64| usize::try_from(headers + index * size).expect("small");
        let mut checked = 0;
        for index in 0..count {
            let at = header(index);
            // Code has SHF_EXECINSTR; other sections may refer to functions.
            let about = header(number(at + 44, 4));
            if number(at + 4, 4) != SHT_REL || number(about + 8, 8) & 4 == 0 {
                continue;
            }
            let start = usize::try_from(number(at + 24, 8)).expect("small");
            let len = usize::try_from(number(at + 32, 8)).expect("small");
            for entry in (start..start + len).step_by(16) {
                let offset = number(entry, 8);
                assert_ne!(
                    number(entry + 8, 4),
                    R_BPF_64_32,
                    "section {index}, {offset:#x}"
                );
                checked += 1;
            }
        }
        assert!(checked > 100, "{checked}");
    }

    #[test]
    fn the_filter_leaves_too_many_ports_to_user_space() {
        let ports = |count: u16| (1..=count).map(Port).collect();
        let filter = |local_ports| KernelFilter {
            local_ports,
            ..KernelFilter::default()
        };
        assert_eq!(filter_words(&filter(ports(9))), [0; FILTER_WORDS]);
        let words = filter_words(&filter(ports(2)));
        assert_eq!(words[LOCAL_COUNT..LOCAL + 3], [2, 0, 1, 2, 0]);
    }
}
