//! Processors: time by mode from /proc/stat (proc(5)), frequency from cpufreq, slowing down for heat from x86's
//! thermal_throttle. The share of busy time is computed here, between two runs, because a gauge is what telemetry can
//! send in one byte and a gauge on a page needs no history.

use std::collections::BTreeMap;

use crate::core::catalog::hardware as catalog;

use super::Collector;
use super::tree::{Cause, Output, Scale, Tree};

/// Processors reported one by one. Beyond it the totals still count all of them.
const CORES_MAX: usize = 32;
/// Unit of /proc/stat: USER_HZ, 100 on every architecture Linux has in vehicles.
const TICKS: Scale = Scale::Per(100.0);

/// Columns of a cpu line. `guest` and `guest_nice`, which follow, are contained in `user` and `nice`.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
/// Modes every kernel has; the others were added later.
const MODES_MIN: usize = 4;
const IDLE: usize = 3;
const IOWAIT: usize = 4;

const CLASS: &str = "sys/devices/system/cpu";

/// Ticks in each mode.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Times {
    ticks: [u64; MODES.len()],
    modes: usize,
}

#[derive(Default)]
pub(super) struct Cpu {
    before: Option<Times>,
}

impl Collector for Cpu {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        self.read_times(tree, output);
        read_frequencies(tree, output);
        read_throttling(tree, output);
    }
}

impl Cpu {
    fn read_times(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        let Some(text) = tree.text(format_args!("proc/stat"), output) else { return };
        let mut cores = 0;
        for line in text.lines() {
            let Some((key, values)) = line.split_once(' ') else { continue };
            match key {
                "cpu" => match parse_times(values) {
                    Some(times) => self.put_total(times, output),
                    None => output.complain(Cause::Garbage, format_args!("`/proc/stat`: {line:?}")),
                },
                "ctxt" | "processes" => {
                    let metric = match key {
                        "ctxt" => &catalog::CONTEXT_SWITCHES,
                        _ => &catalog::FORKS,
                    };
                    match values.parse::<u64>() {
                        Ok(count) => output.put(metric, &[], count as f64),
                        Err(_) => {
                            output.complain(Cause::Garbage, format_args!("`/proc/stat`: {line:?}"));
                        }
                    }
                }
                _ => {
                    let Some(core) = key.strip_prefix("cpu") else { continue };
                    cores += 1;
                    if cores > CORES_MAX || !output.wants(core) {
                        continue;
                    }
                    match parse_times(values) {
                        Some(times) => put_core(core, times, output),
                        None => {
                            output.complain(Cause::Garbage, format_args!("`/proc/stat`: {line:?}"));
                        }
                    }
                }
            }
        }
        if cores > 0 {
            output.put(&catalog::CPU_CORES, &[], cores as f64);
        }
        if cores > CORES_MAX {
            let what = format_args!("{cores} processors, of which {CORES_MAX} are shown singly");
            output.complain(Cause::Bound, what);
        }
    }

    fn put_total(&mut self, times: Times, output: &mut Output<'_>) {
        for (mode, ticks) in times.modes() {
            output.put_scaled(&catalog::CPU_SECONDS, &[mode], Some(ticks), TICKS);
        }
        if let Some(ratio) = self.before.and_then(|before| busy_ratio(before, times)) {
            output.put(&catalog::CPU_UTILIZATION, &[], ratio);
        }
        self.before = Some(times);
    }
}

fn put_core(core: &str, times: Times, output: &mut Output<'_>) {
    for (mode, ticks) in times.modes() {
        output.put_scaled(&catalog::CPU_CORE_SECONDS, &[core, mode], Some(ticks), TICKS);
    }
}

impl Times {
    fn modes(&self) -> impl Iterator<Item = (&'static str, f64)> {
        MODES.into_iter().zip(self.ticks.map(|ticks| ticks as f64)).take(self.modes)
    }
}

