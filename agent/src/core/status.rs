//! The status document: everything a person wants to see, as one JSON document with a stable schema.
//!
//! [`document`] is pure and reads only the state. The page, `outrider status` and other programs read the same document.
//! Within one [`SCHEMA`] number fields are only added; a reader ignores what it does not know. Durations and ages are in
//! milliseconds, end in `_ms` and are relative to the moment of the document, so that a reader needs no clock; `wall_ms`
//! is Unix time in milliseconds and absent while the clock cannot be believed. All text that came over the radio (names,
//! versions, error texts) is passed on as it is: whoever shows it must escape it.
//!
//! The graph is in [`crate::core::graph`], the verdict in [`crate::core::health`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use olsr_bridge::failure::FailureClass;
use olsr_bridge::view::{Complaint, Daemon, MeshView};
use serde::{Deserialize, Serialize};

use crate::core::catalog::mesh::{failure_word, published_cost};
use crate::core::courier::{DeliveryState, StreamCounts, Way};
use crate::core::gauges::{self, Gauge};
use crate::core::graph::{self, Graph};
use crate::core::health::{self, Health};
use crate::core::links::{Reach, Vehicle};
use crate::core::membership::report::MembershipStatus;
use crate::core::spool::{Loss, SpoolState};
use crate::core::state::{Event, Identity, MqttState, State};
use crate::core::time::{ClockQuality, Mono};

/// Number of the schema; it changes when a field disappears or changes its meaning.
pub const SCHEMA: u32 = 1;

/// Events in the document: the latest; more would be resent every second to everybody who watches.
pub const EVENTS_SHOWN_MAX: usize = 50;

/// Complaints in the document; their counts are in the metrics.
pub const COMPLAINTS_SHOWN_MAX: usize = 20;

/// The whole document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Who this is.
    pub identity: Identity,
    /// Clocks.
    pub clock: Clock,
    /// Whether data moves, and why not.
    pub health: Health,
    /// The routing daemon.
    pub mesh: MeshStatus,
    /// Vehicles by name, this one included.
    pub vehicles: Vec<VehicleStatus>,
    /// The mesh as nodes and edges.
    pub graph: Graph,
    /// Values of this vehicle that fit on one screen.
    pub gauges: Vec<Gauge>,
    /// Hardware collectors by name.
    pub collectors: Vec<CollectorStatus>,
    /// The MQTT connection.
    pub mqtt: MqttStatus,
    /// The durable queue.
    #[serde(default)]
    pub spool: SpoolStatus,
    /// How what it holds leaves.
    pub delivery: Way,
    /// Federations.
    #[serde(default)]
    pub membership: MembershipStatus,
    /// The latest events, newest first.
    pub events: Vec<EventStatus>,
    /// Events since start, including those no longer listed.
    pub events_total: u64,
}

/// Clocks of the vehicle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// Time since boot, suspend included.
    pub boot_ms: u64,
    /// Wall time, `None` when it cannot be believed.
    pub wall_ms: Option<i64>,
    /// How far it can be believed.
    pub quality: ClockQuality,
    /// Time since the agent started.
    pub agent_uptime_ms: u64,
}

/// The routing daemon and the view it gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeshStatus {
    /// A routing daemon is to be read.
    pub configured: bool,
    /// The daemon that gave the latest view.
    pub daemon: Option<Daemon>,
    /// Age of the latest view.
    pub view_age_ms: Option<u64>,
    /// There is no view, or several polls in a row gave none: what follows is from before.
    pub stale: bool,
    /// Duration of the latest poll in microseconds.
    pub poll_us: u64,
    /// Polls that gave a view.
    pub polls_ok: u64,
    /// Polls that gave none, by cause.
    pub polls_failed: BTreeMap<Cow<'static, str>, u64>,
    /// Why the latest poll failed, if it did.
    pub error: Option<MeshError>,
    /// Restarts of the daemon that were noticed.
    pub daemon_restarts: u64,
    /// Time until the daemon's numbers can be believed, while it warms up.
    pub warming_ms: Option<u64>,
    /// Neighbours.
    pub neighbors: u64,
    /// Routes.
    pub routes: u64,
    /// Directed topology edges.
    pub edges: u64,
    /// Attached networks.
    pub networks: u64,
    /// Smart gateways.
    pub gateways: u64,
    /// What could not be understood, the first [`COMPLAINTS_SHOWN_MAX`].
    pub complaints: Vec<Complaint>,
}

