//! Brings the real programs that the tests talk to. Installs Debian packages as root and says so; without root it only
//! says what to install. Never starts a service: tests start their own on free ports.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{quiet, run};

/// A program: names it is known by, and the Debian package that brings it.
pub type Program = (&'static [&'static str], &'static str);

/// What the tests need.
pub const FOR_TESTS: &[Program] = &[
    (&["cc"], "gcc"),
    (&["mosquitto"], "mosquitto"),
    (&["mosquitto_sub"], "mosquitto-clients"),
    (&["promtool"], "prometheus"),
    (&["chromium", "chromium-browser", "google-chrome"], "chromium"),
    (&["chromedriver"], "chromium-driver"),
    (&["minisign"], "minisign"),
];

/// cargo-deny, built once per target folder. 0.20 reads version 2 of the configuration.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Tells Debian's package scripts not to start what is being installed (see invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Makes every program available, and the `libraries` that they load only when asked to; or fails naming the packages.
pub fn ensure(programs: &[Program], libraries: &[&'static str]) -> Result<(), String> {
    let installed = |package: &str| quiet(Command::new("dpkg").args(["-s", package])).is_ok();
    let programs = programs
        .iter()
        .filter(|(names, _)| !names.iter().any(|name| find(name).is_some()))
        .map(|(names, package)| (names.join(" or "), *package));
    let libraries = libraries
        .iter()
        .filter(|package| !installed(package))
        .map(|package| ((*package).to_owned(), *package));
    let missing: Vec<(String, &str)> = programs.chain(libraries).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let root = quiet(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0");
    if !root || find("apt-get").is_none() {
        return Err(how_to_install(&missing));
    }
    let missing: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    println!("installing Debian packages: {}", missing.join(" "));
    run("package lists", Command::new("apt-get").args(["update", "-q"]))?;
    let held = hold_services()?;
    let result = run(
        "install packages",
        Command::new("apt-get")
            .args(["install", "-q", "-y", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    );
    if held {
        fs::remove_file(POLICY).map_err(|e| format!("removing {POLICY}: {e}"))?;
    }
    result
}

/// One line for each program that is missing, with the command that brings it.
fn how_to_install(missing: &[(String, &str)]) -> String {
    let lines = missing.iter().map(|(program, package)| {
        format!("{program} is missing; as root: apt-get install --no-install-recommends {package}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Forbids service starts while packages are installed; false when the machine has a policy of its own.
fn hold_services() -> Result<bool, String> {
    let failed = |e: std::io::Error| format!("writing {POLICY}: {e}");
    match fs::OpenOptions::new().write(true).create_new(true).open(POLICY) {
        Ok(mut file) => {
            file.write_all(b"#!/bin/sh\nexit 101\n").map_err(failed)?;
            file.set_permissions(fs::Permissions::from_mode(0o755)).map_err(failed)?;
            Ok(true)
        }
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(failed(e)),
    }
}

/// The first executable called `name` on the search path.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| {
        fs::metadata(file)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// Path of cargo-deny: the one on the search path, else one built into `tools`.
pub fn cargo_deny(tools: &Path) -> Result<PathBuf, String> {
    if let Some(found) = find("cargo-deny") {
        return Ok(found);
    }
    let program = tools.join("bin/cargo-deny");
    if !program.exists() {
        println!("building cargo-deny {CARGO_DENY_VERSION} (once)");
        run(
            "build cargo-deny",
            Command::new("cargo")
                // Unoptimised: it runs for seconds, and building it is most of what a fresh machine waits for.
                .args(["install", "--quiet", "--debug", "--locked", "cargo-deny", "--version"])
                .arg(CARGO_DENY_VERSION)
                .arg("--root")
                .arg(tools),
        )?;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::how_to_install;

    #[test]
    fn every_missing_program_has_its_own_line_with_its_command() {
        let missing =
            [("qemu-arm-static".to_owned(), "qemu-user-static"), ("cc".to_owned(), "gcc")];
        let text = how_to_install(&missing);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("qemu-arm-static ") && lines[0].ends_with(" qemu-user-static")
        );
        assert!(lines[1].starts_with("cc ") && lines[1].ends_with(" gcc"));
    }
}
