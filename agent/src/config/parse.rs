//! From the text of a configuration file to a [`Config`]. Reports every fault it finds, not only
//! the first.
//!
//! Reads no file and asks the machine nothing: what only the machine knows comes in as [`Machine`].

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::key::{Key, Preset, Section};
use super::keys::{self, LISTS, SECTIONS};
use super::nearest::nearest;
use super::problem::{Fault, Problem};
use super::source::Machine;
use super::tables::TableList;
use super::{Config, rules};

/// Problems reported at most; a file with more is not a configuration file.
const PROBLEMS_MAX: usize = 50;

/// Reads `text`; keys that it does not give get their defaults.
///
/// # Errors
///
/// All problems of the text, in its order.
pub fn parse(text: &str, machine: &Machine) -> Result<Config, Vec<Problem>> {
    let (table, syntax) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        config: defaults(),
        given: BTreeSet::new(),
        places: Vec::new(),
        faults: Vec::new(),
    };
    reader.read(table.get_ref());
    let Reader { mut config, given, places, faults } = reader;
    if syntax.is_empty() && faults.is_empty() {
        fill_in(&mut config, &given, machine);
        let contradictions: Vec<Fault> = rules::contradictions(&config)
            .into_iter()
            .map(|(section, key, text)| Fault {
                span: find_place(&places, section, key),
                text: format!("`{key}`: {text}"),
            })
            .collect();
        return if contradictions.is_empty() {
            Ok(config)
        } else {
            Err(locate(text, contradictions, &[]))
        };
    }
    let syntax: Vec<Fault> = syntax
        .into_iter()
        .map(|error| Fault {
            span: error.span().unwrap_or(0..0),
            text: format!("this is not TOML: {}", one_line(error.message())),
        })
        .collect();
    Err(locate(text, faults, &syntax))
}

/// The configuration of a machine without any file.
#[must_use]
pub fn default_config(machine: &Machine) -> Config {
    let mut config = defaults();
    fill_in(&mut config, &BTreeSet::new(), machine);
    config
}

/// What the table of keys says holds without a file.
fn defaults() -> Config {
    let mut config = Config::blank();
    for (_, key) in keys::all() {
        let Preset::Is(literal) = key.preset else { continue };
        let value = DeValue::parse(literal).expect("defaults are TOML, a test reads each of them");
        key.field.put(&mut config, &value).expect("defaults keep their limits, a test puts each");
    }
    config
}

/// Sets what is found out on the machine.
fn fill_in(config: &mut Config, given: &BTreeSet<(&str, &str)>, machine: &Machine) {
    if !given.contains(&("vehicle", "name")) {
        config.vehicle.name.clone_from(&machine.vehicle_name);
    }
    if !given.contains(&("control", "path")) {
        config.control.path = Some(machine.control_socket.clone());
    }
    if !given.contains(&("spool", "folder")) {
        config.spool.folder.clone_from(&machine.spool_folder);
    }
    if !given.contains(&("mqtt", "port")) {
        config.mqtt.port = if config.mqtt.tls { 8883 } else { 1883 };
    }
    if !given.contains(&("mqtt", "client_id")) {
        config.mqtt.client_id = format!("outrider-{}", config.vehicle.name);
    }
}

/// Where each given key stands.
type Places = Vec<(&'static str, &'static str, Range<usize>)>;

fn find_place(places: &Places, section: &str, key: &str) -> Range<usize> {
    let found = places.iter().find(|(s, k, _)| *s == section && *k == key);
    found.map_or(0..0, |(_, _, span)| span.clone())
}

/// Walks through the file.
struct Reader {
    config: Config,
    given: BTreeSet<(&'static str, &'static str)>,
    places: Places,
    faults: Vec<Fault>,
}

