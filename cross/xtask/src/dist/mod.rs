//! `cargo xtask dist`: from source to checked static binaries for every vehicle computer, ready to publish.
//!
//! What was not checked does not get into `dist/`: everything is made below `target/cross`, and moved when all is well.

mod build;
mod elf;
mod release;
mod reproduce;
mod targets;
mod toolchain;

pub mod bom;
pub mod costs;
pub mod emulated;
pub mod guest;
pub mod licences;
pub mod linked;
pub mod publish;
pub mod sbom;

#[cfg(test)]
mod fixtures;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::steps::{cargo, run as step};
use build::{Build, Folders, Source};
use publish::Signing;
use release::{Checked, Program, Release};
use targets::Targets;
use toolchain::{Std, Wish};

/// Folder of everything that is made on the way, from the workspace's root.
const WORK: &str = "target/cross";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    targets: Vec<String>,
    /// As `cross/targets.toml` says when not given.
    std: Option<Wish>,
    out: PathBuf,
    signing: Signing,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Options, String> {
        let (mut targets, mut std, mut out) = (Vec::new(), None, PathBuf::from("dist"));
        let (mut secret, mut public) = (None, None);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("dist: {argument} needs a value"));
            match argument.as_str() {
                "--target" => targets.push(value()?.clone()),
                "--std" => {
                    std = Some(match value()?.as_str() {
                        "auto" => Wish::Auto,
                        "own" => Wish::Own,
                        "source" => Wish::Source,
                        other => return Err(format!("dist: `--std {other}`: auto, own or source")),
                    });
                }
                "--out" => out = absolute(value()?)?,
                "--sign" => secret = Some(absolute(value()?)?),
                "--verify" => public = Some(absolute(value()?)?),
                other => return Err(format!("dist has no option `{other}`")),
            }
        }
        Ok(Options { targets, std, out, signing: Signing::of(secret, public)? })
    }
}

/// A path from the command line, before the current folder changes.
fn absolute(path: &str) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|e| format!("dist: {path}: {e}"))
}

/// Builds, checks and publishes. `arguments` are those after the command's name.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let options = Options::read(arguments)?;
    let root = crate::enter_workspace()?;
    let Targets { toolchain: pins, targets: known } = Targets::read()?;
    let names: Vec<String> = known.iter().map(|target| target.name.clone()).collect();
    let targets = targets::select(known, &options.targets)?;
    let missing: Vec<String> = names
        .into_iter()
        .filter(|name| targets.iter().all(|target| target.name != *name))
        .collect();
    let out = root.join(&options.out);
    release::prepare(&out)?;
    let work = root.join(WORK);
    fs::create_dir_all(&work).map_err(|e| format!("making {}: {e}", work.display()))?;
    // Held until the end: two runs would check and pack each other's files.
    let lock = work.join("lock");
    let lock = fs::File::create(&lock).map_err(|e| format!("making {}: {e}", lock.display()))?;
    lock.try_lock().map_err(|e| format!("another run works in {}: {e}", work.display()))?;
    let home = build::cargo_home()?;
    build::no_foreign_settings(&root, &home)?;
    let source = Source::read(&root)?;
    if options.signing != Signing::Unsigned && !source.is_certain() {
        return Err(format!("commit {}: only what is committed is signed", source.commit));
    }
    let version = source.version(env!("CARGO_PKG_VERSION"));
    // What ends a release at its end is better known now.
    let changelog = fs::read_to_string(root.join("CHANGELOG.md"))
        .map_err(|e| format!("reading CHANGELOG.md: {e}"))?;
    let changes = publish::changelog_section(&changelog, &version)?;
    let mut toolchain = toolchain::prepare(&pins, &work)?;
    bom::prepare(&root)?;
    println!("Outrider {version} for {} targets", targets.len());
    step("sources of all crates", &mut cargo(&["fetch", "--quiet", "--locked"]))?;

    let host = emulated::Host::build()?;
    let wish = options.std.unwrap_or(pins.std);
    let mut times = Vec::new();
    let mut all = Vec::new();
    for target in targets {
        let started = Instant::now();
        let (std, std_from) = toolchain.std_for(&target, wish, &pins, &work)?;
        println!("==> {}: std {std_from}", target.name);
        let folders = Folders {
            work: work.clone(),
            workspace: root.clone(),
            output: work.join("build"),
            home: home.clone(),
        };
        let build = Build::new(&target, &toolchain, std, &source, folders)?;
        let checked =
            checked(&build, std_from, &host, &work).map_err(|e| format!("{}: {e}", target.name))?;
        times.push((target.name.clone(), started.elapsed().as_secs()));
        all.push(checked);
    }
    let release = Release {
        root: &root,
        version: &version,
        source: &source,
        toolchain: &toolchain,
        pins: &pins,
        signing: &options.signing,
        missing: &missing,
    };
    if Source::read(&root)? != source {
        return Err("the sources were changed while they were built".to_owned());
    }
    release.make(&all, &changes, &out)?;
    println!("\n{}", release::sizes(&all));
    for (name, seconds) in times {
        println!("{name}: built and checked in {seconds} s");
    }
    println!("{}: {}", out.display(), options.signing);
    Ok(())
}

