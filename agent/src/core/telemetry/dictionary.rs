//! Which number stands for which series. Numbers are given in the order of first appearance and never change within one
//! dictionary; what cannot be numbered any more is counted, and a full dictionary is begun anew with what is still alive.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::core::sample::{Kind, Metric};

/// Series in one dictionary. A vehicle of the standard profile has about 100 and four for each other vehicle; this is
/// 1,000 nodes with two each, and bounds a receiver's memory as well as ours.
pub const SERIES_MAX: usize = 2048;

/// Version of a dictionary: how many series it has and a hash over them. Series are only ever added, so a dictionary whose
/// first `series` entries have this hash contains this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Number of series.
    pub series: u32,
    /// FNV-1a over the series' text forms and resolutions.
    pub hash: u32,
}

impl Version {
    /// The version of a whole dictionary, by the hashes of its versions from one series on.
    pub(in crate::core) fn last_of(hashes: &[u32]) -> Version {
        let series = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        Version { series, hash: hashes.last().copied().unwrap_or(HASH_START) }
    }

    /// Whether a dictionary with these hashes contains it.
    pub(in crate::core) fn is_among(self, hashes: &[u32]) -> bool {
        let Ok(length) = usize::try_from(self.series) else { return false };
        match length.checked_sub(1) {
            None => self.hash == HASH_START,
            Some(last) => hashes.get(last) == Some(&self.hash),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.series, self.hash)
    }
}

/// What a receiver has to know about one series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Name of the metric.
    pub name: String,
    /// Label names and values.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Prometheus type.
    pub kind: SeriesKind,
    /// Decimal exponent of the resolution: values are integers times ten to this power.
    pub resolution: i8,
}

/// Label names and values of a series, each name once, in their order. Nearly every series has one or none, for which a
/// `BTreeMap` would take 544 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct Labels(Box<[(String, String)]>);

impl Labels {
    /// Whether the series has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Labels {
        Labels(labels.into_iter().collect())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Prometheus type of a series; facts that are told by labels are not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeriesKind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, except when its source restarts.
    Counter,
}

impl fmt::Display for Series {
    /// The Prometheus text form: `name{label="value"}` with labels in order of name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let mut separator = '{';
        for (name, value) in self.labels.iter() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(f, "{separator}{name}=\"{value}\"")?;
            separator = ',';
        }
        if separator == ',' {
            f.write_str("}")?;
        }
        Ok(())
    }
}

/// Numbers series from 0.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    entries: Vec<Series>,
    /// Hash over the first entries, for each length from 1.
    hashes: Vec<u32>,
    /// Metric name and label values, see [`write_key`], to number.
    numbers: BTreeMap<Box<str>, u32>,
    /// Buffer for the key of a lookup, so that the steady state allocates nothing.
    key: String,
    overflow: u64,
}

impl Dictionary {
    /// The number of a series, given to it now if it has none. `None` when it can get none: the dictionary is full, or
    /// the metric is no number.
    pub fn number(&mut self, metric: &Metric, labels: &[&str]) -> Option<u32> {
        let mut key = std::mem::take(&mut self.key);
        write_key(&mut key, metric.name, labels);
        let known = self.numbers.get(key.as_str()).copied();
        let number = known.or_else(|| self.append(&key, series(metric, labels)?));
        self.key = key;
        number
    }

    /// A series by its number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Series> {
        self.entries.get(usize::try_from(number).ok()?)
    }

    /// All series in order of their numbers.
    #[must_use]
    pub fn entries(&self) -> &[Series] {
        &self.entries
    }

    /// What is in it now.
    #[must_use]
    pub fn version(&self) -> Version {
        Version::last_of(&self.hashes)
    }

    /// Whether numbers of `version` mean the same here.
    #[must_use]
    pub fn contains(&self, version: Version) -> bool {
        version.is_among(&self.hashes)
    }

    /// Hash of each version it went through: that of its first series, of its first two, and so on.
    pub(in crate::core) fn hashes(&self) -> &[u32] {
        &self.hashes
    }

    /// Whether it has no room for another series.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= SERIES_MAX
    }

    /// Values that had no number because the dictionary was full.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// Begins anew with only the series of these numbers, renumbered in their order.
    pub(super) fn retain(&mut self, keep: impl Iterator<Item = u32>) {
        let numbers = std::mem::take(&mut self.numbers);
        let mut keys: BTreeMap<u32, Box<str>> =
            numbers.into_iter().map(|(key, number)| (number, key)).collect();
        let entries = std::mem::take(&mut self.entries);
        self.hashes.clear();
        for number in keep {
            let series = usize::try_from(number).ok().and_then(|index| entries.get(index));
            if let (Some(series), Some(key)) = (series, keys.remove(&number)) {
                self.append(&key, series.clone());
            }
        }
    }

    /// Takes over the entries of a birth document.
    ///
    /// # Errors
    /// When there are more than [`SERIES_MAX`].
    pub fn from_entries(entries: Vec<Series>) -> Result<Dictionary, TooManySeries> {
        if entries.len() > SERIES_MAX {
            return Err(TooManySeries { series: entries.len() });
        }
        let mut dictionary = Dictionary::default();
        for series in entries {
            dictionary.push(series);
        }
        Ok(dictionary)
    }

    fn append(&mut self, key: &str, series: Series) -> Option<u32> {
        if self.is_full() {
            self.overflow += 1;
            return None;
        }
        let number = u32::try_from(self.entries.len()).ok()?;
        self.push(series);
        self.numbers.insert(Box::from(key), number);
        Some(number)
    }

    fn push(&mut self, series: Series) {
        let before = self.hashes.last().copied().unwrap_or(HASH_START);
        self.hashes.push(hash(before, &series));
        self.entries.push(series);
    }
}

