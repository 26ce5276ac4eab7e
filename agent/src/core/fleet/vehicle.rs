//! What is known of one vehicle: who it is, whether it is there, its latest values, its last events. Newer replaces older,
//! whatever the order of arrival; what comes again changes nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::moment::{Moment, Reckoning};
use super::names::{Name, Names, Numbering, parse_series};
use crate::core::presence::{OfflineCause, Presence, Status};
use crate::core::state::{Event, Severity};
use crate::core::telemetry::batch::{TICKS_MAX, value};
use crate::core::telemetry::dictionary::SERIES_MAX;
use crate::core::telemetry::{Batch, Birth, BootId, Dictionary, Telemetry, Version};
use crate::core::time::ClockQuality;

/// Dictionaries of birth documents kept: frames that waited on the vehicle may need the one before the latest. And as many of
/// births in streams, which stand before what needs them: the one of a backlog cannot push out the one of what is said now.
pub const DICTIONARIES_MAX: usize = 4;

/// Batches and events whose names are kept to tell repeats, of each: several windows of unacknowledged ones.
const REMEMBERED_MAX: usize = 256;

/// Bytes of one text of a document that are kept.
const TEXT_BYTES_MAX: usize = 300;

/// The latest values.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// The vehicle's boot.
    pub boot: BootId,
    /// When they were measured, in milliseconds since that boot.
    pub boot_ms: u64,
    /// The same as the vehicle's wall clock had it, if it could be believed.
    pub wall: Option<(i64, ClockQuality)>,
    /// When they arrived.
    pub arrived: Moment,
    /// In order of name, each name once.
    pub values: Vec<(Arc<Name>, f64)>,
}

/// Whether a vehicle is connected to the broker, as it or its last will said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Connected or not.
    pub presence: Presence,
    /// Why not.
    pub cause: Option<OfflineCause>,
    /// The vehicle's boot.
    pub boot: BootId,
    /// Pairs an offline document with the online one it ends.
    pub connection: u64,
    /// When it was said.
    pub arrived: Moment,
}

/// Something that happened on a vehicle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// What.
    pub event: Event,
    /// The vehicle's boot.
    pub boot: BootId,
    /// When it arrived.
    pub arrived: Moment,
}

impl Happened {
    /// When it happened as the vehicle has it, but not after it arrived; milliseconds since 1970.
    pub(super) fn wall_ms(&self) -> Option<i64> {
        let arrived = self.arrived.wall_ms?;
        Some(self.event.wall_ms.map_or(arrived, |wall_ms| wall_ms.min(arrived)))
    }
}

/// Who a vehicle says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name as configured, which is not always as in the topic.
    pub name: String,
    /// Kind of vehicle.
    pub kind: String,
    /// Version of its agent.
    pub agent_version: String,
    /// Its boot when it said so.
    pub boot: BootId,
    /// Period of its samples in milliseconds.
    pub sample_ms: u64,
    /// Time that one of its batches covers, in milliseconds.
    pub batch_ms: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Its last values are the latest.
    Latest,
    /// It is from before the latest one.
    Late,
    /// It has been here.
    Repeat,
}

/// One vehicle.
#[derive(Debug, Default)]
pub struct Vehicle {
    pub(super) identity: Identity,
    /// Latest last.
    pub(super) numberings: VecDeque<Arc<Numbering>>,
    /// Those of births in streams, latest said last.
    pub(super) learned: VecDeque<Arc<Numbering>>,
    pub(super) latest: Option<Latest>,
    pub(super) contact: Option<Contact>,
    pub(super) last_event: Option<Happened>,
    pub(super) last_federation: Option<Happened>,
    /// When the routing daemon was last seen to say something: milliseconds since which boot.
    pub(super) last_mesh: Option<(BootId, u64)>,
    pub(super) reckoning: Reckoning,
    pub(super) heard: Moment,
    pub(super) counts: Counts,
    pub(super) recent_batches: VecDeque<(BootId, u64)>,
    pub(super) recent_events: VecDeque<(BootId, u64, u64)>,
}

