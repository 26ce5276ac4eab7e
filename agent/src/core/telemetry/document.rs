//! The JSON documents that leave the vehicle: birth, telemetry in its readable form, events. Their fields are described in
//! `agent/PAYLOADS.md`; additions do not change [`DOCUMENT_VERSION`], readers must ignore fields they do not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::batch::{Batch, Column, value};
use super::dictionary::{Dictionary, Series, Version};
use crate::core::state::{Event, Identity};
use crate::core::time::{ClockQuality, Now};

/// Version of all documents in this module.
pub const DOCUMENT_VERSION: u8 = 1;

/// Content type of a [`Birth`] that travels as a record of the stream `telemetry`: before the first batch that needs its
/// dictionary and now and then again, so that the stream can be read in order by whoever has only the stream.
pub const BIRTH_TYPE: &str = "application/vnd.outrider.birth+json";

/// Content type of a compact batch (`core::telemetry::frame`) as a record.
pub const FRAME_TYPE: &str = "application/vnd.outrider.telemetry";

/// Content type of a [`Telemetry`] or [`EventDocument`] as a record.
pub const JSON_TYPE: &str = "application/json";

/// Form of the telemetry that follows a birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Frames (`core::telemetry::frame`).
    Compact,
    /// [`Telemetry`] documents.
    Json,
}

/// Who a vehicle is and how to read what it sends: the retained document on the `birth` topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Birth {
    /// [`DOCUMENT_VERSION`].
    pub version: u8,
    /// Name of the vehicle.
    pub vehicle: String,
    /// Kind of vehicle from its configuration, free text.
    pub kind: String,
    /// Version of the agent.
    pub agent_version: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// When the document was written, in milliseconds since boot.
    pub boot_ms: u64,
    /// The same in milliseconds since 1970, if the clock could be believed.
    pub wall_ms: Option<i64>,
    /// How far it could.
    pub clock: ClockQuality,
    /// Form of the telemetry.
    pub format: Format,
    /// Version byte of the compact form, for a receiver that has to know before the first batch.
    pub frame_version: u8,
    /// Period of the ticks in milliseconds.
    pub sample_ms: u64,
    /// Time a batch covers in milliseconds.
    pub batch_ms: u64,
    /// Version of `series`.
    pub dictionary: Version,
    /// The series; a series' number is its place, from 0.
    pub series: Vec<Series>,
}

/// What a birth document says about how telemetry is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Form of the telemetry.
    pub format: Format,
    /// Period of the ticks in milliseconds.
    pub sample_ms: u64,
    /// Time a batch covers in milliseconds.
    pub batch_ms: u64,
}

impl Birth {
    /// The birth document of a vehicle as it is `now`.
    #[must_use]
    pub fn new(who: &Identity, sending: Sending, dictionary: &Dictionary, now: Now) -> Birth {
        Birth {
            version: DOCUMENT_VERSION,
            vehicle: who.vehicle.clone(),
            kind: who.kind.clone(),
            agent_version: who.version.clone(),
            boot_id: who.boot_id.clone(),
            boot_ms: now.mono.millis(),
            wall_ms: now.believable_wall_ms(),
            clock: now.quality,
            format: sending.format,
            frame_version: super::frame::FRAME_VERSION,
            sample_ms: sending.sample_ms,
            batch_ms: sending.batch_ms,
            dictionary: dictionary.version(),
            series: dictionary.entries().to_vec(),
        }
    }

    /// The document as it is sent.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// A batch in readable form. Everything needed to use it is in it, so it can be read without the birth document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// [`DOCUMENT_VERSION`].
    pub version: u8,
    /// Name of the vehicle.
    pub vehicle: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Number of the batch since the agent started, from 1.
    pub batch: u64,
    /// Moments of the ticks in milliseconds since boot.
    pub boot_ms: Vec<u64>,
    /// Moment of the first tick in milliseconds since 1970, if the clock could be believed.
    pub wall_ms: Option<i64>,
    /// How far it could.
    pub clock: ClockQuality,
    /// Values by series in Prometheus text form, one for each tick, null where there was no sample.
    pub series: BTreeMap<String, Vec<Option<Number>>>,
}

