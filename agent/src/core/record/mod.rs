//! Gathered records on their way: several records of one stream become one MQTT message, and a message becomes records
//! again. Pure bytes: when anything is sent is decided in `core::delivery`, what a record says is nobody's business here.
//!
//! The vehicle and the stream are levels of the topic, `<prefix>/<vehicle>/stream/<name>`. Together with epoch and sequence
//! they name a record for ever, so that a receiver can drop what comes twice ([`dedup`]). Each start of the agent begins an
//! epoch; sequences of a stream go on across epochs.
//!
//! # Format, version 2 of the first byte
//!
//! Telemetry frames begin with 1, JSON with `{`; a message of records begins with 2. *varint* is LEB128 of an unsigned 64-bit
//! number, *signed* a varint of its zigzag form (0, -1, 1, -2 are 0, 1, 2, 3).
//!
//! ```text
//! message  = 02, flags, epoch varint, first varint, body, checksum
//! flags    = bit 0: the body is compressed; the others are zero
//! body     = items                                             as it is
//!          | length of the items varint, DEFLATE of the items  compressed (RFC 1951, without zlib or gzip framing)
//! checksum = CRC-32C of everything before it, 4 bytes, little-endian
//!
//! item     = 00, gone varint, time signed, length varint, payload                 a whole record
//!          | 01, gone varint, time signed, total varint, offset varint,
//!                length varint, bytes                                             part of a record too large for one message
//!          | 02, 16 bytes                                                         boot id of what follows
//!          | 03, offset_ms signed, quality byte (1 unsynchronised, 2 synchronised)  wall clock of what follows
//!          | 04                                                                   what follows has no wall clock
//!          | 05, length varint, UTF-8                                             content type of what follows; empty is none
//! ```
//!
//! `first` is a sequence. Each record adds `gone` to it, has the sum as its own sequence, and leaves the number after that
//! for the next. `gone` is how many sequences before a record the vehicle no longer holds: delivered earlier, expired or
//! dropped. A receiver need not wait for them.
//!
//! `time` is milliseconds since boot minus those of the record before; the first after the start or after a boot id counts
//! from 0. A message begins with an unknown boot (all zero), no wall clock and no content type. Wall time of a record is its
//! milliseconds since boot plus `offset_ms`.
//!
//! # Why so
//!
//! - Boot, clock and content type hold for all that follows: a small record costs 4 to 6 bytes of framing.
//! - The checksum is there although MQTT runs over TCP: a broker keeps messages in memory and on disk, and what the vehicle
//!   forgets on an acknowledgement exists nowhere else.
//! - A record too large for one message, or for the broker's largest packet, travels in parts and is forgotten when all of them
//!   are acknowledged.
//!
//! # Bounds
//!
//! [`ITEMS_BYTES_MAX`], [`RECORDS_MAX`], [`CONTENT_TYPE_BYTES_MAX`]; a decoder refuses more before it allocates.

pub mod assemble;
mod bytes;
pub(crate) mod checksum;
pub mod compress;
mod decode;
pub mod dedup;
mod encode;
pub mod file;
mod ranges;
pub mod stored;

use std::sync::Arc;

use ::bytes::Bytes;

pub use self::decode::{RecordError, decode};
pub use self::encode::{Encoder, FRAMING_BYTES_MAX};
pub(crate) use self::ranges::Ranges;
use crate::core::telemetry::{BootId, Wall};
use crate::core::time::{ClockQuality, Now};

/// First byte of every message. A form that an older decoder would misread gets another one.
pub const FORM: u8 = 2;

/// Bytes of the items of one message before compression. Bounds what a hostile message can make a receiver allocate; eight
/// times what a sender puts in one.
pub const ITEMS_BYTES_MAX: usize = 1 << 20;

/// Records and parts in one message: bounds the receiver's memory for tiny records to about half a megabyte.
pub const RECORDS_MAX: usize = 4096;

/// Bytes of a content type; RFC 6838 section 4.2 allows 127 for each half, nobody uses them.
pub const CONTENT_TYPE_BYTES_MAX: usize = 127;

/// Longest name of a stream in bytes: it is a level of a topic, a label of a metric and perhaps a name of a file.
pub const STREAM_NAME_BYTES_MAX: usize = 64;

/// Bit of the flags: the body is compressed.
const FLAG_COMPRESSED: u8 = 1;

const ITEM_RECORD: u8 = 0;
const ITEM_PART: u8 = 1;
const ITEM_BOOT: u8 = 2;
const ITEM_WALL: u8 = 3;
const ITEM_NO_WALL: u8 = 4;
const ITEM_CONTENT_TYPE: u8 = 5;

/// When a record came into being.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The boot that `boot_ms` counts from; all zero is unknown.
    pub boot: BootId,
    /// Milliseconds since that boot.
    pub boot_ms: u64,
    /// Wall clock, if it could be believed.
    pub wall: Option<Wall>,
}

impl Stamp {
    /// What comes into being `now`, in this boot.
    #[must_use]
    pub fn of(boot: BootId, now: Now) -> Stamp {
        let boot_ms = now.mono.millis();
        let wall = (now.quality != ClockQuality::Unset).then(|| Wall {
            offset_ms: now.wall_ms.saturating_sub_unsigned(boot_ms),
            quality: now.quality,
        });
        Stamp { boot, boot_ms, wall }
    }

    /// Wall time in milliseconds since 1970, if it could be believed.
    #[must_use]
    pub fn wall_ms(&self) -> Option<i64> {
        i64::try_from(self.boot_ms).ok()?.checked_add(self.wall?.offset_ms)
    }
}

/// Which bytes of a record a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes of the whole record.
    pub total: u64,
    /// Where the part begins.
    pub offset: u64,
}

/// One record, or part of one, in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its sequence in its epoch.
    pub sequence: u64,
    /// Sequences directly before it that the vehicle no longer holds.
    pub gone: u64,
    /// When it came into being.
    pub stamp: Stamp,
    /// What its payload is, such as `application/json`, when the vehicle said.
    pub content_type: Option<Arc<str>>,
    /// `None`: `payload` is the whole record.
    pub part: Option<Part>,
    /// The bytes.
    pub payload: Bytes,
}

/// What one message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Numbering of the stream that the sequences belong to.
    pub epoch: u32,
    /// In the order of the message.
    pub entries: Vec<Entry>,
}

/// Checks the name of a stream: lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or digit, at most
/// [`STREAM_NAME_BYTES_MAX`] bytes. Such a name is the same in a topic, in a label and in a file system that ignores case.
///
/// # Errors
///
/// When it is none, with the rule for a person.
pub fn check_stream_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.len() > STREAM_NAME_BYTES_MAX {
        return Err(format!(
            "a stream's name has at most {STREAM_NAME_BYTES_MAX} characters, this one has {}",
            name.len()
        ));
    }
    let first = name.bytes().next().is_some_and(allowed);
    if !first || !name.bytes().all(|byte| allowed(byte) || b"-_.".contains(&byte)) {
        return Err(format!(
            "`{}` is no name for a stream; use lower-case letters, digits, `-`, `_` and `.`, and begin with a letter or digit",
            name.escape_default()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
