//! Says what is linked into the programs for one target, and what only ran to make them.
//!
//! Which crates and which edges: what `cargo tree` resolves for that target, normal dependencies only and without proc-macros.
//! `cargo metadata` would unify the features of the whole workspace and so add crates that only tests and tools ask for; it
//! gives licence, repository and folder here, and the lock file gives checksums. Std's crates come the same way from its own
//! workspace, because a static program carries them too, and so do the parts of the C toolchain that the linker adds.
//!
//! Lists crates, not functions: a crate all of whose code the linker dropped is still listed. Crates from elsewhere than a
//! registry are refused, since nobody could look them up.

mod graph;

pub use graph::Graph;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use graph::{Facts, Key};

/// Where a component comes from, which decides what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This workspace.
    Own,
    /// A crate from the registry, linked by the programs, by std or by both.
    Registry,
    /// A folder of Rust's own sources, under `library`.
    Rust,
    /// Part of the C toolchain that is linked in: C library, compiler support, unwinder.
    Runtime,
    /// A crate that ran during the build and leaves no code of its own: proc-macros, build scripts and what those use.
    BuildOnly,
}

/// Where the licence texts of a component are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Texts {
    /// Somewhere below this folder.
    Below(PathBuf),
    /// Exactly these files.
    Files(Vec<PathBuf>),
    /// Nowhere beside the sources on every machine: a text kept in this workspace stands in.
    StandIn,
}

/// One thing whose code is in the programs, or that ran to make them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Package URL: the component's identity in every document.
    pub purl: String,
    /// Name as its makers use it.
    pub name: String,
    /// Name of the crate in Rust code, and so in symbols; nothing for what is not Rust.
    pub library: Option<String>,
    /// Version as its makers use it.
    pub version: String,
    /// Where it comes from.
    pub origin: Origin,
    /// SPDX expression.
    pub licence: String,
    /// Address of its sources.
    pub repository: Option<String>,
    /// SHA-256 of the package in the registry, in hexadecimal.
    pub sha256: Option<String>,
    /// Name in the vulnerability database of NIST, for what is not a crate.
    pub cpe: Option<String>,
    /// Where its licence texts are.
    pub texts: Texts,
    /// Package URLs of what it links.
    pub needs: BTreeSet<String>,
}

/// Everything in the programs for one target, by package URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Triple of the target.
    pub target: String,
    /// The programs and their parts, linked or build-time.
    pub components: BTreeMap<String, Component>,
}

impl Inventory {
    /// What came from others and is in the programs.
    pub fn third_party(&self) -> impl Iterator<Item = &Component> {
        self.components.values().filter(|component| match component.origin {
            Origin::Registry | Origin::Rust | Origin::Runtime => true,
            Origin::Own | Origin::BuildOnly => false,
        })
    }

    /// Which of `crates`, named as in Rust code, are not among the components that are linked.
    pub fn lacks<'a>(&self, crates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let known: BTreeSet<&str> = self
            .components
            .values()
            .filter(|component| component.origin != Origin::BuildOnly)
            .filter_map(|component| component.library.as_deref())
            .collect();
        crates.filter(|name| !known.contains(name)).collect()
    }

    /// How many components have this origin.
    pub fn count(&self, origin: Origin) -> usize {
        self.components.values().filter(|component| component.origin == origin).count()
    }
}

/// The C toolchain whose libraries are linked in: zig's.
#[derive(Clone, Debug)]
pub struct Zig {
    /// Version of zig.
    pub version: String,
    /// Version of the musl that comes with it.
    pub musl: String,
    /// Folder of the package, the one with `LICENSE` and `lib`.
    pub folder: PathBuf,
}

impl Zig {
    /// Reads the version of musl from the toolchain in `folder`.
    pub fn read(folder: &Path, version: &str) -> Result<Zig, String> {
        let header = folder.join("lib/libc/musl/src/internal/version.h");
        let text = std::fs::read_to_string(&header).map_err(|e| {
            format!("reading musl's version from {}: {e}; is this zig's folder?", header.display())
        })?;
        let musl =
            text.split('"').nth(1).filter(|version| !version.is_empty()).ok_or_else(|| {
                format!("{}: no version in quotes, as musl has had it", header.display())
            })?;
        Ok(Zig { version: version.to_owned(), musl: musl.to_owned(), folder: folder.to_owned() })
    }

