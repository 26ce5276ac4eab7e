//! What one key of the configuration is. Parser, default file, reference page and reload all read
//! this definition.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::nearest::nearest;
use super::problem::Fault;
use super::units;

/// A section of the file and its keys.
#[derive(Debug)]
pub struct Section {
    /// Name between the brackets.
    pub name: &'static str,
    /// One or two sentences on what it is for.
    pub doc: &'static str,
    /// Its keys in the order of the reference page.
    pub keys: &'static [Key],
}

/// A key of a section, or of a table that may be written several times.
#[derive(Debug)]
pub struct Key<C: 'static = Config> {
    /// Name in its section.
    pub name: &'static str,
    /// What it sets, in sentences.
    pub doc: &'static str,
    /// What holds when the key is not given.
    pub preset: Preset,
    /// A value somebody might write, as TOML.
    pub example: &'static str,
    /// Type, limits and place in [`Config`] or in the table's struct.
    pub field: Field<C>,
    /// When a changed value takes effect.
    pub takes_effect: TakesEffect,
}

/// What is said of a key, without its type.
#[derive(Clone, Debug)]
pub struct KeyText {
    /// Name in its section or table.
    pub name: &'static str,
    /// What it sets, in sentences.
    pub doc: &'static str,
    /// What holds when it is not given.
    pub preset: &'static Preset,
    /// A value somebody might write, as TOML.
    pub example: &'static str,
    /// The words it takes, if it takes only a few.
    pub words: Option<&'static [Word]>,
    /// Type and limits.
    pub value: String,
    /// The value is a table of its own, written under its own heading.
    pub is_table: bool,
    /// When a changed value takes effect.
    pub takes_effect: TakesEffect,
}

