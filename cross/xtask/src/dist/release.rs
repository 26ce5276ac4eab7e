//! Puts what was built and checked into one folder, ready to publish: archives, papers, manifest, report, sums, signature.
//!
//! Works in a folder of its own and moves it to its place at the very end, so that the folder is there as a whole or not.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bom::{PROGRAMS, Papers};
use super::build::{Built, Source};
use super::costs::Costs;
use super::linked::{self, Graph, Input, Origin, Runtime, Zig};
use super::publish::{self, Packed, Signing};
use super::sbom::Tool;
use super::targets::{Pins, Target};
use super::toolchain::{Std, Toolchain};

/// File that says how everything was built and what was checked.
const MANIFEST: &str = "manifest.json";
/// The same for people, with what each dependency costs.
const REPORT: &str = "REPORT.md";
/// What changed.
const CHANGES: &str = "CHANGES.md";

/// Files of the workspace that are packed beside the programs: path here, path there.
const BESIDE: &[(&str, &str)] = &[
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("images/systemd/outrider.service", "outrider.service"),
    ("images/systemd/outrider-federation.conf", "outrider-federation.conf"),
    ("images/systemd/outrider-fleet.service", "outrider-fleet.service"),
    ("images/config/outrider.toml", "outrider.toml"),
    // Under the names by which the program speaks of them.
    ("images/kubernetes/custom-metrics.yaml", "images/kubernetes/custom-metrics.yaml"),
    ("images/kubernetes/fleet.yaml", "images/kubernetes/fleet.yaml"),
    ("images/kubernetes/host.yaml", "images/kubernetes/host.yaml"),
    ("images/kubernetes/prometheus-adapter.yaml", "images/kubernetes/prometheus-adapter.yaml"),
    ("images/kubernetes/tas-policy.yaml", "images/kubernetes/tas-policy.yaml"),
    ("images/kubernetes/vehicle.yaml", "images/kubernetes/vehicle.yaml"),
];

/// One program of one target.
#[derive(Debug, Serialize)]
pub struct Program {
    pub name: &'static str,
    pub bytes: u64,
    pub sha256: String,
    pub build_id: String,
    /// What each dependency costs.
    pub costs: Costs,
}

/// What is known about one target when all its checks have passed.
#[derive(Debug, Serialize)]
pub struct Checked {
    pub target: Target,
    pub std: Std,
    /// Where std came from.
    pub std_from: String,
    /// Flags of rustc and of the linker, without folders.
    pub flags: Vec<String>,
    pub programs: Vec<Program>,
    /// What was tried with the programs, and what was seen.
    pub checks: Vec<String>,
    #[serde(skip)]
    pub built: Vec<Built>,
}

/// What the manifest says.
#[derive(Serialize)]
struct Manifest<'a> {
    version: &'a str,
    commit: &'a str,
    source_date_epoch: u64,
    rustc: &'a str,
    zig: &'a str,
    objcopy: &'a str,
    /// Rust's library, whether it was built along or only tells what is in the toolchain's.
    std_sources_sha256: String,
    profile: serde_json::Value,
    signing: String,
    /// Targets that are not in this folder.
    missing: &'a [String],
    targets: &'a [Checked],
}

/// The manifest as far as it is read back.
#[derive(Deserialize)]
struct Earlier {
    #[serde(rename = "version")]
    _version: String,
    #[serde(rename = "source_date_epoch")]
    _source_date_epoch: u64,
    #[serde(rename = "targets")]
    _targets: Vec<serde_json::Value>,
}

/// A folder that becomes the release.
pub struct Release<'a> {
    pub root: &'a Path,
    pub version: &'a str,
    pub source: &'a Source,
    pub toolchain: &'a Toolchain,
    pub pins: &'a Pins,
    pub signing: &'a Signing,
    /// Targets that are left out.
    pub missing: &'a [String],
}

