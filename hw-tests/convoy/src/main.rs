//! `cargo convoy`: a convoy of real agents on loopback; `cargo convoy serve`: a routing daemon's stand-in alone.

mod serve;

use std::process::ExitCode;

const HELP: &str = "\
Runs a convoy of real outrider processes on this machine.

Usage: cargo convoy serve [OPTIONS]

  serve     only play a routing daemon, for measurements with large meshes
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let result = match arguments.peek().and_then(|first| first.to_str()) {
        Some("serve") => serve::main(arguments.skip(1)),
        _ => {
            print!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("convoy: {error}");
            ExitCode::from(2)
        }
    }
}
