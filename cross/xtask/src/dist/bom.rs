//! `cargo xtask bom`: the papers of one target without building it: bill of materials, licence texts, changelog section,
//! sums and signature. They are what a release has of them, for the sources and the toolchain as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::licences;
use super::linked::{self, Graph, Input, Inventory, Origin, Runtime, Zig};
use super::publish::{self, Packed, Signing};
use super::sbom::{self, Tool};
use crate::steps::quiet;

/// Packages whose programs are released.
pub const PROGRAMS: &[&str] = &["outrider", "olsr-bridge"];

/// Virtual environment of the validator, from the workspace's root.
const VENV: &str = "target/cross/venv-sbom";
/// Virtual environment that zig and cargo-zigbuild are in, from the workspace's root.
const ZIG_VENV: &str = "target/cross/venv";

/// What the papers are about.
pub struct Papers<'a> {
    /// Folder of the workspace.
    pub root: &'a Path,
    /// Version of the release.
    pub version: &'a str,
    /// Commit that is built.
    pub commit: &'a str,
    /// SOURCE_DATE_EPOCH, in seconds since 1970.
    pub epoch_s: u64,
    /// What builds.
    pub tools: &'a [Tool],
}

impl Papers<'_> {
    /// Writes bill of materials (checked) and licence texts of one target into `folder`; returns their paths.
    pub fn write(&self, folder: &Path, inventory: &Inventory) -> Result<[PathBuf; 2], String> {
        let Papers { root, version, commit, epoch_s, tools } = *self;
        let target = &inventory.target;
        let file = |name: String, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|e| format!("writing {}: {e}", path.display()))?;
            Ok::<PathBuf, String>(path)
        };
        let facts = sbom::Facts { commit, epoch_s, tools };
        let bill = file(
            format!("outrider-{version}-{target}.cdx.json"),
            sbom::document(inventory, &facts)?,
        )?;
        sbom::check(root, &root.join(VENV), &bill)?;
        let title = format!("Licences of what Outrider {version} contains");
        let stand_ins = licences::StandIns::read(root)?;
        let texts = file(
            format!("outrider-{version}-{target}.THIRD-PARTY-LICENSES.txt"),
            licences::document(inventory, &stand_ins, root, &title)?,
        )?;
        Ok([bill, texts])
    }
}

/// Makes the papers. `arguments` are those after the command's name.
pub fn make(arguments: &[String]) -> Result<(), String> {
    let options = Options::read(arguments)?;
    let root = std::env::current_dir().map_err(|e| format!("current folder: {e}"))?;
    let said = |program: &str, arguments: &[&str]| {
        quiet(Command::new(program).args(arguments)).map(|text| text.trim().to_owned())
    };
    let commit = said("git", &["rev-parse", "HEAD"])?;
    let epoch_s = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => said("git", &["log", "-1", "--format=%ct"])?,
    };
    let epoch_s = epoch_s
        .parse()
        .map_err(|_| format!("SOURCE_DATE_EPOCH: `{epoch_s}` is not a number of seconds"))?;
    let sysroot = said("rustc", &["--print", "sysroot"])?;
    let rustc = said("rustc", &["--version"])?;
    let rust = rustc.split(' ').nth(1).unwrap_or_default();
    let version = format!("{}+g{}", env!("CARGO_PKG_VERSION"), commit.get(..12).unwrap_or(&commit));

    let venv = options.venv.clone().unwrap_or_else(|| root.join(ZIG_VENV));
    let folder = ziglang(&venv)?;
    let zig_program = folder.join("zig").to_string_lossy().into_owned();
    let zig = Zig::read(&folder, &said(&zig_program, &["version"])?)?;
    let tools = [
        Tool { name: "rustc".to_owned(), version: rustc.replacen("rustc ", "", 1) },
        Tool { name: "zig".to_owned(), version: zig.version.clone() },
    ];
    let library = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    let inventory = linked::inventory(&Input {
        target: &options.target,
        programs: &Graph::of_workspace(&root, PROGRAMS, &options.target)?,
        std: &Graph::of_std(&library, &[], &options.target)?,
        rust,
        zig: &zig,
        runtime: Runtime::Zig,
    })?;

    let out = &options.out;
    fs::create_dir_all(out).map_err(|e| format!("making {}: {e}", out.display()))?;
    let papers = Papers { root: &root, version: &version, commit: &commit, epoch_s, tools: &tools };
    let files = papers.write(out, &inventory)?;
    let changes = out.join("CHANGES.md");
    let changelog = fs::read_to_string(root.join("CHANGELOG.md"))
        .map_err(|e| format!("reading CHANGELOG.md: {e}"))?;
    fs::write(&changes, publish::changelog_section(&changelog, &version)? + "\n")
        .map_err(|e| format!("writing {}: {e}", changes.display()))?;
    let packed: Vec<Packed> = files
        .iter()
        .filter_map(|from| {
            Some(Packed { name: PathBuf::from(from.file_name()?), from: from.clone(), mode: 0o644 })
        })
        .collect();
    let archive = out.join(format!("outrider-{version}-{}-papers.tar.gz", options.target));
    publish::archive(&archive, &packed, epoch_s)?;
    publish::write_sums(out)?;
    options.signing.sign(out, &format!("outrider {version} commit {commit}"))?;

    let count = |origin| inventory.count(origin);
    println!(
        "{}: {} crates, {} parts of Rust's library and {} of the C toolchain are linked in; {} crates only run during the build",
        options.target,
        count(Origin::Registry),
        count(Origin::Rust),
        count(Origin::Runtime),
        count(Origin::BuildOnly)
    );
    println!("{}: {}", out.display(), options.signing);
    Ok(())
}

/// Folder of zig in a virtual environment, whatever its Python's version is.
fn ziglang(venv: &Path) -> Result<PathBuf, String> {
    let python = venv.join("bin/python");
    let ask = "import os, ziglang; print(os.path.dirname(ziglang.__file__))";
    let found = quiet(Command::new(&python).args(["-c", ask])).map_err(|e| {
        format!(
            "{e}\nzig is needed, for what it links in: python3 -m venv {} && {}/bin/pip install ziglang",
            venv.display(),
            venv.display()
        )
    })?;
    Ok(PathBuf::from(found.trim()))
}

struct Options {
    target: String,
    out: PathBuf,
    venv: Option<PathBuf>,
    signing: Signing,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Options, String> {
        let (mut target, mut out, mut venv, mut secret, mut public) =
            (None, None, None, None, None);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--target" => target = Some(value()?.clone()),
                "--out" => out = Some(PathBuf::from(value()?)),
                "--zig-venv" => venv = Some(PathBuf::from(value()?)),
                "--sign" => secret = Some(PathBuf::from(value()?)),
                "--verify" => public = Some(PathBuf::from(value()?)),
                other => return Err(format!("bom has no option `{other}`")),
            }
        }
        Ok(Options {
            target: target.ok_or("bom needs --target TRIPLE")?,
            out: out.ok_or("bom needs --out FOLDER")?,
            venv,
            signing: Signing::of(secret, public)?,
        })
    }
}
