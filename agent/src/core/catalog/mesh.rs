//! Metrics of the mesh: network cost of each vehicle, own links, size of the topology, state of the routing daemon.
//!
//! [`visit`] names every value in catalog order, one family after the other, and never the same series twice: a single
//! repeated series makes Prometheus reject a whole scrape, and the daemon's tables may repeat rows. It decides nothing
//! about freshness; that is [`crate::core::links`].

use std::collections::BTreeSet;
use std::net::IpAddr;

use olsr_bridge::failure::FailureClass;
use olsr_bridge::view::{DaemonKind, Link, LinkMetric, MeshView, Part, Protocol};

use crate::core::catalog::{Sink, count, flag, size};
use crate::core::links::{Reach, Vehicle};
use crate::core::sample::Metric;
use crate::core::state::State;
use crate::core::status::{ReachKind, share};

/// Own links that are exported one by one. A vehicle with more radio neighbours than this has a problem that the count
/// of neighbours shows just as well, and every link costs nine series.
pub const LINKS_EXPORTED_MAX: usize = 128;

/// Cost of reaching a vehicle: what a scheduler reads.
pub static NETWORK_COST: Metric = Metric::gauge(
    "olsr_network_cost",
    "Smoothed OLSR path cost to a vehicle; 100 is one perfect hop, 0 this vehicle, -1 unreachable. \
     Absent while nothing can be said.",
    &["node"],
)
.in_telemetry(0);
/// The same without smoothing.
pub static NETWORK_COST_RAW: Metric = Metric::gauge(
    "olsr_network_cost_raw",
    "Latest OLSR path cost to a vehicle before smoothing and hysteresis, on the scale of olsr_network_cost.",
    &["node"],
);
/// Length of the path.
pub static NODE_HOPS: Metric =
    Metric::gauge("olsr_node_hops", "Hops of the route to a vehicle.", &["node"]).in_telemetry(0);
/// Age of what is said about a vehicle.
pub static NODE_AGE: Metric = Metric::gauge(
    "olsr_node_age_seconds",
    "Time since the routing daemon last said something about a vehicle.",
    &["node"],
);
/// Whether what is said about a vehicle is held from before.
pub static NODE_STALE: Metric = Metric::gauge(
    "olsr_node_stale",
    "1 while the cost of a vehicle is held from before the routing daemon fell silent.",
    &["node"],
);
/// Flapping.
pub static NODE_TRANSITIONS: Metric = Metric::counter(
    "olsr_node_transitions_total",
    "Changes of a vehicle between reachable and unreachable.",
    &["node"],
);
/// Vehicles by what is known about reaching them.
pub static VEHICLES: Metric = Metric::gauge(
    "outrider_mesh_vehicles",
    "Known vehicles by reach: own, reachable, unreachable, not-meaningful, unknown.",
    &["reach"],
);

/// Vehicles for which there was no room.
pub static VEHICLES_OMITTED: Metric = Metric::counter(
    "outrider_mesh_vehicles_omitted_total",
    "Times a vehicle was not followed, or another given up for it, for want of room.",
    &[],
);
/// Claims of foreign names.
pub static NAME_CONFLICTS: Metric = Metric::counter(
    "outrider_mesh_name_conflicts_total",
    "Times a node of the mesh claimed the name of another vehicle and did not get it.",
    &[],
);

const LINK: &[&str] = &["interface", "local", "remote", "neighbor"];

/// Whether packets can use a link.
pub static LINK_USABLE: Metric =
    Metric::gauge("olsr_link_usable", "1 when a link of this vehicle can carry packets now.", LINK);
