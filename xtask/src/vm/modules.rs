//! Which kernel modules the guest loads, and in what order.
//!
//! A kernel package has no `modules.dep` (depmod makes it when the package is installed), so the
//! dependencies are read where depmod reads them: in each module's `.modinfo`. The guest then loads
//! a plain list; no module is looked for there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// What the lab needs that some Debian kernel has as a module. Those that a kernel has built in, or
/// does not have, are no error here: what then fails says so itself.
const WANTED: [&str; 11] = [
    "veth",
    "tcp_diag",
    "inet_diag",
    "sch_netem",
    "sch_ingress",
    "nf_tables",
    // kTLS, and what its cipher is made of.
    "tls",
    "gcm",
    "ctr",
    "ghash_generic",
    "aes_generic",
];

/// nftables' expressions are a module each, and which ones changes from kernel to kernel.
const WANTED_PREFIX: &str = "nft_";

/// A module, ready to be loaded.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

/// The modules to load from the tree of one kernel, each after those it depends on.
pub(crate) fn choose(tree: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    find(&tree.join("kernel"), &mut files)?;
    let wanted: Vec<String> = files
        .keys()
        .filter(|name| WANTED.contains(&name.as_str()) || name.starts_with(WANTED_PREFIX))
        .cloned()
        .collect();
    let mut chosen = Chosen {
        files,
        begun: BTreeSet::new(),
        modules: Vec::new(),
    };
    for name in wanted {
        chosen.add(&name)?;
    }
    Ok(chosen.modules)
}

struct Chosen {
    files: BTreeMap<String, PathBuf>,
    begun: BTreeSet<String>,
    modules: Vec<Module>,
}

impl Chosen {
    fn add(&mut self, name: &str) -> Result<()> {
        if !self.begun.insert(name.to_owned()) {
            return Ok(());
        }
        // A dependency without a file is built into the kernel.
        let Some(file) = self.files.get(name) else {
            return Ok(());
        };
        let content = read(file)?;
        for dependency in dependencies(&content) {
            self.add(&dependency)?;
        }
        self.modules.push(Module {
            name: name.to_owned(),
            content,
        });
        Ok(())
    }
}

/// Collects the modules below `folder` by name.
fn find(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot list the kernel's modules in {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find(&path, files)?;
        } else if let Some((stem, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            files.insert(stem.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// The module's ELF file. Debian compresses them since trixie.
fn read(file: &Path) -> Result<Vec<u8>> {
    let unpack = match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => {
            return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        }
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => bail!("{} is compressed in an unknown way", file.display()),
    };
    let output = shell::program(unpack)
        .arg("-dc")
        .arg(file)
        .output()
        .with_context(|| format!("cannot unpack {}: {unpack} is missing", file.display()))?;
    if !output.status.success() {
        bail!("{unpack} cannot unpack {}", file.display());
    }
    Ok(output.stdout)
}

/// The modules that `module` names in its `.modinfo`, which is a run of `key=value` strings that
/// each end in a zero.
fn dependencies(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let value = &module[at + key.len()..];
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())])
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        let check = |module: &[u8], expected: &[&str]| assert_eq!(dependencies(module), expected);
        check(
            b"ELF\0license=GPL\0depends=nf_tables,nf-conntrack\0name=x\0",
            &["nf_tables", "nf_conntrack"],
        );
        check(b"ELF\0depends=\0name=x\0", &[]);
        check(b"ELF\0name=x\0", &[]);
    }

    #[test]
    fn a_module_follows_what_it_depends_on() {
        let folder = std::env::temp_dir().join(format!("tcptrace-modules-{}", std::process::id()));
        let kernel = folder.join("kernel/net");
        fs::create_dir_all(&kernel).unwrap();
        let module = |name: &str, depends: &str| {
            let content = format!("\0depends={depends}\0");
            fs::write(kernel.join(format!("{name}.ko")), content).unwrap();
        };
        module("nft_a", "nf_tables,built_in");
        module("nf_tables", "z-base");
        module("z-base", "");
        module("unwanted", "");
        let order: Vec<String> = choose(&folder)
            .unwrap()
            .into_iter()
            .map(|module| module.name)
            .collect();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(order, ["z_base", "nf_tables", "nft_a"]);
    }
}
