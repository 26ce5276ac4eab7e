//! Builds the Kubernetes programs that the tests run against, from Debian's source package, once per machine and recipe.
//!
//! No package registry has a kube-apiserver to run; Debian has its complete source. What is built lies in the user's cache
//! folder under a name that is a hash of the recipe, and must have the known sums each time it is used: the build gives the
//! same bytes everywhere. A build that fails fails the run; the tests that need these programs are never skipped.
//! `KUBEBUILDER_ASSETS` names a folder with others, which are taken as they are.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::apt::Apt;
use crate::dist::publish::sha256;
use crate::steps::quiet;

/// Debian's source and binary packages of this version are Kubernetes 1.20.2; the sums below are of what they give.
const VERSION: &str = "1.20.5+really1.20.2-1.1+deb12u1";

/// The release that has them, whichever one this machine runs.
const SUITE: &str = "bookworm";

/// What the recipe takes from Debian beside the source, unpacked and never installed.
const TOOLS: &[&str] =
    &["golang-1.19-go", "golang-1.19-src", "golang-github-modern-go-reflect2-dev"];

/// The recipe.
const SCRIPT: &str = include_str!("../../kubernetes/build.sh");

/// What it gives, in the form of sha256sum.
const SUMS: &str = include_str!("../../kubernetes/SHA256SUMS");

/// Names a folder with programs to use instead.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// Where the compiler's output goes, from the workspace's root.
pub const LOG: &str = "target/kubernetes-build.log";

/// Lines of a failed build's output that are shown.
const LINES_SHOWN: usize = 30;

/// `cargo xtask kubernetes`: makes the programs available and returns their folder.
pub fn prepare() -> Result<PathBuf, String> {
    let log = crate::enter_workspace()?.join(LOG);
    ensure(&log)
}

/// Makes the programs available, and returns their folder. May take minutes of both cores at low priority; what the
/// compiler prints goes to `log`.
pub fn ensure(log: &Path) -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os(ASSETS).filter(|folder| !folder.is_empty()) {
        return given(PathBuf::from(folder));
    }
    let cache = cache()?;
    let folder = cache.join(folder_name()?);
    if folder.exists() {
        check(&folder)?;
        return Ok(folder);
    }
    build(&cache, &folder, log).map_err(|e| {
        format!(
            "building Kubernetes {VERSION} for the tests: {e}\n\
             Without a build, {ASSETS} may name a folder with {}.",
            programs().collect::<Vec<_>>().join(", ")
        )
    })?;
    Ok(folder)
}

/// Folder of the user's for what can be made again.
fn cache() -> Result<PathBuf, String> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("outrider"))
        .ok_or("neither XDG_CACHE_HOME nor HOME names a folder to cache Kubernetes in".to_owned())
}

/// The folder's name says which recipe it came from. The crate `federation` finds it by the same rule.
fn folder_name() -> Result<String, String> {
    let sum = sha256(format!("{SCRIPT}{SUMS}").as_bytes())?;
    Ok(format!("kubernetes-{}", &sum[..16]))
}

/// Names of the programs.
fn programs() -> impl Iterator<Item = &'static str> {
    SUMS.lines().filter_map(|line| line.split_whitespace().nth(1))
}

/// A folder that the user names: every program must be there, of whatever version.
fn given(folder: PathBuf) -> Result<PathBuf, String> {
    let missing: Vec<&str> = programs().filter(|program| !folder.join(program).is_file()).collect();
    if missing.is_empty() {
        return Ok(folder);
    }
    let shown = folder.display();
    Err(format!("{ASSETS} names {shown}, which lacks {}", missing.join(", ")))
}

/// Compares what is in `folder` with the known sums.
fn check(folder: &Path) -> Result<(), String> {
    let sums = folder.join("SHA256SUMS");
    fs::write(&sums, SUMS).map_err(|e| format!("writing {}: {e}", sums.display()))?;
    let mut command = Command::new("sha256sum");
    command.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(folder);
    let output = command.output().map_err(|e| format!("starting sha256sum: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "the Kubernetes programs in {} are not the ones that the recipe gives on x86-64:\n{}{}\
         Remove the folder to build them again.",
        folder.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    ))
}

