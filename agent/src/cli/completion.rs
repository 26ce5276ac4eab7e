//! `outrider completion`: scripts for shells, from the table of commands.

use super::COMMANDS;
use super::command::{Arguments, Command, HELP, Operand, Opt, VERSION, Value};
use super::exit::{Exit, Outcome};
use super::terminal::Terminal;

pub(super) const COMMAND: Command = Command {
    path: &["completion"],
    summary: "Print a completion script for a shell",
    about: &[
        "Prints a script that teaches a shell to complete commands, options and their values.",
    ],
    operands: &[Operand {
        name: "SHELL",
        value: Value::Words(&["bash", "zsh", "fish"]),
        required: true,
        doc: "One of bash, zsh, fish",
    }],
    options: &[],
    examples: &[(
        "outrider completion bash > /etc/bash_completion.d/outrider",
        "complete in every new bash",
    )],
    run,
};

fn run(arguments: &Arguments, terminal: &Terminal) -> Outcome {
    let shell = arguments.operands()[0].to_string_lossy();
    let script = match shell.as_ref() {
        "bash" => bash(),
        "zsh" => zsh(),
        _ => fish(),
    };
    terminal.print(&script)?;
    Ok(Exit::Ok)
}

/// First words of commands, each once, with what they do.
fn first_words() -> Vec<(&'static str, String)> {
    let mut words: Vec<(&str, String)> = Vec::new();
    for command in COMMANDS {
        match words.iter_mut().find(|(word, _)| *word == command.path[0]) {
            Some((word, summary)) => *summary = format!("Commands about the {word}"),
            None => words.push((command.path[0], command.summary.to_owned())),
        }
    }
    words
}

/// First words of commands of two words.
fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> =
        COMMANDS.iter().filter(|c| c.path.len() > 1).map(|command| command.path[0]).collect();
    groups.dedup();
    groups
}

fn members(group: &str) -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(move |command| command.path.len() > 1 && command.path[0] == group)
}

/// The option as it is typed, in both forms.
fn typed(option: &Opt) -> Vec<String> {
    let short = option.short.map(|letter| format!("-{letter}"));
    short.into_iter().chain([format!("--{}", option.long)]).collect()
}

/// The script for bash 4.4 or later.
#[must_use]
pub fn bash() -> String {
    let mut script = String::from(
        "# Completion of outrider for bash, printed by `outrider completion bash`.\n\
         _outrider() {\n    \
             local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n    \
             local command=\"\" words=\"\" files=\"\"\n    \
             if (( COMP_CWORD > 1 )); then command=\"${COMP_WORDS[1]}\"; fi\n",
    );
    for group in groups() {
        script.push_str(&format!(
            "    if [[ $command == {group} ]] && (( COMP_CWORD > 2 )); then\n        \
             command=\"{group} ${{COMP_WORDS[2]}}\"\n    fi\n"
        ));
    }
    script.push_str("    case \"$command:$prev\" in\n");
    for command in COMMANDS {
        for option in command.options {
            let Some((_, value)) = option.value else { continue };
            let patterns: Vec<String> = typed(option)
                .into_iter()
                .map(|option| format!("\"{}:{option}\"", command.name(" ")))
                .collect();
            script.push_str(&format!("        {}) {} ;;\n", patterns.join("|"), bash_value(value)));
        }
    }
    script.push_str("        *) case \"$command\" in\n");
    let first: Vec<&str> = first_words().iter().map(|(word, _)| *word).collect();
    let mut top: Vec<String> = typed(&HELP);
    top.extend(typed(&VERSION));
    script.push_str(&format!(
        "            \"\") words=\"{} {}\" ;;\n",
        first.join(" "),
        top.join(" ")
    ));
    for group in groups() {
        let second: Vec<&str> = members(group).map(|command| command.path[1]).collect();
        script.push_str(&format!("            \"{group}\") words=\"{}\" ;;\n", second.join(" ")));
    }
    for command in COMMANDS {
        let mut words: Vec<String> = command.all_options().flat_map(typed).collect();
        let mut files = "";
        for operand in command.operands {
            match operand.value {
                Value::Words(choices) => words.extend(choices.iter().map(|&word| word.to_owned())),
                Value::File => files = " files=1",
                Value::Address | Value::Duration | Value::Text => {}
            }
        }
        script.push_str(&format!(
            "            \"{}\") words=\"{}\"{files} ;;\n",
            command.name(" "),
            words.join(" ")
        ));
    }
    script.push_str(
        "        esac ;;\n    \
             esac\n    \
             mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n    \
             if [[ -n $files && $cur != -* ]]; then\n        \
                 compopt -o filenames 2>/dev/null\n        \
                 mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -f -- \"$cur\")\n    \
             fi\n\
         }\n\
         complete -F _outrider outrider\n",
    );
    script
}

fn bash_value(value: Value) -> String {
    match value {
        Value::File => "files=1".to_owned(),
        Value::Words(words) => format!("words=\"{}\"", words.join(" ")),
        Value::Address | Value::Duration | Value::Text => "return".to_owned(),
    }
}

