//! `cargo xtask build-ebpf`: from tcptrace-ebpf to the object that the agent embeds.
//!
//! The object and its stamp are committed, so that the agent builds with stable Rust alone.
//! Invariants: the same sources and tools give the same bytes on every machine, and no path of the
//! building machine stands in them.

mod linker;
mod object;
mod recipe;
mod remedy;
#[path = "../../../tcptrace/build/stamp.rs"]
mod stamp;
mod toolchain;
pub(crate) mod wrapper;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{repository, shell};
use linker::Linker;
use remedy::Lack;
use stamp::{OBJECT, STAMP, Stamp};
use toolchain::Toolchain;

/// How to build.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Install what is missing (a compiler with rust-src, LLVM, bpf-linker), naming each command
    #[arg(long)]
    pub(crate) install: bool,
    /// Write nothing: rebuild from nothing and fail unless the committed object is what comes out
    #[arg(long)]
    pub(crate) check: bool,
}

/// Builds the object, then writes it or compares it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let package = repository::root().join("tcptrace");
    let committed = fs::read_to_string(package.join(STAMP))
        .ok()
        .and_then(|text| Stamp::parse(&text));
    let tools = Tools::find(options.install, committed.as_ref())?;
    shell::say(format_args!(
        "compiling the eBPF programs, and `core` for them, with {} and {} (half a minute the first time)",
        tools.compiler.name(),
        tools.linker.name(),
    ));
    if options.check {
        check(&package, committed.as_ref(), &tools)
    } else {
        write(&package, committed.as_ref(), &tools)
    }
}

fn write(package: &Path, committed: Option<&Stamp>, tools: &Tools) -> Result<()> {
    // Cargo cannot see that the recipe changed: each recipe has a folder of its own.
    let recipe = stamp::digest_bytes(include_bytes!("recipe.rs"));
    let folder = repository::target_dir().join("ebpf").join(&recipe[..8]);
    let (bytes, stamp) = build(tools, &folder, Lock::Free)?;
    let path = package.join(OBJECT);
    // An unchanged object keeps its time, and the agent is not built again.
    if committed == Some(&stamp) && fs::read(&path).is_ok_and(|old| old == bytes) {
        shell::say(format_args!("tcptrace/{OBJECT} is up to date"));
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(package))?;
    fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    fs::write(package.join(STAMP), stamp.to_string())
        .with_context(|| format!("cannot write tcptrace/{STAMP}"))?;
    shell::say(format_args!(
        "wrote tcptrace/{OBJECT} ({} bytes) and tcptrace/{STAMP}",
        bytes.len()
    ));
    Ok(())
}

/// Rebuilds in an empty folder, so that nothing kept from an earlier build can hide a difference.
fn check(package: &Path, committed: Option<&Stamp>, tools: &Tools) -> Result<()> {
    const REMEDY: &str = "run `cargo xtask build-ebpf` and commit what it writes";
    let folder = repository::target_dir().join("ebpf-check");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let built = build(tools, &folder, Lock::Kept);
    fs::remove_dir_all(&folder).ok();
    let (bytes, stamp) = built?;
    let Some(committed) = committed else {
        bail!("there is no stamp tcptrace/{STAMP}; {REMEDY}");
    };
    if committed.sources != stamp.sources {
        bail!("tcptrace/{OBJECT} is stale: the eBPF sources changed since it was built; {REMEDY}");
    }
    if committed.compiler != stamp.compiler || committed.linker != stamp.linker {
        shell::say(format_args!(
            "the sources match the stamp, and build; the bytes cannot be compared, because the \
             object was made by {} and {}",
            committed.compiler, committed.linker
        ));
        return Ok(());
    }
    if fs::read(package.join(OBJECT)).ok().as_ref() != Some(&bytes) {
        bail!("tcptrace/{OBJECT} is not what its sources and tools produce; {REMEDY}");
    }
    shell::say(format_args!(
        "tcptrace/{OBJECT} is what its sources produce, byte for byte"
    ));
    Ok(())
}

/// A compiler and a linker that fit together.
struct Tools {
    compiler: Toolchain,
    linker: Linker,
}

impl Tools {
    fn find(install: bool, committed: Option<&Stamp>) -> Result<Self> {
        let mut toolchains = toolchain::all();
        let mut linker = linker::find();
        let mut lack = Lack::of(&toolchains, linker.as_ref());
        if install && !lack.nothing() {
            shell::say("this host lacks tools for building eBPF programs; installing them");
            remedy::install(lack)?;
            toolchains = toolchain::all();
            linker = linker::find();
            lack = Lack::of(&toolchains, linker.as_ref());
        }
        let llvm = linker.as_ref().and_then(|l| l.llvm);
        let stamped = committed.map(|s| s.compiler.as_str());
        match (toolchain::choose(&toolchains, llvm, stamped), &linker) {
            (Some(compiler), Some(linker)) => Ok(Self {
                compiler: compiler.clone(),
                linker: linker.clone(),
            }),
            _ => bail!(remedy::explain(lack, &toolchains, linker.as_ref())),
        }
    }

