//! Power supplies and batteries, from /sys/class/power_supply (Documentation/ABI/testing/sysfs-class-power; µV, µA, µW,
//! percent, tenths of °C), and what a Raspberry Pi's firmware thinks of its supply.
//!
//! Every property is read on its own although `uevent` has them all: one register that cannot be read makes the whole
//! of `uevent` unreadable.

use crate::core::catalog::hardware as catalog;
use crate::core::sample::Metric;

use super::Collector;
use super::tree::{Cause, Output, Scale, Tree};

/// A vehicle has a mains input, a battery or two, and USB ports that count as supplies.
const SUPPLIES_MAX: usize = 16;
/// Runs between two searches for the firmware's voltage sensor, which is there from boot on or never.
const RUNS_PER_SEARCH: u32 = 30;

const CLASS: &str = "sys/class/power_supply";

/// Properties that every kind of supply may have.
const COMMON: [(&str, &Metric, Scale); 4] = [
    ("voltage_now", &catalog::POWER_SUPPLY_VOLTAGE, Scale::MICRO),
    ("current_now", &catalog::POWER_SUPPLY_CURRENT, Scale::MICRO),
    ("power_now", &catalog::POWER_SUPPLY_POWER, Scale::MICRO),
    ("temp", &catalog::POWER_SUPPLY_TEMPERATURE, Scale::Per(10.0)),
];

/// Properties of batteries only.
const BATTERY: [(&str, &Metric, Scale); 3] = [
    ("present", &catalog::BATTERY_PRESENT, Scale::ONE),
    ("capacity", &catalog::BATTERY_CAPACITY, Scale::Per(100.0)),
    ("cycle_count", &catalog::BATTERY_CYCLES, Scale::ONE),
];

/// Bits of the firmware's `get_throttled` (config.txt documentation of the Raspberry Pi): now, and 16 bits higher since
/// the memory was last cleared, which the kernel's driver does when it polls.
const THROTTLE_CAUSES: [&str; 4] =
    ["undervoltage", "frequency-capped", "throttled", "soft-temperature-limit"];
const THROTTLE_SEEN_SHIFT: u32 = 16;

#[derive(Default)]
pub(super) struct Power {
    /// Directory of the chip `rpi_volt` below /sys/class/hwmon.
    firmware: Option<String>,
    runs_until_search: u32,
}

impl Collector for Power {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        let supplies = tree.wanted(format_args!("{CLASS}"), output);
        for supply in output.bounded(supplies, SUPPLIES_MAX, "power supplies") {
            read_supply(&supply, tree, output);
        }
        if self.runs_until_search == 0 {
            self.firmware = find_firmware_sensor(tree, output);
            self.runs_until_search = RUNS_PER_SEARCH;
        }
        self.runs_until_search -= 1;
        if let Some(hwmon) = &self.firmware {
            read_firmware(hwmon, tree, output);
        }
    }
}

fn read_supply(supply: &str, tree: &mut Tree, output: &mut Output<'_>) {
    let mut word = |property: &str, output: &mut Output<'_>| {
        let text = tree.text(format_args!("{CLASS}/{supply}/{property}"), output);
        text.unwrap_or("").to_owned()
    };
    let kind = word("type", output);
    let (model, technology) = (word("model_name", output), word("technology", output));
    let (health, status) = (word("health", output), word("status", output));
    let labels = [supply, &kind, &model, &technology, &health];
    output.put(&catalog::POWER_SUPPLY_INFO, &labels, 1.0);

    let mut read = |properties: &[(&str, &'static Metric, Scale)], output: &mut Output<'_>| {
        for &(property, metric, scale) in properties {
            let value = tree.number(format_args!("{CLASS}/{supply}/{property}"), output);
            output.put_scaled(metric, &[supply], value, scale);
        }
    };
    read(&COMMON, output);
    if kind != "Battery" && kind != "UPS" {
        read(&[("online", &catalog::POWER_SUPPLY_ONLINE, Scale::ONE)], output);
        return;
    }
    read(&BATTERY, output);
    let discharging = status == "Discharging";
    if discharging {
        // Otherwise fuel gauges show their largest number here.
        read(&[("time_to_empty_now", &catalog::BATTERY_EMPTY_SECONDS, Scale::ONE)], output);
    }
    if !status.is_empty() && status != "Unknown" {
        let discharging = f64::from(u8::from(discharging));
        output.put(&catalog::BATTERY_DISCHARGING, &[supply], discharging);
    }
    // A fuel gauge counts either charge or energy.
    for quantity in ["charge", "energy"] {
        let full = tree.number(format_args!("{CLASS}/{supply}/{quantity}_full"), output);
        let design = tree.number(format_args!("{CLASS}/{supply}/{quantity}_full_design"), output);
        if let (Some(full), Some(design @ 1.0..)) = (full, design) {
            output.put(&catalog::BATTERY_HEALTH, &[supply], full / design);
            break;
        }
    }
}

fn find_firmware_sensor(tree: &mut Tree, output: &mut Output<'_>) -> Option<String> {
    let chips = tree.numbered(format_args!("sys/class/hwmon"), "hwmon", output);
    chips.into_iter().find(|hwmon| {
        tree.text(format_args!("sys/class/hwmon/{hwmon}/name"), output) == Some("rpi_volt")
    })
}

fn read_firmware(hwmon: &str, tree: &mut Tree, output: &mut Output<'_>) {
    let alarm = tree.number(format_args!("sys/class/hwmon/{hwmon}/in0_lcrit_alarm"), output);
    output.put_scaled(&catalog::UNDERVOLTAGE, &[], alarm, Scale::ONE);
    // The sensor is a child of the firmware's device, wherever the board has that.
    let path = format_args!("sys/class/hwmon/{hwmon}/device/../get_throttled");
    let Some(text) = tree.text(path, output) else { return };
    let Ok(bits) = u32::from_str_radix(text.trim_start_matches("0x"), 16) else {
        let what = format_args!("`get_throttled` has {text:?} where a hexadecimal number belongs");
        return output.complain(Cause::Garbage, what);
    };
    for (bit, cause) in THROTTLE_CAUSES.iter().enumerate() {
        let now = f64::from(bits >> bit & 1);
        let seen = f64::from(bits >> (bit as u32 + THROTTLE_SEEN_SHIFT) & 1);
        output.put(&catalog::FIRMWARE_THROTTLED, &[cause], now);
        output.put(&catalog::FIRMWARE_THROTTLED_SEEN, &[cause], seen);
    }
}
