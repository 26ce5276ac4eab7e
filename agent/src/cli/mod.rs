//! The command line: one file per command; help, man page and completion come from the same table as the parser.

use std::process::ExitCode;

/// Runs the command the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
