//! Turns payloads from any number of vehicles back into JSON lines for people and programs. Remembers births, so that frames
//! can be named; refuses one bad payload at a time and is none the worse for it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::Serialize;
use serde_json::{Number, Value};

use super::batch::TICKS_MAX;
use super::dictionary::{Dictionary, TooManySeries, Version};
use super::document::{Birth, DOCUMENT_VERSION, EventDocument, Telemetry, WrongDictionary};
use super::frame::{self, FRAME_VERSION, FrameError};
use crate::core::presence::Status;
use crate::core::time::ClockQuality;

/// Vehicles whose dictionaries are kept; beyond them the one that was heard of first is forgotten.
pub const VEHICLES_MAX: usize = 1024;

/// Dictionaries kept of one vehicle: frames that waited on the vehicle may need the one before the latest.
pub const DICTIONARIES_MAX: usize = 4;

/// Largest payload that is looked at. A frame with every limit reached is smaller, and so is a JSON document of every
/// vehicle we know.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// What telemetry becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lines {
    /// One line for each tick, without what is missing.
    #[default]
    Ticks,
    /// One line for each batch.
    Batches,
}

/// Why a payload became no lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It is too large.
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// It begins like a frame and is none.
    Frame(FrameError),
    /// It is a frame and no birth document is known.
    NoBirth {
        /// The dictionary it needs.
        needs: Version,
    },
    /// It is a frame and the birth documents that are known are not the one before it.
    Dictionary(WrongDictionary),
    /// It begins like JSON and cannot be read as any document of ours.
    Json {
        /// What is wrong with it.
        text: String,
    },
    /// It is a document of a version that this program does not know.
    DocumentVersion {
        /// Which.
        found: u64,
    },
    /// A birth document has a dictionary that is too large.
    Series(TooManySeries),
    /// The series of a birth document are not those its version names.
    BirthDamaged,
    /// It is neither a frame nor JSON.
    Unknown {
        /// Its first byte.
        first: u8,
    },
    /// It is empty, as a retained topic that was cleared.
    Empty,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::TooLarge { bytes } => {
                write!(
                    f,
                    "payload of {bytes} bytes is larger than the limit of {PAYLOAD_BYTES_MAX}"
                )
            }
            DecodeError::Frame(error) => error.fmt(f),
            DecodeError::NoBirth { needs } => write!(
                f,
                "telemetry frame needs dictionary {needs} and no birth document is known: give the \
                 retained payload of the vehicle's `birth` topic"
            ),
            DecodeError::Dictionary(error) => error.fmt(f),
            DecodeError::Json { text } => {
                write!(f, "payload is not a document of outrider: {text}")
            }
            DecodeError::DocumentVersion { found } => write!(
                f,
                "document has version {found}, this program reads version {DOCUMENT_VERSION}: use \
                 `decode` of the agent that sent it"
            ),
            DecodeError::Series(error) => error.fmt(f),
            DecodeError::BirthDamaged => write!(
                f,
                "birth document is damaged: its series are not those of the version it names"
            ),
            DecodeError::Unknown { first } => write!(
                f,
                "payload begins with byte {first:#04x}: neither a telemetry frame nor JSON"
            ),
            DecodeError::Empty => write!(f, "payload is empty"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// What is remembered of one vehicle.
#[derive(Debug, Default)]
struct Known {
    name: String,
    /// Latest last.
    dictionaries: VecDeque<Dictionary>,
    heard: u64,
}

/// Turns payloads into lines.
#[derive(Debug, Default)]
pub struct Decoder {
    lines: Lines,
    /// By source: whatever the caller uses to tell vehicles apart, such as their topics.
    vehicles: BTreeMap<String, Known>,
    heard: u64,
}

impl Decoder {
    /// A decoder that knows no vehicle yet.
    #[must_use]
    pub fn new(lines: Lines) -> Decoder {
        Decoder { lines, ..Decoder::default() }
    }

    /// Turns one payload into lines of JSON without line feeds. `source` tells vehicles apart; a frame is named with the
    /// births that came from the same source.
    ///
    /// # Errors
    /// When nothing can be made of the payload. The next one is not affected.
    pub fn decode(&mut self, source: &str, payload: &[u8]) -> Result<Vec<String>, DecodeError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: payload.len() });
        }
        match payload.iter().find(|byte| !byte.is_ascii_whitespace()) {
            None => Err(DecodeError::Empty),
            Some(b'{') => self.document(source, payload),
            Some(_) => match payload.first() {
                Some(&FRAME_VERSION) => self.frame(source, payload),
                first => Err(DecodeError::Unknown { first: first.copied().unwrap_or(0) }),
            },
        }
    }

    fn frame(&self, source: &str, payload: &[u8]) -> Result<Vec<String>, DecodeError> {
        let batch = frame::decode(payload).map_err(DecodeError::Frame)?;
        let needs = batch.dictionary;
        let Some(known) = self.vehicles.get(source) else {
            return Err(DecodeError::NoBirth { needs });
        };
        let newest_first = known.dictionaries.iter().rev();
        let fitting = newest_first.clone().find(|dictionary| dictionary.contains(needs));
        let Some(dictionary) = fitting.or(known.dictionaries.back()) else {
            return Err(DecodeError::NoBirth { needs });
        };
        let telemetry =
            Telemetry::new(&known.name, &batch, dictionary).map_err(DecodeError::Dictionary)?;
        self.telemetry(&telemetry)
    }

    fn document(&mut self, source: &str, payload: &[u8]) -> Result<Vec<String>, DecodeError> {
        let value: Value = serde_json::from_slice(payload).map_err(json)?;
        let version = value.get("version").and_then(Value::as_u64);
        if let Some(found) = version.filter(|version| *version != u64::from(DOCUMENT_VERSION)) {
            return Err(DecodeError::DocumentVersion { found });
        }
        // Each kind of document has a field that no other has.
        let has = |field| value.get(field).is_some();
        if has("dictionary") {
            let birth: Birth = serde_json::from_value(value).map_err(json)?;
            self.learn(source, &birth)?;
            return Ok(vec![line("birth", &birth)?]);
        }
        if has("boot_ms") && has("series") {
            return self.telemetry(&serde_json::from_value(value).map_err(json)?);
        }
        if has("severity") {
            let event: EventDocument = serde_json::from_value(value).map_err(json)?;
            return Ok(vec![line("event", &event)?]);
        }
        let status: Status = serde_json::from_value(value).map_err(json)?;
        Ok(vec![line("status", &status)?])
    }

    /// Remembers the dictionary of a birth.
    fn learn(&mut self, source: &str, birth: &Birth) -> Result<(), DecodeError> {
        let dictionary =
            Dictionary::from_entries(birth.series.clone()).map_err(DecodeError::Series)?;
        if dictionary.version() != birth.dictionary {
            return Err(DecodeError::BirthDamaged);
        }
        self.heard += 1;
        if !self.vehicles.contains_key(source) && self.vehicles.len() >= VEHICLES_MAX {
            let oldest = self.vehicles.iter().min_by_key(|(_, known)| known.heard);
            if let Some(oldest) = oldest.map(|(source, _)| source.clone()) {
                self.vehicles.remove(&oldest);
            }
        }
        let known = self.vehicles.entry(source.to_owned()).or_default();
        known.heard = self.heard;
        known.name.clone_from(&birth.vehicle);
        // A dictionary that grew replaces what it grew from.
        known.dictionaries.retain(|older| !dictionary.contains(older.version()));
        if known.dictionaries.len() >= DICTIONARIES_MAX {
            known.dictionaries.pop_front();
        }
        known.dictionaries.push_back(dictionary);
        Ok(())
    }

    fn telemetry(&self, telemetry: &Telemetry) -> Result<Vec<String>, DecodeError> {
        match self.lines {
            Lines::Batches => Ok(vec![line("batch", telemetry)?]),
            Lines::Ticks => ticks(telemetry),
        }
    }
}

