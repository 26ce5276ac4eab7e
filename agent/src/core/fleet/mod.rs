//! The receiving end: what all vehicles sent to a broker becomes one bounded picture of the fleet, and their records become
//! lines. Pure: messages with their moment in, what is to be written and published out. Decides what is new; files, the
//! broker and the moment of the acknowledgement are the shell's.
//!
//! # How nothing is lost and nothing repeated
//!
//! 1. [`Fleet::take`] takes a message and says what follows from it. Nothing has happened yet.
//! 2. The shell appends the message to a journal ([`journal`]) and waits until that is on the disk.
//! 3. It appends the records to their files, puts gathered files together ([`files`]) and tells the broker that the message need not be sent again.
//! 4. When the journal has grown, [`Fleet::snapshot`] and the lengths of the files replace it.
//!
//! After a crash at any point the snapshot is restored, the files are cut to the lengths in it, and the journal is taken
//! again, message by message: the same input gives the same output, byte by byte. What had not reached the journal was not
//! acknowledged, so the broker sends it again; what had is known and dropped as a repeat.
//!
//! # Whose word counts
//!
//! A vehicle is named by the level of its topic, because a broker can be told who may publish where. What a document says
//! about its vehicle's name is only shown. Clocks of vehicles are believed as little ([`moment`]).
//!
//! # Bounds
//!
//! [`VEHICLES_MAX`], [`STREAMS_MAX`], [`EVENTS_MAX`], [`INCOMPLETE_BYTES_MAX`], [`FORWARDED_BYTES_MAX`], [`files::PARTS_BYTES_MAX`],
//! [`names::NAMES_BYTES_MAX`], and 2048 series in each dictionary. A vehicle that is heard is not pushed out by others: who invents names finds the fleet full, and cannot
//! displace anybody before [`FORGET_AFTER_MS`] of silence. What is turned away is counted by cause.

pub mod document;
pub mod exposition;
pub mod files;
pub mod journal;
pub mod line;
pub mod moment;
pub mod names;
mod own;
mod refusal;
mod snapshot;
pub mod topic;
pub mod vehicle;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::files::{Files, Step};
use self::line::Write;
use self::moment::Moment;
use self::names::Names;
pub use self::refusal::{Refusal, Refused};
pub use self::snapshot::SnapshotError;
use self::topic::{Prefix, Subject, TopicError};
use self::vehicle::{Happened, Use, Vehicle};
use crate::core::presence::Status;
use crate::core::record::assemble::{Received, Receiver};
use crate::core::record::{self, dedup};
use crate::core::telemetry::document::DOCUMENT_VERSION;
use crate::core::telemetry::frame::{self, FRAME_VERSION};
use crate::core::telemetry::{Birth, BootId, Dictionary, EventDocument, Telemetry};

/// Vehicles that are followed: more than any convoy has.
pub const VEHICLES_MAX: usize = 256;

/// A vehicle that was not heard for so long, a day, may be forgotten for the sake of another.
pub const FORGET_AFTER_MS: u64 = 24 * 3600 * 1000;

/// Streams whose records are taken: as many as are remembered to tell repeats.
pub const STREAMS_MAX: usize = dedup::STREAMS_MAX;

/// Events that are kept for the page, of all vehicles.
pub const EVENTS_MAX: usize = 200;

/// Memory for records of which only parts are here, and the largest record in parts that is taken.
pub const INCOMPLETE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of documents for another topic that one message may lead to beyond the first document. A full message of an agent
/// leads to a tenth of it; compact batches that hold nothing but claims could lead to a thousand times their size.
pub const FORWARDED_BYTES_MAX: usize = 16 << 20;

/// Something that a vehicle published.
#[derive(Clone, Debug)]
pub struct Message<'m> {
    /// On which topic.
    pub topic: &'m str,
    /// What.
    pub payload: &'m Bytes,
    /// When it arrived.
    pub arrived: Moment,
}

/// Something to be published for others, with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Numbers follow each other for ever.
    pub number: u64,
    /// On which topic.
    pub topic: String,
    /// A JSON document.
    pub payload: Vec<u8>,
}

/// What follows from a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Something is known that was not; else the message need not be kept.
    pub changed: bool,
    /// Records for the files.
    pub writes: Vec<Write>,
    /// What is to be done to gathered files, before the records are written.
    pub steps: Vec<Step>,
    /// Documents for another topic.
    pub publishes: Vec<Publish>,
}

/// What came of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Bytes of new records.
    pub bytes: u64,
    /// When a record last came.
    pub arrived: Moment,
}