/// Why the latest poll failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshError {
    /// Kind of failure.
    pub class: FailureClass,
    /// Operation, object and remedy.
    pub text: String,
}

/// [`Reach`] without its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReachKind {
    /// This vehicle.
    Own,
    /// A usable route.
    Reachable,
    /// No usable route for long enough.
    Unreachable,
    /// Reachable at an unknown cost.
    NotMeaningful,
    /// Nothing can be said.
    Unknown,
}

impl ReachKind {
    /// Every kind, in the order of the metric's label values.
    pub const ALL: [ReachKind; 5] = [
        ReachKind::Own,
        ReachKind::Reachable,
        ReachKind::Unreachable,
        ReachKind::NotMeaningful,
        ReachKind::Unknown,
    ];

    /// The word of the JSON form.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ReachKind::Own => "own",
            ReachKind::Reachable => "reachable",
            ReachKind::Unreachable => "unreachable",
            ReachKind::NotMeaningful => "not-meaningful",
            ReachKind::Unknown => "unknown",
        }
    }
}

impl From<Reach> for ReachKind {
    fn from(reach: Reach) -> ReachKind {
        match reach {
            Reach::Own => ReachKind::Own,
            Reach::Reachable { .. } => ReachKind::Reachable,
            Reach::Unreachable => ReachKind::Unreachable,
            Reach::NotMeaningful => ReachKind::NotMeaningful,
            Reach::Unknown => ReachKind::Unknown,
        }
    }
}

/// One vehicle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VehicleStatus {
    /// Name in the cluster.
    pub name: String,
    /// Whether it can be reached.
    pub reach: ReachKind,
    /// The published network cost: 0 own, -1 unreachable, `None` not meaningful or unknown.
    pub cost: Option<i64>,
    /// Latest cost before smoothing.
    pub raw_cost: Option<u32>,
    /// Hops of the route.
    pub hops: Option<u32>,
    /// Next hop of the route.
    pub next_hop: Option<IpAddr>,
    /// The vehicle the next hop belongs to, where known.
    pub next_vehicle: Option<String>,
    /// Outgoing interface.
    pub interface: Option<String>,
    /// Its addresses, the identity in the mesh first.
    pub addresses: Vec<IpAddr>,
    /// It is a direct neighbour.
    pub neighbor: bool,
    /// First-hop share received from it, 0..=1, to three digits.
    pub quality_in: Option<f64>,
    /// First-hop share it receives, 0..=1, to three digits.
    pub quality_out: Option<f64>,
    /// Age of its last HELLO, for neighbours.
    pub hello_age_ms: Option<u64>,
    /// Age of what is said here.
    pub age_ms: Option<u64>,
    /// What is said here is held from before the daemon fell silent.
    pub stale: bool,
    /// Time since `reach` last changed.
    pub since_ms: Option<u64>,
    /// Changes between reachable and unreachable.
    pub transitions: u64,
}

/// One hardware collector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectorStatus {
    /// Name.
    pub name: Cow<'static, str>,
    /// Runs that ended well.
    pub ok: u64,
    /// Runs that failed or overran their deadline.
    pub failed: u64,
    /// Time since it last ended well.
    pub age_ms: Option<u64>,
    /// Duration of the latest run in microseconds.
    pub run_us: u64,
    /// Why the latest run failed.
    pub error: Option<String>,
    /// It is past its deadline and has not come back.
    pub hanging: bool,
}

/// The MQTT connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MqttStatus {
    /// State and counters.
    #[serde(flatten)]
    pub state: MqttState,
    /// Time in the present state, connected or not.
    pub state_age_ms: u64,
}