fn parse_times(values: &str) -> Option<Times> {
    let mut times = Times::default();
    for (ticks, field) in times.ticks.iter_mut().zip(values.split_ascii_whitespace()) {
        *ticks = field.parse().ok()?;
        times.modes += 1;
    }
    (times.modes >= MODES_MIN).then_some(times)
}

/// Share of the ticks between two readings that were neither idle nor waiting for storage. `None` when no tick has
/// passed. The kernel lets single modes step back by a little; such steps count as nothing.
fn busy_ratio(before: Times, now: Times) -> Option<f64> {
    let spent = |mode: usize| now.ticks[mode].saturating_sub(before.ticks[mode]);
    let all: u64 = (0..MODES.len()).map(spent).sum();
    let busy = all - spent(IDLE) - spent(IOWAIT);
    (all > 0).then(|| busy as f64 / all as f64)
}

/// Documentation/admin-guide/pm/cpufreq.rst; kHz.
fn read_frequencies(tree: &mut Tree, output: &mut Output<'_>) {
    let policies = tree.numbered(format_args!("{CLASS}/cpufreq"), "policy", output);
    for policy in policies.iter().take(CORES_MAX) {
        let labels = [policy.trim_start_matches("policy")];
        for (file, metric) in [
            ("scaling_cur_freq", &catalog::CPU_FREQUENCY),
            ("scaling_max_freq", &catalog::CPU_FREQUENCY_LIMIT),
        ] {
            let frequency = tree.number(format_args!("{CLASS}/cpufreq/{policy}/{file}"), output);
            output.put_scaled(metric, &labels, frequency, Scale::KILO);
        }
    }
}

/// Counters of arch/x86's thermal interrupt. All processors of a package show the package's number.
fn read_throttling(tree: &mut Tree, output: &mut Output<'_>) {
    // One look tells whether this machine counts at all.
    if !tree.exists(format_args!("{CLASS}/cpu0/thermal_throttle")) {
        return;
    }
    let mut packages = BTreeMap::new();
    for cpu in tree.numbered(format_args!("{CLASS}"), "cpu", output).iter().take(CORES_MAX) {
        let path = format_args!("{CLASS}/{cpu}/thermal_throttle/core_throttle_count");
        let count = tree.number(path, output);
        let labels = [cpu.trim_start_matches("cpu")];
        output.put_scaled(&catalog::CPU_CORE_THROTTLES, &labels, count, Scale::ONE);

        let path = format_args!("{CLASS}/{cpu}/topology/physical_package_id");
        let package = tree.text(path, output).unwrap_or("0").to_owned();
        if packages.contains_key(&package) {
            continue;
        }
        let path = format_args!("{CLASS}/{cpu}/thermal_throttle/package_throttle_count");
        if let Some(count) = tree.number(path, output) {
            packages.insert(package, count);
        }
    }
    for (package, count) in &packages {
        output.put(&catalog::CPU_PACKAGE_THROTTLES, &[package], *count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_share_is_between_two_readings() {
        let before = parse_times("100 0 100 1000 50 0 0 0 0 0").unwrap();
        let now = parse_times("140 0 120 1030 60 0 0 0 0 0").unwrap();
        assert_eq!(busy_ratio(before, now), Some(0.6));
        assert_eq!(busy_ratio(now, now), None);
        // Idle time that steps back is no busy time.
        let stepped = parse_times("141 0 120 1029 60 0 0 0 0 0").unwrap();
        assert_eq!(busy_ratio(now, stepped), Some(1.0));
    }

    #[test]
    fn old_kernels_have_fewer_modes() {
        let times = parse_times(" 1 2 3 4").unwrap();
        let modes: Vec<_> = times.modes().collect();
        assert_eq!(modes, [("user", 1.0), ("nice", 2.0), ("system", 3.0), ("idle", 4.0)]);
        assert_eq!(parse_times("1 2 3"), None);
        assert_eq!(parse_times("1 2 3 -4"), None);
    }
}
