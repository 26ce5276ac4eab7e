//! What a command is. Parser, help, man page and completion all read this definition, so they
//! cannot differ.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::exit::Outcome;
use super::terminal::Terminal;

/// A command.
#[derive(Debug)]
pub struct Command {
    /// The words that name it, such as `config default`.
    pub path: &'static [&'static str],
    /// One line, without full stop.
    pub summary: &'static str,
    /// What it does, in paragraphs.
    pub about: &'static [&'static str],
    /// What may stand after it.
    pub operands: &'static [Operand],
    /// Its options, besides `--help`.
    pub options: &'static [Opt],
    /// Calls somebody might make, and what for.
    pub examples: &'static [(&'static str, &'static str)],
    /// Does it.
    pub run: fn(&Arguments, &Terminal) -> Outcome,
}

/// Something that stands after a command and is not an option.
#[derive(Debug)]
pub struct Operand {
    /// What it is called in help.
    pub name: &'static str,
    /// What it can be.
    pub value: Value,
    /// It cannot be left out.
    pub required: bool,
    /// What it says.
    pub doc: &'static str,
}

/// An option.
#[derive(Debug, PartialEq, Eq)]
pub struct Opt {
    /// Name after two dashes.
    pub long: &'static str,
    /// Letter after one dash.
    pub short: Option<char>,
    /// What it takes: its name in help, and what it can be.
    pub value: Option<(&'static str, Value)>,
    /// What it does.
    pub doc: &'static str,
}

/// What a value can be, for completion and for checking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A file.
    File,
    /// Host and port.
    Address,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A duration such as `5s`.
    Duration,
    /// Anything.
    Text,
}

/// `--help`, which every command has.
pub const HELP: Opt = Opt { long: "help", short: Some('h'), value: None, doc: "Print help" };

/// `--version`, which the program has.
pub const VERSION: Opt =
    Opt { long: "version", short: Some('V'), value: None, doc: "Print the version" };

/// `--json`, for every command that prints data.
pub const JSON: Opt =
    Opt { long: "json", short: None, value: None, doc: "Print one JSON document instead of text" };

/// `--config`, for every command that needs the configuration.
pub const CONFIG: Opt = Opt {
    long: "config",
    short: Some('c'),
    value: Some(("FILE", Value::File)),
    doc: "Read FILE instead of $OUTRIDER_CONFIG or /etc/outrider/outrider.toml",
};

/// What stood on the command line, checked against the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    pub(super) flags: BTreeSet<&'static str>,
    pub(super) values: BTreeMap<&'static str, OsString>,
    pub(super) operands: Vec<OsString>,
}

impl Arguments {
    /// Whether an option without value was given.
    #[must_use]
    pub fn flag(&self, option: &Opt) -> bool {
        self.flags.contains(option.long)
    }

    /// The value of an option.
    #[must_use]
    pub fn value(&self, option: &Opt) -> Option<&OsStr> {
        self.values.get(option.long).map(OsString::as_os_str)
    }

    /// The value of an option that names a file.
    #[must_use]
    pub fn file(&self, option: &Opt) -> Option<PathBuf> {
        self.value(option).map(PathBuf::from)
    }

    /// The operands in their order.
    #[must_use]
    pub fn operands(&self) -> &[OsString] {
        &self.operands
    }
}

impl Command {
    /// Its full name, words separated by `separator`.
    #[must_use]
    pub fn name(&self, separator: &str) -> String {
        self.path.join(separator)
    }

    /// All its options, `--help` last.
    pub fn all_options(&self) -> impl Iterator<Item = &Opt> {
        self.options.iter().chain([&HELP])
    }
}

impl Opt {
    /// `-c, --config FILE`.
    #[must_use]
    pub fn usage(&self) -> String {
        let short = self.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let value = self.value.map_or_else(String::new, |(name, _)| format!(" {name}"));
        format!("{short}--{}{value}", self.long)
    }
}

impl Operand {
    /// `FILE` or `[FILE]`.
    #[must_use]
    pub fn usage(&self) -> String {
        if self.required { self.name.to_owned() } else { format!("[{}]", self.name) }
    }
}