/// The durable queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// A folder is configured.
    pub configured: bool,
    /// The folder.
    pub folder: String,
    /// Records are taken.
    pub open: bool,
    /// The disk takes nothing; records wait in memory.
    pub degraded: bool,
    /// Why it is not open, or the disk takes nothing or gives nothing back.
    pub error: Option<String>,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes that it may have on disk.
    pub budget_bytes: u64,
    /// Bytes that the file system could still take.
    pub free_bytes: Option<u64>,
    /// Bytes found that are not what was written.
    pub bad_bytes: u64,
    /// Streams by name.
    pub streams: Vec<StreamStatus>,
}

/// One stream of the durable queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Name.
    pub name: String,
    /// 0 is the most important.
    pub priority: u8,
    /// Records that are held.
    pub held_records: u64,
    /// Bytes of them.
    pub held_bytes: u64,
    /// Of these, records that a power cut would take.
    pub unsynced_records: u64,
    /// Age of the oldest.
    pub oldest_age_ms: Option<u64>,
    /// Records accepted since the spool was begun.
    pub accepted_records: u64,
    /// Records accepted each second, over about a minute.
    pub records_per_s: f64,
    /// Records the far side has.
    pub acknowledged_records: u64,
    /// Records dropped or refused, by cause.
    pub dropped: BTreeMap<String, Loss>,
    /// How they leave.
    pub delivery: StreamCounts,
}

/// One event with its age.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventStatus {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// Time since it happened.
    pub age_ms: u64,
}

/// The document at the state's own `now`.
#[must_use]
pub fn document(state: &State) -> Status {
    let now = state.now;
    Status {
        schema: SCHEMA,
        identity: state.identity.clone(),
        clock: Clock {
            boot_ms: now.mono.millis(),
            wall_ms: now.believable_wall_ms(),
            quality: now.quality,
            agent_uptime_ms: elapsed_ms(now.mono, state.started),
        },
        health: health::judge(state),
        mesh: mesh(state),
        vehicles: vehicles(state),
        graph: graph::of(state),
        gauges: gauges::of(&state.hardware),
        collectors: collectors(state),
        mqtt: MqttStatus {
            state: state.mqtt.clone(),
            state_age_ms: now.mono.millis().saturating_sub(state.mqtt.since_ms),
        },
        spool: spool(&state.spool, &state.delivery, now.mono),
        delivery: state.delivery.way,
        membership: state.membership.clone(),
        events: state
            .events
            .iter()
            .rev()
            .take(EVENTS_SHOWN_MAX)
            .map(|event| EventStatus {
                event: event.clone(),
                age_ms: now.mono.millis().saturating_sub(event.boot_ms),
            })
            .collect(),
        events_total: state.events.issued(),
    }
}

/// The part of the document about the durable queue.
#[must_use]
pub fn spool(spool: &SpoolState, delivery: &DeliveryState, now: Mono) -> SpoolStatus {
    let streams = spool.streams.iter().map(|(name, stream)| StreamStatus {
        name: name.clone(),
        priority: stream.priority,
        held_records: stream.held_records,
        held_bytes: stream.held_bytes,
        unsynced_records: stream.unsynced_records,
        oldest_age_ms: SpoolState::oldest_age_ms(stream, now),
        accepted_records: stream.accepted_records,
        records_per_s: stream.records_per_s,
        acknowledged_records: stream.acknowledged_records,
        dropped: stream.dropped.clone(),
        delivery: delivery.streams.get(name).copied().unwrap_or_default(),
    });
    SpoolStatus {
        configured: spool.configured,
        folder: spool.folder.clone(),
        open: spool.open,
        degraded: spool.degraded,
        error: spool.error.clone(),
        disk_bytes: spool.disk_bytes,
        budget_bytes: spool.budget_bytes,
        free_bytes: spool.free_bytes,
        bad_bytes: spool.damaged_bytes + spool.torn_bytes + spool.unreadable_bytes,
        streams: streams.collect(),
    }
}

/// Milliseconds from `earlier` to `now`.
pub(crate) fn elapsed_ms(now: Mono, earlier: Mono) -> u64 {
    now.millis().saturating_sub(earlier.millis())
}

