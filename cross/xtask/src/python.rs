//! Python programs from wheels of PyPI, in folders of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::quiet;

/// Python of the virtual environment `venv`, which has exactly what the file `requirements` lists: wheels only, each with
/// its checksum. Makes it anew when that file has changed or the last attempt was interrupted.
pub fn environment(venv: &Path, requirements: &Path) -> Result<PathBuf, String> {
    let wanted = fs::read_to_string(requirements)
        .map_err(|e| format!("reading {}: {e}", requirements.display()))?;
    let python = venv.join("bin/python");
    // Written last, so that half an installation does not count.
    let stamp = venv.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) && python.exists() {
        return Ok(python);
    }
    println!("installing {} into {} (once)", requirements.display(), venv.display());
    quiet(Command::new("python3").args(["-I", "-m", "venv", "--clear"]).arg(venv)).map_err(
        |e| format!("{e}\nPython's module venv is needed: apt-get install python3-venv"),
    )?;
    let mut install = isolated(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    // A source package would run code that no checksum covers.
    install.args(["--only-binary", ":all:", "--require-hashes", "--requirement"]).arg(requirements);
    quiet(&mut install).map_err(|e| {
        format!("installing {} from PyPI: {e}\nit is needed once", requirements.display())
    })?;
    fs::write(&stamp, wanted).map_err(|e| format!("writing {}: {e}", stamp.display()))?;
    Ok(python)
}

/// `python` without what environment variables and the current folder would add to it.
pub fn isolated(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg("-I");
    command
}
