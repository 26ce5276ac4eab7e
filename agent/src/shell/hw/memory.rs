//! Memory and swap, from /proc/meminfo (KiB) and /proc/vmstat (pages and events). Only fields with a use in operation:
//! the rest of the two files is for people who debug a kernel.

use crate::core::catalog::hardware as catalog;
use crate::core::sample::Metric;

use super::Collector;
use super::tree::{Cause, Output, Scale, Tree};

/// What becomes of a field of /proc/meminfo.
enum Meminfo {
    Metric(&'static Metric),
    SwapTotal,
    SwapFree,
}

const MEMINFO: [(&str, Meminfo); 11] = [
    ("MemTotal", Meminfo::Metric(&catalog::MEMORY_SIZE)),
    ("MemFree", Meminfo::Metric(&catalog::MEMORY_FREE)),
    ("MemAvailable", Meminfo::Metric(&catalog::MEMORY_AVAILABLE)),
    ("Buffers", Meminfo::Metric(&catalog::MEMORY_BUFFERS)),
    ("Cached", Meminfo::Metric(&catalog::MEMORY_CACHED)),
    ("SwapTotal", Meminfo::SwapTotal),
    ("SwapFree", Meminfo::SwapFree),
    ("Dirty", Meminfo::Metric(&catalog::MEMORY_DIRTY)),
    ("Writeback", Meminfo::Metric(&catalog::MEMORY_WRITEBACK)),
    ("Shmem", Meminfo::Metric(&catalog::MEMORY_SHARED)),
    ("Slab", Meminfo::Metric(&catalog::MEMORY_SLAB)),
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
        let mut swap = [None; 2];
        if let Some(text) = tree.text(format_args!("proc/meminfo"), output) {
            let [size, free] = &mut swap;
            for_each(text, b':', &MEMINFO, output, |key, value, output| match key {
                Meminfo::Metric(metric) => output.put_scaled(metric, &[], Some(value), Scale::KIBI),
                Meminfo::SwapTotal => *size = Some(value),
                Meminfo::SwapFree => *free = Some(value),
            });
        }
        if let [Some(size), Some(free)] = swap {
            output.put_scaled(&catalog::SWAP_SIZE, &[], Some(size), Scale::KIBI);
            output.put_scaled(&catalog::SWAP_USED, &[], Some(size - free), Scale::KIBI);
        }
        if let Some(text) = tree.text(format_args!("proc/vmstat"), output) {
            for_each(text, b' ', &VMSTAT, output, |metric, count, output| {
                output.put(metric, &[], count);
            });
        }
    }
}

/// Hands the values of the wanted keys to `take`. Stops at the last of them: the two files have some 50 and 180
/// lines, and looking at each would cost more than all the rest of this collector.
fn for_each<'o, K>(
    text: &str,
    separator: u8,
    wanted: &[(&str, K)],
    output: &mut Output<'o>,
    mut take: impl FnMut(&K, f64, &mut Output<'o>),
) {
    let mut missing = wanted.len();
    for line in text.lines() {
        let found = wanted.iter().find(|(key, _)| {
            line.as_bytes().get(key.len()) == Some(&separator) && line.starts_with(key)
        });
        let Some((key, what)) = found else { continue };
        match leading_number(&line[key.len() + 1..]) {
            Some(value) => take(what, value, output),
            None => {
                let what = format_args!("the kernel's memory statistics have the line {line:?}");
                output.complain(Cause::Garbage, what);
            }
        }
        missing -= 1;
        if missing == 0 {
            return;
        }
    }
}

/// The number at the start of `  16316412 kB`.
fn leading_number(text: &str) -> Option<f64> {
    let number: u64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(number as f64)
}
