//! Kernels from the Debian archive, through apt with a configuration of its own.
//!
//! The archive moves: which version a suite holds is asked of apt at run time, and nothing but the
//! suites' names is written here. The mirror is the one that this machine's own apt uses. What was
//! unpacked once is kept by version, and stands in when the archive cannot be reached.
//!
//! Invariants: the machine's own apt state is only read; packages are unpacked, never installed,
//! and only what Debian's keys sign is used.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{install, shell};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// How long fetched package lists are believed; a kernel update may be this late.
const LISTS_FRESH: Duration = Duration::from_secs(6 * 3600);

/// Every kernel of the cloud flavour: nothing but what virtual machines need, so the smallest.
const PACKAGES: &str = "^linux-(image|binary|modules)-[0-9].*-cloud-amd64$";

/// The suites that a machine's own apt may name; what else it names is no Debian archive.
const SUITES: [&str; 12] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "unstable",
    "testing",
    "stable",
    "oldstable",
    "oldoldstable",
    "stable-backports",
];

/// A line of kernels: the versions that share their first two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Line {
    #[value(name = "5.10")]
    V5_10,
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
    /// The newest that Debian offers
    #[value(name = "newest")]
    Newest,
}

impl Line {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }

    /// Where Debian keeps it. A suite that a mirror does not have is no error.
    fn suites(self) -> &'static [&'static str] {
        match self {
            Self::V5_10 => &["bullseye-security", "bullseye"],
            Self::V6_1 => &["bookworm-security", "bookworm"],
            Self::V6_12 => &["trixie-security", "trixie"],
            Self::Newest => &["sid", "forky"],
        }
    }

    fn holds(self, version: &str) -> bool {
        match self {
            Self::Newest => true,
            line => version
                .strip_prefix(line.name())
                .is_some_and(|rest| rest.starts_with('.')),
        }
    }
}

/// A kernel, unpacked.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What `uname -r` says in it.
    pub(crate) release: String,
    /// The version of its package.
    pub(crate) version: String,
    /// The bootable image.
    pub(crate) image: PathBuf,
    /// The folder that holds `kernel/`, its modules.
    pub(crate) modules: PathBuf,
}

/// The newest kernel of a line; from the cache when the archive has none newer or is out of reach.
pub(crate) fn kernel(line: Line, mirrors: &[String], cache: &Path) -> Result<Kernel> {
    let apt = Apt::new(line, cache)?;
    let offer = apt.offer(line, mirrors);
    let kernels = cache.join("kernels");
    match offer {
        Ok(offer) => {
            let folder = kernels.join(&offer.release);
            if !folder.exists() {
                apt.fetch(&offer, &folder)?;
            }
            open(&folder, offer.release, offer.version)
        }
        Err(error) => {
            let Some((release, version)) = cached(line, &kernels) else {
                return Err(error);
            };
            shell::say(format_args!("{error:#}; using {release}, fetched earlier"));
            open(&kernels.join(&release), release, version)
        }
    }
}

/// What the archive has for a line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    release: String,
    version: String,
    packages: Vec<String>,
}

