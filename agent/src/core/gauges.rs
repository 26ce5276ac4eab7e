//! Chooses from all hardware samples the few values that tell at a glance how a vehicle does.
//!
//! Everything else is in the metrics. A value that was not measured is left out, never shown as zero.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::catalog::hardware;
use crate::core::sample::{Metric, Sample, Store};

/// Gauges of one kind, such as filesystems; a vehicle with more shows the worst of them.
pub const SAME_KIND_MAX: usize = 4;

/// What a value is measured in, which decides how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// 0..=1, written as percent.
    Ratio,
    /// Degrees Celsius.
    Celsius,
    /// Signal strength in dBm.
    Dbm,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// One value for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    /// Fixed word for programs.
    pub id: Cow<'static, str>,
    /// What it is, for people.
    pub label: Cow<'static, str>,
    /// Which one, where there are several: a mount point, a sensor, an interface. Else empty.
    pub subject: String,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// At this value and beyond an operator should look.
    pub warn: Option<f64>,
    /// Beyond means below.
    pub low_is_bad: bool,
}

/// How one kind of gauge is read, shown and judged.
struct Rule {
    id: &'static str,
    label: &'static str,
    from: From,
    unit: Unit,
    warn: Option<f64>,
    low_is_bad: bool,
    /// How many are shown, worst first.
    shown_max: usize,
}

/// Where the value comes from.
enum From {
    /// As measured; several metrics are one kind.
    Plain(&'static [&'static Metric]),
    /// 1 - free / size of the samples with the same first label.
    Used { free: &'static Metric, size: &'static Metric },
}

/// Battery cells and most flash are specified to 85 °C, and boards begin to throttle there.
const HOT_CELSIUS: f64 = 85.0;

/// Below this an 802.11 receiver leaves all but the slowest rates (receiver sensitivity, IEEE 802.11-2020 table 17-18).
const WEAK_DBM: f64 = -82.0;

static RULES: [Rule; 9] = [
    Rule {
        id: "cpu",
        label: "CPU",
        from: From::Plain(&[&hardware::CPU_UTILIZATION]),
        unit: Unit::Ratio,
        warn: Some(0.9),
        low_is_bad: false,
        shown_max: 1,
    },
    Rule {
        id: "memory",
        label: "Memory",
        from: From::Used { free: &hardware::MEMORY_AVAILABLE, size: &hardware::MEMORY_SIZE },
        unit: Unit::Ratio,
        warn: Some(0.9),
        low_is_bad: false,
        shown_max: 1,
    },
    Rule {
        id: "temperature",
        label: "Hottest",
        from: From::Plain(&[
            &hardware::THERMAL_ZONE,
            &hardware::HWMON_TEMPERATURE,
            &hardware::POWER_SUPPLY_TEMPERATURE,
        ]),
        unit: Unit::Celsius,
        warn: Some(HOT_CELSIUS),
        low_is_bad: false,
        shown_max: 1,
    },
    Rule {
        id: "battery",
        label: "Battery",
        from: From::Plain(&[&hardware::BATTERY_CAPACITY]),
        unit: Unit::Ratio,
        warn: Some(0.2),
        low_is_bad: true,
        shown_max: SAME_KIND_MAX,
    },
    Rule {
        id: "disk",
        label: "Disk",
        from: From::Used {
            free: &hardware::FILESYSTEM_AVAILABLE,
            size: &hardware::FILESYSTEM_SIZE,
        },
        unit: Unit::Ratio,
        warn: Some(0.9),
        low_is_bad: false,
        shown_max: SAME_KIND_MAX,
    },
    Rule {
        id: "flash-life",
        label: "Flash life used",
        from: From::Plain(&[&hardware::BLOCK_LIFE_USED]),
        unit: Unit::Ratio,
        warn: Some(0.8),
        low_is_bad: false,
        shown_max: SAME_KIND_MAX,
    },
    Rule {
        id: "wifi",
        label: "Wi-Fi signal",
        from: From::Plain(&[&hardware::WIFI_SIGNAL]),
        unit: Unit::Dbm,
        warn: Some(WEAK_DBM),
        low_is_bad: true,
        shown_max: SAME_KIND_MAX,
    },
    Rule {
        id: "agent-memory",
        label: "Agent memory",
        from: From::Plain(&[&hardware::PROCESS_RESIDENT]),
        unit: Unit::Bytes,
        warn: None,
        low_is_bad: false,
        shown_max: 1,
    },
    Rule {
        id: "uptime",
        label: "Vehicle uptime",
        from: From::Plain(&[&hardware::UPTIME]),
        unit: Unit::Seconds,
        warn: None,
        low_is_bad: false,
        shown_max: 1,
    },
];

/// The gauges of what was measured, in a fixed order of kinds, the worst of a kind first.
#[must_use]
pub fn of(hardware: &Store) -> Vec<Gauge> {
    let families = hardware.families();
    RULES.iter().flat_map(|rule| gauges(rule, &families)).collect()
}