/// A document with its type in front.
#[derive(Serialize)]
struct Line<'d, D> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    document: &'d D,
}

/// What was measured at one moment.
#[derive(Serialize)]
struct Tick<'t> {
    vehicle: &'t str,
    boot_id: &'t str,
    batch: u64,
    boot_ms: u64,
    wall_ms: Option<i64>,
    clock: ClockQuality,
    values: BTreeMap<&'t str, &'t Number>,
}

fn ticks(telemetry: &Telemetry) -> Result<Vec<String>, DecodeError> {
    let count = telemetry.boot_ms.len();
    if count > TICKS_MAX {
        let text = format!("{count} ticks in one batch, the limit is {TICKS_MAX}");
        return Err(DecodeError::Json { text });
    }
    let first_ms = telemetry.boot_ms.first().copied().unwrap_or(0);
    let tick = |(index, boot_ms): (usize, &u64)| {
        let passed_ms = i64::try_from(boot_ms.saturating_sub(first_ms)).ok();
        let values = telemetry.series.iter().filter_map(|(name, values)| {
            values.get(index)?.as_ref().map(|value| (name.as_str(), value))
        });
        line(
            "tick",
            &Tick {
                vehicle: &telemetry.vehicle,
                boot_id: &telemetry.boot_id,
                batch: telemetry.batch,
                boot_ms: *boot_ms,
                wall_ms: telemetry.wall_ms.zip(passed_ms).and_then(|(a, b)| a.checked_add(b)),
                clock: telemetry.clock,
                values: values.collect(),
            },
        )
    };
    telemetry.boot_ms.iter().enumerate().map(tick).collect()
}

