//! Builds the same sources a second time in another folder, from nothing, and compares the bytes.
//!
//! Everything is different that a builder's machine may have different without being another toolchain: folder of the
//! sources, target folder, wrappers, caches of the C compiler with its C library. Only the registry's folder is shared.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::{Build, Built};

/// Length of the other folder's name; unlike the first, so that a path in the bytes would also move what is behind it.
const ELSEWHERE: &str = "another-folder-with-a-longer-name/in-which/the-same-is-built";

/// Builds what `first` has built once more below `work`. Fails naming the first place where they differ.
pub fn check(first: &Build<'_>, built: &[Built], work: &Path) -> Result<String, String> {
    let elsewhere = work.join(ELSEWHERE);
    if elsewhere.exists() {
        fs::remove_dir_all(&elsewhere)
            .map_err(|e| format!("removing {}: {e}", elsewhere.display()))?;
    }
    let sources = elsewhere.join("sources");
    copy_sources(&first.workspace, &sources)?;
    let second = Build::new(
        first.target,
        first.toolchain,
        first.std,
        first.source,
        &elsewhere.join("work"),
        &sources,
        &elsewhere.join("output"),
    )?;
    for (one, other) in built.iter().zip(second.programs()?) {
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

/// Where two files begin to differ; the end of the shorter one when it is all that differs.
fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    let common = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    Some(common)
}

/// Copies what git tracks, or would track, as it is now.
fn copy_sources(from: &Path, to: &Path) -> Result<(), String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(from)
        .output()
        .map_err(|e| format!("listing sources with git: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("listing sources with git: {said}"));
    }
    for name in output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = PathBuf::from(std::ffi::OsStr::from_bytes(name));
        let (from, to) = (from.join(&name), to.join(&name));
        // A file that is deleted but not committed is still listed.
        if !from.exists() {
            continue;
        }
        let parent = to.parent().unwrap_or(&to);
        fs::create_dir_all(parent)
            .and_then(|()| fs::copy(&from, &to))
            .map_err(|e| format!("copying {}: {e}", from.display()))?;
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
