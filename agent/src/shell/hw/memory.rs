//! Memory and swap, from /proc/meminfo (KiB) and /proc/vmstat (pages and events). Only fields with a use in operation:
//! the rest of the two files is for people who debug a kernel.

use crate::core::catalog::hardware as catalog;
use crate::core::sample::Metric;

use super::Collector;
use super::tree::{Cause, Output, Scale, Tree};

const MEMINFO: [(&str, &Metric); 10] = [
    ("MemTotal", &catalog::MEMORY_SIZE),
    ("MemFree", &catalog::MEMORY_FREE),
    ("MemAvailable", &catalog::MEMORY_AVAILABLE),
    ("Buffers", &catalog::MEMORY_BUFFERS),
    ("Cached", &catalog::MEMORY_CACHED),
    ("SwapTotal", &catalog::SWAP_SIZE),
    ("Dirty", &catalog::MEMORY_DIRTY),
    ("Writeback", &catalog::MEMORY_WRITEBACK),
    ("Shmem", &catalog::MEMORY_SHARED),
    ("Slab", &catalog::MEMORY_SLAB),
];

const VMSTAT: [(&str, &Metric); 4] = [
    ("pgmajfault", &catalog::MAJOR_FAULTS),
    ("pswpin", &catalog::SWAPPED_IN),
    ("pswpout", &catalog::SWAPPED_OUT),
    ("oom_kill", &catalog::OOM_KILLS),
];

pub(super) struct Memory;

impl Collector for Memory {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        let mut swap = (None, None);
        if let Some(text) = tree.text(format_args!("proc/meminfo"), output) {
            for line in text.lines() {
                let Some((key, value)) = line.split_once(':') else { continue };
                let metric =
                    MEMINFO.iter().find(|(name, _)| *name == key).map(|&(_, metric)| metric);
                if metric.is_none() && key != "SwapFree" {
                    continue;
                }
                let Some(kibibytes) = leading_number(value) else {
                    let what = format_args!("`/proc/meminfo` has the line {line:?}");
                    output.complain(Cause::Garbage, what);
                    continue;
                };
                match key {
                    "SwapTotal" => swap.0 = Some(kibibytes),
                    "SwapFree" => swap.1 = Some(kibibytes),
                    _ => {}
                }
                if let Some(metric) = metric {
                    output.put_scaled(metric, &[], Some(kibibytes), Scale::KIBI);
                }
            }
        }
        if let (Some(size), Some(free)) = swap {
            output.put_scaled(&catalog::SWAP_USED, &[], Some(size - free), Scale::KIBI);
        }
        if let Some(text) = tree.text(format_args!("proc/vmstat"), output) {
            for line in text.lines() {
                let Some((key, value)) = line.split_once(' ') else { continue };
                let Some(&(_, metric)) = VMSTAT.iter().find(|(name, _)| *name == key) else {
                    continue;
                };
                match leading_number(value) {
                    Some(count) => output.put(metric, &[], count),
                    None => output.complain(
                        Cause::Garbage,
                        format_args!("`/proc/vmstat` has the line {line:?}"),
                    ),
                }
            }
        }
    }
}

/// The number at the start of `  16316412 kB`.
fn leading_number(text: &str) -> Option<f64> {
    let number: u64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(number as f64)
}
