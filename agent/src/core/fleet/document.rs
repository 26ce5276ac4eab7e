//! The fleet as one document: what `/api/fleet` answers and the page draws. Fields are added without notice; one that goes
//! away or changes its meaning changes [`SCHEMA`]. Ages are milliseconds before the moment of the document.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Fleet;
use super::moment::Moment;
use super::vehicle::{Happened, Vehicle, is_warning};
use crate::core::catalog::{agent, mesh, spool};
use crate::core::presence::{OfflineCause, Presence};
use crate::core::record::dedup::Counts;
use crate::core::sample::Metric;
use crate::core::state::Event;
use crate::core::telemetry::BootId;
use crate::core::time::{ClockQuality, Now};

/// Number of the schema.
pub const SCHEMA: u32 = 1;

/// Streams in the document; all are in the metrics.
pub const STREAMS_SHOWN_MAX: usize = 300;

/// Events in the document, the latest.
pub const EVENTS_SHOWN_MAX: usize = 60;

/// Vehicles in the table of costs, by name; a larger one is no table any more.
pub const COSTS_SHOWN_MAX: usize = 64;

/// Time that a batch covers when its vehicle has not said: the default of agents.
const BATCH_MS_UNSAID: u64 = 60_000;

/// The whole document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Document<'f> {
    schema: u32,
    version: &'static str,
    clock: Clock,
    broker: &'f Broker,
    storage: &'f Storage,
    filter: String,
    vehicles: Vec<VehicleDocument<'f>>,
    costs: Costs<'f>,
    streams: Vec<StreamDocument<'f>>,
    streams_total: usize,
    /// Newest first.
    events: Vec<EventDocument<'f>>,
    messages: u64,
    incomplete_records: usize,
    abandoned_records: u64,
    incomplete_files: usize,
    abandoned_files: u64,
    forgotten_vehicles: u64,
    refused: BTreeMap<&'static str, u64>,
    last_refusal: Option<LastRefusal<'f>>,
}

/// The way to the broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Broker {
    /// `host:port`.
    pub address: String,
    /// It has accepted connection and subscription.
    pub connected: bool,
    /// Version in use, `5` or `3.1.1`.
    pub protocol: String,
    /// It kept what came while nobody was connected.
    pub resumed: bool,
    /// Connections made.
    pub connects: u64,
    /// Why the latest attempt or connection ended, while there is none.
    pub error: Option<String>,
}

/// Where what is received is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Storage {
    /// Folder of the state.
    pub state: String,
    /// Folder of the streams, if they are written to files.
    pub streams: Option<String>,
    /// First levels of the topics that documents are published on, if they are.
    pub forward: Option<String>,
    /// Why nothing can be kept, while that is so. Nothing is received then.
    pub error: Option<String>,
    /// Times that something was made durable.
    pub commits: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Gathered files that were whole, since the state was opened.
    pub files: u64,
    /// Gathered files that had other bytes than their vehicles announced.
    pub damaged_files: u64,
    /// What was found to be damaged at the start.
    pub damage: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Clock {
    wall_ms: Option<i64>,
    quality: ClockQuality,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct VehicleDocument<'f> {
    /// As in its topics.
    name: &'f str,
    /// As it says, where that differs.
    own_name: Option<&'f str>,
    kind: &'f str,
    agent_version: &'f str,
    /// Connected to the broker, as it or its last will said; absent when neither said anything.
    presence: Option<Presence>,
    cause: Option<OfflineCause>,
    presence_age_ms: Option<u64>,
    heard_age_ms: Option<u64>,
    /// Age of its latest values.
    sample_age_ms: Option<u64>,
    /// Several batches are overdue.
    overdue: bool,
    clock: ClockQuality,
    series: usize,
    /// Age of the latest values that had something of its routing daemon.
    mesh_age_ms: Option<u64>,
    neighbors: Option<f64>,
    /// Other vehicles that it reaches and that it does not.
    reachable: usize,
    unreachable: usize,
    backlog: Backlog,
    last_event: Option<EventDocument<'f>>,
    last_federation: Option<EventDocument<'f>>,
    late_batches: u64,
    repeats: u64,
}

