//! Runs one program as a named, timed step.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

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
