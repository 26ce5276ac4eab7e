//! `olsr-bridge`: prints what the OLSR routing daemon of this machine knows, once or again and
//! again.
//!
//! A thin program over the library of the same name. It changes nothing, keeps nothing, and asks
//! the daemon at most once a second.

use std::process::ExitCode;

mod program;

fn main() -> ExitCode {
    program::run(std::env::args_os())
}
