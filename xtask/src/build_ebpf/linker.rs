//! bpf-linker: where it is, and which LLVM it links with.

use std::path::{Path, PathBuf};

use crate::shell;

/// A bpf-linker that was found.
#[derive(Clone, Debug)]
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
    /// As `bpf-linker --version`.
    pub(crate) version: String,
    /// LLVM's major version; `None` when the binary does not show it.
    pub(crate) llvm: Option<u32>,
}

impl Linker {
    /// As the stamp names it.
    pub(crate) fn name(&self) -> String {
        match self.llvm {
            Some(llvm) => format!("{}, LLVM {llvm}", self.version),
            None => self.version.clone(),
        }
    }
}

/// Every place where bpf-linker is looked for, in order.
pub(crate) fn places() -> Vec<PathBuf> {
    let folder = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let mut places: Vec<PathBuf> = shell::find("bpf-linker").into_iter().collect();
    let homes = [
        folder("CARGO_INSTALL_ROOT"),
        folder("CARGO_HOME"),
        folder("HOME").map(|home| home.join(".cargo")),
    ];
    places.extend(
        homes
            .into_iter()
            .flatten()
            .map(|h| h.join("bin/bpf-linker")),
    );
    places
}

/// The first that runs.
pub(crate) fn find() -> Option<Linker> {
    places().into_iter().find_map(|path| {
        let version = shell::output(shell::program(&path).arg("--version"))?;
        let llvm = std::fs::read(&path).ok().and_then(|b| llvm_of(&b));
        Some(Linker {
            path,
            version,
            llvm,
        })
    })
}

/// The LLVM that a binary links with. bpf-linker does not tell when asked, but the binary names the
/// shared library it needs (`libLLVM.so.22.1`, `libLLVM-19.so`), or, linked statically, the
/// producer that LLVM writes into bitcode (`LLVM22.1.8`).
fn llvm_of(binary: &[u8]) -> Option<u32> {
    const MARK: &[u8] = b"LLVM";
    binary
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK)
        .find_map(|(at, _)| {
            let rest = &binary[at + MARK.len()..];
            let rest = [&b".so."[..], b"-", b""]
                .into_iter()
                .find_map(|p| rest.strip_prefix(p))?;
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            let version = std::str::from_utf8(&rest[..digits]).ok()?;
            (digits == 2 && rest.get(digits) == Some(&b'.')).then(|| version.parse().ok())?
        })
}

/// The folder of an installed LLVM that bpf-linker can be built against.
pub(crate) fn llvm_prefix(major: u32) -> PathBuf {
    Path::new("/usr/lib").join(format!("llvm-{major}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linkers_llvm_is_read_from_its_binary() {
        let check =
            |binary: &str, expect| assert_eq!(llvm_of(binary.as_bytes()), expect, "{binary}");
        check("…\0libLLVM.so.22.1\0libc.so.6", Some(22));
        check("\0libLLVM-19.so.1\0", Some(19));
        check("LLVM 22 builds also support\0LLVM23.1.0\0", Some(23));
        check("LLVM issued a diagnostic", None);
        check("", None);
    }
}
