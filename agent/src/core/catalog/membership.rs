//! Metrics of federations.
//!
//! [`visit`] names every value in catalog order, one family after the other; nothing without a federation, and nothing about
//! Nodes on a machine that looks after no cluster.

use crate::core::catalog::{Sink, count, flag, size};
use crate::core::membership::State as Place;
use crate::core::membership::custom_metrics::mapped;
use crate::core::sample::Metric;
use crate::core::state::State;

/// The state.
pub static STATE: Metric = Metric::gauge(
    "outrider_membership_state",
    "1 for the state of the membership that the vehicle is in, 0 for the others.",
    &["state"],
)
.in_telemetry(0);
/// The federation.
pub static FEDERATION: Metric = Metric::info(
    "outrider_membership_info",
    "Federation that the state is about; empty when it is about none.",
    &["federation"],
);
/// Since when.
pub static SINCE: Metric = Metric::gauge(
    "outrider_membership_state_age_seconds",
    "Time in the present state of the membership.",
    &[],
);
/// The way.
pub static COST: Metric = Metric::gauge(
    "outrider_federation_cost",
    "Network cost of the way to a federation, 100 is one perfect hop, -1 out of contact.",
    &["federation"],
)
.in_telemetry(0);
/// Answers of the server.
pub static ROUND_TRIP: Metric = Metric::gauge(
    "outrider_federation_round_trip_seconds",
    "Smoothed time that the server of a federation takes to accept a connection.",
    &["federation"],
);
/// What is owed.
pub static DEFERRED: Metric = Metric::gauge(
    "outrider_membership_deferred_steps",
    "Nodes of earlier memberships that are still to be deleted at their servers.",
    &[],
);

/// Nodes beside the server.
pub static NODES: Metric = Metric::gauge(
    "outrider_host_nodes",
    "Nodes of the cluster beside this machine by whose they are: own, a vehicle of the mesh, or unmapped: without a vehicle \
     that the mesh knows, and thus never with a network cost.",
    &["mapping"],
);

/// Every family here.
pub static ALL: &[&Metric] = &[&STATE, &FEDERATION, &SINCE, &COST, &ROUND_TRIP, &DEFERRED, &NODES];

/// Names every value about federations.
pub fn visit(state: &State, sink: &mut Sink<'_>) {
    if state.membership.configured {
        federations(state, sink);
    }
}

/// Names the values about Nodes: they are few and change seldom, and finding them takes a look at the whole mesh.
pub fn visit_nodes(state: &State, sink: &mut Sink<'_>) {
    if let Some(mapped) = mapped(state) {
        sink(&NODES, &["own"], size(mapped.own));
        sink(&NODES, &["mesh"], size(mapped.mesh));
        sink(&NODES, &["unmapped"], size(mapped.unmapped));
    }
}

fn federations(state: &State, sink: &mut Sink<'_>) {
    let membership = &state.membership;
    for place in Place::ALL {
        sink(&STATE, &[place.word()], flag(place == membership.state));
    }
    sink(&FEDERATION, &[membership.federation.as_deref().unwrap_or_default()], 1.0);
    sink(&SINCE, &[], count(membership.since_ms) / 1000.0);
    for federation in &membership.federations {
        sink(&COST, &[&federation.name], federation.cost.map_or(-1.0, f64::from));
    }
    for federation in &membership.federations {
        if let Some(round_trip_ms) = federation.round_trip_ms {
            sink(&ROUND_TRIP, &[&federation.name], count(round_trip_ms) / 1000.0);
        }
    }
    sink(&DEFERRED, &[], count(membership.deferred.len() as u64));
}
