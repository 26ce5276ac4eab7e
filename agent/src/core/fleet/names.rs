//! Names of series, kept once however many vehicles have them, and the dictionaries that number them. What could not stand
//! in a metrics text is no name here: numbering goes on, its values are left out and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::exposition::escape;
use crate::core::telemetry::dictionary::SeriesKind;
use crate::core::telemetry::{Dictionary, Series, Version};

/// Memory for all names, the overhead of each included. A vehicle of the standard profile has 110 names of about 60
/// bytes, nearly all of which every other vehicle has as well.
pub const NAMES_BYTES_MAX: usize = 32 << 20;

/// Memory of one name beside its text.
const NAME_OVERHEAD_BYTES: usize = 96;

/// Longest name of a metric in bytes; ours have up to 50.
const METRIC_BYTES_MAX: usize = 128;

/// Longest label set of one series in bytes, as text.
const LABELS_BYTES_MAX: usize = 1024;

/// Metrics that the fleet says itself; a vehicle may not speak for it.
const OWN_METRICS: &str = "outrider_fleet_";

/// The label that the fleet adds.
pub const VEHICLE_LABEL: &str = "vehicle";

/// One series, without its vehicle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name {
    /// Name of the metric, a valid one.
    pub metric: Box<str>,
    /// Labels in order of name as in a metrics text, `node="bravo",via="radio0"`; empty without any.
    pub labels: Box<str>,
    /// It only grows.
    pub counter: bool,
    /// Values are integers times ten to this power.
    pub resolution: i8,
}

impl Name {
    /// The name of a series; `None` for one that cannot stand in a metrics text, or not for a vehicle.
    fn new(series: &Series) -> Option<Name> {
        let metric_fits = series.name.len() <= METRIC_BYTES_MAX
            && is_name(&series.name, true)
            && !series.name.starts_with(OWN_METRICS);
        if !metric_fits {
            return None;
        }
        let mut labels = String::new();
        for (label, value) in series.labels.iter() {
            if !is_name(label, false) || label.starts_with("__") {
                return None;
            }
            if !labels.is_empty() {
                labels.push(',');
            }
            // As Prometheus does with a label that it sets itself.
            if label == VEHICLE_LABEL {
                labels.push_str("exported_");
            }
            labels.push_str(label);
            labels.push_str("=\"");
            escape(&mut labels, value, true);
            labels.push('"');
            if labels.len() > LABELS_BYTES_MAX {
                return None;
            }
        }
        // Two labels of one name make a text invalid as a whole.
        let has = |label| series.labels.get(label).is_some();
        if has(VEHICLE_LABEL) && has("exported_vehicle") {
            return None;
        }
        Some(Name {
            metric: series.name.as_str().into(),
            labels: labels.into(),
            counter: series.kind == SeriesKind::Counter,
            resolution: series.resolution,
        })
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<String> {
        let series = parse_series(&format!("x{{{}}}", self.labels))?;
        series.labels.get(name).map(str::to_owned)
    }

    fn bytes(&self) -> usize {
        self.metric.len() + self.labels.len() + NAME_OVERHEAD_BYTES
    }
}

impl fmt::Display for Name {
    /// `name{label="value"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        if self.labels.is_empty() {
            return Ok(());
        }
        write!(f, "{{{}}}", self.labels)
    }
}

/// Whether `text` is a name of a metric or a label in the Prometheus data model.
fn is_name(text: &str, colon: bool) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (colon && byte == b':');
    text.bytes().next().is_some_and(letter)
        && text.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}