/// Cost of one link.
pub static LINK_COST: Metric = Metric::gauge(
    "olsr_link_cost",
    "Network cost of one link of this vehicle; 100 is perfect. Absent when broken or not meaningful.",
    LINK,
);
/// First-hop quality towards this vehicle.
pub static LINK_QUALITY_IN: Metric = Metric::gauge(
    "olsr_link_quality_in_ratio",
    "Share of the neighbour's packets that this vehicle receives (LQ), 0 to 1.",
    LINK,
)
.in_telemetry(-2);
/// First-hop quality away from this vehicle.
pub static LINK_QUALITY_OUT: Metric = Metric::gauge(
    "olsr_link_quality_out_ratio",
    "Share of this vehicle's packets that the neighbour receives (NLQ), 0 to 1.",
    LINK,
)
.in_telemetry(-2);
/// olsrd2's own number, incoming.
pub static LINK_METRIC_IN: Metric = Metric::gauge(
    "olsr_link_metric_in",
    "Raw incoming link metric of olsrd2 (RFC 7181 scale, smaller is better).",
    LINK,
);
/// olsrd2's own number, outgoing.
pub static LINK_METRIC_OUT: Metric = Metric::gauge(
    "olsr_link_metric_out",
    "Raw outgoing link metric of olsrd2 (RFC 7181 scale, smaller is better).",
    LINK,
);
/// The early sign of a dead link.
pub static LINK_HELLO_AGE: Metric = Metric::gauge(
    "olsr_link_hello_age_seconds",
    "Time since the last HELLO that confirmed a link.",
    LINK,
);
/// What the age is to be compared with.
pub static LINK_HELLO_INTERVAL: Metric = Metric::gauge(
    "olsr_link_hello_interval_seconds",
    "HELLO interval the neighbour announces.",
    LINK,
);
/// Links that are not exported one by one.
pub static LINKS_OMITTED: Metric = Metric::gauge(
    "outrider_mesh_links_omitted",
    "Links left out of the per-link metrics: repeated rows and those beyond the limit.",
    &[],
);

/// Neighbours heard.
pub static NEIGHBORS: Metric =
    Metric::gauge("olsr_neighbors", "Neighbour nodes the routing daemon lists.", &[])
        .in_telemetry(0);
/// Neighbours heard both ways.
pub static NEIGHBORS_SYMMETRIC: Metric =
    Metric::gauge("olsr_neighbors_symmetric", "Neighbours heard in both directions.", &[])
        .in_telemetry(0);
/// Chosen relays.
pub static NEIGHBORS_MPR: Metric = Metric::gauge(
    "olsr_neighbors_mpr",
    "Neighbours this vehicle chose as multipoint relay (MPR).",
    &[],
);
/// Who chose us.
pub static NEIGHBORS_MPR_SELECTOR: Metric = Metric::gauge(
    "olsr_neighbors_mpr_selector",
    "Neighbours that chose this vehicle as multipoint relay (MPR).",
    &[],
);
/// Routes.
pub static ROUTES: Metric =
    Metric::gauge("olsr_routes", "Routes of the routing daemon.", &[]).in_telemetry(0);
/// Edges.
pub static EDGES: Metric =
    Metric::gauge("olsr_topology_edges", "Directed edges of the known topology.", &[]);
/// Nodes.
pub static NODES: Metric = Metric::gauge(
    "olsr_topology_nodes",
    "Nodes named by the known topology, this one included.",
    &[],
)
.in_telemetry(0);
/// Networks behind the mesh.
pub static NETWORKS: Metric = Metric::gauge(
    "olsr_attached_networks",
    "Networks announced into the mesh (HNA, attached networks).",
    &[],
);
/// Smart gateways.
pub static GATEWAYS: Metric =
    Metric::gauge("olsr_gateways", "Smart gateways announced in the mesh.", &[]);

/// The daemon.
pub static DAEMON_INFO: Metric = Metric::info(
    "olsr_daemon_info",
    "The routing daemon that is read: program, interface, version, link metric.",
    &["daemon", "protocol", "version", "metric"],
);
/// Uptime of the daemon.
pub static DAEMON_UPTIME: Metric = Metric::gauge(
    "olsr_daemon_uptime_seconds",
    "Time since the routing daemon started, as it says.",
    &[],
);
/// Restarts of the daemon.
pub static DAEMON_RESTARTS: Metric = Metric::counter(
    "olsr_daemon_restarts_total",
    "Restarts of the routing daemon that were noticed.",
    &[],
);

/// Whether the latest poll gave a view.
pub static MESH_UP: Metric = Metric::gauge(
    "outrider_mesh_up",
    "1 when the latest poll of the routing daemon gave a view.",
    &[],
)
.in_telemetry(0);
/// Polls that gave a view.
pub static POLLS: Metric = Metric::counter(
    "outrider_mesh_polls_total",
    "Polls of the routing daemon that gave a view.",
    &[],
);
/// Polls that gave none.
pub static POLL_FAILURES: Metric = Metric::counter(
    "outrider_mesh_poll_failures_total",
    "Polls of the routing daemon that gave no view, by cause.",
    &["cause"],
);
/// Duration of a poll.
pub static POLL_DURATION: Metric = Metric::gauge(
    "outrider_mesh_poll_duration_seconds",
    "Duration of the latest poll of the routing daemon.",
    &[],
);
/// Age of the view.
pub static VIEW_AGE: Metric =
    Metric::gauge("outrider_mesh_view_age_seconds", "Age of the latest view of the mesh.", &[]);
