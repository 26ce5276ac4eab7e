//! Any messages: what fuzzing found worth keeping, and inputs that are likely to mean something.

#[path = "../../fuzz/fleet.rs"]
mod check;

use std::path::Path;

use outrider::core::telemetry::document::FRAME_TYPE;
use proptest::prelude::*;

use super::convoy::Voice;

#[test]
fn the_corpus_is_survived() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/fleet");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        check::survives(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 8, "only {files} inputs found");
}

/// What vehicles say, to be changed a little.
fn said() -> Vec<Vec<u8>> {
    let mut voice = Voice::new("alpha");
    let [birth, batch] = <[_; 2]>::try_from(voice.costs(&[("bravo", 113.0)])).unwrap();
    let records = voice.typed_records("telemetry", 1, 0, &[(FRAME_TYPE, batch.1.clone())]);
    let manifest = format!(
        "{{\"file\":\"00112233445566778899aabbccddeeff\",\"name\":\"../x\",\"size\":3,\"sha256\":\"{}\"}}",
        "00112233445566778899aabbccddeeff".repeat(2)
    );
    let said = [birth, batch, voice.status(true), voice.event("a", "b"), records];
    let mut said: Vec<Vec<u8>> = said.into_iter().map(|(_, payload, _)| payload.to_vec()).collect();
    said.push(manifest.into_bytes());
    said
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        3 => prop::sample::select(said()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => any::<String>().prop_map(String::into_bytes),
    ];
    let damage = proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    let message =
        (any::<u8>(), any::<u8>(), payload, damage).prop_map(|(what, about, payload, damage)| {
            let mut payload = payload;
            if let Some((place, byte)) = damage.filter(|_| !payload.is_empty()) {
                let place = place.index(payload.len());
                payload[place] = byte;
            }
            let [low, high] = u16::try_from(payload.len()).unwrap().to_le_bytes();
            [&[what, about, low, high][..], &payload].concat()
        });
    prop::collection::vec(message, 0..30).prop_map(|messages| messages.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_are_survived(input in messages()) {
        check::survives(&input);
    }
}
