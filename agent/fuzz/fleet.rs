//! Any messages at the receiving end: no panic, nothing that could leave its folder or break a line, and the same again when a
//! journal is taken again. Used by the fuzzer and, with its corpus, by the tests.

use bytes::Bytes;
use outrider::core::fleet::files::Step;
use outrider::core::fleet::moment::Moment;
use outrider::core::fleet::topic::Prefix;
use outrider::core::fleet::{Fleet, Message, Taken};
use outrider::core::record::compress::{Effort, Trial};
use outrider::core::record::file::{CHUNK_TYPE, MANIFEST_TYPE};
use outrider::core::record::{Encoder, Entry, Part, Stamp};
use outrider::core::telemetry::document::{BIRTH_TYPE, FRAME_TYPE, JSON_TYPE};

const ID: &str = "00112233445566778899aabbccddeeff";

/// Reads an input as messages: a byte for the vehicle and what it says, one for what is said about it, two for a length, a payload.
struct Input<'i>(&'i [u8]);

impl Iterator for Input<'_> {
    /// A message on its topic; `None` in its place stands for a restart.
    type Item = Option<(String, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let [what, about, low, high, rest @ ..] = self.0 else { return None };
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (payload, rest) = rest.split_at(rest.len().min(length));
        self.0 = rest;
        let vehicle = ["alpha", "bravo", "..", "\u{202e}/"][usize::from(what >> 6)];
        let topic = |rest: &str| format!("outrider/{vehicle}/{rest}");
        let payload = Bytes::copy_from_slice(payload);
        let records = |stream: &str, content_type: &str| {
            (topic(&format!("stream/{stream}")), records(*about, content_type, &payload))
        };
        Some(match what % 16 {
            0 => None,
            1 => Some((topic("birth"), payload)),
            2 => Some((topic("status"), payload)),
            3 => Some((topic("telemetry"), payload)),
            4 => Some((topic("event"), payload)),
            5 => Some((topic("stream/gps"), payload)),
            6 => Some(records("telemetry", BIRTH_TYPE)),
            7 => Some(records("telemetry", FRAME_TYPE)),
            8 => Some(records("telemetry", JSON_TYPE)),
            9 => Some(records("events", JSON_TYPE)),
            10 => Some(records("camera", MANIFEST_TYPE)),
            11 => {
                Some(records("camera", &format!("{CHUNK_TYPE}; file={ID}; offset={}", about % 8)))
            }
            12 => Some(records("camera", &format!("a/b; name=\"%2e{about}\"; file={ID}"))),
            13 => Some(records("camera", &String::from_utf8_lossy(&payload))),
            14 => Some(records("log", "")),
            _ => Some((String::from_utf8_lossy(&payload).into_owned(), payload)),
        })
    }
}

/// A message with one record, or with a part of one.
fn records(about: u8, content_type: &str, payload: &Bytes) -> Bytes {
    let part =
        Part { total: payload.len() as u64 + u64::from(about % 4), offset: u64::from(about % 3) };
    let entry = Entry {
        sequence: u64::from(about),
        gone: u64::from(about & 1),
        stamp: Stamp::default(),
        content_type: (content_type.len() <= 127).then(|| content_type.into()),
        part: (about > 200).then_some(part),
        payload: payload.clone(),
    };
    let mut encoder = Encoder::new(u32::from(about >> 7), usize::MAX);
    if !encoder.push(&entry) {
        return Bytes::new();
    }
    encoder.finish(Effort::None, &mut Trial::default()).into()
}

/// The first word of a file's path, or more, never leads anywhere else.
fn is_safe(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-~%".contains(&byte);
    !name.is_empty() && name.len() <= 255 && name != "." && name != ".." && name.bytes().all(plain)
}

fn check(taken: &Taken) {
    for step in &taken.steps {
        let (part, name) = match step {
            Step::Store { part, .. } | Step::Drop { part } => (part, None),
            Step::Finish { part, name, .. } => (part, Some(name)),
        };
        assert!(is_safe(&part.name) && part.name.starts_with('.'), "{step:?}");
        assert!(name.is_none_or(|name| is_safe(name) && !name.starts_with('.')), "{step:?}");
    }
    for write in &taken.writes {
        let (end, line) = write.line.split_last().expect("a line is not empty");
        assert!(*end == b'\n' && !line.contains(&b'\n'));
        serde_json::from_slice::<serde::de::IgnoredAny>(line).expect("a line is JSON");
        assert!(write.file.as_ref().is_none_or(|(name, _)| is_safe(name)), "{:?}", write.file);
    }
    for publish in &taken.publishes {
        assert!(publish.topic.starts_with("json/"), "{}", publish.topic);
        serde_json::from_slice::<serde::de::IgnoredAny>(&publish.payload).expect("JSON");
    }
}

/// Takes the messages of an input.
pub fn survives(input: &[u8]) {
    let prefixes = || (Prefix::new("outrider"), Some(Prefix::new("json")));
    let restored = |fleet: &Fleet| {
        let (prefix, forward) = prefixes();
        Fleet::restore(&fleet.snapshot(), prefix, forward).expect("a snapshot of our own")
    };
    let (prefix, forward) = prefixes();
    let mut fleet = Fleet::new(prefix, forward);
    // What is taken again after a crash: only messages that changed something.
    let mut again = restored(&fleet);
    for (place, message) in (0..).zip(Input(input)) {
        let Some((topic, payload)) = message else {
            again = restored(&again);
            continue;
        };
        let arrived =
            Moment { mono_ms: place * 1000, wall_ms: Some(1_795_000_000_000), ..Moment::default() };
        let message = Message { topic: &topic, payload: &payload, arrived };
        let taken = fleet.take(&message);
        check(&taken);
        let follows =
            !(taken.writes.is_empty() && taken.steps.is_empty() && taken.publishes.is_empty());
        assert!(taken.changed || !follows, "{topic}");
        if taken.changed {
            assert_eq!(again.take(&message), taken, "{topic}");
        }
    }
    let counts = |fleet: &Fleet| (fleet.vehicles().len(), fleet.incomplete());
    assert_eq!(counts(&restored(&fleet)), counts(&fleet));
}
