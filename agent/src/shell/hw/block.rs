//! Whole block devices: traffic from /proc/diskstats (Documentation/admin-guide/iostats.rst; sectors there are always
//! 512 bytes), wear of eMMC from /sys/block, what was ever written to ext4 and f2fs from /sys/fs. SD cards, SATA and
//! NVMe do not publish their wear in sysfs; asking them takes privileged device commands, which this program does not
//! send.

use crate::core::catalog::hardware as catalog;
use crate::core::sample::Metric;

use super::Collector;
use super::tree::{Cause, Output, Scale, Tree};

/// A vehicle has one to four.
const DEVICES_MAX: usize = 32;

/// Devices made of memory or files, optical and network drives, and the parts of an eMMC that are not written to.
pub(super) const UNINTERESTING: &[&str] =
    &["loop*", "ram*", "zram*", "fd*", "sr*", "nbd*", "mmcblk*boot*", "mmcblk*rpmb", "mtdblock*"];

/// Filesystems that count below /sys/fs (Documentation/ABI/testing/sysfs-fs-ext4, sysfs-fs-f2fs).
const COUNTING: [&str; 2] = ["ext4", "f2fs"];

const SECTOR_BYTES: Scale = Scale::Times(512.0);

/// Fields of a line of /proc/diskstats that are used, counted after the device's name.
const FIELDS: [(usize, &Metric, Scale); 9] = [
    (0, &catalog::BLOCK_READS, Scale::ONE),
    (2, &catalog::BLOCK_READ, SECTOR_BYTES),
    (3, &catalog::BLOCK_READ_SECONDS, Scale::MILLI),
    (4, &catalog::BLOCK_WRITES, Scale::ONE),
    (6, &catalog::BLOCK_WRITTEN, SECTOR_BYTES),
    (7, &catalog::BLOCK_WRITE_SECONDS, Scale::MILLI),
    (8, &catalog::BLOCK_IN_FLIGHT, Scale::ONE),
    (9, &catalog::BLOCK_BUSY_SECONDS, Scale::MILLI),
    // Since Linux 4.18.
    (13, &catalog::BLOCK_DISCARDED, SECTOR_BYTES),
];
/// Fields every kernel has after the name.
const FIELDS_MIN: usize = 11;
const FIELDS_MAX: usize = 17;

pub(super) struct Block;

impl Collector for Block {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        let devices = tree.wanted(format_args!("sys/block"), output);
        let devices = output.bounded(devices, DEVICES_MAX, "block devices");
        if let Some(text) = tree.text(format_args!("proc/diskstats"), output) {
            for line in text.lines() {
                let mut fields = line.split_ascii_whitespace().skip(2);
                let Some(name) = fields.next() else { continue };
                let Some(device) = devices.iter().find(|device| is_called(device, name)) else {
                    continue;
                };
                put_traffic(device, fields, output);
            }
        }
        for device in &devices {
            read_attributes(device, tree, output);
        }
        for fstype in COUNTING {
            read_lifetimes(fstype, tree, output);
        }
    }
}

/// Names of drivers like cciss contain a slash, which sysfs writes as an exclamation mark.
fn is_called(device: &str, name: &str) -> bool {
    let written = |byte| if byte == b'/' { b'!' } else { byte };
    device.len() == name.len() && device.bytes().eq(name.bytes().map(written))
}

fn put_traffic<'t>(device: &str, fields: impl Iterator<Item = &'t str>, output: &mut Output<'_>) {
    let mut values = [0.0; FIELDS_MAX];
    let mut count = 0;
    for (value, field) in values.iter_mut().zip(fields) {
        let Ok(number) = field.parse::<u64>() else { break };
        *value = number as f64;
        count += 1;
    }
    if count < FIELDS_MIN {
        let what =
            format_args!("`/proc/diskstats` has {count} numbers for `{device}`, not {FIELDS_MIN}");
        return output.complain(Cause::Garbage, what);
    }
    for (field, metric, scale) in FIELDS {
        let value = (field < count).then_some(values[field]);
        output.put_scaled(metric, &[device], value, scale);
    }
}

fn read_attributes(device: &str, tree: &mut Tree, output: &mut Output<'_>) {
    let size = tree.number(format_args!("sys/block/{device}/size"), output);
    output.put_scaled(&catalog::BLOCK_SIZE, &[device], size, SECTOR_BYTES);
    // MMC devices have a name where others have a model.
    let is_mmc = device.starts_with("mmcblk");
    let attribute = if is_mmc { "name" } else { "model" };
    if let Some(model) = tree.text(format_args!("sys/block/{device}/device/{attribute}"), output) {
        output.put(&catalog::BLOCK_INFO, &[device, model], 1.0);
    }
    if is_mmc {
        read_wear(device, tree, output);
    }
}

/// Wear of an eMMC: `life_time` has two numbers (types A and B) in steps of 10 %, 0x0B for "beyond"; 0 means not told.
fn read_wear(device: &str, tree: &mut Tree, output: &mut Output<'_>) {
    let life = tree.text(format_args!("sys/block/{device}/device/life_time"), output);
    for (kind, word) in ["a", "b"].iter().zip(life.unwrap_or("").split_ascii_whitespace()) {
        match u8::from_str_radix(word.trim_start_matches("0x"), 16) {
            Ok(0) => {}
            Ok(step @ 1..=11) => {
                output.put(&catalog::BLOCK_LIFE_USED, &[device, kind], f64::from(step) / 10.0);
            }
            _ => output.complain(
                Cause::Garbage,
                format_args!("`life_time` of `{device}` has {word:?}, not 0x00 to 0x0b"),
            ),
        }
    }
    if let Some(state @ 1.0..) =
        tree.number(format_args!("sys/block/{device}/device/pre_eol_info"), output)
    {
        output.put(&catalog::BLOCK_PRE_EOL, &[device], state);
    }
}

/// Bytes written since each filesystem was made, and ext4's count of errors. The devices here are partitions.
fn read_lifetimes(fstype: &str, tree: &mut Tree, output: &mut Output<'_>) {
    let devices = tree.wanted(format_args!("sys/fs/{fstype}"), output);
    for device in output.bounded(devices, DEVICES_MAX, "filesystems that count") {
        let path = format_args!("sys/fs/{fstype}/{device}/lifetime_write_kbytes");
        // Beside the devices there are `features` and the like, without this file.
        let Some(written) = tree.number(path, output) else { continue };
        let labels = [device.as_str(), fstype];
        let metric = &catalog::FILESYSTEM_LIFETIME_WRITTEN;
        output.put_scaled(metric, &labels, Some(written), Scale::KIBI);
        let errors = tree.number(format_args!("sys/fs/{fstype}/{device}/errors_count"), output);
        output.put_scaled(&catalog::FILESYSTEM_ERRORS, &[&device], errors, Scale::ONE);
    }
}
