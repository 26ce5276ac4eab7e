//! A publisher that says what vehicles say: births, telemetry, events and records as the core writes them, and anything else.

use std::time::Duration;

use bytes::Bytes;
use outrider::core::catalog::{Sink, hardware, mesh};
use outrider::core::presence::{OfflineCause, Speaker, Topics};
use outrider::core::record::compress::{Effort, Trial};
use outrider::core::record::{Encoder, Entry, Part, Stamp};
use outrider::core::state::{Event, Identity, Severity};
use outrider::core::telemetry::document::JSON_TYPE;
use outrider::core::telemetry::{
    Batcher, Birth, BootId, EventDocument, Format, Sending, Wall, frame,
};
use outrider::core::time::{ClockQuality, Mono, Now};

pub const BOOT: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// One topic and what is published on it.
pub type Publication = (String, Bytes, bool);

/// The words of one vehicle.
pub struct Voice {
    name: String,
    topics: Topics,
    batcher: Batcher,
    pub boot_ms: u64,
    events: u64,
}

impl Voice {
    pub fn new(name: &str) -> Voice {
        let period = Duration::from_secs(1);
        Voice {
            name: name.to_owned(),
            topics: Topics::new("outrider", name),
            batcher: Batcher::new(BootId::from_text(BOOT), period, period),
            boot_ms: 100_000,
            events: 0,
        }
    }

    pub fn identity(&self) -> Identity {
        Identity {
            vehicle: self.name.clone(),
            kind: "ugv".to_owned(),
            version: "0.1.0".to_owned(),
            boot_id: BOOT.to_owned(),
        }
    }

    fn now(&self) -> Now {
        // A clock that was never set: values are dated by their arrival.
        Now { mono: Mono::from_millis(self.boot_ms), wall_ms: 0, quality: ClockQuality::Unset }
    }

    /// One second later: a birth for what is new, and a batch.
    pub fn batch(&mut self, fill: impl FnOnce(&mut Sink<'_>)) -> Vec<Publication> {
        self.boot_ms += 1000;
        let now = self.now();
        let before = self.batcher.dictionary().version();
        let batch = self.batcher.tick(now, fill).or_else(|| self.batcher.close(now)).unwrap();
        let mut said = Vec::new();
        if batch.dictionary != before {
            said.push(self.birth());
        }
        said.push((self.topics.telemetry.clone(), frame::encode(&batch).into(), false));
        said
    }

    pub fn birth(&self) -> Publication {
        let sending = Sending { format: Format::Compact, sample_ms: 1000, batch_ms: 1000 };
        let birth = Birth::new(&self.identity(), sending, self.batcher.dictionary(), self.now());
        (self.topics.birth.clone(), birth.to_json().into(), true)
    }

    /// Costs of others and a load.
    pub fn costs(&mut self, costs: &[(&str, f64)]) -> Vec<Publication> {
        self.batch(|sink| {
            sink(&hardware::LOAD1, &[], 0.5);
            sink(&mesh::NEIGHBORS, &[], 3.0);
            for (node, cost) in costs {
                sink(&mesh::NETWORK_COST, &[node], *cost);
            }
        })
    }

    pub fn status(&self, online: bool) -> Publication {
        let speaker = Speaker { vehicle: self.name.clone(), boot_id: BOOT.to_owned() };
        let cause = (!online).then_some(OfflineCause::ConnectionLost);
        (self.topics.status.clone(), speaker.status(1, cause).into(), true)
    }

    pub fn event(&mut self, kind: &str, text: &str) -> Publication {
        self.events += 1;
        let event = Event {
            number: self.events,
            boot_ms: self.boot_ms,
            wall_ms: None,
            severity: Severity::Warning,
            kind: kind.to_owned(),
            subject: String::new(),
            text: text.to_owned(),
        };
        let document = EventDocument::new(&self.identity(), event);
        (self.topics.event.clone(), document.to_json().into(), false)
    }

    /// A message of records, in parts of at most `part_bytes`.
    pub fn records(&self, stream: &str, epoch: u32, first: u64, payloads: &[Bytes]) -> Publication {
        let typed: Vec<_> = payloads.iter().map(|payload| (JSON_TYPE, payload.clone())).collect();
        self.typed_records(stream, epoch, first, &typed)
    }

    /// The same, each with its content type.
    pub fn typed_records<T: AsRef<str>>(
        &self,
        stream: &str,
        epoch: u32,
        first: u64,
        records: &[(T, Bytes)],
    ) -> Publication {
        let mut encoder = Encoder::new(epoch, usize::MAX);
        for (sequence, (content_type, payload)) in (first..).zip(records) {
            let content_type = Some(content_type.as_ref().into());
            let entry = Entry { content_type, ..entry(sequence, None, payload.clone()) };
            assert!(encoder.push(&entry));
        }
        self.message(stream, encoder)
    }

    /// One large record as messages of its parts.
    pub fn parts(
        &self,
        stream: &str,
        epoch: u32,
        sequence: u64,
        payload: &Bytes,
        part_bytes: usize,
    ) -> Vec<Publication> {
        let total = payload.len() as u64;
        let part = |offset: usize| {
            let end = payload.len().min(offset + part_bytes);
            let part = Part { total, offset: offset as u64 };
            let mut encoder = Encoder::new(epoch, usize::MAX);
            assert!(encoder.push(&entry(sequence, Some(part), payload.slice(offset..end))));
            self.message(stream, encoder)
        };
        (0..payload.len()).step_by(part_bytes).map(part).collect()
    }

    fn message(&self, stream: &str, encoder: Encoder) -> Publication {
        let message = encoder.finish(Effort::None, &mut Trial::default());
        (self.topics.stream(stream), message.into(), false)
    }
}

fn entry(sequence: u64, part: Option<Part>, payload: Bytes) -> Entry {
    let wall = Wall { offset_ms: 1_795_000_000_000, quality: ClockQuality::Synchronised };
    Entry {
        sequence,
        gone: 0,
        stamp: Stamp { boot: BootId::from_text(BOOT), boot_ms: 5_000 + sequence, wall: Some(wall) },
        content_type: Some(JSON_TYPE.into()),
        part,
        payload,
    }
}