/// What holds when a key is not given.
#[derive(Debug)]
pub enum Preset {
    /// This value, as TOML.
    Is(&'static str),
    /// Nothing is set; the text says what that means.
    Unset(&'static str),
    /// Found out on the machine; the text says how.
    Found(&'static str),
    /// It has to be given; only in tables that may be written several times.
    Required,
}

impl<C> Key<C> {
    /// What is said of it.
    #[must_use]
    pub fn text(&'static self) -> KeyText {
        let words = if let Field::Word(_, words) = &self.field { Some(*words) } else { None };
        KeyText {
            name: self.name,
            doc: self.doc,
            preset: &self.preset,
            example: self.example,
            words,
            value: self.field.describe(),
            is_table: matches!(self.field, Field::Addresses(_) | Field::Patterns(..)),
            takes_effect: self.takes_effect,
        }
    }
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakesEffect {
    /// On reload (SIGHUP).
    OnReload,
    /// At the next start.
    OnRestart,
}

/// A place in [`Config`], or in the struct of a table.
pub struct Place<T: 'static, C: 'static = Config> {
    /// Reads it.
    pub get: fn(&C) -> T,
    /// Writes it.
    pub set: fn(&mut C, T),
}

impl<T, C> std::fmt::Debug for Place<T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Place")
    }
}

/// A word a key accepts, and what it means.
pub type Word = (&'static str, &'static str);

/// Names a list or table may hold, told by the part of the program that they belong to.
pub type Names = fn() -> Vec<&'static str>;

/// Type, limits and place of a value.
#[derive(Debug)]
pub enum Field<C: 'static = Config> {
    /// `true` or `false`.
    Bool(Place<bool, C>),
    /// A whole number with its unit, between two limits.
    Integer(Place<u64, C>, [u64; 2], &'static str),
    /// A whole number with its unit, between two limits, that may be absent.
    OptionalInteger(Place<Option<u64>, C>, [u64; 2], &'static str),
    /// A whole number between two limits, of which the lower is negative.
    Signed(Place<i64, C>, [i64; 2]),
    /// A number between two limits.
    Number(Place<f64, C>, [f64; 2], &'static str),
    /// A number of bytes between two limits.
    Size(Place<u64, C>, [u64; 2]),
    /// A number of bytes between two limits that may be absent.
    OptionalSize(Place<Option<u64>, C>, [u64; 2]),
    /// A duration between two limits.
    Duration(Place<Duration, C>, [Duration; 2]),
    /// A duration between two limits that may be absent.
    OptionalDuration(Place<Option<Duration>, C>, [Duration; 2]),
    /// A duration between two limits, or `never`.
    DurationOrNever(Place<Option<Duration>, C>, [Duration; 2]),
    /// One of a few words.
    Word(Place<&'static str, C>, &'static [Word]),
    /// A text that the function accepts.
    Text(Place<String, C>, fn(&str) -> Result<(), String>),
    /// A text that may be absent.
    OptionalText(Place<Option<String>, C>, fn(&str) -> Result<(), String>),
    /// A list of so many texts, each of which the function accepts.
    Texts(Place<Vec<String>, C>, fn(&str) -> Result<(), String>, [usize; 2]),
    /// An absolute path.
    Path(Place<PathBuf, C>),
    /// An absolute path that may be absent.
    OptionalPath(Place<Option<PathBuf>, C>),
    /// An absolute path, or `off`.
    PathOrOff(Place<Option<PathBuf>, C>),
    /// Address and port, or absent.
    OptionalAddress(Place<Option<SocketAddr>, C>),
    /// Address and port, or `off`.
    AddressOrOff(Place<Option<SocketAddr>, C>),
    /// A set of known words.
    WordSet(Place<BTreeSet<String>, C>, Names),
    /// Lists of addresses by vehicle.
    Addresses(Place<BTreeMap<String, Vec<IpAddr>>, C>),
    /// Lists of glob patterns by one of the known words.
    Patterns(Place<BTreeMap<String, Vec<String>>, C>, Names),
}

/// The word that switches an optional thing off.
pub(crate) const OFF: &str = "off";

/// The word for a duration that does not end.
const NEVER: &str = "never";

/// Entries a list or table may have; more is a generated file gone wrong.
const ENTRIES_MAX: usize = 1_000;

impl<C> Field<C> {
    /// Puts the written value into its place.
    pub(crate) fn put(
        &self,
        config: &mut C,
        written: &Spanned<DeValue<'_>>,
    ) -> Result<(), Vec<Fault>> {
        let value = Written { value: written.get_ref(), span: written.span() };
        match self {
            Field::Bool(place) => (place.set)(config, value.boolean()?),
            Field::Integer(place, limits, unit) => {
                (place.set)(config, value.integer(*limits, unit)?);
            }
            Field::OptionalInteger(place, limits, unit) => {
                (place.set)(config, Some(value.integer(*limits, unit)?));
            }
            Field::Signed(place, [min, max]) => {
                let number = value.whole([i128::from(*min), i128::from(*max)], "")?;
                (place.set)(config, i64::try_from(number).unwrap_or(*min));
            }
            Field::Number(place, limits, unit) => (place.set)(config, value.number(*limits, unit)?),
            Field::Size(place, limits) => (place.set)(config, value.size(*limits)?),
            Field::OptionalSize(place, limits) => {
                (place.set)(config, Some(value.size(*limits)?));
            }
            Field::Duration(place, limits) => (place.set)(config, value.duration(*limits)?),
            Field::OptionalDuration(place, limits) => {
                (place.set)(config, Some(value.duration(*limits)?));
            }
            Field::DurationOrNever(place, limits) => {
                let never = value.value.as_str() == Some(NEVER);
                let duration = if never { None } else { Some(value.duration(*limits)?) };
                (place.set)(config, duration);
            }
            Field::Word(place, words) => (place.set)(config, value.word(words)?),
            Field::Text(place, check) => (place.set)(config, value.checked(*check)?.to_owned()),
            Field::OptionalText(place, check) => {
                (place.set)(config, Some(value.checked(*check)?.to_owned()));
            }
            Field::Texts(place, check, limits) => {
                (place.set)(config, value.texts(*check, *limits)?);
            }
            Field::Path(place) => (place.set)(config, value.path()?),
            Field::OptionalPath(place) => (place.set)(config, Some(value.path()?)),
            Field::PathOrOff(place) => {
                let path = if value.is_off() { None } else { Some(value.path()?) };
                (place.set)(config, path);
            }
            Field::OptionalAddress(place) => (place.set)(config, Some(value.address()?)),
            Field::AddressOrOff(place) => {
                let address = if value.is_off() { None } else { Some(value.address()?) };
                (place.set)(config, address);
            }
            Field::WordSet(place, known) => (place.set)(config, value.word_set(known)?),
            Field::Addresses(place) => (place.set)(config, value.addresses()?),
            Field::Patterns(place, known) => (place.set)(config, value.patterns(known)?),
        }
        Ok(())
    }

    /// Whether both configurations hold the same value here.
    pub(crate) fn equal(&self, a: &C, b: &C) -> bool {
        fn same<T: PartialEq, C>(place: &Place<T, C>, a: &C, b: &C) -> bool {
            (place.get)(a) == (place.get)(b)
        }
        match self {
            Field::Bool(place) => same(place, a, b),
            Field::Integer(place, ..) | Field::Size(place, _) => same(place, a, b),
            Field::Signed(place, _) => same(place, a, b),
            Field::Number(place, ..) => same(place, a, b),
            Field::OptionalInteger(place, ..) | Field::OptionalSize(place, _) => same(place, a, b),
            Field::Duration(place, _) => same(place, a, b),
            Field::OptionalDuration(place, _) | Field::DurationOrNever(place, _) => {
                same(place, a, b)
            }
            Field::Word(place, _) => same(place, a, b),
            Field::Text(place, _) => same(place, a, b),
            Field::OptionalText(place, _) => same(place, a, b),
            Field::Texts(place, ..) => same(place, a, b),
            Field::Path(place) => same(place, a, b),
            Field::OptionalPath(place) | Field::PathOrOff(place) => same(place, a, b),
            Field::OptionalAddress(place) | Field::AddressOrOff(place) => same(place, a, b),
            Field::WordSet(place, _) => same(place, a, b),
            Field::Addresses(place) => same(place, a, b),
            Field::Patterns(place, _) => same(place, a, b),
        }
    }

    /// Type and limits, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Field::Bool(_) => "`true` or `false`".to_owned(),
            Field::Integer(_, [min, max], unit) | Field::OptionalInteger(_, [min, max], unit) => {
                let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
                format!("whole number{unit}, {min} to {max}")
            }
            Field::Signed(_, [min, max]) => format!("whole number, {min} to {max}"),
            Field::Number(_, [min, max], unit) => {
                let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
                format!("number{unit}, {min} to {max}")
            }
            Field::Size(_, [min, max]) | Field::OptionalSize(_, [min, max]) => {
                format!("size, {} to {}", units::format_size(*min), units::format_size(*max))
            }
            Field::Duration(_, [min, max]) | Field::OptionalDuration(_, [min, max]) => format!(
                "duration, {} to {}",
                units::format_duration(*min),
                units::format_duration(*max)
            ),
            Field::DurationOrNever(_, [min, max]) => format!(
                "duration, {} to {}, or `\"{NEVER}\"`",
                units::format_duration(*min),
                units::format_duration(*max)
            ),
            Field::Word(_, words) => {
                let words: Vec<String> =
                    words.iter().map(|(word, _)| format!("`\"{word}\"`")).collect();
                words.join(", ")
            }
            Field::Text(..) | Field::OptionalText(..) => "text".to_owned(),
            Field::Texts(_, _, [min, max]) => format!("list of {min} to {max} texts"),
            Field::Path(_) | Field::OptionalPath(_) => "absolute path".to_owned(),
            Field::PathOrOff(_) => format!("absolute path, or `\"{OFF}\"`"),
            Field::OptionalAddress(_) => "address and port".to_owned(),
            Field::AddressOrOff(_) => format!("address and port, or `\"{OFF}\"`"),
            Field::WordSet(_, known) => {
                let words: Vec<String> =
                    known().iter().map(|word| format!("`\"{word}\"`")).collect();
                format!("list of {}", words.join(", "))
            }
            Field::Addresses(_) => "table: vehicle = list of IP addresses".to_owned(),
            Field::Patterns(..) => "table: collector = list of patterns".to_owned(),
        }
    }
}

/// A value as it stands in the file.
struct Written<'a> {
    value: &'a DeValue<'a>,
    span: Range<usize>,
}

impl Written<'_> {
    fn fault(&self, text: String) -> Vec<Fault> {
        vec![Fault { span: self.span.clone(), text }]
    }

