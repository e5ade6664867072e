//! Rust toolchains that can compile for eBPF: those that carry the sources of `core`.
//!
//! Any channel will do. `RUSTC_BOOTSTRAP=1` opens `-Zbuild-std` on a stable compiler; the product
//! itself never needs it, only this one object.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::shell;

/// The oldest compiler that builds the programs (edition 2024, and aya-ebpf's own demand).
const OLDEST: (u32, u32) = (1, 90);

/// A compiler that was found, fit or not.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// Where it was found, for people: "rustup's nightly-…", "/usr/bin/rustc".
    pub(crate) origin: String,
    pub(crate) rustc: PathBuf,
    pub(crate) sysroot: PathBuf,
    /// As `rustc --version`.
    pub(crate) version: String,
    pub(crate) release: (u32, u32),
    /// LLVM's full version.
    pub(crate) llvm: String,
    pub(crate) has_sources: bool,
}

impl Toolchain {
    /// Why it cannot serve together with a bpf-linker of that LLVM; `None` when it can. An unknown
    /// LLVM of the linker excludes nothing: linking then tells.
    pub(crate) fn objection(&self, linker_llvm: Option<u32>) -> Option<String> {
        if self.release < OLDEST {
            return Some(format!("older than {}.{}", OLDEST.0, OLDEST.1));
        }
        if !self.has_sources {
            return Some("has no rust-src".to_owned());
        }
        match (self.llvm_major(), linker_llvm) {
            (Some(own), Some(linker)) if own > linker => Some(format!(
                "its LLVM {own} is newer than bpf-linker's LLVM {linker}, which cannot read what it writes"
            )),
            _ => None,
        }
    }

    /// The number that decides whether bpf-linker can read its bitcode.
    pub(crate) fn llvm_major(&self) -> Option<u32> {
        self.llvm.split('.').next()?.parse().ok()
    }

    /// As the stamp names it.
    pub(crate) fn name(&self) -> String {
        format!("{}, LLVM {}", self.version, self.llvm)
    }

    /// The cargo beside the compiler, or the one that runs us: it only drives.
    pub(crate) fn cargo(&self) -> PathBuf {
        let beside = self.rustc.with_file_name("cargo");
        if beside.is_file() {
            beside
        } else {
            std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
        }
    }
}

/// Every compiler of this machine: the active one, rustup's others, the distribution's.
pub(crate) fn all() -> Vec<Toolchain> {
    let mut candidates = vec![("the active rustc".to_owned(), active())];
    if let Some(rustup) = shell::find("rustup") {
        let names = shell::output(shell::program(&rustup).args(["toolchain", "list"]));
        for line in names.unwrap_or_default().lines() {
            let name = line.split_whitespace().next().unwrap_or(line);
            let which = ["which", "--toolchain", name, "rustc"];
            if let Some(path) = shell::output(shell::program(&rustup).args(which)) {
                candidates.push((format!("rustup's {name}"), path.into()));
            }
        }
    }
    candidates.push(("/usr/bin/rustc".to_owned(), "/usr/bin/rustc".into()));

    let mut seen = HashSet::new();
    candidates
        .into_iter()
        .filter_map(|(origin, rustc)| inspect(origin, &rustc))
        .filter(|toolchain| seen.insert(toolchain.rustc.clone()))
        .collect()
}

/// The first that serves; of several, the one that the committed object was built with, so that a
/// rebuild changes no byte without need.
pub(crate) fn choose<'a>(
    all: &'a [Toolchain],
    linker_llvm: Option<u32>,
    stamped: Option<&str>,
) -> Option<&'a Toolchain> {
    let fit = || all.iter().filter(|t| t.objection(linker_llvm).is_none());
    fit()
        .find(|t| stamped == Some(t.name().as_str()))
        .or_else(|| fit().next())
}

/// The compiler that `cargo` uses here.
fn active() -> PathBuf {
    std::env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from)
}

fn inspect(origin: String, rustc: &Path) -> Option<Toolchain> {
    let sysroot = shell::output(shell::program(rustc).args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(sysroot);
    // rustup's proxies hide the real compiler, and obey an environment that cargo may have set.
    let beside = sysroot.join("bin/rustc");
    let rustc = if beside.is_file() {
        beside
    } else {
        rustc.to_owned()
    };
    let verbose = shell::output(shell::program(&rustc).arg("-vV"))?;
    let field = |name: &str| {
        verbose
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let release = field("release:");
    let mut numbers = release.split('.').map_while(|n| n.parse().ok());
    Some(Toolchain {
        origin,
        rustc,
        has_sources: sysroot
            .join("lib/rustlib/src/rust/library/core/src/lib.rs")
            .is_file(),
        sysroot,
        version: verbose.lines().next().unwrap_or_default().to_owned(),
        release: (numbers.next()?, numbers.next()?),
        llvm: field("LLVM version:"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(release: (u32, u32), llvm: &str, has_sources: bool) -> Toolchain {
        Toolchain {
            origin: "test".to_owned(),
            rustc: format!("/{}.{}/rustc", release.0, release.1).into(),
            sysroot: "/".into(),
            version: format!("rustc {}.{}.0", release.0, release.1),
            release,
            llvm: llvm.to_owned(),
            has_sources,
        }
    }

    #[test]
    fn a_compiler_needs_sources_and_an_llvm_the_linker_can_read() {
        let sourceless = toolchain((1, 95), "22.1.2", false);
        let newer = toolchain((1, 99), "23.0.1", true);
        let old = toolchain((1, 63), "14.0.6", true);
        let fit = toolchain((1, 96), "22.1.8", true);
        let all = [sourceless, newer, old, fit];
        let chosen = |linker| choose(&all, linker, None).map(|t| t.release);
        assert_eq!(chosen(Some(22)), Some((1, 96)));
        assert_eq!(chosen(Some(23)), Some((1, 99)));
        assert_eq!(chosen(None), Some((1, 99)));
        assert_eq!(chosen(Some(21)), None);
        let objection = all[1].objection(Some(22)).expect("LLVM 23 is too new");
        assert!(
            objection.contains("LLVM 23 is newer than bpf-linker's LLVM 22"),
            "{objection}"
        );
    }

    #[test]
    fn the_stamped_compiler_is_preferred() {
        let all = [
            toolchain((1, 95), "22.1.2", true),
            toolchain((1, 96), "22.1.8", true),
        ];
        let stamped = all[1].name();
        let chosen = choose(&all, Some(22), Some(&stamped)).map(|t| t.release);
        assert_eq!(chosen, Some((1, 96)));
    }
}
