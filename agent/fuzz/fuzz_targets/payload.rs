//! Any payload, as a frame and through the decoder: no panic, no expansion beyond the limits, and a frame that is accepted
//! means the same when it is written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrider::core::telemetry::batch::{SAMPLES_MAX, TICKS_MAX};
use outrider::core::telemetry::decoder::{Decoder, Lines};
use outrider::core::telemetry::frame;

static BIRTH: &[u8] = include_bytes!("../../tests/fixtures/telemetry/birth.json");

fuzz_target!(|payload: &[u8]| {
    if let Ok(batch) = frame::decode(payload) {
        assert!(batch.ticks_ms.len() <= TICKS_MAX);
        assert!(batch.columns.len() * batch.ticks_ms.len() <= SAMPLES_MAX);
        assert_eq!(frame::decode(&frame::encode(&batch)).as_ref(), Ok(&batch));
    }
    for lines in [Lines::Ticks, Lines::Batches] {
        let mut decoder = Decoder::new(lines);
        decoder.decode("", BIRTH).expect("a birth document of our own");
        let _ = decoder.decode("", payload);
    }
});
