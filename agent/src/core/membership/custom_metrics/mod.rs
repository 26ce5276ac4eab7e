//! The network cost of every Node, as the custom metrics API of Kubernetes has it: what Telemetry Aware Scheduling and others ask
//! for, answered from [`State`]. Measures nothing, and decides nothing about freshness: that is [`crate::core::links`].
//!
//! | path | answer |
//! |---|---|
//! | `/apis/custom.metrics.k8s.io` | `APIGroup` |
//! | `/apis/custom.metrics.k8s.io/v1beta2`, `.../v1beta1` | `APIResourceList` |
//! | `.../nodes/*/olsr-network-cost` | `MetricValueList` with every Node of the cluster |
//! | `.../nodes/NAME/olsr-network-cost` | the same with one |
//! | `.../olsr-network-cost-raw` | the same without smoothing |
//! | anything else | 404 `Status` |
//!
//! A `labelSelector` chooses among the Nodes; other parameters have no meaning here and are ignored.
//!
//! # Values
//!
//! Whole numbers on the scale of `olsr_network_cost`, seen from this vehicle: 100 is one perfect hop, 0 this vehicle itself. A Node
//! for which that has nothing to say, because its vehicle is out of reach, is not in the mesh's tables, or the daemon has been
//! silent for too long, has `[host] unreachable_cost` instead. It is never left out: schedulers let a Node pass that has no value,
//! and keep the values of yesterday when the list is empty.
//!
//! # Moments
//!
//! `timestamp` is when the routes were read that a value rests on. It is `null`, as Kubernetes writes a time that is not known,
//! while the clock of this machine cannot be believed.
//!
//! # Whose Node
//!
//! By its addresses, InternalIP first, found among originators and aliases; else by the vehicle's id in annotation or label; else
//! by the announced networks that its addresses lie in, which many machines share; else by its name. What a kubelet or a vehicle's account writes there is believed, as everything is that a
//! cluster believes of its members.

mod selector;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::Value;

use self::selector::Selector;
use crate::core::links::{Locator, Reach, Vehicle};
use crate::core::membership::kube::{Node, VEHICLE, node_name, written};
use crate::core::state::State;
use crate::core::time::{Mono, millis};

/// The API group.
pub const GROUP: &str = "custom.metrics.k8s.io";

/// Its versions, the preferred one first. They differ in the names of fields.
pub const VERSIONS: [&str; 2] = [V1BETA2, "v1beta1"];

const V1BETA2: &str = "v1beta2";

/// The published cost, and the latest one before smoothing.
const METRICS: [&str; 2] = ["olsr-network-cost", RAW];

const RAW: &str = "olsr-network-cost-raw";

/// Who this agent's vehicle is in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Its id.
    pub vehicle: String,
    /// What its Node is called, if it has one.
    pub node_name: String,
    /// Where it serves the cluster: a Node with this address is its own, also while no daemon has said so.
    pub address: Option<IpAddr>,
}

/// Addresses of a Node that are looked up: kubelets write some four, and may write thousands.
const ADDRESSES_MAX: usize = 16;

/// A Node, as far as it is needed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seat {
    name: String,
    /// Id of the vehicle, if it tells one.
    vehicle: Option<String>,
    /// It is the Node of this agent's vehicle by what it is called, or by where that serves.
    is_own: bool,
    /// Addresses, the best first.
    addresses: Vec<IpAddr>,
    labels: BTreeMap<String, String>,
}

impl Seat {
    /// Of a Node. `None` when its name is none that Kubernetes gives.
    #[must_use]
    pub fn of(node: &Node, own: &Own) -> Option<Seat> {
        node_name(&node.name).ok()?;
        let id = node.annotations.get(VEHICLE).or_else(|| node.labels.get(VEHICLE));
        let addresses = node.addresses.iter().filter_map(|text| text.parse().ok());
        let addresses: Vec<IpAddr> = addresses.take(ADDRESSES_MAX).collect();
        let is_called_so = id.map_or(node.name == own.node_name, |id| *id == own.vehicle);
        let is_served = own.address.is_some_and(|address| addresses.contains(&address));
        Some(Seat {
            name: node.name.clone(),
            vehicle: id.cloned(),
            is_own: is_called_so || is_served,
            addresses,
            labels: node.labels.clone(),
        })
    }
}

/// Whose a Node is.
#[derive(Clone, Copy, Debug)]
enum Place<'s> {
    Here,
    Mesh(&'s Vehicle),
    Nowhere,
}

