//! What lies in the guest: busybox, the network's tools with their libraries, the kernel's modules,
//! the programs under test, and the first process.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cpio::Tree;
use super::modules;
use super::programs::Program;
use super::verdict::Mark;
use crate::{install, shell};

/// Programs of this machine that the lab calls, and the Debian package each comes in.
///
/// The shell too: busybox's runs its own `ip` whatever the PATH says.
const TOOLS: [(&str, &str); 4] = [
    ("sh", "dash"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("nft", "nftables"),
];

/// Those that only some scenarios use, and that a shell in the guest is better with.
const TOOLS_IF_PRESENT: [&str; 3] = ["tc", "hping3", "strace"];

const INIT: &str = include_str!("init.sh");

/// What the guest is to do.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    /// A script for the guest's shell.
    pub(crate) command: &'a str,
    /// After this the guest gives up by itself.
    pub(crate) limit: Duration,
    /// What marks its verdict.
    pub(crate) mark: &'a Mark,
}

/// Every package that is missing for a guest, in one error with the line that installs them.
pub(crate) fn require() -> Result<()> {
    let mut missing = BTreeSet::new();
    let programs = [
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("dpkg-deb", "dpkg"),
        ("xz", "xz-utils"),
    ];
    for (program, package) in programs.into_iter().chain(TOOLS) {
        match shell::find(program) {
            None => missing.insert(package),
            // The package `busybox` has one that needs libraries; the guest has none yet when it
            // starts.
            Some(path) if program == "busybox" && !libraries(&path).is_empty() => {
                missing.insert(package)
            }
            Some(_) => false,
        };
    }
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.into_iter().collect();
        bail!(
            "virtual machines need {}; run `{}`",
            missing.join(", "),
            install::by_hand(&missing)
        );
    }
    Ok(())
}

/// Everything a guest has, but for its kernel, as the archive that the kernel unpacks.
pub(crate) fn initramfs(modules: &Path, programs: &[Program], task: &Task<'_>) -> Result<Vec<u8>> {
    let mut tree = base()?;
    tree.file("/command", 0o644, task.command);
    let init = INIT
        .replace("@LIMIT@", &task.limit.as_secs().to_string())
        .replace("@MARK@", &task.mark.to_string());
    tree.file("/init", 0o755, init);

    let mut list = String::new();
    for module in modules::choose(modules)? {
        list += &format!("{}\n", module.name);
        tree.file(
            format!("/modules/{}.ko", module.name),
            0o644,
            module.content,
        );
    }
    tree.file("/modules/list", 0o644, list);

    for (name, package) in TOOLS {
        let path =
            shell::find(name).with_context(|| format!("{name} is missing; install {package}"))?;
        with_libraries(&mut tree, &path)?;
        if name == "sh" && !tree.has("/bin/sh") {
            tree.link("/bin/sh", &path);
        }
    }
    for path in TOOLS_IF_PRESENT.iter().filter_map(|name| shell::find(name)) {
        with_libraries(&mut tree, &path)?;
    }
    for program in programs {
        let libraries = libraries(&program.file);
        if !libraries.is_empty() {
            with_libraries(&mut tree, &program.file)?;
        }
        if !tree.has(&program.guest) {
            tree.file(&program.guest, 0o755, read(&program.file)?);
        }
        if let Some(name) = &program.command {
            tree.link(Path::new("/usr/local/bin").join(name), &program.guest);
        }
    }
    Ok(tree.archive())
}

/// A guest that starts and leaves at once: it tells whether an accelerator works.
pub(crate) fn smallest() -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    busybox(&mut tree)?;
    tree.file(
        "/init",
        0o755,
        "#!/bin/busybox sh\nexec /bin/busybox reboot -f\n",
    );
    Ok(tree.archive())
}

fn base() -> Result<Tree> {
    let mut tree = Tree::default();
    busybox(&mut tree)?;
    for folder in ["/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/var"] {
        tree.folder(folder);
    }
    tree.link("/var/run", "/run");
    tree.link("/var/tmp", "/tmp");
    for (file, content) in [
        (
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
        ),
        ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("/etc/hosts", "127.0.0.1 localhost guest\n::1 localhost\n"),
        (
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\n",
        ),
    ] {
        tree.file(file, 0o644, content);
    }
    Ok(tree)
}

fn busybox(tree: &mut Tree) -> Result<()> {
    let busybox = shell::find("busybox").context("busybox is missing; install busybox-static")?;
    tree.file("/bin/busybox", 0o755, read(&busybox)?);
    tree.folder("/dev");
    Ok(())
}

/// Puts a program of this machine into the guest at its own path, with the libraries it names.
fn with_libraries(tree: &mut Tree, program: &Path) -> Result<()> {
    for file in libraries(program)
        .iter()
        .map(PathBuf::as_path)
        .chain([program])
    {
        if !tree.has(file) {
            tree.file(file, 0o755, read(file)?);
        }
    }
    Ok(())
}

/// The libraries of a program, its loader among them; none when it is linked statically.
fn libraries(program: &Path) -> Vec<PathBuf> {
    // Lines like `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)` and `/lib64/ld-linux… (0x…)`.
    shell::output(shell::program("ldd").arg(program))
        .unwrap_or_default()
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(|word| word.trim_end_matches(':').into())
        .filter(|path: &PathBuf| path != program)
        .collect()
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
