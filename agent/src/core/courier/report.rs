//! What people and metrics are shown of the delivery.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Courier, StreamCounts};
use crate::core::pacing::Flow;
use crate::core::time::Mono;

/// How gathered records leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryState {
    /// Messages without acknowledgement.
    pub in_flight: u64,
    /// Bytes of them.
    pub in_flight_bytes: u64,
    /// Bytes that may be without acknowledgement; 0 without connection.
    pub window_bytes: u64,
    /// Bytes a second that the broker acknowledged lately, once that is known.
    pub goodput: Option<u64>,
    /// Shortest time of an acknowledgement in milliseconds, once one came.
    pub round_trip_ms: Option<u64>,
    /// Network cost to the broker's vehicle, if the broker is on one that is reachable.
    pub link_cost: Option<u32>,
    /// Bytes that were sent in the current day.
    pub day_bytes: u64,
    /// Acknowledgements of what was not in flight.
    pub stray: u64,
    /// Streams by name.
    pub streams: BTreeMap<String, StreamCounts>,
}

impl DeliveryState {
    /// Takes in how it is at `now`.
    pub fn observe(&mut self, courier: &mut Courier, now: Mono) {
        self.in_flight = courier.in_flight() as u64;
        self.in_flight_bytes = courier.in_flight_bytes();
        self.window_bytes = courier.flow().map_or(0, Flow::window_bytes);
        self.goodput = courier.flow().and_then(Flow::goodput);
        let trip = courier.flow().and_then(Flow::shortest_trip);
        self.round_trip_ms = trip.map(|trip| u64::try_from(trip.as_millis()).unwrap_or(u64::MAX));
        self.link_cost = courier.budget().link_state().cost;
        self.day_bytes = courier.budget().day(now).bytes;
        self.stray = courier.stray_total();
        for (setup, counts) in courier.streams() {
            // Looked up first: this happens after everything, and a name is copied once.
            match self.streams.get_mut(&*setup.name) {
                Some(stream) => *stream = counts,
                None => _ = self.streams.insert(setup.name.to_string(), counts),
            }
        }
    }
}
