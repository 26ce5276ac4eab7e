//! The link classes that are measured.

use std::time::Duration;

use link::Traits;

/// A link of the project's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name in that table.
    pub name: &'static str,
    /// What it does to frames.
    pub traits: Traits,
    /// Payload of one measurement: some 40 s, or 4 s where the link is fast.
    pub payload_bytes: u64,
}

/// The link classes that are measured, best first.
pub const PROFILES: [Profile; 3] = [
    Profile {
        name: "LAN",
        traits: Traits {
            bits_per_s: 1_000_000_000,
            round_trip: Duration::ZERO,
            loss_permille: 0,
            queue: Duration::from_millis(50),
        },
        payload_bytes: 400_000_000,
    },
    Profile {
        name: "Best",
        traits: Traits {
            bits_per_s: 4_000_000,
            round_trip: Duration::from_millis(200),
            loss_permille: 50,
            queue: Duration::from_millis(400),
        },
        payload_bytes: 18_000_000,
    },
    Profile {
        name: "Average",
        traits: Traits {
            bits_per_s: 2_000_000,
            round_trip: Duration::from_millis(400),
            loss_permille: 100,
            queue: Duration::from_millis(600),
        },
        payload_bytes: 8_000_000,
    },
];

impl Profile {
    /// A link without delay and loss is left to the kernel, which cuts it down to its rate with little work.
    pub fn is_plain(&self) -> bool {
        self.traits.round_trip.is_zero() && self.traits.loss_permille == 0
    }
}
