//! The programs under test, linked statically so that they run in a guest that has no libraries
//! (and as the one binary that a user may copy anywhere).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{repository, shell};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Static, and without debugging information, which would be most of the guest's memory; panics
/// still name file and line.
const SETTINGS: [&str; 2] = [
    "target.x86_64-unknown-linux-gnu.rustflags=['-Ctarget-feature=+crt-static']",
    "profile.dev.debug=false",
];

/// The packages whose programs and tests run on a kernel.
const PACKAGES: [&str; 2] = ["tcptrace", "tcptrace-lab"];

/// A file that goes into the guest.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// On this machine.
    pub(crate) file: PathBuf,
    /// In the guest: the same path, because tests may have been compiled to look there.
    pub(crate) guest: PathBuf,
    /// The name on the guest's PATH.
    pub(crate) command: Option<String>,
    /// What cargo calls it.
    pub(crate) name: String,
    /// The package it belongs to.
    pub(crate) package: String,
    /// Whether it is a test binary.
    pub(crate) test: bool,
}

impl Program {
    /// A file of the user's, given as `FILE` or `FILE=PATH` with its path in the guest.
    pub(crate) fn given(argument: &str) -> Result<Self> {
        let (file, guest) = match argument.split_once('=') {
            Some((file, guest)) => (Path::new(file), PathBuf::from(guest)),
            None => {
                let file = Path::new(argument);
                let name = file
                    .file_name()
                    .with_context(|| format!("{argument} names no file"))?;
                (file, Path::new("/usr/local/bin").join(name))
            }
        };
        if !file.is_file() {
            bail!(
                "{} is not a file; --file takes FILE or FILE=PATH-IN-GUEST",
                file.display()
            );
        }
        Ok(Self {
            file: file.to_owned(),
            guest,
            command: None,
            name: String::new(),
            package: String::new(),
            test: false,
        })
    }
}

/// What is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What tests of a kernel need: the rest is time to build, and memory of the guest.
    Kernel,
    /// Every program and every test, for a filter to choose from.
    Everything,
}

/// Builds the agent, the lab and their tests.
pub(crate) fn build(extent: Extent) -> Result<Vec<Program>> {
    shell::say(
        "building the agent, the lab and their tests as static programs; the first time, \
         dependencies are compiled as well, which takes a few minutes on two cores",
    );
    let (programs, tests): (&[_], &[_]) = match extent {
        Extent::Kernel => (
            &["build", "--bin", "tcptrace", "--bin", "tcptrace-patient"],
            &["test", "--no-run", "--bin", "tcptrace", "--test", "lab"],
        ),
        Extent::Everything => (&["build", "--bins"], &["test", "--no-run"]),
    };
    let mut programs = cargo(programs)?;
    programs.extend(cargo(tests)?.into_iter().filter(|p| p.test));
    Ok(programs)
}

/// The programs that an earlier build left, without their tests, which cannot be told apart there.
pub(crate) fn built() -> Vec<Program> {
    let folder = repository::target_dir().join(TARGET).join("debug");
    ["tcptrace", "tcptrace-patient"]
        .into_iter()
        .map(|name| (name, folder.join(name)))
        .filter(|(_, file)| file.is_file())
        .map(|(name, file)| Program {
            guest: file.clone(),
            file,
            command: Some(name.to_owned()),
            name: name.to_owned(),
            package: String::new(),
            test: false,
        })
        .collect()
}

/// Runs cargo and lists the programs it made.
fn cargo(arguments: &[&str]) -> Result<Vec<Program>> {
    let mut cargo = shell::cargo();
    cargo.args(arguments);
    cargo.args(["--target", TARGET]);
    cargo.args(["--features", "tcptrace-lab/guest"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    cargo.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    cargo.args(SETTINGS.iter().flat_map(|setting| ["--config", setting]));
    // It would replace the flags above.
    cargo.env_remove("RUSTFLAGS");
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    let output = cargo
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`{}` failed ({})", shell::display(&cargo), output.status);
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.contains(r#""executable":""#))
        .map(program)
        .collect()
}

/// The program that a line of cargo's messages tells of.
fn program(message: &str) -> Result<Program> {
    let message: serde_json::Value =
        serde_json::from_str(message).context("cannot read cargo's messages")?;
    let text = |pointer: &str| {
        message
            .pointer(pointer)
            .and_then(|value| value.as_str())
            .with_context(|| format!("cargo's message has no {pointer}"))
    };
    let file = PathBuf::from(text("/executable")?);
    let test = message.pointer("/profile/test") == Some(&true.into());
    let manifest = Path::new(text("/manifest_path")?);
    let package = manifest
        .parent()
        .and_then(Path::file_name)
        .context("a manifest lies in a folder")?;
    let name = text("/target/name")?.to_owned();
    Ok(Program {
        guest: file.clone(),
        command: (!test).then(|| name.clone()),
        name,
        package: package.to_string_lossy().into_owned(),
        file,
        test,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What runs in a guest is what a user may copy anywhere.
    #[test]
    fn the_readme_links_the_agent_as_the_guests_do() {
        let readme = std::fs::read_to_string(repository::root().join("README.md")).unwrap();
        let line = readme.lines().find(|line| line.starts_with("RUSTFLAGS="));
        let line = line.expect("the line that builds one static binary");
        let target = format!("--target {TARGET}");
        for words in ["-Ctarget-feature=+crt-static", target.as_str()] {
            assert!(line.contains(words), "{words}: {line}");
        }
        assert!(SETTINGS[0].contains("-Ctarget-feature=+crt-static"));
    }

    #[test]
    fn cargos_messages_name_the_programs() {
        let message = |test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/x/tcptrace-lab/Cargo.toml","target":{{"name":"patients"}},"profile":{{"test":{test}}},"executable":"/x/patients-1"}}"#
            )
        };
        let binary = program(&message(false)).unwrap();
        assert_eq!(binary.command.as_deref(), Some("patients"));
        assert_eq!(binary.package, "tcptrace-lab");
        let test = program(&message(true)).unwrap();
        assert!(test.test);
        assert_eq!(test.command, None);
        assert_eq!(test.guest, Path::new("/x/patients-1"));
        assert!(program("{}").is_err());
    }
}
