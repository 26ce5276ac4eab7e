//! Makes a folder ready to be published: changelog section, archives, sums, signature.
//!
//! Uses the programs that the receiver checks with (sha256sum, minisign), and checks with them at once. Never makes a key and
//! never signs with one that the releaser did not name: a folder without a signature is said to be unsigned.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use crate::packages::{self, Program};
use crate::steps::quiet;

/// File of the sums.
pub const SUMS: &str = "SHA256SUMS";
/// File of the signature over the sums.
pub const SIGNATURE: &str = "SHA256SUMS.minisig";

/// What signs.
pub const MINISIGN: Program = (&["minisign"], "minisign");

/// The section of `changelog` about `version`, without its heading.
///
/// A version of just three numbers is a release, and has to have its section. One with anything behind them (`0.2.0-rc.1`,
/// `0.2.0+g1a2b3c4`) is a build between releases: when it has no section, what is unreleased is its section.
pub fn changelog_section(changelog: &str, version: &str) -> Result<String, String> {
    let named = |wanted: &str| {
        section(changelog, wanted).map(|text| match text.is_empty() {
            true => Err(format!("the changelog's section `{wanted}` says nothing")),
            false => Ok(text),
        })
    };
    if let Some(section) = named(version) {
        return section;
    }
    let release = !version.contains(['-', '+']);
    if release {
        return Err(format!(
            "the changelog has no section `## {version}`; rename `## Unreleased` to release it, or build a version \
             like {version}-rc.1"
        ));
    }
    named("Unreleased").unwrap_or_else(|| {
        Err(format!("the changelog has neither a section `## {version}` nor `## Unreleased`"))
    })
}

/// Text below the heading of the second level whose first word is `name`, in brackets or not.
fn section(changelog: &str, name: &str) -> Option<String> {
    let title = |line: &str| {
        let rest = line.strip_prefix("## ")?;
        let word = rest.split_whitespace().next().unwrap_or_default();
        Some(word.trim_matches(['[', ']']).to_owned())
    };
    let mut lines = changelog.lines();
    lines.find(|line| title(line).is_some_and(|title| title == name))?;
    let body: Vec<&str> = lines.take_while(|line| title(line).is_none()).collect();
    Some(body.join("\n").trim().to_owned())
}

/// SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("sha256sum: {e}");
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(bytes).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.split_whitespace().next() {
        Some(sum) if output.status.success() && sum.len() == 64 => Ok(sum.to_owned()),
        _ => Err(format!("sha256sum: {}", output.status)),
    }
}

/// Writes the sums of every file below `folder` into it, and checks them. What was there of sums and signature is replaced.
pub fn write_sums(folder: &Path) -> Result<(), String> {
    for old in [SUMS, SIGNATURE] {
        let old = folder.join(old);
        if old.exists() {
            fs::remove_file(&old).map_err(|e| format!("removing {}: {e}", old.display()))?;
        }
    }
    let files = files_below(folder)?;
    if files.is_empty() {
        return Err(format!("{}: there is no file to publish", folder.display()));
    }
    let sums = quiet(Command::new("sha256sum").arg("--").args(&files).current_dir(folder))?;
    let path = folder.join(SUMS);
    fs::write(&path, sums).map_err(|e| format!("writing {}: {e}", path.display()))?;
    check_sums(folder)
}

