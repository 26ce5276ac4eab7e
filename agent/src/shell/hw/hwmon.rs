//! Sensors of /sys/class/hwmon (Documentation/hwmon/sysfs-interface.rst): temperatures (m°C), fans (rotations per
//! minute), voltages (mV), currents (mA), power (µW), humidity (thousandths of a percent) and alarms. `include` and
//! `exclude` match `chip/sensor`, for example `nvme*/*` or `nct6775/in*`.
//!
//! Chips are numbered in the order their drivers came up, which changes from boot to boot; so a chip is called by its
//! name, followed by its device where several have the same name (`jc42-0-0018`). What sensors a chip has and how they
//! are called does not change while it is there: the list is made once and again now and then.

use std::collections::BTreeMap;

use crate::core::catalog::hardware as catalog;
use crate::core::sample::Metric;

use super::Collector;
use super::tree::{Cause, Output, Scale, Tree};

/// Super-I/O chips of x86 boards have about 40 sensors; a machine has one or two of them.
const SENSORS_MAX: usize = 128;
/// Runs between two searches for chips and sensors: at one run a second, something plugged in appears within half a
/// minute.
const RUNS_PER_SEARCH: u32 = 30;

/// What the files of a quantity are called, and what they become.
struct Quantity {
    prefix: &'static str,
    suffix: &'static str,
    metric: &'static Metric,
    scale: Scale,
}

const QUANTITIES: [Quantity; 8] = [
    quantity("temp", "input", &catalog::HWMON_TEMPERATURE, Scale::MILLI),
    quantity("fan", "input", &catalog::HWMON_FAN, Scale::ONE),
    quantity("in", "input", &catalog::HWMON_VOLTAGE, Scale::MILLI),
    quantity("curr", "input", &catalog::HWMON_CURRENT, Scale::MILLI),
    quantity("power", "input", &catalog::HWMON_POWER, Scale::MICRO),
    quantity("power", "average", &catalog::HWMON_POWER, Scale::MICRO),
    quantity("humidity", "input", &catalog::HWMON_HUMIDITY, Scale::Per(100_000.0)),
    // `temp1_crit_alarm` has the suffix `crit_alarm`: see `classify`.
    quantity("", "alarm", &catalog::HWMON_ALARM, Scale::ONE),
];

const fn quantity(
    prefix: &'static str,
    suffix: &'static str,
    metric: &'static Metric,
    scale: Scale,
) -> Quantity {
    Quantity { prefix, suffix, metric, scale }
}

/// One file that is read in each run.
struct Sensor {
    /// `hwmon2/temp1_input`.
    file: String,
    chip: String,
    sensor: String,
    /// `None` for alarms, which have no label.
    label: Option<String>,
    quantity: &'static Quantity,
}

#[derive(Default)]
pub(super) struct Hwmon {
    sensors: Vec<Sensor>,
    runs_until_search: u32,
}

const CLASS: &str = "sys/class/hwmon";

impl Collector for Hwmon {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        if self.runs_until_search == 0 {
            self.sensors = search(tree, output);
            self.runs_until_search = RUNS_PER_SEARCH;
        }
        self.runs_until_search -= 1;
        for sensor in &self.sensors {
            let value = tree.number(format_args!("{CLASS}/{}", sensor.file), output);
            let (metric, scale) = (sensor.quantity.metric, sensor.quantity.scale);
            match &sensor.label {
                Some(label) => {
                    let labels = [sensor.chip.as_str(), &sensor.sensor, label];
                    output.put_scaled(metric, &labels, value, scale);
                }
                None => output.put_scaled(metric, &[&sensor.chip, &sensor.sensor], value, scale),
            }
        }
    }
}

fn search(tree: &mut Tree, output: &mut Output<'_>) -> Vec<Sensor> {
    let mut found = Vec::new();
    for (hwmon, chip) in chips(tree, output) {
        for file in tree.names(format_args!("{CLASS}/{hwmon}"), output) {
            let Some((sensor, quantity)) = classify(&file) else { continue };
            if !output.wants(&format!("{chip}/{sensor}")) {
                continue;
            }
            if found.len() == SENSORS_MAX {
                let what = format_args!("more than {SENSORS_MAX} sensors; choose by `include`");
                output.complain(Cause::Bound, what);
                return found;
            }
            let is_alarm = quantity.suffix == "alarm";
            let label = (!is_alarm).then(|| {
                let label = tree.text(format_args!("{CLASS}/{hwmon}/{sensor}_label"), output);
                label.unwrap_or("").to_owned()
            });
            found.push(Sensor {
                file: format!("{hwmon}/{file}"),
                chip: chip.clone(),
                sensor: sensor.to_owned(),
                label,
                quantity,
            });
        }
    }
    found
}

/// All chips: their directories and the names they are called by.
fn chips(tree: &mut Tree, output: &mut Output<'_>) -> Vec<(String, String)> {
    let mut chips = Vec::new();
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for hwmon in tree.numbered(format_args!("{CLASS}"), "hwmon", output) {
        let name = tree.text(format_args!("{CLASS}/{hwmon}/name"), output);
        let name = name.map_or_else(|| hwmon.clone(), str::to_owned);
        *times.entry(name.clone()).or_default() += 1;
        chips.push((hwmon, name));
    }
    for (hwmon, name) in &mut chips {
        if times.get(name).is_some_and(|&times| times > 1) {
            let device = tree.link_name(format_args!("{CLASS}/{hwmon}/device"));
            name.push('-');
            name.push_str(device.as_deref().unwrap_or(hwmon));
        }
    }
    chips
}

/// The sensor and the quantity that a file belongs to: `temp1_input` is `temp1`, `in0_lcrit_alarm` is the alarm
/// `in0_lcrit`. `None` for limits, labels and everything else.
fn classify(file: &str) -> Option<(&str, &'static Quantity)> {
    let (sensor, suffix) = file.rsplit_once('_')?;
    let quantity = QUANTITIES.iter().find(|quantity| {
        quantity.suffix == suffix
            && (quantity.prefix.is_empty()
                || sensor.strip_prefix(quantity.prefix).is_some_and(|number| {
                    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
                }))
    })?;
    Some((sensor, quantity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_classified_by_their_names() {
        let of = |file| classify(file).map(|(sensor, quantity)| (sensor, quantity.metric.name));
        assert_eq!(of("temp12_input"), Some(("temp12", "outrider_hwmon_temperature_celsius")));
        assert_eq!(of("in0_input"), Some(("in0", "outrider_hwmon_voltage_volts")));
        assert_eq!(of("in0_lcrit_alarm"), Some(("in0_lcrit", "outrider_hwmon_alarm")));
        assert_eq!(of("power1_average"), Some(("power1", "outrider_hwmon_power_watts")));
        for file in ["temp1_max", "temp1_label", "name", "intrusion0_input", "power1_average_max"] {
            assert_eq!(of(file), None, "{file}");
        }
    }
}
