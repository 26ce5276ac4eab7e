//! A message into records. Never panics, whatever it is given, and allocates in proportion to what it was given or to the
//! bounds of the format.

use std::fmt;
use std::sync::Arc;

use ::bytes::Bytes;

use super::bytes::Reader;
use super::checksum::crc32c;
use super::compress::decompress;
use super::{
    CONTENT_TYPE_BYTES_MAX, Entry, FLAG_COMPRESSED, FORM, ITEM_BOOT, ITEM_CONTENT_TYPE,
    ITEM_NO_WALL, ITEM_PART, ITEM_RECORD, ITEM_WALL, ITEMS_BYTES_MAX, Message, Part, RECORDS_MAX,
    Stamp,
};
use crate::core::telemetry::{BootId, Wall};
use crate::core::time::ClockQuality;

/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 4;

/// Why bytes are not a message of records. Retrying the same bytes never helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// No bytes.
    Empty,
    /// The first byte is not [`FORM`].
    Form {
        /// What it is.
        found: u8,
    },
    /// Flags that this program does not know.
    Flags {
        /// All of them.
        found: u8,
    },
    /// The checksum is not that of the content: cut off or changed on the way.
    Checksum,
    /// The part in front of the items is malformed.
    Header,
    /// Something is beyond what any sender writes.
    Limit {
        /// What.
        what: &'static str,
        /// How many there are said to be.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The compressed items do not unpack to what they are said to be.
    Compressed,
    /// An item is malformed or unknown.
    Item {
        /// Its place, from 0.
        index: usize,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Empty => write!(f, "message of records is empty"),
            RecordError::Form { found } => write!(
                f,
                "message begins with {found}, records begin with {FORM}: not a stream's payload, or one of a newer agent \
                 (use its receiver)"
            ),
            RecordError::Flags { found } => write!(
                f,
                "message of records has unknown flags {found:#04x}: it is from a newer agent (use its receiver)"
            ),
            RecordError::Checksum => write!(
                f,
                "message of records has a wrong checksum: it was damaged between the vehicle and here; check the broker's \
                 memory and disk"
            ),
            RecordError::Header => write!(f, "message of records has a malformed header"),
            RecordError::Limit { what, found, limit } => {
                write!(f, "message of records claims {found} {what}, the limit is {limit}")
            }
            RecordError::Compressed => {
                write!(f, "message of records does not unpack to the length it claims")
            }
            RecordError::Item { index } => {
                write!(f, "message of records is malformed or of a newer agent at item {index}")
            }
        }
    }
}

impl std::error::Error for RecordError {}

/// Reads a message. Payloads of a message that is not compressed share its memory.
///
/// # Errors
///
/// When the bytes are not a message of this version, whole and undamaged. Nothing of a damaged message is used.
pub fn decode(message: &Bytes) -> Result<Message, RecordError> {
    let form = *message.first().ok_or(RecordError::Empty)?;
    if form != FORM {
        return Err(RecordError::Form { found: form });
    }
    let end = message.len().checked_sub(CHECKSUM_BYTES).ok_or(RecordError::Checksum)?;
    let (content, checksum) = message.split_at(end);
    if crc32c(content).to_le_bytes() != checksum {
        return Err(RecordError::Checksum);
    }
    let mut reader = Reader::new(content);
    let flags = match (reader.byte(), reader.byte()) {
        (Some(_), Some(flags)) => flags,
        _ => return Err(RecordError::Header),
    };
    if flags & !FLAG_COMPRESSED != 0 {
        return Err(RecordError::Flags { found: flags });
    }
    let epoch = reader.varint().and_then(|epoch| u32::try_from(epoch).ok());
    let epoch = epoch.ok_or(RecordError::Header)?;
    let first = reader.varint().ok_or(RecordError::Header)?;
    let items = if flags & FLAG_COMPRESSED == 0 {
        message.slice(reader.position()..end)
    } else {
        let length = reader.varint().ok_or(RecordError::Header)?;
        let length = within("bytes of items", length, ITEMS_BYTES_MAX)?;
        Bytes::from(decompress(reader.rest(), length).ok_or(RecordError::Compressed)?)
    };
    within("bytes of items", items.len() as u64, ITEMS_BYTES_MAX)?;
    Ok(Message { epoch, entries: read_items(&items, first)? })
}

fn within(what: &'static str, found: u64, limit: usize) -> Result<usize, RecordError> {
    match usize::try_from(found) {
        Ok(number) if number <= limit => Ok(number),
        _ => Err(RecordError::Limit { what, found, limit: limit as u64 }),
    }
}

/// What holds for the next record.
struct Context {
    sequence: u64,
    stamp: Stamp,
    content_type: Option<Arc<str>>,
}

fn read_items(items: &Bytes, first: u64) -> Result<Vec<Entry>, RecordError> {
    let mut context = Context { sequence: first, stamp: Stamp::default(), content_type: None };
    let mut reader = Reader::new(items);
    let mut entries = Vec::new();
    let mut index = 0;
    while !reader.at_end() {
        let entry =
            read_item(items, &mut reader, &mut context).ok_or(RecordError::Item { index })?;
        if let Some(entry) = entry {
            within("records", entries.len() as u64 + 1, RECORDS_MAX)?;
            entries.push(entry);
        }
        index += 1;
    }
    Ok(entries)
}

/// Reads one item; an entry only when it is one. `None` when it is malformed.
fn read_item(
    items: &Bytes,
    reader: &mut Reader<'_>,
    context: &mut Context,
) -> Option<Option<Entry>> {
    match reader.byte()? {
        ITEM_RECORD => return read_entry(items, reader, context, false).map(Some),
        ITEM_PART => return read_entry(items, reader, context, true).map(Some),
        ITEM_BOOT => {
            context.stamp.boot = BootId(reader.take(16)?.try_into().ok()?);
            context.stamp.boot_ms = 0;
        }
        ITEM_WALL => {
            let offset_ms = reader.signed()?;
            let quality = match reader.byte()? {
                1 => ClockQuality::Unsynchronised,
                2 => ClockQuality::Synchronised,
                _ => return None,
            };
            context.stamp.wall = Some(Wall { offset_ms, quality });
        }
        ITEM_NO_WALL => context.stamp.wall = None,
        ITEM_CONTENT_TYPE => {
            let text = std::str::from_utf8(reader.sized()?).ok()?;
            if text.len() > CONTENT_TYPE_BYTES_MAX {
                return None;
            }
            context.content_type = (!text.is_empty()).then(|| Arc::from(text));
        }
        _ => return None,
    }
    Some(None)
}

fn read_entry(
    items: &Bytes,
    reader: &mut Reader<'_>,
    context: &mut Context,
    is_part: bool,
) -> Option<Entry> {
    let gone = reader.varint()?;
    let sequence = context.sequence.checked_add(gone)?;
    context.sequence = sequence.checked_add(1)?;
    context.stamp.boot_ms = context.stamp.boot_ms.wrapping_add(reader.signed()? as u64);
    let part = if is_part {
        Some(Part { total: reader.varint()?, offset: reader.varint()? })
    } else {
        None
    };
    let payload = reader.sized()?;
    let end = reader.position();
    if let Some(part) = part {
        part.offset.checked_add(payload.len() as u64).filter(|end| *end <= part.total)?;
    }
    Some(Entry {
        sequence,
        gone,
        stamp: context.stamp,
        content_type: context.content_type.clone(),
        part,
        payload: items.slice(end - payload.len()..end),
    })
}