    /// Cargo's `verb` on tcptrace-ebpf, with this compiler and nothing that the environment adds.
    fn cargo(&self, verb: &str, lock: Lock) -> Command {
        let mut cargo = shell::program(self.compiler.cargo());
        for variable in [
            "CARGO_TARGET_DIR",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTUP_TOOLCHAIN",
        ] {
            cargo.env_remove(variable);
        }
        cargo
            .current_dir(repository::root())
            .env("RUSTC", &self.compiler.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .args([verb, "--manifest-path", "tcptrace-ebpf/Cargo.toml"]);
        if lock == Lock::Kept {
            cargo.arg("--locked");
        }
        cargo
    }
}

/// The folders in `folder`, in a fixed order; none when there is no such folder.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}

/// Whether cargo may change the lock file of tcptrace-ebpf.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    Free,
    Kept,
}

fn build(tools: &Tools, target: &Path, lock: Lock) -> Result<(Vec<u8>, Stamp)> {
    let root = repository::root();
    let cargo_home = cargo_home();
    // Fetched first, because the folders of the sources have to be known to be renamed.
    shell::run(
        tools
            .cargo("fetch", lock)
            .args(["--target", recipe::TARGET]),
    )?;
    let registries = folders(&cargo_home.join("registry/src"));
    let places = recipe::Places {
        cargo_home: &cargo_home,
        registries: &registries,
        sysroot: &tools.compiler.sysroot,
        target,
        repository: root,
    };
    let mut cargo = tools.cargo("build", lock);
    cargo
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            recipe::rustflags(&places).join("\u{1f}"),
        )
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &tools.linker.path)
        .envs(recipe::ENVIRONMENT)
        .args(recipe::CARGO_ARGUMENTS)
        .arg("--target-dir")
        .arg(target);
    wrapper::wrap(&mut cargo)?;
    shell::run(&mut cargo)?;

    let linked = target
        .join(recipe::TARGET)
        .join("release")
        .join(recipe::BINARY);
    let linked = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    let bytes = object::strip(&linked)?;
    let sources_of_core = tools.compiler.sysroot.join("lib/rustlib");
    let paths = [root, &cargo_home, &sources_of_core, target].map(Path::to_string_lossy);
    let paths: Vec<&str> = paths.iter().map(AsRef::as_ref).collect();
    if let Some(path) = object::leaked_path(&bytes, &paths) {
        bail!("the object names {path}, a path of this machine; the recipe has to rename it");
    }
    let stamp = Stamp {
        sources: stamp::digest_sources(root).context("cannot read the eBPF sources")?,
        object: stamp::digest_bytes(&bytes),
        compiler: tools.compiler.name(),
        linker: tools.linker.name(),
    };
    Ok((bytes, stamp))
}

fn cargo_home() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .unwrap_or_else(|| "/usr/local/cargo".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed_object() -> Vec<u8> {
        let path = repository::root().join("tcptrace").join(OBJECT);
        fs::read(&path).expect("the object is committed; `cargo xtask build-ebpf` makes it")
    }

    #[test]
    fn the_object_names_no_path_of_the_building_machine() {
        let home = std::env::var("HOME").unwrap_or_default();
        let mut paths = vec!["/root/", "/home/", "/tmp/", "/usr/", ".cargo", "registry"];
        let root = repository::root().to_string_lossy();
        paths.push(&root);
        if home.len() > 1 {
            paths.push(&home);
        }
        assert_eq!(object::leaked_path(&committed_object(), &paths), None);
    }

    #[test]
    fn the_object_keeps_btf_and_no_dwarf() {
        let names = object::section_names(&committed_object()).expect("the object is ELF");
        assert!(names.iter().any(|n| n == ".BTF"), "{names:?}");
        assert!(names.iter().all(|n| !n.contains("debug")), "{names:?}");
    }

    #[test]
    fn the_stamp_matches_the_sources_and_the_object() {
        let text = fs::read_to_string(repository::root().join("tcptrace").join(STAMP))
            .expect("the stamp is committed");
        let stamp = Stamp::parse(&text).expect("the stamp has every line");
        assert_eq!(Stamp::parse(&stamp.to_string()).as_ref(), Some(&stamp));
        assert_eq!(stamp.object, stamp::digest_bytes(&committed_object()));
        let sources = stamp::digest_sources(repository::root()).expect("the sources can be read");
        assert_eq!(stamp.sources, sources, "run `cargo xtask build-ebpf`");
    }

    #[test]
    fn the_digest_is_fnv_1a_and_depends_on_every_byte() {
        // The published vectors of FNV-1a, 128 bits.
        assert_eq!(stamp::digest_bytes(b""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(
            stamp::digest_bytes(b"a"),
            "d228cb696f1a8caf78912b704e4a8964"
        );
        assert_ne!(stamp::digest_bytes(b"ab"), stamp::digest_bytes(b"ba"));
    }
}