/// What a vehicle says that it still holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Backlog {
    records: Option<f64>,
    bytes: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Costs<'f> {
    vehicles: Vec<&'f str>,
    omitted: usize,
    /// From each vehicle to each; -1 is unreachable, null unknown.
    rows: Vec<Vec<Option<f64>>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct StreamDocument<'f> {
    vehicle: &'f str,
    stream: &'f str,
    records: u64,
    bytes: u64,
    repeats: u64,
    missing: u64,
    gone: u64,
    age_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct EventDocument<'f> {
    vehicle: &'f str,
    warning: bool,
    age_ms: Option<u64>,
    #[serde(flatten)]
    event: &'f Event,
    boot_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct LastRefusal<'f> {
    topic: &'f str,
    text: &'f str,
    age_ms: Option<u64>,
}

/// Metric of what it costs a vehicle to reach another.
const COST: &str = mesh::NETWORK_COST.name;

/// The document at the moment `now`, taken from `clocks`.
#[must_use]
pub fn document<'f>(
    fleet: &'f Fleet,
    broker: &'f Broker,
    storage: &'f Storage,
    (clocks, boot): (Now, BootId),
) -> Document<'f> {
    let now = Moment::new(boot, clocks);
    let last_refusal = fleet.last_refusal.as_ref();
    let vehicles = fleet.vehicles.iter();
    Document {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        clock: Clock { wall_ms: clocks.believable_wall_ms(), quality: clocks.quality },
        broker,
        storage,
        filter: fleet.filter(),
        vehicles: vehicles.map(|(name, vehicle)| vehicle_document(name, vehicle, &now)).collect(),
        costs: costs(fleet),
        streams: streams(fleet, &now),
        streams_total: fleet.streams.len(),
        events: events(fleet, &now),
        messages: fleet.messages,
        incomplete_records: fleet.receiver.incomplete(),
        abandoned_records: fleet.receiver.abandoned(),
        incomplete_files: fleet.files.incomplete(),
        abandoned_files: fleet.files.abandoned(),
        forgotten_vehicles: fleet.forgotten_vehicles,
        refused: fleet.refused.iter().map(|(cause, count)| (cause.word(), *count)).collect(),
        last_refusal: last_refusal.map(|(topic, text, at)| LastRefusal {
            topic,
            text,
            age_ms: now.since(at),
        }),
    }
}

fn vehicle_document<'f>(name: &'f str, vehicle: &'f Vehicle, now: &Moment) -> VehicleDocument<'f> {
    let identity = &vehicle.identity;
    let contact = vehicle.contact.as_ref();
    let sample_age_ms = vehicle.sample_age_ms(now);
    let mesh_age_ms =
        vehicle.last_mesh.and_then(|(boot, at)| vehicle.reckoning.age_ms(boot, at, now));
    let event = |happened: &'f Option<Happened>| {
        happened.as_ref().map(|happened| event_document(name, vehicle, happened, now))
    };
    let others = |reachable: bool| {
        vehicle.values(COST).filter(|(_, cost)| *cost != 0.0 && (*cost > 0.0) == reachable).count()
    };
    let wall = vehicle.latest.as_ref().and_then(|latest| latest.wall);
    // Two batches may be lost on a bad link before it is worth a word.
    let batch_ms = Some(identity.batch_ms).filter(|ms| *ms > 0).unwrap_or(BATCH_MS_UNSAID);
    let overdue_ms = batch_ms.saturating_add(identity.sample_ms).saturating_mul(3);
    VehicleDocument {
        name,
        own_name: Some(identity.name.as_str()).filter(|own| !own.is_empty() && *own != name),
        kind: &identity.kind,
        agent_version: &identity.agent_version,
        presence: contact.map(|contact| contact.presence),
        cause: contact.and_then(|contact| contact.cause),
        presence_age_ms: contact.and_then(|contact| now.since(&contact.arrived)),
        heard_age_ms: now.since(&vehicle.heard),
        sample_age_ms,
        overdue: sample_age_ms.is_none_or(|age| age > overdue_ms),
        clock: wall.map_or(ClockQuality::Unset, |(_, quality)| quality),
        series: vehicle.latest.as_ref().map_or(0, |latest| latest.values.len()),
        mesh_age_ms: mesh_age_ms.or_else(|| vehicle.last_mesh.and(sample_age_ms)),
        neighbors: vehicle.value(mesh::NEIGHBORS.name),
        reachable: others(true),
        unreachable: others(false),
        backlog: Backlog {
            records: total(vehicle, [&agent::MQTT_QUEUED_RECORDS, &spool::HELD_RECORDS]),
            bytes: total(vehicle, [&agent::MQTT_QUEUED_BYTES, &spool::HELD_BYTES]),
        },
        last_event: event(&vehicle.last_event),
        last_federation: event(&vehicle.last_federation),
        late_batches: vehicle.counts.late,
        repeats: vehicle.counts.repeats,
    }
}

