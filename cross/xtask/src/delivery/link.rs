//! The link classes that are measured.

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
    Profile { name: "LAN", traits: link::LAN, payload_bytes: 400_000_000 },
    Profile { name: "Best", traits: link::BEST, payload_bytes: 18_000_000 },
    Profile { name: "Average", traits: link::AVERAGE, payload_bytes: 8_000_000 },
];

impl Profile {
    /// A link without delay and loss is left to the kernel, which cuts it down to its rate with little work.
    pub fn is_plain(&self) -> bool {
        self.traits.round_trip.is_zero() && self.traits.loss_permille == 0
    }
}
