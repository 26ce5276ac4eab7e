//! Can the kernel's files be read?

use std::fs;
use std::io;
use std::path::Path;

use super::{Check, Context, Finding};

pub(super) const CHECK: Check = Check {
    id: "hardware",
    title: "Hardware sources",
    reason: "what cannot be read is missing from metrics and telemetry",
    needs_config: true,
    run,
};

/// Files every Linux has, one of each kind of source.
const FILES: &[&str] = &["proc/stat", "proc/meminfo", "proc/loadavg", "proc/net/dev"];

/// Directories every Linux has, some of them empty.
const DIRECTORIES: &[&str] = &["sys/class", "sys/class/net"];

fn run(context: &Context) -> Vec<Finding> {
    let hardware = &context.config.hardware;
    if !hardware.enabled {
        return Finding::skipped("the configuration switches the hardware off");
    }
    let files = FILES.iter().map(|name| (*name, read(&hardware.root.join(name))));
    let directories =
        DIRECTORIES.iter().map(|name| (*name, fs::read_dir(hardware.root.join(name)).map(|_| ())));
    let faults: Vec<String> = files
        .chain(directories)
        .filter_map(|(name, result)| {
            let path = hardware.root.join(name);
            result.err().map(|error| format!("{}: {error}", path.display()))
        })
        .collect();
    if faults.is_empty() {
        let root = hardware.root.display();
        return Finding::ok(format!("proc and sys below {root} can be read"));
    }
    vec![Finding::error(
        format!("cannot be read: {}", faults.join("; ")),
        "mount proc and sys, and set `root` in section `[hardware]` to where they are",
    )]
}

fn read(path: &Path) -> io::Result<()> {
    fs::read(path).map(|_| ())
}
