//! From the command line to a command and its checked arguments. Every refusal says what was meant,
//! if that can be guessed.

use std::ffi::OsString;

use lexopt::Arg;

use super::COMMANDS;
use super::command::{Arguments, Command, HELP, Opt, VERSION, Value};
use super::exit::{Exit, Failure};
use crate::config::nearest::nearest;
use crate::config::units::parse_duration;

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// Run this.
    Run(&'static Command, Arguments),
    /// Print help about one command, or about the program.
    Help(Option<&'static Command>),
    /// Print help about the commands that begin with this word.
    HelpGroup(&'static str),
    /// Print the version.
    Version,
}

/// Reads the arguments after the program's name.
///
/// # Errors
///
/// They make no sense; the text says which and what to write instead.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, Failure> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let Some(first) = next(&mut parser)? else { return Ok(Request::Help(None)) };
    let word = match first {
        Given::Word(word) => word,
        Given::Option(name) if is(&HELP, &name) => return Ok(Request::Help(None)),
        Given::Option(name) if is(&VERSION, &name) => return Ok(Request::Version),
        Given::Option(name) => {
            return Err(usage(
                format!("unknown option `{name}`; options stand after the command"),
                None,
            ));
        }
    };
    if word == "help" {
        return help_about(&mut parser);
    }
    let name = word.to_string_lossy().into_owned();
    let Some(known) = COMMANDS.iter().map(|command| command.path[0]).find(|known| *known == name)
    else {
        return Err(unknown_command(&name));
    };
    match COMMANDS.iter().find(|command| command.path == [known]) {
        Some(command) => arguments_of(command, &mut parser),
        None => subcommand(known, &mut parser),
    }
}

/// What stands next on the command line.
enum Given {
    /// An option as it was written, with its dashes.
    Option(String),
    /// Anything else.
    Word(OsString),
}

fn next(parser: &mut lexopt::Parser) -> Result<Option<Given>, Failure> {
    match parser.next() {
        Ok(None) => Ok(None),
        Ok(Some(Arg::Short(letter))) => Ok(Some(Given::Option(format!("-{letter}")))),
        Ok(Some(Arg::Long(name))) => Ok(Some(Given::Option(format!("--{name}")))),
        Ok(Some(Arg::Value(word))) => Ok(Some(Given::Word(word))),
        Err(error) => Err(usage(error.to_string(), None)),
    }
}

fn is(option: &Opt, written: &str) -> bool {
    match written.strip_prefix("--") {
        Some(long) => long == option.long,
        None => option.short.is_some_and(|letter| {
            written.strip_prefix('-') == Some(letter.encode_utf8(&mut [0; 4]))
        }),
    }
}

/// `help`, `help status`, `help config check`.
fn help_about(parser: &mut lexopt::Parser) -> Result<Request, Failure> {
    let mut words = Vec::new();
    while let Some(given) = next(parser)? {
        match given {
            Given::Word(word) => words.push(word.to_string_lossy().into_owned()),
            Given::Option(_) => {}
        }
    }
    if words.is_empty() {
        return Ok(Request::Help(None));
    }
    if let Some(command) = COMMANDS.iter().find(|command| command.path == words) {
        return Ok(Request::Help(Some(command)));
    }
    match COMMANDS.iter().find(|command| words.len() == 1 && command.path[0] == words[0]) {
        Some(command) => Ok(Request::HelpGroup(command.path[0])),
        None => Err(unknown_command(&words.join(" "))),
    }
}

/// The second word of a command of two.
fn subcommand(group: &'static str, parser: &mut lexopt::Parser) -> Result<Request, Failure> {
    let members = || COMMANDS.iter().filter(|command| command.path[0] == group);
    let known: Vec<&str> = members().map(|command| command.path[1]).collect();
    let word = match next(parser)? {
        Some(Given::Word(word)) => word.to_string_lossy().into_owned(),
        Some(Given::Option(name)) if is(&HELP, &name) => return Ok(Request::HelpGroup(group)),
        Some(Given::Option(name)) => {
            let text = format!("unknown option `{name}`; write one of {} first", list(&known));
            return Err(usage(text, None));
        }
        None => {
            return Err(usage(format!("`{group}` needs one of {} after it", list(&known)), None));
        }
    };
    match members().find(|command| command.path[1] == word) {
        Some(command) => arguments_of(command, parser),
        None => {
            let advice = match nearest(&word, known.iter().copied()) {
                Some(near) => format!("did you mean `{group} {near}`?"),
                None => format!("write one of {}", list(&known)),
            };
            Err(usage(format!("unknown command `{group} {word}`; {advice}"), None))
        }
    }
}

fn arguments_of(
    command: &'static Command,
    parser: &mut lexopt::Parser,
) -> Result<Request, Failure> {
    let mut arguments = Arguments::default();
    while let Some(given) = next(parser)? {
        match given {
            Given::Option(name) if is(&HELP, &name) => return Ok(Request::Help(Some(command))),
            Given::Option(name) => option(command, &name, parser, &mut arguments)?,
            Given::Word(word) => {
                let Some(operand) = command.operands.get(arguments.operands.len()) else {
                    let text =
                        format!("nothing can stand in place of `{}`", word.to_string_lossy());
                    return Err(usage(text, Some(command)));
                };
                check_value(operand.name, operand.value, &word, command)?;
                arguments.operands.push(word);
            }
        }
    }
    if let Some(missing) = command.operands.get(arguments.operands.len())
        && missing.required
    {
        return Err(usage(format!("{} is missing: {}", missing.name, missing.doc), Some(command)));
    }
    Ok(Request::Run(command, arguments))
}

fn option(
    command: &'static Command,
    name: &str,
    parser: &mut lexopt::Parser,
    arguments: &mut Arguments,
) -> Result<(), Failure> {
    let Some(option) = command.options.iter().find(|option| is(option, name)) else {
        let known = command.all_options().map(|option| option.long);
        let text = match nearest(name.trim_start_matches('-'), known) {
            Some(near) if name.starts_with("--") => {
                format!("unknown option `{name}`; did you mean `--{near}`?")
            }
            _ => format!("unknown option `{name}`"),
        };
        return Err(usage(text, Some(command)));
    };
    let Some((value_name, kind)) = option.value else {
        if parser.optional_value().is_some() {
            return Err(usage(format!("`{name}` takes no value"), Some(command)));
        }
        arguments.flags.insert(option.long);
        return Ok(());
    };
    let value = parser
        .value()
        .map_err(|_| usage(format!("`{name}` needs a value: {value_name}"), Some(command)))?;
    check_value(name, kind, &value, command)?;
    if arguments.values.insert(option.long, value).is_some() {
        return Err(usage(format!("`--{}` is given twice", option.long), Some(command)));
    }
    Ok(())
}

fn check_value(
    name: &str,
    kind: Value,
    value: &std::ffi::OsStr,
    command: &'static Command,
) -> Result<(), Failure> {
    let refuse = |text: String| Err(usage(format!("`{name}`: {text}"), Some(command)));
    let text = value.to_string_lossy();
    match kind {
        Value::File | Value::Text => Ok(()),
        Value::Words(words) if words.contains(&text.as_ref()) => Ok(()),
        Value::Words(words) => match nearest(&text, words.iter().copied()) {
            Some(near) => refuse(format!("unknown value `{text}`; did you mean `{near}`?")),
            None => refuse(format!("unknown value `{text}`; write one of {}", list(words))),
        },
        Value::Duration => match parse_duration(&text) {
            Ok(_) => Ok(()),
            Err(reason) => refuse(reason),
        },
        Value::Address => match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0) => {
                Ok(())
            }
            _ => refuse(format!("`{text}` is not host and port, like 127.0.0.1:9695")),
        },
    }
}

fn unknown_command(name: &str) -> Failure {
    let known = COMMANDS.iter().map(|command| command.path[0]);
    let advice = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`outrider --help` lists the commands".to_owned(),
    };
    usage(format!("unknown command `{}`; {advice}", name.escape_debug()), None)
}

/// A refusal, with where to read more.
fn usage(text: String, command: Option<&Command>) -> Failure {
    let more = command.map_or_else(
        || "outrider --help".to_owned(),
        |command| format!("outrider {} --help", command.name(" ")),
    );
    Failure::new(Exit::Usage, format!("{text}\nTry `{more}`."))
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
