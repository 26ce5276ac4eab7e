//! Reads small files below the root of /proc and /sys, and gathers what a collector made of them. A missing file means
//! that this machine lacks the feature; an unreadable one or garbage is noted against that item only. Nothing here
//! knows what the files mean.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use nix::errno::Errno;

use crate::core::catalog::hardware;
use crate::core::sample::{Metric, Sample};

use super::filter::Filter;

/// Longest file that is read, in bytes. The mounts of a busy k3s node take some hundred KiB, a sensor ten bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Capacity of the read buffer that is kept between files: /proc/stat of a 64-core machine fits.
const BUFFER_BYTES_KEPT: usize = 16 * 1024;
/// Directory entries that are taken up. A machine with ten thousand interfaces must not cost more memory than this.
const DIRECTORY_ENTRIES_MAX: usize = 2048;
/// Series of one collector; the backstop behind each collector's own bounds.
const SERIES_MAX: usize = 1024;
/// Longest label value in bytes; what is longer is cut and made unique by a hash.
const LABEL_BYTES_MAX: usize = 96;
/// Complaints kept as text; the rest is only counted.
const COMPLAINTS_MAX: usize = 8;

/// The file trees of the kernel below one root, with a buffer that is used again for each file.
pub(super) struct Tree {
    path: String,
    root_len: usize,
    buffer: Vec<u8>,
    text: String,
}

impl Tree {
    pub fn new(root: &Path) -> Tree {
        let mut path = root.to_string_lossy().into_owned();
        if !path.ends_with('/') {
            path.push('/');
        }
        Tree { root_len: path.len(), path, buffer: Vec::new(), text: String::new() }
    }

    /// `path` below the root.
    pub fn path(&mut self, path: fmt::Arguments<'_>) -> &str {
        self.path.truncate(self.root_len);
        let _ = self.path.write_fmt(path);
        &self.path
    }

    /// The text of a file without white space at its ends; `None` when this machine does not have it. What cannot be
    /// read is noted in `output`.
    pub fn text(&mut self, path: fmt::Arguments<'_>, output: &mut Output<'_>) -> Option<&str> {
        self.path(path);
        match self.fill() {
            Ok(()) => {}
            Err(error) if is_absent(&error) => return None,
            Err(error) => {
                output.complain(Cause::Unreadable, format_args!("read `{}`: {error}", self.path));
                return None;
            }
        }
        if self.buffer.len() as u64 > FILE_BYTES_MAX {
            output.complain(
                Cause::Bound,
                format_args!(
                    "`{}` is longer than {FILE_BYTES_MAX} bytes; the rest is ignored",
                    self.path
                ),
            );
            // The last line is cut in two.
            let end = self.buffer.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
            self.buffer.truncate(end);
        }
        // Device trees and EEPROMs end their strings with NUL.
        let bytes = self.buffer.trim_ascii();
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        match str::from_utf8(&bytes[..end]) {
            Ok(text) => Some(text),
            Err(_) => {
                self.text = String::from_utf8_lossy(&self.buffer).into_owned();
                Some(self.text.trim())
            }
        }
    }

    /// The whole number in a file, decimal or hexadecimal with `0x`.
    pub fn number(&mut self, path: fmt::Arguments<'_>, output: &mut Output<'_>) -> Option<f64> {
        let text = self.text(path, output)?;
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        if parsed.is_none() {
            let text: String = text.chars().take(32).collect();
            output.complain(
                Cause::Garbage,
                format_args!("`{}` has {text:?} where a whole number belongs", self.path),
            );
        }
        // All that the kernel counts in these files is far below 2^53 or loses nothing that matters.
        #[expect(clippy::cast_precision_loss)]
        parsed.map(|number: i64| number as f64)
    }

    /// The names in a directory, in natural order (`cpu2` before `cpu10`); empty when it does not exist.
    pub fn names(&mut self, path: fmt::Arguments<'_>, output: &mut Output<'_>) -> Vec<String> {
        self.list(path, output, |_, _| true)
    }

