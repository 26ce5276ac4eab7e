//! Recovery from anything: arbitrary bytes, and arbitrary contents behind good checksums. The corpus is what fuzzing found
//! worth keeping; `fuzz/` looks for more with the same check.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../fuzz/check.rs"]
mod check;

use std::path::Path;

use proptest::prelude::*;

#[test]
fn the_corpus_is_survived() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/recovery");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        check::survives(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 8, "only {files} inputs found");
}

/// Frames of every kind with bodies that are likely to mean something.
fn frames() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let numbers = proptest::collection::vec(
        prop_oneof![Just(0_u8), Just(1), Just(255), Just(128), any::<u8>()],
        0..120,
    );
    proptest::collection::vec((1..7_u8, numbers), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        check::survives(&bytes);
    }

    #[test]
    fn any_contents_behind_good_checksums_are_survived(frames in frames()) {
        check::survives(&check::input(&frames));
    }
}
