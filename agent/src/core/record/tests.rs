//! Messages written, read back, cut off, flipped and claimed to be larger than they are.

use std::sync::Arc;

use ::bytes::Bytes;
use proptest::prelude::*;

use super::bytes::put_varint;
use super::checksum::crc32c;
use super::compress::{Effort, Trial};
use super::*;
use crate::core::time::ClockQuality;

fn entry(sequence: u64, payload: &[u8]) -> Entry {
    Entry {
        sequence,
        gone: 0,
        stamp: Stamp::default(),
        content_type: None,
        part: None,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn message(epoch: u32, entries: &[Entry], effort: Effort) -> Bytes {
    let mut encoder = Encoder::new(epoch, ITEMS_BYTES_MAX);
    for entry in entries {
        assert!(encoder.push(entry), "{entry:?}");
    }
    Bytes::from(encoder.finish(effort, &mut Trial::default()))
}

/// A message around `items` with a right checksum.
fn around(head: &[u8], items: &[u8]) -> Bytes {
    let mut message = head.to_vec();
    message.extend_from_slice(items);
    let checksum = crc32c(&message);
    message.extend(checksum.to_le_bytes());
    Bytes::from(message)
}

#[test]
fn the_bytes_are_fixed() {
    let wall = Wall { offset_ms: 1_795_211_071_000, quality: ClockQuality::Synchronised };
    let stamp = |boot_ms| Stamp { boot: BootId([7; 16]), boot_ms, wall: Some(wall) };
    let json = Some(Arc::from("application/json"));
    let entries = [
        Entry { stamp: stamp(60_000), content_type: json.clone(), ..entry(300, b"{}") },
        Entry { stamp: stamp(60_010), content_type: json, gone: 2, ..entry(303, b"") },
        Entry { stamp: Stamp { wall: None, ..stamp(60_005) }, ..entry(304, b"x") },
        Entry {
            stamp: Stamp { boot: BootId::default(), boot_ms: 1, wall: None },
            part: Some(Part { total: 70_000, offset: 65_000 }),
            ..entry(305, b"tail")
        },
    ];
    let mut expected = vec![0x02, 0x00, 0xc1, 0x02, 0xac, 0x02];
    expected.push(0x02);
    expected.extend([7; 16]);
    expected.extend([0x03, 0xb0, 0xb8, 0xd8, 0xae, 0xbf, 0x68, 0x02]);
    expected.extend([0x05, 16]);
    expected.extend(b"application/json");
    expected.extend([0x00, 0x00, 0xc0, 0xa9, 0x07, 0x02, b'{', b'}']);
    expected.extend([0x00, 0x02, 0x14, 0x00]);
    expected.extend([0x04, 0x05, 0x00, 0x00, 0x00, 0x09, 0x01, b'x', 0x02]);
    expected.extend([0; 16]);
    expected.extend([0x01, 0x00, 0x02, 0xf0, 0xa2, 0x04, 0xe8, 0xfb, 0x03, 0x04]);
    expected.extend(b"tail");
    expected.extend(crc32c(&expected).to_le_bytes());
    let message = message(321, &entries, Effort::None);
    assert_eq!(message, expected);
    assert_eq!(decode(&message), Ok(Message { epoch: 321, entries: entries.to_vec() }));
}

#[test]
fn repetition_travels_compressed_and_noise_does_not() {
    let line = b"{\"sensor\":\"gas-1\",\"temperature\":21.5,\"status\":\"ok\"}\n";
    let entries: Vec<Entry> = (0..50).map(|sequence| entry(sequence, line)).collect();
    let compressed = message(1, &entries, Effort::Light);
    assert_eq!(compressed[1], FLAG_COMPRESSED);
    assert!(compressed.len() * 5 < message(1, &entries, Effort::None).len());
    assert_eq!(decode(&compressed).unwrap().entries, entries);
}

#[test]
fn a_message_ends_at_its_bound_and_a_part_fills_it() {
    let payload = vec![9; 10_000];
    let whole = entry(5, &payload);
    let mut encoder = Encoder::new(1, 1_000);
    assert!(!encoder.push(&whole));
    assert_eq!(encoder.entries(), 0);
    let part = Entry {
        part: Some(Part { total: 10_000, offset: 0 }),
        payload: whole.payload.slice(..1_000 - FRAMING_BYTES_MAX),
        stamp: Stamp {
            boot: BootId([1; 16]),
            boot_ms: u64::MAX,
            wall: Some(Wall { offset_ms: i64::MIN, quality: ClockQuality::Synchronised }),
        },
        content_type: Some("t".repeat(CONTENT_TYPE_BYTES_MAX).into()),
        ..whole
    };
    assert!(encoder.push(&part));
    assert!(encoder.bytes() <= 1_000);
    let message = encoder.finish(Effort::None, &mut Trial::default());
    assert!(message.len() <= 1_000);
    assert_eq!(decode(&Bytes::from(message)).unwrap().entries, [part]);
}

#[test]
fn a_record_that_does_not_follow_begins_another_message() {
    let mut encoder = Encoder::new(1, 1_000);
    assert!(encoder.push(&Entry { gone: 3, ..entry(10, b"") }));
    assert!(!encoder.push(&entry(12, b"")), "11 may still be on its way in another message");
    assert!(!encoder.push(&entry(10, b"")));
    assert!(encoder.push(&Entry { gone: 1, ..entry(12, b"") }));
    assert!(!Encoder::new(1, 1_000).push(&Entry { gone: 1, ..entry(0, b"") }));
}

#[test]
fn claims_beyond_the_bounds_are_refused() {
    let limit =
        |what, found, limit: usize| Err(RecordError::Limit { what, found, limit: limit as u64 });
    let many = [0, 0, 0, 0].repeat(RECORDS_MAX + 1);
    assert_eq!(
        decode(&around(&[FORM, 0, 0, 0], &many)),
        limit("records", RECORDS_MAX as u64 + 1, RECORDS_MAX)
    );
    let mut bomb = Vec::new();
    put_varint(&mut bomb, 1 << 40);
    assert_eq!(
        decode(&around(&[FORM, FLAG_COMPRESSED, 0, 0], &bomb)),
        limit("bytes of items", 1 << 40, ITEMS_BYTES_MAX)
    );
    assert_eq!(
        decode(&around(&[FORM, FLAG_COMPRESSED, 0, 0, 9], b"no")),
        Err(RecordError::Compressed)
    );
    assert_eq!(decode(&around(&[FORM, 0, 0, 0], &[77])), Err(RecordError::Item { index: 0 }));
    assert_eq!(decode(&around(&[FORM, 0x82, 0, 0], &[])), Err(RecordError::Flags { found: 0x82 }));
    assert_eq!(decode(&around(&[FORM, 0], &[0xff; 6])), Err(RecordError::Header));
    assert_eq!(decode(&Bytes::from_static(b"{}")), Err(RecordError::Form { found: b'{' }));
    assert_eq!(decode(&Bytes::new()), Err(RecordError::Empty));
    // A part that ends behind its record, and a sequence after the last.
    assert_eq!(
        decode(&around(&[FORM, 0, 0, 0], &[1, 0, 0, 3, 2, 2, 0, 0])),
        Err(RecordError::Item { index: 0 })
    );
    let mut last = vec![0];
    put_varint(&mut last, u64::MAX);
    last.extend([0, 0]);
    assert_eq!(decode(&around(&[FORM, 0, 0, 0], &last)), Err(RecordError::Item { index: 0 }));
}

#[test]
fn names_of_streams_are_the_same_everywhere() {
    for name in ["gps", "0", "lidar-front_2.raw", &"a".repeat(64)] {
        assert_eq!(check_stream_name(name), Ok(()));
    }
    for name in
        ["", ".", "..", "-a", "A", "a/b", "a+", "#", "a b", "a\0", "ä", "a\n", &"a".repeat(65)]
    {
        assert!(check_stream_name(name).is_err(), "{name:?}");
    }
}

fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    let stamp = (0_u8..3, 0_u64..1 << 45, proptest::option::of((any::<i64>(), any::<bool>())))
        .prop_map(|(boot, boot_ms, wall)| Stamp {
            boot: BootId([boot; 16]),
            boot_ms,
            wall: wall.map(|(offset_ms, synchronised)| Wall {
                offset_ms,
                quality: if synchronised {
                    ClockQuality::Synchronised
                } else {
                    ClockQuality::Unsynchronised
                },
            }),
        });
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        (0_usize..400).prop_map(|length| b"temperature ".repeat(length / 12)),
    ];
    let part = proptest::option::weighted(0.2, (0_u64..1 << 40, 0_u64..1 << 40));
    let content_type = proptest::option::of("[a-z]{1,10}");
    let entry = (0_u64..4, stamp, content_type, part, payload);
    (0_u64..1 << 60, prop::collection::vec(entry, 0..40)).prop_map(|(first, entries)| {
        let numbered = entries.into_iter().scan(first, |next, entry| {
            let (gone, stamp, content_type, part, payload) = entry;
            let sequence = *next + gone;
            *next = sequence + 1;
            let part = part
                .map(|(offset, more)| Part { total: offset + payload.len() as u64 + more, offset });
            let content_type = content_type.map(Arc::from);
            let payload = Bytes::from(payload);
            Some(Entry { sequence, gone, stamp, content_type, part, payload })
        });
        numbered.collect()
    })
}

