//! How the way to a federation has been lately.

use std::time::Duration;

use super::Federation;
use crate::core::time::Mono;

/// The way to one federation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    cost: Option<u32>,
    heard_since: Option<Mono>,
    near_since: Option<Mono>,
    strained_since: Option<Mono>,
    easy_since: Option<Mono>,
}

impl Contact {
    /// The cost that was seen last.
    #[must_use]
    pub const fn cost(&self) -> Option<u32> {
        self.cost
    }

    /// Takes in the cost at `now`.
    pub fn observe(&mut self, federation: &Federation, cost: Option<u32>, now: Mono) {
        self.cost = cost;
        let keep = |since: Option<Mono>, holds: bool| holds.then(|| since.unwrap_or(now));
        self.heard_since = keep(self.heard_since, cost.is_some());
        self.near_since =
            keep(self.near_since, cost.is_some_and(|cost| cost <= federation.join_below));
        let strained = cost.is_none_or(|cost| cost > federation.strain_above);
        self.strained_since = keep(self.strained_since, strained);
        self.easy_since = keep(self.easy_since, !strained);
    }

    /// Since when there has been contact, at whatever cost.
    #[must_use]
    pub const fn heard_since(&self) -> Option<Mono> {
        self.heard_since
    }

    /// How long it has been near enough to join.
    #[must_use]
    pub fn near_for(&self, now: Mono) -> Option<Duration> {
        self.near_since.map(|since| now.since(since))
    }

    /// How long it has been too far, or silent.
    #[must_use]
    pub fn strained_for(&self, now: Mono) -> Option<Duration> {
        self.strained_since.map(|since| now.since(since))
    }

    /// How long it has not been.
    #[must_use]
    pub fn easy_for(&self, now: Mono) -> Option<Duration> {
        self.easy_since.map(|since| now.since(since))
    }

    /// Moments after `now` at which one of these times reaches `after`.
    pub(super) fn due(&self, after: Duration, now: Mono) -> Option<Mono> {
        let sinces = [self.near_since, self.strained_since, self.easy_since];
        sinces.into_iter().flatten().map(|since| since + after).filter(|at| *at > now).min()
    }
}
