//! `cargo convoy`: a convoy of real agents on loopback; `cargo convoy serve`: a routing daemon's stand-in alone.

mod demo;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let result = match arguments.peek().and_then(|first| first.to_str()) {
        Some("serve") => serve::main(arguments.skip(1)),
        Some(demo::TETHER) => demo::tether(arguments.skip(1)),
        _ => demo::main(arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("convoy: {error}");
            ExitCode::FAILURE
        }
    }
}
