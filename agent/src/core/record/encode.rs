//! Records into a message.

use std::sync::Arc;

use super::bytes::{VARINT_BYTES_MAX, put_signed, put_varint};
use super::checksum::crc32c;
use super::compress::{Effort, Trial};
use super::{
    CONTENT_TYPE_BYTES_MAX, Entry, FLAG_COMPRESSED, FORM, ITEM_BOOT, ITEM_CONTENT_TYPE,
    ITEM_NO_WALL, ITEM_PART, ITEM_RECORD, ITEM_WALL, ITEMS_BYTES_MAX, RECORDS_MAX,
};
use crate::core::telemetry::{BootId, Wall};
use crate::core::time::ClockQuality;

/// Bytes of a message that are not items: form, flags, epoch, first sequence and checksum. Compression adds a length, but is
/// only used where it saves more than that.
const MESSAGE_FRAMING_BYTES_MAX: usize = 2 + 2 * VARINT_BYTES_MAX + 4;

/// Most bytes that a message with one record has beside the record's payload: kind and five numbers, boot id, wall clock,
/// content type. What a packet has beyond this can be filled with a part of a record.
pub const FRAMING_BYTES_MAX: usize = MESSAGE_FRAMING_BYTES_MAX
    + (1 + 5 * VARINT_BYTES_MAX)
    + 17
    + (2 + VARINT_BYTES_MAX)
    + (2 + CONTENT_TYPE_BYTES_MAX);

/// Builds one message.
#[derive(Debug)]
pub struct Encoder {
    epoch: u32,
    message_bytes_max: usize,
    items: Vec<u8>,
    entries: usize,
    /// Sequence that the message begins with.
    first: u64,
    /// What follows without saying so.
    context: Context,
}

/// What a reader assumes of the next record.
#[derive(Clone, Debug, Default)]
struct Context {
    sequence: u64,
    boot: BootId,
    boot_ms: u64,
    wall: Option<Wall>,
    content_type: Option<Arc<str>>,
}

impl Encoder {
    /// An empty message of at most `message_bytes_max` bytes for records of `epoch`.
    #[must_use]
    pub fn new(epoch: u32, message_bytes_max: usize) -> Encoder {
        Encoder {
            epoch,
            message_bytes_max: message_bytes_max.min(ITEMS_BYTES_MAX + MESSAGE_FRAMING_BYTES_MAX),
            items: Vec::new(),
            entries: 0,
            first: 0,
            context: Context::default(),
        }
    }

    /// Appends a record. False, and nothing has changed, when it does not fit, or does not follow the record before it: its
    /// `gone` must reach back exactly to that.
    ///
    /// A content type that is too long is left out: it is a hint, the record is not.
    #[must_use]
    pub fn push(&mut self, entry: &Entry) -> bool {
        let Some(start) = entry.sequence.checked_sub(entry.gone) else { return false };
        let follows = self.entries == 0 || start == self.context.sequence;
        if !follows || self.entries == RECORDS_MAX || entry.sequence == u64::MAX {
            return false;
        }
        let (length, context) = (self.items.len(), self.context.clone());
        self.write_context(entry);
        self.write_entry(entry);
        if self.items.len() + MESSAGE_FRAMING_BYTES_MAX > self.message_bytes_max {
            self.items.truncate(length);
            self.context = context;
            return false;
        }
        if self.entries == 0 {
            self.first = start;
        }
        self.entries += 1;
        true
    }

    /// Records and parts in it.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes so far, before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.items.len() + MESSAGE_FRAMING_BYTES_MAX
    }

    /// The message. `trial` is what is known of this stream.
    #[must_use]
    pub fn finish(self, effort: Effort, trial: &mut Trial) -> Vec<u8> {
        let compressed = trial.compress(&self.items, effort);
        let body = compressed.as_deref().unwrap_or(&self.items);
        let mut message =
            Vec::with_capacity(body.len() + MESSAGE_FRAMING_BYTES_MAX + VARINT_BYTES_MAX);
        message.extend([FORM, if compressed.is_some() { FLAG_COMPRESSED } else { 0 }]);
        put_varint(&mut message, u64::from(self.epoch));
        put_varint(&mut message, self.first);
        if compressed.is_some() {
            put_varint(&mut message, self.items.len() as u64);
        }
        message.extend_from_slice(body);
        let checksum = crc32c(&message);
        message.extend(checksum.to_le_bytes());
        message
    }

    /// Writes what the reader would otherwise assume wrongly.
    fn write_context(&mut self, entry: &Entry) {
        let Context { boot, boot_ms, wall, content_type, .. } = &mut self.context;
        let items = &mut self.items;
        if entry.stamp.boot != *boot {
            items.push(ITEM_BOOT);
            items.extend(entry.stamp.boot.0);
            (*boot, *boot_ms) = (entry.stamp.boot, 0);
        }
        let entry_wall = entry.stamp.wall.filter(|wall| wall.quality != ClockQuality::Unset);
        if entry_wall != *wall {
            match entry_wall {
                None => items.push(ITEM_NO_WALL),
                Some(Wall { offset_ms, quality }) => {
                    items.push(ITEM_WALL);
                    put_signed(items, offset_ms);
                    items.push(quality_code(quality));
                }
            }
            *wall = entry_wall;
        }
        let short = |text: &&Arc<str>| !text.is_empty() && text.len() <= CONTENT_TYPE_BYTES_MAX;
        let entry_type = entry.content_type.as_ref().filter(short);
        if entry_type != content_type.as_ref() {
            let text = entry_type.map_or("", AsRef::as_ref);
            items.push(ITEM_CONTENT_TYPE);
            put_varint(items, text.len() as u64);
            items.extend_from_slice(text.as_bytes());
            *content_type = entry_type.cloned();
        }
    }

    fn write_entry(&mut self, entry: &Entry) {
        let items = &mut self.items;
        items.push(if entry.part.is_some() { ITEM_PART } else { ITEM_RECORD });
        put_varint(items, entry.gone);
        put_signed(items, entry.stamp.boot_ms.wrapping_sub(self.context.boot_ms) as i64);
        if let Some(part) = entry.part {
            put_varint(items, part.total);
            put_varint(items, part.offset);
        }
        put_varint(items, entry.payload.len() as u64);
        items.extend_from_slice(&entry.payload);
        self.context.boot_ms = entry.stamp.boot_ms;
        self.context.sequence = entry.sequence + 1;
    }
}

fn quality_code(quality: ClockQuality) -> u8 {
    match quality {
        ClockQuality::Unset => 0,
        ClockQuality::Unsynchronised => 1,
        ClockQuality::Synchronised => 2,
    }
}
