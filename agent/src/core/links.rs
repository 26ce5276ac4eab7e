//! Network cost of each vehicle over time: which addresses a vehicle has, freshness, warm-up and hysteresis.
//!
//! Takes raw views of the mesh in, gives one published cost per vehicle out. Never constant when the daemon is silent and
//! never -1 for want of an answer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::core::time::Mono;

/// What is published about reaching a vehicle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Reach {
    /// This vehicle itself: cost 0.
    Own,
    /// A usable route.
    Reachable {
        /// Smoothed network cost, 100 is one perfect hop.
        cost: u32,
    },
    /// The warmed-up daemon answered and has had no usable route for long enough: cost -1.
    Unreachable,
    /// Reachable, but the daemon's numbers say nothing.
    NotMeaningful,
    /// Nothing can be said: daemon silent or warming up, or the vehicle never seen.
    #[default]
    Unknown,
}

/// What is known about one vehicle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vehicle {
    /// What is published.
    pub reach: Reach,
    /// Latest raw network cost, unsmoothed.
    pub raw_cost: Option<u32>,
    /// Hops of the route in use.
    pub hops: Option<u32>,
    /// Next hop of the route in use.
    pub next_hop: Option<IpAddr>,
    /// Outgoing interface.
    pub interface: Option<String>,
    /// Its addresses as far as known, the identity in the mesh first.
    pub addresses: Vec<IpAddr>,
    /// It is a direct neighbour.
    pub neighbor: bool,
    /// First-hop share received from it, 0..=1.
    pub quality_in: Option<f32>,
    /// First-hop share it receives, 0..=1.
    pub quality_out: Option<f32>,
    /// Age of its last HELLO in milliseconds, for neighbours.
    pub hello_age_ms: Option<u32>,
    /// When the daemon last said something about it.
    pub fresh_at: Option<Mono>,
    /// The value is held from before the daemon fell silent.
    pub stale: bool,
    /// When `reach` last changed its kind.
    pub since: Option<Mono>,
    /// Changes between reachable and unreachable since start.
    pub transitions: u64,
}

/// Numbers of the smoothing and hysteresis (`[links]` in the configuration).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {}

/// All vehicles by name.
#[derive(Debug, Default)]
pub struct Links {
    vehicles: BTreeMap<String, Vehicle>,
}

impl Links {
    /// Vehicles by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Vehicle)> {
        self.vehicles.iter().map(|(name, vehicle)| (name.as_str(), vehicle))
    }

    /// One vehicle.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Vehicle> {
        self.vehicles.get(name)
    }
}

impl FromIterator<(String, Vehicle)> for Links {
    /// Vehicles as given, without any history: for rendering what is already known.
    fn from_iter<I: IntoIterator<Item = (String, Vehicle)>>(vehicles: I) -> Links {
        Links { vehicles: vehicles.into_iter().collect() }
    }
}
