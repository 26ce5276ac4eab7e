//! Writes everything the agent knows as Prometheus text 0.0.4 or OpenMetrics 1.0.
//!
//! Pure: [`render`] reads the state and returns text; it triggers no measurement. No timestamps: a value is as old as the
//! `..._age_seconds` series beside it say, and a scraper's own clock is the only one it trusts. What is unknown is left
//! out; nothing is written as NaN, because consumers turn NaN into 0, the best cost there is.
//!
//! Order: mesh and agent in catalog order, then hardware by metric name, so that two renderings of one state are equal.
//! Formats: <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::core::catalog;
use crate::core::sample::{Kind, Metric};
use crate::core::state::State;

/// Text format of the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4, which everything reads.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// Value of the `Content-Type` header.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format an `Accept` header prefers (RFC 9110 section 12.5.1). Prometheus text unless OpenMetrics is named in a
    /// version we write and with at least the weight of plain text; wildcards say nothing about OpenMetrics.
    #[must_use]
    pub fn negotiate(accept: &str) -> Format {
        let mut open_metrics = 0;
        let mut plain = 0;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or("");
            let mut weight = 1000;
            let mut version_fits = true;
            for parameter in parts {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                let value = value.trim().trim_matches('"');
                if name.trim().eq_ignore_ascii_case("q") {
                    weight = weight_permille(value);
                } else if name.trim().eq_ignore_ascii_case("version") {
                    version_fits = value == "1.0.0";
                }
            }
            if media.eq_ignore_ascii_case("application/openmetrics-text") && version_fits {
                open_metrics = open_metrics.max(weight);
            } else if media.eq_ignore_ascii_case("text/plain") {
                plain = plain.max(weight);
            }
        }
        if open_metrics > 0 && open_metrics >= plain {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        }
    }
}

/// `0.75` as 750; a weight that is none counts as 0, which only loses us the preference.
fn weight_permille(text: &str) -> u32 {
    match text.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u32,
        Ok(_) | Err(_) => 0,
    }
}

/// Bytes reserved at once. A 100-vehicle view takes half of it; it is this much because musl's allocator
/// gives what is larger than 128 KiB back to the kernel once it is free, so that a scrape leaves nothing behind.
const TEXT_BYTES_EXPECTED: usize = 132 * 1024;

/// All metrics as text.
#[must_use]
pub fn render(state: &State, format: Format) -> String {
    let mut page = Page::new(format);
    catalog::mesh::visit(state, &mut |metric, labels, value| page.sample(metric, labels, value));
    catalog::agent::visit(state, &mut |metric, labels, value| page.sample(metric, labels, value));
    catalog::membership::visit_nodes(state, &mut |metric, labels, value| {
        page.sample(metric, labels, value);
    });
    hardware(state, &mut page);
    page.finish()
}

/// Hardware samples family by family. A device that two collectors or two rows report is written once.
fn hardware(state: &State, page: &mut Page) {
    let mut labels: Vec<&str> = Vec::new();
    for samples in state.hardware.families().values() {
        let mut seen = BTreeSet::new();
        for sample in samples {
            if !seen.insert(&sample.labels) {
                continue;
            }
            labels.clear();
            labels.extend(sample.labels.iter().map(AsRef::as_ref));
            page.sample(sample.metric, &labels, sample.value);
        }
    }
}

/// Base units that may end a name (Prometheus naming practice), for the `# UNIT` line.
const UNITS: [&str; 13] = [
    "seconds", "bytes", "ratio", "celsius", "volts", "amperes", "watts", "joules", "hertz", "bits",
    "meters", "rpm", "decibels",
];

/// A text that is being written.
pub(in crate::core) struct Page {
    /// What stands in it.
    pub(in crate::core) text: String,
    format: Format,
    family: Option<&'static Metric>,
    /// How each sample of the family that is being written begins: the name, up to the first label's value.
    begin: String,
}

impl Page {
    pub(in crate::core) fn new(format: Format) -> Page {
        let text = String::with_capacity(TEXT_BYTES_EXPECTED);
        Page { text, format, family: None, begin: String::new() }
    }

