//! A record as it lies in the durable queue, which keeps bytes and a number and knows nothing else: when it came into being and
//! what it is stand in front of the payload.
//!
//! ```text
//! stored = 01, boot id 16 bytes, milliseconds since boot varint,
//!          00 | (01 unsynchronised or 02 synchronised, offset_ms signed)   wall clock minus boot clock
//!          length varint, content type; empty is none
//!          payload to the end
//! ```
//!
//! The queue has a checksum for each record, so there is none here.

use std::sync::Arc;

use ::bytes::Bytes;

use super::bytes::{Reader, put_signed, put_varint};
use super::{CONTENT_TYPE_BYTES_MAX, Stamp};
use crate::core::telemetry::{BootId, Wall};
use crate::core::time::ClockQuality;

/// First byte of a stored record.
pub const STORED_VERSION: u8 = 1;

/// What stands in front of the payload, at most.
pub const STORED_OVERHEAD_BYTES_MAX: usize = 1 + 16 + 10 + 1 + 10 + 2 + CONTENT_TYPE_BYTES_MAX;

/// A record without its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// When it came into being.
    pub stamp: Stamp,
    /// What its payload is, when somebody said.
    pub content_type: Option<Arc<str>>,
    /// The bytes.
    pub payload: Bytes,
}

/// The form that is kept. A content type that is too long is left out: it is a hint, the record is not.
#[must_use]
pub fn store(stamp: &Stamp, content_type: Option<&str>, payload: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(payload.len() + 48);
    stored.push(STORED_VERSION);
    stored.extend(stamp.boot.0);
    put_varint(&mut stored, stamp.boot_ms);
    match stamp.wall.map(|wall| (wall.quality, wall.offset_ms)) {
        None | Some((ClockQuality::Unset, _)) => stored.push(0),
        Some((ClockQuality::Unsynchronised, offset_ms)) => {
            stored.push(1);
            put_signed(&mut stored, offset_ms);
        }
        Some((ClockQuality::Synchronised, offset_ms)) => {
            stored.push(2);
            put_signed(&mut stored, offset_ms);
        }
    }
    let text = content_type.filter(|text| text.len() <= CONTENT_TYPE_BYTES_MAX).unwrap_or_default();
    put_varint(&mut stored, text.len() as u64);
    stored.extend_from_slice(text.as_bytes());
    stored.extend_from_slice(payload);
    stored
}

/// Reads what [`store`] wrote. What it did not write, such as a record of a newer agent, is all payload of an unknown time:
/// handed on as it is rather than lost.
#[must_use]
pub fn load(stored: Bytes) -> Stored {
    read(&stored).unwrap_or(Stored { stamp: Stamp::default(), content_type: None, payload: stored })
}

fn read(stored: &Bytes) -> Option<Stored> {
    let mut reader = Reader::new(stored);
    if reader.byte()? != STORED_VERSION {
        return None;
    }
    let boot = BootId(reader.take(16)?.try_into().ok()?);
    let boot_ms = reader.varint()?;
    let quality = match reader.byte()? {
        0 => None,
        1 => Some(ClockQuality::Unsynchronised),
        2 => Some(ClockQuality::Synchronised),
        _ => return None,
    };
    let wall = match quality {
        None => None,
        Some(quality) => Some(Wall { offset_ms: reader.signed()?, quality }),
    };
    let text = std::str::from_utf8(reader.sized()?).ok()?;
    Some(Stored {
        stamp: Stamp { boot, boot_ms, wall },
        content_type: (!text.is_empty()).then(|| Arc::from(text)),
        payload: stored.slice(reader.position()..),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_fixed() {
        let wall = Some(Wall { offset_ms: -2, quality: ClockQuality::Synchronised });
        let stamp = Stamp { boot: BootId([0xab; 16]), boot_ms: 300, wall };
        let mut expected = vec![1];
        expected.extend([0xab; 16]);
        expected.extend([0xac, 0x02, 2, 3, 3]);
        expected.extend(b"a/bpayload");
        assert_eq!(store(&stamp, Some("a/b"), b"payload"), expected);
    }

    #[test]
    fn what_is_not_ours_is_handed_on() {
        for bytes in [&b""[..], b"\x02newer", b"\x01short", b"{\"json\":1}"] {
            let record = load(Bytes::from_static(bytes));
            assert_eq!((record.stamp, &record.payload[..]), (Stamp::default(), bytes));
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_was_written(
            boot in any::<[u8; 16]>(),
            boot_ms in any::<u64>(),
            wall in proptest::option::of((any::<i64>(), any::<bool>())),
            content_type in proptest::option::of("[a-z/]{1,127}"),
            payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let wall = wall.map(|(offset_ms, synchronised)| Wall {
                offset_ms,
                quality: if synchronised {
                    ClockQuality::Synchronised
                } else {
                    ClockQuality::Unsynchronised
                },
            });
            let stamp = Stamp { boot: BootId(boot), boot_ms, wall };
            let bytes = store(&stamp, content_type.as_deref(), &payload);
            prop_assert!(bytes.len() <= payload.len() + STORED_OVERHEAD_BYTES_MAX);
            let stored = load(Bytes::from(bytes));
            prop_assert_eq!(stored.stamp, stamp);
            prop_assert_eq!(stored.content_type.as_deref(), content_type.as_deref());
            prop_assert_eq!(&stored.payload[..], &payload[..]);
        }
    }
}