/// Reads the text form of a series, as JSON telemetry names it. Its kind is told by its ending.
#[must_use]
pub fn parse_series(text: &str) -> Option<Series> {
    let (name, mut rest) = match text.split_once('{') {
        None => (text, ""),
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
    };
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        if labels.insert(label.to_owned(), value).is_some() {
            return None;
        }
        rest = &after[end + 1..];
        rest = match rest.strip_prefix(',') {
            Some(more) if !more.is_empty() => more,
            Some(_) => return None,
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    let kind = if name.ends_with("_total") { SeriesKind::Counter } else { SeriesKind::Gauge };
    Some(Series { name: name.to_owned(), labels: labels.into(), kind, resolution: 0 })
}

/// All names that are in use.
#[derive(Debug, Default)]
pub struct Names {
    names: BTreeSet<Arc<Name>>,
    bytes: usize,
    refused: u64,
}

impl Names {
    /// The one copy of a name; `None` for one that cannot be used, or when there is no room.
    pub fn get(&mut self, series: &Series) -> Option<Arc<Name>> {
        let name = Name::new(series).and_then(|name| self.share(name));
        self.refused += u64::from(name.is_none());
        name
    }

    /// The one copy of a name.
    pub(super) fn share(&mut self, name: Name) -> Option<Arc<Name>> {
        if let Some(known) = self.names.get(&name) {
            return Some(Arc::clone(known));
        }
        if self.bytes + name.bytes() > NAMES_BYTES_MAX {
            return None;
        }
        self.bytes += name.bytes();
        let name = Arc::new(name);
        self.names.insert(Arc::clone(&name));
        Some(name)
    }

    /// Forgets what nobody uses when little room is left. Once for each message: looking for it costs as much as the memory.
    pub fn make_room(&mut self) {
        if self.bytes > NAMES_BYTES_MAX / 4 * 3 {
            self.sweep();
        }
    }

    /// Forgets what nobody uses.
    pub fn sweep(&mut self) {
        self.names.retain(|name| Arc::strong_count(name) > 1);
        self.bytes = self.names.iter().map(|name| name.bytes()).sum();
    }

    /// Bytes that all names take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Series of births and documents that have no name here.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

/// What numbers stand for, as one birth document said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbering {
    /// By number; `None` for what cannot be used.
    names: Vec<Option<Arc<Name>>>,
    /// Hash of each version from one series on.
    hashes: Vec<u32>,
}

impl Numbering {
    /// Takes over a dictionary.
    pub fn new(dictionary: &Dictionary, names: &mut Names) -> Numbering {
        names.make_room();
        let entries = dictionary.entries();
        Numbering {
            names: entries.iter().map(|series| names.get(series)).collect(),
            hashes: dictionary.hashes().to_vec(),
        }
    }

    pub(super) fn from_parts(names: Vec<Option<Arc<Name>>>, hashes: Vec<u32>) -> Numbering {
        Numbering { names, hashes }
    }

    pub(super) fn parts(&self) -> (&[Option<Arc<Name>>], &[u32]) {
        (&self.names, &self.hashes)
    }

    /// The series with this number.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<&Arc<Name>> {
        self.names.get(usize::try_from(number).ok()?)?.as_ref()
    }

    /// Whether numbers of `version` mean the same here.
    #[must_use]
    pub fn contains(&self, version: Version) -> bool {
        version.is_among(&self.hashes)
    }

    /// Its whole version.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::last_of(&self.hashes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(name: &str, labels: &[(&str, &str)]) -> Series {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let (name, labels) = (name.to_owned(), labels.into());
        Series { name, labels, kind: SeriesKind::Gauge, resolution: 0 }
    }

    #[test]
    fn a_name_is_kept_once() {
        let mut names = Names::default();
        let first = names.get(&series("load1", &[])).unwrap();
        let again = names.get(&series("load1", &[])).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        drop((first, again));
        names.sweep();
        assert_eq!((names.names.len(), names.bytes()), (0, 0));
    }

    #[test]
    fn what_could_not_stand_in_a_metrics_text_has_no_name() {
        let mut names = Names::default();
        let long = "x".repeat(LABELS_BYTES_MAX);
        for wrong in [
            series("", &[]),
            series("1abc", &[]),
            series("a b", &[]),
            series("a\n# EOF", &[]),
            series("outrider_fleet_vehicles", &[]),
            series("a", &[("__name__", "b")]),
            series("a", &[("b c", "d")]),
            series("a", &[("b", &long)]),
            series("a", &[("vehicle", "b"), ("exported_vehicle", "c")]),
        ] {
            assert_eq!(names.get(&wrong), None, "{wrong}");
        }
        let renamed = names.get(&series("a", &[("vehicle", "x\"\\\n")])).unwrap();
        assert_eq!(&*renamed.labels, r#"exported_vehicle="x\"\\\n""#);
        assert_eq!(renamed.label("exported_vehicle").as_deref(), Some("x\"\\\n"));
    }

    #[test]
    fn memory_for_names_is_bounded() {
        let mut names = Names::default();
        let value = "v".repeat(1000);
        let mut held = Vec::new();
        for number in 0..2 * NAMES_BYTES_MAX / 1000 {
            held.extend(names.get(&series(&format!("m{number}"), &[("l", &value)])));
        }
        assert!(names.bytes() <= NAMES_BYTES_MAX && names.refused() > 0);
        held.clear();
        names.make_room();
        assert!(names.get(&series("fresh", &[])).is_some(), "what nobody uses makes room");
    }

    #[test]
    fn odd_texts_are_no_series() {
        for text in
            ["a{", "a{b}", "a{b=\"c}", "a{b=\"c\",}", "a{b=\"c\"d=\"e\"}", "a{b=\"c\",b=\"d\"}"]
        {
            assert_eq!(parse_series(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_text_of_a_series_reads_back(
            labels in prop::collection::btree_map("[a-z]{1,5}", any::<String>(), 0..4),
        ) {
            let kind = SeriesKind::Counter;
            let (name, labels) = ("a_total".to_owned(), labels.into());
            let series = Series { name, labels, kind, resolution: 0 };
            prop_assert_eq!(parse_series(&series.to_string()), Some(series));
        }

        #[test]
        fn no_text_can_hurt(text in any::<String>(), inside in "[a-z=\",\\\\{}]{0,20}") {
            let mut names = Names::default();
            for text in [text, format!("a{{{inside}}}")] {
                if let Some(series) = parse_series(&text) {
                    let _ = names.get(&series);
                }
            }
        }
    }
}