/// What came from a vehicle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Batches that came for the first time.
    pub batches: u64,
    /// Of those, batches from before the latest one.
    pub late: u64,
    /// Events that came for the first time.
    pub events: u64,
    /// Batches and events that came again.
    pub repeats: u64,
}

impl Vehicle {
    /// The routing daemon's metrics begin so.
    const MESH_METRICS: &str = "olsr_";

    /// Events about federations have a kind that begins so.
    const FEDERATION_EVENTS: &str = "federation";

    /// Takes over a birth document. False when it says nothing that was not known.
    pub(super) fn birth(
        &mut self,
        birth: &Birth,
        dictionary: &Dictionary,
        names: &mut Names,
    ) -> bool {
        let identity = Identity {
            name: cut(&birth.vehicle),
            kind: cut(&birth.kind),
            agent_version: cut(&birth.agent_version),
            boot: BootId::from_text(&birth.boot_id),
            sample_ms: birth.sample_ms,
            batch_ms: birth.batch_ms,
        };
        let version = dictionary.version();
        let known = self.numberings.back().is_some_and(|last| last.version() == version);
        if known && self.identity == identity {
            return false;
        }
        self.identity = identity;
        if !known {
            add(&mut self.numberings, dictionary, names);
        }
        true
    }

    /// Takes over the dictionary of a birth in a stream.
    pub(super) fn learn(&mut self, dictionary: &Dictionary, names: &mut Names) {
        let version = dictionary.version();
        let known = self.learned.iter().position(|known| known.version() == version);
        match known.and_then(|place| self.learned.remove(place)) {
            Some(known) => self.learned.push_back(known),
            None => add(&mut self.learned, dictionary, names),
        }
    }

    /// Takes over a status document. False when it says nothing that was not known.
    pub(super) fn status(&mut self, status: &Status, arrived: Moment) -> bool {
        let boot = BootId::from_text(&status.boot_id);
        let contact = Contact {
            presence: status.status,
            cause: status.cause,
            boot,
            connection: status.connection,
            arrived,
        };
        if let Some(known) = &self.contact {
            // The last will of a connection may overtake the greeting of the next one.
            let of_before = known.boot == boot && contact.connection < known.connection;
            let same = Contact { arrived: known.arrived, ..contact.clone() } == *known;
            if of_before || same {
                return false;
            }
        }
        self.contact = Some(contact);
        true
    }

    /// Takes over an event; gives it cut to size when it is here for the first time.
    pub(super) fn event(
        &mut self,
        boot: BootId,
        event: Event,
        arrived: Moment,
    ) -> Option<Happened> {
        // Numbers begin anew with each start of the agent, within one boot.
        let name = (boot, event.number, event.boot_ms);
        if !remember(&mut self.recent_events, name) {
            self.counts.repeats += 1;
            return None;
        }
        self.counts.events += 1;
        if !self.is_before_birth(boot) {
            self.reckoning.observe(boot, event.boot_ms, &arrived);
        }
        let event = Event {
            kind: cut(&event.kind),
            subject: cut(&event.subject),
            text: cut(&event.text),
            ..event
        };
        let happened = Happened { event, boot, arrived };
        let newer =
            |than: &Option<Happened>| than.as_ref().is_none_or(|than| !older(&happened, than));
        if newer(&self.last_event) {
            self.last_event = Some(happened.clone());
        }
        if happened.event.kind.starts_with(Vehicle::FEDERATION_EVENTS)
            && newer(&self.last_federation)
        {
            self.last_federation = Some(happened.clone());
        }
        Some(happened)
    }

    /// The dictionary that a batch was numbered with.
    pub(super) fn numbering(&self, version: Version) -> Option<&Arc<Numbering>> {
        let latest_first = self.numberings.iter().rev().chain(self.learned.iter().rev());
        latest_first.into_iter().find(|numbering| numbering.contains(version))
    }

