//! Puts what was built and checked into one folder, ready to publish: archives, papers, manifest, report, sums, signature.
//!
//! Works in a folder of its own and moves it to its place at the very end, so that the folder is there as a whole or not.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

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
    ("images/config/outrider.toml", "outrider.toml"),
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
    signing: String,
    targets: &'a [Checked],
}

/// A folder that becomes the release.
pub struct Release<'a> {
    pub root: &'a Path,
    pub version: &'a str,
    pub source: &'a Source,
    pub toolchain: &'a Toolchain,
    pub pins: &'a Pins,
    pub signing: &'a Signing,
}

impl Release<'_> {
    /// Makes the whole folder `out` from `targets`, by way of `stage`.
    pub fn make(&self, targets: &[Checked], stage: &Path, out: &Path) -> Result<(), String> {
        replaceable(out)?;
        if stage.exists() {
            fs::remove_dir_all(stage).map_err(|e| format!("removing {}: {e}", stage.display()))?;
        }
        fs::create_dir_all(stage).map_err(|e| format!("making {}: {e}", stage.display()))?;
        let changelog = fs::read_to_string(self.root.join("CHANGELOG.md"))
            .map_err(|e| format!("reading CHANGELOG.md: {e}"))?;
        let changes = publish::changelog_section(&changelog, self.version)?;
        write(stage, CHANGES, &format!("# Outrider {}\n\n{changes}\n", self.version))?;
        for checked in targets {
            self.pack(checked, stage)?;
        }
        let manifest = Manifest {
            version: self.version,
            commit: &self.source.commit,
            source_date_epoch: self.source.epoch,
            rustc: &self.toolchain.rustc,
            zig: &self.toolchain.zig_version,
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
        if out.exists() {
            fs::remove_dir_all(out).map_err(|e| format!("removing {}: {e}", out.display()))?;
        }
        fs::rename(stage, out).map_err(|e| format!("moving the release to {}: {e}", out.display()))
    }

    fn pack(&self, checked: &Checked, stage: &Path) -> Result<(), String> {
        let triple = &checked.target.triple;
        let name = format!("outrider-{}-{triple}", self.version);
        let zig = self.toolchain.zig.parent().ok_or("zig lies in no folder")?;
        let library = self.toolchain.sysroot.join("lib/rustlib/src/rust/library");
        let (features, runtime): (&[&str], Runtime<'_>) = match checked.std {
            Std::Source => (&[], Runtime::Zig),
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

/// Fails when `out` holds something else than an earlier release.
pub fn replaceable(out: &Path) -> Result<(), String> {
    let Ok(mut entries) = fs::read_dir(out) else {
        return match out.exists() {
            true => Err(format!("{} is not a folder; name another with --out", out.display())),
            false => Ok(()),
        };
    };
    if entries.next().is_some() && !out.join(MANIFEST).exists() {
        let out = out.display();
        return Err(format!(
            "{out} holds something else than a release; empty it or name another folder with --out"
        ));
    }
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|e| format!("writing {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{MANIFEST, replaceable};

    #[test]
    fn only_an_earlier_release_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("dist");
        assert_eq!(replaceable(&out), Ok(()));
        fs::create_dir(&out).unwrap();
        assert_eq!(replaceable(&out), Ok(()));
        fs::write(out.join("thesis.txt"), "years of work").unwrap();
        assert!(replaceable(&out).unwrap_err().contains("something else"));
        fs::write(out.join(MANIFEST), "{}").unwrap();
        assert_eq!(replaceable(&out), Ok(()));
        assert!(replaceable(&out.join("thesis.txt")).unwrap_err().contains("not a folder"));
    }
}