    fn expected(&self, what: &str) -> Vec<Fault> {
        self.fault(format!("this is {}; write {what}", article(self.value.type_str())))
    }

    fn boolean(&self) -> Result<bool, Vec<Fault>> {
        self.value.as_bool().ok_or_else(|| self.expected("`true` or `false`"))
    }

    fn integer(&self, limits: [u64; 2], unit: &str) -> Result<u64, Vec<Fault>> {
        let number = self.whole(limits.map(i128::from), unit)?;
        Ok(u64::try_from(number).unwrap_or(limits[0]))
    }

    fn whole(&self, [min, max]: [i128; 2], unit: &str) -> Result<i128, Vec<Fault>> {
        let Some(written) = self.value.as_integer() else {
            return Err(self.expected("a whole number without quotes"));
        };
        let number = i128::from_str_radix(written.as_str(), written.radix()).unwrap_or(i128::MAX);
        if (min..=max).contains(&number) {
            return Ok(number);
        }
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        Err(self.fault(format!("{written} is out of range; it must be from {min} to {max}{unit}")))
    }

    fn number(&self, [min, max]: [f64; 2], unit: &str) -> Result<f64, Vec<Fault>> {
        let written = match (self.value.as_float(), self.value.as_integer()) {
            (Some(float), _) => float.as_str().parse::<f64>().ok(),
            (None, Some(integer)) if integer.radix() == 10 => integer.as_str().parse::<f64>().ok(),
            (None, _) => None,
        };
        let Some(number) = written else { return Err(self.expected("a number without quotes")) };
        if !(min..=max).contains(&number) {
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            return Err(self
                .fault(format!("{number} is out of range; it must be from {min} to {max}{unit}")));
        }
        Ok(number)
    }