impl Release<'_> {
    /// Makes the whole folder `out` from `targets`; `changes` is the changelog's section.
    pub fn make(&self, targets: &[Checked], changes: &str, out: &Path) -> Result<(), String> {
        let stage = beside(out, "partial")?;
        let stage = stage.as_path();
        if stage.exists() {
            fs::remove_dir_all(stage).map_err(|e| format!("removing {}: {e}", stage.display()))?;
        }
        fs::create_dir_all(stage).map_err(|e| format!("making {}: {e}", stage.display()))?;
        write(stage, CHANGES, &format!("# Outrider {}\n\n{changes}\n", self.version))?;
        for checked in targets {
            self.pack(checked, stage)?;
        }
        let manifest = Manifest {
            version: self.version,
            commit: &self.source.commit,
            source_date_epoch: self.source.epoch,
            rustc: &self.toolchain.rustc_details,
            zig: &self.toolchain.zig_version,
            objcopy: &self.toolchain.objcopy_version,
            std_sources_sha256: self.toolchain.std_sources_sha256()?,
            profile: profile(self.root)?,
            missing: self.missing,
            signing: self.signing.to_string(),
            targets,
        };
        let text = serde_json::to_string_pretty(&manifest)
            .map_err(|e| format!("writing {MANIFEST}: {e}"))?;
        write(stage, MANIFEST, &(text + "\n"))?;
        write(stage, REPORT, &self.report(targets))?;
        publish::write_sums(stage)?;
        self.signing
            .sign(stage, &format!("outrider {} commit {}", self.version, self.source.commit))?;
        exchange(stage, out)
    }

    fn pack(&self, checked: &Checked, stage: &Path) -> Result<(), String> {
        let triple = &checked.target.triple;
        let name = format!("outrider-{}-{triple}", self.version);
        let zig = self.toolchain.zig.parent().ok_or("zig lies in no folder")?;
        let library = self.toolchain.sysroot.join("lib/rustlib/src/rust/library");
        let (features, runtime): (&[&str], Runtime<'_>) = match checked.std {
            Std::Source => (&["optimize_for_size"], Runtime::Zig),
            Std::Own => {
                (&["backtrace", "panic-unwind"], Runtime::Toolchain { musl: &self.pins.own_musl })
            }
        };
        let zig = Zig::read(zig, &self.toolchain.zig_version)?;
        let inventory = linked::inventory(&Input {
            target: triple,
            programs: &Graph::of_workspace(self.root, PROGRAMS, triple)?,
            std: &Graph::of_std(&library, features, triple)?,
            rust: &self.pins.rustc,
            zig: &zig,
            runtime,
        })?;
        println!(
            "{triple}: {} crates, {} parts of Rust's library and {} of the C toolchain are linked in",
            inventory.count(Origin::Registry),
            inventory.count(Origin::Rust),
            inventory.count(Origin::Runtime)
        );
        for program in &checked.programs {
            let lacking = inventory.lacks(program.costs.crates());
            if !lacking.is_empty() {
                let lacking = lacking.join(", ");
                return Err(format!(
                    "{triple}: linked, but not in the bill of materials: {lacking}"
                ));
            }
        }
        let rustc = self.toolchain.rustc.trim_start_matches("rustc ").to_owned();
        let tools = [
            Tool { name: "rustc".to_owned(), version: rustc },
            Tool { name: "zig".to_owned(), version: zig.version.clone() },
        ];
        let papers = Papers {
            root: self.root,
            version: self.version,
            commit: &self.source.commit,
            epoch_s: self.source.epoch,
            tools: &tools,
        };
        let [_, licences] = papers.write(stage, &inventory)?;

        let inside = |file: &str| PathBuf::from(&name).join(file);
        let plain = |from: PathBuf, file: &str| Packed { name: inside(file), from, mode: 0o644 };
        for (program, built) in checked.programs.iter().zip(&checked.built) {
            let path = built.stripped.display();
            let data = fs::read(&built.stripped).map_err(|e| format!("reading {path}: {e}"))?;
            if publish::sha256(&data)? != program.sha256 {
                return Err(format!(
                    "{path} is not what was checked: something else has built it again"
                ));
            }
        }
        let mut packed =
            vec![plain(licences, "THIRD-PARTY-LICENSES.txt"), plain(stage.join(CHANGES), CHANGES)];
        packed.extend(BESIDE.iter().map(|(from, file)| plain(self.root.join(from), file)));
        packed.extend(checked.built.iter().map(|built| Packed {
            name: inside(built.program),
            from: built.stripped.clone(),
            mode: 0o755,
        }));
        let epoch = self.source.epoch;
        publish::archive(&stage.join(format!("{name}.tar.gz")), &packed, epoch)?;

        // Debuggers look for `.build-id/ab/cdef.debug` below a folder such as /usr/lib/debug.
        let debug: Vec<Packed> = checked
            .programs
            .iter()
            .zip(&checked.built)
            .map(|(program, built)| {
                let (begin, rest) = program.build_id.split_at(2);
                let path = format!(".build-id/{begin}/{rest}.debug");
                Packed { name: PathBuf::from(path), from: built.debug.clone(), mode: 0o644 }
            })
            .collect();
        publish::archive(&stage.join(format!("{name}-debug.tar.gz")), &debug, epoch)
    }

    /// The report for people.
    fn report(&self, targets: &[Checked]) -> String {
        let mut text = format!(
            "# Outrider {}: how it was built and checked\n\ncommit {}\n{}\nzig {}\n{}\n\n",
            self.version,
            self.source.commit,
            self.toolchain.rustc,
            self.toolchain.zig_version,
            self.signing
        );
        if !self.missing.is_empty() {
            text += &format!("Not in this folder: {}.\n\n", self.missing.join(", "));
        }
        text += &sizes(targets);
        for checked in targets {
            text += &format!("\n## {}\n\nstd: {}\n\n", checked.target.triple, checked.std_from);
            for check in &checked.checks {
                text += &format!("- {check}\n");
            }
            for program in &checked.programs {
                text += &format!(
                    "\n### What {} is made of\n\n{}",
                    program.name,
                    program.costs.markdown()
                );
            }
        }
        text
    }
}

