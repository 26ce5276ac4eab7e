//! Ties a child's life to the demo's, even when the demo is killed without a chance to clean up.
//!
//! The kernel's parent-death signal must be asked for by the child itself, between fork and exec. Rust has no safe place there,
//! so the demo starts itself again as a tether: it asks for the signal and then becomes the program that is wanted.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::Failure;

/// First argument of a tether.
pub const TETHER: &str = "tether";

/// A command for `program` that dies with this process. It gets a process group of its own, so that Ctrl-C in a terminal reaches
/// only the demo, which ends its children in order.
pub fn tied(program: &Path) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(TETHER).arg(std::process::id().to_string()).arg(program).process_group(0);
    Ok(command)
}

/// Runs as a tether: `PARENT PROGRAM ARGUMENTS...`. Comes back only when the program cannot be started.
pub fn tether(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let parent = arguments.next().and_then(|text| text.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        return Err("`tether` is for the demo's own use".into());
    };
    set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the signal was asked for.
    if getppid().as_raw() != parent {
        return Ok(ExitCode::FAILURE);
    }
    let error = Command::new(&program).args(arguments).exec();
    Err(format!("cannot start `{}`: {error}", program.display()).into())
}