/// The published cost as a whole number.
pub(crate) fn whole_cost(reach: Reach) -> Option<i64> {
    published_cost(reach).map(|cost| cost as i64)
}

fn mesh(state: &State) -> MeshStatus {
    let mesh = &state.mesh;
    let now = state.now.mono;
    let view = mesh.view.as_deref();
    let length = |list: fn(&MeshView) -> usize| view.map_or(0, |view| list(view) as u64);
    MeshStatus {
        configured: mesh.configured,
        daemon: view.map(|view| view.daemon.clone()),
        view_age_ms: mesh.view_at.map(|at| elapsed_ms(now, at)),
        stale: state.mesh_stale(),
        poll_us: mesh.poll_us,
        polls_ok: mesh.polls_ok,
        polls_failed: mesh
            .polls_failed
            .iter()
            .map(|(class, failed)| (Cow::Borrowed(failure_word(*class)), *failed))
            .collect(),
        error: mesh
            .error
            .as_ref()
            .map(|(class, text)| MeshError { class: *class, text: text.clone() }),
        daemon_restarts: state.vehicles.daemon_restarts(),
        warming_ms: state.vehicles.warming_until(now).map(|until| elapsed_ms(until, now)),
        neighbors: length(|view| view.neighbors.len()),
        routes: length(|view| view.routes.len()),
        edges: length(|view| view.edges.len()),
        networks: length(|view| view.networks.len()),
        gateways: length(|view| view.gateways.len()),
        complaints: view.map_or_else(Vec::new, |view| {
            view.complaints.iter().take(COMPLAINTS_SHOWN_MAX).cloned().collect()
        }),
    }
}

fn vehicles(state: &State) -> Vec<VehicleStatus> {
    let owners: BTreeMap<IpAddr, &str> = state
        .vehicles
        .iter()
        .flat_map(|(name, vehicle)| vehicle.addresses.iter().map(move |address| (*address, name)))
        .collect();
    state
        .vehicles
        .iter()
        .map(|(name, vehicle)| vehicle_status(name, vehicle, &owners, state.now.mono))
        .collect()
}

fn vehicle_status(
    name: &str,
    vehicle: &Vehicle,
    owners: &BTreeMap<IpAddr, &str>,
    now: Mono,
) -> VehicleStatus {
    let next_vehicle = vehicle.next_hop.and_then(|address| owners.get(&address));
    VehicleStatus {
        name: name.to_owned(),
        reach: vehicle.reach.into(),
        cost: whole_cost(vehicle.reach),
        raw_cost: vehicle.raw_cost,
        hops: vehicle.hops,
        next_hop: vehicle.next_hop,
        next_vehicle: next_vehicle.map(|name| (*name).to_owned()),
        interface: vehicle.interface.clone(),
        addresses: vehicle.addresses.clone(),
        neighbor: vehicle.neighbor,
        quality_in: vehicle.quality_in.and_then(share),
        quality_out: vehicle.quality_out.and_then(share),
        hello_age_ms: vehicle.hello_age_ms.map(u64::from),
        age_ms: vehicle.fresh_at.map(|at| elapsed_ms(now, at)),
        stale: vehicle.stale,
        since_ms: vehicle.since.map(|at| elapsed_ms(now, at)),
        transitions: vehicle.transitions,
    }
}

/// Rounded to 0.001, finer than any daemon measures, without the digits a 32-bit float grows as 64-bit text.
pub(crate) fn share(value: f32) -> Option<f64> {
    value.is_finite().then(|| (f64::from(value) * 1000.0).round() / 1000.0)
}

fn collectors(state: &State) -> Vec<CollectorStatus> {
    state
        .collectors
        .iter()
        .map(|(name, collector)| CollectorStatus {
            name: Cow::Borrowed(name),
            ok: collector.ok,
            failed: collector.failed,
            age_ms: collector.ok_at.map(|at| elapsed_ms(state.now.mono, at)),
            run_us: collector.run_us,
            error: collector.error.clone(),
            hanging: collector.hanging,
        })
        .collect()
}
