//! Brings what cross building needs and says what it took: the pinned compiler, std for a target, zig.
//!
//! Changes nothing of the system but this: std's sources go where `rustup component add rust-src` would put them. Everything
//! else stays in `target/cross`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::targets::{Pins, Target};
use crate::packages;
use crate::steps::{quiet, run};

/// Pinned wheels with their checksums.
const REQUIREMENTS: &str = "cross/requirements.txt";

/// Time that rustup has to bring a target, in seconds; without access it would try for minutes.
const RUSTUP_SECONDS: &str = "120";

/// File beside std's sources that says which Debian package they are from.
const NOTE: &str = "debian-package";

/// Which std is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The toolchain's own when it is there or rustup brings it, else from source.
    Auto,
    /// The toolchain's own or nothing.
    Own,
    /// Built from source.
    Source,
}

/// Which std is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// Makes everything available that does not depend on the target, below `work`.
pub fn prepare(pins: &Pins, work: &Path) -> Result<Toolchain, String> {
    let rustc = quiet(Command::new("rustc").arg("-V"))?.trim().to_owned();
    let version = rustc.split(' ').nth(1).unwrap_or_default();
    if version != pins.rustc {
        return Err(format!(
            "releases are built with rustc {}, this is {version}: `rustup toolchain install {}`, then `cargo +{} xtask dist`",
            pins.rustc, pins.rustc, pins.rustc
        ));
    }
    let sysroot = PathBuf::from(quiet(Command::new("rustc").args(["--print", "sysroot"]))?.trim());
    let zig = zig(pins, work)?;
    let zig_version = quiet(Command::new(&zig).arg("version"))?.trim().to_owned();
    let objcopy = objcopy(&sysroot)?;
    Ok(Toolchain { rustc, sysroot, zig, zig_version, rust_src: None, objcopy })
}

impl Toolchain {
    /// The std that `target` is to be linked with; brings it.
    pub fn std_for(
        &mut self,
        target: &Target,
        wish: Wish,
        pins: &Pins,
        work: &Path,
    ) -> Result<Std, String> {
        if wish != Wish::Source {
            if self.has_own(target)? || self.rustup_brings(target)? {
                println!("{}: std of the toolchain itself", target.name);
                return Ok(Std::Own);
            }
            if wish == Wish::Own {
                return Err(format!(
                    "the toolchain has no std for {}: `rustup target add {0}`",
                    target.triple
                ));
            }
        }
        let source = self.sources(pins, work)?;
        println!("{}: std built from source ({source})", target.name);
        Ok(Std::Source)
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
        let of_rustup = self.sysroot.components().any(|part| part.as_os_str() == "toolchains");
        if !of_rustup || packages::find("rustup").is_none() {
            return Ok(false);
        }
        let mut add = Command::new("timeout");
        add.args([RUSTUP_SECONDS, "rustup", "target", "add", &target.triple]);
        match quiet(&mut add) {
            Ok(_) => self.has_own(target),
            Err(_) => {
                println!("{}: rustup cannot bring std from here", target.name);
                Ok(false)
            }
        }
    }

    /// Makes sure that std's sources are where cargo looks, and says where they came from.
    fn sources(&mut self, pins: &Pins, work: &Path) -> Result<String, String> {
        if let Some(source) = &self.rust_src {
            return Ok(source.clone());
        }
        let folder = self.sysroot.join("lib/rustlib/src/rust");
        let source = if folder.join("library/std/Cargo.toml").exists() {
            fs::read_to_string(folder.join("library").join(NOTE))
                .unwrap_or_else(|_| "rust-src of the toolchain".to_owned())
        } else {
            rust_src(pins, work, &folder)?
        };
        self.rust_src = Some(source.clone());
        Ok(source)
    }
}

