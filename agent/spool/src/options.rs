//! What the user may set, checked before anything is opened.

use crate::error::OptionsError;
use crate::limits::{
    BUDGET_BYTES_MAX, BUDGET_BYTES_MIN, MEMORY_BYTES_MIN, SHARE_PERMILLE_MAX,
    STREAM_NAME_BYTES_MAX, WRITE_BYTES_PER_DAY_MIN,
};

/// Bounds of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes on disk, all files together; [`BUDGET_BYTES_MIN`] to [`BUDGET_BYTES_MAX`].
    pub budget_bytes: u64,
    /// Bytes of records in memory that wait for their sync; at least [`MEMORY_BYTES_MIN`]. Each record counts
    /// [`crate::limits::PENDING_OVERHEAD_BYTES`] on top.
    pub memory_bytes: usize,
    /// Bytes written in any 24 hours, at least [`WRITE_BYTES_PER_DAY_MIN`]; no bound when `None`.
    pub write_bytes_per_day: Option<u64>,
    /// Opens although the newest segment cannot be read, as if what cannot be were not there: what was acknowledged may be sent
    /// again, and what was durable in there only is lost. For when that has lasted for [`crate::limits::NEWEST_MS`].
    pub without_newest: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            budget_bytes: 64 * 1024 * 1024,
            memory_bytes: MEMORY_BYTES_MIN,
            write_bytes_per_day: None,
            without_newest: false,
        }
    }
}

impl Options {
    /// Whether the bounds make sense.
    ///
    /// # Errors
    /// Names the bound that does not, and its limit.
    pub fn check(&self) -> Result<(), OptionsError> {
        if !(BUDGET_BYTES_MIN..=BUDGET_BYTES_MAX).contains(&self.budget_bytes) {
            return Err(OptionsError::Budget { bytes: self.budget_bytes });
        }
        if self.memory_bytes < MEMORY_BYTES_MIN {
            return Err(OptionsError::Memory { bytes: self.memory_bytes });
        }
        match self.write_bytes_per_day {
            Some(bytes) if bytes < WRITE_BYTES_PER_DAY_MIN => Err(OptionsError::Writes { bytes }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Who is opening: what the crate cannot know by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Identity of this boot of the machine (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: [u8; 16],
    /// A random number, another one at each open. Names the records of this session.
    pub epoch: u32,
    /// A random number that becomes the spool's identity if there is no spool yet.
    pub spool_id: u64,
}

/// A moment on the suspend-aware boot clock (`CLOCK_BOOTTIME`), in milliseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootMs(pub u64);

/// What happens to a stream at its bound, or to the spool's at theirs when it is this stream's turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AtBound {
    /// Its oldest records go.
    #[default]
    DropOldest,
    /// What is held stays; what comes is refused.
    Refuse,
    /// Every second record of its finest history goes; it gets coarser instead of shorter.
    Thin,
}

impl AtBound {
    /// Every rule.
    pub const ALL: [AtBound; 3] = [AtBound::DropOldest, AtBound::Refuse, AtBound::Thin];

    /// Fixed word for configuration, metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            AtBound::DropOldest => "drop-oldest",
            AtBound::Refuse => "refuse",
            AtBound::Thin => "thin",
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            AtBound::DropOldest => 0,
            AtBound::Refuse => 1,
            AtBound::Thin => 2,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<AtBound> {
        AtBound::ALL.into_iter().find(|rule| rule.code() == code)
    }
}

/// How a stream is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPolicy {
    /// 0 is the most important: leaves first, stays longest, may use the last of the write allowance.
    pub priority: u8,
    /// What happens at the bound.
    pub at_bound: AtBound,
    /// Thousandths of the budget on disk that it may take, 1 to [`SHARE_PERMILLE_MAX`].
    pub share_permille: u16,
    /// Records older than this are worthless, in milliseconds of observed running time; 0 for never.
    pub expire_ms: u64,
    /// Each record is synced at once, without waiting for others.
    pub sync: bool,
}

impl Default for StreamPolicy {
    fn default() -> StreamPolicy {
        StreamPolicy {
            priority: 1,
            at_bound: AtBound::DropOldest,
            share_permille: SHARE_PERMILLE_MAX,
            expire_ms: 0,
            sync: false,
        }
    }
}

impl StreamPolicy {
    /// Whether the numbers are in range.
    ///
    /// # Errors
    /// Names the one that is not.
    pub fn check(&self) -> Result<(), OptionsError> {
        if (1..=SHARE_PERMILLE_MAX).contains(&self.share_permille) {
            Ok(())
        } else {
            Err(OptionsError::Share { permille: self.share_permille })
        }
    }
}

/// The name of a stream: 1 to [`STREAM_NAME_BYTES_MAX`] of `a-z A-Z 0-9 . _ -`, the first a letter or digit. So it is one
/// level of an MQTT topic without wildcards, a file name that is not hidden and does not climb, and a label value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamName(String);

impl StreamName {
    /// Checks a name.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(name: &str) -> Result<StreamName, OptionsError> {
        let fits = (1..=STREAM_NAME_BYTES_MAX).contains(&name.len());
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        let begins = name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if fits && begins && name.bytes().all(allowed) {
            Ok(StreamName(name.to_owned()))
        } else {
            let shown = name.chars().take(STREAM_NAME_BYTES_MAX).collect();
            Err(OptionsError::Name { name: shown, bytes: name.len() })
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tag in the log.
    #[must_use]
    pub fn tag(&self) -> StreamTag {
        StreamTag(crc32c::crc32c(self.0.as_bytes()))
    }
}

impl std::fmt::Display for StreamName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stream in the log: the CRC32C of its name, so that records keep their stream when every definition is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamTag(pub u32);

impl std::fmt::Display for StreamTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{:08x}", self.0)
    }
}

/// The name of a record within the spool, never given to two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// Its stream.
    pub stream: StreamTag,
    /// Grows by one within the stream, from 1.
    pub sequence: u64,
    /// The session in which it was appended. Part of the name because a sequence number whose record was lost with the
    /// power may be given again.
    pub epoch: u32,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The far side has it. The only one that is no loss.
    Acknowledged,
    /// It got older than its stream allows.
    Expired,
    /// It made room at the bound on disk.
    Full,
    /// Its history was made coarser at the bound on disk.
    Thinned,
    /// It was there and is not any more: damage, a removed file, or an unsynced write torn by a power cut.
    Lost,
    /// It waited in memory for a disk that does not take it, and made room.
    Storage,
    /// It waited in memory for the daily allowance of writes, and made room.
    WriteBudget,
    /// The receiver will never take it.
    Rejected,
    /// It was not accepted, so it has no sequence number.
    Refused,
}

