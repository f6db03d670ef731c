//! Fetches Debian packages of other releases than the machine's own, each into a cache below the target folder. Installs
//! none, and names no mirror: it is the one that the machine's own apt uses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{distribution, shell, sources, workspace::Workspace};

/// Where Debian machines keep the keys of every release.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const BY_HAND: &str =
    "kernels come as Debian packages, so run this on Debian, or give apt an entry of Debian's archive";

/// A package, pinned.
#[derive(Debug)]
pub(super) struct Package {
    /// The suite that it is in.
    pub(super) suite: &'static str,
    /// The names, as a regular expression, of what replaces it once it has gone from there.
    pub(super) newest_of: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// Its version.
    pub(super) version: &'static str,
    /// The package's SHA-256.
    pub(super) sha256: &'static str,
}

/// A package as a suite's index has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Offered {
    name: String,
    version: String,
    sha256: String,
}

/// The unpacked package's folder; fetched where it is not there yet.
pub(super) fn unpacked(workspace: &Workspace, package: &Package) -> Result<PathBuf> {
    let cache = workspace.vm_target().join("packages");
    let pinned = Offered {
        name: package.name.to_owned(),
        version: package.version.to_owned(),
        sha256: package.sha256.to_owned(),
    };
    let folder = cache.join(&pinned.sha256);
    if folder.is_dir() {
        return Ok(folder);
    }
    fetch(workspace, package, &pinned, &cache)
        .with_context(|| format!("fetch {} from Debian's {}", package.name, package.suite))
}

fn fetch(workspace: &Workspace, package: &Package, pinned: &Offered, cache: &Path) -> Result<PathBuf> {
    let suite = Suite::open(workspace, package.suite)?;
    let offered = suite.offered(package.newest_of)?;
    let chosen = choose(pinned, &offered).with_context(|| {
        format!(
            "the suite holds nothing named {}: name another in xtask/src/vm/kernels.rs",
            package.newest_of
        )
    })?;
    if chosen != pinned {
        println!(
            "{} {} has gone from {}: taking {} {} instead; pin it in xtask/src/vm/kernels.rs with sha256 {}",
            pinned.name, pinned.version, package.suite, chosen.name, chosen.version, chosen.sha256
        );
    }
    let folder = cache.join(&chosen.sha256);
    if !folder.is_dir() {
        suite.unpack(chosen, &folder)?;
    }
    Ok(folder)
}

/// The pinned one where it is offered, else the newest.
fn choose<'a>(pinned: &Offered, offered: &'a [Offered]) -> Option<&'a Offered> {
    let same = offered.iter().find(|one| *one == pinned);
    same.or_else(|| {
        offered
            .iter()
            .max_by_key(|one| (numbers(&one.version), numbers(&one.name)))
    })
}

/// The numbers in a version, in order: enough to tell which of a suite's versions is newer.
fn numbers(version: &str) -> Vec<u64> {
    let runs = version.split(|c: char| !c.is_ascii_digit());
    runs.filter_map(|run| run.parse().ok()).collect()
}

/// The packages that `apt-cache show` describes.
fn parse_index(text: &str) -> Vec<Offered> {
    let stanzas = text.split("\n\n").map(|stanza| {
        let mut offered = Offered::default();
        for line in stanza.lines() {
            let Some((field, value)) = line.split_once(": ") else {
                continue;
            };
            match field {
                "Package" => value.clone_into(&mut offered.name),
                "Version" => value.clone_into(&mut offered.version),
                "SHA256" => value.clone_into(&mut offered.sha256),
                _ => {}
            }
        }
        offered
    });
    stanzas
        .filter(|one| !one.name.is_empty() && !one.version.is_empty() && one.sha256.len() == 64)
        .collect()
}

/// The address of Debian's own archive, of `apt-get indextargets` in `FORMAT`.
fn parse_archive(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("Debian Debian "))
}

const FORMAT: &str = "$(ORIGIN) $(LABEL) $(REPO_URI)";

/// A suite that apt knows by lists of its own, so that the machine's stay as they are.
struct Suite {
    folder: PathBuf,
}

impl Suite {
    fn open(workspace: &Workspace, name: &str) -> Result<Self> {
        let folder = workspace.vm_target().join("apt").join(name);
        for inside in ["lists/partial", "cache/archives/partial", "download"] {
            fs::create_dir_all(folder.join(inside)).with_context(|| format!("make {}", folder.display()))?;
        }
        let suite = Self { folder };
        let keys = Path::new(KEYS).is_file().then(|| format!("Signed-By: {KEYS}\n"));
        let entry = format!(
            "Types: deb\nURIs: {}\nSuites: {name}\nComponents: main\nArchitectures: amd64\nTargets: Packages\n{}",
            archive()?,
            keys.unwrap_or_default()
        );
        fs::write(suite.entry(), entry).with_context(|| format!("write {}", suite.entry().display()))?;
        println!("reading the list of Debian's {name}");
        shell::run(suite.apt("apt-get").args(["-qq", "update"]))?;
        Ok(suite)
    }

