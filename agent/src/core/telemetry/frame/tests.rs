//! Frames written, cut off, flipped, claimed to be larger than they are, and read back.

use proptest::prelude::*;

use super::*;

fn any_column(ticks: usize) -> impl Strategy<Value = Vec<Option<i64>>> {
    let value = prop_oneof![
        Just(7_i64),
        -20_i64..20,
        -VALUE_MAX..=VALUE_MAX,
        Just(VALUE_MAX),
        Just(-VALUE_MAX),
    ];
    let gappy = proptest::collection::vec(proptest::option::weighted(0.8, value.clone()), ticks);
    let whole = proptest::collection::vec(value.prop_map(Some), ticks);
    let counter = (0_i64..1 << 40, 0_i64..1000, proptest::collection::vec(0_i64..30, ticks))
        .prop_map(|(first, slope, noise)| {
            (0_i64..).zip(noise).map(|(i, noise)| Some(first + i * slope + noise)).collect()
        });
    prop_oneof![gappy, whole, counter]
}

fn any_batch() -> impl Strategy<Value = Batch> {
    (0_usize..80, 0_usize..12).prop_flat_map(|(ticks, columns)| {
        let columns = proptest::collection::btree_map(0_u32..40, any_column(ticks), columns);
        let ticks = proptest::collection::vec(0_u64..1 << 50, ticks);
        let wall = proptest::option::of((any::<i64>(), any::<bool>()));
        let ids = (any::<[u8; 16]>(), any::<u64>(), any::<u32>());
        (columns, ticks, wall, ids).prop_map(|(columns, ticks_ms, wall, (boot, number, hash))| {
            Batch {
                boot: BootId(boot),
                number,
                dictionary: Version { series: 40, hash },
                wall: wall.map(|(offset_ms, synchronised)| Wall {
                    offset_ms,
                    quality: if synchronised {
                        ClockQuality::Synchronised
                    } else {
                        ClockQuality::Unsynchronised
                    },
                }),
                ticks_ms,
                columns: columns.into_iter().map(|(n, values)| Column::new(n, values)).collect(),
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_batch_comes_back_as_it_was(batch in any_batch()) {
        prop_assert_eq!(decode(&encode(&batch)), Ok(batch));
    }

    #[test]
    fn no_frame_that_is_cut_off_is_accepted(batch in any_batch()) {
        let frame = encode(&batch);
        for length in 0..frame.len() {
            prop_assert!(decode(&frame[..length]).is_err(), "{length} of {}", frame.len());
        }
        let longer = [frame.as_slice(), &[0]].concat();
        prop_assert_eq!(decode(&longer), Err(FrameError::Trailing));
    }

    /// Whatever a flipped bit makes of a frame, it is refused or within the limits, and means the same when written again.
    #[test]
    fn flipped_bits_do_no_harm(batch in any_batch(), flips in proptest::collection::vec(any::<prop::sample::Index>(), 1..4)) {
        let mut frame = encode(&batch);
        for flip in flips {
            let bit = flip.index(frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        if let Ok(batch) = decode(&frame) {
            prop_assert!(batch.ticks_ms.len() <= TICKS_MAX);
            prop_assert!(batch.columns.iter().all(|column| column.values().len() == batch.ticks_ms.len()));
            prop_assert_eq!(decode(&encode(&batch)), Ok(batch));
        }
    }

    #[test]
    fn garbage_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
        let versioned = [&[FRAME_VERSION], bytes.as_slice()].concat();
        let _ = decode(&versioned);
    }
}

fn header(columns: u32, ticks: u32, body: &[u8]) -> Vec<u8> {
    let header = Header {
        boot: BootId::default(),
        number: 1,
        dictionary: Version { series: 2048, hash: 0 },
        wall: None,
        columns,
        ticks,
        body,
    };
    postcard::to_extend(&header, vec![FRAME_VERSION]).unwrap()
}

#[test]
fn a_small_frame_cannot_claim_much() {
    let limit = |what, found, limit| Err(FrameError::Limit { what, found, limit });
    assert_eq!(decode(&header(1, u32::MAX, &[])), limit("ticks", u64::from(u32::MAX), 600));
    assert_eq!(decode(&header(u32::MAX, 1, &[])), limit("columns", u64::from(u32::MAX), 2048));
    assert_eq!(decode(&header(2048, 600, &[])), limit("samples", 1_228_800, 262_144));
    assert_eq!(decode(&header(400, 600, &[])), Err(FrameError::Body { column: 0 }));
}

/// The densest frame there is: columns that repeat one value. What it expands to is bounded by what it had to send.
#[test]
fn a_hundred_bytes_expand_to_little() {
    let mut body = Writer::default();
    write_values(&mut body, &[0; TICKS_MAX]);
    let mut columns = 0;
    while columns < 40 {
        body.gamma(1);
        body.bits(0, 1);
        write_values(&mut body, &[0; TICKS_MAX]);
        columns += 1;
    }
    let frame = header(columns, 600, &body.into_bytes());
    assert!(frame.len() <= 100, "{}", frame.len());
    let batch = decode(&frame).unwrap();
    let bytes = batch.columns.len() * batch.ticks_ms.len() * size_of::<i64>();
    assert!(bytes < 256 * 1024, "{bytes}");
}

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    assert_eq!(decode(&[]).unwrap_err().to_string(), "telemetry frame is empty");
    assert_eq!(
        decode(b"hello").unwrap_err().to_string(),
        "telemetry frame has version 104, this program reads version 1: not a telemetry payload, or \
         one of a newer agent (use its `decode`)"
    );
    assert_eq!(decode(&[1, 2, 3]), Err(FrameError::Header));
}
