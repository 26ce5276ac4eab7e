//! How long to wait for a federation's server, by what its answers took before: smoothed round trip and four deviations for TCP to
//! notice a loss, as often as it repeats, and twice as long after each wait in vain (RFC 6298, sections 2 and 5.5); never a number
//! that was tuned for one kind of link.

use std::time::Duration;

use crate::core::pacing::RoundTrip;

/// Least time for a loss to be noticed: a small board may be busy for as long.
const NOTICED_MIN: Duration = Duration::from_millis(500);

/// What TCP needs for three losses one after the other, in times that one takes: it waits twice as long each time. Whoever gives up
/// earlier only does again what it was about to do; one packet in twenty lost, three in a row are one in eight thousand.
const LOSSES: u32 = 1 + 2 + 4;

/// Longest: beyond, asking again is worth more than waiting.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Before anything was measured: k3s itself waits as long for an answer.
const AT_FIRST: Duration = Duration::from_secs(10);

/// Doublings after waits in vain.
const DOUBLINGS_MAX: u32 = 5;

/// With one server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    trips: RoundTrip,
    in_vain: u32,
}

impl Patience {
    /// It answered after `trip`.
    pub fn answered(&mut self, trip: Duration) {
        self.connected(trip);
        self.in_vain = 0;
    }

    /// Its machine took a connection after `trip`, which says nothing of what it will take to answer.
    pub fn connected(&mut self, trip: Duration) {
        self.trips.measure(trip);
    }

    /// It did not answer in time.
    pub fn waited_in_vain(&mut self) {
        self.in_vain = self.in_vain.saturating_add(1);
    }

    /// Waits in vain since it answered last.
    #[must_use]
    pub const fn in_vain(&self) -> u32 {
        self.in_vain
    }

    /// Smoothed time of its answers, once there was one.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Duration> {
        self.trips.smoothed()
    }

    /// How long to wait for the next answer.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let wait = match self.trips.smoothed() {
            Some(_) => self.trips.timeout(NOTICED_MIN, LONGEST) * LOSSES,
            None => AT_FIRST,
        };
        (wait * (1 << self.in_vain.min(DOUBLINGS_MAX))).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_losses_in_a_row_are_waited_for() {
        let mut patience = Patience::default();
        patience.answered(Duration::from_millis(400));
        // TCP's own time-out after such a round trip is 1.2 s.
        assert_eq!(patience.wait(), Duration::from_millis(1_200 + 2_400 + 4_800));
        for _ in 0..100 {
            patience.answered(Duration::from_micros(300));
        }
        assert_eq!(patience.wait(), Duration::from_millis(3_500));
    }

    #[test]
    fn a_wait_in_vain_doubles_the_next_and_an_answer_ends_that() {
        let mut patience = Patience::default();
        assert_eq!(patience.wait(), AT_FIRST);
        patience.answered(Duration::from_millis(500));
        let once = patience.wait();
        patience.waited_in_vain();
        assert_eq!(patience.wait(), once * 2);
        patience.connected(Duration::from_millis(500));
        assert!(patience.wait() > once, "that somebody takes connections is no answer");
        for _ in 0..40 {
            patience.waited_in_vain();
        }
        assert_eq!((patience.wait(), patience.in_vain()), (LONGEST, 41));
        patience.answered(Duration::from_millis(500));
        assert!(patience.wait() <= once);
    }
}