/// A batch names another dictionary than the one at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongDictionary {
    /// What the batch was numbered with.
    pub needs: Version,
    /// What there is.
    pub has: Version,
}

impl std::fmt::Display for WrongDictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let WrongDictionary { needs, has } = self;
        write!(
            f,
            "telemetry frame needs dictionary {needs}, the birth document has {has}: use the birth \
             document that was sent before the frame"
        )
    }
}

impl std::error::Error for WrongDictionary {}

impl Telemetry {
    /// The readable form of a batch.
    ///
    /// # Errors
    /// When the batch was numbered with another dictionary.
    pub fn new(
        vehicle: &str,
        batch: &Batch,
        dictionary: &Dictionary,
    ) -> Result<Telemetry, WrongDictionary> {
        let (needs, has) = (batch.dictionary, dictionary.version());
        if !dictionary.contains(needs) {
            return Err(WrongDictionary { needs, has });
        }
        Ok(Telemetry::named(vehicle, batch, |number| {
            let series = dictionary.get(number)?;
            Some((series.to_string(), series.resolution))
        }))
    }

    /// The readable form of a batch with the text form and resolution that `name` gives for each number. What it knows no
    /// name for is left out.
    pub(in crate::core) fn named(
        vehicle: &str,
        batch: &Batch,
        name: impl Fn(u32) -> Option<(String, i8)>,
    ) -> Telemetry {
        let named = batch.columns.iter().filter_map(|column| {
            let (name, resolution) = name(column.series())?;
            Some((name, numbers(column, resolution)))
        });
        Telemetry {
            version: DOCUMENT_VERSION,
            vehicle: vehicle.to_owned(),
            boot_id: batch.boot.to_string(),
            batch: batch.number,
            boot_ms: batch.ticks_ms.clone(),
            wall_ms: batch.ticks_ms.first().and_then(|first| batch.wall_ms(*first)),
            clock: batch.wall.map_or(ClockQuality::Unset, |wall| wall.quality),
            series: named.collect(),
        }
    }

