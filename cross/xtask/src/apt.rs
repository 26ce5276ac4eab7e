//! Debian packages to look into, not to install: of any architecture, from the mirror this system uses.
//!
//! Package lists and downloads lie in a folder of their own; the system's package sources and database stay untouched.
//! Signatures and hashes are checked by apt as always, whatever the system's own configuration allows. How old signed lists
//! may be is left to that configuration: a machine may be served by a snapshot of a mirror on purpose, and what is taken
//! from here is asked for by its exact version or tried before it counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::quiet;

/// Debian's signing keys, from the package debian-archive-keyring, which every Debian has.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Options that hold whatever `/etc/apt` says.
const STRICT: &[&str] = &[
    "Dir::Etc::sourceparts=/dev/null",
    // The folders belong to whoever runs this, and apt's own user may not write into them. Nobody but root could change to
    // that user anyway.
    "APT::Sandbox::User=root",
    "APT::Update::Error-Mode=any",
    "APT::Get::AllowUnauthenticated=false",
    "Acquire::AllowInsecureRepositories=false",
    "Acquire::AllowWeakRepositories=false",
    "Acquire::AllowDowngradeToInsecureRepositories=false",
    "Acquire::Languages=none",
];

/// Package lists of one architecture.
pub struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// Fetches the package lists of `suites` into `folder`, an absolute path.
    pub fn new(folder: &Path, architecture: &str, suites: &[&str]) -> Result<Apt, String> {
        Apt::of(&["deb"], folder, architecture, suites)
    }

    /// Like [`new`](Apt::new), with the lists of source packages too.
    pub fn with_sources(folder: &Path, architecture: &str, suites: &[&str]) -> Result<Apt, String> {
        Apt::of(&["deb", "deb-src"], folder, architecture, suites)
    }

    fn of(
        kinds: &[&str],
        folder: &Path,
        architecture: &str,
        suites: &[&str],
    ) -> Result<Apt, String> {
        let mirror = mirror(&codename()?)?;
        let at = folder.display();
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).map_err(|e| format!("making {}: {e}", path.display()))?;
        }
        let mut sources = String::new();
        for suite in suites {
            for kind in kinds {
                sources += &format!(
                    "{kind} [arch={architecture} signed-by={KEYS}] {mirror} {suite} main\n"
                );
            }
        }
        for (name, text) in [("sources.list", sources.as_str()), ("status", "")] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|e| format!("writing {}: {e}", path.display()))?;
        }
        let mut options: Vec<String> = STRICT.iter().map(|option| (*option).to_owned()).collect();
        options.extend([
            format!("APT::Architecture={architecture}"),
            format!("Dir::Etc::sourcelist={at}/sources.list"),
            format!("Dir::State::lists={at}/lists"),
            format!("Dir::State::status={at}/status"),
            format!("Dir::Cache={at}/cache"),
        ]);
        let apt = Apt { folder: folder.to_owned(), options };
        apt.tool("apt-get", &["update", "-q"])?;
        Ok(apt)
    }

    /// Runs apt-get or apt-cache on these lists alone.
    pub fn tool(&self, program: &str, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program);
        for option in &self.options {
            command.arg("-o").arg(option);
        }
        quiet(command.args(words).current_dir(&self.folder).env("LC_ALL", "C"))
    }

    /// Downloads `package` (`name` or `name=version`) and unpacks it into `into`, without running any of its scripts.
    pub fn unpack(&self, package: &str, into: &Path) -> Result<(), String> {
        // An interrupted run may have left one of another version.
        remove(&downloads(&self.folder, package)?)?;
        self.tool("apt-get", &["download", "-q", package])?;
        let files = downloads(&self.folder, package)?;
        let [file] = &files[..] else {
            let folder = self.folder.display();
            return Err(format!(
                "apt-get download {package} left {} packages in {folder}",
                files.len()
            ));
        };
        quiet(Command::new("dpkg-deb").arg("-x").arg(file).arg(into))?;
        remove(&files)
    }
}

/// Files of `package` (`name` or `name=version`), of any version, that `apt-get download` put into `folder`.
fn downloads(folder: &Path, package: &str) -> Result<Vec<PathBuf>, String> {
    let reading = |e: std::io::Error| format!("reading {}: {e}", folder.display());
    let begin = format!("{}_", package.split('=').next().unwrap_or(package));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&begin) && name.ends_with(".deb") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn remove(files: &[PathBuf]) -> Result<(), String> {
    files.iter().try_for_each(|file| {
        fs::remove_file(file).map_err(|e| format!("removing {}: {e}", file.display()))
    })
}

/// Debian's name for the release that this system runs.
pub fn codename() -> Result<String, String> {
    let path = "/etc/os-release";
    let text = fs::read_to_string(path).map_err(|e| format!("reading {path}: {e}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .ok_or(format!("{path} names no release: this needs Debian"))
}

/// The mirror from which this system takes `suite`.
pub fn mirror(suite: &str) -> Result<String, String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .find_map(|text| mirror_in(&text, suite))
        .ok_or(format!(
            "no package source in /etc/apt is for Debian's `{suite}`: this needs a Debian mirror"
        ))
}

/// The address of the source of `suite`, in either of the two formats of sources.list(5).
fn mirror_in(text: &str, suite: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let in_line = lines.clone().find_map(|line| {
        let rest = line.strip_prefix("deb ")?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let address = words.next()?;
        (words.next()? == suite).then(|| address.to_owned())
    });
    in_line.or_else(|| {
        let lines: Vec<&str> = lines.collect();
        lines.split(|line| line.is_empty()).find_map(|paragraph| {
            let field = |name: &str| paragraph.iter().find_map(|line| line.strip_prefix(name));
            let suites = field("Suites:")?;
            let address = field("URIs:")?.split_whitespace().next()?;
            suites.split_whitespace().any(|name| name == suite).then(|| address.to_owned())
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{downloads, mirror_in, remove};

    #[test]
    fn only_a_package_of_the_very_name_is_taken_and_a_stale_one_can_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["rust-src_1.94_all.deb", "rust-src-extra_1.95_all.deb", "rust-src_notes", "status"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let stale = downloads(folder.path(), "rust-src=1.95").unwrap();
        assert_eq!(stale, [folder.path().join("rust-src_1.94_all.deb")]);
        remove(&stale).unwrap();
        assert!(downloads(folder.path(), "rust-src").unwrap().is_empty());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn both_formats_of_package_sources_are_read() {
        let lines = "# deb http://old.example bookworm main\n\
                     deb https://other.example/apt stable main\n\
                     deb [arch=amd64 signed-by=/k] http://a.example/debian bookworm main\n";
        assert_eq!(mirror_in(lines, "bookworm").as_deref(), Some("http://a.example/debian"));
        assert_eq!(mirror_in(lines, "trixie"), None);
        let paragraphs = "Types: deb\nURIs: http://other.example\nSuites: nodistro\n\n\
                          Types: deb\n# URIs: http://old.example\nURIs: https://b.example/debian\n\
                          Suites: bookworm bookworm-updates\nComponents: main\n";
        assert_eq!(mirror_in(paragraphs, "bookworm").as_deref(), Some("https://b.example/debian"));
    }
}
