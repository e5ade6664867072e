//! What is missing for building the eBPF programs, said with the commands that install it, and
//! those commands run for `--install`.

use anyhow::{Result, bail};

use super::linker::{self, Linker};
use super::toolchain::Toolchain;
use crate::{install, shell};

/// The LLVM that bpf-linker is built with: that of the Rust releases from 1.94 to 1.97.
const LLVM: u32 = 22;
/// The bpf-linker that is installed.
const LINKER_VERSION: &str = "0.13.0";
const RUST_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
const LLVM_PACKAGES: [&str; 2] = ["llvm-22-dev", "libpolly-22-dev"];

/// What a build lacks on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    /// No compiler that is recent enough has the sources of `core`.
    pub(crate) compiler: bool,
    /// No bpf-linker, or none that reads what the compilers with sources write.
    pub(crate) linker: bool,
}

impl Lack {
    pub(crate) fn of(toolchains: &[Toolchain], linker: Option<&Linker>) -> Self {
        let llvm = linker.and_then(|l| l.llvm);
        let usable = toolchains.iter().any(|t| t.objection(None).is_none());
        let together = toolchains.iter().any(|t| t.objection(llvm).is_none());
        // A compiler newer than the linker we would install is as good as none.
        let within_reach = toolchains.iter().any(|t| t.objection(Some(LLVM)).is_none());
        Self {
            compiler: !(together || usable && within_reach),
            linker: linker.is_none() || usable && !together && llvm < Some(LLVM),
        }
    }

    pub(crate) fn nothing(self) -> bool {
        !self.compiler && !self.linker
    }
}

/// What the host offers towards a remedy.
#[derive(Clone, Copy, Debug)]
struct Offer {
    /// apt knows the packages of the compiler and its sources.
    apt_rust: bool,
    /// apt knows the packages of LLVM.
    apt_llvm: bool,
    /// rustup manages toolchains here.
    rustup: bool,
    /// LLVM's development files are already there.
    llvm: bool,
}

/// One command of a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Apt(Vec<&'static str>),
    RustSrc,
    Linker,
}

/// The steps that end `lack` with what the host offers.
fn plan(lack: Lack, offer: Offer) -> Result<Vec<Step>> {
    let mut packages = Vec::new();
    let mut steps = Vec::new();
    if lack.compiler {
        if offer.apt_rust {
            packages.extend(RUST_PACKAGES);
        } else if offer.rustup {
            steps.push(Step::RustSrc);
        } else {
            bail!(
                "neither apt's rustc-web nor rustup is available here, so no compiler with rust-src can be installed"
            );
        }
    }
    if lack.linker {
        if !offer.llvm {
            if !offer.apt_llvm {
                bail!(
                    "apt offers no llvm-{LLVM}-dev here, so bpf-linker cannot be built; put the \
                     prebuilt bpf-linker of the aya project's releases on the PATH"
                );
            }
            packages.extend(LLVM_PACKAGES);
        }
        steps.push(Step::Linker);
    }
    if !packages.is_empty() {
        steps.insert(0, Step::Apt(packages));
    }
    Ok(steps)
}

/// Installs what is lacking, saying each command and why it takes its time.
pub(crate) fn install(lack: Lack) -> Result<()> {
    let llvm = linker::llvm_prefix(LLVM).join("bin/llvm-config").is_file();
    let wants_apt = lack.compiler || lack.linker && !llvm;
    if wants_apt && install::has_apt() {
        install::update()?;
    }
    let apt =
        |packages: &[&str]| install::has_apt() && packages.iter().all(|p| install::is_available(p));
    let offer = Offer {
        apt_rust: apt(&RUST_PACKAGES),
        apt_llvm: apt(&LLVM_PACKAGES),
        rustup: shell::find("rustup").is_some(),
        llvm,
    };
    for step in plan(lack, offer)? {
        match step {
            Step::Apt(packages) => {
                shell::say("LLVM and the compiler are about 250 MB to download");
                install::install(&packages)?;
            }
            Step::RustSrc => {
                let rustup = shell::find("rustup").unwrap_or_else(|| "rustup".into());
                shell::run(shell::program(rustup).args(["component", "add", "rust-src"]))?;
            }
            Step::Linker => {
                shell::say(
                    "building bpf-linker, which links eBPF programs by way of LLVM: about a \
                     minute on two cores, once",
                );
                let mut cargo = shell::cargo();
                cargo
                    .env_remove("CARGO_TARGET_DIR")
                    .env("LLVM_PREFIX", linker::llvm_prefix(LLVM))
                    .args(linker_arguments().split(' '))
                    .arg("--force");
                shell::run(&mut cargo)?;
            }
        }
    }
    Ok(())
}

fn linker_arguments() -> String {
    format!(
        "install bpf-linker --version {LINKER_VERSION} --no-default-features --features llvm-{LLVM}"
    )
}