/// Everything that is known.
#[derive(Debug)]
pub struct Fleet {
    prefix: Prefix,
    forward: Option<Prefix>,
    names: Names,
    vehicles: BTreeMap<String, Vehicle>,
    receiver: Receiver,
    /// By vehicle and name.
    streams: BTreeMap<(String, String), Stream>,
    files: Files,
    /// Oldest first.
    events: VecDeque<(String, Happened)>,
    messages: u64,
    refused: BTreeMap<Refusal, u64>,
    last_refusal: Option<(String, String, Moment)>,
    forgotten_vehicles: u64,
    published: u64,
    /// Bytes that the message at hand led to on another topic, and documents left out for their sake.
    forwarding: (usize, usize),
}

impl Fleet {
    /// Nothing known. Vehicles publish below `prefix`; what they say is published in readable form below `forward`, if given.
    #[must_use]
    pub fn new(prefix: Prefix, forward: Option<Prefix>) -> Fleet {
        Fleet {
            prefix,
            forward,
            names: Names::default(),
            vehicles: BTreeMap::new(),
            receiver: Receiver::new(INCOMPLETE_BYTES_MAX),
            streams: BTreeMap::new(),
            files: Files::default(),
            events: VecDeque::new(),
            messages: 0,
            refused: BTreeMap::new(),
            last_refusal: None,
            forgotten_vehicles: 0,
            published: 0,
            forwarding: (0, 0),
        }
    }

    /// Takes one message. Whatever it is, the next one is taken as well.
    pub fn take(&mut self, message: &Message<'_>) -> Taken {
        self.messages += 1;
        self.forwarding = (0, 0);
        let taken = self.understand(message).unwrap_or_else(|refused| {
            self.refuse(message.topic, refused, message.arrived);
            Taken::default()
        });
        if let (_, omitted @ 1..) = self.forwarding {
            self.refuse(message.topic, Refused::too_much_to_forward(omitted), message.arrived);
        }
        taken
    }

    /// What was known before is known again: what counts from the start of the process begins.
    pub fn recovered(&mut self) {
        self.messages = 0;
        self.refused.clear();
        self.last_refusal = None;
    }

    /// A publication was too large for the connection and has not been read.
    pub fn too_large(&mut self, topic: &str, bytes: usize, arrived: Moment) {
        self.messages += 1;
        self.refuse(topic, Refused::too_large(bytes), arrived);
    }

    fn refuse(&mut self, topic: &str, refused: Refused, arrived: Moment) {
        *self.refused.entry(refused.cause).or_default() += 1;
        let topic = topic.chars().take(200).collect();
        self.last_refusal = Some((topic, refused.text, arrived));
    }

    fn understand(&mut self, message: &Message<'_>) -> Result<Taken, Refused> {
        let (name, subject) = self.prefix.parse(message.topic).map_err(|error| match error {
            TopicError::Unknown => Refused::topic(Refusal::UnknownTopic),
            TopicError::Vehicle => Refused::topic(Refusal::VehicleName),
            TopicError::Stream => Refused::topic(Refusal::StreamName),
        })?;
        if let Subject::Stream(stream) = subject {
            return self.records(name, stream, message);
        }
        if message.payload.is_empty() {
            return Ok(self.cleared(name, subject));
        }
        match subject {
            Subject::Birth => self.birth(name, message),
            Subject::Status => self.status(name, message),
            Subject::Telemetry => self.telemetry(name, message.payload, message.arrived),
            Subject::Event => self.event(name, message.payload, message.arrived),
            Subject::Stream(_) => Ok(Taken::default()),
        }
    }

    /// An operator cleared a retained document: the vehicle is no longer one.
    fn cleared(&mut self, name: &str, subject: Subject<'_>) -> Taken {
        let gone = subject == Subject::Birth && self.vehicles.remove(name).is_some();
        Taken { changed: gone, ..Taken::default() }
    }

    /// The vehicle of this name, which is heard now.
    fn heard(&mut self, name: &str, arrived: Moment) -> Result<&mut Vehicle, Refused> {
        if !self.vehicles.contains_key(name) && self.vehicles.len() >= VEHICLES_MAX {
            self.make_room(arrived)?;
        }
        let vehicle = self.vehicles.entry(name.to_owned()).or_default();
        vehicle.heard = arrived;
        Ok(vehicle)
    }

