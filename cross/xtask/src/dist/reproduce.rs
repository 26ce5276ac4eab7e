//! Builds the same sources a second time in another folder, from nothing, and compares the bytes.
//!
//! Different are: folder of the sources, target folder, cargo's home, wrappers, caches of the C compiler with its C library,
//! time zone and language. Shared are the machine, its toolchain and the sources of all dependencies.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::build::{Build, Built, Folders};
use crate::steps::quiet;

/// Length of the other folder's name; unlike the first, so that a path in the bytes would also move what is behind it.
const ELSEWHERE: &str = "another-folder-with-a-longer-name/in-which/the-same-is-built";

/// Folders of the workspace that hold no sources.
const NOT_SOURCES: &[&str] = &["target", "dist", ".git"];

/// Builds what `first` has built once more below `work`. Fails naming the first place where they differ.
pub fn check(first: &Build<'_>, built: &[Built], work: &Path) -> Result<String, String> {
    let elsewhere = work.join(ELSEWHERE);
    if elsewhere.exists() {
        fs::remove_dir_all(&elsewhere)
            .map_err(|e| format!("removing {}: {e}", elsewhere.display()))?;
    }
    let sources = elsewhere.join("sources");
    println!("==> {}: the same again in {}", first.target.name, elsewhere.display());
    copy(&first.folders.workspace, &sources, NOT_SOURCES)?;
    let home = elsewhere.join("home");
    share_registry(&first.folders.home, &home)?;
    let folders = Folders {
        work: elsewhere.join("work"),
        workspace: sources,
        output: elsewhere.join("output"),
        home,
    };
    let second = Build::new(first.target, first.toolchain, first.std, first.source, folders)?;
    let other_builder = [("TZ", "Pacific/Apia"), ("LC_ALL", "C")];
    for (one, other) in built.iter().zip(second.programs(&other_builder)?) {
        let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        if let Some(at) = first_difference(&read(&one.stripped)?, &read(&other.stripped)?) {
            return Err(format!(
                "{} is not reproducible: {} and {} differ from byte {at} on",
                one.program,
                one.stripped.display(),
                other.stripped.display()
            ));
        }
    }
    // As large as the first build; it has said what it had to say.
    fs::remove_dir_all(&elsewhere).map_err(|e| format!("removing {}: {e}", elsewhere.display()))?;
    Ok("a second build in another folder has the same bytes".to_owned())
}

/// Makes `to` another home of cargo with the downloads of `from`. Not by symbolic links: the compiler would see through them.
fn share_registry(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|e| format!("making {}: {e}", to.display()))?;
    for name in ["registry", "config.toml", "config"] {
        let original = from.join(name);
        if original.exists() {
            let copy =
                |how: &str| quiet(Command::new("cp").args(["-a", how]).arg(&original).arg(to));
            // Hard links, but for another file system.
            copy("--link").or_else(|_| copy("--no-clobber"))?;
        }
    }
    Ok(())
}

/// Where two files begin to differ; the end of the shorter one when it is all that differs.
fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    let common = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    Some(common)
}

/// Copies the folder `from` without the folders `but` in it.
fn copy(from: &Path, to: &Path, but: &[&str]) -> Result<(), String> {
    let failed = |path: &Path, e: std::io::Error| format!("copying {}: {e}", path.display());
    fs::create_dir_all(to).map_err(|e| failed(to, e))?;
    for entry in fs::read_dir(from).map_err(|e| failed(from, e))? {
        let entry = entry.map_err(|e| failed(from, e))?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().map_err(|e| failed(&path, e))?;
        if kind.is_dir() {
            if but.iter().all(|other| name != *other) {
                copy(&path, &to.join(name), &[])?;
            }
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(|e| failed(&path, e))?;
            symlink(target, to.join(name)).map_err(|e| failed(&path, e))?;
        } else {
            fs::copy(&path, to.join(name)).map_err(|e| failed(&path, e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(first_difference(b"abc", b"abc"), None);
        assert_eq!(first_difference(b"abc", b"abd"), Some(2));
        assert_eq!(first_difference(b"abc", b"ab"), Some(2));
        assert_eq!(first_difference(b"", b"x"), Some(0));
    }
}