impl Fate {
    /// Every fate, in the order in which the log counts them.
    pub const ALL: [Fate; 9] = [
        Fate::Acknowledged,
        Fate::Expired,
        Fate::Full,
        Fate::Thinned,
        Fate::Lost,
        Fate::Storage,
        Fate::WriteBudget,
        Fate::Rejected,
        Fate::Refused,
    ];

    /// Fixed word for metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Fate::Acknowledged => "acknowledged",
            Fate::Expired => "expired",
            Fate::Full => "full",
            Fate::Thinned => "thinned",
            Fate::Lost => "lost",
            Fate::Storage => "storage",
            Fate::WriteBudget => "write-budget",
            Fate::Rejected => "rejected",
            Fate::Refused => "refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_hurt_a_file_system_or_a_topic_are_refused() {
        let long = "x".repeat(STREAM_NAME_BYTES_MAX);
        for good in ["a", "0", "camera-1", "a.b_c", long.as_str()] {
            assert_eq!(StreamName::new(good).unwrap().as_str(), good);
        }
        let longer = "x".repeat(STREAM_NAME_BYTES_MAX + 1);
        for bad in [
            "", ".", "..", "../etc", "a/b", "/", "a\0", "+", "#", "a+b", "$SYS", "-rf", "_x", "ä",
            "a b", "a\n", ".hidden", &longer,
        ] {
            assert!(StreamName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bounds_that_cannot_work_are_refused() {
        assert_eq!(Options::default().check(), Ok(()));
        let small = Options { budget_bytes: BUDGET_BYTES_MIN - 1, ..Options::default() };
        assert!(small.check().unwrap_err().to_string().contains("1048576"));
        assert!(Options { memory_bytes: 1, ..Options::default() }.check().is_err());
        let writes = Options { write_bytes_per_day: Some(1), ..Options::default() };
        assert!(writes.check().is_err());
        for (permille, fits) in [(0, false), (1, true), (1000, true), (1001, false)] {
            let policy = StreamPolicy { share_permille: permille, ..StreamPolicy::default() };
            assert_eq!(policy.check().is_ok(), fits, "{permille}");
        }
    }
}
