//! Help for people at a terminal, in 80 columns.

use super::COMMANDS;
use super::command::{Command, HELP, VERSION};
use super::exit::EXITS;
use super::terminal::{COLUMNS, Style, Terminal};
use super::text::{hang, wrap};

/// One sentence on the program.
pub const PURPOSE: &str = "Outrider rides on every vehicle of an ad-hoc convoy: it reads the OLSR \
          mesh and the vehicle's hardware and tells others over Prometheus metrics, MQTT and a \
          status page.";

/// Column of the descriptions.
const INDENT: usize = 22;

/// Environment variables that matter, and what for.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("OUTRIDER_CONFIG", "Configuration file when --config is not given"),
    ("NO_COLOR", "If set and not empty, no colours"),
    ("RUNTIME_DIRECTORY", "Where the control socket is by default, set by systemd"),
    ("XDG_RUNTIME_DIR", "Where the control socket is by default for ordinary users"),
    ("NOTIFY_SOCKET", "Service manager to be told of readiness, set by systemd"),
    ("WATCHDOG_USEC", "Watchdog period of the service manager, set by systemd"),
];

/// Help on the program.
#[must_use]
pub fn program(terminal: &Terminal) -> String {
    let mut text = paragraphs(&[PURPOSE]);
    text.push_str(&format!("\n{} outrider COMMAND [OPTIONS]\n", heading("Usage:", terminal)));
    text.push_str(&format!("\n{}\n", heading("Commands:", terminal)));
    for command in COMMANDS {
        text.push_str(&hang(&format!("  {}", command.name(" ")), INDENT, command.summary, COLUMNS));
    }
    text.push_str(&format!("\n{}\n", heading("Options:", terminal)));
    for option in [&HELP, &VERSION] {
        text.push_str(&hang(&format!("  {}", option.usage()), INDENT, option.doc, COLUMNS));
    }
    text.push_str(&format!("\n{}\n", heading("Exit status:", terminal)));
    for (exit, meaning) in EXITS {
        text.push_str(&hang(&format!("  {}", exit.code()), 5, meaning, COLUMNS));
    }
    text.push_str("\n`outrider COMMAND --help` says more about a command.\n");
    text
}

/// Help on the commands that begin with `word`.
#[must_use]
pub fn group(word: &str, terminal: &Terminal) -> String {
    let mut text = format!("{} outrider {word} COMMAND\n", heading("Usage:", terminal));
    text.push_str(&format!("\n{}\n", heading("Commands:", terminal)));
    for command in COMMANDS.iter().filter(|command| command.path[0] == word) {
        text.push_str(&hang(&format!("  {}", command.name(" ")), INDENT, command.summary, COLUMNS));
    }
    text
}

/// Help on one command.
#[must_use]
pub fn command(command: &Command, terminal: &Terminal) -> String {
    let mut text = format!("{}.\n\n", command.summary);
    text.push_str(&format!("{} {}\n", heading("Usage:", terminal), usage(command)));
    if !command.about.is_empty() {
        text.push('\n');
        text.push_str(&paragraphs(command.about));
    }
    if !command.operands.is_empty() {
        text.push_str(&format!("\n{}\n", heading("Arguments:", terminal)));
        for operand in command.operands {
            text.push_str(&hang(&format!("  {}", operand.usage()), INDENT, operand.doc, COLUMNS));
        }
    }
    text.push_str(&format!("\n{}\n", heading("Options:", terminal)));
    for option in command.all_options() {
        text.push_str(&hang(&format!("  {}", option.usage()), INDENT, option.doc, COLUMNS));
    }
    if !command.examples.is_empty() {
        text.push_str(&format!("\n{}\n", heading("Examples:", terminal)));
        for (call, purpose) in command.examples {
            text.push_str(&format!("  {call}\n"));
            text.push_str(&hang("", 6, purpose, COLUMNS));
        }
    }
    text
}

/// `outrider status [OPTIONS]`.
#[must_use]
pub fn usage(command: &Command) -> String {
    let mut words = vec!["outrider".to_owned(), command.name(" ")];
    if !command.options.is_empty() {
        words.push("[OPTIONS]".to_owned());
    }
    words.extend(command.operands.iter().map(super::command::Operand::usage));
    words.join(" ")
}

fn heading(text: &str, terminal: &Terminal) -> String {
    terminal.style(text, Style::Heading)
}

fn paragraphs(paragraphs: &[&str]) -> String {
    let wrapped: Vec<String> =
        paragraphs.iter().map(|paragraph| wrap(paragraph, COLUMNS).join("\n")).collect();
    format!("{}\n", wrapped.join("\n\n"))
}
