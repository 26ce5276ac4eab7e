//! What people and metrics are shown of the delivery.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Courier, StreamCounts};
use crate::core::pacing::Flow;
use crate::core::time::{Mono, millis};

/// How gathered records leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryState {
    /// The way to the broker.
    pub way: Way,
    /// Streams by name.
    pub streams: BTreeMap<String, StreamCounts>,
}

/// How the way to the broker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// Messages without acknowledgement.
    pub in_flight: u64,
    /// Bytes of them.
    pub in_flight_bytes: u64,
    /// Bytes that may be without acknowledgement; 0 without connection.
    pub window_bytes: u64,
    /// Bytes a second that the broker acknowledged when there was last enough to send.
    pub goodput: Option<u64>,
    /// Shortest time of an acknowledgement in milliseconds, once one came.
    pub round_trip_ms: Option<u64>,
    /// Network cost to the broker's vehicle, if the broker is on one that is reachable.
    pub link_cost: Option<u32>,
    /// Bytes that were sent in the current day.
    pub day_bytes: u64,
    /// Acknowledgements of what was not in flight.
    pub stray: u64,
}

impl DeliveryState {
    /// Takes in how it is at `now`.
    pub fn observe(&mut self, courier: &mut Courier, now: Mono) {
        let link_cost = courier.budget().link_state().cost;
        let day_bytes = courier.budget().day(now).bytes;
        let flow = courier.flow();
        let trip = flow.and_then(Flow::shortest_trip);
        self.way = Way {
            in_flight: courier.in_flight() as u64,
            in_flight_bytes: courier.in_flight_bytes(),
            window_bytes: flow.map_or(0, |flow| flow.window_bytes(now)),
            goodput: flow.and_then(Flow::goodput),
            round_trip_ms: trip.map(millis),
            link_cost,
            day_bytes,
            stray: courier.stray_total(),
        };
        for (setup, counts) in courier.streams() {
            // Looked up first: this happens after everything, and a name is copied once.
            match self.streams.get_mut(&*setup.name) {
                Some(stream) => *stream = counts,
                None => _ = self.streams.insert(setup.name.to_string(), counts),
            }
        }
    }
}
