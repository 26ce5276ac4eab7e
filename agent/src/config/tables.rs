//! Tables that may be written several times, such as `[[stream]]`: a definition for each of their keys, as for sections, and
//! the list in [`Config`] that they fill.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::key::{Key, KeyText, Preset};
use super::nearest::nearest;
use super::problem::Fault;

/// Entries that one list may have: more cannot be streams, folders or brokers of one vehicle.
pub(crate) const TABLES_MAX: usize = 20;

/// A table that may be written several times, each time for one `T`.
#[derive(Debug)]
pub(crate) struct Tables<T: 'static> {
    /// Name between the double brackets.
    pub name: &'static str,
    /// One or two sentences on what one of them is for.
    pub doc: &'static str,
    /// Its keys in the order of the reference page.
    pub keys: &'static [Key<T>],
    /// The list that is filled.
    pub list: fn(&Config) -> &Vec<T>,
    /// The same, to fill it.
    pub list_mut: fn(&mut Config) -> &mut Vec<T>,
    /// One with nothing in it, into which the defaults are put.
    pub blank: fn() -> T,
    /// What no two of them may share, and the key it is given by.
    pub identity: (&'static str, fn(&T) -> String),
    /// What cannot work together: the key it is put right at and what to do.
    pub check: fn(&T) -> Option<(&'static str, String)>,
}

/// A list of tables, whatever they hold.
pub(crate) trait TableList: std::fmt::Debug + Sync {
    /// Name between the double brackets; one dot leads into a table.
    fn name(&self) -> &'static str;
    /// What one of them is for.
    fn doc(&self) -> &'static str;
    /// Its keys.
    fn keys(&self) -> Vec<KeyText>;
    /// Takes the written tables into the configuration; returns what is wrong with them.
    fn put(&self, config: &mut Config, name: Range<usize>, written: &DeValue<'_>) -> Vec<Fault>;
    /// The tables that only one of the configurations has, or that are not the same in both, as `stream log`; the list alone when
    /// they stand in another order.
    fn changes(&self, old: &Config, new: &Config) -> Vec<String>;
}

impl<T: Clone + PartialEq + std::fmt::Debug> TableList for Tables<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn keys(&self) -> Vec<KeyText> {
        self.keys.iter().map(Key::text).collect()
    }

    fn put(&self, config: &mut Config, name: Range<usize>, written: &DeValue<'_>) -> Vec<Fault> {
        let Some(tables) = written.as_array() else {
            let text = format!("`{0}` may be written several times; write `[[{0}]]`", self.name);
            return vec![Fault { span: name, text }];
        };
        if tables.len() > TABLES_MAX {
            let text = format!("there can be at most {TABLES_MAX} of `[[{}]]`", self.name);
            return vec![Fault { span: name, text }];
        }
        let mut faults = Vec::new();
        let mut seen = BTreeSet::new();
        let mut items = Vec::new();
        for table in tables.iter() {
            match self.read(table) {
                Ok((item, spot)) => {
                    if !seen.insert((self.identity.1)(&item)) {
                        let text = format!(
                            "`{}`: there is another `[[{}]]` with the same one; remove one of them",
                            self.identity.0, self.name
                        );
                        faults.push(Fault { span: spot, text });
                    }
                    items.push(item);
                }
                Err(more) => faults.extend(more),
            }
        }
        *(self.list_mut)(config) = items;
        faults
    }

    fn changes(&self, old: &Config, new: &Config) -> Vec<String> {
        let (old, new) = ((self.list)(old), (self.list)(new));
        let changed: BTreeSet<String> = old
            .iter()
            .filter(|item| !new.contains(item))
            .chain(new.iter().filter(|item| !old.contains(item)))
            .map(|item| format!("{} {}", self.name, (self.identity.1)(item)))
            .collect();
        match changed.is_empty() && old != new {
            true => vec![self.name.to_owned()],
            false => changed.into_iter().collect(),
        }
    }
}

impl<T: Clone> Tables<T> {
    /// What holds for one of them when nothing is given.
    pub(crate) fn defaults(&self) -> T {
        let mut item = (self.blank)();
        for key in self.keys {
            let Preset::Is(literal) = key.preset else { continue };
            let value = DeValue::parse(literal).expect("defaults are TOML, a test reads each");
            key.field.put(&mut item, &value).expect("defaults keep their limits, a test puts each");
        }
        item
    }

    /// One of them and where its identity stands.
    fn read(&self, written: &Spanned<DeValue<'_>>) -> Result<(T, Range<usize>), Vec<Fault>> {
        let Some(table) = written.get_ref().as_table() else {
            let text = format!("this is no table; write `[[{}]]` and its keys below", self.name);
            return Err(vec![Fault { span: written.span(), text }]);
        };
        let mut item = self.defaults();
        let mut faults = Vec::new();
        for (name, value) in table {
            let Some(key) = self.keys.iter().find(|key| key.name == name.get_ref()) else {
                faults.push(self.unknown(name.get_ref(), name.span()));
                continue;
            };
            if let Err(more) = key.field.put(&mut item, value) {
                faults.extend(more.into_iter().map(|fault| Fault {
                    text: format!("`{}`: {}", key.name, fault.text),
                    ..fault
                }));
            }
        }
        for key in self.keys {
            let missing = matches!(key.preset, Preset::Required) && !table.contains_key(key.name);
            if missing {
                let text = format!(
                    "`[[{}]]` needs `{1}`, such as {1} = {2}",
                    self.name, key.name, key.example
                );
                faults.push(Fault { span: written.span(), text });
            }
        }
        let spot = place(table, self.identity.0).unwrap_or_else(|| written.span());
        if !faults.is_empty() {
            return Err(faults);
        }
        match (self.check)(&item) {
            None => Ok((item, spot)),
            Some((key, text)) => Err(vec![Fault {
                span: place(table, key).unwrap_or_else(|| written.span()),
                text: format!("`{key}`: {text}"),
            }]),
        }
    }

    fn unknown(&self, name: &str, span: Range<usize>) -> Fault {
        let advice = match nearest(name, self.keys.iter().map(|key| key.name)) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "`outrider config doc` lists all keys".to_owned(),
        };
        let text =
            format!("unknown key `{}` in `[[{}]]`; {advice}", name.escape_debug(), self.name);
        Fault { span, text }
    }
}

fn place(table: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, _)| name.span())
}