    fn size(&self, [min, max]: [u64; 2]) -> Result<u64, Vec<Fault>> {
        let size = if let Some(text) = self.value.as_str() {
            units::parse_size(text).map_err(|text| self.fault(text))?
        } else if self.value.is_integer() {
            self.integer([0, u64::MAX], "bytes")?
        } else {
            return Err(self.expected("a size like \"1MiB\" or a number of bytes"));
        };
        if !(min..=max).contains(&size) {
            return Err(self.fault(format!(
                "{} is out of range; it must be from {} to {}",
                units::format_size(size),
                units::format_size(min),
                units::format_size(max)
            )));
        }
        Ok(size)
    }

    fn duration(&self, [min, max]: [Duration; 2]) -> Result<Duration, Vec<Fault>> {
        let Some(text) = self.value.as_str() else {
            return Err(self.expected("a duration in quotes, like \"5s\""));
        };
        let duration = units::parse_duration(text).map_err(|text| self.fault(text))?;
        if !(min..=max).contains(&duration) {
            return Err(self.fault(format!(
                "{text} is out of range; it must be from {} to {}",
                units::format_duration(min),
                units::format_duration(max)
            )));
        }
        Ok(duration)
    }

    fn text(&self) -> Result<&str, Vec<Fault>> {
        self.value.as_str().ok_or_else(|| self.expected("a text in quotes"))
    }

    fn checked(&self, check: fn(&str) -> Result<(), String>) -> Result<&str, Vec<Fault>> {
        let text = self.text()?;
        check(text).map_err(|text| self.fault(text))?;
        Ok(text)
    }

    fn texts(
        &self,
        check: fn(&str) -> Result<(), String>,
        [min, max]: [usize; 2],
    ) -> Result<Vec<String>, Vec<Fault>> {
        let list = self.list("texts")?;
        if !(min..=max).contains(&list.len()) {
            return Err(self.fault(format!("the list must have {min} to {max} entries")));
        }
        collect(list, |item| item.checked(check).map(str::to_owned))
    }