/// Checks that every file below `folder` is as the sums say, and that no file lacks a sum.
pub fn check_sums(folder: &Path) -> Result<(), String> {
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--strict", "--quiet", SUMS]).env("LC_ALL", "C").current_dir(folder);
    let output = check.output().map_err(|e| format!("sha256sum: {e}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        return Err(format!("{}: {}", folder.join(SUMS).display(), said.trim()));
    }
    let path = folder.join(SUMS);
    let sums = fs::read_to_string(&path).map_err(|e| format!("reading {}: {e}", path.display()))?;
    let listed: Vec<&str> = sums.lines().filter_map(|line| line.get(66..)).collect();
    let files = files_below(folder)?;
    match files.iter().find(|file| !listed.contains(&file.as_str())) {
        Some(file) => Err(format!("{}: has no sum of {file}", path.display())),
        None => Ok(()),
    }
}

/// Paths of all files below `folder` but sums and signature, sorted by bytes. Names that a shell or a line of sums would
/// read differently are refused, and so are links.
fn files_below(folder: &Path) -> Result<Vec<String>, String> {
    let plain = |name: &str| {
        let safe = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
        !name.starts_with('-') && name.chars().all(safe)
    };
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(inside) = folders.pop() {
        let path = folder.join(&inside);
        let failed = |e: std::io::Error| format!("listing {}: {e}", path.display());
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !plain(&name) {
                return Err(format!("{}: not a name to publish", entry.path().display()));
            }
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                folders.push(format!("{inside}{name}/"));
            } else if !kind.is_file() {
                return Err(format!("{}: neither file nor folder", entry.path().display()));
            } else if !(inside.is_empty() && [SUMS, SIGNATURE].contains(&name.as_str())) {
                files.push(format!("{inside}{name}"));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Who vouches for what is published. Its text is for reports and manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signing {
    /// Nobody.
    Unsigned,
    /// The releaser.
    Minisign {
        /// File of the secret key; minisign asks for its password on the terminal when it has one.
        secret: PathBuf,
        /// File of the public key that receivers have.
        public: PathBuf,
    },
}

impl Signing {
    /// From the values of `--sign` and `--verify`: both or neither, and files that are there.
    pub fn of(secret: Option<PathBuf>, public: Option<PathBuf>) -> Result<Signing, String> {
        let (secret, public) = match (secret, public) {
            (None, None) => return Ok(Signing::Unsigned),
            (Some(secret), Some(public)) => (secret, public),
            (Some(_), None) => {
                return Err("--sign: --verify PUBKEY is needed too, to check the signature with the key that \
                            receivers have"
                    .to_owned());
            }
            (None, Some(_)) => return Err("--verify: there is no --sign KEYFILE".to_owned()),
        };
        for file in [&secret, &public] {
            fs::metadata(file).map_err(|e| format!("key {}: {e}", file.display()))?;
        }
        packages::ensure(&[MINISIGN], &[])?;
        Ok(Signing::Minisign { secret, public })
    }

    /// Signs the sums in `folder`, with `about` (version and commit) as the comment that the signature covers, and checks
    /// the result with the public key. No signature is left that does not hold.
    pub fn sign(&self, folder: &Path, about: &str) -> Result<(), String> {
        let Signing::Minisign { secret, public } = self else { return Ok(()) };
        let signature = folder.join(SIGNATURE);
        let mut minisign = Command::new("minisign");
        minisign.arg("-S").arg("-s").arg(secret).arg("-m").arg(folder.join(SUMS));
        minisign.arg("-x").arg(&signature).args(["-t", about]);
        minisign.args(["-c", "signature of the SHA256SUMS beside it"]);
        // Terminal and all: it may have to ask for a password.
        let status = minisign.status().map_err(|e| format!("starting minisign: {e}"))?;
        if !status.success() {
            return Err(format!("signing with {}: {status}", secret.display()));
        }
        check_signature(folder, public, about).map_err(|message| {
            // What was wrong with it matters more than whether it could be removed.
            let _ = fs::remove_file(&signature);
            format!(
                "{message}\nThe signature by {} was removed: it does not hold for {}",
                secret.display(),
                public.display()
            )
        })
    }
}

impl fmt::Display for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Signing::Unsigned => {
                f.write_str("unsigned: no key was given (--sign KEYFILE --verify PUBKEY)")
            }
            Signing::Minisign { public, .. } => {
                // The comment in front of a public key is not covered by anything; the key itself is.
                let text = fs::read_to_string(public).unwrap_or_default();
                let key = text.lines().nth(1).unwrap_or("(key cannot be read)");
                write!(f, "signed by minisign, to be checked with the public key {key}")
            }
        }
    }
}

/// Checks the signature over the sums in `folder`, and that it covers the comment `about`.
pub fn check_signature(folder: &Path, public: &Path, about: &str) -> Result<(), String> {
    let said = quiet(
        Command::new("minisign")
            .args(["-V", "-Q", "-p"])
            .arg(public)
            .arg("-m")
            .arg(folder.join(SUMS))
            .arg("-x")
            .arg(folder.join(SIGNATURE)),
    )?;
    if said.trim_end() != about {
        return Err(format!("the signature is about `{}`, not `{about}`", said.trim_end()));
    }
    Ok(())
}