impl Reader {
    fn read(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            if self.read_lists(name, value.get_ref()) {
                continue;
            }
            let Some(section) = SECTIONS.iter().find(|s| s.name == name.get_ref()) else {
                self.faults.push(unknown_section(name.get_ref(), name.span(), value.get_ref()));
                continue;
            };
            let Some(keys) = value.get_ref().as_table() else {
                self.faults.push(Fault {
                    span: name.span(),
                    text: format!(
                        "`{0}` is a section; write `[{0}]` and its keys below",
                        section.name
                    ),
                });
                continue;
            };
            self.read_section(section, keys);
        }
    }

    /// Reads the lists of tables of this name, or below it; false when there are none.
    fn read_lists(&mut self, name: &Spanned<DeString<'_>>, value: &DeValue<'_>) -> bool {
        if let Some(list) = LISTS.iter().find(|list| list.name() == name.get_ref()) {
            self.faults.extend(list.put(&mut self.config, name.span(), value));
            return true;
        }
        let below = |list: &&&'static dyn TableList| {
            list.name().split_once('.').is_some_and(|(parent, _)| parent == name.get_ref())
        };
        if !LISTS.iter().any(|list| below(&list)) {
            return false;
        }
        let known: Vec<String> =
            LISTS.iter().filter(below).map(|list| format!("`[[{}]]`", list.name())).collect();
        let Some(children) = value.as_table() else {
            let text = format!("`{}` is no key; there are {}", name.get_ref(), known.join(", "));
            self.faults.push(Fault { span: name.span(), text });
            return true;
        };
        for (child, value) in children {
            let full = format!("{}.{}", name.get_ref(), child.get_ref());
            match LISTS.iter().find(|list| list.name() == full) {
                Some(list) => {
                    let faults = list.put(&mut self.config, child.span(), value.get_ref());
                    self.faults.extend(faults);
                }
                None => self.faults.push(Fault {
                    span: child.span(),
                    text: format!(
                        "unknown table `{}`; there are {}",
                        full.escape_debug(),
                        known.join(", ")
                    ),
                }),
            }
        }
        true
    }

    fn read_section(&mut self, section: &'static Section, keys: &DeTable<'_>) {
        for (name, value) in keys {
            match section.keys.iter().find(|key| key.name == name.get_ref()) {
                Some(key) => self.read_key(section, key, name.span(), value),
                None => self.faults.push(unknown_key(section, name.get_ref(), name.span())),
            }
        }
    }

    fn read_key(
        &mut self,
        section: &'static Section,
        key: &'static Key,
        span: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) {
        self.given.insert((section.name, key.name));
        self.places.push((section.name, key.name, span));
        if let Err(faults) = key.field.put(&mut self.config, value) {
            self.faults.extend(
                faults.into_iter().map(|fault| Fault {
                    text: format!("`{}`: {}", key.name, fault.text),
                    ..fault
                }),
            );
        }
    }
}

fn unknown_section(name: &str, span: Range<usize>, value: &DeValue<'_>) -> Fault {
    let name_shown = name.escape_debug();
    if !value.is_table()
        && let Some((section, key)) = keys::all().find(|(_, key)| key.name == name)
    {
        let text = format!(
            "`{}` stands outside its section; write it below `[{}]`",
            key.name, section.name
        );
        return Fault { span, text };
    }
    let text = match nearest(name, SECTIONS.iter().map(|section| section.name)) {
        Some(known) => format!("unknown section `{name_shown}`; did you mean `[{known}]`?"),
        None => {
            let known: Vec<String> = SECTIONS.iter().map(|s| format!("[{}]", s.name)).collect();
            format!("unknown section `{name_shown}`; there are {}", known.join(", "))
        }
    };
    Fault { span, text }
}

fn unknown_key(section: &Section, name: &str, span: Range<usize>) -> Fault {
    let name_shown = name.escape_debug();
    let here = nearest(name, section.keys.iter().map(|key| key.name));
    let elsewhere = keys::all().find(|(_, key)| key.name == name);
    let advice = match (here, elsewhere) {
        (Some(known), _) => format!("did you mean `{known}`?"),
        (None, Some((other, _))) => format!("there is one in `[{}]`", other.name),
        (None, None) => "`outrider config doc` lists all keys".to_owned(),
    };
    Fault { span, text: format!("unknown key `{name_shown}` in `[{}]`; {advice}", section.name) }
}

/// Turns faults into problems in the order of the text. What stands on a line that is not TOML was
/// read from a guess and is not reported beside it.
fn locate(text: &str, faults: Vec<Fault>, syntax: &[Fault]) -> Vec<Problem> {
    let mut problems: Vec<Problem> =
        syntax.iter().map(|fault| Problem::locate(text, fault.clone())).collect();
    let broken: BTreeSet<usize> = problems.iter().map(|problem| problem.line).collect();
    problems.extend(
        faults
            .into_iter()
            .map(|fault| Problem::locate(text, fault))
            .filter(|problem| !broken.contains(&problem.line)),
    );
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems.dedup();
    problems.truncate(PROBLEMS_MAX);
    problems
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