    /// What the linker takes from it. A map of a static program shows all four: std's panic handler walks the stack with
    /// libunwind even when it prints no backtrace, and zig has its own code for a part of the C library.
    fn components(&self) -> [Component; 4] {
        let file = |name: &str| self.folder.join(name);
        let zig = |name: &str, part: &str, licence: &str, files: &[&str]| Component {
            // Of the very package it was taken from.
            purl: format!("pkg:pypi/ziglang@{}#ziglang/{part}", encode(&self.version)),
            name: name.to_owned(),
            version: self.version.clone(),
            library: None,
            origin: Origin::Runtime,
            licence: licence.to_owned(),
            repository: Some("https://ziglang.org".to_owned()),
            sha256: None,
            cpe: None,
            texts: Texts::Files(files.iter().map(|name| file(name)).collect()),
            needs: BTreeSet::new(),
        };
        let (own, llvm, musl) = ("LICENSE", "lib/libunwind/LICENSE.TXT", "lib/libc/musl/COPYRIGHT");
        [
            Component {
                purl: format!("pkg:generic/musl@{}", encode(&self.musl)),
                name: "musl".to_owned(),
                version: self.musl.clone(),
                repository: Some("https://git.musl-libc.org/cgit/musl".to_owned()),
                cpe: Some(format!("cpe:2.3:a:musl-libc:musl:{}:*:*:*:*:*:*:*", self.musl)),
                ..zig("musl", "lib/libc/musl", "MIT", &[musl])
            },
            zig("zig-libc", "lib/c", "MIT", &[own, musl]),
            // Written in zig after LLVM's, with mathematics after musl's.
            zig(
                "zig-compiler-rt",
                "lib/compiler_rt",
                "MIT AND Apache-2.0 WITH LLVM-exception",
                &[own, llvm, musl],
            ),
            zig("llvm-libunwind", "lib/libunwind", "Apache-2.0 WITH LLVM-exception", &[llvm]),
        ]
    }
}

/// Whose C library and stack unwinder are linked in.
#[derive(Clone, Copy, Debug)]
pub enum Runtime<'a> {
    /// Zig's, with a std that was built along.
    Zig,
    /// Those that lie beside the std of the toolchain. Zig only compiles then.
    Toolchain {
        /// Version of that musl.
        musl: &'a str,
    },
}

impl Runtime<'_> {
    fn components(self, zig: &Zig, rust: &str) -> Vec<Component> {
        let musl = match self {
            Runtime::Zig => return zig.components().into(),
            Runtime::Toolchain { musl } => musl,
        };
        let [of_zig, _, _, unwind] = zig.components();
        vec![
            Component {
                purl: format!("pkg:generic/musl@{}", encode(musl)),
                version: musl.to_owned(),
                cpe: Some(format!("cpe:2.3:a:musl-libc:musl:{musl}:*:*:*:*:*:*:*")),
                ..of_zig
            },
            Component {
                purl: format!(
                    "pkg:github/rust-lang/rust@{}#src/llvm-project/libunwind",
                    encode(rust)
                ),
                version: rust.to_owned(),
                repository: Some("https://github.com/rust-lang/rust".to_owned()),
                ..unwind
            },
        ]
    }
}

/// Everything that decides the inventory.
pub struct Input<'a> {
    /// Triple of the target.
    pub target: &'a str,
    /// The programs.
    pub programs: &'a Graph,
    /// Rust's standard library, with the features it is built with.
    pub std: &'a Graph,
    /// Version of Rust, which is std's.
    pub rust: &'a str,
    /// C toolchain.
    pub zig: &'a Zig,
    /// What of the C toolchain is linked in.
    pub runtime: Runtime<'a>,
}

