//! Asks cargo what a workspace builds, and reads its answers: tree, metadata, lock file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::steps::{self, quiet};

/// Name and version of a crate.
pub(super) type Key = (String, String);

/// What cargo says about some packages of one workspace, as text.
pub struct Graph {
    /// `cargo tree` over normal dependencies without proc-macros: what is linked. Depth first, then the package.
    pub linked: String,
    /// The same over normal and build dependencies with proc-macros: all that is compiled.
    pub built: String,
    /// `cargo metadata` for the target.
    pub metadata: String,
    /// The lock file.
    pub lock: String,
}

impl Graph {
    /// Graph of this workspace's `packages`, with their default features.
    pub fn of_workspace(root: &Path, packages: &[&str], target: &str) -> Result<Graph, String> {
        Graph::read(&root.join("Cargo.toml"), &root.join("Cargo.lock"), packages, &[], target)
    }

    /// Graph of std in Rust's sources, the folder `library`, with the `features` of std that are built: those of
    /// `-Zbuild-std-features` in a build of our own; `backtrace` and `panic-unwind` in the std of a toolchain, whose
    /// parts are those of the sources of the same version.
    pub fn of_std(library: &Path, features: &[&str], target: &str) -> Result<Graph, String> {
        let lock = library.join("Cargo.lock");
        if !lock.exists() {
            return Err(format!(
                "{}: not there. Std's parts are read from Rust's sources: install rust-src of exactly this rustc \
                 (`rustup component add rust-src`, or Debian's package)",
                lock.display()
            ));
        }
        let named = features.join(",");
        let options = ["--no-default-features", "--features", named.as_str()];
        let manifest = library.join("sysroot/Cargo.toml");
        Graph::read(&manifest, &lock, &["std", "panic_abort"], &options, target)
    }

    fn read(
        manifest: &Path,
        lock: &Path,
        packages: &[&str],
        options: &[&str],
        target: &str,
    ) -> Result<Graph, String> {
        let cargo = |command: &str| {
            let mut cargo = steps::cargo(&[command, "--quiet", "--locked", "--manifest-path"]);
            cargo.arg(manifest);
            // Std's manifests use features of cargo that are not stable; nothing is compiled here.
            cargo.env("RUSTC_BOOTSTRAP", "1");
            cargo
        };
        let tree = |edges: &str| {
            let mut tree = cargo("tree");
            tree.args(["--target", target, "--edges", edges]);
            tree.args(["--prefix", "depth", "--format", " {p}"]).args(options);
            for package in packages {
                tree.args(["--package", package]);
            }
            quiet(&mut tree)
        };
        let mut metadata = cargo("metadata");
        metadata.args(["--format-version", "1", "--filter-platform", target]).args(options);
        Ok(Graph {
            linked: tree("normal,no-proc-macro")?,
            built: tree("normal,build")?,
            metadata: quiet(&mut metadata)?,
            lock: fs::read_to_string(lock)
                .map_err(|e| format!("reading {}: {e}", lock.display()))?,
        })
    }
}

/// Crates and what each needs directly.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    pub roots: Vec<Key>,
    pub edges: BTreeMap<Key, BTreeSet<Key>>,
}

/// Reads `cargo tree --prefix depth --format " {p}"`: lines of depth, name and version, with a mark on repeated ones.
pub(super) fn tree(text: &str) -> Result<Tree, String> {
    let mut tree = Tree::default();
    let mut path: Vec<Key> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (Some(depth), Some(name), Some(version)) =
            (words.next().and_then(|word| word.parse::<usize>().ok()), words.next(), words.next())
        else {
            return Err(format!("cargo tree: no depth, name and version in `{line}`"));
        };
        let version = version.strip_prefix('v').unwrap_or(version);
        let key = (name.to_owned(), version.to_owned());
        if depth > path.len() {
            return Err(format!("cargo tree: a level is missing above `{line}`"));
        }
        path.truncate(depth);
        match path.last() {
            Some(parent) => {
                tree.edges.entry(parent.clone()).or_default().insert(key.clone());
            }
            None => tree.roots.push(key.clone()),
        }
        tree.edges.entry(key.clone()).or_default();
        path.push(key);
    }
    if tree.roots.is_empty() {
        return Err("cargo tree: no package in its answer".to_owned());
    }
    Ok(tree)
}

/// What a crate's manifest says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub licence: Option<String>,
    pub repository: Option<String>,
    /// Whether it comes from a registry, not from a folder.
    pub registry: bool,
    pub folder: PathBuf,
    /// Name of the crate in Rust code.
    pub library: String,
}

/// Reads `cargo metadata`: the workspace's folder, and the facts of every package.
pub(super) fn facts(text: &str) -> Result<(PathBuf, BTreeMap<Key, Facts>), String> {
    #[derive(Deserialize)]
    struct Metadata {
        workspace_root: PathBuf,
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        license: Option<String>,
        repository: Option<String>,
        source: Option<String>,
        manifest_path: PathBuf,
        #[serde(default)]
        targets: Vec<Made>,
    }
    #[derive(Deserialize)]
    struct Made {
        name: String,
        kind: Vec<String>,
    }
    let metadata: Metadata =
        serde_json::from_str(text).map_err(|e| format!("cargo metadata: {e}"))?;
    let mut facts = BTreeMap::new();
    for package in metadata.packages {
        let Some(folder) = package.manifest_path.parent() else {
            return Err(format!("cargo metadata: {} has no folder", package.name));
        };
        let library = package
            .targets
            .into_iter()
            .find(|made| made.kind.iter().any(|kind| kind.ends_with("lib")))
            .map_or_else(|| package.name.clone(), |made| made.name);
        let one = Facts {
            library: library.replace('-', "_"),
            licence: package.license,
            repository: package.repository,
            registry: package.source.is_some_and(|source| source.starts_with("registry+")),
            folder: folder.to_owned(),
        };
        facts.insert((package.name, package.version), one);
    }
    Ok((metadata.workspace_root, facts))
}

/// Reads the checksums of a lock file.
pub(super) fn checksums(text: &str) -> Result<BTreeMap<Key, String>, String> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let lock: Lock = toml::from_str(text).map_err(|e| format!("lock file: {e}"))?;
    let checksums = lock.package.into_iter().filter_map(|package| {
        package.checksum.map(|checksum| ((package.name, package.version), checksum))
    });
    Ok(checksums.collect())
}