/// More series than a dictionary may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySeries {
    /// How many there were.
    pub series: usize,
}

impl fmt::Display for TooManySeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dictionary of {} series is larger than the limit of {SERIES_MAX}", self.series)
    }
}

impl std::error::Error for TooManySeries {}

/// Offset basis and prime of 32-bit FNV-1a (RFC 9923 section 5).
const HASH_START: u32 = 0x811c_9dc5;
const HASH_PRIME: u32 = 0x0100_0193;

fn hash(before: u32, series: &Series) -> u32 {
    let kind = match series.kind {
        SeriesKind::Gauge => "gauge",
        SeriesKind::Counter => "counter",
    };
    let text = format!("{series} {kind} {}\n", series.resolution);
    text.bytes().fold(before, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(HASH_PRIME))
}

fn series(metric: &Metric, labels: &[&str]) -> Option<Series> {
    let kind = match metric.kind {
        Kind::Gauge => SeriesKind::Gauge,
        Kind::Counter => SeriesKind::Counter,
        Kind::Info => return None,
    };
    let names = metric.labels.iter().map(|name| (*name).to_owned());
    let labels: BTreeMap<String, String> =
        names.zip(labels.iter().map(|value| (*value).to_owned())).collect();
    let (name, labels) = (metric.name.to_owned(), labels.into());
    Some(Series { name, labels, kind, resolution: metric.resolution })
}

/// Name and label values, each ended by NUL. A NUL inside a label, which no kernel interface and no host name has, is left
/// out, so that it cannot make one series look like another.
fn write_key(key: &mut String, name: &str, labels: &[&str]) {
    key.clear();
    for part in std::iter::once(&name).chain(labels) {
        key.extend(part.chars().filter(|character| *character != '\0'));
        key.push('\0');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LOAD: Metric = Metric::gauge("load1", "Load.", &[]).in_telemetry(-2);
    static BYTES: Metric = Metric::counter("bytes_total", "Bytes.", &["interface"]).in_telemetry(3);
    static BUILD: Metric = Metric::info("build_info", "Build.", &["version"]);

    fn filled() -> Dictionary {
        let mut dictionary = Dictionary::default();
        assert_eq!(dictionary.number(&BYTES, &["mesh0"]), Some(0));
        assert_eq!(dictionary.number(&LOAD, &[]), Some(1));
        assert_eq!(dictionary.number(&BYTES, &["eth\"0\""]), Some(2));
        dictionary
    }

    #[test]
    fn numbers_are_given_once() {
        let mut dictionary = filled();
        assert_eq!(dictionary.number(&LOAD, &[]), Some(1));
        assert_eq!(dictionary.number(&BUILD, &["1"]), None, "a fact is no number");
        let texts: Vec<String> = dictionary.entries().iter().map(Series::to_string).collect();
        let expected = [
            "bytes_total{interface=\"mesh0\"}",
            "load1",
            "bytes_total{interface=\"eth\\\"0\\\"\"}",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_version_names_a_beginning_of_the_dictionary() {
        let mut dictionary = filled();
        let before = dictionary.version();
        dictionary.number(&BYTES, &["can0"]);
        assert!(dictionary.contains(before) && dictionary.contains(dictionary.version()));
        assert!(dictionary.contains(Dictionary::default().version()));
        assert!(!Dictionary::default().contains(before));
        let mut other = Dictionary::default();
        other.number(&LOAD, &[]);
        other.number(&BYTES, &["mesh0"]);
        other.number(&BYTES, &["eth\"0\""]);
        assert!(!other.contains(before), "same length, other order");
        // The hash is part of the format: another agent version must find the same.
        assert_eq!(before.to_string(), "3-e8cca366");
    }

    #[test]
    fn a_full_dictionary_counts_what_it_refuses_and_can_begin_anew() {
        let mut dictionary = filled();
        for index in 3..SERIES_MAX {
            let interface = format!("veth{index}");
            assert_eq!(dictionary.number(&BYTES, &[&interface]), u32::try_from(index).ok());
        }
        assert_eq!(dictionary.number(&BYTES, &["one-too-many"]), None);
        assert_eq!(dictionary.overflow(), 1);
        dictionary.retain([1, 5].into_iter());
        assert_eq!(dictionary.number(&LOAD, &[]), Some(0));
        assert_eq!(dictionary.number(&BYTES, &["veth5"]), Some(1));
        assert_eq!(dictionary.number(&BYTES, &["one-too-many"]), Some(2));
    }

    #[test]
    fn the_receiver_builds_the_same_dictionary() {
        let sent = filled();
        let received = Dictionary::from_entries(sent.entries().to_vec()).unwrap();
        assert_eq!(received.version(), sent.version());
        let too_many = vec![sent.entries()[0].clone(); SERIES_MAX + 1];
        assert!(Dictionary::from_entries(too_many).is_err());
    }
}