/// How many Nodes of the cluster are this vehicle, how many are vehicles of the mesh, and how many the mesh does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// This vehicle.
    pub own: usize,
    /// Others.
    pub mesh: usize,
    /// Not known to the mesh: they have the cost of what is out of reach.
    pub unmapped: usize,
}

/// Counts the Nodes by whose they are; `None` as long as no cluster was seen.
#[must_use]
pub fn mapped(state: &State) -> Option<Mapped> {
    let seats = state.seats.as_ref()?;
    let locator = Locator::new(&state.vehicles, state.mesh.view.as_deref());
    let mut mapped = Mapped::default();
    for seat in seats {
        match place(state, &locator, seat) {
            Place::Here => mapped.own += 1,
            Place::Mesh(_) => mapped.mesh += 1,
            Place::Nowhere => mapped.unmapped += 1,
        }
    }
    Some(mapped)
}

/// Network costs of the cluster's Nodes by name, as this vehicle sees them; `None` for one that is out of reach, or of which a
/// daemon that answers and is warmed up says nothing: an announced network goes with the way to it. One of which nothing can be said,
/// while the daemon is silent or warms up, is not among them.
pub type Costs = BTreeMap<String, Option<u32>>;

/// The costs of the Nodes; none as long as no cluster was seen.
#[must_use]
pub fn costs(state: &State) -> Costs {
    let locator = Locator::new(&state.vehicles, state.mesh.view.as_deref());
    let is_told = state.mesh.view.is_some()
        && state.mesh.error.is_none()
        && state.vehicles.warming_until(state.now.mono).is_none();
    let cost = |seat: &Seat| {
        let reach = match place(state, &locator, seat) {
            Place::Here => Reach::Own,
            Place::Nowhere if is_told => Reach::Unreachable,
            Place::Nowhere => Reach::Unknown,
            Place::Mesh(vehicle) => vehicle.reach,
        };
        let is_known = reach.cost().is_some() || reach == Reach::Unreachable;
        is_known.then(|| (seat.name.clone(), reach.cost()))
    };
    state.seats.iter().flatten().filter_map(cost).collect()
}

fn place<'s>(state: &'s State, locator: &Locator<'s>, seat: &Seat) -> Place<'s> {
    if seat.is_own {
        return Place::Here;
    }
    let addresses = || seat.addresses.iter().copied();
    let found = addresses()
        .find_map(|address| locator.at(address))
        .or_else(|| state.vehicles.get(seat.vehicle.as_ref()?))
        .or_else(|| addresses().find_map(|address| locator.before(address)))
        .or_else(|| state.vehicles.get(&seat.name));
    match found {
        Some(vehicle) if vehicle.reach == Reach::Own => Place::Here,
        Some(vehicle) => Place::Mesh(vehicle),
        None => Place::Nowhere,
    }
}

/// What is answered to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// JSON.
    pub body: String,
}

/// Answers a GET of `target`, a path with or without a query. `unreachable` is the value of a Node without a cost.
#[must_use]
pub fn answer(state: &State, unreachable: i64, target: &str) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.strip_suffix('/').unwrap_or(path);
    let segments: Vec<String> = path.split('/').skip(1).map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments[..] {
        ["apis", GROUP] => found(group()),
        ["apis", GROUP, version] if VERSIONS.contains(&version) => found(resources(version)),
        ["apis", GROUP, version, "nodes", name, metric]
            if VERSIONS.contains(&version) && METRICS.contains(&metric) =>
        {
            values(state, unreachable, &Wanted { version, name, metric, query })
        }
        _ => refusal(404, &format!("there is no {path} here; {GROUP} has {}", METRICS.join(", "))),
    }
}

/// A refusal as Kubernetes words it.
#[must_use]
pub fn refusal(code: u16, message: &str) -> Answer {
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        _ => "ServiceUnavailable",
    };
    let message = Value::from(message);
    let body = format!(
        "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{{}},\"status\":\"Failure\",\"message\":{message},\
         \"reason\":\"{reason}\",\"code\":{code}}}"
    );
    Answer { code, body }
}

fn found(body: String) -> Answer {
    Answer { code: 200, body }
}

fn group() -> String {
    let version = |version: &str| {
        format!("{{\"groupVersion\":\"{GROUP}/{version}\",\"version\":\"{version}\"}}")
    };
    format!(
        "{{\"kind\":\"APIGroup\",\"apiVersion\":\"v1\",\"name\":\"{GROUP}\",\"versions\":[{}],\"preferredVersion\":{}}}",
        VERSIONS.map(version).join(","),
        version(VERSIONS[0])
    )
}

