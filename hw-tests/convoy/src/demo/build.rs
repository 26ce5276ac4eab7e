//! Finds the agent to run, and builds it first so that what is shown is what the sources say.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Failure;
use super::options::Options;

/// The agent's binary: the one given, or the one beside this program, built before unless that is unwanted.
pub fn outrider(options: &Options) -> Result<PathBuf, Failure> {
    if let Some(path) = &options.outrider {
        return match path.is_file() {
            true => Ok(path.clone()),
            false => Err(format!("there is no program `{}`", path.display()).into()),
        };
    }
    let own = std::env::current_exe()?;
    let folder = own.parent().ok_or("this program has no folder")?;
    if options.build {
        build(folder)?;
    }
    let path = folder.join("outrider");
    if path.is_file() {
        return Ok(path);
    }
    let folder = folder.display();
    Err(format!("there is no outrider in `{folder}`; leave out --no-build or use --outrider")
        .into())
}

fn build(folder: &Path) -> Result<(), Failure> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !sources.is_dir() {
        return Err("the sources are not where this program was built; use --outrider".into());
    }
    let release = folder.file_name().is_some_and(|name| name == "release");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(sources).args(["build", "--package", "outrider", "--bin", "outrider"]);
    if release {
        command.arg("--release");
        eprintln!("building outrider; the first time takes a minute or two");
    }
    let status = command.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("outrider could not be built; see above".into()) }
}