/// apt, with its state in a folder of ours.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(line: Line, cache: &Path) -> Result<Self> {
        let folder = cache.join("apt").join(line.name());
        for part in ["lists/partial", "archives/partial", "state"] {
            fs::create_dir_all(folder.join(part))
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        // An empty list of installed packages: nothing here concerns what the machine has.
        fs::write(folder.join("status"), "")?;
        Ok(Self { folder })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = shell::program(name);
        command.env("LC_ALL", "C").current_dir(&self.folder);
        for (option, value) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "none"),
            ("Dir::Etc::preferencesparts", "none"),
            ("Dir::State", "state"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "."),
        ] {
            let value = self.folder.join(value);
            command
                .arg("-o")
                .arg(format!("{option}={}", value.display()));
        }
        for option in [
            "Acquire::Retries=3",
            // A suite that is archived is not signed anew.
            "Acquire::Check-Valid-Until=false",
            "Acquire::Languages=none",
            "APT::Architecture=amd64",
            "APT::Architectures=amd64",
            // apt's own user may not write below our folder.
            "APT::Sandbox::User=root",
        ] {
            command.args(["-o", option]);
        }
        command
    }

    /// Asks the archive for the newest kernel of a line.
    fn offer(&self, line: Line, mirrors: &[String]) -> Result<Offer> {
        let sources = sources(line, mirrors)?;
        let list = self.folder.join("sources.list");
        let stamp = self.folder.join("updated");
        let fresh = fs::read_to_string(&list).is_ok_and(|old| old == sources)
            && fs::metadata(&stamp)
                .and_then(|stamp| stamp.modified())
                .is_ok_and(|then| then.elapsed().is_ok_and(|age| age < LISTS_FRESH));
        let mut words = String::new();
        let mut updated = false;
        if !fresh {
            // Lists of other sources must not pass for these when this update fails.
            let _ = fs::remove_file(&stamp);
            fs::write(&list, sources)?;
            let update = self
                .command("apt-get")
                .args(["update", "-q"])
                .output()
                .context("cannot run apt-get")?;
            // A mirror without one of the suites is not worth failing for; what apt said is, when
            // there is no kernel.
            words = String::from_utf8_lossy(&update.stderr).trim().to_owned();
            updated = words.is_empty();
        }
        let found = shell::output(self.command("apt-cache").args([
            "search",
            "--full",
            "--names-only",
            PACKAGES,
        ]))
        .unwrap_or_default();
        let Some(offer) = newest(line, &packages(&found)) else {
            bail!(
                "the archive has no {} kernel in {}{}{words}",
                line.name(),
                line.suites().join(", "),
                if words.is_empty() { "" } else { ": " },
            );
        };
        if !fresh && updated {
            fs::write(stamp, "")?;
        }
        Ok(offer)
    }

    /// Downloads and unpacks.
    fn fetch(&self, offer: &Offer, folder: &Path) -> Result<()> {
        shell::say(format_args!(
            "fetching {} through apt",
            offer.packages.join(", ")
        ));
        let debs = self.folder.join("debs");
        let unpacked = self.folder.join("unpacked");
        for folder in [&debs, &unpacked] {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir_all(folder)?;
        }
        let mut download = self.command("apt-get");
        download.current_dir(&debs).args(["download", "-q"]);
        let output = download.args(&offer.packages).output()?;
        if !output.status.success() {
            bail!(
                "apt cannot download {}: {}",
                offer.packages.join(", "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        for deb in fs::read_dir(&debs)? {
            let mut unpack = shell::program("dpkg-deb");
            unpack.arg("-x").arg(deb?.path()).arg(&unpacked);
            if !unpack.status().context("cannot run dpkg-deb")?.success() {
                bail!("dpkg-deb cannot unpack a package of {}", offer.release);
            }
        }
        fs::write(unpacked.join(VERSION), &offer.version)?;
        fs::create_dir_all(folder.parent().expect("the cache holds it"))?;
        // In one step, so that a folder by this name is whole.
        fs::rename(&unpacked, folder)
            .with_context(|| format!("cannot put the kernel into {}", folder.display()))?;
        let _ = fs::remove_dir_all(debs);
        Ok(())
    }
}

/// The file beside an unpacked kernel that keeps its package's version.
const VERSION: &str = "package-version";

fn open(folder: &Path, release: String, version: String) -> Result<Kernel> {
    let first = |candidates: [String; 3], what: &str| {
        candidates
            .iter()
            .map(|candidate| folder.join(candidate))
            .find(|path| path.exists())
            .with_context(|| {
                format!(
                    "{} has no {what}; remove that folder, it is fetched again",
                    folder.display()
                )
            })
    };
    let image = first(
        [
            format!("boot/vmlinuz-{release}"),
            format!("usr/lib/modules/{release}/vmlinuz"),
            format!("lib/modules/{release}/vmlinuz"),
        ],
        "kernel image",
    )?;
    let modules = first(
        [
            format!("usr/lib/modules/{release}/kernel"),
            format!("lib/modules/{release}/kernel"),
            format!("boot/modules/{release}/kernel"),
        ],
        "modules",
    )?;
    Ok(Kernel {
        release,
        version,
        image,
        modules: modules.parent().map(Path::to_owned).unwrap_or_default(),
    })
}

/// The newest kernel of a line that was fetched before.
fn cached(line: Line, kernels: &Path) -> Option<(String, String)> {
    fs::read_dir(kernels)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = fs::read_to_string(entry.path().join(VERSION)).ok()?;
            Some((entry.file_name().into_string().ok()?, version))
        })
        .filter(|(_, version)| line.holds(version))
        .max_by_key(|(_, version)| numbers(version))
}

/// The sources.list for a line: its suites on each mirror that the machine uses, or on those given.
fn sources(line: Line, given: &[String]) -> Result<String> {
    if !Path::new(KEYRING).exists() {
        bail!(
            "{KEYRING} is missing, so that kernels could not be verified; run `{}`",
            install::by_hand(&["debian-archive-keyring"])
        );
    }
    let (archive, security) = if given.is_empty() {
        let uris = shell::output(
            shell::program("apt-get")
                .env("LC_ALL", "C")
                .args(["update", "--print-uris"]),
        )
        .context("cannot ask apt for its mirrors; kernels come as Debian packages through apt")?;
        mirrors(&uris)
    } else {
        (given.to_vec(), given.to_vec())
    };
    let mut sources = String::new();
    for suite in line.suites() {
        let mirrors = if suite.ends_with("-security") {
            &security
        } else {
            &archive
        };
        for mirror in mirrors {
            sources +=
                &format!("deb [signed-by={KEYRING} target=Packages] {mirror} {suite} main\n");
        }
    }
    if sources.is_empty() {
        bail!(
            "this machine's apt names no Debian mirror; name one with --mirror, and a second time \
             for the security archive"
        );
    }
    Ok(sources)
}