fn resources(version: &str) -> String {
    let resource = |metric: &str| {
        format!(
            "{{\"name\":\"nodes/{metric}\",\"singularName\":\"\",\"namespaced\":false,\"kind\":\"MetricValueList\",\
             \"verbs\":[\"get\"]}}"
        )
    };
    format!(
        "{{\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":\"{GROUP}/{version}\",\"resources\":[{}]}}",
        METRICS.map(resource).join(",")
    )
}

/// What is asked for.
struct Wanted<'a> {
    version: &'a str,
    /// A Node, or `*` for all.
    name: &'a str,
    metric: &'a str,
    query: &'a str,
}

fn values(state: &State, unreachable: i64, wanted: &Wanted<'_>) -> Answer {
    let Some(seats) = &state.seats else {
        return refusal(503, "the Nodes of the cluster are not known yet");
    };
    let selector = wanted.query.split('&').find_map(|pair| pair.strip_prefix("labelSelector="));
    let selector = decoded(selector.unwrap_or_default());
    let Some(selector) = Selector::parse(&selector) else {
        return refusal(400, "the labelSelector cannot be read");
    };
    let is_wanted = |seat: &&Seat| {
        (wanted.name == "*" || wanted.name == seat.name) && selector.matches(&seat.labels)
    };
    let locator = Locator::new(&state.vehicles, state.mesh.view.as_deref());
    let mut items = String::new();
    for seat in seats.iter().filter(is_wanted) {
        let (value, at) = value(state, place(state, &locator, seat), wanted.metric, unreachable);
        item(&mut items, wanted, &seat.name, value, moment(state, at));
    }
    if items.is_empty() && wanted.name != "*" {
        return refusal(
            404,
            &format!("there is no Node {} here, or it is not selected", wanted.name),
        );
    }
    let version = wanted.version;
    found(format!(
        "{{\"kind\":\"MetricValueList\",\"apiVersion\":\"{GROUP}/{version}\",\"metadata\":{{}},\"items\":[{items}]}}"
    ))
}

/// The value of a Node, and when it was observed.
fn value(state: &State, place: Place<'_>, metric: &str, unreachable: i64) -> (i64, Mono) {
    let seen_at = state.mesh.view_at.unwrap_or(state.now.mono);
    match place {
        Place::Here => (0, state.now.mono),
        Place::Nowhere => (unreachable, seen_at),
        Place::Mesh(vehicle) => {
            let cost = match vehicle.reach {
                _ if metric == RAW => vehicle.raw_cost,
                reach => reach.cost(),
            };
            (cost.map_or(unreachable, i64::from), vehicle.fresh_at.unwrap_or(seen_at))
        }
    }
}

/// A moment in JSON.
fn moment(state: &State, at: Mono) -> String {
    let age_ms = i64::try_from(millis(state.now.mono.since(at))).unwrap_or(i64::MAX);
    let wall_ms = state.now.believable_wall_ms();
    wall_ms.map_or_else(
        || "null".to_owned(),
        |wall_ms| format!("\"{}\"", written(wall_ms.saturating_sub(age_ms))),
    )
}

/// Adds one value. Names of Nodes and metrics need no escapes.
fn item(items: &mut String, wanted: &Wanted<'_>, name: &str, value: i64, timestamp: String) {
    let metric = wanted.metric;
    let (before, after) = match wanted.version {
        V1BETA2 => (format!("\"metric\":{{\"name\":\"{metric}\",\"selector\":null}}"), ""),
        _ => (format!("\"metricName\":\"{metric}\""), ",\"selector\":null"),
    };
    let comma = if items.is_empty() { "" } else { "," };
    write!(
        items,
        "{comma}{{\"describedObject\":{{\"kind\":\"Node\",\"name\":\"{name}\",\"apiVersion\":\"/v1\"}},{before},\
         \"timestamp\":{timestamp},\"value\":\"{value}\"{after}}}"
    )
    .expect("a text can be written to");
}

/// A part of a URL without its escapes (RFC 3986 section 2.1); `+` is a space, as in a query. What is no escape stays.
fn decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match (first, escaped) {
            (_, Some((high, low))) => {
                rest = &after[2..];
                decoded.push(high << 4 | low);
            }
            (b'+', None) => decoded.push(b' '),
            (byte, None) => decoded.push(*byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests;