    fn entry(&self) -> PathBuf {
        self.folder.join("entry.sources")
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = |option: &str, path: &Path| format!("{option}={}", path.display());
        for option in [
            place("Dir::Etc::SourceList", &self.entry()),
            place("Dir::State::Lists", &self.folder.join("lists")),
            place("Dir::Cache", &self.folder.join("cache")),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // The target folder may be closed to the user that apt would download as.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }

    fn offered(&self, names: &str) -> Result<Vec<Offered>> {
        let found = shell::output(self.apt("apt-cache").args(["search", "--names-only", names]))?;
        let names: Vec<&str> = found.lines().filter_map(|line| line.split(' ').next()).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let index = shell::output(self.apt("apt-cache").arg("show").args(names))?;
        Ok(parse_index(&index))
    }

    fn unpack(&self, package: &Offered, folder: &Path) -> Result<()> {
        println!("fetching {} {}", package.name, package.version);
        let download = self.folder.join("download");
        remove(&download)?;
        fs::create_dir_all(&download).with_context(|| format!("make {}", download.display()))?;
        shell::run(
            self.apt("apt-get")
                .current_dir(&download)
                .args(["-qq", "download"])
                .arg(format!("{}={}", package.name, package.version)),
        )?;
        let entries = fs::read_dir(&download).with_context(|| format!("read {}", download.display()))?;
        let file = entries.flatten().map(|entry| entry.path()).next();
        let file = file.context("apt-get downloaded no file: look at what it printed")?;
        let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        if sources::hash_bytes(&bytes) != package.sha256 {
            bail!(
                "what came is not {}: the mirror is damaged, so try again",
                package.sha256
            );
        }
        // Unpacked beside its place and moved there: what is in the cache is whole.
        let temporary = self.folder.join("unpacked");
        remove(&temporary)?;
        shell::run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&temporary))?;
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        fs::rename(&temporary, folder).with_context(|| format!("move a package to {}", folder.display()))
    }
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

/// The address of Debian's archive, as the machine's own apt has it.
fn archive() -> Result<String> {
    if shell::find_on_path("apt-get").is_none() {
        bail!("there is no apt-get here: {BY_HAND}");
    }
    let ask = || {
        let mut command = Command::new("apt-get");
        command.args(["indextargets", "--format", FORMAT, "Created-By: Packages"]);
        shell::output(&mut command)
    };
    let mut targets = ask()?;
    if targets.trim().is_empty() {
        println!("apt has no lists yet, and without them it does not say which mirror is Debian's: updating them");
        distribution::update()?;
        targets = ask()?;
    }
    let archive =
        parse_archive(&targets).with_context(|| format!("apt has no entry of Debian's archive: {BY_HAND}"))?;
    Ok(archive.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(name: &str, version: &str, digit: &str) -> Offered {
        Offered {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: digit.repeat(64),
        }
    }

    #[test]
    fn an_index_is_read_stanza_by_stanza() {
        let text = format!(
            "Package: linux-a\nSource: linux\nVersion: 6.1.170-1\nDescription: one\n more: of it\nSHA256: {}\n\n\
             Package: linux-b\nVersion: 6.1.176-1\nSHA256: {}\n\nPackage: no-sum\nVersion: 1\n\n",
            "a".repeat(64),
            "b".repeat(64)
        );
        let expected = [
            offered("linux-a", "6.1.170-1", "a"),
            offered("linux-b", "6.1.176-1", "b"),
        ];
        assert_eq!(parse_index(&text), expected);
    }

    #[test]
    fn the_pinned_package_is_taken_where_it_is_and_else_the_newest() {
        let all = [
            offered("linux-6.12.107", "6.12.107-1", "a"),
            offered("linux-6.12.117", "6.12.117-1", "b"),
            offered("linux-6.12.99", "6.12.99-1", "c"),
        ];
        assert_eq!(choose(&all[2], &all), Some(&all[2]));
        let gone = offered("linux-6.12.90", "6.12.90-1", "d");
        assert_eq!(choose(&gone, &all), Some(&all[1]));
        // The same name with other content is not what was pinned.
        let rebuilt = offered("linux-6.12.99", "6.12.99-1", "e");
        assert_eq!(choose(&rebuilt, &all), Some(&all[1]));
        assert_eq!(choose(&gone, &[]), None);
    }

    #[test]
    fn the_mirror_is_that_of_debians_own_archive() {
        let text = "Other Other https://packages.example/\nDebian Debian-Security http://mirror.example/debian-security/\n\
                    Debian Debian http://mirror.example/debian/\n";
        assert_eq!(parse_archive(text), Some("http://mirror.example/debian/"));
        assert_eq!(parse_archive("Ubuntu Ubuntu http://mirror.example/ubuntu/\n"), None);
    }
}
