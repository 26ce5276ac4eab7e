//! Brings what cross building needs and says what it took: the pinned compiler, std for a target, zig.
//!
//! As root it installs Debian packages that are missing, saying so, and std's sources go where `rustup component add rust-src`
//! would put them. Everything else stays in `target/cross`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::targets::{Pins, Target};
use crate::apt::Apt;
use crate::packages::{self, Program};
use crate::python;
use crate::steps::quiet;

/// Pinned wheels with their checksums.
const REQUIREMENTS: &str = "cross/requirements.txt";

/// Time that rustup has to bring a target, in seconds; without access it would try for minutes.
const RUSTUP_SECONDS: &str = "120";

/// File beside std's sources that says which Debian package they are from.
const NOTE: &str = "debian-package";

/// Programs that the release engineering runs, besides rustc, cargo and zig.
const PROGRAMS: &[Program] = &[
    (&["git"], "git"),
    // Build scripts and proc-macros run here.
    (&["cc"], "gcc"),
    (&["python3"], "python3"),
    (&["qemu-arm-static"], "qemu-user-static"),
    (&["qemu-system-arm"], "qemu-system-arm"),
    (&["mosquitto"], "mosquitto"),
    (&["mosquitto_sub"], "mosquitto-clients"),
    (&["promtool"], "prometheus"),
    (&["openssl"], "openssl"),
];

/// Which std is wanted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// The toolchain's own when it is there or rustup brings it, else from source.
    Auto,
    /// The toolchain's own or nothing.
    Own,
    /// Built from source.
    Source,
}

/// Which std is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Std {
    /// Built by the Rust project, part of the toolchain.
    Own,
    /// Built along, without unwinding and backtraces.
    Source,
}

/// Tools that are ready for use.
#[derive(Debug)]
pub struct Toolchain {
    /// `rustc -V`.
    pub rustc: String,
    /// `rustc -vV`, with its commit and its LLVM.
    pub rustc_details: String,
    /// rustc's folder.
    pub sysroot: PathBuf,
    /// The zig program.
    pub zig: PathBuf,
    /// What zig says of its version.
    pub zig_version: String,
    /// Where std's sources came from, when they are there.
    pub rust_src: Option<String>,
    /// LLVM's objcopy, which knows every target.
    pub objcopy: PathBuf,
    /// What that says of its version.
    pub objcopy_version: String,
}

