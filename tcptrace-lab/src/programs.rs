//! The BPF programs that are loaded on this host, by the kernel's own account: what they cost, and
//! whose they are. Independent of the agent and of bpftool.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Error, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

/// Commands of bpf(2).
const PROG_GET_NEXT_ID: libc::c_int = 11;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// A loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The kernel's number for it.
    pub id: u32,
    /// Its name, which the kernel cuts off after 15 bytes.
    pub name: String,
    /// Nanoseconds spent in it while statistics were on.
    pub run_time_ns: u64,
    /// How often it ran while statistics were on.
    pub run_count: u64,
    /// Its instructions, as translated by the kernel.
    pub instructions: u32,
    /// Instructions that the verifier processed: 0 where the kernel does not tell.
    pub verified: u32,
}

/// `struct bpf_prog_info` of <linux/bpf.h>, up to `verified_insns` (since 5.16; shorter ones leave
/// zeroes). Pointers stay null: nothing but numbers is asked for.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    insns: [u64; 2],
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
    ifindex: u32,
    gpl: u32,
    netns: [u64; 2],
    nr_jited: [u32; 2],
    jited: [u64; 2],
    btf_id: u32,
    func_info_rec_size: u32,
    func_info: u64,
    nr_func_info: u32,
    nr_line_info: u32,
    line_info: u64,
    jited_line_info: u64,
    nr_jited_line_info: u32,
    line_info_rec_size: u32,
    jited_line_info_rec_size: u32,
    nr_prog_tags: u32,
    prog_tags: u64,
    run_time_ns: u64,
    run_cnt: u64,
    recursion_misses: u64,
    verified_insns: u32,
    attach: [u32; 2],
    padding: u32,
}

/// Every program of the host. Needs root.
pub fn all() -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    let mut id = 0;
    while let Some(next) = next_id(id)? {
        id = next;
        // One that was unloaded meanwhile is none.
        programs.extend(program(id)?);
    }
    Ok(programs)
}

/// Numbers of the programs that a process holds a descriptor of.
pub fn held_by(pid: u32) -> Result<BTreeSet<u32>> {
    let mut held = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor that was closed meanwhile holds nothing.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        held.extend(
            text.lines()
                .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()),
        );
    }
    Ok(held)
}

fn next_id(after: u32) -> Result<Option<u32>> {
    let mut attr = [after, 0, 0, 0];
    match bpf(PROG_GET_NEXT_ID, &mut attr) {
        Ok(_) => Ok(Some(attr[1])),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("cannot list BPF programs; run as root"),
    }
}

fn program(id: u32) -> Result<Option<Program>> {
    let mut attr = [id, 0, 0, 0];
    let fd = match bpf(PROG_GET_FD_BY_ID, &mut attr) {
        // SAFETY: the kernel made this descriptor for us just now.
        Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot open program {id}")),
    };
    let mut info = Info::default();
    let pointer = (&raw mut info) as u64;
    let mut attr = [
        u32::try_from(fd.as_raw_fd())?,
        u32::try_from(size_of::<Info>())?,
        pointer as u32,
        (pointer >> 32) as u32,
    ];
    bpf(OBJ_GET_INFO_BY_FD, &mut attr).with_context(|| format!("cannot ask about program {id}"))?;
    let end = info.name.iter().position(|&byte| byte == 0).unwrap_or(16);
    Ok(Some(Program {
        id,
        name: String::from_utf8_lossy(&info.name[..end]).into_owned(),
        run_time_ns: info.run_time_ns,
        run_count: info.run_cnt,
        instructions: info.xlated_prog_len / 8,
        verified: info.verified_insns,
    }))
}

/// bpf(2) with the first 16 bytes of its attributes.
fn bpf(command: libc::c_int, attr: &mut [u32; 4]) -> std::io::Result<libc::c_int> {
    // SAFETY: the kernel reads and writes these 16 bytes, and for OBJ_GET_INFO_BY_FD as many bytes
    // of the `Info` behind the pointer as its size says, which outlives the call.
    let outcome = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), 16_usize) };
    if outcome < 0 {
        return Err(Error::last_os_error());
    }
    libc::c_int::try_from(outcome).map_err(Error::other)
}

/// The kernel's time keeping of programs, on while this lives. It costs every run of every program
/// some 20 to 40 ns, which the numbers include.
#[derive(Debug)]
pub struct Statistics {
    before: String,
}

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    /// Switches it on.
    pub fn on() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).context("this kernel keeps no BPF statistics")?;
        fs::write(SWITCH, "1").context("cannot switch BPF statistics on; run as root")?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // Left on, it costs a little; there is nobody to tell here.
        let _ = fs::write(SWITCH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_lists_its_programs() {
        let listed = all().unwrap();
        for program in &listed {
            assert!(program.id > 0 && program.instructions > 0, "{program:?}");
        }
        assert_eq!(held_by(std::process::id()).unwrap(), BTreeSet::new());
    }
}