/// Age of each part of the view.
pub static PART_AGE: Metric = Metric::gauge(
    "outrider_mesh_part_age_seconds",
    "Age of each part of the latest view: the daemon may answer some tables less often.",
    &["part"],
);
/// Whether the view is too old to be believed.
pub static VIEW_STALE: Metric = Metric::gauge(
    "outrider_mesh_stale",
    "1 when there is no view of the mesh or several polls in a row gave none.",
    &[],
);
/// Things that were not understood.
pub static COMPLAINTS: Metric = Metric::gauge(
    "outrider_mesh_complaints",
    "Rows of the latest view that could not be understood.",
    &[],
);

/// All metrics of this module, in the order [`visit`] names them.
pub static ALL: &[&Metric] = &[
    &NETWORK_COST,
    &NETWORK_COST_RAW,
    &NODE_HOPS,
    &NODE_AGE,
    &NODE_STALE,
    &NODE_TRANSITIONS,
    &VEHICLES,
    &VEHICLES_OMITTED,
    &NAME_CONFLICTS,
    &LINK_USABLE,
    &LINK_COST,
    &LINK_QUALITY_IN,
    &LINK_QUALITY_OUT,
    &LINK_METRIC_IN,
    &LINK_METRIC_OUT,
    &LINK_HELLO_AGE,
    &LINK_HELLO_INTERVAL,
    &LINKS_OMITTED,
    &NEIGHBORS,
    &NEIGHBORS_SYMMETRIC,
    &NEIGHBORS_MPR,
    &NEIGHBORS_MPR_SELECTOR,
    &ROUTES,
    &EDGES,
    &NODES,
    &NETWORKS,
    &GATEWAYS,
    &DAEMON_INFO,
    &DAEMON_UPTIME,
    &DAEMON_RESTARTS,
    &MESH_UP,
    &POLLS,
    &POLL_FAILURES,
    &POLL_DURATION,
    &VIEW_AGE,
    &PART_AGE,
    &VIEW_STALE,
    &COMPLAINTS,
];

/// Names every value about the mesh. Nothing at all when no mesh is configured and none was ever seen.
pub fn visit(state: &State, sink: &mut Sink<'_>) {
    if !state.mesh.configured && state.mesh.view.is_none() {
        return;
    }
    vehicles(state, sink);
    if let Some(view) = &state.mesh.view {
        links(&view.links, sink);
        sizes(view, sink);
        daemon(view, sink);
    }
    sink(&DAEMON_RESTARTS, &[], count(state.vehicles.daemon_restarts()));
    polls(state, sink);
}

/// The number `olsr_network_cost` shows, `None` when it has to be absent.
#[must_use]
pub fn published_cost(reach: Reach) -> Option<f64> {
    match reach {
        Reach::Own => Some(0.0),
        Reach::Reachable { cost } => Some(f64::from(cost)),
        Reach::Unreachable => Some(-1.0),
        Reach::NotMeaningful | Reach::Unknown => None,
    }
}

/// Fixed word for the cause of a failed poll.
#[must_use]
pub fn failure_word(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Refused => "refused",
        FailureClass::Timeout => "timeout",
        FailureClass::NotAllowed => "not-allowed",
        FailureClass::NotFound => "not-found",
        FailureClass::Busy => "busy",
        FailureClass::NotUnderstood => "not-understood",
        FailureClass::TooLarge => "too-large",
        FailureClass::Io => "io",
    }
}

const FAILURES: [FailureClass; 8] = [
    FailureClass::Refused,
    FailureClass::Timeout,
    FailureClass::NotAllowed,
    FailureClass::NotFound,
    FailureClass::Busy,
    FailureClass::NotUnderstood,
    FailureClass::TooLarge,
    FailureClass::Io,
];