/// Sum of all values of some metrics, `None` without any.
fn total(vehicle: &Vehicle, metrics: [&Metric; 2]) -> Option<f64> {
    let values = metrics.into_iter().flat_map(|metric| vehicle.values(metric.name));
    values.map(|(_, value)| value).reduce(|sum, value| sum + value)
}

fn event_document<'f>(
    name: &'f str,
    vehicle: &Vehicle,
    happened: &'f Happened,
    now: &Moment,
) -> EventDocument<'f> {
    let reckoned = vehicle.reckoning.age_ms(happened.boot, happened.event.boot_ms, now);
    EventDocument {
        vehicle: name,
        warning: is_warning(&happened.event),
        age_ms: reckoned.or_else(|| happened_since(happened, now)),
        event: &happened.event,
        boot_id: happened.boot.to_string(),
    }
}

/// Age of something that waited on a vehicle since before its boot, by the vehicle's clock.
fn happened_since(happened: &Happened, now: &Moment) -> Option<u64> {
    let by_clock = now.wall_ms.zip(happened.wall_ms());
    let age_ms = by_clock.and_then(|(now, then)| u64::try_from(now.checked_sub(then)?).ok());
    age_ms.or_else(|| now.since(&happened.arrived))
}

fn costs(fleet: &Fleet) -> Costs<'_> {
    let vehicles: Vec<&str> =
        fleet.vehicles.keys().map(String::as_str).take(COSTS_SHOWN_MAX).collect();
    let row = |from: &&str| {
        let mut row = vec![None; vehicles.len()];
        let Some(vehicle) = fleet.vehicles.get(*from) else { return row };
        for (name, cost) in vehicle.values(COST) {
            let to = name.label("node");
            let place = to.and_then(|to| vehicles.binary_search(&to.as_str()).ok());
            if let Some(cell) = place.and_then(|place| row.get_mut(place)) {
                *cell = Some(cost);
            }
        }
        row
    };
    let rows = vehicles.iter().map(row).collect();
    Costs { omitted: fleet.vehicles.len() - vehicles.len(), rows, vehicles }
}

fn streams<'f>(fleet: &'f Fleet, now: &Moment) -> Vec<StreamDocument<'f>> {
    let counted = fleet.receiver.dedup().counts();
    let document = |(vehicle, stream, counts): (&'f str, &'f str, Counts)| {
        let seen = fleet.streams.get(&(vehicle.to_owned(), stream.to_owned()))?;
        Some(StreamDocument {
            vehicle,
            stream,
            records: counts.new,
            bytes: seen.bytes,
            repeats: counts.repeats,
            missing: counts.missing,
            gone: counts.gone,
            age_ms: now.since(&seen.arrived).filter(|_| counts.new > 0),
        })
    };
    counted.take(STREAMS_SHOWN_MAX).filter_map(document).collect()
}

fn events<'f>(fleet: &'f Fleet, now: &Moment) -> Vec<EventDocument<'f>> {
    let latest = fleet.events.iter().rev();
    let mut events: Vec<EventDocument<'f>> = latest
        .filter_map(|(name, happened)| {
            let vehicle = fleet.vehicles.get(name)?;
            Some(event_document(name, vehicle, happened, now))
        })
        .collect();
    // What waited on a vehicle goes where it belongs.
    events.sort_by_key(|event| event.age_ms.unwrap_or(u64::MAX));
    events.truncate(EVENTS_SHOWN_MAX);
    events
}
