//! `cargo xtask dist`: from source to checked static binaries for every vehicle computer, ready to publish.
//!
//! What was not checked does not get into `dist/`: everything is made below `target/cross` first.

mod build;
mod elf;

pub mod bom;
pub mod costs;
pub mod guest;
pub mod licences;
pub mod linked;
pub mod publish;
pub mod sbom;
mod targets;
mod toolchain;

#[cfg(test)]
mod fixtures;

use std::fs;
use std::path::PathBuf;

use build::{Build, Source};
use targets::Release;
use toolchain::Wish;

/// Folder of everything that is made on the way, from the workspace's root.
const WORK: &str = "target/cross";

/// What the command line asks for.
struct Options {
    targets: Vec<String>,
    std: Wish,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options { targets: Vec::new(), std: Wish::Auto };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("dist: {argument} needs a value"));
            match argument.as_str() {
                "--target" => options.targets.push(value()?.clone()),
                "--std" => {
                    options.std = match value()?.as_str() {
                        "auto" => Wish::Auto,
                        "own" => Wish::Own,
                        "source" => Wish::Source,
                        other => return Err(format!("dist: `--std {other}`: auto, own or source")),
                    }
                }
                other => return Err(format!("dist has no option `{other}`")),
            }
        }
        Ok(options)
    }
}

/// Builds and checks. `arguments` are those after the command's name.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let options = Options::read(arguments)?;
    let release = Release::read()?;
    let targets = release.select(&options.targets)?;
    let here = std::env::current_dir().map_err(|e| format!("current folder: {e}"))?;
    let work = here.join(WORK);
    fs::create_dir_all(&work).map_err(|e| format!("making {}: {e}", work.display()))?;
    let mut toolchain = toolchain::prepare(&release.toolchain, &work)?;
    let source = Source::read()?;
    for target in &targets {
        let std = toolchain.std_for(target, options.std, &release.toolchain, &work)?;
        let output: PathBuf = work.join("build");
        let build = Build::new(target, &toolchain, std, &source, &work, &here, &output)?;
        for built in build.programs()? {
            let data = fs::read(&built.stripped)
                .map_err(|e| format!("reading {}: {e}", built.stripped.display()))?;
            let facts = elf::check(&data, target, target.budget_bytes)
                .map_err(|e| format!("{}: {}: {e}", target.name, built.program))?;
            println!("{} {} {facts:?}", target.name, built.program);
        }
    }
    Ok(())
}