fn vehicles(state: &State, sink: &mut Sink<'_>) {
    let mut each = |metric: &'static Metric, value: &dyn Fn(&Vehicle) -> Option<f64>| {
        for (name, vehicle) in state.vehicles.iter() {
            if let Some(value) = value(vehicle) {
                sink(metric, &[name], value);
            }
        }
    };
    each(&NETWORK_COST, &|vehicle| published_cost(vehicle.reach));
    each(&NETWORK_COST_RAW, &|vehicle| vehicle.raw_cost.map(f64::from));
    each(&NODE_HOPS, &|vehicle| vehicle.hops.map(f64::from));
    each(&NODE_AGE, &|vehicle| vehicle.fresh_at.map(|at| state.now.mono.since(at).as_secs_f64()));
    each(&NODE_STALE, &|vehicle| Some(flag(vehicle.stale)));
    each(&NODE_TRANSITIONS, &|vehicle| Some(count(vehicle.transitions)));
    for kind in ReachKind::ALL {
        let vehicles = state.vehicles.iter().filter(|(_, v)| ReachKind::from(v.reach) == kind);
        sink(&VEHICLES, &[kind.word()], size(vehicles.count()));
    }
    sink(&VEHICLES_OMITTED, &[], count(state.vehicles.overflow()));
    sink(&NAME_CONFLICTS, &[], count(state.vehicles.name_conflicts()));
}

/// A link with its label values written out, which every family of the link needs.
struct Row<'a> {
    link: &'a Link,
    interface: &'a str,
    local: String,
    remote: String,
    neighbor: String,
}

fn links(links: &[Link], sink: &mut Sink<'_>) {
    let mut seen = BTreeSet::new();
    let rows: Vec<Row<'_>> = links
        .iter()
        .filter(|link| seen.insert((&link.interface, link.local, link.remote, link.neighbor)))
        .take(LINKS_EXPORTED_MAX)
        .map(|link| Row {
            link,
            interface: link.interface.as_deref().unwrap_or(""),
            local: link.local.map(|address| address.to_string()).unwrap_or_default(),
            remote: link.remote.to_string(),
            neighbor: link.neighbor.map(|address| address.to_string()).unwrap_or_default(),
        })
        .collect();
    let mut each = |metric: &'static Metric, value: &dyn Fn(&Link) -> Option<f64>| {
        for row in &rows {
            if let Some(value) = value(row.link) {
                sink(metric, &[row.interface, &row.local, &row.remote, &row.neighbor], value);
            }
        }
    };
    each(&LINK_USABLE, &|link| Some(flag(link.usable())));
    each(&LINK_COST, &|link| link.cost.map(f64::from));
    each(&LINK_QUALITY_IN, &|link| link.quality_in.and_then(share));
    each(&LINK_QUALITY_OUT, &|link| link.quality_out.and_then(share));
    each(&LINK_METRIC_IN, &|link| link.metric_in_raw.map(f64::from));
    each(&LINK_METRIC_OUT, &|link| link.metric_out_raw.map(f64::from));
    each(&LINK_HELLO_AGE, &|link| link.hello_age_ms.map(seconds_of_ms));
    each(&LINK_HELLO_INTERVAL, &|link| link.hello_interval_ms.map(seconds_of_ms));
    sink(&LINKS_OMITTED, &[], size(links.len() - rows.len()));
}

fn sizes(view: &MeshView, sink: &mut Sink<'_>) {
    let neighbors = |which: fn(&olsr_bridge::view::Neighbor) -> bool| {
        size(view.neighbors.iter().filter(|neighbor| which(neighbor)).count())
    };
    sink(&NEIGHBORS, &[], size(view.neighbors.len()));
    sink(&NEIGHBORS_SYMMETRIC, &[], neighbors(|neighbor| neighbor.symmetric));
    sink(&NEIGHBORS_MPR, &[], neighbors(|neighbor| neighbor.mpr));
    sink(&NEIGHBORS_MPR_SELECTOR, &[], neighbors(|neighbor| neighbor.mpr_selector));
    sink(&ROUTES, &[], size(view.routes.len()));
    sink(&EDGES, &[], size(view.edges.len()));
    sink(&NODES, &[], size(topology_nodes(view)));
    sink(&NETWORKS, &[], size(view.networks.len()));
    sink(&GATEWAYS, &[], size(view.gateways.len()));
}