proptest! {
    #[test]
    fn every_message_reads_back(
        epoch in any::<u32>(),
        entries in any_entries(),
        effort in prop::sample::select(vec![Effort::None, Effort::Light, Effort::Strong]),
    ) {
        let message = message(epoch, &entries, effort);
        prop_assert_eq!(decode(&message), Ok(Message { epoch, entries }));
    }

    /// No damage goes unnoticed: up to 3 changed bits in messages of this length are within what CRC-32C always finds.
    #[test]
    fn damage_is_noticed(
        entries in any_entries(),
        flips in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let message = message(1, &entries, Effort::Light);
        prop_assert!(decode(&message.slice(..cut.index(message.len()))).is_err());
        let mut damaged = message.to_vec();
        let bits: std::collections::BTreeSet<usize> =
            flips.iter().map(|flip| flip.index(damaged.len() * 8)).collect();
        for bit in bits {
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
        prop_assert!(decode(&Bytes::from(damaged)).is_err());
    }

    /// Whatever comes with a right checksum: no panic, and what is read keeps the bounds.
    #[test]
    fn no_bytes_can_hurt(
        flags in 0_u8..2,
        content in prop::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..120),
    ) {
        if let Ok(message) = decode(&around(&[FORM, flags], &content)) {
            prop_assert!(message.entries.len() <= RECORDS_MAX);
        }
        let _ = decode(&Bytes::from(content));
    }

    #[test]
    fn a_changed_item_is_read_or_refused(
        entries in any_entries(),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let message = message(1, &entries, Effort::None);
        let mut content = message[..message.len() - 4].to_vec();
        let position = position.index(content.len());
        content[position] = byte;
        if let Ok(message) = decode(&around(&content, &[])) {
            let bytes: usize = message.entries.iter().map(|entry| entry.payload.len()).sum();
            prop_assert!(bytes <= content.len() || content[1] == FLAG_COMPRESSED);
        }
    }
}