    /// Whether this boot is another than the one of the birth: what is of it waited on the vehicle.
    fn is_before_birth(&self, boot: BootId) -> bool {
        self.identity.boot != BootId::default() && self.identity.boot != boot
    }

    /// Takes over a compact batch, numbered with `numbering`.
    pub(super) fn batch(&mut self, batch: &Batch, numbering: &Numbering, arrived: Moment) -> Use {
        let Some((first_ms, last_ms)) = batch.ticks_ms.first().zip(batch.ticks_ms.last()) else {
            return Use::Repeat;
        };
        let wall = batch.wall.and_then(|wall| Some((batch.wall_ms(*last_ms)?, wall.quality)));
        let used = self.place(batch.boot, (*first_ms, *last_ms), wall, &arrived);
        if used != Use::Latest {
            return used;
        }
        let mut values: Vec<(Arc<Name>, f64)> = batch
            .columns
            .iter()
            .filter_map(|column| {
                let name = numbering.name(column.series())?;
                let units = column.values().last().flatten()?;
                Some((Arc::clone(name), value(units, name.resolution)))
            })
            .collect();
        order(&mut values);
        self.replace(Latest { boot: batch.boot, boot_ms: *last_ms, wall, arrived, values });
        used
    }

    /// Takes over a batch in readable form.
    pub(super) fn document(
        &mut self,
        telemetry: &Telemetry,
        names: &mut Names,
        arrived: Moment,
    ) -> Use {
        let Some((first_ms, last_ms)) = telemetry.boot_ms.first().zip(telemetry.boot_ms.last())
        else {
            return Use::Repeat;
        };
        let boot = BootId::from_text(&telemetry.boot_id);
        let passed_ms = i64::try_from(last_ms.saturating_sub(*first_ms)).unwrap_or(i64::MAX);
        let wall_ms = telemetry.wall_ms.and_then(|first| first.checked_add(passed_ms));
        let wall = wall_ms.map(|wall_ms| (wall_ms, telemetry.clock));
        let used = self.place(boot, (*first_ms, *last_ms), wall, &arrived);
        if used != Use::Latest {
            return used;
        }
        names.make_room();
        let mut values: Vec<(Arc<Name>, f64)> = telemetry
            .series
            .iter()
            .take(SERIES_MAX)
            .filter_map(|(text, column)| {
                let value = column.get(telemetry.boot_ms.len() - 1)?.as_ref()?.as_f64()?;
                Some((names.get(&parse_series(text)?)?, value))
            })
            .collect();
        order(&mut values);
        self.replace(Latest { boot, boot_ms: *last_ms, wall, arrived, values });
        used
    }

    /// Whether a batch, from its first to its last tick, is the latest, and that it was here.
    fn place(
        &mut self,
        boot: BootId,
        (first_ms, last_ms): (u64, u64),
        wall: Option<(i64, ClockQuality)>,
        arrived: &Moment,
    ) -> Use {
        if !remember(&mut self.recent_batches, (boot, first_ms)) {
            self.counts.repeats += 1;
            return Use::Repeat;
        }
        self.counts.batches += 1;
        if !self.is_before_birth(boot) {
            self.reckoning.observe(boot, last_ms, arrived);
        }
        let late = match &self.latest {
            None => false,
            Some(latest) if latest.boot == boot => last_ms <= latest.boot_ms,
            // The birth of a boot comes before its batches: what is of another boot than the birth waited on the vehicle.
            Some(_) if boot == self.identity.boot => false,
            Some(latest) if latest.boot == self.identity.boot => true,
            // Of two boots that both waited, only clocks can tell which was the later.
            Some(latest) => wall.zip(latest.wall).is_none_or(|(this, latest)| this.0 <= latest.0),
        };
        if late {
            self.counts.late += 1;
            return Use::Late;
        }
        Use::Latest
    }