    /// The whole text.
    pub(in crate::core) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// Writes one value; those of one metric have to follow each other.
    pub(in crate::core) fn sample(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        if !value.is_finite() {
            return;
        }
        if !self.family.is_some_and(|family| std::ptr::eq(family, metric)) {
            self.family = Some(metric);
            self.head(metric);
        }
        self.text.push_str(&self.begin);
        for (index, value) in labels.iter().enumerate() {
            if index > 0 {
                for piece in ["\",", metric.labels[index], "=\""] {
                    self.text.push_str(piece);
                }
            }
            escape(&mut self.text, value, true);
        }
        self.text.push_str(if labels.is_empty() { " " } else { "\"} " });
        number(&mut self.text, value);
        self.text.push('\n');
    }

    fn head(&mut self, metric: &'static Metric) {
        let (family, suffix, kind) = naming(metric, self.format);
        self.begin.clear();
        self.begin.push_str(family);
        self.begin.push_str(suffix);
        if let Some(first) = metric.labels.first() {
            for piece in ["{", first, "=\""] {
                self.begin.push_str(piece);
            }
        }
        let text = &mut self.text;
        for piece in ["# HELP ", family, " "] {
            text.push_str(piece);
        }
        escape(text, metric.help, self.format == Format::OpenMetrics);
        for piece in ["\n# TYPE ", family, " ", kind, "\n"] {
            text.push_str(piece);
        }
        if self.format == Format::OpenMetrics
            && let Some(unit) = unit(family)
        {
            for piece in ["# UNIT ", family, " ", unit, "\n"] {
                text.push_str(piece);
            }
        }
    }
}

/// Family name, suffix of its samples, and type word. OpenMetrics names the family without `_total` and `_info` and then
/// demands them on the samples; the older format knows no such difference and no info type.
fn naming(metric: &Metric, format: Format) -> (&'static str, &'static str, &'static str) {
    match (format, metric.kind) {
        (_, Kind::Gauge) => (metric.name, "", "gauge"),
        (Format::Prometheus, Kind::Counter) => (metric.name, "", "counter"),
        (Format::Prometheus, Kind::Info) => (metric.name, "", "gauge"),
        (Format::OpenMetrics, Kind::Counter) => {
            (metric.name.trim_end_matches("_total"), "_total", "counter")
        }
        (Format::OpenMetrics, Kind::Info) => {
            (metric.name.trim_end_matches("_info"), "_info", "info")
        }
    }
}

pub(in crate::core) fn unit(family: &str) -> Option<&'static str> {
    let (_, last) = family.rsplit_once('_')?;
    UNITS.into_iter().find(|unit| *unit == last)
}

/// Backslash and line feed escaped, and the quotation mark where the format wants it: always in label values, in help
/// texts only for OpenMetrics. Other control characters pass: both formats are UTF-8 and ask for no more.
pub(in crate::core) fn escape(text: &mut String, raw: &str, quotation_mark: bool) {
    let special = |byte: u8| byte == b'\\' || byte == b'\n' || (byte == b'"' && quotation_mark);
    if !raw.bytes().any(special) {
        text.push_str(raw);
        return;
    }
    for character in raw.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotation_mark => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

/// Whole numbers below this are exact in a 64-bit float and have at most 15 digits.
const WHOLE_MAX: f64 = 1e15;

/// Whole numbers, which is most of them, digit by digit: a tenth of the work of the general way. Anything else in the
/// shortest form that reads back as the same number.
pub(in crate::core) fn number(text: &mut String, value: f64) {
    if value.fract() != 0.0 || value.abs() >= WHOLE_MAX {
        write!(text, "{value}").expect("writing to a string cannot fail");
        return;
    }
    if value < 0.0 {
        text.push('-');
    }
    let mut left = value.abs() as u64;
    let mut digits = [0; 15];
    let mut first = digits.len();
    loop {
        first -= 1;
        // A remainder by ten is one digit.
        digits[first] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&digits[first..]).expect("digits are ASCII"));
}
