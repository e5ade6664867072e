//! Refuses to embed an eBPF object that its sources have outgrown.
//!
//! The object is committed, so that building the agent needs stable Rust and nothing else; the
//! price is that it can be stale. In the repository the stamp beside it is compared with the
//! sources. A packaged agent has no sources to compare with, and embeds what it was published with.

use std::fs;
use std::path::Path;

#[path = "build/stamp.rs"]
mod stamp;

use stamp::{OBJECT, SOURCES, STAMP, Stamp};

const REMEDY: &str = "build it with `cargo xtask build-ebpf` (which names what that needs)";

fn main() {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let package = Path::new(&package);
    let repository = package.parent().unwrap_or(package);
    let in_repository = repository.join("tcptrace-ebpf/src").is_dir();

    for watched in ["build.rs", "build/stamp.rs", OBJECT, STAMP] {
        println!("cargo::rerun-if-changed={watched}");
    }
    if in_repository {
        // A path that does not exist would make cargo run this script every time.
        for source in SOURCES.iter().filter(|s| repository.join(s).exists()) {
            println!("cargo::rerun-if-changed=../{source}");
        }
    }
    if let Err(fault) = check(package, in_repository.then_some(repository)) {
        println!("cargo::error={fault}; {REMEDY}");
    }
}

fn check(package: &Path, repository: Option<&Path>) -> Result<(), String> {
    let object = fs::read(package.join(OBJECT))
        .map_err(|e| format!("cannot read the eBPF object tcptrace/{OBJECT}: {e}"))?;
    let Some(repository) = repository else {
        return Ok(());
    };
    let stamp = fs::read_to_string(package.join(STAMP))
        .map_err(|e| format!("cannot read the stamp of the eBPF object, tcptrace/{STAMP}: {e}"))?;
    let stamp = Stamp::parse(&stamp)
        .ok_or_else(|| format!("the stamp tcptrace/{STAMP} is not one that xtask wrote"))?;
    let sources = stamp::digest_sources(repository)
        .map_err(|e| format!("cannot read the eBPF sources: {e}"))?;
    if sources != stamp.sources {
        return Err(format!(
            "the eBPF object tcptrace/{OBJECT} is stale: tcptrace-ebpf, tcptrace-common or its \
             recipe changed since it was built"
        ));
    }
    if stamp::digest_bytes(&object) != stamp.object {
        return Err(format!(
            "the eBPF object tcptrace/{OBJECT} is not the one that its stamp describes"
        ));
    }
    Ok(())
}
