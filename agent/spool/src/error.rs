//! Errors, each with operation, object and remedy. Damage and failing disks are not among them: those are states.

use std::fmt;
use std::io;

use crate::limits::{
    BUDGET_BYTES_MAX, BUDGET_BYTES_MIN, MEMORY_BYTES_MIN, SHARE_PERMILLE_MAX,
    STREAM_NAME_BYTES_MAX, STREAMS_MAX, WRITE_BYTES_PER_DAY_MIN,
};

/// A setting that cannot work. Trying again does not help before it is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionsError {
    /// The budget on disk is too small or too large.
    Budget {
        /// What was asked for.
        bytes: u64,
    },
    /// The memory is too small.
    Memory {
        /// What was asked for.
        bytes: usize,
    },
    /// The daily allowance of writes is too small.
    Writes {
        /// What was asked for.
        bytes: u64,
    },
    /// A stream's share is out of range.
    Share {
        /// What was asked for.
        permille: u16,
    },
    /// Not a name for a stream.
    Name {
        /// Its beginning.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// There are as many streams as can be, all of them in use.
    Streams,
    /// Another stream has the same tag.
    SameTag {
        /// The other stream.
        other: String,
    },
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionsError::Budget { bytes } => {
                write!(
                    f,
                    "a spool cannot have {bytes} bytes; give it {BUDGET_BYTES_MIN} to {BUDGET_BYTES_MAX}"
                )
            }
            OptionsError::Memory { bytes } => write!(
                f,
                "{bytes} bytes of memory cannot hold the records of a spool; give it at least {MEMORY_BYTES_MIN}"
            ),
            OptionsError::Writes { bytes } => write!(
                f,
                "{bytes} bytes a day are too few to write; allow at least {WRITE_BYTES_PER_DAY_MIN}, or do not limit them"
            ),
            OptionsError::Share { permille } => write!(
                f,
                "a stream's share of {permille} thousandths is out of range; give it 1 to {SHARE_PERMILLE_MAX}"
            ),
            OptionsError::Name { name, bytes } => write!(
                f,
                "{name:?} ({bytes} bytes) cannot name a stream; use 1 to {STREAM_NAME_BYTES_MAX} of a-z A-Z 0-9 . _ - and begin \
                 with a letter or digit"
            ),
            OptionsError::Streams => {
                write!(
                    f,
                    "the spool has {STREAMS_MAX} streams, which is all it can have, and all are in use; use one of them, or let \
                     one empty whose name is not declared any more"
                )
            }
            OptionsError::SameTag { other } => {
                write!(f, "the name has the same checksum as stream `{other}`; change it a little")
            }
        }
    }
}

impl std::error::Error for OptionsError {}

/// A spool could not be opened. Damage is never a reason, a disk that does not read is.
#[derive(Debug)]
pub enum OpenError {
    /// A setting cannot work.
    Options(OptionsError),
    /// Another process has it. Helps to try again once that one ended.
    Locked,
    /// The disk lists files of the spool, or not even that, and would not read what has to be known before anything is written.
    /// Nothing was begun, counted or set aside. Helps to try again, as often as it takes.
    Unreadable(DiskError),
    /// Its thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Options(error) => error.fmt(f),
            OpenError::Locked => f.write_str(
                "another process writes to this spool; stop it, or give this one another folder",
            ),
            OpenError::Unreadable(error) => write!(f, "{error}: {}", error.source),
            OpenError::Thread(_) => {
                f.write_str("cannot start the spool's thread; free some memory")
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Thread(error) => Some(error),
            OpenError::Unreadable(error) => Some(error),
            OpenError::Options(_) | OpenError::Locked => None,
        }
    }
}

impl From<OptionsError> for OpenError {
    fn from(error: OptionsError) -> OpenError {
        OpenError::Options(error)
    }
}

/// A record was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// It is larger than any record of this spool may be. Trying again does not help.
    TooLarge {
        /// Its length.
        bytes: usize,
        /// What would fit.
        bytes_max: usize,
    },
    /// No such stream was defined. Trying again does not help.
    UnknownStream,
    /// The stream is at its bound, or the spool is and nothing less important could go. Helps to try again when data has
    /// left.
    Full,
    /// The disk takes nothing, and memory is full of records that wait for it. Helps to try again later.
    Degraded,
    /// Memory is full of records that wait for today's allowance of writes. Helps to try again later.
    WriteBudget,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::TooLarge { bytes, bytes_max } => write!(
                f,
                "a record of {bytes} bytes is too large; cut it into parts of at most {bytes_max}"
            ),
            AppendError::UnknownStream => f.write_str("no such stream; define it first"),
            AppendError::Full => f.write_str("the spool is full; try again when data has left"),
            AppendError::Degraded => f.write_str(
                "the disk takes no data and memory is full; repair the disk or try again later",
            ),
            AppendError::WriteBudget => f.write_str(
                "today's allowance of writes is used up and memory is full; try again later",
            ),
        }
    }
}

impl std::error::Error for AppendError {}

/// A disk that did not do what it was asked.
#[derive(Debug)]
pub struct DiskError {
    /// What was tried, such as `sync`.
    pub operation: &'static str,
    /// File within the spool's folder.
    pub file: String,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    pub(crate) fn new(operation: &'static str, file: &str, source: io::Error) -> DiskError {
        DiskError { operation, file: file.to_owned(), source }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {} in the spool's folder", self.operation, self.file)
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