/// The mirrors of the Debian archive, and of its security updates, in what `apt-get update
/// --print-uris` lists. Some may be another project's that names its suites as Debian does; those
/// fail apt's check of the signature and do no harm.
fn mirrors(uris: &str) -> (Vec<String>, Vec<String>) {
    let mut archive = Vec::new();
    let mut security = Vec::new();
    for line in uris.lines() {
        let Some((base, rest)) = line
            .strip_prefix('\'')
            .and_then(|line| line.split_once("/dists/"))
        else {
            continue;
        };
        let Some((suite, _)) = rest.split_once("/InRelease") else {
            continue;
        };
        let mirrors = match suite.strip_suffix("-security") {
            Some(of) if SUITES.contains(&of) => &mut security,
            None if SUITES.contains(&suite) => &mut archive,
            _ => continue,
        };
        if !mirrors.iter().any(|mirror| mirror == base) {
            mirrors.push(base.to_owned());
        }
    }
    (archive, security)
}

/// Names and versions in what `apt-cache search --full` prints.
fn packages(found: &str) -> BTreeMap<String, String> {
    let field = |stanza: &str, key: &str| {
        stanza
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
            .map(str::to_owned)
    };
    found
        .split("\n\n")
        .filter_map(|stanza| Some((field(stanza, "Package")?, field(stanza, "Version")?)))
        .collect()
}

/// The newest kernel of a line among packages. Up to 7.1 one package holds image and modules; since
/// 7.2 they are apart, and linux-image only names them both.
fn newest(line: Line, packages: &BTreeMap<String, String>) -> Option<Offer> {
    let release = |name: &str| Some(name.strip_prefix("linux-image-")?.to_owned());
    let (name, version) = packages
        .iter()
        .filter(|(name, version)| {
            // The releases carry three numbers at least; two are a package that follows the line.
            release(name).is_some_and(|release| numbers(&release).len() > 3) && line.holds(version)
        })
        .max_by_key(|(_, version)| numbers(version))?;
    let release = release(name)?;
    let split: Vec<String> = ["binary", "modules"]
        .map(|part| format!("linux-{part}-{release}"))
        .into_iter()
        .filter(|part| packages.contains_key(part))
        .collect();
    Some(Offer {
        version: version.clone(),
        packages: if split.len() == 2 {
            split
        } else {
            vec![name.clone()]
        },
        release,
    })
}

/// The numbers in a version, which order a package's versions well enough for one archive.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_line_is_chosen() {
        let found = "\
            linux-image-5.10.0-9-cloud-amd64 5.10.70-1\n\
            linux-image-5.10.0-46-cloud-amd64 5.10.262-1\n\
            linux-image-6.1-cloud-amd64 6.1.999-1~deb11u1\n\
            linux-image-6.1.0-56-cloud-amd64 6.1.192-2\n\
            linux-image-6.12.117+deb13-cloud-amd64 6.12.117-1\n\
            linux-image-6.12.115+deb13.1-cloud-amd64 6.12.115-2\n\
            linux-image-7.2.13+deb14-cloud-amd64 7.2.13-1\n\
            linux-binary-7.2.13+deb14-cloud-amd64 7.2.13-1\n\
            linux-modules-7.2.13+deb14-cloud-amd64 7.2.13-1";
        let stanzas: Vec<String> = found
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, version)| format!("Package: {name}\nSource: x\nVersion: {version}"))
            .collect();
        let packages = packages(&stanzas.join("\n\n"));
        let check = |line, expected: &[&str]| {
            assert_eq!(newest(line, &packages).unwrap().packages, expected);
        };
        check(Line::V5_10, &["linux-image-5.10.0-46-cloud-amd64"]);
        check(Line::V6_1, &["linux-image-6.1.0-56-cloud-amd64"]);
        check(Line::V6_12, &["linux-image-6.12.117+deb13-cloud-amd64"]);
        check(
            Line::Newest,
            &[
                "linux-binary-7.2.13+deb14-cloud-amd64",
                "linux-modules-7.2.13+deb14-cloud-amd64",
            ],
        );
        assert_eq!(newest(Line::V6_1, &BTreeMap::new()), None);
    }

    #[test]
    fn the_mirrors_are_the_machines_own() {
        let uris = "\
            'http://mirror.example/debian/dists/bookworm/InRelease' mirror_bookworm_InRelease 0\n\
            'http://mirror.example/debian/dists/bookworm-updates/InRelease' x 0\n\
            'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0\n\
            'http://mirror.example/security/dists/bookworm-security/InRelease' x 0\n\
            'https://tools.example/apt/dists/nodistro/InRelease' x 0\n";
        let (archive, security) = mirrors(uris);
        assert_eq!(archive, ["http://mirror.example/debian"]);
        assert_eq!(security, ["http://mirror.example/security"]);
    }
}