/// What was looked at, why none of it serves, and the commands that help.
pub(crate) fn explain(lack: Lack, toolchains: &[Toolchain], linker: Option<&Linker>) -> String {
    let mut text = String::from("cannot build the eBPF programs: ");
    text.push_str(match (lack.compiler, lack.linker) {
        (true, true) => "no compiler with rust-src was found, and no fitting bpf-linker",
        (true, false) => "no fitting compiler with rust-src was found",
        (false, _) => "no fitting bpf-linker was found",
    });
    text.push_str("\n\nlooked at:\n");
    let llvm = linker.and_then(|l| l.llvm);
    for toolchain in toolchains {
        let verdict = toolchain
            .objection(llvm)
            .unwrap_or_else(|| "serves".to_owned());
        text.push_str(&format!(
            "  {} ({}): {verdict}\n",
            toolchain.origin,
            toolchain.name()
        ));
    }
    match linker {
        Some(linker) => {
            text.push_str(&format!("  {} ({})\n", linker.path.display(), linker.name()));
        }
        None => text.push_str(
            "  bpf-linker: neither on the PATH nor below $CARGO_INSTALL_ROOT, $CARGO_HOME or ~/.cargo\n",
        ),
    }
    text.push_str(
        "\n`cargo xtask build-ebpf --install` installs what is missing; by hand, on Debian:\n",
    );
    let mut packages = Vec::new();
    if lack.compiler {
        packages.extend(RUST_PACKAGES);
    }
    if lack.linker {
        packages.extend(LLVM_PACKAGES);
    }
    text.push_str(&format!("  {}\n", install::by_hand(&packages)));
    let linker_line = format!(
        "  LLVM_PREFIX={} cargo {}\n",
        linker::llvm_prefix(LLVM).display(),
        linker_arguments()
    );
    if lack.linker {
        text.push_str(&linker_line);
    }
    text.push_str("on Ubuntu, and wherever rustup manages Rust:\n");
    if lack.compiler {
        text.push_str(
            "  rustup component add rust-src\n  \
             (or: rustup toolchain install nightly --component rust-src)\n",
        );
    }
    if lack.linker {
        text.push_str(&format!("  {}\n", install::by_hand(&LLVM_PACKAGES)));
        text.push_str(&linker_line);
        text.push_str(
            "  (or put the prebuilt bpf-linker of the aya project's releases on the PATH)\n",
        );
    }
    text.push_str(
        "The agent itself needs none of this: it embeds the committed object and builds with stable Rust.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: Offer = Offer {
        apt_rust: false,
        apt_llvm: false,
        rustup: false,
        llvm: false,
    };
    const DEBIAN: Offer = Offer {
        apt_rust: true,
        apt_llvm: true,
        ..BARE
    };
    const BOTH: Lack = Lack {
        compiler: true,
        linker: true,
    };

    fn toolchain(llvm: &str, has_sources: bool) -> Toolchain {
        Toolchain {
            origin: "rustup's stable".to_owned(),
            rustc: "rustc".into(),
            sysroot: "/".into(),
            version: "rustc 1.95.0".to_owned(),
            release: (1, 95),
            llvm: llvm.to_owned(),
            has_sources,
        }
    }

    fn linker(llvm: u32) -> Linker {
        Linker {
            path: "/opt/bpf-linker".into(),
            version: "bpf-linker 0.1".to_owned(),
            llvm: Some(llvm),
        }
    }

    #[test]
    fn the_remedy_fits_the_host() {
        let debian = plan(BOTH, DEBIAN).expect("Debian offers everything");
        let packages = [RUST_PACKAGES, LLVM_PACKAGES].concat();
        assert_eq!(debian, [Step::Apt(packages), Step::Linker]);

        let ubuntu = Offer {
            apt_llvm: true,
            rustup: true,
            ..BARE
        };
        let steps = plan(BOTH, ubuntu).expect("rustup has the sources, apt has LLVM");
        let llvm = Step::Apt(LLVM_PACKAGES.to_vec());
        assert_eq!(steps, [llvm, Step::RustSrc, Step::Linker]);

        assert!(plan(BOTH, BARE).is_err());
    }

    #[test]
    fn only_what_is_lacking_is_installed() {
        let linker_only = Lack {
            compiler: false,
            linker: true,
        };
        let llvm = Offer { llvm: true, ..BARE };
        let steps = plan(linker_only, llvm).expect("LLVM is there");
        assert_eq!(steps, [Step::Linker]);
    }

    #[test]
    fn what_is_lacking_follows_from_compiler_and_linker_together() {
        let check = |toolchains: &[Toolchain], linker: Option<Linker>, compiler, lacks_linker| {
            let lack = Lack::of(toolchains, linker.as_ref());
            let expected = Lack {
                compiler,
                linker: lacks_linker,
            };
            assert_eq!(lack, expected, "{toolchains:?} with {linker:?}");
        };
        check(&[], None, true, true);
        check(&[toolchain("22.1.2", false)], Some(linker(22)), true, false);
        check(&[toolchain("22.1.2", true)], None, false, true);
        check(&[toolchain("22.1.2", true)], Some(linker(22)), false, false);
        // An older linker is replaced; a compiler beyond any linker of ours is not enough.
        check(&[toolchain("22.1.2", true)], Some(linker(19)), false, true);
        check(&[toolchain("24.1.0", true)], Some(linker(22)), true, false);
        check(&[toolchain("24.1.0", true)], Some(linker(24)), false, false);
    }

    #[test]
    fn the_explanation_names_every_command() {
        let toolchains = [toolchain("22.1.2", false)];
        let text = explain(BOTH, &toolchains, None);
        for expected in [
            "rustup's stable (rustc 1.95.0, LLVM 22.1.2): has no rust-src",
            "apt-get install rustc-web rust-web-src llvm-22-dev libpolly-22-dev",
            "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker",
            "rustup component add rust-src",
            "cargo xtask build-ebpf --install",
        ] {
            assert!(
                text.contains(expected),
                "{expected:?} is missing in:\n{text}"
            );
        }
    }
}
