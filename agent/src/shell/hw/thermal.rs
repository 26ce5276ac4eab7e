//! Thermal zones and cooling devices, from /sys/class/thermal (Documentation/driver-api/thermal/sysfs-api.rst): m°C and
//! cooling states. A cooling device in use is how most boards slow their processor down. `include` and `exclude` match
//! the type (`x86_pkg_temp`, `cpu-thermal`), because the numbers change between kernels.

use crate::core::catalog::hardware as catalog;

use super::Collector;
use super::tree::{Cause, Output, Scale, Tree};

/// Zones and as many cooling devices. Phones have about 60, servers one cooling device for each processor, the boards
/// of vehicles fewer than 16.
const DEVICES_MAX: usize = 64;

const CLASS: &str = "sys/class/thermal";

pub(super) struct Thermal;

impl Collector for Thermal {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        for (zone, kind) in devices(tree, output, "thermal_zone") {
            let temperature = tree.number(format_args!("{CLASS}/{zone}/temp"), output);
            let labels = [zone.as_str(), &kind];
            output.put_scaled(&catalog::THERMAL_ZONE, &labels, temperature, Scale::MILLI);
        }
        for (device, kind) in devices(tree, output, "cooling_device") {
            let most = tree.number(format_args!("{CLASS}/{device}/max_state"), output);
            let now = tree.number(format_args!("{CLASS}/{device}/cur_state"), output);
            if let (Some(now), Some(most @ 1.0..)) = (now, most) {
                // intel_powerclamp says -1 while it is idle.
                output.put(&catalog::COOLING, &[&device, &kind], now.max(0.0) / most);
            }
        }
    }
}

/// Names and types of what is wanted and within the bound.
fn devices(tree: &mut Tree, output: &mut Output<'_>, prefix: &str) -> Vec<(String, String)> {
    let names = tree.numbered(format_args!("{CLASS}"), prefix, output);
    let mut found = Vec::with_capacity(names.len().min(DEVICES_MAX));
    for name in names {
        let kind = tree.text(format_args!("{CLASS}/{name}/type"), output).unwrap_or("").to_owned();
        if !output.wants(&kind) {
            continue;
        }
        if found.len() == DEVICES_MAX {
            let what = format_args!("more than {DEVICES_MAX} entries of kind {prefix}");
            output.complain(Cause::Bound, what);
            break;
        }
        found.push((name, kind));
    }
    found
}
