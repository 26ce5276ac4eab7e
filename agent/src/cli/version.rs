//! `outrider version`: which program this is.

use serde::Serialize;

use super::command::{Arguments, Command, JSON};
use super::exit::{Exit, Outcome};
use super::terminal::Terminal;

pub(super) const COMMAND: Command = Command {
    path: &["version"],
    summary: "Print the version",
    about: &[],
    operands: &[],
    options: &[JSON],
    examples: &[],
    run,
};

/// What `--json` prints.
#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    architecture: &'static str,
    /// Commit, compiler and where std came from; only builds for release say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<&'static str>,
}

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    if arguments.flag(&JSON) {
        terminal.print_json(&Version {
            name: "outrider",
            version: env!("CARGO_PKG_VERSION"),
            architecture: std::env::consts::ARCH,
            build: option_env!("OUTRIDER_BUILD"),
        })?;
    } else {
        terminal.print(&line())?;
    }
    Ok(Exit::Ok)
}

/// The version in one line.
pub(super) fn line() -> String {
    format!("outrider {}\n", env!("CARGO_PKG_VERSION"))
}
