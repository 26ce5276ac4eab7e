//! What the agent knows at this moment: the one document that metrics, status page and command line are rendered from.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use olsr_bridge::failure::FailureClass;
use olsr_bridge::view::MeshView;
use serde::{Deserialize, Serialize};

use crate::core::courier::DeliveryState;
use crate::core::membership::custom_metrics::Seat;
use crate::core::membership::report::MembershipStatus;
use crate::core::sample::Store;
use crate::core::spool::SpoolState;
use crate::core::time::{Mono, Now};

/// Events kept for the status page; more than a screen of a phone shows, a few KiB of memory.
pub const EVENTS_MAX: usize = 200;

/// Who this is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the vehicle, as in its cluster.
    pub vehicle: String,
    /// Kind of vehicle from the configuration, free text.
    pub kind: String,
    /// Version of this program.
    pub version: String,
    /// The kernel's boot id.
    pub boot_id: String,
}

/// What is known about the routing daemon.
#[derive(Debug, Default)]
pub struct MeshState {
    /// A routing daemon is to be read.
    pub configured: bool,
    /// Period of the polls in milliseconds.
    pub interval_ms: u64,
    /// The latest view.
    pub view: Option<Arc<MeshView>>,
    /// When it was read.
    pub view_at: Option<Mono>,
    /// Duration of the latest poll in microseconds.
    pub poll_us: u64,
    /// Successful polls.
    pub polls_ok: u64,
    /// Failed polls by cause.
    pub polls_failed: BTreeMap<FailureClass, u64>,
    /// Why the latest poll failed, if it did, for a person.
    pub error: Option<(FailureClass, String)>,
}

/// What is known about one hardware collector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectorState {
    /// Runs that ended well.
    pub ok: u64,
    /// Runs that failed or overran their deadline.
    pub failed: u64,
    /// When it last ended well.
    pub ok_at: Option<Mono>,
    /// Duration of the latest run in microseconds.
    pub run_us: u64,
    /// Why the latest run failed, for a person.
    pub error: Option<String>,
    /// It is past its deadline and has not come back.
    pub hanging: bool,
}

/// State of the connection to the MQTT broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MqttState {
    /// A broker is configured.
    pub configured: bool,
    /// Broker as `host:port`, for people.
    pub broker: String,
    /// Connected (CONNACK received).
    pub connected: bool,
    /// Protocol in use, `5` or `3.1.1`.
    pub protocol: String,
    /// When the state last changed, milliseconds since boot.
    pub since_ms: u64,
    /// Connections made.
    pub connects: u64,
    /// Why the latest attempt or connection ended, for a person.
    pub error: Option<String>,
    /// Records waiting or in flight.
    pub queued: u64,
    /// Bytes of records waiting or in flight.
    pub queued_bytes: u64,
    /// When the oldest record that waits or is in flight was queued, milliseconds since boot.
    pub oldest_ms: Option<u64>,
    /// Records acknowledged by the broker.
    pub acknowledged: u64,
    /// Records dropped, by cause.
    pub dropped: BTreeMap<String, u64>,
    /// Payload bytes handed to the connection.
    pub sent_bytes: u64,
    /// Values that no batch had room for or that could not be written into one.
    pub lost_values: u64,
}

/// What the HTTP server did since start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpState {
    /// Answers by route (`other` for unknown paths) and status code.
    pub requests: BTreeMap<(&'static str, u16), u64>,
    /// Connections and requests turned away before a route was known, by cause.
    pub refused: BTreeMap<&'static str, u64>,
    /// Connections open now.
    pub connections: u64,
    /// Live streams open now.
    pub streams: u64,
}

/// What became of requests to read the configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadState {
    /// Reloads that were taken over.
    pub ok: u64,
    /// Reloads that were refused; the old configuration stayed.
    pub failed: u64,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// An operator may have to act.
    Warning,
}

/// Something that happened, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Number since start, from 1.
    pub number: u64,
    /// Milliseconds since boot.
    pub boot_ms: u64,
    /// Wall time in milliseconds since 1970, if it could be believed then.
    pub wall_ms: Option<i64>,
    /// How much it matters.
    pub severity: Severity,
    /// Fixed word for programs, such as `vehicle-unreachable`.
    pub kind: String,
    /// What it is about: a vehicle, a collector, a broker. Empty for the agent itself.
    pub subject: String,
    /// One sentence.
    pub text: String,
}

/// The latest events, bounded by [`EVENTS_MAX`].
#[derive(Debug, Default)]
pub struct EventLog {
    events: VecDeque<Event>,
    issued: u64,
}

impl EventLog {
    /// Notes an event and forgets the oldest beyond the bound. Returns it for whoever sends it on.
    pub fn push(
        &mut self,
        now: Now,
        severity: Severity,
        kind: &str,
        subject: &str,
        text: String,
    ) -> Event {
        self.issued += 1;
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        let event = Event {
            number: self.issued,
            boot_ms: now.mono.millis(),
            wall_ms: now.believable_wall_ms(),
            severity,
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            text,
        };
        self.events.push_back(event.clone());
        event
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    /// Events since start, including forgotten ones.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.issued
    }
}

/// Everything the agent knows.
#[derive(Debug, Default)]
pub struct State {
    /// Who this is.
    pub identity: Identity,
    /// When the agent started.
    pub started: Mono,
    /// Latest clock reading.
    pub now: Now,
    /// The routing daemon.
    pub mesh: MeshState,
    /// Network cost of each known vehicle.
    pub vehicles: crate::core::links::Links,
    /// Hardware collectors by name.
    pub collectors: BTreeMap<&'static str, CollectorState>,
    /// Latest hardware values.
    pub hardware: Store,
    /// The MQTT connection.
    pub mqtt: MqttState,
    /// The durable queue.
    pub spool: SpoolState,
    /// How what it holds leaves.
    pub delivery: DeliveryState,
    /// Federations.
    pub membership: MembershipStatus,
    /// The Nodes of the cluster beside this machine, once they were seen.
    pub seats: Option<Vec<Seat>>,
    /// The HTTP server.
    pub http: HttpState,
    /// Reloads of the configuration.
    pub reloads: ReloadState,
    /// What happened.
    pub events: EventLog,
}

/// Polls that may fail in a row before the view counts as stale: one lost answer is normal on a busy board.
const VIEW_STALE_INTERVALS: u64 = 3;

/// No view younger than this is stale, however short the interval: the age at which costs become stale by default
/// ([`crate::core::links::Policy::stale_after`]), so that page and costs agree.
const VIEW_STALE_MS_MIN: u64 = 10_000;

impl State {
    /// Age of the latest view of the mesh, `None` when there never was one.
    #[must_use]
    pub fn view_age(&self) -> Option<Duration> {
        self.mesh.view_at.map(|at| self.now.mono.since(at))
    }

    /// Whether the view is missing, or older than a few intervals.
    #[must_use]
    pub fn mesh_stale(&self) -> bool {
        let limit_ms =
            self.mesh.interval_ms.saturating_mul(VIEW_STALE_INTERVALS).max(VIEW_STALE_MS_MIN);
        self.view_age().is_none_or(|age| age > Duration::from_millis(limit_ms))
    }
}