/// Makes everything available that does not depend on the target, below `work`. The error has a line for each thing that
/// is missing, with the command that brings it.
pub fn prepare(pins: &Pins, work: &Path) -> Result<Toolchain, String> {
    let mut missing: Vec<String> = Vec::new();
    let rustc = quiet(Command::new("rustc").arg("-V"))?.trim().to_owned();
    let version = rustc.split(' ').nth(1).unwrap_or_default();
    if version != pins.rustc {
        missing.push(format!(
            "rustc {0}: releases are built with exactly it, this is {version}: rustup toolchain install {0} --profile minimal; \
             cargo +{0} xtask dist",
            pins.rustc
        ));
    }
    let sysroot = PathBuf::from(quiet(Command::new("rustc").args(["--print", "sysroot"]))?.trim());
    // What wheels are installed with is a library and no program.
    let venv = quiet(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_err();
    let packages = packages::ensure(PROGRAMS, if venv { &["python3-venv"] } else { &[] });
    let zig = packages.and_then(|()| zig(pins, work));
    let objcopy = objcopy(&sysroot);
    match (zig, objcopy) {
        (Ok(zig), Ok(objcopy)) if missing.is_empty() => {
            let said = |program: &Path, word: &str| {
                quiet(Command::new(program).arg(word)).map(|text| text.trim().to_owned())
            };
            let objcopy_version = said(&objcopy, "--version")?;
            let version = objcopy_version.lines().find(|line| line.contains("version"));
            Ok(Toolchain {
                rustc_details: said(&sysroot.join("bin/rustc"), "-vV")?,
                zig_version: said(&zig, "version")?,
                objcopy_version: version.unwrap_or_default().trim().to_owned(),
                rustc,
                sysroot,
                zig,
                rust_src: None,
                objcopy,
            })
        }
        (zig, objcopy) => {
            missing.extend(zig.err());
            missing.extend(objcopy.err());
            Err(missing.join("\n"))
        }
    }
}

impl Toolchain {
    /// The std that `target` is to be linked with, and where it is from; brings it.
    pub fn std_for(
        &mut self,
        target: &Target,
        wish: Wish,
        pins: &Pins,
        work: &Path,
    ) -> Result<(Std, String), String> {
        if wish != Wish::Source {
            if self.has_own(target)? || self.rustup_brings(target)? {
                // They say what is in it.
                self.sources(pins, work)?;
                return Ok((Std::Own, "of the toolchain itself".to_owned()));
            }
            if wish == Wish::Own {
                return Err(format!(
                    "the toolchain has no std for {}: `rustup target add {0}`",
                    target.triple
                ));
            }
        }
        let source = self.sources(pins, work)?;
        Ok((Std::Source, format!("built from source ({source})")))
    }

    fn has_own(&self, target: &Target) -> Result<bool, String> {
        let folder = quiet(Command::new("rustc").args([
            "--print",
            "target-libdir",
            "--target",
            &target.triple,
        ]))?;
        let Ok(entries) = fs::read_dir(folder.trim()) else { return Ok(false) };
        Ok(entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
    }

    fn rustup_brings(&self, target: &Target) -> Result<bool, String> {
        Ok(self.rustup(&["target", "add", &target.triple]) && self.has_own(target)?)
    }

    /// Whether rustup manages this toolchain and could do what `words` say.
    fn rustup(&self, words: &[&str]) -> bool {
        let of_rustup = self.sysroot.components().any(|part| part.as_os_str() == "toolchains");
        if !of_rustup || packages::find("rustup").is_none() {
            return false;
        }
        let done = quiet(Command::new("timeout").args([RUSTUP_SECONDS, "rustup"]).args(words));
        if done.is_err() {
            println!("rustup cannot do this from here: rustup {}", words.join(" "));
        }
        done.is_ok()
    }

    /// SHA-256 over the names and contents of std's sources, which no version covers.
    pub fn std_sources_sha256(&self) -> Result<String, String> {
        let list = format!(
            "find . -type f ! -name {NOTE} | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"
        );
        let library = self.sysroot.join("lib/rustlib/src/rust/library");
        let said = quiet(Command::new("sh").args(["-c", &list]).current_dir(&library))?;
        Ok(said.split(' ').next().unwrap_or_default().to_owned())
    }

    /// Makes sure that std's sources are where cargo looks, and says where they came from.
    fn sources(&mut self, pins: &Pins, work: &Path) -> Result<String, String> {
        if let Some(source) = &self.rust_src {
            return Ok(source.clone());
        }
        let folder = self.sysroot.join("lib/rustlib/src/rust");
        let there = || folder.join("library/std/Cargo.toml").exists();
        let source = if there() || (self.rustup(&["component", "add", "rust-src"]) && there()) {
            fs::read_to_string(folder.join("library").join(NOTE))
                .unwrap_or_else(|_| "rust-src of the toolchain".to_owned())
        } else {
            rust_src(pins, work, &folder)?
        };
        self.rust_src = Some(source.clone());
        Ok(source)
    }
}

/// Debian's rust-src of exactly the pinned compiler, copied below `folder`.
fn rust_src(pins: &Pins, work: &Path, folder: &Path) -> Result<String, String> {
    let suites: Vec<&str> = pins.rust_src_suites.iter().map(String::as_str).collect();
    let ways = format!(
        "std's sources of rustc {0} are needed; any of these brings them: `rustup component add rust-src`; on Debian, run \
         this where the suites {1} can be reached; or copy a `library` folder of rustc {0} to {2}",
        pins.rustc,
        suites.join(", "),
        folder.join("library").display()
    );
    println!("std's sources: looking for rust-src {} in Debian's packages", pins.rustc);
    let architecture = quiet(Command::new("dpkg").arg("--print-architecture"))
        .map_err(|e| format!("{ways} ({e})"))?;
    let apt = Apt::new(&work.join("apt"), architecture.trim(), &suites)
        .map_err(|e| format!("{ways} ({e})"))?;
    let versions = apt.tool("apt-cache", &["madison", "rust-src"])?;
    let version = versions
        .lines()
        .filter_map(|line| line.split('|').nth(1).map(str::trim))
        .find(|version| version.starts_with(&format!("{}+", pins.rustc)))
        .ok_or_else(|| format!("Debian has no rust-src {} any more. {ways}", pins.rustc))?;
    let unpacked = work.join("rust-src");
    apt.unpack(&format!("rust-src={version}"), &unpacked)?;
    let origin = format!("Debian's rust-src {version}");
    let library = unpacked.join(format!("usr/src/rustc-{}/library", pins.rustc));
    // Renamed when complete: half a copy must not pass for sources.
    let copy = folder.join("library.copy");
    if copy.exists() {
        fs::remove_dir_all(&copy).map_err(|e| format!("removing {}: {e}", copy.display()))?;
    }
    let copied = fs::create_dir_all(folder)
        .map_err(|e| e.to_string())
        .and_then(|()| quiet(Command::new("cp").arg("-rT").arg(&library).arg(&copy)))
        .and_then(|_| fs::write(copy.join(NOTE), &origin).map_err(|e| e.to_string()))
        .and_then(|()| fs::rename(&copy, folder.join("library")).map_err(|e| e.to_string()))
        .and_then(|()| fs::remove_dir_all(&unpacked).map_err(|e| e.to_string()));
    copied.map_err(|e| {
        format!(
            "putting std's sources into {}: {e}. Run this once as the owner of that folder.",
            folder.display()
        )
    })?;
    Ok(origin)
}

/// The pinned zig, from its wheel.
fn zig(pins: &Pins, work: &Path) -> Result<PathBuf, String> {
    let python = python::environment(&work.join("venv"), Path::new(REQUIREMENTS))
        .map_err(|e| format!("zig {}: {e}", pins.zig))?;
    let find = "import ziglang, os; print(os.path.join(os.path.dirname(ziglang.__file__), 'zig'))";
    let zig = PathBuf::from(quiet(python::isolated(&python).args(["-c", find]))?.trim());
    let version = quiet(Command::new(&zig).arg("version"))?;
    if version.trim() != pins.zig {
        return Err(format!(
            "{REQUIREMENTS} brings zig {} and {} is pinned; change them together",
            version.trim(),
            pins.zig
        ));
    }
    Ok(zig)
}

/// LLVM's objcopy: part of rustup's toolchains, else Debian's.
pub fn objcopy(sysroot: &Path) -> Result<PathBuf, String> {
    let host = quiet(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let own = sysroot.join("lib/rustlib").join(host).join("bin/rust-objcopy");
    if own.exists() {
        return Ok(own);
    }
    packages::ensure(&[(&["llvm-objcopy"], "llvm")], &[])?;
    packages::find("llvm-objcopy").ok_or("llvm-objcopy is not on the search path".to_owned())
}
