//! Metrics, samples and the store of latest values.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::core::time::Mono;

/// Prometheus type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, except when its source restarts.
    Counter,
    /// Always 1; its labels are the information.
    Info,
}

/// What one metric is. All metrics are listed in [`crate::core::catalog`].
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Full Prometheus name, in base units, counters ending in `_total`.
    pub name: &'static str,
    /// One line for people: meaning, unit, source.
    pub help: &'static str,
    /// Type.
    pub kind: Kind,
    /// Label names, in order. Values are bounded in number by what produces them.
    pub labels: &'static [&'static str],
    /// Decimal exponent of the resolution at which telemetry keeps the value: -2 keeps 0.01, 0 keeps 1, 3 keeps 1000.
    pub resolution: i8,
    /// Part of the telemetry that leaves over MQTT by default.
    pub telemetry: bool,
}

impl Metric {
    /// A gauge kept to whole units and not sent as telemetry.
    #[must_use]
    pub const fn gauge(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Metric {
        Metric { name, help, kind: Kind::Gauge, labels, resolution: 0, telemetry: false }
    }

    /// A counter kept to whole units and not sent as telemetry.
    #[must_use]
    pub const fn counter(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Metric {
        Metric { name, help, kind: Kind::Counter, labels, resolution: 0, telemetry: false }
    }

    /// A fact told by labels, not sent as telemetry.
    #[must_use]
    pub const fn info(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Metric {
        Metric { name, help, kind: Kind::Info, labels, resolution: 0, telemetry: false }
    }

    /// The same metric, sent as telemetry at a resolution of ten to the power of `resolution`.
    #[must_use]
    pub const fn in_telemetry(mut self, resolution: i8) -> Metric {
        self.resolution = resolution;
        self.telemetry = true;
        self
    }
}

/// Values of a metric's labels, in the order of [`Metric::labels`].
pub type Labels = Box<[Box<str>]>;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What it measures.
    pub metric: &'static Metric,
    /// Label values, as many as the metric has labels.
    pub labels: Labels,
    /// The value, in the metric's base unit.
    pub value: f64,
}

impl Sample {
    /// A sample; label values in the order of the metric's label names.
    #[must_use]
    pub fn new(metric: &'static Metric, labels: &[&str], value: f64) -> Sample {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        Sample { metric, labels: labels.iter().map(|label| Box::from(*label)).collect(), value }
    }
}

/// Latest values of everything one source measured, replaced as a whole so that what disappears is not reported for ever.
#[derive(Debug, Default)]
pub struct Store {
    sources: BTreeMap<&'static str, (Mono, Vec<Sample>)>,
}

impl Store {
    /// Takes over what `source` measured at `at`, forgetting what it measured before.
    pub fn replace(&mut self, source: &'static str, at: Mono, samples: Vec<Sample>) {
        self.sources.insert(source, (at, samples));
    }

    /// Forgets what `source` measured, for a source that has been silent for too long.
    pub fn forget(&mut self, source: &'static str) {
        self.sources.remove(source);
    }

    /// All samples with the moment they were measured, source by source.
    pub fn iter(&self) -> impl Iterator<Item = (Mono, &Sample)> {
        self.sources.values().flat_map(|(at, samples)| samples.iter().map(move |s| (*at, s)))
    }

    /// All samples of one source.
    pub fn source(&self, source: &str) -> &[Sample] {
        self.sources.get(source).map_or(&[], |(_, samples)| samples)
    }

    /// Samples grouped by metric name, for the exposition formats.
    #[must_use]
    pub fn families(&self) -> BTreeMap<&'static str, Vec<&Sample>> {
        let mut families: BTreeMap<&'static str, Vec<&Sample>> = BTreeMap::new();
        for (_, sample) in self.iter() {
            families.entry(sample.metric.name).or_default().push(sample);
        }
        families
    }
}

impl fmt::Display for Sample {
    /// As a line of the Prometheus text format without timestamp: `name{label="value"} 1.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric.name)?;
        for (at, (name, value)) in self.metric.labels.iter().zip(&self.labels).enumerate() {
            write!(f, "{}{name}=\"", if at == 0 { '{' } else { ',' })?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => f.write_char(c)?,
                }
            }
            f.write_char('"')?;
        }
        if !self.metric.labels.is_empty() {
            f.write_char('}')?;
        }
        write!(f, " {}", self.value)
    }
}