type Families<'a> = BTreeMap<&'static str, Vec<&'a Sample>>;

fn gauges(rule: &Rule, families: &Families<'_>) -> Vec<Gauge> {
    let mut values: Vec<(String, f64)> = match &rule.from {
        From::Plain(metrics) => metrics
            .iter()
            .flat_map(|metric| samples(families, metric))
            .map(|sample| (subject(sample), sample.value))
            .collect(),
        From::Used { free, size } => used(samples(families, free), samples(families, size)),
    };
    values.retain(|(_, value)| value.is_finite());
    values.sort_by(
        |(_, one), (_, other)| {
            if rule.low_is_bad { one.total_cmp(other) } else { other.total_cmp(one) }
        },
    );
    values.truncate(rule.shown_max);
    values
        .into_iter()
        .map(|(subject, value)| Gauge {
            id: Cow::Borrowed(rule.id),
            label: Cow::Borrowed(rule.label),
            subject,
            value,
            unit: rule.unit,
            warn: rule.warn,
            low_is_bad: rule.low_is_bad,
        })
        .collect()
}

fn samples<'a>(families: &'a Families<'_>, metric: &Metric) -> &'a [&'a Sample] {
    families.get(metric.name).map_or(&[], Vec::as_slice)
}

fn used(free: &[&Sample], size: &[&Sample]) -> Vec<(String, f64)> {
    free.iter()
        .filter_map(|free| {
            let size = size.iter().find(|size| size.labels.first() == free.labels.first())?;
            (size.value > 0.0).then(|| (subject(free), 1.0 - free.value / size.value))
        })
        .collect()
}

/// All labels that say something, most telling last as sensors name themselves.
fn subject(sample: &Sample) -> String {
    let labels: Vec<&str> =
        sample.labels.iter().map(AsRef::as_ref).filter(|label| !label.is_empty()).collect();
    labels.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Mono;

    fn shown(samples: Vec<Sample>) -> Vec<(String, String, f64)> {
        let mut store = Store::default();
        store.replace("test", Mono::default(), samples);
        of(&store).into_iter().map(|g| (g.id.into_owned(), g.subject, g.value)).collect()
    }

    fn row(id: &str, subject: &str, value: f64) -> (String, String, f64) {
        (id.to_owned(), subject.to_owned(), value)
    }

    #[test]
    fn what_was_not_measured_is_not_shown() {
        assert!(of(&Store::default()).is_empty());
        let size_alone = vec![Sample::new(&hardware::MEMORY_SIZE, &[], 1e9)];
        assert!(shown(size_alone).is_empty(), "no free memory, no share");
        let empty = vec![
            Sample::new(&hardware::FILESYSTEM_SIZE, &["/proc"], 0.0),
            Sample::new(&hardware::FILESYSTEM_AVAILABLE, &["/proc"], 0.0),
        ];
        assert!(shown(empty).is_empty(), "a filesystem without size has no share");
        assert!(shown(vec![Sample::new(&hardware::CPU_UTILIZATION, &[], f64::NAN)]).is_empty());
    }

    #[test]
    fn shares_are_paired_by_mount_point_and_the_worst_come_first() {
        let mut samples = Vec::new();
        for (mount, size, free) in [("/", 100.0, 75.0), ("/data", 200.0, 20.0)] {
            samples.push(Sample::new(&hardware::FILESYSTEM_AVAILABLE, &[mount], free));
            samples.insert(0, Sample::new(&hardware::FILESYSTEM_SIZE, &[mount], size));
        }
        assert_eq!(shown(samples), [row("disk", "/data", 0.9), row("disk", "/", 0.25)]);
        let signals = [("wlan0", -50.0), ("wlan1", -90.0)]
            .map(|(name, dbm)| Sample::new(&hardware::WIFI_SIGNAL, &[name], dbm));
        assert_eq!(
            shown(signals.into()),
            [row("wifi", "wlan1", -90.0), row("wifi", "wlan0", -50.0)]
        );
    }

    #[test]
    fn the_hottest_of_all_sensors_is_the_temperature() {
        let samples = vec![
            Sample::new(&hardware::THERMAL_ZONE, &["0", "cpu"], 50.0),
            Sample::new(&hardware::HWMON_TEMPERATURE, &["nvme", "temp1", ""], 71.0),
        ];
        assert_eq!(shown(samples), [row("temperature", "nvme temp1", 71.0)]);
    }

    #[test]
    fn many_of_a_kind_are_cut() {
        let names: Vec<String> = (0..20).map(|number| format!("wlan{number}")).collect();
        let samples =
            names.iter().map(|name| Sample::new(&hardware::WIFI_SIGNAL, &[name], -60.0)).collect();
        assert_eq!(shown(samples).len(), SAME_KIND_MAX);
    }
}