    fn replace(&mut self, latest: Latest) {
        let mesh =
            latest.values.iter().any(|(name, _)| name.metric.starts_with(Vehicle::MESH_METRICS));
        if mesh {
            self.last_mesh = Some((latest.boot, latest.boot_ms));
        }
        self.latest = Some(latest);
    }

    /// The latest value of a series without labels.
    #[must_use]
    pub fn value(&self, metric: &str) -> Option<f64> {
        let values = &self.latest.as_ref()?.values;
        let at = values.partition_point(|(name, _)| *name.metric < *metric);
        values.get(at).filter(|(name, _)| *name.metric == *metric).map(|(_, value)| *value)
    }

    /// The latest values of all series of a metric.
    pub fn values<'v>(&'v self, metric: &'v str) -> impl Iterator<Item = (&'v Name, f64)> {
        let values = self.latest.as_ref().map_or(&[][..], |latest| &latest.values);
        let from = values.partition_point(|(name, _)| *name.metric < *metric);
        let of_metric = move |entry: &&(Arc<Name>, f64)| *entry.0.metric == *metric;
        values[from..].iter().take_while(of_metric).map(|(name, value)| (&**name, *value))
    }

    /// Time since its latest values were measured.
    #[must_use]
    pub fn sample_age_ms(&self, now: &Moment) -> Option<u64> {
        let latest = self.latest.as_ref()?;
        let reckoned = self.reckoning.age_ms(latest.boot, latest.boot_ms, now);
        reckoned.or_else(|| now.since(&latest.arrived))
    }
}

/// The readable form of a compact batch.
pub(super) fn readable(vehicle: &str, batch: &Batch, numbering: &Numbering) -> Telemetry {
    Telemetry::named(vehicle, batch, |number| {
        let name = numbering.name(number)?;
        Some((name.to_string(), name.resolution))
    })
}

/// Adds a dictionary to a list of them.
fn add(numberings: &mut VecDeque<Arc<Numbering>>, dictionary: &Dictionary, names: &mut Names) {
    // A dictionary that grew replaces what it grew from.
    numberings.retain(|older| !dictionary.contains(older.version()));
    if numberings.len() >= DICTIONARIES_MAX {
        numberings.pop_front();
    }
    numberings.push_back(Arc::new(Numbering::new(dictionary, names)));
}

/// Whether a readable batch is within the limits of a compact one.
pub(super) fn within_limits(telemetry: &Telemetry) -> bool {
    let ticks = telemetry.boot_ms.len();
    (1..=TICKS_MAX).contains(&ticks)
        && telemetry.series.values().all(|column| column.len() <= ticks)
}

/// Whether `one` happened before `other`.
fn older(one: &Happened, other: &Happened) -> bool {
    if one.boot == other.boot {
        return (one.event.boot_ms, one.event.number) < (other.event.boot_ms, other.event.number);
    }
    match (one.event.wall_ms, other.event.wall_ms) {
        (Some(one), Some(other)) => one < other,
        _ => false,
    }
}

/// In order of name, the last of repeated names.
fn order(values: &mut Vec<(Arc<Name>, f64)>) {
    values.retain(|(_, value)| value.is_finite());
    values.sort_by(|a, b| a.0.cmp(&b.0));
    // A series that two kinds or resolutions are claimed of stands once in a metrics text.
    values.dedup_by(|a, b| (&a.0.metric, &a.0.labels) == (&b.0.metric, &b.0.labels));
    values.shrink_to_fit();
}

/// Notes a name; false when it is known.
fn remember<T: PartialEq>(recent: &mut VecDeque<T>, name: T) -> bool {
    if recent.contains(&name) {
        return false;
    }
    if recent.len() == REMEMBERED_MAX {
        recent.pop_front();
    }
    recent.push_back(name);
    true
}

/// The beginning of a text.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Whether an event wants somebody to act.
pub(super) fn is_warning(event: &Event) -> bool {
    event.severity == Severity::Warning
}