/// Builds for one target and makes every check that there is for it.
fn checked(
    build: &Build<'_>,
    std_from: String,
    host: &emulated::Host,
    work: &Path,
) -> Result<Checked, String> {
    let target = build.target;
    let built = build.programs(&[])?;
    let mut checks = Vec::new();
    let mut programs = Vec::new();
    for one in &built {
        let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        let data = read(&one.stripped)?;
        let wrong = |e: String| format!("{}: {e}", one.program);
        let facts = elf::check(&data, target, build.is_pie()).map_err(|e| {
            let hint = match build.std {
                Std::Own => {
                    " (the toolchain's own std is larger; `--std source` builds a smaller one)"
                }
                Std::Source => "",
            };
            wrong(e + hint)
        })?;
        elf::check_debug(&read(&one.debug)?, &facts.build_id).map_err(wrong)?;
        checks.push(format!(
            "{}: {} bytes, static, {}position independent, no executable stack, nothing both writable and executable, \
             stripped, debug information kept for build id {}",
            one.program,
            facts.bytes,
            if facts.pie { "" } else { "not " },
            facts.build_id
        ));
        let costs = costs::report(&one.whole)?;
        if costs.stripped_bytes != facts.bytes {
            return Err(format!(
                "{}: it has {} bytes, and its parts add up to {}",
                one.program, facts.bytes, costs.stripped_bytes
            ));
        }
        programs.push(Program {
            name: one.program,
            bytes: facts.bytes,
            sha256: publish::sha256(&data)?,
            build_id: facts.build_id,
            costs,
        });
    }
    let [outrider, bridge] = &built[..] else {
        return Err("two programs are built".to_owned());
    };
    let subject = emulated::Subject {
        target,
        outrider: &outrider.stripped,
        olsr_bridge: &bridge.stripped,
        label: &build.label(),
    };
    let mut seen = emulated::programs(&subject, host, work)?;
    seen.extend(emulated::formats::tests(build)?);
    checks.extend(seen.iter().map(ToString::to_string));
    checks.push(reproduce::check(build, &built, work)?);
    if target.has_short_time() {
        let init = build.guest()?;
        let held = guest::past_2038(work, &outrider.stripped, Some(&bridge.stripped), &init)?;
        checks.push(format!(
            "past 2038: an emulated machine booted with these programs, {} checks held",
            held.len()
        ));
    }
    let flags = build.recorded_flags()?;
    let (target, std) = (target.clone(), build.std);
    Ok(Checked { target, std, std_from, flags, programs, checks, built })
}

#[cfg(test)]
mod tests {
    use super::{Options, Signing, Wish};

    fn read(words: &[&str]) -> Result<Options, String> {
        Options::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_and_wrong_ones_are_named() {
        let plain = read(&[]).unwrap();
        assert_eq!((plain.out, plain.std, plain.signing), ("dist".into(), None, Signing::Unsigned));
        let all = read(&["--target", "armv6", "--std", "auto", "--target", "x86_64", "--out", "o"]);
        let all = all.unwrap();
        assert_eq!(all.targets, ["armv6", "x86_64"]);
        assert_eq!((all.std, all.out), (Some(Wish::Auto), std::path::absolute("o").unwrap()));
        for (words, message) in [
            (&["--std", "mine"][..], "auto, own or source"),
            (&["--target"], "--target needs a value"),
            (&["--fast"], "no option `--fast`"),
            (&["--sign", "key"], "--verify PUBKEY is needed too"),
        ] {
            assert!(read(words).unwrap_err().contains(message), "{words:?}");
        }
    }
}
