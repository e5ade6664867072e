//! Debian packages that a command needs: what is missing, the line that installs it, and that line
//! run out loud. Nothing is ever installed without being named first.

use anyhow::{Result, bail};

use crate::shell;

/// Whether this host has apt.
pub(crate) fn has_apt() -> bool {
    shell::find("apt-get").is_some()
}

/// Whether apt knows `package`; meaningful after [`update`], because a fresh machine knows none.
pub(crate) fn is_available(package: &str) -> bool {
    shell::output(shell::program("apt-cache").args(["show", "--no-all-versions", package]))
        .is_some_and(|text| !text.is_empty())
}

/// Fetches the lists of packages.
pub(crate) fn update() -> Result<()> {
    apt_get(&["update", "-q"])
}

/// Installs `packages`, naming them.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    shell::say(format_args!(
        "installing Debian packages: {}",
        packages.join(" ")
    ));
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(&arguments)
}

/// The lines for somebody who installs `packages` by hand.
pub(crate) fn by_hand(packages: &[&str]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install {}",
        packages.join(" ")
    )
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    if !has_apt() {
        bail!(
            "apt-get is missing: this is not a Debian or Ubuntu; install what is named above by other means"
        );
    }
    // Through `env`, because sudo drops the environment; apt must not ask questions.
    let quiet = "DEBIAN_FRONTEND=noninteractive";
    let mut command = match shell::root_prefix("install packages")? {
        Some(sudo) => {
            let mut command = shell::program(sudo);
            command.arg("env");
            command
        }
        None => shell::program("env"),
    };
    shell::run(command.arg(quiet).arg("apt-get").args(arguments))
}