/// The script for zsh 5.
#[must_use]
pub fn zsh() -> String {
    let mut script = String::from(
        "#compdef outrider\n\
         # Completion of outrider for zsh, printed by `outrider completion zsh`.\n\
         _outrider() {\n    local -a commands\n    if (( CURRENT == 2 )); then\n",
    );
    script.push_str("        commands=(\n");
    for (word, summary) in first_words() {
        script.push_str(&format!("            '{word}:{}'\n", zsh_escape(&summary)));
    }
    script.push_str("        )\n        _describe command commands\n        _arguments");
    for option in [&HELP, &VERSION] {
        script.push_str(&zsh_option(option, "            "));
    }
    script.push_str("\n        return\n    fi\n    local command=\"$words[2]\"\n");
    for group in groups() {
        script.push_str(&format!("    if [[ $command == {group} ]]; then\n"));
        script.push_str("        if (( CURRENT == 3 )); then\n            commands=(\n");
        for command in members(group) {
            script.push_str(&format!(
                "                '{}:{}'\n",
                command.path[1],
                zsh_escape(command.summary)
            ));
        }
        script.push_str("            )\n            _describe command commands\n");
        script.push_str("            return\n        fi\n");
        script.push_str("        command=\"$command $words[3]\"\n        shift words\n");
        script.push_str("        (( CURRENT-- ))\n    fi\n");
    }
    script.push_str("    shift words\n    (( CURRENT-- ))\n    case \"$command\" in\n");
    for command in COMMANDS {
        script.push_str(&format!("        \"{}\") _arguments", command.name(" ")));
        for option in command.all_options() {
            script.push_str(&zsh_option(option, "            "));
        }
        for operand in command.operands {
            script.push_str(&format!(
                " \\\n            '{}{}:{}'",
                if operand.required { ":" } else { "::" },
                operand.name,
                zsh_value(operand.value)
            ));
        }
        script.push_str(" ;;\n");
    }
    script.push_str(
        "    esac\n}\nif [[ $funcstack[1] == _outrider ]]; then _outrider \"$@\"; \
         else compdef _outrider outrider; fi\n",
    );
    script
}

fn zsh_option(option: &Opt, indent: &str) -> String {
    let value = option
        .value
        .map_or_else(String::new, |(name, value)| format!(":{name}:{}", zsh_value(value)));
    typed(option)
        .iter()
        .map(|name| format!(" \\\n{indent}'{name}[{}]{value}'", zsh_escape(option.doc)))
        .collect()
}

fn zsh_value(value: Value) -> String {
    match value {
        Value::File => "_files".to_owned(),
        Value::Words(words) => format!("({})", words.join(" ")),
        Value::Address | Value::Duration | Value::Text => " ".to_owned(),
    }
}

fn zsh_escape(text: &str) -> String {
    text.replace('\'', "'\\''").replace(':', "\\:").replace('[', "\\[").replace(']', "\\]")
}

/// The script for fish 3.
#[must_use]
pub fn fish() -> String {
    let mut script = String::from(
        "# Completion of outrider for fish, printed by `outrider completion fish`.\n\
         complete -c outrider -f\n",
    );
    for (word, summary) in first_words() {
        script.push_str(&format!(
            "complete -c outrider -n __fish_use_subcommand -a {word} -d '{}'\n",
            fish_escape(&summary)
        ));
    }
    for option in [&HELP, &VERSION] {
        script.push_str(&fish_option("__fish_use_subcommand", option));
    }
    for group in groups() {
        let second: Vec<&str> = members(group).map(|command| command.path[1]).collect();
        let condition = format!(
            "__fish_seen_subcommand_from {group}; and not __fish_seen_subcommand_from {}",
            second.join(" ")
        );
        for command in members(group) {
            script.push_str(&format!(
                "complete -c outrider -n '{condition}' -a {} -d '{}'\n",
                command.path[1],
                fish_escape(command.summary)
            ));
        }
    }
    for command in COMMANDS {
        let condition = fish_condition(command);
        for option in command.all_options() {
            script.push_str(&fish_option(&format!("'{condition}'"), option));
        }
        for operand in command.operands {
            let value = match operand.value {
                Value::File => "-F".to_owned(),
                Value::Words(words) => format!("-a '{}'", words.join(" ")),
                Value::Address | Value::Duration | Value::Text => continue,
            };
            script.push_str(&format!("complete -c outrider -n '{condition}' {value}\n"));
        }
    }
    script
}

/// The command was typed. A word that names both a command and a member of a group, like `check`,
/// counts only where it stands.
fn fish_condition(command: &Command) -> String {
    let seen: Vec<String> =
        command.path.iter().map(|word| format!("__fish_seen_subcommand_from {word}")).collect();
    let mut condition = seen.join("; and ");
    for group in groups() {
        let inside = members(group).any(|member| member.path[1] == command.path[0]);
        if command.path.len() == 1 && inside {
            condition.push_str(&format!("; and not __fish_seen_subcommand_from {group}"));
        }
    }
    condition
}

fn fish_option(condition: &str, option: &Opt) -> String {
    let short = option.short.map_or_else(String::new, |letter| format!(" -s {letter}"));
    let value = match option.value {
        None => String::new(),
        Some((_, Value::File)) => " -r -F".to_owned(),
        Some((_, Value::Words(words))) => format!(" -x -a '{}'", words.join(" ")),
        Some((_, Value::Address | Value::Duration | Value::Text)) => " -x".to_owned(),
    };
    format!(
        "complete -c outrider -n {condition}{short} -l {}{value} -d '{}'\n",
        option.long,
        fish_escape(option.doc)
    )
}

fn fish_escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
