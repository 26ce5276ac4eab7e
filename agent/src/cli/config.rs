//! `outrider config default|check|doc`: the configuration file, without running anything.

use std::path::PathBuf;

use serde::Serialize;

use super::command::{Arguments, CONFIG, Command, JSON, Operand, Value};
use super::exit::{Exit, Failure, Outcome};
use super::terminal::Terminal;
use crate::config::{ConfigSource, FILE_VARIABLE, LoadError, Machine, document};

pub(super) const DEFAULT: Command = Command {
    path: &["config", "default"],
    summary: "Print a configuration file with all defaults",
    about: &["Prints a commented configuration file in which every key has its default."],
    operands: &[],
    options: &[],
    examples: &[("outrider config default > outrider.toml", "begin a configuration")],
    run: run_default,
};

pub(super) const CHECK: Command = Command {
    path: &["config", "check"],
    summary: "Check a configuration file",
    about: &[
        "Reads a configuration file and reports all its problems with line, column and remedy. \
         Nothing else is read or tried; `outrider check` does that.",
    ],
    operands: &[Operand {
        name: "FILE",
        value: Value::File,
        required: false,
        doc: "File to check instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml",
    }],
    options: &[JSON],
    examples: &[("outrider config check outrider.toml", "check before copying")],
    run: run_check,
};

pub(super) const DOC: Command = Command {
    path: &["config", "doc"],
    summary: "Print the reference of all keys in Markdown",
    about: &[
        "Prints every key with its meaning, limits, default, example and when it takes effect.",
    ],
    operands: &[],
    options: &[],
    examples: &[],
    run: run_doc,
};

fn run_default(_: &Arguments, terminal: &Terminal) -> Outcome {
    terminal.print(&document::default_file())?;
    Ok(Exit::Ok)
}

fn run_doc(_: &Arguments, terminal: &Terminal) -> Outcome {
    terminal.print(&document::reference_page())?;
    Ok(Exit::Ok)
}

/// What `config check --json` prints.
#[derive(Serialize)]
struct Verdict {
    file: String,
    valid: bool,
    problems: Vec<Problem>,
}

/// A problem of the file; line and column count from 1 and are absent when the file cannot be read.
#[derive(Serialize)]
struct Problem {
    line: Option<usize>,
    column: Option<usize>,
    text: String,
}

fn run_check(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let source = find(arguments.operands().first().map(PathBuf::from));
    let result = source.load();
    if arguments.flag(&JSON) {
        let exit = if result.is_ok() { Exit::Ok } else { Exit::Config };
        terminal.print_json(&verdict(&source, result.err()))?;
        return Ok(exit);
    }
    match result {
        Ok(_) if source.is_absent() => terminal
            .print(&format!("{} does not exist; defaults hold\n", source.path().display()))?,
        Ok(_) => terminal.print(&format!("{} is valid\n", source.path().display()))?,
        Err(error) => return Err(Failure::new(Exit::Config, error.to_string())),
    }
    Ok(Exit::Ok)
}

fn verdict(source: &ConfigSource, error: Option<LoadError>) -> Verdict {
    let problems = match &error {
        None => Vec::new(),
        Some(LoadError::Invalid { problems, .. }) => problems
            .iter()
            .map(|problem| Problem {
                line: Some(problem.line),
                column: Some(problem.column),
                text: problem.text.clone(),
            })
            .collect(),
        Some(unreadable @ LoadError::Unreadable { .. }) => {
            vec![Problem { line: None, column: None, text: unreadable.to_string() }]
        }
    };
    Verdict { file: source.path().display().to_string(), valid: error.is_none(), problems }
}

/// The configuration file that `--config` or the environment names.
pub(super) fn source(arguments: &Arguments) -> ConfigSource {
    find(arguments.file(&CONFIG))
}

fn find(file: Option<PathBuf>) -> ConfigSource {
    ConfigSource::find(file, std::env::var_os(FILE_VARIABLE), Machine::this())
}
