//! `outrider man`: the manual page in the roff language, from the table of commands.

use super::COMMANDS;
use super::command::{Arguments, Command, HELP, Opt, VERSION};
use super::exit::{EXITS, Exit, Outcome};
use super::help::{ENVIRONMENT, PURPOSE, usage};
use super::terminal::Terminal;
use crate::config::DEFAULT_FILE;

pub(super) const COMMAND: Command = Command {
    path: &["man"],
    summary: "Print the manual page",
    about: &["Prints the manual page outrider(1) in the roff language, for packages."],
    operands: &[],
    options: &[],
    examples: &[("outrider man | man -l -", "read it")],
    run,
};

fn run(_: &Arguments, terminal: &Terminal) -> Outcome {
    terminal.print(&page())?;
    Ok(Exit::Ok)
}

/// The page.
#[must_use]
pub fn page() -> String {
    let mut page = format!(
        ".TH OUTRIDER 1 \"\" \"outrider {}\" \"User commands\"\n.SH NAME\noutrider \\- mesh and \
         vehicle telemetry for ad-hoc convoys\n.SH SYNOPSIS\n.B outrider\n.I \
         COMMAND\n[\\fIOPTIONS\\fR]\n",
        env!("CARGO_PKG_VERSION")
    );
    section(&mut page, "DESCRIPTION");
    line(&mut page, PURPOSE);
    section(&mut page, "OPTIONS");
    for each in [&HELP, &VERSION] {
        option(&mut page, each);
    }
    section(&mut page, "COMMANDS");
    for each in COMMANDS {
        command(&mut page, each);
    }
    section(&mut page, "EXIT STATUS");
    for (exit, meaning) in EXITS {
        tagged(&mut page, &format!("\\fB{}\\fR", exit.code()), meaning);
    }
    section(&mut page, "ENVIRONMENT");
    for (name, purpose) in ENVIRONMENT {
        tagged(&mut page, &format!("\\fB{name}\\fR"), purpose);
    }
    section(&mut page, "FILES");
    tagged(
        &mut page,
        &format!("\\fI{DEFAULT_FILE}\\fR"),
        "Configuration. It may be missing; `outrider config doc` describes every key.",
    );
    page
}

fn command(page: &mut String, command: &Command) {
    page.push_str(&format!(".SS {}\n", escape(&usage(command))));
    line(page, &format!("{}.", command.summary));
    for paragraph in command.about {
        page.push_str(".PP\n");
        line(page, paragraph);
    }
    for operand in command.operands {
        tagged(page, &format!("\\fI{}\\fR", escape(operand.name)), operand.doc);
    }
    for each in command.options {
        option(page, each);
    }
    for (call, purpose) in command.examples {
        page.push_str(".PP\n");
        line(page, &format!("Example, to {purpose}:"));
        page.push_str(&format!(".PP\n.RS\n.nf\n{}\n.fi\n.RE\n", escape_line(call)));
    }
}

fn option(page: &mut String, option: &Opt) {
    let short = option.short.map_or_else(String::new, |c| format!("\\fB\\-{c}\\fR, "));
    let value =
        option.value.map_or_else(String::new, |(name, _)| format!(" \\fI{}\\fR", escape(name)));
    tagged(page, &format!("{short}\\fB\\-\\-{}\\fR{value}", escape(option.long)), option.doc);
}

fn section(page: &mut String, name: &str) {
    page.push_str(&format!(".SH {name}\n"));
}

fn tagged(page: &mut String, tag: &str, text: &str) {
    page.push_str(&format!(".TP\n{tag}\n"));
    line(page, text);
}

fn line(page: &mut String, text: &str) {
    page.push_str(&escape_line(text));
    page.push('\n');
}

/// Takes every meaning for roff from the characters that have one inside a line.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('`', "\\(ga")
}

/// The same for a whole line, which must not begin with a control character.
fn escape_line(text: &str) -> String {
    let escaped = escape(text);
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}
