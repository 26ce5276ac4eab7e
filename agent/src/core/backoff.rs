//! How long to wait before trying a peer again: doubling, with jitter, up to a cap.
//!
//! Being let in is not success: a peer that accepts and then kicks us would otherwise be tried without pause. The wait
//! starts small again only after a connection has lasted for a stable period. Draws no random numbers and reads no clock;
//! both are arguments.

use std::time::Duration;

use crate::core::time::Mono;

/// Numbers of a [`Backoff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Upper end of the first wait.
    pub first: Duration,
    /// Upper end of every later wait.
    pub max: Duration,
    /// A connection that lasted this long makes the next wait a first one again.
    pub stable: Duration,
}

/// Doublings after which the wait no longer grows, so that the count cannot overflow: `2^20` times any first wait worth
/// configuring is beyond any cap.
const DOUBLINGS_MAX: u32 = 20;

/// State of the waiting for one peer.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: Policy,
    doublings: u32,
    connected_at: Option<Mono>,
}

impl Backoff {
    /// For a peer that has not been tried yet.
    #[must_use]
    pub fn new(policy: Policy) -> Backoff {
        Backoff { policy, doublings: 0, connected_at: None }
    }

    /// The peer let us in at `now`.
    pub fn connected(&mut self, now: Mono) {
        self.connected_at = Some(now);
    }

    /// An attempt failed or a connection ended at `now`: how long to wait before the next attempt.
    ///
    /// `random` is evenly distributed over all of `u32`. The result lies between half and all of the current step, so that
    /// vehicles that lost the same broker at the same moment do not come back at the same moment.
    #[must_use]
    pub fn failed(&mut self, now: Mono, random: u32) -> Duration {
        let lasted = self.connected_at.take().map(|connected_at| now.since(connected_at));
        if lasted.is_some_and(|lasted| lasted >= self.policy.stable) {
            self.doublings = 0;
        }
        let step = self
            .policy
            .first
            .checked_mul(1 << self.doublings)
            .map_or(self.policy.max, |step| step.min(self.policy.max));
        self.doublings = DOUBLINGS_MAX.min(self.doublings + 1);
        let half = step / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy {
        first: Duration::from_secs(1),
        max: Duration::from_secs(60),
        stable: Duration::from_secs(30),
    };

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    #[test]
    fn doubles_up_to_the_cap() {
        let mut backoff = Backoff::new(POLICY);
        let waits: Vec<u64> = (0..8).map(|_| backoff.failed(at(0), u32::MAX).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn the_least_wait_is_half_a_step() {
        let mut backoff = Backoff::new(POLICY);
        let _ = backoff.failed(at(0), 0);
        assert_eq!(backoff.failed(at(0), 0), Duration::from_secs(1));
    }

    #[test]
    fn a_peer_that_accepts_and_kicks_is_tried_ever_more_slowly() {
        let mut backoff = Backoff::new(POLICY);
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..5 {
            backoff.connected(at(now));
            now += 1;
            waits.push(backoff.failed(at(now), u32::MAX).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16]);
    }

    #[test]
    fn a_stable_connection_makes_the_next_wait_short() {
        let mut backoff = Backoff::new(POLICY);
        for _ in 0..10 {
            let _ = backoff.failed(at(0), u32::MAX);
        }
        backoff.connected(at(100));
        assert_eq!(backoff.failed(at(130), u32::MAX), POLICY.first);
        // That connection is used up: the next failure does not profit from it.
        assert_eq!(backoff.failed(at(500), u32::MAX), POLICY.first * 2);
    }

    proptest! {
        #[test]
        fn every_wait_is_within_half_a_step_and_the_cap(
            failures in prop::collection::vec((0_u64..1000, any::<u32>(), any::<bool>()), 1..200),
        ) {
            let mut backoff = Backoff::new(POLICY);
            let mut now = 0;
            for (seconds, random, connects) in failures {
                if connects {
                    backoff.connected(at(now));
                }
                now += seconds;
                let wait = backoff.failed(at(now), random);
                prop_assert!(wait >= POLICY.first / 2 && wait <= POLICY.max);
            }
        }
    }
}
