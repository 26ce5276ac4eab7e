//! The command line: one file per command; help, man page and completion come from the same table
//! as the parser.
//!
//! Decides nothing about mesh or vehicle: it asks the running agent, or prints what the libraries
//! say.

mod agent;
mod check;
pub mod client;
pub mod command;
pub mod completion;
mod config;
mod decode;
pub mod exit;
pub mod federation;
mod fleet;
pub mod help;
pub mod man;
pub mod mesh;
mod parse;
mod put;
mod run;
mod spool;
pub mod status;
pub mod terminal;
pub mod text;
pub mod units;
mod version;

use std::process::ExitCode;

use command::Command;
use exit::{Failure, Outcome};
use parse::Request;
use terminal::Terminal;

/// All commands in the order of the help.
pub static COMMANDS: &[Command] = &[
    run::COMMAND,
    status::COMMAND,
    mesh::COMMAND,
    put::COMMAND,
    check::COMMAND,
    federation::LIST,
    federation::JOIN,
    federation::LEAVE,
    federation::HOLD,
    federation::RELEASE,
    decode::COMMAND,
    fleet::COMMAND,
    spool::LS,
    spool::CHECK,
    spool::DUMP,
    spool::REPAIR,
    spool::EXPORT,
    config::DEFAULT,
    config::CHECK,
    config::DOC,
    version::COMMAND,
    man::COMMAND,
    completion::COMMAND,
];

/// Runs the command the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let terminal = Terminal::detect();
    match dispatch(&terminal) {
        Ok(exit) => exit.into(),
        Err(Failure { exit, text }) => {
            if let Some(text) = text {
                // Nobody is left to tell when standard error is closed, too.
                let _ = write_error(&terminal, &text);
            }
            exit.into()
        }
    }
}

fn dispatch(terminal: &Terminal) -> Outcome {
    let text = match parse::parse(std::env::args_os().skip(1))? {
        Request::Run(command, arguments) => return (command.run)(&arguments, terminal),
        Request::Help(None) => help::program(terminal),
        Request::Help(Some(command)) => help::command(command, terminal),
        Request::HelpGroup(group) => help::group(group, terminal),
        Request::Version => version::line(),
    };
    terminal.print(&text)?;
    Ok(exit::Exit::Ok)
}

fn write_error(terminal: &Terminal, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut stderr = std::io::stderr().lock();
    for (number, line) in text.lines().enumerate() {
        let prefix = if number == 0 { "outrider: " } else { "" };
        writeln!(stderr, "{prefix}{}", terminal.printable(line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