/// Puts programs, std and C toolchain together. Fails on a crate without licence or checksum, and on one that is from
/// neither this workspace nor a registry.
pub fn inventory(input: &Input<'_>) -> Result<Inventory, String> {
    let mut components: BTreeMap<String, Component> = BTreeMap::new();
    let runtime = input.runtime.components(input.zig, input.rust);
    let programs = Side::read(input.programs, Home::Workspace)?;
    let std = Side::read(input.std, Home::Rust { version: input.rust })?;

    for side in [&programs, &std] {
        for (key, needs) in &side.linked.edges {
            let mut component = side.component(key)?;
            for need in needs {
                component.needs.insert(side.component(need)?.purl);
            }
            let known =
                components.entry(component.purl.clone()).or_insert_with(|| component.clone());
            known.needs.extend(component.needs);
        }
    }
    for side in [&programs, &std] {
        for key in side.built.edges.keys().filter(|key| !side.linked.edges.contains_key(*key)) {
            let component = Component { origin: Origin::BuildOnly, ..side.component(key)? };
            components.entry(component.purl.clone()).or_insert(component);
        }
    }
    let mut std_roots = BTreeSet::new();
    for root in &std.linked.roots {
        let purl = std.component(root)?.purl;
        if let Some(root) = components.get_mut(&purl) {
            root.needs.extend(runtime.iter().map(|component| component.purl.clone()));
        }
        std_roots.insert(purl);
    }
    for component in components.values_mut().filter(|component| component.origin == Origin::Own) {
        component.needs.extend(std_roots.iter().cloned());
    }
    components.extend(runtime.into_iter().map(|component| (component.purl.clone(), component)));
    Ok(Inventory { target: input.target.to_owned(), components })
}

/// Whose folders the crates without a registry are.
#[derive(Clone, Copy)]
enum Home<'a> {
    Workspace,
    Rust { version: &'a str },
}

/// One workspace's graph, read.
struct Side<'a> {
    home: Home<'a>,
    root: PathBuf,
    linked: graph::Tree,
    built: graph::Tree,
    facts: BTreeMap<Key, Facts>,
    checksums: BTreeMap<Key, String>,
}

impl<'a> Side<'a> {
    fn read(graph: &Graph, home: Home<'a>) -> Result<Side<'a>, String> {
        let (root, facts) = graph::facts(&graph.metadata)?;
        Ok(Side {
            home,
            root,
            linked: graph::tree(&graph.linked)?,
            built: graph::tree(&graph.built)?,
            facts,
            checksums: graph::checksums(&graph.lock)?,
        })
    }

    fn component(&self, key: &Key) -> Result<Component, String> {
        let (name, version) = key;
        let facts = self.facts.get(key).ok_or_else(|| {
            format!("{name} {version}: cargo tree lists it, cargo metadata does not")
        })?;
        let licence = facts
            .licence
            .as_deref()
            .ok_or_else(|| format!("{name} {version}: its manifest names no licence"))?
            // The notation of before SPDX expressions, which old manifests still have.
            .replace('/', " OR ");
        let common = Component {
            purl: String::new(),
            name: name.clone(),
            library: Some(facts.library.clone()),
            version: version.clone(),
            origin: Origin::Own,
            licence,
            repository: facts.repository.clone(),
            sha256: None,
            cpe: None,
            texts: Texts::Below(facts.folder.clone()),
            needs: BTreeSet::new(),
        };
        if facts.registry {
            let sha256 = self
                .checksums
                .get(key)
                .ok_or_else(|| format!("{name} {version}: the lock file has no checksum of it"))?;
            return Ok(Component {
                purl: format!("pkg:cargo/{name}@{}", encode(version)),
                origin: Origin::Registry,
                sha256: Some(sha256.clone()),
                ..common
            });
        }
        let Ok(part) = facts.folder.strip_prefix(&self.root) else {
            return Err(format!(
                "{name} {version}: comes from {}, which is neither a registry nor this workspace",
                facts.folder.display()
            ));
        };
        Ok(match self.home {
            // Not `pkg:cargo`: scanners would look for advisories on a stranger's crate of that name.
            Home::Workspace => Component {
                purl: format!("pkg:generic/{name}@{}", encode(version)),
                origin: Origin::Own,
                ..common
            },
            Home::Rust { version: rust } => Component {
                purl: format!(
                    "pkg:github/rust-lang/rust@{}#library/{}",
                    encode(rust),
                    part.display()
                ),
                // Most of them say 0.0.0: they have no version but Rust's.
                version: if version == "0.0.0" { rust.to_owned() } else { version.clone() },
                origin: Origin::Rust,
                repository: Some("https://github.com/rust-lang/rust".to_owned()),
                cpe: (name == "std")
                    .then(|| format!("cpe:2.3:a:rust-lang:rust:{rust}:*:*:*:*:*:*:*")),
                texts: Texts::StandIn,
                ..common
            },
        })
    }
}

/// Percent-encodes a version for a package URL.
fn encode(version: &str) -> String {
    let mut encoded = String::new();
    for byte in version.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
