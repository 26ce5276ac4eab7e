//! The container image of the rig, made here: nothing is pulled from anywhere.
//!
//! One static program is both the sandbox and the workload. The archive has the form of `docker save`, which `ctr images
//! import` reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use ring::digest::{SHA256, digest};
use serde_json::json;

use crate::programs::hex;

/// Name of the image; pods that use it need `imagePullPolicy: Never`.
pub const IMAGE: &str = "docker.io/local/pod:1";

/// The program.
const SOURCE: &str = include_str!("../image/pod.c");

/// Makes the image below `folder`, unless it is there, and gives its archive.
pub fn archive(folder: &Path) -> Result<PathBuf, String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = &folder.join(&hex(digest(&SHA256, SOURCE.as_bytes()).as_ref())[..16]);
    let archive = folder.join("pod.tar");
    if archive.exists() {
        return Ok(archive);
    }
    let failed = |e: std::io::Error| format!("making an image in {}: {e}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    fs::write(folder.join("pod.c"), SOURCE).map_err(failed)?;
    let run = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).current_dir(folder).output();
        let output = output.map_err(|e| format!("starting {program}: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr)))
    };
    run("cc", &["-static", "-O2", "-Wall", "-Werror", "-o", "pod", "pod.c"])?;
    let owner = ["--owner=0", "--group=0", "--numeric-owner"];
    run("tar", &[&owner[..], &["-cf", "layer.tar", "pod"]].concat())?;
    let layer = fs::read(folder.join("layer.tar")).map_err(failed)?;
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": { "Entrypoint": ["/pod"] },
        "rootfs": { "type": "layers",
                    "diff_ids": [format!("sha256:{}", hex(digest(&SHA256, &layer).as_ref()))] },
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"] }]);
    for (name, value) in [("config.json", config), ("manifest.json", manifest)] {
        fs::write(folder.join(name), value.to_string()).map_err(failed)?;
    }
    let parts = ["-cf", "pod.tar.part", "manifest.json", "config.json", "layer.tar"];
    run("tar", &[&owner[..], &parts[..]].concat())?;
    fs::rename(folder.join("pod.tar.part"), &archive).map_err(failed)?;
    Ok(archive)
}

/// What container images call this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