/// Builds in a folder beside the one it is for, which appears when everything in it is right.
fn build(cache: &Path, folder: &Path, log: &Path) -> Result<(), String> {
    let started = Instant::now();
    println!("==> kubernetes: building {VERSION}; output goes to {}", log.display());
    let work = cache.join(format!("building-{}", std::process::id()));
    let _removed = Removed(work.clone());
    let out = work.join("out");
    fs::create_dir_all(&out).map_err(|e| format!("making {}: {e}", out.display()))?;
    download(&work, &out)?;
    let script = work.join("build.sh");
    fs::write(&script, SCRIPT).map_err(|e| format!("writing {}: {e}", script.display()))?;
    let mut command = Command::new("nice");
    command.args(["-n", "10", "bash"]).arg(&script).arg(&work).arg(&out);
    logged(&mut command, log)?;
    check(&out)?;
    match fs::rename(&out, folder) {
        // Another run was quicker, and what it made is the same.
        Err(_) if folder.exists() => check(folder)?,
        done => done.map_err(|e| format!("moving {} to its place: {e}", out.display()))?,
    }
    println!("==> kubernetes: built after {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Fetches the source and the tools into `work`, and kubectl, which Debian has built, into `out`.
fn download(work: &Path, out: &Path) -> Result<(), String> {
    let architecture = quiet(Command::new("dpkg").arg("--print-architecture"))
        .map_err(|e| format!("this takes Debian's dpkg and apt: {e}"))?;
    let apt = Apt::with_sources(work, architecture.trim(), &[SUITE])?;
    let source = format!("kubernetes={VERSION}");
    apt.tool("apt-get", &["source", "-q", "--download-only", "--only-source", &source])?;
    let root = work.join("root");
    for tool in TOOLS {
        apt.unpack(tool, &root)?;
    }
    let client = work.join("client");
    apt.unpack(&format!("kubernetes-client={VERSION}"), &client)?;
    let kubectl = client.join("usr/bin/kubectl");
    fs::copy(&kubectl, out.join("kubectl"))
        .map(drop)
        .map_err(|e| format!("copying {}: {e}", kubectl.display()))
}

/// Runs `command` with its output in `log`, and shows the end of that when it fails.
fn logged(command: &mut Command, log: &Path) -> Result<(), String> {
    let writing = |e: std::io::Error| format!("writing {}: {e}", log.display());
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).map_err(writing)?;
    }
    let file = File::create(log).map_err(writing)?;
    command.stdin(Stdio::null()).stderr(file.try_clone().map_err(writing)?).stdout(file);
    let status = command.status().map_err(|e| format!("starting the build: {e}"))?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
    Err(format!("the build failed ({status}); its output ends with:\n{end}"))
}

/// A folder that is gone in the end, however it ends.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What stays costs room in a cache, nothing else; the build's own result matters more.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{check, folder_name, given, logged, programs};

    #[test]
    fn a_folder_is_named_by_its_recipe() {
        let name = folder_name().unwrap();
        let hash = name.strip_prefix("kubernetes-").unwrap();
        assert!(hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    }

    #[test]
    fn a_program_with_another_sum_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for program in programs() {
            fs::write(folder.path().join(program), "not it").unwrap();
        }
        let refused = check(folder.path()).unwrap_err();
        assert!(refused.contains("kube-apiserver: FAILED"), "{refused}");
    }

    #[test]
    fn a_folder_that_the_user_names_must_be_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("kube-apiserver"), "any").unwrap();
        let lacking = given(path.clone()).unwrap_err();
        assert!(lacking.contains("kubelet") && !lacking.contains("kube-apiserver"), "{lacking}");
        for program in programs() {
            fs::write(path.join(program), "any").unwrap();
        }
        assert_eq!(given(path.clone()), Ok(path));
    }

    #[test]
    fn a_failed_build_shows_the_end_of_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "seq 100; echo no room >&2; exit 3"]);
        let failed = logged(&mut command, &folder.path().join("target/log")).unwrap_err();
        assert!(failed.ends_with("\n100\nno room"), "{failed}");
        assert!(!failed.contains("\n50\n"), "{failed}");
    }
}