/// Nodes the edges name, this node included even when it has no edge. Most edges lead to a node that announces edges
/// itself, and edges come grouped by where they start; so few addresses ever need sorting.
fn topology_nodes(view: &MeshView) -> usize {
    let mut starts: Vec<u128> = view.own.iter().take(1).map(|address| bits(*address)).collect();
    let mut before = None;
    for edge in &view.edges {
        if before.replace(edge.from) != Some(edge.from) {
            starts.push(bits(edge.from));
        }
    }
    starts.sort_unstable();
    starts.dedup();
    let mut ends: Vec<u128> = view
        .edges
        .iter()
        .map(|edge| bits(edge.to))
        .filter(|end| starts.binary_search(end).is_err())
        .collect();
    ends.sort_unstable();
    ends.dedup();
    starts.len() + ends.len()
}

/// An address as a number, which compares several times faster than the address.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn daemon(view: &MeshView, sink: &mut Sink<'_>) {
    let daemon = &view.daemon;
    let version = daemon.version.as_deref().unwrap_or("");
    let metric = metric_word(daemon.metric);
    let labels = [daemon_word(daemon.kind), protocol_word(daemon.protocol), version, metric];
    sink(&DAEMON_INFO, &labels, 1.0);
    if let Some(uptime_ms) = daemon.uptime_ms {
        sink(&DAEMON_UPTIME, &[], count(uptime_ms) / 1000.0);
    }
}

fn polls(state: &State, sink: &mut Sink<'_>) {
    let mesh = &state.mesh;
    sink(&MESH_UP, &[], flag(mesh.view.is_some() && mesh.error.is_none()));
    sink(&POLLS, &[], count(mesh.polls_ok));
    for class in FAILURES {
        let failed = mesh.polls_failed.get(&class).copied().unwrap_or(0);
        sink(&POLL_FAILURES, &[failure_word(class)], count(failed));
    }
    sink(&POLL_DURATION, &[], count(mesh.poll_us) / 1e6);
    let view_age = state.view_age();
    if let Some(age) = view_age {
        sink(&VIEW_AGE, &[], age.as_secs_f64());
    }
    if let (Some(view), Some(view_age)) = (&mesh.view, view_age) {
        for part in PARTS {
            if let Some(age_ms) = view.age_ms(part) {
                sink(
                    &PART_AGE,
                    &[part_word(part)],
                    view_age.as_secs_f64() + count(age_ms) / 1000.0,
                );
            }
        }
    }
    sink(&VIEW_STALE, &[], flag(state.mesh_stale()));
    if let Some(view) = &mesh.view {
        let complaints: u64 = view.complaints.iter().map(|c| u64::from(c.count)).sum();
        sink(&COMPLAINTS, &[], count(complaints));
    }
}

const PARTS: [Part; 9] = [
    Part::Links,
    Part::Neighbors,
    Part::Routes,
    Part::Topology,
    Part::Networks,
    Part::Aliases,
    Part::Gateways,
    Part::Names,
    Part::Daemon,
];

/// Fixed word for a part of the view.
#[must_use]
pub fn part_word(part: Part) -> &'static str {
    match part {
        Part::Links => "links",
        Part::Neighbors => "neighbors",
        Part::Routes => "routes",
        Part::Topology => "topology",
        Part::Networks => "networks",
        Part::Aliases => "aliases",
        Part::Gateways => "gateways",
        Part::Names => "names",
        Part::Daemon => "daemon",
    }
}

/// Fixed word for the daemon.
#[must_use]
pub fn daemon_word(kind: DaemonKind) -> &'static str {
    match kind {
        DaemonKind::Olsrd => "olsrd",
        DaemonKind::Olsrd2 => "olsrd2",
    }
}

/// Fixed word for the daemon's interface.
#[must_use]
pub fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Jsoninfo => "jsoninfo",
        Protocol::Txtinfo => "txtinfo",
        Protocol::Olsrd2Http => "olsrd2-http",
        Protocol::Olsrd2Telnet => "olsrd2-telnet",
    }
}

/// Fixed word for the way links are measured.
#[must_use]
pub fn metric_word(metric: LinkMetric) -> &'static str {
    match metric {
        LinkMetric::Unknown => "unknown",
        LinkMetric::Etx => "etx",
        LinkMetric::Hops => "hops",
        LinkMetric::Loss => "loss",
        LinkMetric::Airtime => "airtime",
        LinkMetric::NotMeaningful => "not-meaningful",
    }
}

fn seconds_of_ms(value_ms: u32) -> f64 {
    f64::from(value_ms) / 1000.0
}