    /// Like [`Tree::names`], only what the configuration wants.
    pub fn wanted(&mut self, path: fmt::Arguments<'_>, output: &mut Output<'_>) -> Vec<String> {
        self.list(path, output, |name, output| output.wants(name))
    }

    /// Like [`Tree::names`], only what consists of `prefix` and a number: `hwmon3`.
    pub fn numbered(
        &mut self,
        path: fmt::Arguments<'_>,
        prefix: &str,
        output: &mut Output<'_>,
    ) -> Vec<String> {
        self.list(path, output, |name, _| {
            name.strip_prefix(prefix).is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
        })
    }

    fn list(
        &mut self,
        path: fmt::Arguments<'_>,
        output: &mut Output<'_>,
        keep: impl Fn(&str, &Output<'_>) -> bool,
    ) -> Vec<String> {
        self.path(path);
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Vec::new(),
            Err(error) => {
                output.complain(Cause::Unreadable, format_args!("list `{}`: {error}", self.path));
                return Vec::new();
            }
        };
        let mut names: Vec<String> = Vec::new();
        // An entry that vanishes while the directory is read is gone, not wrong.
        for name in entries.flatten().map(|entry| entry.file_name()) {
            let Some(name) = name.to_str().filter(|name| keep(name, output)) else { continue };
            if names.len() == DIRECTORY_ENTRIES_MAX {
                let what = format_args!("`{}`: over {DIRECTORY_ENTRIES_MAX} entries", self.path);
                output.complain(Cause::Bound, what);
                break;
            }
            names.push(name.to_owned());
        }
        names.sort_unstable_by(|a, b| natural(a).cmp(&natural(b)));
        names
    }

    /// True when the path exists.
    pub fn exists(&mut self, path: fmt::Arguments<'_>) -> bool {
        Path::new(self.path(path)).exists()
    }

    /// Last part of where a symbolic link points to.
    pub fn link_name(&mut self, path: fmt::Arguments<'_>) -> Option<String> {
        let target = fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        File::open(&self.path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut self.buffer)?;
        Ok(())
    }
}

/// Errors by which drivers and the kernel say that something does not exist here or has no value at present: a speed
/// without a carrier (EINVAL), a sensor of a radio that is off (ENODATA, EAGAIN), pressure disabled at boot
/// (EOPNOTSUPP).
fn is_absent(error: &io::Error) -> bool {
    let Some(errno) = error.raw_os_error() else { return false };
    matches!(
        Errno::from_raw(errno),
        Errno::ENOENT
            | Errno::ENOTDIR
            | Errno::ENODEV
            | Errno::ENXIO
            | Errno::ENODATA
            | Errno::EAGAIN
            | Errno::EINVAL
            | Errno::EOPNOTSUPP
    )
}

/// Key of the natural order: text up to the first digit, the number there, the rest.
fn natural(name: &str) -> (&str, u64, &str) {
    let start = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    let digits = name[start..].bytes().take_while(u8::is_ascii_digit).count();
    let number = name[start..start + digits].parse().unwrap_or(u64::MAX);
    (&name[..start], number, &name[start..])
}

/// Why something was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The file exists, reading it failed.
    Unreadable,
    /// The file does not have the form the kernel documents.
    Garbage,
    /// More than this program reports.
    Bound,
}

/// What one run of a collector makes.
pub(super) struct Output<'a> {
    samples: Vec<Sample>,
    filter: &'a Filter,
    skipped: [u32; 3],
    complaints: Vec<String>,
}

impl<'a> Output<'a> {
    /// `expected` is the number of samples of the previous run, so that the list is allocated once.
    pub fn new(filter: &'a Filter, expected: usize) -> Output<'a> {
        let samples = Vec::with_capacity(expected.min(SERIES_MAX));
        Output { samples, filter, skipped: [0; 3], complaints: Vec::new() }
    }

    /// True when the configuration wants `name` reported.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.allows(name)
    }