    fn word(&self, words: &'static [Word]) -> Result<&'static str, Vec<Fault>> {
        let text = self.text()?;
        let known = words.iter().map(|(word, _)| *word);
        known.clone().find(|word| *word == text).ok_or_else(|| {
            self.fault(format!("`{text}` is none of the values; {}", offer(text, known)))
        })
    }

    fn path(&self) -> Result<PathBuf, Vec<Fault>> {
        let path = PathBuf::from(self.text()?);
        if !path.is_absolute() {
            return Err(self.fault(format!(
                "`{}` depends on where the program is started; write an absolute path",
                path.display()
            )));
        }
        Ok(path)
    }

    fn is_off(&self) -> bool {
        self.value.as_str() == Some(OFF)
    }

    fn address(&self) -> Result<SocketAddr, Vec<Fault>> {
        let text = self.text()?;
        text.parse().map_err(|_| {
            self.fault(format!(
                "`{text}` is not an address with port; write it like \"127.0.0.1:9090\" or \
                 \"[::1]:9090\""
            ))
        })
    }

    fn list(&self, what: &str) -> Result<Vec<Written<'_>>, Vec<Fault>> {
        let Some(array) = self.value.as_array() else {
            return Err(self.expected(&format!("a list of {what} in brackets")));
        };
        if array.len() > ENTRIES_MAX {
            return Err(self.fault(format!("more than {ENTRIES_MAX} entries")));
        }
        Ok(array.iter().map(|item| Written { value: item.get_ref(), span: item.span() }).collect())
    }

    fn table(&self, what: &str) -> Result<&DeTable<'_>, Vec<Fault>> {
        let Some(table) = self.value.as_table() else {
            return Err(self.expected(&format!("a table: {what}")));
        };
        if table.len() > ENTRIES_MAX {
            return Err(self.fault(format!("more than {ENTRIES_MAX} entries")));
        }
        Ok(table)
    }

    fn word_set(&self, known: &Names) -> Result<BTreeSet<String>, Vec<Fault>> {
        collect(self.list("names")?, |item| {
            let text = item.text()?;
            known_word(text, known).map_err(|text| item.fault(text))?;
            Ok(text.to_owned())
        })
    }

    fn addresses(&self) -> Result<BTreeMap<String, Vec<IpAddr>>, Vec<Fault>> {
        let table = self.table("vehicle = [\"10.0.0.2\"]")?;
        collect(table.iter(), |(name, list)| {
            super::rules::vehicle_name(name.get_ref())
                .map_err(|text| vec![Fault { span: name.span(), text }])?;
            let list = Written { value: list.get_ref(), span: list.span() };
            let addresses: Vec<IpAddr> = collect(list.list("addresses")?, |item| {
                let text = item.text()?;
                text.parse::<IpAddr>().map_err(|_| {
                    item.fault(format!("`{text}` is not an IP address, like \"10.0.0.2\""))
                })
            })?;
            if addresses.is_empty() {
                return Err(list.fault("the list is empty; write at least one address".to_owned()));
            }
            Ok((name.get_ref().to_string(), addresses))
        })
    }

    fn patterns(&self, known: &Names) -> Result<BTreeMap<String, Vec<String>>, Vec<Fault>> {
        let table = self.table("collector = [\"pattern\"]")?;
        collect(table.iter(), |(name, list)| {
            known_word(name.get_ref(), known)
                .map_err(|text| vec![Fault { span: name.span(), text }])?;
            let list = Written { value: list.get_ref(), span: list.span() };
            let patterns = collect(list.list("patterns")?, |item| item.text().map(str::to_owned))?;
            Ok((name.get_ref().to_string(), patterns))
        })
    }
}

/// Converts all items, gathering the faults of all of them.
fn collect<I, T, C: FromIterator<T>>(
    items: impl IntoIterator<Item = I>,
    convert: impl Fn(I) -> Result<T, Vec<Fault>>,
) -> Result<C, Vec<Fault>> {
    let mut faults = Vec::new();
    let converted: Vec<T> = items
        .into_iter()
        .filter_map(|item| convert(item).map_err(|more| faults.extend(more)).ok())
        .collect();
    if faults.is_empty() { Ok(converted.into_iter().collect()) } else { Err(faults) }
}

fn known_word(text: &str, known: &Names) -> Result<(), String> {
    let known = known();
    if known.contains(&text) {
        return Ok(());
    }
    Err(format!("unknown name `{text}`; {}", offer(text, known.iter().copied())))
}

/// The nearest of the known words, or all of them.
fn offer<'a>(text: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(text, known.clone()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => {
            let words: Vec<String> = known.map(|word| format!("`{word}`")).collect();
            format!("write one of {}", words.join(", "))
        }
    }
}

/// A type name of TOML with its article.
fn article(type_name: &str) -> String {
    let vowel = type_name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {type_name}", if vowel { "an" } else { "a" })
}
