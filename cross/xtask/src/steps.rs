//! Runs one program as a named, timed step.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

/// Runs `command` with its output going through, and fails with the step's name when it fails.
pub fn run(name: &str, command: &mut Command) -> Result<(), String> {
    each_line(name, command, |line| println!("{line}"))
}

/// Runs `command`, hands each line it prints to `line` as it comes, and fails with the step's name when it fails.
/// Standard error goes through untouched.
pub fn each_line(
    name: &str,
    command: &mut Command,
    mut line: impl FnMut(&str),
) -> Result<(), String> {
    println!("==> {name}");
    let started = Instant::now();
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{name}: starting `{program}`: {e}"))?;
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            line(String::from_utf8_lossy(&bytes).trim_end());
            bytes.clear();
        }
    }
    let status = child.wait().map_err(|e| format!("{name}: waiting for `{program}`: {e}"))?;
    println!("==> {name}: {status} after {:.0} s", started.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { Err(format!("{name} failed ({status})")) }
}

/// What `command` prints, when it succeeds.
pub fn quiet(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().map_err(|e| format!("starting `{program}`: {e}"))?;
    if !output.status.success() {
        return Err(format!("`{program}` failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `cargo <words>`, by the very cargo that runs this program when it says which, and for this machine: a target that is
/// set for other builds is left out, since what is built here has to run here.
pub fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).env_remove("CARGO_BUILD_TARGET");
    command
}

/// Builds programs for this machine by `cargo build` with `words`, and tells where each one is: cargo's own environment and
/// configuration decide that, and only cargo knows.
pub fn executables(name: &str, words: &[&str]) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut command = cargo(&["build", "--quiet", "--locked"]);
    command.arg("--message-format=json-render-diagnostics").args(words);
    let mut found = BTreeMap::new();
    each_line(name, &mut command, |line| found.extend(executable(line)))?;
    Ok(found)
}

/// Name and path of a program that a message of cargo tells of.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let (name, path) = (&message["target"]["name"], &message["executable"]);
    Some((name.as_str()?.to_owned(), PathBuf::from(path.as_str()?)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::executable;

    #[test]
    fn programs_are_found_where_cargo_put_them() {
        let program = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"convoy"},
                         "executable":"/elsewhere/debug/convoy","fresh":true}"#;
        let found = ("convoy".to_owned(), PathBuf::from("/elsewhere/debug/convoy"));
        assert_eq!(executable(program), Some(found));
        for other in [
            r#"{"reason":"compiler-artifact","target":{"name":"outrider"},"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "warning: text",
        ] {
            assert_eq!(executable(other), None, "{other}");
        }
    }
}