    /// Adds a sample. Label values are cleaned and bounded here.
    pub fn put(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        if self.samples.len() >= SERIES_MAX {
            self.complain(Cause::Bound, format_args!("more than {SERIES_MAX} series"));
            return;
        }
        let labels = labels.iter().map(|label| clean_label(label)).collect();
        self.samples.push(Sample { metric, labels, value });
    }

    /// Adds a sample when there is a value, times `scale` (the base unit over the kernel's unit).
    pub fn put_scaled(
        &mut self,
        metric: &'static Metric,
        labels: &[&str],
        value: Option<f64>,
        scale: Scale,
    ) {
        if let Some(value) = value {
            self.put(metric, labels, scale.apply(value));
        }
    }

    /// Notes that an item was left out.
    pub fn complain(&mut self, cause: Cause, what: fmt::Arguments<'_>) {
        self.skipped[cause as usize] += 1;
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(what.to_string());
        }
    }

    /// Takes the first `max` of `names` that are wanted and notes the others.
    pub fn bounded(&mut self, mut names: Vec<String>, max: usize, what: &str) -> Vec<String> {
        names.retain(|name| self.wants(name));
        if names.len() > max {
            let total = names.len();
            self.complain(
                Cause::Bound,
                format_args!("{total} {what}, of which {max} are reported; choose by `include`"),
            );
            self.skipped[Cause::Bound as usize] +=
                u32::try_from(total - max - 1).unwrap_or(u32::MAX);
            names.truncate(max);
        }
        names
    }

    /// The samples and complaints; a run that only has complaints failed.
    pub fn finish(mut self, collector: &str) -> (Result<Vec<Sample>, String>, Vec<String>) {
        if self.samples.is_empty() && !self.complaints.is_empty() {
            return (Err(self.complaints.swap_remove(0)), self.complaints);
        }
        for (cause, name) in ["unreadable", "garbage", "bound"].iter().enumerate() {
            if self.skipped[cause] > 0 {
                let labels = [collector, name].map(Box::from);
                let value = f64::from(self.skipped[cause]);
                let metric = &hardware::SKIPPED;
                self.samples.push(Sample { metric, labels: Box::new(labels), value });
            }
        }
        (Ok(self.samples), self.complaints)
    }
}

/// How the kernel's unit becomes the base unit. Division by a power of ten is exact to the last digit a decimal
/// fraction has, a multiplication by 0.001 is not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// Multiply.
    Times(f64),
    /// Divide.
    Per(f64),
}

impl Scale {
    /// The kernel's unit is the base unit.
    pub const ONE: Scale = Scale::Times(1.0);
    /// The kernel counts in KiB.
    pub const KIBI: Scale = Scale::Times(1024.0);
    /// The kernel counts in thousands: kHz.
    pub const KILO: Scale = Scale::Times(1000.0);
    /// The kernel counts in thousandths.
    pub const MILLI: Scale = Scale::Per(1000.0);
    /// The kernel counts in millionths.
    pub const MICRO: Scale = Scale::Per(1e6);

    fn apply(self, value: f64) -> f64 {
        match self {
            Scale::Times(factor) => value * factor,
            Scale::Per(divisor) => value / divisor,
        }
    }
}

/// A label value without control characters and no longer than [`LABEL_BYTES_MAX`]. What had to be changed ends in a
/// hash of the original, so that two devices never become one.
fn clean_label(label: &str) -> Box<str> {
    if label.len() <= LABEL_BYTES_MAX && !label.contains(char::is_control) {
        return label.into();
    }
    const HASH_BYTES: usize = 9;
    // FNV-1a, 32 bits.
    let hash = label
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mut clean = String::with_capacity(LABEL_BYTES_MAX);
    for c in label.chars() {
        if clean.len() + c.len_utf8() > LABEL_BYTES_MAX - HASH_BYTES {
            break;
        }
        clean.push(if c.is_control() { ' ' } else { c });
    }
    let _ = write!(clean, "~{hash:08x}");
    clean.into()
}