/// Debian's rust-src of exactly the pinned compiler, copied below `folder`. Apt's lists for it are private: the system's
/// sources stay as they are, and apt checks Debian's signatures as always.
fn rust_src(pins: &Pins, work: &Path, folder: &Path) -> Result<String, String> {
    let ways = format!(
        "std's sources of rustc {0} are needed; any of these brings them: `rustup component add rust-src`; on Debian run this \
         with access to the suites {1}; or install the compiler itself with its sources from Debian (rustc-web, cargo-web, \
         rust-web-src)",
        pins.rustc,
        pins.rust_src_suites.join(", ")
    );
    let apt = work.join("apt");
    let apt_folder = apt.display();
    for name in ["lists/partial", "cache/archives/partial"] {
        let path = apt.join(name);
        fs::create_dir_all(&path).map_err(|e| format!("making {}: {e}", path.display()))?;
    }
    let write = |name: &str, text: &str| {
        let path = apt.join(name);
        fs::write(&path, text).map_err(|e| format!("writing {}: {e}", path.display()))
    };
    let mirror = mirror().ok_or(format!("this system names no Debian mirror. {ways}"))?;
    let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let suites: Vec<String> = pins
        .rust_src_suites
        .iter()
        .map(|suite| format!("deb [signed-by={keys}] {mirror} {suite} main\n"))
        .collect();
    write("sources.list", &suites.concat())?;
    write("status", "")?;
    // A file and not options: values may hold blanks.
    write(
        "apt.conf",
        &format!(
            "Dir::Etc::sourcelist \"{apt_folder}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::State::lists \"{apt_folder}/lists\";\nDir::State::status \"{apt_folder}/status\";\n\
             Dir::Cache \"{apt_folder}/cache\";\nAPT::Sandbox::User \"root\";\n"
        ),
    )?;
    let tool = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", apt.join("apt.conf")).args(arguments).current_dir(&apt);
        command
    };
    println!("std's sources: looking for rust-src {} in Debian's packages", pins.rustc);
    quiet(&mut tool("apt-get", &["update", "-q"])).map_err(|e| format!("{ways} ({e})"))?;
    let versions = quiet(&mut tool("apt-cache", &["madison", "rust-src"]))?;
    let version = versions
        .lines()
        .filter_map(|line| line.split('|').nth(1).map(str::trim))
        .find(|version| version.starts_with(&format!("{}+", pins.rustc)))
        .ok_or(format!("Debian has no rust-src {} any more. {ways}", pins.rustc))?
        .to_owned();
    quiet(&mut tool("apt-get", &["download", "-q", &format!("rust-src={version}")]))?;
    let package = fs::read_dir(&apt)
        .map_err(|e| format!("reading {apt_folder}: {e}"))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or("apt-get downloaded nothing")?;
    quiet(Command::new("dpkg-deb").arg("-x").arg(&package).arg(apt.join("unpacked")))?;
    let origin = format!("Debian's rust-src {version}");
    let library = apt.join(format!("unpacked/usr/src/rustc-{}/library", pins.rustc));
    // Renamed when complete: half a copy must not pass for sources.
    let copy = folder.join("library.copy");
    let copied = fs::create_dir_all(folder)
        .map_err(|e| e.to_string())
        .and_then(|()| quiet(Command::new("cp").arg("-rT").arg(&library).arg(&copy)))
        .and_then(|_| fs::write(copy.join(NOTE), &origin).map_err(|e| e.to_string()))
        .and_then(|()| fs::rename(&copy, folder.join("library")).map_err(|e| e.to_string()));
    copied.map_err(|e| {
        format!(
            "putting std's sources into {}: {e}. Run this once as the owner of that folder.",
            folder.display()
        )
    })?;
    Ok(origin)
}

/// The mirror that this system's own package sources name first.
fn mirror() -> Option<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .find_map(|text| first_mirror(&text))
}

/// The first address of a package source, in either of apt's two formats (sources.list(5)).
fn first_mirror(text: &str) -> Option<String> {
    text.lines().filter(|line| line.starts_with("URIs:") || line.starts_with("deb ")).find_map(
        |line| line.split_whitespace().find(|word| word.starts_with("http")).map(str::to_owned),
    )
}

/// The pinned zig, from its wheel.
fn zig(pins: &Pins, work: &Path) -> Result<PathBuf, String> {
    let venv = work.join("venv");
    let python = venv.join("bin/python");
    let zig_path = || -> Option<PathBuf> {
        let find =
            "import ziglang, os; print(os.path.join(os.path.dirname(ziglang.__file__), 'zig'))";
        quiet(Command::new(&python).args(["-c", find])).ok().map(|path| PathBuf::from(path.trim()))
    };
    let pinned = |path: &Path| {
        quiet(Command::new(path).arg("version")).is_ok_and(|version| version.trim() == pins.zig)
    };
    if let Some(path) = zig_path()
        && pinned(&path)
    {
        return Ok(path);
    }
    packages::ensure(&[(&["python3"], "python3")], &[])?;
    if quiet(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_err() {
        packages::ensure(&[], &["python3-venv"])?;
    }
    run("python environment", Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(
        "zig",
        Command::new(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"])
            .args(["--require-hashes", "--requirement", REQUIREMENTS]),
    )
    .map_err(|e| format!("{e}. zig {} comes from PyPI, as `ziglang`.", pins.zig))?;
    zig_path().filter(|path| pinned(path)).ok_or(format!(
        "{REQUIREMENTS} and the pinned zig {} do not agree; change them together",
        pins.zig
    ))
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

#[cfg(test)]
mod tests {
    use super::first_mirror;

    #[test]
    fn both_formats_of_package_sources_are_read() {
        let one_line = "# deb http://no.example/ x main\ndeb [arch=amd64] http://a.example/debian trixie main\n";
        assert_eq!(first_mirror(one_line).as_deref(), Some("http://a.example/debian"));
        let paragraphs = "Types: deb\nURIs: https://b.example/debian\nSuites: trixie\n";
        assert_eq!(first_mirror(paragraphs).as_deref(), Some("https://b.example/debian"));
        assert_eq!(first_mirror("URIs: file:/srv/mirror\n"), None);
    }
}
