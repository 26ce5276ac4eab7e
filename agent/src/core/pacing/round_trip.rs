//! How long the broker takes to acknowledge, smoothed as TCP smooths its round trips (RFC 6298 section 2).

use std::time::Duration;

/// Deviations that are waited beyond the mean: RFC 6298's K.
const DEVIATIONS: u32 = 4;

/// Mean and mean deviation of the time from a publication to its acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrip {
    smoothed: Option<Duration>,
    deviation: Duration,
}

impl RoundTrip {
    /// Nothing measured.
    #[must_use]
    pub const fn new() -> RoundTrip {
        RoundTrip { smoothed: None, deviation: Duration::ZERO }
    }

    /// An acknowledgement came `trip` after its publication.
    pub fn measure(&mut self, trip: Duration) {
        let Some(smoothed) = self.smoothed else {
            (self.smoothed, self.deviation) = (Some(trip), trip / 2);
            return;
        };
        self.deviation = (self.deviation * 3 + smoothed.abs_diff(trip)) / 4;
        self.smoothed = Some((smoothed * 7 + trip) / 8);
    }

    /// The smoothed time, `None` before the first.
    #[must_use]
    pub const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The smoothed deviation.
    #[must_use]
    pub const fn deviation(&self) -> Duration {
        self.deviation
    }

    /// How long the broker may be silent while something is without acknowledgement: mean and four deviations, at least
    /// `floor`, at most `ceiling`; `ceiling` while nothing has been measured.
    ///
    /// The floor matters more than the mean: on a lossy link TCP itself is silent while it waits to send again, several times
    /// its own round trip (RFC 6298 section 5.5 doubles), and breaking the connection then only makes it start over.
    #[must_use]
    pub fn timeout(&self, floor: Duration, ceiling: Duration) -> Duration {
        let Some(smoothed) = self.smoothed else { return ceiling };
        (smoothed + self.deviation * DEVIATIONS).max(floor).min(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLOOR: Duration = Duration::from_secs(2);
    const CEILING: Duration = Duration::from_secs(120);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn follows_the_link_between_floor_and_ceiling() {
        let mut trip = RoundTrip::new();
        assert_eq!(trip.timeout(FLOOR, CEILING), CEILING);
        trip.measure(ms(100));
        assert_eq!(trip.timeout(FLOOR, CEILING), FLOOR);
        for _ in 0..50 {
            trip.measure(ms(6_000));
        }
        let steady = trip.timeout(FLOOR, CEILING);
        assert!(steady > ms(6_000) && steady < ms(6_500), "{steady:?}");
        trip.measure(ms(30_000));
        assert!(trip.timeout(FLOOR, CEILING) > ms(30_000), "one late answer makes it patient");
        for _ in 0..9 {
            trip.measure(ms(900_000));
        }
        assert_eq!(trip.timeout(FLOOR, CEILING), CEILING);
    }

    #[test]
    fn a_ceiling_below_the_floor_wins() {
        let mut trip = RoundTrip::new();
        trip.measure(ms(100));
        assert_eq!(trip.timeout(FLOOR, ms(500)), ms(500));
    }

    proptest! {
        #[test]
        fn stays_within_what_was_measured(trips in prop::collection::vec(0_u64..1 << 40, 1..50)) {
            let mut round_trip = RoundTrip::new();
            for trip in &trips {
                round_trip.measure(ms(*trip));
            }
            let smoothed = round_trip.smoothed().unwrap();
            let (least, most) = (trips.iter().min().unwrap(), trips.iter().max().unwrap());
            prop_assert!(smoothed + ms(1) >= ms(*least) && smoothed <= ms(*most));
        }
    }
}