    fn make_room(&mut self, now: Moment) -> Result<(), Refused> {
        let silence = |vehicle: &Vehicle| now.since(&vehicle.heard).unwrap_or(u64::MAX);
        let quietest = self.vehicles.iter().max_by_key(|(_, vehicle)| silence(vehicle));
        let quietest = quietest.filter(|(_, vehicle)| silence(vehicle) >= FORGET_AFTER_MS);
        let Some(name) = quietest.map(|(name, _)| name.clone()) else {
            return Err(Refused::full());
        };
        self.vehicles.remove(&name);
        self.names.sweep();
        self.forgotten_vehicles += 1;
        Ok(())
    }

    fn birth(&mut self, name: &str, message: &Message<'_>) -> Result<Taken, Refused> {
        let birth: Birth = json(message.payload)?;
        let dictionary = dictionary(&birth)?;
        self.heard(name, message.arrived)?;
        let Some(vehicle) = self.vehicles.get_mut(name) else { return Ok(Taken::default()) };
        let changed = vehicle.birth(&birth, &dictionary, &mut self.names);
        let payload = changed.then(|| message.payload.to_vec());
        Ok(Taken { changed, publishes: self.forward(name, "birth", payload), ..Taken::default() })
    }

    fn status(&mut self, name: &str, message: &Message<'_>) -> Result<Taken, Refused> {
        let status: Status = json(message.payload)?;
        let changed = self.heard(name, message.arrived)?.status(&status, message.arrived);
        let payload = changed.then(|| message.payload.to_vec());
        Ok(Taken { changed, publishes: self.forward(name, "status", payload), ..Taken::default() })
    }

    fn event(&mut self, name: &str, payload: &[u8], arrived: Moment) -> Result<Taken, Refused> {
        let document: EventDocument = json(payload)?;
        let boot = BootId::from_text(&document.boot_id);
        let vehicle = self.heard(name, arrived)?;
        let Some(happened) = vehicle.event(boot, document.event, arrived) else {
            return Ok(Taken::default());
        };
        if self.events.len() == EVENTS_MAX {
            // Of a vehicle's backlog, what is old goes first.
            let ages = self.events.iter().enumerate();
            let oldest = ages.min_by_key(|(_, (_, happened))| happened.wall_ms());
            let _ = oldest.map(|(place, _)| place).and_then(|place| self.events.remove(place));
        }
        self.events.push_back((name.to_owned(), happened));
        let payload = Some(payload.to_vec());
        let publishes = self.forward(name, "event", payload);
        Ok(Taken { changed: true, publishes, ..Taken::default() })
    }

    fn telemetry(&mut self, name: &str, payload: &[u8], arrived: Moment) -> Result<Taken, Refused> {
        let forwarded = self.forward.is_some();
        let (used, readable) = match payload.first() {
            Some(&FRAME_VERSION) => {
                let batch = frame::decode(payload)
                    .map_err(|error| Refused::new(Refusal::Payload, error))?;
                let known = self.vehicles.get(name);
                let numbering = known.and_then(|known| known.numbering(batch.dictionary)).cloned();
                let Some(numbering) = numbering.filter(|_| !batch.ticks_ms.is_empty()) else {
                    return Err(Refused::no_birth(batch.dictionary));
                };
                let vehicle = self.heard(name, arrived)?;
                let used = vehicle.batch(&batch, &numbering, arrived);
                let readable = || vehicle::readable(name, &batch, &numbering).to_json();
                (used, forwarded.then(readable))
            }
            _ => {
                let telemetry: Telemetry = json(payload)?;
                if !vehicle::within_limits(&telemetry) {
                    let text = "telemetry document has other numbers of ticks or values than an agent writes";
                    return Err(Refused::new(Refusal::Payload, text));
                }
                self.heard(name, arrived)?;
                let Some(vehicle) = self.vehicles.get_mut(name) else {
                    return Ok(Taken::default());
                };
                let used = vehicle.document(&telemetry, &mut self.names, arrived);
                (used, forwarded.then(|| payload.to_vec()))
            }
        };
        let changed = used != Use::Repeat;
        let publishes = self.forward(name, "telemetry", readable.filter(|_| changed));
        Ok(Taken { changed, publishes, ..Taken::default() })
    }

