//! The program `outrider`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    outrider::cli::main()
}
