//! `outrider spool check`: what is wrong with a spool, each with a remedy.

use super::{FOLDER, inspect, ls};
use crate::cli::command::{Arguments, CONFIG, Command, JSON};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::terminal::Terminal;

pub(in crate::cli) const COMMAND: Command = Command {
    path: &["spool", "check"],
    summary: "Read every byte of a spool and name what is wrong",
    about: &[
        "Reads every byte of a spool and compares checksums and counts. Each complaint has a remedy. What a power cut tore off \
         is no complaint: it was never safe, and nobody was told that it was. Nothing is changed. Ends with exit code 1 when \
         there is a complaint.",
    ],
    operands: &[FOLDER],
    options: &[JSON, CONFIG],
    examples: &[("outrider spool check", "look after the agent reported damage")],
    run,
};

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let inspection = inspect(arguments)?;
    let complaints = inspection.complaints();
    if arguments.flag(&JSON) {
        terminal.print_json(&ls::document(&inspection))?;
    } else if complaints.is_empty() {
        terminal.print("nothing is wrong\n")?;
    } else {
        terminal.print(&format!("{}\n", complaints.join("\n")))?;
    }
    Ok(if complaints.is_empty() { Exit::Ok } else { Exit::Failed })
}