    fn records(
        &mut self,
        name: &str,
        stream: &str,
        message: &Message<'_>,
    ) -> Result<Taken, Refused> {
        let records = record::decode(message.payload)
            .map_err(|error| Refused::new(Refusal::Payload, error))?;
        let key = (name.to_owned(), stream.to_owned());
        if !self.streams.contains_key(&key) && self.streams.len() >= STREAMS_MAX {
            return Err(Refused::too_many_streams());
        }
        if records.entries.is_empty() {
            return Ok(Taken::default());
        }
        // Records are taken from whomever they come; only to be shown a vehicle needs a place.
        let _ = self.heard(name, message.arrived);
        let epoch = records.epoch;
        let changed = records.entries.iter().any(|entry| {
            entry.gone > 0 || !self.receiver.dedup().has(name, stream, epoch, entry.sequence)
        });
        let received = self.receiver.take(name, stream, records);
        let seen = self.streams.entry(key).or_default();
        if !received.is_empty() {
            seen.arrived = message.arrived;
        }
        let bytes = received.iter().map(|record| record.payload.len() as u64).sum();
        seen.bytes = seen.bytes.saturating_add(bytes);
        let mut taken = Taken { changed, ..Taken::default() };
        for record in &received {
            let kept = self.files.take(name, stream, record, &mut taken.steps);
            taken.writes.push(line::write(name, stream, record, &message.arrived, kept));
            let publishes = match self.own(name, stream, record, message.arrived) {
                Some(Ok(own)) => own.publishes,
                Some(Err(refused)) => {
                    self.refuse(message.topic, refused, message.arrived);
                    self.forward_record(name, stream, record, message.arrived)
                }
                None => self.forward_record(name, stream, record, message.arrived),
            };
            taken.publishes.extend(publishes);
        }
        Ok(taken)
    }

    fn forward_record(
        &mut self,
        name: &str,
        stream: &str,
        record: &Received,
        arrived: Moment,
    ) -> Vec<Publish> {
        let document =
            self.forward.is_some().then(|| line::document(name, stream, record, &arrived));
        self.forward(name, &format!("stream/{stream}"), document)
    }

    /// Numbers a document for another topic.
    fn forward(&mut self, vehicle: &str, rest: &str, payload: Option<Vec<u8>>) -> Vec<Publish> {
        let (Some(forward), Some(payload)) = (&self.forward, payload) else { return Vec::new() };
        let (bytes, omitted) = &mut self.forwarding;
        if *bytes > 0 && *bytes + payload.len() > FORWARDED_BYTES_MAX {
            *omitted += 1;
            return Vec::new();
        }
        *bytes += payload.len();
        self.published += 1;
        vec![Publish { number: self.published, topic: forward.topic(vehicle, rest), payload }]
    }

    /// What to subscribe to.
    #[must_use]
    pub fn filter(&self) -> String {
        self.prefix.filter()
    }

    /// Vehicles by the name in their topics.
    #[must_use]
    pub fn vehicles(&self) -> &BTreeMap<String, Vehicle> {
        &self.vehicles
    }

    /// Records of which only parts are here.
    #[must_use]
    pub fn incomplete(&self) -> usize {
        self.receiver.incomplete()
    }

    /// Topic of the last message that was turned away, and why.
    #[must_use]
    pub fn last_refusal(&self) -> Option<(&str, &str)> {
        self.last_refusal.as_ref().map(|(topic, text, _)| (topic.as_str(), text.as_str()))
    }

    /// Messages that were turned away, by cause.
    #[must_use]
    pub fn refused(&self) -> &BTreeMap<Refusal, u64> {
        &self.refused
    }
}

/// The dictionary of a birth document.
fn dictionary(birth: &Birth) -> Result<Dictionary, Refused> {
    let dictionary = Dictionary::from_entries(birth.series.clone())
        .map_err(|error| Refused::new(Refusal::Payload, error))?;
    if dictionary.version() != birth.dictionary {
        let text = "birth document is damaged: its series are not those of the version it names";
        return Err(Refused::new(Refusal::Payload, text));
    }
    Ok(dictionary)
}

/// Reads a document of the version that this program knows.
fn json<'p, D: Deserialize<'p>>(payload: &'p [u8]) -> Result<D, Refused> {
    #[derive(Deserialize)]
    struct Versioned {
        version: Option<Value>,
    }
    let text = |error: serde_json::Error| {
        Refused::new(Refusal::Payload, format!("payload is not a document of outrider: {error}"))
    };
    let Versioned { version } = serde_json::from_slice(payload).map_err(text)?;
    let version = version.and_then(|version| version.as_u64());
    if version.is_some_and(|version| version != u64::from(DOCUMENT_VERSION)) {
        return Err(Refused::version(version.unwrap_or_default()));
    }
    serde_json::from_slice(payload).map_err(text)
}

#[cfg(test)]
mod tests;