/// A file to be packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Path inside the archive.
    pub name: PathBuf,
    /// The file to take.
    pub from: PathBuf,
    /// Permission bits.
    pub mode: u32,
}

/// Packs `files` into the `tar.gz` file `out`. Bytes depend on names, contents and modes only: GNU tar sorts, sets all
/// times to `epoch_s` and all owners to root, and gzip writes neither name nor time. GNU tar and gzip, because every
/// Debian has them and it would take four crates (tar, flate2 and what they need) to do the same.
pub fn archive(out: &Path, files: &[Packed], epoch_s: u64) -> Result<(), String> {
    let mut staging = OsString::from(out);
    staging.push(".staging");
    let staging = PathBuf::from(staging);
    let result = stage(&staging, files).and_then(|()| {
        let mut tar = Command::new("tar");
        tar.args(["--create", "--format=ustar", "--sort=name", "--numeric-owner"]);
        tar.args(["--owner=0", "--group=0"]).arg(format!("--mtime=@{epoch_s}"));
        // Options from the environment would change the bytes.
        for variable in ["GZIP", "TAR_OPTIONS", "POSIXLY_CORRECT"] {
            tar.env_remove(variable);
        }
        tar.args(["--use-compress-program", "gzip -9 -n"]).env("LC_ALL", "C");
        // By name: with `.` the archive would set the mode of the folder that it is unpacked in.
        let tops: BTreeSet<_> =
            files.iter().filter_map(|file| file.name.components().next()).collect();
        tar.arg("--file").arg(out).arg("--directory").arg(&staging).arg("--").args(tops);
        quiet(&mut tar).and_then(|_| holds(out, files))
    });
    let cleared = match staging.exists() {
        true => {
            fs::remove_dir_all(&staging).map_err(|e| format!("removing {}: {e}", staging.display()))
        }
        false => Ok(()),
    };
    result.and(cleared)
}

/// Checks that the archive has `files` and nothing else but their folders.
fn holds(archive: &Path, files: &[Packed]) -> Result<(), String> {
    let mut tar = Command::new("tar");
    tar.env_remove("TAR_OPTIONS")
        .args(["--list", "--quoting-style=literal", "--file"])
        .arg(archive);
    let list = quiet(&mut tar)?;
    let inside: BTreeSet<&str> = list.lines().filter(|name| !name.ends_with('/')).collect();
    let wanted: Vec<String> =
        files.iter().map(|file| file.name.to_string_lossy().into_owned()).collect();
    let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    if inside == wanted {
        return Ok(());
    }
    let odd: Vec<&str> = inside.symmetric_difference(&wanted).copied().collect();
    Err(format!("{}: missing or too much: {}", archive.display(), odd.join(", ")))
}

/// Copies `files` below the folder `staging`, which is made anew, with the modes that they are packed with.
fn stage(staging: &Path, files: &[Packed]) -> Result<(), String> {
    let failed = |path: &Path, e: std::io::Error| format!("packing {}: {e}", path.display());
    let set = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| failed(path, e))
    };
    if staging.exists() {
        fs::remove_dir_all(staging).map_err(|e| failed(staging, e))?;
    }
    fs::create_dir(staging).map_err(|e| failed(staging, e))?;
    set(staging, 0o755)?;
    for Packed { name, from, mode } in files {
        let parts: Vec<Component<'_>> = name.components().collect();
        if parts.is_empty() || !parts.iter().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("packing {}: not a path inside an archive", name.display()));
        }
        let mut path = staging.to_owned();
        for part in &parts[..parts.len() - 1] {
            path.push(part);
            if !path.is_dir() {
                fs::create_dir(&path).map_err(|e| failed(&path, e))?;
                set(&path, 0o755)?;
            }
        }
        path.push(parts[parts.len() - 1]);
        if path.exists() {
            return Err(format!("packing {}: named twice", name.display()));
        }
        fs::copy(from, &path).map_err(|e| failed(from, e))?;
        set(&path, *mode)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