/// Table of the sizes.
pub fn sizes(targets: &[Checked]) -> String {
    let mut text = "| target |".to_owned();
    for program in PROGRAMS {
        text += &format!(" {program} (bytes) |");
    }
    text += " budget (bytes) |\n|---|";
    text += &"---|".repeat(PROGRAMS.len() + 1);
    text.push('\n');
    for Checked { target, programs, .. } in targets {
        text += &format!("| {} |", target.name);
        for program in programs {
            text += &format!(" {} |", program.bytes);
        }
        text += &format!(" {} |\n", target.budget_bytes);
    }
    text
}

/// Makes sure that `out` can be replaced: it is not there, empty, or an earlier release and nothing else.
pub fn prepare(out: &Path) -> Result<(), String> {
    let failed =
        |e: std::io::Error| format!("{}: {e}; name another folder with --out", out.display());
    let parent = out.parent().ok_or_else(|| format!("{} is no folder's name", out.display()))?;
    fs::create_dir_all(parent).map_err(failed)?;
    // An exchange was interrupted.
    let old = beside(out, "old")?;
    if old.exists() && !out.exists() {
        fs::rename(&old, out).map_err(failed)?;
    }
    if !out.exists() {
        return Ok(());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(out).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    if names.is_empty() {
        return Ok(());
    }
    let manifest = fs::read_to_string(out.join(MANIFEST)).unwrap_or_default();
    let sums = fs::read_to_string(out.join(publish::SUMS)).unwrap_or_default();
    let listed: Vec<&str> = sums.lines().filter_map(|line| line.get(66..)).collect();
    let of_release = |name: &String| {
        [publish::SUMS, publish::SIGNATURE].contains(&name.as_str())
            || listed.contains(&name.as_str())
    };
    let strange = names.iter().find(|name| !of_release(name));
    match (serde_json::from_str::<Earlier>(&manifest), strange) {
        (Ok(_), None) => Ok(()),
        (Ok(_), Some(strange)) => Err(format!(
            "{}: `{strange}` is not part of the release in it; move it away or name another folder with --out",
            out.display()
        )),
        (Err(_), _) => Err(format!(
            "{} holds something else than a release; empty it or name another folder with --out",
            out.display()
        )),
    }
}

/// A folder beside `out`, on the same file system.
fn beside(out: &Path, what: &str) -> Result<PathBuf, String> {
    let name = out.file_name().ok_or_else(|| format!("{} is no folder's name", out.display()))?;
    Ok(out.with_file_name(format!(".{}.{what}", name.to_string_lossy())))
}

/// Puts `stage` in the place of `out`. What was there is removed only when the new one has its place.
fn exchange(stage: &Path, out: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("moving the release to {}: {e}", out.display());
    let old = beside(out, "old")?;
    if old.exists() {
        fs::remove_dir_all(&old).map_err(failed)?;
    }
    if out.exists() {
        fs::rename(out, &old).map_err(failed)?;
    }
    fs::rename(stage, out).map_err(failed)?;
    match old.exists() {
        true => fs::remove_dir_all(&old).map_err(failed),
        false => Ok(()),
    }
}

/// The profiles that decide the bytes, as the workspace's manifest has them.
fn profile(root: &Path) -> Result<serde_json::Value, String> {
    let path = root.join("Cargo.toml");
    let text = fs::read_to_string(&path).map_err(|e| format!("reading {}: {e}", path.display()))?;
    let manifest: toml::Table =
        toml::from_str(&text).map_err(|e| format!("reading {}: {e}", path.display()))?;
    let profiles = manifest.get("profile").and_then(toml::Value::as_table);
    let of = |name: &str| profiles.and_then(|profiles| profiles.get(name));
    match (of("release"), of("dist")) {
        (Some(release), Some(dist)) => Ok(serde_json::json!({ "release": release, "dist": dist })),
        _ => Err(format!("{} has no profiles `release` and `dist`", path.display())),
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|e| format!("writing {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{MANIFEST, beside, exchange, prepare};
    use crate::dist::publish;

    /// A folder with what a release has at least.
    fn release(out: &std::path::Path, version: &str) {
        fs::create_dir_all(out).unwrap();
        let manifest =
            format!("{{\"version\":\"{version}\",\"source_date_epoch\":1,\"targets\":[]}}");
        fs::write(out.join(MANIFEST), manifest).unwrap();
        publish::write_sums(out).unwrap();
    }

    #[test]
    fn only_an_earlier_release_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("below/dist");
        assert_eq!(prepare(&out), Ok(()));
        assert!(out.parent().unwrap().is_dir());
        fs::create_dir(&out).unwrap();
        assert_eq!(prepare(&out), Ok(()));
        // Web applications have a file of this name, too.
        fs::write(out.join(MANIFEST), "{\"name\": \"shop\"}").unwrap();
        assert!(prepare(&out).unwrap_err().contains("something else"));
        release(&out, "1");
        assert_eq!(prepare(&out), Ok(()));
        fs::write(out.join("thesis.txt"), "years of work").unwrap();
        assert!(prepare(&out).unwrap_err().contains("`thesis.txt` is not part"));
        assert!(prepare(&out.join("thesis.txt")).is_err());
    }

    #[test]
    fn there_is_always_a_whole_release() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("dist");
        let version = || fs::read_to_string(out.join(MANIFEST)).unwrap();
        let stage = beside(&out, "partial").unwrap();
        release(&stage, "1");
        exchange(&stage, &out).unwrap();
        assert!(version().contains("\"1\""));
        release(&stage, "2");
        exchange(&stage, &out).unwrap();
        assert!(version().contains("\"2\"") && !beside(&out, "old").unwrap().exists());
        // The power went between the two moves.
        fs::rename(&out, beside(&out, "old").unwrap()).unwrap();
        prepare(&out).unwrap();
        assert!(version().contains("\"2\""));
    }
}