    /// The document as it is sent.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// An event as it leaves on the `event` topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventDocument {
    /// [`DOCUMENT_VERSION`].
    pub version: u8,
    /// Name of the vehicle that says so.
    pub vehicle: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl EventDocument {
    /// The document of one event.
    #[must_use]
    pub fn new(who: &Identity, event: Event) -> EventDocument {
        EventDocument {
            version: DOCUMENT_VERSION,
            vehicle: who.vehicle.clone(),
            boot_id: who.boot_id.clone(),
            event,
        }
    }

    /// The document as it is sent.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

fn numbers(column: &Column, resolution: i8) -> Vec<Option<Number>> {
    column.values().map(|units| units.and_then(|units| number(units, resolution))).collect()
}

/// The shortest JSON number for an integer in units of ten to the power of `resolution`.
#[must_use]
pub fn number(units: i64, resolution: i8) -> Option<Number> {
    let scale = 10_i64.checked_pow(u32::from(resolution.unsigned_abs()));
    let integer = match resolution {
        0.. => scale.and_then(|scale| units.checked_mul(scale)),
        ..0 => scale.filter(|scale| units % scale == 0).map(|scale| units / scale),
    };
    match integer {
        Some(integer) => Some(Number::from(integer)),
        None => Number::from_f64(value(units, resolution)),
    }
}

fn to_json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("strings, numbers and maps with text keys serialise")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::state::Severity;
    use crate::core::telemetry::batch::{BootId, Wall};
    use crate::core::time::Mono;

    fn who() -> Identity {
        Identity {
            vehicle: "alpha".to_owned(),
            kind: "ugv".to_owned(),
            version: "0.1.0".to_owned(),
            boot_id: "01234567-89ab-cdef-0123-456789abcdef".to_owned(),
        }
    }

    fn dictionary() -> Dictionary {
        let series = [("load1", "gauge", -2), ("bytes_total", "counter", 3)]
            .map(|(name, kind, resolution)| serde_json::json!({"name": name, "kind": kind, "resolution": resolution}));
        let entries = series.map(|value| serde_json::from_value(value).unwrap()).to_vec();
        Dictionary::from_entries(entries).unwrap()
    }

    fn batch() -> Batch {
        Batch {
            boot: BootId::from_text(&who().boot_id),
            number: 3,
            dictionary: dictionary().version(),
            wall: Some(Wall {
                offset_ms: 1_795_000_000_000,
                quality: ClockQuality::Unsynchronised,
            }),
            ticks_ms: vec![1000, 2001],
            columns: vec![Column::new(0, [Some(25), None]), Column::new(1, [Some(12), Some(-13)])],
        }
    }

    #[test]
    fn the_readable_form_is_fixed() {
        let telemetry = Telemetry::new("alpha", &batch(), &dictionary()).unwrap();
        assert_eq!(
            String::from_utf8(telemetry.to_json()).unwrap(),
            r#"{"version":1,"vehicle":"alpha","boot_id":"01234567-89ab-cdef-0123-456789abcdef","batch":3,"#.to_owned()
                + r#""boot_ms":[1000,2001],"wall_ms":1795000001000,"clock":"unsynchronised","#
                + r#""series":{"bytes_total":[12000,-13000],"load1":[0.25,null]}}"#
        );
        let back: Telemetry = serde_json::from_slice(&telemetry.to_json()).unwrap();
        assert_eq!(back, telemetry);
    }

    #[test]
    fn the_birth_document_is_fixed() {
        let sending = Sending { format: Format::Compact, sample_ms: 1000, batch_ms: 60_000 };
        let now = Now { mono: Mono::from_millis(5), wall_ms: 0, quality: ClockQuality::Unset };
        let birth = Birth::new(&who(), sending, &dictionary(), now);
        assert_eq!(
            String::from_utf8(birth.to_json()).unwrap(),
            r#"{"version":1,"vehicle":"alpha","kind":"ugv","agent_version":"0.1.0","#.to_owned()
                + r#""boot_id":"01234567-89ab-cdef-0123-456789abcdef","boot_ms":5,"wall_ms":null,"clock":"unset","#
                + r#""format":"compact","frame_version":1,"sample_ms":1000,"batch_ms":60000,"#
                + r#""dictionary":{"series":2,"hash":HASH},"series":["#
                    .replace("HASH", &dictionary().version().hash.to_string()).as_str()
                + r#"{"name":"load1","kind":"gauge","resolution":-2},"#
                + r#"{"name":"bytes_total","kind":"counter","resolution":3}]}"#
        );
    }

    #[test]
    fn an_event_document_is_fixed() {
        let event = Event {
            number: 7,
            boot_ms: 1234,
            wall_ms: None,
            severity: Severity::Warning,
            kind: "vehicle-unreachable".to_owned(),
            subject: "bravo".to_owned(),
            text: "No route to bravo.".to_owned(),
        };
        let document = EventDocument::new(&who(), event);
        let json = String::from_utf8(document.to_json()).unwrap();
        assert_eq!(
            json,
            r#"{"version":1,"vehicle":"alpha","boot_id":"01234567-89ab-cdef-0123-456789abcdef","number":7,"#.to_owned()
                + r#""boot_ms":1234,"wall_ms":null,"severity":"warning","kind":"vehicle-unreachable","#
                + r#""subject":"bravo","text":"No route to bravo."}"#
        );
        assert_eq!(serde_json::from_str::<EventDocument>(&json).unwrap(), document);
    }

    #[test]
    fn a_batch_of_another_dictionary_is_refused_with_both_versions() {
        let mut other = batch();
        other.dictionary.hash ^= 1;
        let error = Telemetry::new("alpha", &other, &dictionary()).unwrap_err();
        assert!(error.to_string().contains(&other.dictionary.to_string()), "{error}");
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        for (units, resolution, text) in [
            (1234, -2, "12.34"),
            (5, 6, "5000000"),
            (1 << 53, 9, "9.007199254740992e+24"),
            (100, -2, "1"),
        ] {
            assert_eq!(number(units, resolution).unwrap().to_string(), text);
        }
    }
}
