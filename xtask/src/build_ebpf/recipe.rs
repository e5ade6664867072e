//! How the eBPF object is compiled: what decides its bytes beyond the sources.
//!
//! The stamp covers this file, so a changed flag makes the committed object stale.

use std::path::{Path, PathBuf};

/// The target: eBPF in little endian, as all machines we support are.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// The binary that the package tcptrace-ebpf builds.
pub(crate) const BINARY: &str = "tcptrace";

/// aya-ebpf asks for the architecture of the kernel that the object will meet, for helpers that we
/// do without; left alone it takes the building machine's.
pub(crate) const ENVIRONMENT: [(&str, &str); 1] = [("AYA_BPF_TARGET_ARCH", "x86_64")];

/// What `cargo build` is told. `core` has to be compiled as well: no toolchain ships it for eBPF.
pub(crate) const CARGO_ARGUMENTS: [&str; 4] = ["--release", "-Zbuild-std=core", "--target", TARGET];

/// The compiler's flags. BTF is what the loader and the verifier's messages need, and it is made
/// from debug information, which is stripped afterwards. No path of the building machine may enter
/// the object: the prefixes are renamed, the longest last, because the last match wins.
pub(crate) fn rustflags(places: &Places<'_>) -> Vec<String> {
    let mut flags: Vec<String> = ["-Cdebuginfo=2", "-Clink-arg=--btf"]
        .map(str::to_owned)
        .into();
    let mut renamed = vec![
        (places.cargo_home, "/cargo"),
        (places.sysroot, "/rust"),
        (places.target, "/tcptrace/target"),
        (places.repository, "/tcptrace"),
    ];
    renamed.extend(places.registries.iter().map(|r| (r.as_path(), "/crates")));
    renamed.sort_by_key(|(from, _)| from.as_os_str().len());
    for (from, to) in renamed {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    }
    flags
}

/// The machine's paths that the compiler sees.
pub(crate) struct Places<'a> {
    /// Cargo's home.
    pub(crate) cargo_home: &'a Path,
    /// The folders in it that hold the dependencies' sources; each is named after the registry,
    /// or the mirror, that this machine asked.
    pub(crate) registries: &'a [PathBuf],
    /// The sources of `core` lie below it.
    pub(crate) sysroot: &'a Path,
    /// Build scripts write here.
    pub(crate) target: &'a Path,
    /// This repository.
    pub(crate) repository: &'a Path,
}

/// The compiler's arguments, with `-C metadata` made the same everywhere. Cargo derives it from the
/// absolute path of tcptrace-common, which lies outside the workspace of tcptrace-ebpf, and each
/// release of cargo in its own way; it enters symbol names, and the order of functions by them.
/// Build scripts and macros run on the building machine and stay as cargo wants them.
pub(crate) fn same_everywhere(arguments: Vec<String>, package: &str) -> Vec<String> {
    if !arguments.iter().any(|a| a == TARGET) {
        return arguments;
    }
    arguments
        .into_iter()
        .map(|argument| match argument.strip_prefix("metadata=") {
            Some(_) => format!("metadata={package}"),
            None => argument,
        })
        .collect()
}