fn line(kind: &'static str, document: &impl Serialize) -> Result<String, DecodeError> {
    serde_json::to_string(&Line { kind, document }).map_err(json)
}

fn json(error: serde_json::Error) -> DecodeError {
    DecodeError::Json { text: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::telemetry::{Batch, BootId, Column};

    fn birth(series: &[&str]) -> Birth {
        let series: Vec<_> = series
            .iter()
            .map(|name| serde_json::json!({"name": name, "kind": "gauge", "resolution": -1}))
            .map(|series| serde_json::from_value(series).unwrap())
            .collect();
        let dictionary = Dictionary::from_entries(series).unwrap();
        let who =
            crate::core::state::Identity { vehicle: "alpha".to_owned(), ..Default::default() };
        let format = crate::core::telemetry::Format::Compact;
        let sending = crate::core::telemetry::Sending { format, sample_ms: 1000, batch_ms: 2000 };
        Birth::new(&who, sending, &dictionary, crate::core::time::Now::default())
    }

    fn frame(birth: &Birth) -> Vec<u8> {
        frame::encode(&Batch {
            boot: BootId::default(),
            number: 1,
            dictionary: birth.dictionary,
            wall: None,
            ticks_ms: vec![10, 20],
            columns: vec![Column::new(0, [Some(15), None]), Column::new(1, [Some(-20), Some(3)])],
        })
    }

    #[test]
    fn frames_become_one_line_for_each_tick() {
        let mut decoder = Decoder::default();
        let birth = birth(&["load1", "load5"]);
        let lines = decoder.decode("a", &birth.to_json()).unwrap();
        assert!(lines[0].starts_with(r#"{"type":"birth","version":1,"vehicle":"alpha","#));
        let boot = "00000000-0000-0000-0000-000000000000";
        let tick = |boot_ms, values| {
            format!(
                r#"{{"type":"tick","vehicle":"alpha","boot_id":"{boot}","batch":1,"boot_ms":{boot_ms},"wall_ms":null,"clock":"unset","values":{values}}}"#
            )
        };
        let expected = [tick(10, r#"{"load1":1.5,"load5":-2}"#), tick(20, r#"{"load5":0.3}"#)];
        assert_eq!(decoder.decode("a", &frame(&birth)).unwrap(), expected);
    }

    #[test]
    fn both_forms_give_the_same_lines() {
        let birth = birth(&["load1", "load5"]);
        for lines in [Lines::Ticks, Lines::Batches] {
            let mut decoder = Decoder::new(lines);
            decoder.decode("a", &birth.to_json()).unwrap();
            let compact = decoder.decode("a", &frame(&birth)).unwrap();
            let batch = frame::decode(&frame(&birth)).unwrap();
            let dictionary = Dictionary::from_entries(birth.series.clone()).unwrap();
            let json = Telemetry::new("alpha", &batch, &dictionary).unwrap().to_json();
            assert_eq!(Decoder::new(lines).decode("b", &json).unwrap(), compact);
        }
    }

    #[test]
    fn a_frame_needs_the_birth_of_its_vehicle() {
        let mut decoder = Decoder::default();
        let (old, grown) = (birth(&["load1", "load5"]), birth(&["load1", "load5", "load15"]));
        let needs = old.dictionary;
        assert_eq!(decoder.decode("a", &frame(&old)), Err(DecodeError::NoBirth { needs }));
        decoder.decode("b", &old.to_json()).unwrap();
        assert_eq!(decoder.decode("a", &frame(&old)), Err(DecodeError::NoBirth { needs }));
        // A dictionary that grew still reads older frames, and one that was begun anew leaves the older one in place.
        let anew = birth(&["temperature", "load5"]);
        for birth in [&grown, &anew] {
            decoder.decode("a", &birth.to_json()).unwrap();
        }
        for readable in [&old, &grown, &anew] {
            assert_eq!(decoder.decode("a", &frame(readable)).map(|lines| lines.len()), Ok(2));
        }
        let other = birth(&["humidity", "pressure"]);
        let Err(DecodeError::Dictionary(wrong)) = decoder.decode("a", &frame(&other)) else {
            panic!("no such dictionary")
        };
        assert_eq!((wrong.needs, wrong.has), (other.dictionary, anew.dictionary));
    }

    #[test]
    fn events_and_status_documents_pass_with_their_type() {
        let mut decoder = Decoder::default();
        let event = br#"{"version":1,"vehicle":"a","boot_id":"","number":1,"boot_ms":1,"wall_ms":null,"severity":"info","kind":"k","subject":"","text":"t"}"#;
        assert!(
            decoder.decode("a", event).unwrap()[0].starts_with(r#"{"type":"event","version":1"#)
        );
        let status =
            br#"{"version":1,"vehicle":"a","status":"online","boot_id":"","connection":1}"#;
        assert!(decoder.decode("a", status).unwrap()[0].starts_with(r#"{"type":"status""#));
    }

    #[test]
    fn garbage_is_named() {
        let mut decoder = Decoder::default();
        let mut text = |payload: &[u8]| decoder.decode("a", payload).unwrap_err().to_string();
        assert_eq!(text(b""), "payload is empty");
        assert!(text(b"\x7fELF").contains("neither a telemetry frame nor JSON"));
        assert!(text(b"\x01\x02").contains("cut off or damaged in its header"));
        assert!(text(b"{\"a\":").starts_with("payload is not a document of outrider: EOF"));
        assert!(text(b"{\"version\":9}").contains("document has version 9"));
        assert!(text(b"{\"version\":1}").contains("missing field"));
        let mut damaged = birth(&["load1"]);
        damaged.series[0].resolution = 3;
        assert!(text(&damaged.to_json()).contains("birth document is damaged"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut decoder = Decoder::default();
        for number in 0..VEHICLES_MAX + 10 {
            let birth = birth(&["load1"]);
            decoder.decode(&format!("v{number}"), &birth.to_json()).unwrap();
        }
        assert_eq!(decoder.vehicles.len(), VEHICLES_MAX);
        for number in 0..20 {
            let birth = birth(&[&format!("series{number}")]);
            decoder.decode("v1030", &birth.to_json()).unwrap();
        }
        assert_eq!(decoder.vehicles["v1030"].dictionaries.len(), DICTIONARIES_MAX);
    }
}
