//! Pressure stall information, from /proc/pressure (Documentation/accounting/psi.rst): how much of the time tasks had
//! to wait for a processor, memory, storage or interrupts. Lines look like `some avg10=0.67 avg60=1.54 avg300=1.79
//! total=57052624`, percent and microseconds.

use crate::core::catalog::hardware as catalog;
use crate::core::sample::Metric;

use super::Collector;
use super::tree::{Cause, Output, Tree};

const RESOURCES: [&str; 4] = ["cpu", "memory", "io", "irq"];

pub(super) struct Pressure;

impl Collector for Pressure {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        for resource in RESOURCES {
            if !output.wants(resource) {
                continue;
            }
            let Some(text) = tree.text(format_args!("proc/pressure/{resource}"), output) else {
                continue;
            };
            for line in text.lines() {
                let Some(reading) = parse(line) else {
                    let what = format_args!("`/proc/pressure/{resource}` has the line {line:?}");
                    output.complain(Cause::Garbage, what);
                    continue;
                };
                // The kernel keeps a line of zeros for "every task waits for a processor", which cannot happen
                // to the system as a whole.
                if reading.full && resource == "cpu" {
                    continue;
                }
                let (ratio, seconds): (&'static Metric, &'static Metric) = if reading.full {
                    (&catalog::PRESSURE_FULL, &catalog::PRESSURE_FULL_SECONDS)
                } else {
                    (&catalog::PRESSURE_SOME, &catalog::PRESSURE_SOME_SECONDS)
                };
                output.put(ratio, &[resource], reading.percent10 / 100.0);
                output.put(seconds, &[resource], reading.total_us / 1e6);
            }
        }
    }
}

struct Reading {
    full: bool,
    percent10: f64,
    total_us: f64,
}

fn parse(line: &str) -> Option<Reading> {
    let mut fields = line.split_ascii_whitespace();
    let full = match fields.next()? {
        "some" => false,
        "full" => true,
        _ => return None,
    };
    let (mut percent10, mut total_us) = (None, None);
    for field in fields {
        match field.split_once('=')? {
            ("avg10", value) => percent10 = value.parse().ok().filter(|v: &f64| v.is_finite()),
            ("total", value) => total_us = value.parse::<u64>().ok(),
            _ => {}
        }
    }
    Some(Reading { full, percent10: percent10?, total_us: total_us? as f64 })
}
